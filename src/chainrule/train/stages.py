"""A network as stages from its input to its head, for learning rates that fall with the distance from the head.

Fine-tuning moves the first layers, whose features are general, less than the last ones: "discriminative" rates.

Source: Howard, Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (ULMFiT), arXiv:1801.06146,
    section 3.2: the rate of each layer is that of the next one divided by 2.6.
Differs: by stages of several layers, as networks of images have dozens of them.
"""

from __future__ import annotations

from itertools import chain, pairwise

from torch import nn

STAGES = 5  # before the head; as many as a ResNet has: its stem and four stages

Part = nn.Module | nn.Parameter  # a parameter where a module holds it beside its children


def stages(network: nn.Module) -> list[list[nn.Parameter]]:
    """Every trained parameter once, in stages from the input to the head.

    The head, the last layer with parameters, is a stage of its own. The parts before it are the network's children;
    while these are fewer than five, the largest that has children of its own is opened. A part without matrices (a
    norm) belongs to the part before it. More than five parts are divided into five stretches of equal number.

    Example:
        >>> layers = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        >>> [[tuple(p.shape) for p in stage] for stage in stages(layers)]
        [[(3, 2), (3,)], [(4, 3), (4,), (4,), (4,)], [(1, 4), (1,)]]
    """
    parts = _opened(network)
    while parts and _opens(parts[-1]):
        parts[-1:] = _opened(parts[-1])
    while len(groups := _with_norms(parts)) <= STAGES and any(_opens(part) for part in parts):
        largest = max((part for part in parts if _opens(part)), key=lambda part: sum(p.numel() for p in _trained(part)))
        place = next(place for place, part in enumerate(parts) if part is largest)
        parts[place : place + 1] = _opened(largest)
    count = max(1, min(STAGES, len(groups) - 1))
    cuts = [round(place * (len(groups) - 1) / count) for place in range(count + 1)]
    divided = [[*chain(*groups[a:b])] for a, b in pairwise(cuts)] + groups[-1:]
    return [stage for stage in _once(divided) if stage]


def _trained(part: Part) -> list[nn.Parameter]:
    found = [part] if isinstance(part, nn.Parameter) else part.parameters()
    return [parameter for parameter in found if parameter.requires_grad]


def _opens(part: Part) -> bool:
    return isinstance(part, nn.Module) and any(_trained(child) for child in part.children())


def _opened(part: Part) -> list[Part]:
    """A module's own parameters and its children, as far as they are trained; a parameter as it is."""
    inner: list[Part] = [part] if isinstance(part, nn.Parameter) else [*part.parameters(recurse=False)]
    inner += [] if isinstance(part, nn.Parameter) else [*part.children()]
    return [one for one in inner if _trained(one)]


def _with_norms(parts: list[Part]) -> list[list[nn.Parameter]]:
    """The parameters of each part with those of the matrix-free parts behind it."""
    groups: list[list[nn.Parameter]] = []
    for part in parts:
        members = _trained(part)
        if groups and all(p.ndim < 2 for p in members):
            groups[-1] += members
        else:
            groups.append(members)
    return groups


def _once(groups: list[list[nn.Parameter]]) -> list[list[nn.Parameter]]:
    """The groups without parameters that an earlier one has: layers may share them."""
    seen: set[int] = set()
    result = []
    for group in groups:
        fresh = list({id(p): p for p in group if id(p) not in seen}.values())
        seen |= {id(p) for p in fresh}
        result.append(fresh)
    return result
