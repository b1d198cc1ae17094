"""The mean and spread of pixel levels that a person chose, in place of those of the train split."""

from __future__ import annotations

from chainrule.data.config import DataConfig
from chainrule.errors import InputError

Levels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel, in 0..1


def chosen_levels(options: DataConfig, channels: int) -> Levels | None:
    """data.mean and data.std, or None where they are left open.

    Raises:
        InputError: they are for another number of channels.
    """
    if not options.mean:
        return None
    if len(options.mean) != channels:
        raise InputError(
            f"data.mean has {len(options.mean)} values and the pictures have {channels} channels; give as many, or "
            f"set data.channels={len(options.mean)}"
        )
    return options.mean, options.std


def levels_note(options: DataConfig, channels: int) -> str:
    """How the pictures are seen, and why, in words."""
    colour = "RGB" if channels == 3 else "grey" if options.channels else "grey, no image has colour"
    colour += f", as data.channels={channels}" if options.channels else ""
    shown = " ".join(f"{mean:.3g}" for mean in options.mean)
    return f"{colour}; levels about {shown} as data.mean and data.std say" if options.mean else colour
