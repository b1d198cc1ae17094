"""Recordings and texts that do not belong together: missing, empty, too long, strange, or none at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from chainrule.data import audio
from chainrule.data.config import DataConfig
from chainrule.data.schema import TranscriptTarget
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.prepare import Prepared, prepare

OPTIONS = DataConfig(task="transcribe")
RATE = 8000


def spoken(folder: Path, texts: list[str], seconds: float = 0.3, header: str = "path,text") -> Path:
    """A CSV of recordings of tones and what is said in them."""
    rows = [header]
    for place, text in enumerate(texts):
        signal = 0.5 * np.sin(2 * np.pi * (300 + 17 * place) * np.arange(round(seconds * RATE)) / RATE)
        soundfile.write(folder / f"{place}.wav", signal, RATE)
        rows.append(f'{place}.wav,"{text}"')
    (folder / "spoken.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "spoken.csv"


def told(prepared: Prepared) -> str:
    return "\n".join([*prepared.schema.notes, *(finding.text for finding in prepared.findings)])


def test_a_file_that_is_missing_is_named_and_left_out(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one two", "two", "one"] * 10)
    path.write_text(path.read_text() + "gone.wav,three\n")
    prepared = prepare(path, OPTIONS)
    assert sum(map(len, prepared.parts.values())) == 30
    assert "1 sound files cannot be read and are left out: gone.wav" in told(prepared)
    with pytest.raises(InputError, match=r"gone.wav"):
        prepare(path, replace(OPTIONS, max_bad_share=0.0))


def test_an_empty_text_is_counted_and_left_out(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one two", "two", "one"] * 10 + ["", "  "])
    prepared = prepare(path, OPTIONS)
    assert "records of all have no target and are left out" in told(prepared)
    texts = [str(label) for records in prepared.parts.values() for label in records.labels]  # type: ignore[union-attr]
    assert "" not in texts


def test_a_word_that_often_means_a_missing_cell_is_said(tmp_path: Path) -> None:
    prepared = prepare(spoken(tmp_path, ["null", "eins", "nan", "007"] * 8), OPTIONS)
    texts = {str(label) for records in prepared.parts.values() for label in records.labels}  # type: ignore[union-attr]
    assert texts == {"null", "eins", "nan", "007"}
    assert "have no target" not in told(prepared)


def test_a_comma_without_quotes_takes_no_half_of_a_text(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one", "two"] * 8)
    path.write_text("path,text\n" + "".join(f"{place}.wav,hello, number {place}\n" for place in range(16)))
    with pytest.raises(InputError, match="one field more than the header: quote texts"):
        audio.read(open_source(path), OPTIONS)


def test_a_table_in_utf_16_is_read(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["eins", "fünf"] * 8)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-16")
    records = audio.read(open_source(path), OPTIONS)["all"]
    assert records.labels is not None
    assert set(records.labels.tolist()) == {"eins", "fünf"}


def test_recordings_beside_their_table_are_no_side_files(tmp_path: Path) -> None:
    spoken(tmp_path, ["one", "two"] * 8)
    (tmp_path / "license.pdf").write_bytes(b"%PDF-1.4")
    assert open_source(tmp_path).notes == ("license.pdf: taken as a side file",)


def test_texts_are_not_counted_as_classes(tmp_path: Path) -> None:
    prepared = prepare(spoken(tmp_path, [f"number {place}" for place in range(20)]), OPTIONS)
    assert "classes with a single recording" not in told(prepared)


def test_only_empty_or_equal_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all \d+ texts of 'text' are 'one'; expected at least two"):
        prepare(spoken(tmp_path, ["one"] * 20), OPTIONS)


def test_texts_longer_than_their_recordings_are_counted(tmp_path: Path) -> None:
    long = "she sells sea shells by the sea shore and all of them are sea shells for sure"
    path = spoken(tmp_path, [*(["one two", "two", "one"] * 20), long])
    records = audio.read(open_source(path), OPTIONS)["all"]
    schema = audio.learn_schema(records, OPTIONS)
    assert schema.subsample == 1  # 31 frames for 80 characters, but only this one
    assert "1 recordings of train are too short for their text and teach nothing: 60.wav" in schema.notes
    (finding,) = audio.mismatches(records, schema)
    assert finding.where == ("60.wav",)
    assert "too short for their text" in finding.text


def test_texts_that_fit_only_without_joining_frames_keep_all_frames(tmp_path: Path) -> None:
    records = audio.read(open_source(spoken(tmp_path, ["twenty four characters", "one"] * 10)), OPTIONS)["all"]
    schema = audio.learn_schema(records, OPTIONS)
    assert schema.subsample == 1
    assert "too short" not in " ".join(schema.notes)


def test_texts_that_cannot_be_what_is_said_are_refused(tmp_path: Path) -> None:
    path = spoken(tmp_path, [f"a whole paragraph of text number {place}" for place in range(20)], seconds=0.1)
    with pytest.raises(InputError, match=r"20 of 20 recordings are too short .* is 'text' what is said in them"):
        audio.learn_schema(audio.read(open_source(path), OPTIONS)["all"], OPTIONS)


def test_characters_that_were_not_learned_are_counted_when_a_run_is_judged(tmp_path: Path) -> None:
    records = audio.read(open_source(spoken(tmp_path, ["one", "two"] * 5)), OPTIONS)["all"]
    schema = audio.learn_schema(records, OPTIONS)
    (tmp_path / "other").mkdir()
    other = audio.read(open_source(spoken(tmp_path / "other", ["one", "TWO!", "two!"])), OPTIONS)["all"]
    (finding,) = audio.mismatches(other, schema)
    assert "5 characters of 2 texts are not among those learned" in finding.text
    assert "'!'" in finding.text
    assert finding.where == ("1.wav", "2.wav")
    targets = audio.encode(other, schema).batch(np_rows(3)).targets
    assert targets is not None
    assert (targets < 0).sum() == 5


def np_rows(count: int) -> Any:
    import torch

    return torch.arange(count)


def test_emoji_and_right_to_left_texts_are_characters(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["\u05e9\u05dc\u05d5\u05dd", "\U0001f600 ok"] * 10)
    target = audio.learn_schema(audio.read(open_source(path), OPTIONS)["all"], OPTIONS).target
    assert isinstance(target, TranscriptTarget)
    assert "\U0001f600" in target.characters


def test_paths_without_texts_are_refused(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one", "two"] * 5)
    path.write_text("path\n" + "".join(f"{place}.wav\n" for place in range(10)))
    with pytest.raises(InputError, match="have no texts to learn; expected a CSV with a column of paths and one of"):
        audio.learn_schema(audio.read(open_source(path), OPTIONS)["all"], OPTIONS)


def test_recordings_without_a_table_are_refused(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one", "two"] * 5)
    path.unlink()
    records = audio.read(open_source(tmp_path), OPTIONS)["all"]
    with pytest.raises(InputError, match="have no texts to learn"):
        audio.learn_schema(records, OPTIONS)


def test_windows_of_a_text_are_refused(tmp_path: Path) -> None:
    path = spoken(tmp_path, ["one", "two"] * 5)
    options = replace(OPTIONS, clip_s=0.2)
    with pytest.raises(InputError, match=r"data.clip_s=0.2 cuts windows .* a text belongs to all of one"):
        audio.learn_schema(audio.read(open_source(path), options)["all"], options)


def test_a_network_for_classes_is_refused_by_name(tmp_path: Path) -> None:
    from chainrule.session import resolve_recipe

    path = spoken(tmp_path, ["one", "two"] * 5)
    schema = audio.learn_schema(audio.read(open_source(path), OPTIONS)["all"], OPTIONS)
    kind: Any = audio
    with pytest.raises(InputError, match=r"'resnet9' does not serve transcribe .* rnn_ctc, gru_ctc, lstm_ctc"):
        resolve_recipe(kind, schema, "resnet9", 10, {"data.kind": "audio"})
    assert resolve_recipe(kind, schema, "gru", 10, {"data.kind": "audio"}).model_name == "gru_ctc"
