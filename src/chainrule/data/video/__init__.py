"""Placeholder until the kind is written."""

from chainrule.data.sources import Source

NAME = "video"
GIVES = ("clip", "image")
AUGMENT = None


def recognises(source: Source) -> str | None:
    """Nothing yet."""
    return None
