"""Weights of other implementations, read without running anything that the file contains.

This is the only place that opens a pickle, and only through torch's restricted reader (``weights_only=True``), which
knows how to build tensors and plain containers and refuses every other instruction.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from chainrule.errors import InputError

PICKLE_SUFFIXES = (".pth", ".pt", ".bin")
SHOWN = 5  # names in a message before "and 12 more"
FRONT, NETWORK = "front.", "network."  # the two parts of a run's own model.safetensors
ENCODER = "encoder."  # the part of a network for pixels that comes from a classifier
HEADS = "heads"
WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DataParallel and torch.compile add
COUNTER = "num_batches_tracked"  # batch norm's counter, absent in files older than torch 0.4.1; changes no output


@dataclass(frozen=True, slots=True)
class Weights:
    """A file's tensors by name, and what stood beside them."""

    file: Path
    tensors: Mapping[str, Tensor]
    front: Mapping[str, Tensor]  # of a run's own file: the buffers of the data's front, without its prefix
    notes: tuple[str, ...] = ()  # what was left away, for a person


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What came from the file, and what did not."""

    file: str
    loaded: tuple[str, ...]  # names in the network
    fresh: tuple[str, ...]  # the head's names that kept the network's own values, because the class count differs
    text: str  # the above in one line, for a person


def load_weights(
    network: nn.Module, file: str | Path | Weights, rename: Callable[[str], str] | None = None, head: str = ""
) -> WeightsReport:
    """Copy a file's tensors into ``network``; either every name and shape fits, or nothing is changed.

    Where a network has an encoder and the file is the whole classifier that the encoder is taken from, the tensors go
    there, the classifier's own head is left out, and the rest of the network stays as it is.

    ``rename`` turns the file's names into the network's. ``head`` is the layer whose outputs are the classes, by
    default the last one with parameters: where only its number of outputs differs it stays as it is, and the report
    says so. The report also tells where a tensor was brought to another shape, see ``reshaped``.

    Raises:
        InputError: the file is missing, broken or more than tensors; or its names or shapes do not fit, all listed.
    """
    weights = file if isinstance(file, Weights) else open_weights(file)
    network = unwrapped(network)
    own = network.state_dict()
    match = matched(weights, own, rename, head or last_layer(network))
    if match.problems and (encoder := encoder_match(network, weights, rename)) is not None:
        match = encoder
    if match.problems:
        raise InputError(
            f"{weights.file} does not fit the network: {'; '.join(match.problems)}. Expected the state dict of the "
            "same architecture, size and input channels; choose the model that the file was made for"
        )
    refuse_non_finite(weights.file, match.tensors)
    network.load_state_dict({**own, **match.tensors})
    text = "; ".join((f"{len(match.tensors)} tensors from {weights.file.name}", *match.notes, *weights.notes))
    return WeightsReport(str(weights.file), tuple(match.tensors), match.fresh, text)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside modules of ours that hold nothing else, under the name ``network``."""
    while [name for name, _ in network.named_children()] == [NETWORK.rstrip(".")]:
        network = network.get_submodule(NETWORK.rstrip("."))
    return network


def encoder_match(network: nn.Module, weights: Weights, rename: Callable[[str], str] | None) -> Match | None:
    """How a classifier's tensors fit a network's encoder; None where the network has none, or they do not fit it.

    The encoder still has a place, the last, where its head was.
    """
    encoder = dict(network.named_children()).get(ENCODER.rstrip("."))
    if encoder is None:
        return None
    *_, (head, _) = encoder.named_children()
    body = {name: x for name, x in weights.tensors.items() if not name.startswith(f"{head}.")}
    match = matched(replace(weights, tensors=body), encoder.state_dict(), rename, head)
    if match.problems:
        return None
    notes = [*match.notes, "they are the encoder's, all else starts fresh"]
    return replace(match, tensors={ENCODER + name: x for name, x in match.tensors.items()}, notes=notes)


def fits(network: nn.Module, weights: Weights, rename: Callable[[str], str] | None = None) -> bool:
    """Whether ``load_weights`` would take them; the network may be on the meta device."""
    return not matched(weights, network.state_dict(), rename, last_layer(network)).problems


def open_weights(file: str | Path) -> Weights:
    """A file's tensors without the prefixes that wrappers add to their names.

    A run's own model.safetensors holds the data's front as well, which is kept apart.

    Raises:
        InputError: as ``read_tensors``.
    """
    path = Path(file)
    tensors, front, notes = read_tensors(path), dict[str, Tensor](), list[str]()
    if tensors and all(name.startswith((FRONT, NETWORK)) for name in tensors):
        front = {name.removeprefix(FRONT): x for name, x in tensors.items() if name.startswith(FRONT)}
        tensors = {name: x for name, x in tensors.items() if name.startswith(NETWORK)}
        notes.append(f"{len(front)} of the run's front left out")
    for prefix in (NETWORK, NETWORK, *WRAPPERS):  # once more where a task wraps the network
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): x for name, x in tensors.items()}
    return Weights(path, tensors, front, tuple(notes))


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


def reshaped(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors, brought to the network's shapes where a published rule says how; and a remark on each rule used.

    A first layer that saw three channels sees one: the sum over its input channels, which on a grey picture gives what
    the three gave. Windows over images become windows over clips: repeated along time and divided by their number, so
    that equal frames give what one gave (Carreira, Zisserman 2017, arXiv:1705.07750, section 2.4; the ends of a clip,
    which are padded, aside).
    """
    result, inflated = dict(tensors), 0
    notes = []
    for place, (name, ours) in enumerate((name, x) for name, x in own.items() if name in tensors):
        theirs = result[name]
        if theirs.ndim == 4 and ours.ndim == 5 and theirs.shape[2:] == ours.shape[3:]:
            frames = ours.shape[2]
            theirs = (theirs / frames).unsqueeze(2).expand(-1, -1, frames, -1, -1)
            inflated += 1
        if place == 0 and theirs.ndim > 2 and (theirs.shape[1], ours.shape[1]) == (3, 1):
            theirs = theirs.sum(1, keepdim=True)
            notes.append(f"{name} is summed over its 3 input channels, as there is one")
        result[name] = theirs
    if inflated:
        notes.append(f"{inflated} windows over images are repeated along time")
    return result, notes


@dataclass(frozen=True, slots=True)
class Match:
    """A file's tensors beside a network's."""

    tensors: dict[str, Tensor]  # to be copied, under the network's names and in its shapes
    fresh: tuple[str, ...]  # the head's names that keep the network's own values
    notes: list[str]  # what a person must hear
    problems: list[str]  # every difference that forbids the copy


def matched(weights: Weights, own: Mapping[str, Tensor], rename: Callable[[str], str] | None, head: str) -> Match:
    """How a file's tensors fit those of a network with this head; nothing is copied."""
    tensors, notes = reshaped(renamed(weights.file, weights.tensors, rename), own)
    fresh = head_of_other_size(own, tensors, head)
    if fresh:
        theirs, ours = tensors[fresh[0]].shape[0], own[fresh[0]].shape[0]
        notes.insert(0, f"{head} starts fresh, as the file has {theirs} outputs and the network {ours}")
    loaded = {name: x for name, x in tensors.items() if name not in fresh}
    return Match(loaded, fresh, notes, differences(own, loaded, fresh))


def last_layer(network: nn.Module) -> str:
    """The name of the last layer with parameters of its own; of several heads that of their list."""
    names = [name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))]
    last = names[-1] if names else ""
    return HEADS if last.startswith(f"{HEADS}.") else last


def head_of_other_size(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], head: str) -> tuple[str, ...]:
    """The head's names where file and network differ in the number of outputs and in nothing else."""
    layers = {name: name.rpartition(".")[0] for name in own if name in tensors}
    names = tuple(
        name for name, layer in layers.items() if (layer.partition(".")[0] if head == HEADS else layer) == head
    )
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
