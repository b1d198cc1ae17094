"""From a person's data to a trained, proven, explained and usable neural network."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.errors import InputError, NonFiniteError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainrule.api import (
        TrainedRun,
        create_model,
        datasets,
        fit,
        load,
        load_model,
        look,
        models,
        resume,
        trace,
    )

__all__ = [
    "InputError", "NonFiniteError", "TrainedRun", "create_model", "datasets", "fit", "load", "load_model", "look",
    "models", "resume", "trace",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch costs seconds, ``--help`` must not."""
    if name in __all__:
        return getattr(import_module("chainrule.api"), name)
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
