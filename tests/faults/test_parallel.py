"""Parallel text that is broken: what stops, with which words, and what is left out and counted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from chainrule.data import parallel
from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.parallel.lines import first_misfit
from chainrule.data.parallel.records import ParallelRecords
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.prepare import prepare


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(*files: Any, **options: Any) -> ParallelRecords:
    source = open_source(list(files) if len(files) > 1 else files[0])
    return parallel.read(source, DataConfig(**options))["all"]


def told(records: ParallelRecords) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in parallel.findings(records)]


def sentences(count: int, word: str, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join([word] * draw.randint(2, 25)) + f" {number}" for number in range(count)]


def test_unequal_line_counts_stop_with_both_numbers_and_the_line(tmp_path: Path) -> None:
    german, english = sentences(200, "wort"), sentences(200, "word")
    del english[120]
    files = write(tmp_path / "t.de", german), write(tmp_path / "t.en", english)
    with pytest.raises(InputError, match=r"t.de has 200 lines and t.en has 199; .* look at line 12[0-2]: 'wort"):
        read(*files)


@pytest.mark.parametrize("lost", [0, 50, 199])
def test_the_line_that_is_missing_is_found(lost: int) -> None:
    first, second = sentences(200, "wort"), sentences(200, "more")
    del second[lost]
    assert abs(first_misfit(first, second) - (lost + 1)) <= 2
    assert abs(first_misfit(second, first) - (lost + 1)) <= 2


def test_a_file_that_ends_early_is_looked_at_where_it_ends(tmp_path: Path) -> None:
    files = write(tmp_path / "t.de", sentences(40, "wort")), write(tmp_path / "t.en", sentences(40, "word")[:30])
    with pytest.raises(InputError, match=r"40 lines and t.en has 30; .* look at line 31: 'wort.*beside '\(nothing\)'"):
        read(*files)


def test_a_parts_files_must_agree_as_well(tmp_path: Path) -> None:
    for name, count in (("train.de", 9), ("train.en", 9), ("val.de", 4), ("val.en", 3)):
        write(tmp_path / name, sentences(count, "wort"))
    with pytest.raises(InputError, match=r"val.de has 4 lines and val.en has 3"):
        parallel.read(open_source(tmp_path), DataConfig())


def test_empty_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    german = ["Ein Hund .", "", "Ein Mann .", "  ", "Ein Kind ."]
    english = ["A dog .", "A cat .", "\t", "", "A child ."]
    records = read(write(tmp_path / "t.de", german), write(tmp_path / "t.en", english))
    assert records.targets == ["A dog .", "A child ."]
    assert list(records.ids) == ["line 1", "line 5"]
    assert told(records) == [
        ("note", "1 lines are empty on both sides and are left out"),
        ("warning", "1 lines are empty in de only and are left out"),
        ("warning", "1 lines are empty in en only and are left out"),
    ]
    assert parallel.findings(records)[1].where == ("line 2",)


def test_nothing_but_empty_lines_stops(tmp_path: Path) -> None:
    files = write(tmp_path / "t.de", ["", "Ein Hund ."]), write(tmp_path / "t.en", ["A dog .", ""])
    with pytest.raises(InputError, match="of 2 lines none has a sentence in both de and en"):
        read(*files)
    with pytest.raises(InputError, match=r"t.en holds no text"):
        read(files[0], write(tmp_path / "t.en", ["", ""]))


def test_identical_sides_are_counted(tmp_path: Path) -> None:
    german = [*sentences(20, "wort"), "1.", "OK"]
    english = [*sentences(20, "word"), "1.", "OK"]
    records = read(write(tmp_path / "t.de", german), write(tmp_path / "t.en", english))
    assert told(records) == [("note", "2 of 22 pairs are the same in both languages; they teach to copy")]
    records = read(write(tmp_path / "t.de", german), write(tmp_path / "t.en", german))
    assert told(records)[0][0] == "warning"


def test_broken_bytes_are_replaced_and_counted(tmp_path: Path) -> None:
    english = write(tmp_path / "t.en", ["A dog .", "A bear ."])
    german = tmp_path / "t.de"
    text = "Füße über Bäume für Jünger , schöne Größe , süße Äpfel , größere Öfen\n" * 20
    german.write_bytes(b"Ein \xff Hund .\n" + text.replace("\n", " ").encode() + b"\n")
    records = read(german, english)
    assert records.sources[0] == "Ein \ufffd Hund ."
    assert told(records)[0] == ("warning", "1 broken places in t.de were replaced by U+FFFD")


def test_a_line_of_a_megabyte_is_left_out(tmp_path: Path) -> None:
    german = [*sentences(5, "wort"), "lang " * 200_000]
    records = read(write(tmp_path / "t.de", german), write(tmp_path / "t.en", sentences(6, "word")))
    assert len(records) == 5
    assert told(records) == [("warning", "1 lines have more than 20,000 characters and are left out")]


def test_signs_of_all_sorts_come_back(tmp_path: Path) -> None:
    """Emoji, right-to-left, and a line separator that is no end of a line."""
    german = ["Ein Hund \U0001f415 .", "שלום עולם", "a\u2028b", "ok\r"]
    english = ["A dog \U0001f415 .", "hello world", "c\u2028d", "fine"]
    records = read(write(tmp_path / "t.de", german), write(tmp_path / "t.en", english))
    assert records.sources == [*german[:3], "ok"]
    schema = parallel.learn_schema(records, DataConfig())
    assert [
        schema.source_tokens.decode(schema.source_tokens.encode(text)) for text in records.sources
    ] == records.sources


def test_a_language_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("train.de", "train.en", "val.de", "val.en"):
        write(tmp_path / name, sentences(3, "wort"))
    source = open_source(tmp_path)
    with pytest.raises(InputError, match="--target: there is no text in 'eng'; did you mean 'en'"):
        parallel.read(source, DataConfig(target="eng"))
    with pytest.raises(InputError, match="both 'de'; name two languages"):
        parallel.read(source, DataConfig(target="de", source="de"))


def test_folders_that_do_not_say_what_to_learn_are_asked_about(tmp_path: Path) -> None:
    for stem in ("news", "talks"):
        for language in ("de", "en"):
            write(tmp_path / f"{stem}.{language}", sentences(3, "wort"))
    with pytest.raises(InputError, match="which of news, talks is to be learned"):
        parallel.read(open_source(tmp_path), DataConfig())


def test_what_is_no_parallel_text_is_refused_with_what_is(tmp_path: Path) -> None:
    alone = write(tmp_path / "t.txt", sentences(3, "wort"))
    for source in (alone, [1, 2, 3]):
        with pytest.raises(InputError, match=r"is no parallel text: .*two text files"):
            parallel.read(open_source(source), DataConfig())
    with pytest.raises(InputError, match=r"data.group is for tables"):
        read(alone, write(tmp_path / "u.txt", sentences(3, "word")), group="x")


def test_prediction_says_what_it_cannot_read(tmp_path: Path) -> None:
    records = read(write(tmp_path / "t.de", sentences(3, "wort")), write(tmp_path / "t.en", sentences(3, "word")))
    schema = parallel.learn_schema(records, DataConfig())
    table = write(tmp_path / "t.csv", ["nr,text", "1,ein Hund", "2,eine Katze"])
    for given, words in (
        ([], "no sentence came"), ([7], "a int is no sentence"), ([tmp_path / "none.txt"], "there is no file"),
        (["./none.de"], "there is no file"), ([table], "has no column 'de'; it has nr, text"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            parallel.read_inputs(given, schema)
    new = parallel.read_inputs(["lang " * 200_000], schema)
    assert told(new) == [("warning", "1 sentences are cut to 20,000 characters")]


def test_copies_between_train_and_test_are_removed(tmp_path: Path) -> None:
    german, english = sentences(60, "wort"), sentences(60, "word")
    for stem, rows in (("train", slice(0, 50)), ("val", slice(50, 55)), ("test", slice(45, 60))):
        write(tmp_path / f"{stem}.de", german[rows])
        write(tmp_path / f"{stem}.en", english[rows])
    prepared = prepare(tmp_path, DataConfig())
    assert {name: len(part) for name, part in prepared.parts.items()} == {"train": 50, "valid": 5, "test": 10}
    assert any("5 of 15 rows of test also stand in train" in finding.text for finding in prepared.findings)
    assert all(isinstance(finding, Finding) for finding in prepared.findings)


def test_a_file_that_is_not_there_and_a_folder_are_no_sentences(tmp_path: Path) -> None:
    records = read(write(tmp_path / "t.de", sentences(3, "wort")), write(tmp_path / "t.en", sentences(3, "word")))
    schema = parallel.learn_schema(records, DataConfig())
    for given, words in ((["none.txt"], "there is no file"), ([str(tmp_path)], "is a folder")):
        with pytest.raises(InputError, match=words):
            parallel.read_inputs(given, schema)
    long = "ein hund " * 60  # longer than the name of a file can be
    assert parallel.read_inputs([long, "", "~ein hund"], schema).sources == [long.strip(), "", "~ein hund"]


def test_two_tables_are_no_parallel_text(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, ["text,label", "good,1"]) for name in ("train.csv", "test.csv"))
    with pytest.raises(InputError, match=r"train\.csv and test\.csv are tables.*--test"):
        read(first, second)
