"""Row 24 of the faults and its kin: empty, foreign and broken texts, long lines, cells in the wrong column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from tests.sentences import reviews

import chainrule
from chainrule.data import text
from chainrule.data.config import DataConfig
from chainrule.data.sources import open_source
from chainrule.data.text.records import TextRecords
from chainrule.errors import InputError
from chainrule.prepare import prepare

TEXTS, LABELS = reviews(60)


def read(source: object, **options: str) -> TextRecords:
    return text.read(open_source(source), DataConfig(**options))["all"]  # type: ignore[arg-type]


def told(records: TextRecords) -> list[str]:
    return [f"{finding.text} {finding.where}" for finding in text.findings(records) if finding.level != "note"]


def write(path: Path, texts: list[str], encoding: str = "utf-8") -> Path:
    rows = "".join(f"{one}\t{label}\n" for one, label in zip(texts, LABELS, strict=True))
    path.write_bytes(f"text\tlabel\n{rows}".encode(encoding))
    return path


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    texts = [*TEXTS]
    texts[3], texts[8] = "", "  "
    records = read(write(tmp_path / "t.tsv", texts))
    assert len(records) == 58
    assert told(records) == ["2 empty texts are left out ('row 4', 'row 9')"]
    assert records.ids[3] == "row 5"
    assert records.labels is not None
    assert records.labels.tolist() == [label for place, label in enumerate(LABELS) if place not in (3, 8)]
    with pytest.raises(InputError, match="all 60 texts are empty"):
        read((["", " "] * 30, LABELS))


def test_empty_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for number, (one, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.txt").write_text("" if number == 7 else one)
    records = read(tmp_path)
    assert len(records) == 59
    assert told(records) == ["1 empty texts are left out ('bad/7.txt',)"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_other_encodings_give_the_same_texts(encoding: str, tmp_path: Path) -> None:
    texts = [f"{one} naïve שלום 👩‍👧 é" for one in TEXTS]
    records = read(write(tmp_path / "t.tsv", texts, encoding))
    assert records.texts == texts
    said = any("not UTF-8" in finding.text for finding in text.findings(records))
    assert said == encoding.startswith("utf-16")


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    texts = [f"{one} naïve café" for one in TEXTS]
    records = read(write(tmp_path / "t.tsv", texts, "latin-1"))
    assert records.texts == texts
    assert any("was read as Windows-1252" in finding.text for finding in text.findings(records))


def test_invalid_bytes_are_replaced_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [f"{one} naïve café {'é' * 30}" for one in TEXTS])
    path.write_bytes(path.read_bytes().replace(b"take 5 ", b"take \xff\xfe5 "))
    records = read(path)
    assert records.texts[5].startswith(TEXTS[5].replace("take 5", "take \ufffd\ufffd5"))
    assert any("2 broken places" in finding.text for finding in text.findings(records))


@pytest.mark.parametrize("place", [0, 30])
@pytest.mark.parametrize("ending", ["tsv", "csv"])
def test_a_line_of_a_megabyte_is_cut_and_counted(place: int, ending: str, tmp_path: Path) -> None:
    texts = [*TEXTS]
    texts[place] = "moving " * 150_000
    path = tmp_path / f"t.{ending}"
    pl.DataFrame({"text": texts, "label": LABELS}).write_csv(path, separator="\t" if ending == "tsv" else ",")
    assert text.recognises(open_source(path))
    records = read(path)
    schema = text.learn_schema(records, DataConfig())
    assert schema.max_tokens < 100
    assert "1 of 60 texts to learn from are longer, up to 150,000" in schema.notes[-1]
    samples = text.encode(records, schema)
    assert samples.lengths.max() == schema.max_tokens
    (cut,) = text.mismatches(records, schema)
    assert cut.text.startswith(f"1 texts are cut after {schema.max_tokens} tokens; the longest has 150,000")
    assert len(text.show(records, place).values["text"]) < 700


@pytest.mark.parametrize("scheme", ["words", "bpe", "characters"])
def test_strange_characters_go_all_the_way(scheme: str) -> None:
    strange = ["\0 zero", "👩‍👩‍👧 🏽", "שלום עולם", "\u202eabc", "\ud800 half", "¬\x1b[31m", "ﷺ" * 5, "e\u0301" * 9]
    texts = [f"{one} {strange[place % len(strange)]}" for place, one in enumerate(TEXTS)]
    records = read((texts, LABELS))
    schema = text.learn_schema(records, DataConfig(tokenizer=scheme, vocab_size=300 if scheme == "bpe" else 0))
    samples = text.encode(records, schema)
    ids, lengths = samples.batch(torch.arange(len(samples))).inputs
    assert int(ids.max()) < len(schema.tokenizer)
    assert int(lengths.min()) > 0
    assert len(set(records.hashes().tolist())) == len(records)
    records.fingerprint()


def test_a_target_of_texts_is_refused() -> None:
    frame = pl.DataFrame({"text": TEXTS, "label": LABELS})
    with pytest.raises(InputError, match=r"the target 'text' holds texts .* with --target, one of: 'label'"):
        read(frame, target="text", kind="text")
    both = pl.DataFrame({"text": TEXTS, "label": [f"it says that {one}" for one in TEXTS]})
    with pytest.raises(InputError, match="the target 'label' holds texts"):
        read(both, target="label", kind="text")


def test_rows_with_text_and_label_swapped_are_named() -> None:
    texts, labels = [*TEXTS], [*LABELS]
    for row in (4, 9):
        texts[row], labels[row] = labels[row], texts[row]
    with pytest.raises(
        InputError, match=r"text and label are swapped in 2 of 60 rows: row 5 \(.*\), row 10 \("
    ) as error:
        read(pl.DataFrame({"text": texts, "label": labels}))
    assert "the other labels of 'label' are 'bad', 'good'" in str(error.value)
    labels = [*LABELS]
    labels[7] = "this is what the film was like to me"
    with pytest.raises(InputError, match=r"the label looks like a text in 1 of 60 rows: row 8"):
        read(pl.DataFrame({"text": TEXTS, "label": labels}))


def test_long_names_of_classes_are_labels() -> None:
    labels = ["a film that people liked very much", "a film that people did not like at all"] * 30
    assert len(read(pl.DataFrame({"text": TEXTS, "label": labels}))) == 60


def test_no_texts_no_labels_no_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column holds texts"):
        read(pl.DataFrame({"a": [1, 2] * 30, "label": LABELS}), kind="text")
    (tmp_path / "t.tsv").write_text("text\tlabel\n")
    with pytest.raises(InputError, match=r"no rows|no table"):
        read(tmp_path / "t.tsv")
    one = read((TEXTS, ["good"] * 60))
    with pytest.raises(InputError, match="all 60 rows to learn from have the target 'label' = 'good'"):
        text.learn_schema(one, DataConfig())


def test_ragged_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f'"{one}",{label}' for one, label in zip(TEXTS, LABELS, strict=True)]
    rows[20] = f"{TEXTS[20]}, and more,{LABELS[20]}"
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(InputError, match="1 ragged row: row 21 has 3"):
        read(path)


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    labels = [label if place > 4 else "" for place, label in enumerate(LABELS)]
    found = prepare(pl.DataFrame({"text": TEXTS, "label": labels}), DataConfig())
    assert sum(map(len, found.parts.values())) == 55
    assert any("5 records of all have no target" in finding.text for finding in found.findings)


def test_unknown_labels_are_named() -> None:
    schema = text.learn_schema(read((TEXTS, LABELS)), DataConfig())
    other = read((TEXTS[:4], ["good", "bad", "meh", "bad"]), kind="text")
    with pytest.raises(InputError, match="unknown class 'meh' in 'label'; known classes: 'bad', 'good'"):
        text.encode(other, schema)


def test_labels_and_texts_of_unequal_length() -> None:
    with pytest.raises(InputError, match="X has 60 rows and y has 59"):
        read((TEXTS, LABELS[:-1]))


def test_settings_out_of_range() -> None:
    records = read((TEXTS, LABELS))
    for options, message in (
        ({"max_tokens": -1}, r"data\.max_tokens must be 0"),
        ({"tokenizer": "letters"}, "must be words, bpe.* got 'letters'"),
        ({"tokenizer": "bpe", "vocab_size": 10}, "260 or more for bpe, got 10"),
    ):
        with pytest.raises(InputError, match=message):
            text.learn_schema(records, DataConfig(**options))  # type: ignore[arg-type]


def test_a_broken_schema_is_refused() -> None:
    from dataclasses import asdict

    data = asdict(text.learn_schema(read((TEXTS, LABELS)), DataConfig()))
    for place, value in (("tokenizer", {**data["tokenizer"], "tokens": ["a"]}), ("max_tokens", "many"), ("more", 1)):
        with pytest.raises(InputError, match="schema"):
            text.load_schema({**data, place: value})


def test_odd_texts_are_texts_and_not_paths() -> None:
    schema = text.learn_schema(read((TEXTS, LABELS)), DataConfig())
    odd = ["good film " * 60, "~nobody's film", "two\nlines"]
    assert text.read_inputs(odd, schema).texts == odd
    with pytest.raises(InputError, match="an empty text came"):
        text.read_inputs([""], schema)


def test_lists_of_labels_need_a_word_and_then_are_labels() -> None:
    labels = [[label, "new"] if place % 3 else [] for place, label in enumerate(LABELS)]
    frame = pl.DataFrame({"text": TEXTS, "label": labels})
    with pytest.raises(InputError, match=r"cells of 'label' are lists, not labels.*data\.labels"):
        read(frame)
    found = read(frame, labels=";").labels
    assert found is not None
    assert found[:2].tolist() == [";", ";".join(sorted([LABELS[1], "new"]))]


def test_commas_in_texts_without_quotes_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"well now, {one},{label}\n" for one, label in zip(TEXTS, LABELS, strict=True))
    (tmp_path / "t.csv").write_text(f"text,label\n{rows}")
    with pytest.raises(InputError, match=r"3 fields and its header names 2.*put quotes around the texts"):
        read(tmp_path / "t.csv")


def test_halves_of_characters_and_a_pair_are_read_from_python() -> None:
    broken = ["\ud83d bad film", *TEXTS[1:]]
    assert prepare((broken, LABELS), DataConfig()).kind is text
    schema = text.learn_schema(read((TEXTS, LABELS)), DataConfig())
    assert text.read_inputs((TEXTS[:2], LABELS[:2]), schema).texts == TEXTS[:2]


def test_labels_that_all_differ_are_no_classes() -> None:
    with pytest.raises(InputError, match=r"42 of 42 texts to learn from have a 'label' of their own, such as 'c10'"):
        prepare(pl.DataFrame({"text": TEXTS, "label": [f"c{place}" for place in range(60)]}), DataConfig())


def test_a_cell_of_a_csv_may_hold_a_book(tmp_path: Path) -> None:
    words = [f"word{number % 97}" for number in range(30_000)]
    rows = [f'"{" ".join(words)} {number}",{"long" if number % 2 else "short"}' for number in range(24)]
    (tmp_path / "books.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    seen = chainrule.look(tmp_path / "books.csv", target="label")
    assert "text: " in seen.lines()[0]
    assert sum(len(records) for records in seen.prepared.parts.values()) == 24
