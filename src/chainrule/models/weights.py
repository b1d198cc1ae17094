"""Weights of other implementations, read without running anything that the file contains.

This is the only place that opens a pickle, and only through torch's restricted reader (``weights_only=True``), which
knows how to build tensors and plain containers and refuses every other instruction.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from chainrule.errors import InputError

PICKLE_SUFFIXES = (".pth", ".pt", ".bin")
SHOWN = 5  # names in a message before "and 12 more"
COUNTER = "num_batches_tracked"  # batch norm's counter, absent in files older than torch 0.4.1; changes no output


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What came from the file, and what did not."""

    file: str
    loaded: tuple[str, ...]  # names in the network
    fresh: tuple[str, ...]  # the head's names that kept the network's own values, because the class count differs
    text: str  # the above in one line, for a person


def load_weights(
    network: nn.Module, file: str | Path, rename: Callable[[str], str] | None = None, head: str = ""
) -> WeightsReport:
    """Copy a file's tensors into ``network``; either every name and shape fits, or nothing is changed.

    ``rename`` turns the file's names into the network's. ``head`` is the layer whose outputs are the classes, by
    default the last one with parameters: where only its number of outputs differs it stays as it is, and the report
    says so.

    Raises:
        InputError: the file is missing, broken or more than tensors; or its names or shapes do not fit, all listed.
    """
    path = Path(file)
    tensors = renamed(path, read_tensors(path), rename)
    own = network.state_dict()
    fresh = head_of_other_size(own, tensors, head or last_layer(network))
    problems = differences(own, {name: x for name, x in tensors.items() if name not in fresh}, fresh)
    if problems:
        raise InputError(
            f"{path} does not fit the network: {'; '.join(problems)}. Expected the state dict of the same "
            "architecture, size and input channels; choose the model that the file was made for"
        )
    loaded = {name: x for name, x in tensors.items() if name not in fresh}
    refuse_non_finite(path, loaded)
    network.load_state_dict({**own, **loaded})
    text = f"{len(loaded)} tensors from {path.name}"
    if fresh:
        theirs, ours = tensors[fresh[0]].shape[0], own[fresh[0]].shape[0]
        text += f"; {fresh[0].rpartition('.')[0]} starts fresh, as the file has {theirs} outputs and the network {ours}"
    return WeightsReport(str(path), tuple(loaded), fresh, text)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pt or .bin file by name, on the CPU; no code from the file runs.

    Raises:
        InputError: the file is missing, broken, of another kind, or holds more than named tensors.
    """
    if not file.is_file():
        raise InputError(f"weights file {file} does not exist; give the path of a .safetensors or .pth file")
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if file.suffix in PICKLE_SUFFIXES:
        return read_pickle(file)
    raise InputError(
        f"weights file {file} ends in {file.suffix!r}; expected .safetensors or {', '.join(PICKLE_SUFFIXES)}"
    )


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """As ``read_tensors``; the format is a JSON header and raw numbers."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is not a whole safetensors file ({error}); copy or download it again") from error


def read_pickle(file: Path) -> dict[str, Tensor]:
    """As ``read_tensors``, through torch's restricted reader."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file} was refused: it holds more than tensors, which can run code when it is opened, or is no weights "
            f"file ({first_line(error)}). Ask its author for a .safetensors file"
        ) from error
    except Exception as error:  # a broken archive shows as RuntimeError, EOFError, KeyError, ... by where it broke
        raise InputError(
            f"{file} is not a whole weights file ({first_line(error)}); copy or download it again"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{file} holds a {type(content).__name__}; expected a state dict, tensors by name")
    others = [str(name) for name, value in content.items() if not isinstance(name, str) or not plain(value)]
    if others:
        inner = next((name for name, value in content.items() if isinstance(value, Mapping)), None)
        hint = f'save content["{inner}"] alone' if inner else "save the state dict alone"
        raise InputError(f"{file} holds more than named tensors ({some(others)}); {hint}")
    return dict(content)


def plain(value: object) -> bool:
    """Whether this is an ordinary dense tensor."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized


def renamed(file: Path, tensors: Mapping[str, Tensor], rename: Callable[[str], str] | None) -> dict[str, Tensor]:
    """The tensors under the network's names."""
    if rename is None:
        return dict(tensors)
    result = {rename(name): tensor for name, tensor in tensors.items()}
    if len(result) != len(tensors):
        raise InputError(f"{file} has two tensors for one name of the network; it is of another architecture")
    return result


def last_layer(network: nn.Module) -> str:
    """The name of the last layer with parameters of its own."""
    names = [name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))]
    return names[-1] if names else ""


def head_of_other_size(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], head: str) -> tuple[str, ...]:
    """The head's names where file and network differ in the number of outputs and in nothing else."""
    names = tuple(name for name in own if name.rpartition(".")[0] == head and name in tensors)
    pairs = [(own[name].shape, tensors[name].shape) for name in names]
    same_inputs = all(len(a) == len(b) > 0 and a[1:] == b[1:] for a, b in pairs)
    return names if same_inputs and any(a != b for a, b in pairs) else ()


def differences(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], fresh: tuple[str, ...]) -> list[str]:
    """Missing and extra names and unequal shapes or kinds of number, in words."""
    missing = [name for name in own if name not in tensors and name not in fresh and not name.endswith(COUNTER)]
    extra = [name for name in tensors if name not in own]
    unlike = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    kinds = [
        f"{name} {tensors[name].dtype} for {own[name].dtype}"
        for name in own
        if name in tensors and tensors[name].is_floating_point() != own[name].is_floating_point()
    ]
    found = {"missing": missing, "extra": extra, "of another shape": unlike, "of another kind": kinds}
    return [f"{len(names)} {what} ({some(names)})" for what, names in found.items() if names]


def refuse_non_finite(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError where a weight is NaN or infinite."""
    bad = [name for name, x in tensors.items() if x.is_floating_point() and not bool(torch.isfinite(x.float()).all())]
    if bad:
        raise InputError(
            f"{file} holds weights that are not finite ({some(bad)}); its training had failed, use another file"
        )


def some(names: list[str]) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def first_line(error: Exception) -> str:
    """What went wrong, without the library's advice."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
