"""Parallel text: where it comes from, which side is which, tokens, batches, and the way back to text."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from chainrule.data import parallel
from chainrule.data.config import DataConfig
from chainrule.data.parallel.records import ParallelRecords
from chainrule.data.parallel.samples import ParallelSamples
from chainrule.data.ragged import Ragged
from chainrule.data.sources import open_source
from chainrule.data.tokens import BEGIN, END, PAD
from chainrule.errors import InputError
from chainrule.tasks.translate import references_of

GERMAN = [
    "Ein Hund läuft schnell .",
    "Eine Katze schläft hier .",
    "Der alte Mann liest  viel .",
    "Zwei Kinder spielen .",
]
ENGLISH = ["A dog runs fast .", "A cat sleeps here .", "The old man reads a lot .", "Two children play ."]
FRENCH = ["Un chien court vite .", "Un chat dort ici .", "Le vieil homme lit .", "Deux enfants jouent ."]


def write(path: Path, lines: list[str]) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(value: Any, /, **options: Any) -> dict[str, ParallelRecords]:
    return parallel.read(open_source(value), DataConfig(**options))


def multi(folder: Path) -> Path:
    """Three languages, three splits, zipped, as Multi30k comes."""
    for language, lines in (("de", GERMAN), ("en", ENGLISH), ("fr", FRENCH)):
        for stem, rows in (("train", lines), ("val", lines[:2]), ("test_2016_flickr", lines[2:])):
            write(folder / f"{stem}.{language}.gz", rows)
    return folder


def test_two_files_are_taken_in_their_order(tmp_path: Path) -> None:
    files: list[str | Path] = [write(tmp_path / "t.de", GERMAN), write(tmp_path / "t.en", ENGLISH)]
    records = read(files)["all"]
    assert records.sources[0] == GERMAN[0]
    assert records.targets[3] == ENGLISH[3]
    assert parallel.target_of(records) == "en"
    assert list(records.ids) == ["line 1", "line 2", "line 3", "line 4"]
    assert parallel.recognises(open_source(files)) == "two text files, t.de and t.en"
    swapped = read(files, target="de")["all"]
    assert (swapped.sources, swapped.targets) == (records.targets, records.sources)


def test_a_folder_names_splits_and_languages(tmp_path: Path) -> None:
    folder = multi(tmp_path)
    assert "de, en, fr" in (parallel.recognises(open_source(folder)) or "")
    parts = read(folder)
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "valid": 2, "test": 2}
    assert parts["train"].sources[1] == GERMAN[1]
    assert parts["test"].targets == ENGLISH[2:]
    notes = [finding.text for finding in parallel.findings(parts["train"])]
    assert notes == ["text in de, en, fr: de is translated into en (change: --target, data.source)"]


@pytest.mark.parametrize("name", ["{}.{}.txt", "{}.{}.txt.gz", "{}.{}-x", "corpus.{}.{}"])
def test_a_language_may_stand_before_txt(name: str, tmp_path: Path) -> None:
    if name.endswith("-x"):
        name = "{}.{}-DE"  # a country behind the language
    for language, lines in (("de", GERMAN), ("en", ENGLISH)):
        for stem in ("train", "val"):
            write(tmp_path / name.format(stem, language), lines)
    source = open_source(tmp_path)
    assert parallel.recognises(source) is not None
    parts = parallel.read(source, DataConfig())
    assert parts["valid"].sources == [" ".join(text.split(" ")) for text in GERMAN]
    assert set(parts) == {"train", "valid"}


def test_languages_are_chosen_by_name(tmp_path: Path) -> None:
    records = read(multi(tmp_path), target="fr", source="en")["train"]
    assert (records.sources[0], records.targets[0]) == (ENGLISH[0], FRENCH[0])
    assert not parallel.findings(records)
    assert read(tmp_path, target="de")["train"].sources[0] == ENGLISH[0]  # the first of the others
    assert read(tmp_path, source="en")["train"].targets[0] == FRENCH[0]


@pytest.mark.parametrize("form", ["tsv without names", "tsv", "csv", "jsonl", "pairs", "two lists", "frame"])
def test_two_columns_of_sentences_are_parallel_text(form: str, tmp_path: Path) -> None:
    pairs = list(zip(GERMAN, ENGLISH, strict=True))
    frame = pl.DataFrame({"de": GERMAN, "en": ENGLISH})
    source: Any
    if form.startswith("tsv"):
        names = [] if "without" in form else ["de\ten"]
        source = write(tmp_path / "pairs.tsv", [*names, *(f"{one}\t{other}" for one, other in pairs)])
    elif form == "csv":
        source = tmp_path / "pairs.csv"
        frame.write_csv(source)
    elif form == "jsonl":
        source = tmp_path / "pairs.jsonl"
        frame.write_ndjson(source)
    else:
        source = {"pairs": pairs, "two lists": (GERMAN, ENGLISH), "frame": frame}[form]
    assert (parallel.recognises(open_source(source)) or "").startswith("two columns of sentences")
    records = read(source)["all"]
    assert records.sources == [" ".join(text.split()) for text in GERMAN]
    assert records.targets == ENGLISH


def test_quotes_in_a_tsv_are_text(tmp_path: Path) -> None:
    lines = ['"Nein", sagt er leise .\t"No", he says softly .', 'Ein " allein .\tA single " here .']
    assert read(write(tmp_path / "q.tsv", lines))["all"].targets == ['"No", he says softly .', 'A single " here .']


def test_columns_are_chosen_by_name_or_by_their_role() -> None:
    frame = pl.DataFrame({"target": ENGLISH, "source": GERMAN})
    assert read(frame)["all"].sources[0] == GERMAN[0]
    assert read(frame, target="source")["all"].sources[0] == ENGLISH[0]
    three = frame.with_columns(pl.Series("fr", FRENCH))
    with pytest.raises(InputError, match="3 columns of text among 'target', 'source', 'fr'"):
        read(three)
    records = read(three, target="fr", source="source")["all"]
    assert (records.sources[3], records.targets[3]) == (GERMAN[3], FRENCH[3])
    assert read(three, target="-1", source="0")["all"].sources[3] == ENGLISH[3]


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"text": ["a b c d", "e f g h"], "label": ["x", "y"]}),
        pl.DataFrame({"a": [1, 2], "b": ["a b c d", "e f g h"]}),
        [("yes", "no"), ("up", "down")],
        (["a b c", "d e f"], ["pos", "neg"]),
        [1, 2, 3],
    ],
)
def test_other_data_is_not_claimed(value: Any) -> None:
    assert parallel.recognises(open_source(value)) is None


@pytest.mark.parametrize("scheme", ["", "words", "characters"])
def test_sentences_become_tokens_and_text_again(scheme: str) -> None:
    records = read((GERMAN, ENGLISH))["all"]
    schema = parallel.learn_schema(records, DataConfig(tokenizer=scheme))
    assert parallel.load_schema(plain(schema)) == schema
    samples = parallel.encode(records, schema)
    assert samples.arrangement == "by_length"
    batch = samples.batch(torch.tensor([2, 0]))
    source, lengths, given, _ = batch.inputs
    assert batch.targets is not None
    assert batch.mask is not None
    assert source.shape == (2, int(lengths.max()))
    assert [int(row[length - 1]) for row, length in zip(source, lengths, strict=True)] == [END, END]
    assert given[:, 0].tolist() == [BEGIN, BEGIN]
    assert (given[:, 1:] == batch.targets[:, :-1])[batch.mask[:, 1:]].all()
    assert ((batch.targets != PAD) == batch.mask).all()
    assert ((given != PAD) == batch.mask).all()
    assert references_of(batch) == [ENGLISH[2], ENGLISH[0]]
    texts = [schema.target_tokens.decode(row) for row in batch.targets.tolist()]
    assert [text.replace(" ", "") for text in texts] == [ENGLISH[row].replace(" ", "") for row in (2, 0)]


def plain(schema: Any) -> dict[str, Any]:
    import dataclasses
    import json

    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(schema)))
    return found


def test_training_batches_hold_no_text() -> None:
    records = read((GERMAN, ENGLISH))["all"]
    samples = parallel.encode(records, parallel.learn_schema(records, DataConfig()))
    batch = samples.batch(torch.tensor([1]), torch.Generator())
    assert len(batch.inputs) == 3
    assert len(parallel.front(None, "pair")(*samples.batch(torch.tensor([1])).inputs)) == 3  # type: ignore[arg-type]


def test_long_sentences_are_cut_and_counted() -> None:
    long = " ".join(["wort"] * 200)
    records = read(([*GERMAN, long], [*ENGLISH, "a word and more ."]))["all"]
    schema = parallel.learn_schema(records, DataConfig(tokenizer="words", max_tokens=6))
    assert schema.max_tokens == 6
    assert "2 of 5 pairs are cut to 6 tokens" in schema.notes[1]  # the old man reads a lot, too
    samples = parallel.encode(records, schema)
    assert samples.sources.lengths.max() == 7  # with the end
    batch = samples.batch(torch.tensor([2, 4]))
    assert batch.targets is not None
    assert END not in batch.targets[0].tolist()  # what is cut does not end here
    assert END in batch.targets[1].tolist()
    (found, *_) = parallel.mismatches(records, schema)
    assert found.text == "1 sentences in source are cut to 6 tokens"


def test_unknown_words_are_counted() -> None:
    records = read((GERMAN, ENGLISH))["all"]
    schema = parallel.learn_schema(records, DataConfig(tokenizer="words"))
    new = read((["Ein Vogel singt laut ."], ["A bird sings ."]))["all"]
    texts = [finding.text for finding in parallel.mismatches(new, schema)]
    assert texts == [
        "3 of 5 tokens in source (60.0%) are unknown",
        "2 of 4 tokens in target (50.0%) are unknown",
    ]


def test_new_sentences_keep_their_order_and_their_empty_lines(tmp_path: Path) -> None:
    records = read((GERMAN, ENGLISH))["all"]
    schema = parallel.learn_schema(records, DataConfig())
    file = write(tmp_path / "new.txt", ["Zwei Katzen .", "", "Ein Mann ."])
    frame = tmp_path / "new.csv"
    pl.DataFrame({"source": ["Ein Kind ."], "other": ["x"]}).write_csv(frame)
    new = parallel.read_inputs([file, "Ein Hund ?", frame, "eins\nzwei"], schema)
    assert new.sources == ["Zwei Katzen .", "", "Ein Mann .", "Ein Hund ?", "Ein Kind .", "eins", "zwei"]
    assert new.labels is None
    samples = parallel.encode(new, schema)
    batch = samples.batch(torch.arange(len(new)))
    assert batch.targets is None
    assert int(batch.inputs[1][1]) == 1  # the end alone


def test_records_are_known_by_their_content() -> None:
    records = read((GERMAN, ENGLISH))["all"]
    other = read((GERMAN, ENGLISH[::-1]))["all"]
    assert records.fingerprint() == read((GERMAN, ENGLISH))["all"].fingerprint() != other.fingerprint()
    assert (records.hashes() == other.hashes()).all()  # the same sentences to be translated
    assert len(set(records.hashes().tolist())) == 4
    part = records.select(np.array([3, 1]))
    assert part.sources == [GERMAN[3], GERMAN[1]]
    assert list(part.ids) == ["pair 4", "pair 2"]
    assert part.ids[0:1][0] == "pair 4"
    assert parallel.show(part, 0).values == {"source": GERMAN[3], "target": ENGLISH[3]}


def test_rows_of_unequal_length_are_filled_up() -> None:
    rows = Ragged.of([np.array(row, dtype=np.int32) for row in ([1, 2, 3], [], [4])], torch.int32)
    padded, lengths = rows.padded(torch.tensor([2, 0, 1]))
    assert padded.tolist() == [[4, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert lengths.tolist() == [1, 3, 0]
    assert ParallelSamples([], [], [], ()).lengths.tolist() == []
