"""By which changes two versions of one row are made, where likeness is learned without labels, by kind of data.

Source: Chen et al. 2020, SimCLR, arXiv:2002.05709, appendix A and B.9 (small images are not blurred).
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import InputError

BLURRED_PX = 64  # images from this size on are blurred as well
COLOURS = {"augment.saturation": 0.4, "augment.hue": 0.1, "augment.grey": 0.2}


def version_settings(kind: str, schema: Any) -> dict[str, Any]:
    """The settings of augmentation for two versions of a row.

    Raises:
        InputError: rows of this kind have no other version.
    """
    if kind == "image":
        found = {"augment.shift": 0.0, "augment.crop": 0.8, "augment.brightness": 0.2, "augment.contrast": 0.4}
        found |= COLOURS if schema.channels == 3 else {}
        return found | ({"augment.blur": 1.0} if min(schema.size_px) >= BLURRED_PX else {})
    if kind == "audio":
        return {
            "augment.shift": 0.2, "augment.speed": 0.15, "augment.gain_db": 12.0, "augment.noise": 0.3,
            "augment.time_mask": 0.2, "augment.frequency_mask": 0.2, "augment.mixup": 0.0,
        }  # fmt: skip
    if kind == "video":
        return {"augment.brightness": 0.2, "augment.contrast": 0.4}
    if kind == "text":
        return {"augment.word_dropout": 0.3}
    raise InputError(
        f"{kind} data has no random versions by which likeness could be learned without labels; use --task reconstruct"
    )
