"""In which arithmetic a network runs: device, precision, memory format, threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.threads import usable_cores
from chainrule.errors import InputError
from chainrule.nn.convolution import CONVOLUTIONS, SAFE, Conv2d, overhangs

DEEP = 512  # channels from which some processors are faster with channels first: 1.6 times on 4x4 maps in bfloat16
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the axes of a kernel's weight


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Resolved choices; the same for training, evaluation and prediction of a run."""

    device: torch.device
    precision: str = "float32"  # or "bfloat16": autocast, weights stay float32
    channels_last: str = "off"  # or "on", or "shallow": kernels of few channels only, see DEEP

    @property
    def asynchronous(self) -> bool:
        """Whether reading a value waits for the device, so that nothing may be read in every step."""
        return self.device.type != "cpu"

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 where it was chosen, nothing otherwise."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, the weights of its kernels in the chosen memory format, whichever they had.

        What is not decided yet ("auto") is off: the format changes the last bits of every sum, so a run that is resumed
        must begin in the one that it was trained in.
        """
        network.to(self.device)
        last = self.channels_last in ("on", "shallow")
        for module in network.modules():
            deep = self.channels_last == "shallow" and is_deep(module)
            if isinstance(module, Conv2d):
                module.channels_first = deep
            for parameter in module.parameters(recurse=False):
                if parameter.ndim in CHANNELS_LAST:
                    chosen = CHANNELS_LAST[parameter.ndim] if last and not deep else torch.contiguous_format
                    parameter.data = parameter.data.contiguous(memory_format=chosen)
        if self.precision == "bfloat16" and self.device.type == "cpu":
            for module in network.modules():
                if isinstance(module, CONVOLUTIONS) and not isinstance(module, SAFE):
                    module.register_forward_pre_hook(refuse_overhang)
        return network

    def place_batch(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return batch if batch.inputs[0].device == self.device else batch.to(self.device)


def is_deep(module: nn.Module) -> bool:
    """Whether this is one of the catalog's convolutions over pixels with many channels on both sides."""
    return isinstance(module, Conv2d) and min(module.in_channels, module.out_channels) >= DEEP


def refuse_overhang(convolution: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Raise InputError in a person's own convolution where bfloat16 gives a wrong gradient; the catalog's pad first."""
    if overhangs(convolution, inputs[0]):
        raise InputError(
            f"a window of {convolution.kernel_size} over a map of {tuple(inputs[0].shape[2:])} has no right gradient "
            "in bfloat16 on a CPU; use --precision float32, larger inputs, or pad the map before the convolution"
        )


def find_device(name: str) -> torch.device:
    """The named device, or the best one there is for "auto".

    Raises:
        InputError: the name means nothing here; says what there is.
    """
    present = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
    if name == "auto":
        return torch.device("cuda" if "cuda" in present else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {name!r}; this machine has {', '.join(present)}") from error
    if device.type not in present:
        raise InputError(f"device {name!r} is not here; this machine has {', '.join(present)}")
    return device


def available_threads() -> int:
    """Threads for arithmetic: OMP_NUM_THREADS where it is set, or a thread for each core this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return usable_cores()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the device's or the machine's memory running out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
