"""Random changes of a batch of sounds that leave their class alone: moved, faster, louder, noisy, partly masked.

All are drawn for the whole batch before it is split, from one generator, and made for all sounds at once.

Sources: masks of the spectrogram, Park et al. 2019 (SpecAugment), arXiv:1904.08779, section 2; speed, Ko, Peddinti,
Povey, Khudanpur 2015, "Audio augmentation for speech recognition", Interspeech, section 2.
Between samples: cubic convolution, Keys 1981, doi:10.1109/TASSP.1981.1163711, equation 15 with a = -1/2.
Differs: the widths of masks are shares of the window, not numbers of frames and bands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chainrule.data.audio.front import cut
from chainrule.data.mixing import check_alphas, check_amounts, mix
from chainrule.data.samples import Batch
from chainrule.errors import InputError

FINE = 1 << 16  # parts of a sample
MASKS = 2  # of each axis, as in the paper's LibriSpeech policies
MOST = {"shift": 0.5, "speed": 0.5, "gain_db": 60, "noise": 10, "time_mask": 0.5, "frequency_mask": 0.5}


@dataclass(frozen=True, kw_only=True)
class AudioAugmentConfig:
    """What may happen to a training window; the defaults suit a few thousand short recordings."""

    shift: float = 0.05  # of a window, by which it may reach beyond the recording's ends
    speed: float = 0.15  # faster or slower, and so higher or lower, by up to this share
    gain_db: float = 6.0  # louder or quieter by up to this
    noise: float = 0.2  # white noise of up to this share of the window's root mean square
    time_mask: float = 0.1  # two stretches of up to this share of the frames are blanked
    frequency_mask: float = 0.1  # two of up to this share of the bands
    mixup: float = 0.3  # alpha of the shares by which recordings and their targets are blended; 0: not

    def __post_init__(self) -> None:
        check_amounts(self, MOST)
        check_alphas(mixup=self.mixup)


def augment(batch: Batch, generator: torch.Generator, config: AudioAugmentConfig) -> Batch:
    """One window of each recording (B, 1, 1, S) on the batch's device, its length, spans to mask, and its extent.

    Spans are (B, 2, MASKS, 2): of frames and of bands, begin and end as shares of the axis. A network of plain signals
    does not see them. The extent (B, 2) is where the recording begins and ends in the window; of a blend, where the
    first begins and the last ends. Whole recordings with texts stay whole.

    Raises:
        InputError: settings that move or blend recordings with texts.
    """
    signal, length = batch.inputs
    if signal.ndim == 2:
        return _augment_whole(batch, generator, config)
    S = signal.shape[-1]
    draws = torch.rand((len(batch), 4 + 4 * MASKS), generator=generator, device=generator.device).to(signal.device)
    window = _window(signal, length, draws[:, 0], draws[:, 1], config)
    if config.noise:
        noise = torch.randn(window.shape, generator=generator, device=generator.device).to(window.device)
        window = window + noise * (config.noise * draws[:, 2:3] * window.square().mean(1, keepdim=True).sqrt())
    window = window * 10 ** (config.gain_db * (2 * draws[:, 3:4] - 1) / 20)
    extent = _extent(length, S, draws[:, 0], draws[:, 1], config)
    inputs = (window[:, None, None], torch.full_like(length, S), _spans(draws[:, 4:], config), extent)
    return mix(replace(batch, inputs=inputs), generator, mixup=config.mixup)


def _window(signal: Tensor, length: Tensor, place: Tensor, pace: Tensor, config: AudioAugmentConfig) -> Tensor:
    """(B, S): somewhere in a longer recording, or with a shorter one somewhere in it, played faster or slower."""
    S, flat = signal.shape[-1], signal.flatten(1)
    start, speed = _placed(length, S, place, pace, config)
    if not config.speed:
        return cut(flat, start.floor().long()[:, None], S)[:, 0].float()
    return _played(flat, start, speed, S)


def _placed(length: Tensor, S: int, place: Tensor, pace: Tensor, config: AudioAugmentConfig) -> tuple[Tensor, Tensor]:
    """(B,) where a window of S samples begins in its recording, and the samples of that for one of the window's."""
    speed = 1 + config.speed * (2 * pace - 1)
    free = length - speed * S
    first = free.clamp(max=0) - config.shift * S
    return first + place * (free.clamp(min=0) + config.shift * S - first), speed


def _extent(length: Tensor, S: int, place: Tensor, pace: Tensor, config: AudioAugmentConfig) -> Tensor:
    """(B, 2): the samples of the window between which the recording lies, with its partner's where they are blended."""
    start, speed = _placed(length, S, place, pace, config)
    first = (-start / speed).ceil().long()
    begin, end = first.clamp(0, S), (first + (length / speed).floor().long()).clamp(0, S)
    if config.mixup:
        begin, end = begin.minimum(begin.roll(1)), end.maximum(end.roll(1))
    return torch.stack((begin, end.maximum(begin)), dim=1)


def _augment_whole(batch: Batch, generator: torch.Generator, config: AudioAugmentConfig) -> Batch:
    """Recordings (B, T) played faster or slower, louder or quieter, with noise; their lengths, and spans to mask."""
    if config.mixup or config.shift:
        raise InputError(
            "augment.mixup and augment.shift blend and cut recordings, and their texts would not follow; leave them "
            "out where texts are learned"
        )
    signal, length = batch.inputs
    draws = torch.rand((len(batch), 3 + 4 * MASKS), generator=generator, device=generator.device).to(signal.device)
    speed = 1 + config.speed * (2 * draws[:, 0] - 1)
    played, levels = length, signal.float()
    if config.speed:
        played = (length / speed).floor().long().clamp(min=1)
        levels = _played(signal, torch.zeros_like(speed), speed, int(played.max()))
    there = torch.arange(levels.shape[1], device=levels.device) < played[:, None]
    levels = levels * there
    if config.noise:
        power = levels.square().sum(1, keepdim=True) / played[:, None]
        noise = torch.randn(levels.shape, generator=generator, device=generator.device).to(levels.device)
        levels = levels + there * noise * (config.noise * draws[:, 1:2] * power.sqrt())
    levels = levels * 10 ** (config.gain_db * (2 * draws[:, 2:3] - 1) / 20)
    return replace(batch, inputs=(levels, played, _spans(draws[:, 3:], config)))


def _played(flat: Tensor, start: Tensor, speed: Tensor, size: int) -> Tensor:
    """(B, size) samples of recordings (B, L) from ``start`` (B,) on, between their own where the speed is not 1."""
    step = (speed * FINE).round().long()  # whole fractions of a sample: float32 would be too coarse at its end
    places = (start * FINE).long()[:, None] + step[:, None] * torch.arange(size, device=flat.device)
    index, between = places // FINE, (places % FINE).float() / FINE
    a, b, c, d = (_level(flat, index + offset) for offset in (-1, 0, 1, 2))
    bend = 3 * (b - c) + d - a
    return b + 0.5 * between * (c - a + between * (2 * a - 5 * b + 4 * c - d + between * bend))


def _level(flat: Tensor, places: Tensor) -> Tensor:
    """The samples at these places, silence beyond both ends."""
    inside = (places >= 0) & (places < flat.shape[1])
    return flat.gather(1, places.clamp(0, flat.shape[1] - 1)).float() * inside


def _spans(draws: Tensor, config: AudioAugmentConfig) -> Tensor:
    """Widths even between 0 and the most, then any place where the whole span fits."""
    most = torch.tensor([config.time_mask, config.frequency_mask], device=draws.device).view(1, 2, 1)
    width, place = draws.view(-1, 2, MASKS, 2).unbind(-1)
    width = width * most
    begin = place * (1 - width)
    return torch.stack((begin, begin + width), dim=-1)
