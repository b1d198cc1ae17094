"""From a person's data to a trained, proven, explained and usable neural network."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from chainrule.errors import InputError, NonFiniteError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainrule.api import (
        TrainedRun,
        create_model,
        datasets,
        describe,
        fit,
        load,
        load_model,
        look,
        models,
        resume,
        trace,
    )

__all__ = [
    "InputError", "NonFiniteError", "TrainedRun", "create_model", "datasets", "describe", "fit", "load", "load_model",
    "look", "models", "resume", "trace",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch costs seconds, ``--help`` must not."""
    if name in __all__:
        return getattr(import_module("chainrule.api"), name)
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Room(ModuleType):
    """A room that has the name of a public function: it can be called as that function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module("chainrule.api"), self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    """Importing the room ``chainrule.models`` puts it in the place of ``chainrule.models()``; both have to work."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
