"""Heat over pictures, spectrograms, waveforms and the frames of clips, as pixels."""

from __future__ import annotations

import base64
import io
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]  # (H, W, 3)

PANEL_PX, FRAME_PX = 224, 112  # longer side of a picture, of a frame of a clip
STRIP_PX, WAVE_PX = 640, 128  # width (at most, of a spectrogram) and height of sound
MOST_FRAMES = 8
_STRONG = 0.995  # quantile of |values| that gets the full colour
# Ramps whose lightness rises evenly: inferno (van der Walt, Smith 2015) for, a blue one against the answer.
_FOR = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64)
_AGAINST = np.array([(0, 0, 4), (16, 42, 110), (27, 98, 168), (66, 168, 220), (190, 240, 255)], dtype=np.float64)


def scaled(values: Tensor) -> Tensor:
    """A map divided by its largest sizes, into [-1, 1]; a map of zeros stays."""
    strong = float(torch.quantile(_thinned(values.abs().flatten()), _STRONG))
    return (values / (strong or float(values.abs().max()) or 1.0)).clamp(-1, 1)


def smoothed(values: Tensor, part: int = 32) -> Tensor:
    """A map averaged over windows of a 32nd of each side, so that single pixels can be seen together."""
    sides = [2 * (side // part // 2) + 1 for side in values.shape]
    padding = tuple(side // 2 for side in sides)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[values.dim() - 1]
    found: Tensor = pool(values[None, None], sides, 1, padding, count_include_pad=False)
    return found[0, 0]


def heat(picture: Pixels, values: NDArray[np.float64]) -> Pixels:
    """The picture in dimmed grey under the colours of ``values`` (H W) in [-1, 1]: warm for, blue against."""
    size = np.abs(values)[..., None]
    place = np.linspace(0, 1, len(_FOR))
    ramps = [
        np.stack([np.interp(size[..., 0], place, ramp[:, colour]) for colour in range(3)], axis=-1)
        for ramp in (_FOR, _AGAINST)
    ]
    colour = np.where(values[..., None] >= 0, *ramps)
    grey = 0.75 * (picture @ np.array([0.299, 0.587, 0.114]))[..., None]  # luma of Rec. 601
    mixed = grey + 0.85 * np.sqrt(size) * (colour - grey)
    pixels: Pixels = mixed.round().clip(0, 255).astype(np.uint8)
    return pixels


def draw(tensor: Tensor, values: Tensor | None, picture: Pixels | None = None, upright: bool = True) -> Pixels:
    """A network's input (C ...) as pixels, under its map where one is given.

    Args:
        values: the map (...) in [-1, 1].
        picture: what to show instead of the tensor's own values, of the same height and width.
        upright: the first row is at the top; False for spectrograms, whose lowest frequency comes first.
    """
    if tensor.dim() == 2:
        return _waveform(tensor, values)
    if tensor.dim() == 3:
        shown = _tone(tensor) if picture is None else picture
        return _over(shown, values, PANEL_PX, upright)
    frames = shown_frames(tensor.shape[1])
    strip = [_over(_tone(tensor, frame), None if values is None else values[frame], FRAME_PX, True) for frame in frames]
    gap = np.full((strip[0].shape[0], 4, 3), 255, dtype=np.uint8)
    return np.concatenate([part for frame in strip for part in (frame, gap)][:-1], axis=1)


def shown_frames(count: int) -> list[int]:
    """Up to eight frames of a clip, evenly over all."""
    return torch.linspace(0, count - 1, min(count, MOST_FRAMES)).round().int().tolist()


def fitted(picture: Pixels, longest: int) -> Pixels:
    """The picture with this longer side; pixels of small ones are repeated."""
    return _over(picture, None, longest, True)


def png(picture: Pixels) -> str:
    """The pixels as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _tone(tensor: Tensor, frame: int | None = None) -> Pixels:
    """Values (C H W), or one frame of (C T H W), from the smallest to the largest; grey unless there are 3 channels."""
    low, high = float(tensor.min()), float(tensor.max())
    chosen = tensor if frame is None else tensor[:, frame]
    chosen = chosen if len(chosen) == 3 else chosen.mean(0, keepdim=True).expand(3, -1, -1)
    share = (chosen - low) / ((high - low) or 1.0)
    return (255 * share).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _over(picture: Pixels, values: Tensor | None, longest: int, upright: bool) -> Pixels:
    from PIL import Image

    H, W = picture.shape[:2]
    factor = longest / max(H, W) if upright else WAVE_PX / H
    h, w = max(1, round(H * factor)), max(1, round(W * factor))
    w = w if upright else min(max(w, WAVE_PX), STRIP_PX)
    method = Image.Resampling.NEAREST if h > H and w > W else Image.Resampling.BICUBIC
    large = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((w, h), method))
    if values is not None:
        fine = F.interpolate(values[None, None].double(), (h, w), mode="bilinear", align_corners=False)[0, 0]
        large = heat(large, fine.numpy())
    return large if upright else large[::-1]


def _waveform(tensor: Tensor, values: Tensor | None) -> Pixels:
    """The range of a signal (C T) in each column of pixels, before a strip in the colours of the map."""
    signal = tensor.mean(0).double()
    scale = float(signal.abs().max()) or 1.0
    edges = np.linspace(0, len(signal), STRIP_PX + 1).astype(int)
    spans = [signal[start : max(end, start + 1) + 1] for start, end in pairwise(edges)]  # joined by a sample
    high, low = (
        np.array([0.5 - 0.48 * float(edge(span)) / scale for span in spans]) * WAVE_PX
        for edge in (torch.max, torch.min)
    )
    ground = np.full((WAVE_PX, STRIP_PX, 3), 255, dtype=np.uint8)
    if values is not None:
        fine = F.interpolate(values[None, None].double(), STRIP_PX, mode="linear", align_corners=False)[0, 0]
        ground = heat(ground, np.broadcast_to(fine.numpy(), (WAVE_PX, STRIP_PX)))
    y = np.arange(WAVE_PX)[:, None]
    line = (y >= np.floor(high)) & (y <= np.ceil(low))
    dark = (ground * (0.15 if values is None else 0.4)).astype(np.uint8)  # the colours are seen through a loud signal
    return np.where(line[..., None], dark, ground)


def _thinned(values: Tensor, most: int = 1_000_000) -> Tensor:
    """Every n-th value, so that quantiles can be taken of long maps."""
    return values[:: -(-len(values) // most)].float()
