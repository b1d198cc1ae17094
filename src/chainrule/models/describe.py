"""What a network is: its layers with the shapes of their outputs, its parameters and its work, counted on no data.

The network is built and run on torch's meta device, which computes shapes and no numbers. Work is counted in
multiply-adds of convolutions and matrix products, as papers do; one multiply-add is two FLOPs.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from chainrule.models.catalog import USUAL_SIZE, Entry
from chainrule.models.draw import Block, as_svg, as_text
from chainrule.nn.convolution import BATCH_NORMS, CONVOLUTIONS
from chainrule.nn.recurrent import Recurrent

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
SILENT = (nn.Dropout, nn.Identity, nn.Flatten, nn.Unflatten)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One row of the table: a layer with what follows it, or equal ones behind each other."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output, without the batch
    parameters: int
    multiply_adds: int
    repeats: int = 1
    modules: tuple[str, ...] = field(default=(), repr=False)  # their names in the network


@dataclass(frozen=True, kw_only=True)
class Description:
    """A network in words, numbers and a drawing."""

    name: str
    what: str
    data: str
    tasks: str
    paper: str
    reference: str
    sizes: Mapping[str, Any]  # the config
    inputs: tuple[tuple[int, ...], ...]
    parameters: int
    published_parameters: int  # at the sizes that the paper speaks of
    multiply_adds: int  # for one input
    layers: tuple[Layer, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        plain = asdict(self)
        layers = [{key: value for key, value in layer.items() if key != "modules"} for layer in plain.pop("layers")]
        reference = plain.pop("reference")
        return {**plain, "verified against": reference, "flops": 2 * self.multiply_adds, "layers": layers}

    def text(self) -> str:
        """For a terminal: what it is, its layers as a table, and as a drawing."""
        shown = " and ".join(by_x(shape) for shape in self.inputs)
        count = f"{self.parameters:,}"
        if self.parameters != self.published_parameters:
            count += f" at these sizes, {self.published_parameters:,} as published"
        lines = [
            f"{self.name:11} {self.what}",
            f"paper       {self.paper}",
            f"verified    against {self.reference}",
            f"serves      {self.data} · {self.tasks}",
            f"input       {shown}",
            f"parameters  {count}",
            f"work        {si(self.multiply_adds)} multiply-adds for one input = {si(2 * self.multiply_adds)} FLOPs "
            "(convolutions and matrix products)",
        ]
        return "\n".join((*lines, "", *self.table(), "", as_text(self.blocks())))

    def table(self) -> list[str]:
        """The layers, one a line."""
        rows = [("", "layer", "what", "output", "parameters", "multiply-adds")]
        for number, layer in enumerate(self.layers, 1):
            kind = f"{layer.repeats} x {layer.kind}" if layer.repeats > 1 else layer.kind
            numbers = (f"{layer.parameters:,}", si(layer.multiply_adds))
            rows.append((str(number), layer.name, kind, by_x(layer.shape), *numbers))
        rows.append(("", "all", "", "", f"{self.parameters:,}", si(self.multiply_adds)))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        return [
            "  ".join(
                cell.rjust(width) if column in (0, 4, 5) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]

    def svg(self) -> str:
        """A figure: each layer's output as a block, as high as its sides and as wide as its channels."""
        return as_svg(f"{self.name}: {self.parameters:,} parameters", self.blocks())

    def blocks(self) -> list[Block]:
        """What is drawn: the input and the output of every layer."""
        first = [Block("input", "", self.inputs[0])]
        return first + [
            Block(layer.name, f"{layer.repeats} x {layer.kind}" if layer.repeats > 1 else layer.kind, layer.shape)
            for layer in self.layers
        ]


def describe(name: str, entry: Entry, config: Any, published: Any) -> Description:
    """The network that ``entry`` builds from ``config``; ``published`` is the config of the paper's sizes."""
    network = on_meta(entry, config)
    inputs = example(entry, config, network)
    seen: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(_keep_shape(seen, path)) for path, module in network.named_modules() if path != ""
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    for handle in handles:
        handle.remove()
    counts = {str(path).partition(".")[2]: sum(ops.values()) // 2 for path, ops in counter.get_flop_counts().items()}
    layers = folded(network, layers_of(network, seen, counts), seen)
    return Description(
        name=name, what=sentence(entry), data=", ".join(entry.kinds), tasks=", ".join(entry.tasks), paper=entry.paper,
        reference=entry.reference, sizes=asdict(config),
        inputs=tuple(tuple(x.shape[1:]) for x in inputs if x.numel() and x.ndim > 1),
        parameters=count_parameters(network), published_parameters=count_parameters(on_meta(entry, published)),
        multiply_adds=counter.get_total_flops() // 2, layers=tuple(layers),
    )  # fmt: skip


def on_meta(entry: Entry, config: Any) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return entry.build(config).eval()


def example(entry: Entry, config: Any, network: Any) -> tuple[Tensor, ...]:
    """One input of the config's size; for a network that answers for every pixel of the next size that it takes."""
    if "reconstruct" in entry.tasks and "vector" in entry.takes:
        return (torch.empty(1, *config.shape, device="meta"),)
    if "vector" in entry.takes:
        return (torch.empty(1, config.in_features, device="meta"),)
    if "columns" in entry.takes:
        numbers, columns = config.num_numbers, len(config.cardinalities)
        shapes = (1, numbers), (1, numbers, config.num_bins)
        codes = torch.empty(1, columns, dtype=torch.int64, device="meta")
        return *(torch.empty(shape, device="meta") for shape in shapes), codes
    sequence = _example_in_time(entry, config)
    if sequence:
        return sequence
    size = getattr(config, "image_size", None)
    size = size or USUAL_SIZE.get(getattr(config, "dims", 2), entry.published["image_size"])
    if "segment" in entry.tasks:
        size = tuple(network.input_size(max(1, side - 2 * network.border)) for side in size)
    return (torch.empty(1, config.in_channels, *size, device="meta"),)


def _example_in_time(entry: Entry, config: Any) -> tuple[Tensor, ...]:
    """One sequence of as many steps as the entry speaks of; nothing for a network of other things."""
    steps, form = entry.published.get("steps", 100), entry.takes[0]
    ids = torch.zeros(1, steps, dtype=torch.int64, device="meta")
    lengths = ids[:, 0]
    if form == "pair":
        return ids, lengths, ids
    if form == "window":
        seen = (1, getattr(config, "window", entry.published.get("window", steps)), getattr(config, "in_features", 1))
        return torch.empty(seen, device="meta"), torch.empty(1, config.horizon, config.known_features, device="meta")
    if form == "stream":
        return (ids,)
    if form == "sequence" and config.shape:
        return tuple(torch.empty(1, *config.shape, device="meta") for _ in range(2))
    if form == "sequence":
        return ids[:, : config.steps], lengths
    if form == "tokens" and config.vocab_size:
        return ids, lengths
    if "frames" in entry.takes and config.in_features:
        return torch.empty(1, steps, config.in_features, device="meta"), lengths
    return ()


def sentence(entry: Entry) -> str:
    """The first sentence of the architecture's own file."""
    text = inspect.getdoc(sys.modules[entry.config.__module__]) or ""
    return text.partition("\n")[0]


def count_parameters(network: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in network.parameters())


def parts_of(network: nn.Module, run: Container[str], path: str = "") -> list[tuple[str, nn.Module]]:
    """The network's children by name; a block stays whole, containers and what was not run as a whole are opened."""
    parts = []
    for name, child in network.named_children():
        inner = f"{path}.{name}".lstrip(".")
        opens = isinstance(child, CONTAINERS) or (inner not in run and any(True for _ in child.children()))
        parts += parts_of(child, run, inner) if opens else [(inner, child)]
    return parts


def _keep_shape(seen: dict[str, tuple[int, ...]], path: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        seen[path] = tuple((output[0] if isinstance(output, tuple) else output).shape[1:])

    return hook


def layers_of(network: nn.Module, shapes: Mapping[str, tuple[int, ...]], counts: Mapping[str, int]) -> list[Layer]:
    """One layer for each part that was run; a norm or an activation joins the part before it."""
    layers = [
        Layer(name=name, kind="parameter", shape=tuple(p.shape), parameters=p.numel(), multiply_adds=0, modules=(name,))
        for name, p in network.named_parameters(recurse=False)
    ]
    for path, module in parts_of(network, shapes):
        if path not in shapes or isinstance(module, SILENT):
            continue
        size, work = count_parameters(module), counts.get(path, 0)
        if layers and isinstance(module, (*BATCH_NORMS, *ACTIVATIONS)):
            last = layers[-1]
            layers[-1] = replace(
                last, kind=f"{last.kind}, {type(module).__name__}", parameters=last.parameters + size,
                modules=(*last.modules, path),
            )  # fmt: skip
        else:
            kind, shape = kind_of(module), shapes[path]
            row = Layer(name=path, kind=kind, shape=shape, parameters=size, multiply_adds=work, modules=(path,))
            layers.append(row)
    return layers


def kind_of(module: nn.Module) -> str:
    """A layer in a few words."""
    kind = type(module).__name__
    if isinstance(module, CONVOLUTIONS):
        alone = " each channel alone" if 1 < module.groups == module.in_channels else ""
        return f"{kind} {by_x(module.kernel_size, '')}{alone}"
    if isinstance(module, POOLS):
        size = module.kernel_size
        return f"{kind} {by_x(size if isinstance(size, tuple) else (size,), '')}"
    if isinstance(module, Recurrent):
        layers = f"{module.layers} x " if module.layers > 1 else ""
        return f"{layers}{module.cell}{' in both directions' if module.directions == 2 else ''}"
    return "average" if isinstance(module, AVERAGES) else kind


def folded(network: nn.Module, layers: list[Layer], run: Container[str]) -> list[Layer]:
    """Equal layers behind each other, of equal output, as one."""
    result: list[Layer] = []
    for layer in layers:
        last = result[-1] if result else None
        if last is not None and (last.kind, last.shape) == (layer.kind, layer.shape) and layer.kind != "parameter":
            result[-1] = replace(
                last, repeats=last.repeats + 1, parameters=last.parameters + layer.parameters,
                multiply_adds=last.multiply_adds + layer.multiply_adds, modules=last.modules + layer.modules,
            )  # fmt: skip
        else:
            result.append(layer)
    paths = [path for path, module in parts_of(network, run) if not isinstance(module, SILENT)]
    return [replace(layer, name=span(layer, paths)) for layer in result]


def span(layer: Layer, paths: list[str]) -> str:
    """A name for all of a layer's modules: the container that holds just them, or the first and the last of them."""
    steps = [path.split(".") for path in layer.modules]
    common = [names[0] for names in zip(*steps, strict=False) if len(set(names)) == 1]
    inside = [path for path in paths if path.startswith(".".join((*common, "")))]
    if common and set(inside) == set(layer.modules):
        return ".".join(common)
    last = [path for path in layer.modules if path.count(".") == layer.modules[0].count(".")][-1]
    return layer.modules[0] if layer.repeats == 1 else f"{layer.modules[0]} to {last.rpartition('.')[2]}"


def by_x(shape: tuple[int, ...], space: str = " ") -> str:
    """(64, 56, 56) as 64 x 56 x 56."""
    return f"{space}x{space}".join(map(str, shape))


def si(value: float) -> str:
    """A large number with its unit.

    Example:
        >>> si(4_089_184_256), si(714_188_480), si(650)
        ('4.09 G', '714 M', '650')
    """
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:#.3g} {unit}".replace(". ", " ")
    return f"{value:g}"
