"""What is remembered of photos of people: how each is cut, its size, the levels of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.data.faces.align import Align, Cut, Frame
from chainrule.data.schema import IdentityTarget, from_json

NAME = "faces"


@dataclass(frozen=True, kw_only=True)
class FaceSchema:
    """How photos become tensors. New ones are cut as those that were learned from."""

    kind: str = NAME
    target: IdentityTarget
    align: Align  # eyes, whole: a photo without a face is refused; centre: none is looked for
    size_px: tuple[int, int]  # height, width
    frame: Frame = (
        0.0,
        0.0,
        0.0,
        0.0,
    )  # what whole photos show left of, above, right of and below a face, in its sides
    channels: int  # 1 grey, 3 RGB
    mean: tuple[float, ...]  # per channel of the train split, in 0..1
    std: tuple[float, ...]
    white: float = 0.0  # the level of decimal or 16-bit arrays that means white; 0 where the train split had none
    notes: tuple[str, ...] = ()  # what was decided, and why

    @property
    def cut(self) -> Cut:
        """What makes the network's input of a photo."""
        return Cut(self.align, self.size_px, self.frame)


def load_schema(data: Mapping[str, Any]) -> FaceSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(FaceSchema, data)
