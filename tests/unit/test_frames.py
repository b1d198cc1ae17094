"""Sound as frames in a row: each row's own length, alone as in a batch, in training as in evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data import audio
from chainrule.data.audio.augment import AudioAugmentConfig
from chainrule.data.audio.front import FramesFront, log_mel
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.config import DataConfig
from chainrule.data.samples import Batch
from chainrule.data.sources import open_source
from chainrule.explain.maps import MapsExplanation, explain_maps
from chainrule.models.cnn_lstm import CNNLSTM, CNNLSTMConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig

RATE = 8000
STILL = AudioAugmentConfig(shift=0, speed=0, gain_db=0, noise=0, time_mask=0, frequency_mask=0, mixup=0)


def tone(hz: float, seconds: float) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def schema(tmp_path: Path) -> AudioSchema:
    for place in range(8):
        path = tmp_path / ("high", "low")[place % 2] / f"{place}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone((1500, 300)[place % 2], 0.2 + 0.05 * place), RATE)
    return audio.learn_schema(audio.read(open_source(tmp_path), DataConfig())["all"], DataConfig())


def batch_of(signals: list[NDArray[np.float64]], schema: AudioSchema) -> Batch:
    samples = audio.encode(audio.read_inputs(signals, schema), schema)
    batch = samples.batch(torch.arange(len(samples)))
    return replace(batch, targets=torch.arange(len(samples)) % 2)


def test_a_row_has_as_many_frames_as_it_is_long(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.2), tone(900, 0.45)], schema)
    frames, numbers = audio.front(schema, "frames")(*batch.inputs)
    assert numbers.tolist() == [1 + round(seconds * RATE) // schema.hop_samples for seconds in (0.2, 0.45)]
    assert frames.shape == (2, schema.frames, schema.mels)
    for row, number in enumerate(numbers.tolist()):
        assert (frames[row, number:] == 0).all()
        assert (frames[row, :number] != 0).any(1).all()


def test_frames_are_the_columns_of_the_recordings_own_spectrogram(schema: AudioSchema) -> None:
    signal = tone(700, 0.3)
    frames, numbers = audio.front(schema, "frames")(*batch_of([signal, tone(300, 0.5)], schema).inputs)
    levels = torch.from_numpy(np.round(signal * 32768).astype(np.int16)).float() / 32768
    wanted = (log_mel(schema)(levels) - schema.mean_db) / schema.std_db
    assert numbers[0] == wanted.shape[1]
    torch.testing.assert_close(frames[0, : numbers[0]], wanted.T, rtol=0, atol=1e-4)  # float32 spectra of 80 dB


def test_a_recording_alone_gives_the_same_frames(schema: AudioSchema) -> None:
    signals = [tone(300, 0.2), tone(900, 0.45), tone(1200, 0.31)]
    front = audio.front(schema, "frames")
    together, numbers = front(*batch_of(signals, schema).inputs)
    for row, signal in enumerate(signals):
        alone, (number,) = front(*batch_of([signal], schema).inputs)
        assert number == numbers[row]
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-4)


def test_training_sees_the_frames_of_evaluation_where_nothing_is_changed(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.2), tone(900, 0.45)], schema)
    front = audio.front(schema, "frames")
    changed = audio.augment(batch, torch.Generator().manual_seed(0), STILL)
    frames, numbers = front(*changed.inputs)
    wanted, lengths = front(*batch.inputs)
    assert torch.equal(numbers, lengths)
    torch.testing.assert_close(frames, wanted, rtol=0, atol=1e-4)


def test_a_moved_recording_still_begins_the_row(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.2)] * 20, schema)
    changed = audio.augment(batch, torch.Generator().manual_seed(0), replace(STILL, shift=0.05))
    begins = changed.inputs[3][:, 0]
    assert len(set(begins.tolist())) > 10  # they lie at different places of their windows
    frames, numbers = audio.front(schema, "frames")(*changed.inputs)
    wanted, lengths = audio.front(schema, "frames")(*batch.inputs)
    whole = changed.inputs[3].diff(dim=1)[:, 0] == round(0.2 * RATE)
    assert whole.sum() > 5
    assert (numbers[whole] == lengths[whole]).all()
    torch.testing.assert_close(frames[whole], wanted[whole], rtol=0, atol=1e-3)


def test_speed_changes_the_number_of_frames(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.3)] * 40, schema)
    changed = audio.augment(batch, torch.Generator().manual_seed(0), replace(STILL, speed=0.2))
    numbers = audio.front(schema, "frames")(*changed.inputs)[1]
    usual = 1 + round(0.3 * RATE) // schema.hop_samples
    assert numbers.min() < 0.9 * usual
    assert numbers.max() > 1.1 * usual
    assert numbers.max() <= 1.26 * usual


def test_a_blend_is_as_long_as_both(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.2), tone(900, 0.5)], schema)
    changed = audio.augment(batch, torch.Generator().manual_seed(3), replace(STILL, mixup=1.0))
    begin, end = changed.inputs[3].unbind(1)
    assert begin[0] == begin[1]
    assert end[0] == end[1]
    assert ((end - begin) >= 0.5 * RATE).all()


def test_windows_of_a_long_recording_are_pieces(schema: AudioSchema) -> None:
    cut = replace(schema, pieces=3)
    frames, numbers = audio.front(cut, "frames")(*batch_of([tone(300, 2.0), tone(300, 0.1)], cut).inputs)
    assert frames.shape[:2] == (2, 3)
    assert numbers[0].tolist() == [cut.frames] * 3
    assert numbers[1].tolist() == [1 + round(0.1 * RATE) // cut.hop_samples] * 3


def test_masks_blank_frames_and_bands(schema: AudioSchema) -> None:
    batch = batch_of([tone(300, 0.4)] * 4, schema)
    changed = audio.augment(batch, torch.Generator().manual_seed(0), replace(STILL, time_mask=0.5, frequency_mask=0.5))
    frames, numbers = audio.front(schema, "frames")(*changed.inputs)
    blank = (frames == 0).all(-1).sum(1) - (frames.shape[1] - numbers)
    assert (blank > 0).any()
    assert (frames[:, 0] == 0).any()


def test_the_front_says_what_it_gives(schema: AudioSchema) -> None:
    assert audio.sizes(schema, "frames") == {"in_features": schema.mels}
    assert isinstance(audio.front(schema, "frames"), FramesFront)
    assert audio.GIVES[:2] == ("image", "signal")  # those come first: a network that takes both sees what it always saw


# what answers depend on


class OneBand(nn.Module):
    """Two logits, minus and plus: the mean of one band over a row's own frames, which a wrong length would change."""

    def __init__(self, band: int) -> None:
        super().__init__()
        self.band, self.gain = band, nn.Parameter(torch.ones(1))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        mean = self.gain * frames[:, :, self.band].sum(1, keepdim=True) / lengths[:, None]
        return torch.cat((-mean, mean), 1)


def explained(network: nn.Module, schema: AudioSchema, signals: list[NDArray[np.float64]]) -> MapsExplanation:
    target: Any = schema.target
    kind: Any = audio
    module = Fronted(audio.front(schema, "frames"), network, pieces=schema.pieces > 1)
    samples = audio.encode(audio.read_inputs(signals, schema), schema)
    return explain_maps(module, Classify(ClassifyConfig(), target), kind, schema, "frames", samples)


@pytest.mark.parametrize("pieces", [1, 3])
def test_maps_of_frames_point_at_the_band_of_a_recordings_own_time(schema: AudioSchema, pieces: int) -> None:
    cut, signals = replace(schema, pieces=pieces), [tone(300, 0.2), tone(1500, 0.5), tone(900, 0.3)]
    found = explained(OneBand(9), cut, signals)
    assert list(found.maps) == ["integrated_gradients", "occlusion"]
    assert "different lengths" in " ".join(found.notes)
    explained_rows = torch.from_numpy(found.maps["integrated_gradients"])  # (rows, bands, frames)
    assert explained_rows.shape[1:] == (cut.mels, cut.frames)
    assert not explained_rows[:, torch.arange(cut.mels) != 9].any()
    for row, (values, answer) in enumerate(zip(explained_rows, found.explained.answers, strict=True)):
        assert not values[:, int(found.explained.fixed[0][row]) :].any()
        alone = np.log(answer.share / (1 - answer.share)) / 2  # type: ignore[operator]  # of the logits -z and z
        said = max(found.explained.pieces[row]) if pieces > 1 else alone
        assert float(values.sum()) == pytest.approx(said, rel=1e-3)


def test_a_network_with_convolutions_before_an_lstm_is_explained(schema: AudioSchema) -> None:
    network = CNNLSTM(CNNLSTMConfig(in_features=schema.mels, num_classes=2, widths=(4,), halvings=1, hidden=4)).eval()
    found = explained(network, schema, [tone(300, 0.2), tone(1500, 0.5)])
    for method in found.methods:
        assert method.maps.shape[1:] == (schema.mels, schema.frames)
        assert method.maps.any()
    assert "Where the answers come from" in found.page()
