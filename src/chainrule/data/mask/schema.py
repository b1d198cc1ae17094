"""How images become tensors, and the classes of pixels answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chainrule.data.schema import MaskTarget, from_json

NAME = "mask"


@dataclass(frozen=True, kw_only=True)
class MaskSchema:
    """How images become tensors and outputs become answers."""

    kind: str = NAME
    target: MaskTarget | None
    patch_px: tuple[int, ...]  # (H, W) or (D, H, W): what a training sample is cut or filled up to
    channels: int  # 1 grey, 3 RGB
    mean: tuple[float, ...]  # per channel of the train split, in 0..1
    std: tuple[float, ...]
    white: float = 0.0  # the level of decimal or 16-bit arrays that means white; 0 where the train split had none
    max_pixels: int = 100_000_000  # larger images are refused
    image_size: int = 0  # the longer side that images are brought to; 0: each keeps its own
    slices: Literal["each", "volume"] = "each"  # whether a page of a volume is an image, or all of them are
    notes: tuple[str, ...] = ()  # what was decided, and why


def load_schema(data: Mapping[str, Any]) -> MaskSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(MaskSchema, data)
