"""Independent implementations that tests compare with, importable on machines where their own builds do not fit."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
import torch

DECLARED: list[torch.library.Library] = []  # a library forgets its operators when it is collected


def torchvision() -> ModuleType:
    """torchvision, also where its compiled operators do not load beside this torch (its classifiers need none).

    Each operator that its import asks for in vain is declared, without an implementation, and the import tried again.
    """
    for _ in range(8):
        try:
            import torchvision
            import torchvision.models
        except ModuleNotFoundError:
            pytest.skip("torchvision is not installed: make test installs it")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            declare(missing[1])
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
        else:
            return torchvision
    raise RuntimeError("torchvision keeps asking for operators that this torch does not have")


def segmentation_models() -> ModuleType:
    """segmentation_models_pytorch, which builds its encoders from torchvision's classes and imports timm's."""
    torchvision()
    return pytest.importorskip("segmentation_models_pytorch", reason="make test installs it")


def declare(operator: str) -> None:
    """Make ``torchvision::operator`` a known name."""
    if not DECLARED:
        DECLARED.append(torch.library.Library("torchvision", "FRAGMENT"))
    DECLARED[0].define(f"{operator}(Tensor x) -> Tensor")
