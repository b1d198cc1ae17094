"""Transcription: texts as classes, whole recordings in batches, the loss and the scores of a batch."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from chainrule.data import audio
from chainrule.data.audio.augment import AudioAugmentConfig
from chainrule.data.audio.records import AudioRecords
from chainrule.data.config import DataConfig
from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget, TranscriptTarget
from chainrule.data.sources import open_source
from chainrule.data.split import are_classes
from chainrule.data.transcripts import are_texts, encode_texts, learn_transcripts, padded, transcripts, written
from chainrule.errors import InputError
from chainrule.evaluate.transcript_baselines import transcript_baselines
from chainrule.models.catalog import CATALOG
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At
from chainrule.tasks.transcribe import Transcribe, TranscribeConfig
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.gradients import accumulate

RATE = 8000
TARGET = TranscriptTarget(name="text", characters=(" ", "a", "b"))
AT = At(0, 1, torch.Generator())


def objects(*texts: Any) -> np.ndarray:
    return np.array(texts, dtype=object)


# texts


def test_sentences_are_told_from_classes() -> None:
    sentences = objects(*(f"sentence number {n}" for n in range(80)))
    assert are_texts(sentences)
    assert not are_classes(sentences)
    assert are_classes(sentences, "classify")
    assert not are_texts(objects(*["yes", "no"] * 40))
    assert not are_texts(objects(*[f"species {n}" for n in range(60)] * 20))  # many rows of each
    assert not are_texts(objects(*(f"id{n}" for n in range(80))))  # one word each
    assert not are_texts(np.arange(80))


def test_texts_are_brought_to_one_form() -> None:
    assert transcripts(objects(" a\t b\n", "e\u0301", None, 12)) == ["a b", "\u00e9", "", "12"]


def test_characters_are_learned_in_code_order_and_encoded_from_one() -> None:
    target, reason = learn_transcripts(objects("b a", "abba"), "text", "x.wav")
    assert target == TARGET
    assert "2 different ones of 3 words and 3 characters: _ab" in reason
    assert [text.tolist() for text in encode_texts(objects("ab a", "ca"), target) or []] == [[2, 3, 1, 2], [-1, 2]]
    assert written([2, 0, 3, 1, -1], target) == "ab \ufffd"
    assert encode_texts(None, target) is None


def test_numbers_that_are_asked_to_be_texts_are_and_it_is_said() -> None:
    target, reason = learn_transcripts(np.array([12, 3]), "text", "x.wav")
    assert target.characters == ("1", "2", "3")
    assert "zeros at their beginning are lost" in reason


def test_texts_are_filled_up_with_blanks() -> None:
    assert padded([np.array([2, 1]), np.array([], dtype=np.int64)]).tolist() == [[2, 1], [0, 0]]
    assert padded([np.array([], dtype=np.int64)]).shape == (1, 1)


# recordings


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Tones that spell: a is high, b is low."""
    rows = []
    for place in range(12):
        text = ("ab", "ba", "a b", "b")[place % 4]
        parts = [np.sin(2 * np.pi * {"a": 1500, "b": 400, " ": 0}[c] * np.arange(1200) / RATE) for c in text]
        soundfile.write(tmp_path / f"{place}.wav", 0.5 * np.concatenate(parts), RATE)
        rows.append(f"{place}.wav,{text},{place % 3}\n")
    (tmp_path / "spoken.csv").write_text("path,text,speaker\n" + "".join(rows))
    return tmp_path / "spoken.csv"


def read(path: Path, **options: Any) -> tuple[AudioRecords, audio.AudioSchema]:
    config = DataConfig(task="transcribe", **options)
    records = audio.read(open_source(path), config)["all"]
    return records, audio.learn_schema(records, config)


def test_a_column_of_texts_is_found_beside_others(spoken: Path) -> None:
    records, schema = read(spoken)
    assert records.store.label_name == "text"
    assert schema.target == TARGET
    assert schema.pieces == 1
    assert schema.hop_samples == RATE // 100
    spoken.write_text(spoken.read_text().replace("text", "a", 1).replace("speaker", "b", 1))
    with pytest.raises(InputError, match="which column is the answer"):
        read(spoken)


def test_a_few_words_are_classes_unless_texts_are_asked_for(spoken: Path) -> None:
    records = audio.read(open_source(spoken), DataConfig(target="text"))["all"]
    assert isinstance(audio.learn_schema(records, DataConfig()).target, ClassTarget)


def test_the_schema_round_trips_through_json(spoken: Path) -> None:
    _, schema = read(spoken)
    assert audio.load_schema(json.loads(json.dumps(asdict(schema)))) == schema


def test_an_older_schema_without_texts_is_read(spoken: Path) -> None:
    _, schema = read(spoken)
    older = json.loads(json.dumps(asdict(schema)))
    del older["subsample"]
    assert audio.load_schema(older).subsample == 1


def test_recordings_keep_their_length_and_batches_are_as_long_as_their_longest(spoken: Path) -> None:
    records, schema = read(spoken)
    samples = audio.encode(records, schema)
    assert samples.arrangement == "by_length"
    assert samples.lengths is not None
    assert samples.lengths.tolist() == [2400, 2400, 3600, 1200] * 3
    batch = samples.batch(torch.tensor([3, 0]))
    signal, length = batch.inputs
    assert signal.shape == (2, 2400)
    assert length.tolist() == [1200, 2400]
    assert (signal[0, 1200:] == 0).all()
    assert batch.targets is not None
    assert batch.targets.tolist() == [[3, 0], [2, 3]]
    trained = samples.batch(torch.tensor([3, 0]), torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(batch.inputs, trained.inputs, strict=True))


def test_recordings_of_another_rate_are_brought_to_the_schemas(spoken: Path) -> None:
    _, schema = read(spoken)
    samples = audio.encode(read(spoken, sample_rate_hz=4000)[0], schema)
    assert samples.lengths is not None
    assert samples.lengths[0] == 2400
    halved = audio.encode(read(spoken)[0], replace(schema, sample_rate_hz=4000))
    assert halved.lengths is not None
    assert halved.lengths[0] == 1200


def test_augmentation_keeps_recordings_whole(spoken: Path) -> None:
    records, schema = read(spoken)
    batch = audio.encode(records, schema).batch(torch.arange(12))
    config = AudioAugmentConfig(shift=0, mixup=0)
    signal, length, spans = audio.augment(batch, torch.Generator().manual_seed(0), config).inputs
    assert signal.shape == (12, int(length.max()))
    assert spans.shape[0] == 12
    ratio = length / batch.inputs[1]
    assert ((ratio > 0.86) & (ratio < 1.18)).all()
    assert ratio.std() > 0.01
    for row, end in enumerate(length.tolist()):
        assert (signal[row, end:] == 0).all()
        assert signal[row, end // 2 :].abs().max() > 1000
    again = audio.augment(batch, torch.Generator().manual_seed(0), config)
    assert torch.equal(again.inputs[0], signal)
    still = replace(config, speed=0, gain_db=0, noise=0, time_mask=0, frequency_mask=0)
    assert torch.equal(audio.augment(batch, torch.Generator(), still).inputs[0], batch.inputs[0].float())


@pytest.mark.parametrize("setting", ["shift", "mixup"])
def test_augmentation_that_would_tear_texts_from_sounds_is_refused(spoken: Path, setting: str) -> None:
    records, schema = read(spoken)
    batch = audio.encode(records, schema).batch(torch.arange(2))
    config = replace(AudioAugmentConfig(shift=0, mixup=0), **{setting: 0.1})
    with pytest.raises(InputError, match=r"augment.mixup and augment.shift"):
        audio.augment(batch, torch.Generator(), config)
    assert audio.usual_settings(schema, "frames", 12) == {
        "augment.mixup": 0.0, "augment.shift": 0.0, "model.subsample": 2,
    }  # fmt: skip


def test_a_picture_shows_one_recording_without_what_fills_the_batch(spoken: Path) -> None:
    records, schema = read(spoken)
    batch = audio.encode(records, schema).batch(torch.arange(4))
    assert audio.picture(batch, 3, schema).shape == (schema.mels, 1 + 1200 // schema.hop_samples, 3)
    assert audio.picture(batch, 2, schema).shape == (schema.mels, 1 + 3600 // schema.hop_samples, 3)


# the task


class Given(nn.Module):
    """A front and network that give logits as they come in."""

    def forward(self, logits: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        return logits, frames


def batch_with(texts: list[list[int]], frames: list[int], seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(texts), max(frames), 4, generator=generator, dtype=torch.float64)
    classes = padded([np.array(text, dtype=np.int64) for text in texts])
    return Batch((logits, torch.tensor(frames)), classes, torch.arange(len(texts)))


def test_the_loss_is_the_sum_of_nats_over_characters() -> None:
    task = Transcribe(TranscribeConfig(), TARGET)
    batch = batch_with([[2, 3], [3], []], [6, 4, 5])
    log_probs = torch.log_softmax(batch.inputs[0], -1)
    wanted = [
        torch.nn.functional.ctc_loss(log_probs[row, :T, None], batch.targets[row, :S], (T,), (S,), reduction="sum")
        for row, (T, S) in enumerate(((6, 2), (4, 1), (5, 0)))
    ]
    (term,) = task.loss(Given(), batch, AT)
    torch.testing.assert_close(term.total, torch.stack(wanted).sum())
    assert task.counts(batch) == {"loss": 4.0}  # 2 + 1, and 1 for the empty text


def test_a_text_that_is_too_long_adds_nothing_and_nan_is_not_hidden() -> None:
    task = Transcribe(TranscribeConfig(), TARGET)
    fits, all_rows = batch_with([[2, 3]], [3]), batch_with([[2, 3], [2, 2, 2]], [3, 3])
    all_rows.inputs[0][0] = fits.inputs[0][0]
    assert task.loss(Given(), all_rows, AT)[0].total == pytest.approx(float(task.loss(Given(), fits, AT)[0].total))
    fits.inputs[0][0, 0, 0] = torch.nan
    assert task.loss(Given(), fits, AT)[0].total.isnan()


def test_micro_batches_add_up_to_the_batch(spoken: Path) -> None:
    records, schema = read(spoken)
    task = Transcribe(TranscribeConfig(), TARGET)
    torch.manual_seed(0)
    config = CATALOG["gru_ctc"].config(
        **CATALOG["gru_ctc"].settings, in_features=schema.mels, num_classes=4, channels=8, hidden=8, dropout=0.0
    )
    network = Fronted(audio.front(schema, "frames"), CATALOG["gru_ctc"].build(config)).double()
    batch = audio.encode(records, schema).batch(torch.arange(12))
    found = []
    for size in (0, 5, 1):
        network.zero_grad()
        loss = accumulate(task, network, batch, AT, size, Arithmetic(torch.device("cpu")))
        found.append([loss, *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    for one in found[1:]:
        for value, wanted in zip(one, found[0], strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-11)  # sums in another order


def sure(texts: list[list[int]]) -> Tensor:
    """Logits of networks that are sure of these classes, one a frame."""
    return 30.0 * torch.nn.functional.one_hot(torch.tensor(texts), 4).double()


@pytest.mark.parametrize("look", ["measure", "examine"])
def test_errors_are_counted_in_characters_and_words(look: str) -> None:
    task = Transcribe(TranscribeConfig(), TARGET)
    logits = sure([[2, 3, 1, 2, 2], [2, 2, 0, 2, 0], [3, 0, 0, 0, 0]])  # "ab a", "aa", "b"
    truths = padded([np.array(text) for text in ([2, 3, 1, 2], [2, 3, 1, 3], [-1, 3])])  # "ab a", "ab b", "?b"
    batch = Batch((logits, torch.tensor([5, 5, 5])), truths, torch.arange(3))
    rows = task.measure(Given(), batch) if look == "measure" else task.examine(Given(), batch, 1)
    told = {name: values.tolist() for name, values in rows.items()}
    assert told["character_errors"] == [0, 3, 1]
    assert told["characters"] == [4, 4, 2]
    assert told["word_errors"] == [0, 2, 1]
    assert told["words"] == [2, 2, 1]
    assert told["nats"][0] == pytest.approx(0, abs=1e-6)
    assert told["nats"][2] == pytest.approx(0, abs=1e-6)  # of what it can say
    scores = task.score({name: values.numpy() for name, values in rows.items()})
    assert scores["cer"] == pytest.approx(4 / 10)
    assert scores["wer"] == pytest.approx(3 / 5)
    assert scores["exact"] == pytest.approx(1 / 3)
    json.dumps(scores)


def test_the_beam_is_used_for_answers_and_tells_their_probability() -> None:
    frames = torch.log(torch.tensor([[[0.6, 1e-9, 0.4, 1e-9]] * 2], dtype=torch.float64))
    batch = Batch((frames, torch.tensor([2])), None, torch.arange(1))
    answers = Transcribe(TranscribeConfig(), TARGET).predict(Given(), batch)
    assert answers["prediction"] == ["a"]
    assert answers["probability"][0] == pytest.approx(0.64, abs=1e-6)
    greedy = Transcribe(TranscribeConfig(beam=1), TARGET).predict(Given(), batch)
    assert greedy["prediction"] == [""]
    assert greedy["probability"][0] == pytest.approx(0.36, abs=1e-6)


@pytest.mark.parametrize(("setting", "value"), [("monitor", "accuracy"), ("beam", 0), ("beam", 5000)])
def test_settings_are_checked(setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"task.{setting}"):
        TranscribeConfig(**{setting: value})


def test_outputs_are_the_blank_and_the_characters() -> None:
    assert Transcribe(TranscribeConfig(), TARGET).outputs() == ["(blank)", " ", "a", "b"]


# baselines


def test_baselines_answer_the_commonest_text_and_the_nearest_recordings(spoken: Path) -> None:
    records, schema = read(spoken)
    assert isinstance(schema.target, TranscriptTarget)
    samples = audio.encode(records, schema)
    entries = transcript_baselines(
        {"train": samples, "test": samples}, schema.target, lambda batch: audio.classical(batch, schema)["vector"]
    )
    assert [entry["name"] for entry in entries] == ["commonest text", "nearest recording by its mean spectrum"]
    assert entries[0]["exact"] == 0.25
    assert entries[1]["exact"] >= 0.5  # "ab" and "ba" have one mean spectrum
    assert all(entry["rows"] == 12 and "cer" in entry and "nats" not in entry for entry in entries)
