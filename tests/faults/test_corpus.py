"""Row 24 of faults.md for texts to continue: encodings, a line of a megabyte, emoji, zero bytes, nothing to learn."""

from __future__ import annotations

import codecs
import gzip
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.texts import names, story

from chainrule.data import corpus
from chainrule.data.config import DataConfig
from chainrule.data.corpus import CorpusRecords
from chainrule.data.encoding import decode_text
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.fitting import start_training
from chainrule.prepare import prepare
from chainrule.recognise import recognise

ACCENTED = story(100).replace("aunt", "tante Zoë, née Müller")


def read(content: bytes, folder: Path, name: str = "t.txt", **options: Any) -> CorpusRecords:
    (folder / name).write_bytes(content)
    return corpus.read(open_source(folder / name), DataConfig(**options))["all"]


def told(records: CorpusRecords) -> str:
    return "\n".join(finding.text for finding in corpus.findings(records))


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "read as UTF-16"), ("utf-16-le", "read as UTF-16-LE"),
        ("utf-16-be", "read as UTF-16-BE"), ("utf-32", "read as UTF-32"), ("cp1252", "read as Windows-1252"),
    ],
)  # fmt: skip
def test_a_text_in_another_encoding_is_read_and_said(encoding: str, note: str, tmp_path: Path) -> None:
    assert recognise(open_source(ACCENTED)).kind.NAME == "corpus"
    records = read(ACCENTED.encode(encoding), tmp_path)
    assert records.joined() == ACCENTED
    assert note in told(records)
    assert ("not UTF-8" in told(records)) == bool(note)
    assert recognise(open_source(tmp_path / "t.txt")).kind.NAME == "corpus"


def test_a_few_broken_bytes_are_replaced_and_counted(tmp_path: Path) -> None:
    content = bytearray((ACCENTED + "é" * 200).encode())
    content[-101:-100] = b"\xff"
    records = read(bytes(content), tmp_path)
    assert "Zoë" in records.joined()
    assert records.joined().count("\ufffd") >= 1
    assert "broken places in t.txt were replaced" in told(records)


def test_zero_bytes_are_left_out_and_counted(tmp_path: Path) -> None:
    records = read(story().encode().replace(b"cat", b"c\0at", 3), tmp_path)
    assert records.joined() == story()
    assert "3 zero bytes in t.txt were left out" in told(records)


def test_binary_content_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no text"):
        decode_text(bytes(range(256)) * 40, "t.txt")
    (tmp_path / "t.txt").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputError, match="not recognised"):
        prepare(tmp_path / "t.txt", DataConfig())


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_mark_alone_is_no_text(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(mark)
    with pytest.raises(InputError):
        prepare(tmp_path / "t.txt", DataConfig())


@pytest.mark.parametrize("content", [b"", b" \n\n \t \n"])
def test_an_empty_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"empty|not recognised"):
        prepare(tmp_path / "t.txt", DataConfig())
    with pytest.raises(InputError, match=r"empty|holds"):
        prepare(tmp_path / "t.txt", DataConfig(kind="corpus"))


def test_a_short_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Once upon a time.")
    with pytest.raises(InputError, match="17 characters; expected 64 or more"):
        prepare(tmp_path / "t.txt", DataConfig())


def test_one_character_is_nothing_to_learn(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a" * 5000)
    with pytest.raises(InputError, match="nothing but 'a'"):
        prepare(tmp_path / "t.txt", DataConfig())


def test_a_line_of_a_megabyte(tmp_path: Path) -> None:
    line = story(70_000).replace("\n", " ")
    assert len(line) > 1 << 20
    records = read(line.encode(), tmp_path)
    assert "lines of up to 1," in told(records)
    assert records.joined() == line
    schema = corpus.learn_schema(records, DataConfig())
    assert corpus.encode(records, schema).num_tokens == len(line)


def test_emoji_and_text_from_right_to_left(tmp_path: Path) -> None:
    text = (story(40) + "👩‍👩‍👧 😀 שלום עולם مرحبا\n") * 10
    for options in ({}, {"tokenizer": "bpe", "vocab_size": 300}):
        records = read(text.encode(), tmp_path)
        schema = corpus.learn_schema(records, DataConfig(**options))
        samples = corpus.encode(records, schema)
        assert schema.tokenizer.decode(samples.tokens.tolist()) == text


def test_line_ends_of_other_systems(tmp_path: Path) -> None:
    for end in ("\r\n", "\r"):
        records = read(story().replace("\n", end).encode(), tmp_path)
        assert records.joined() == story()
        assert "line ends of t.txt are read as" in told(records)
    listed = read(names().replace("\n", "\r\n").encode(), tmp_path)
    assert listed.documents
    assert listed.texts() == names().split()


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(story().encode())[:-200])
    with pytest.raises(InputError, match=r"t\.txt\.gz: the compressed file is damaged"):
        prepare(tmp_path / "t.txt.gz", DataConfig())


def test_a_text_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.txt").write_text(story())
    monkeypatch.setattr(import_module("chainrule.data.corpus.read"), "free_memory", lambda: 10_000)
    with pytest.raises(InputError, match="10,000 bytes are free"):
        corpus.read(open_source(tmp_path / "t.txt"), DataConfig())


def test_empty_files_and_texts_are_left_out_and_said(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("" if number == 1 else story(30, number))
    records = corpus.read(open_source(tmp_path), DataConfig())["all"]
    assert "1 empty files are left out, such as 1.txt" in told(records)
    listed = corpus.read(open_source([story(9), " ", story(9, 1)]), DataConfig())["all"]
    assert len(listed) == 2
    assert "1 empty texts are left out" in told(listed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "classify"}, "--task classify needs labels"), ({"tokenizer": "words"}, "forgets spaces"),
        ({"window": 1}, r"data\.window must be 2"), ({"tokenizer": "bpe", "vocab_size": 20}, r"data\.vocab_size"),
    ],
)  # fmt: skip
def test_settings_that_texts_cannot_follow(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(story(), DataConfig(kind="corpus", **options))


def test_a_language_model_says_which_verb_is_meant() -> None:
    with pytest.raises(InputError, match="chainrule generate RUN --prompt TEXT"):
        corpus.read_inputs(["some text"], None)  # type: ignore[arg-type]


def test_the_smallest_text_that_is_taken_trains(tmp_path: Path) -> None:
    text = story(4)[:64]
    training = start_training(
        text, {"model.hidden": 4, "train.epochs": 1, "train.threads": 1}, "rnn_lm", tmp_path / "r"
    )
    with closing(training.run):
        for _ in training:
            pass
        scores = training.finish()["test"]
    assert 0 < scores["nats"] < 10
