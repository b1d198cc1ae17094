"""Grad-CAM, integrated gradients and occlusion of one network, each with its sanity check."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.explain.answers import spread
from chainrule.explain.cam import Anatomy, Output, grad_cam
from chainrule.explain.gradients import TOLERANCE, Attribution, integrated_gradients
from chainrule.explain.occlusion import occlusion, windows
from chainrule.explain.sanity import Sanity, renew_batch_norm, sanity_check

MOST_STEPS, SANITY_STEPS = 64, 16  # of integrated gradients; the latter where only ranks are compared
REDRAWS, SANITY_ROWS = 2, 3  # of the weights, and samples, for the sanity check
SANITY_CELLS = ((64,), (16, 16), (4, 8, 8))  # of a map, whose ranks are compared
WORKING_VALUES, MOST_ROWS = 1 << 27, 256  # in one call: numbers that all layers put out (half a gigabyte), and rows
ENDS = "recordings of different lengths end at different places of a layer's map"
BORDER = 0.1  # share of each side that counts as border

Explain = Callable[[nn.Module, Tensor], Tensor]  # maps of these rows (indices) by this network


@dataclass(frozen=True)
class Method:
    """One way to explain: its maps of all samples, and whether they can be believed."""

    name: str  # grad_cam, integrated_gradients, occlusion
    title: str
    how: str  # in words: which layer, how many steps, what window
    maps: Tensor  # (B, ...) in the size of the network's input, without its channels; positive: for the answer
    sanity: Sanity
    gap: float | None = None  # of integrated gradients: what the sums miss of the difference of outputs

    def half(self) -> float:
        """The share of the input's places that holds half of the attribution, mean over samples; NaN without any."""
        found = []
        for sizes in self.maps.flatten(1).abs():
            total = sizes.sort(descending=True).values.double().cumsum(0)
            if total[-1] > 0:
                found.append((int((total < total[-1] / 2).sum()) + 1) / len(total))
        return float(np.mean(found)) if found else math.nan

    def border(self) -> tuple[float, float]:
        """The share of the attribution in the outer tenth of each side, and that border's share of the area."""
        inner = torch.zeros(self.maps.shape[-2:], dtype=torch.bool)
        h, w = (round(BORDER * side) for side in inner.shape)
        inner[h : inner.shape[0] - h, w : inner.shape[1] - w] = True
        sizes = self.maps.abs().double()
        total = float(sizes.sum())
        return (float(sizes[..., ~inner].sum()) / total if total else math.nan), 1 - float(inner.double().mean())

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the maps are left to ``maps``."""
        border = self.border()[0] if self.maps.dim() > 2 else None
        return {
            "how": self.how,
            "sanity": {**asdict(self.sanity), "passed": self.sanity.passed},
            **({} if self.gap is None else {"gap": self.gap, "complete": self.gap <= TOLERANCE}),
            "half_on": None if math.isnan(self.half()) else self.half(),
            **({} if border is None or math.isnan(border) else {"border": border}),
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"{self.title}: {self.how}", f"  {self.sanity.text()}"]
        if self.gap is not None:
            meet = "meet" if self.gap <= TOLERANCE else "MISS"
            lines.append(f"  the sums {meet} the difference of outputs: gap {self.gap:.2%}")
        if math.isnan(self.half()):
            return [*lines, "  the maps are empty: nothing speaks for the answers"]
        where = f"  half of it lies on {self.half():.0%} of the input"
        if self.maps.dim() > 2:
            share, area = self.border()
            more = ", MORE THAN ITS PART: is the answer written there?" if share > 1.5 * area else ""
            where += f"; {share:.0%} in the border (the outer tenth of each side, {area:.0%} of the area){more}"
        return [*lines, where]


def output_of(network: nn.Module, two: bool) -> Output:
    """Outputs (B K) of the network; the one logit of ``two`` classes becomes one for each, z against -z."""

    def outputs(inputs: Tensor, *fixed: Tensor) -> Tensor:
        logits: Tensor = network(inputs, *fixed)
        return torch.cat((-logits, logits), 1) if two and logits.shape[1] == 1 else logits

    return outputs


class Explainer:
    """The methods on one network and one batch; ``fixed`` are tensors that go with the inputs, such as lengths."""

    def __init__(
        self, network: nn.Module, found: Anatomy, inputs: Tensor, target: Tensor, two: bool, signed: bool,
        fixed: tuple[Tensor, ...] = (),
    ) -> None:  # fmt: skip
        self.network, self.found, self.inputs, self.target, self.fixed = network, found, inputs, target, fixed
        self.two = two  # classes
        self.signed = signed  # keep what Grad-CAM finds against the answer: of numbers, what lowers them
        self.blank = "silence" if inputs.dim() == 3 else "the mean level"  # what 0 in standard units means
        self.rows_at_once = max(1, min(MOST_ROWS, WORKING_VALUES // max(found.values, 1)))

    def methods(self, seed: int) -> tuple[list[Method], list[str]]:
        """Every method that this network allows, and why others are left out."""
        notes = []
        if not self._gradients_pass():
            notes.append("Grad-CAM and integrated gradients are left out: no gradient passes through the network")
            return [self._occlusion(seed)], notes
        if not self.found.layer:
            none = "no layer of the network puts out a convolutional map of several cells"
            notes.append(f"Grad-CAM is left out: {ENDS if self.fixed else none}")
            return [self._integrated_gradients(seed), self._occlusion(seed)], notes
        return [self._grad_cam(seed), self._integrated_gradients(seed), self._occlusion(seed)], notes

    def _gradients_pass(self) -> bool:
        few = (one[:1] for one in self.fixed)
        return output_of(self.network, self.two)(self.inputs[:1].clone().requires_grad_(), *few).requires_grad

    def _grad_cam(self, seed: int) -> Method:
        def explain(network: nn.Module, rows: Tensor) -> Tensor:
            output, layer = output_of(network, self.two), self.found.layer
            parts = [
                grad_cam(network, output, self.inputs[part], self.target[part], layer, rectified=not self.signed)
                for part in torch.split(rows, self.rows_at_once)
            ]
            return torch.cat(parts)

        cells = " x ".join(map(str, self.found.cells))
        return self._checked("grad_cam", "Grad-CAM", f"{cells} cells of {self.found.layer}", explain, seed)

    def _integrated_gradients(self, seed: int) -> Method:
        def attributed(network: nn.Module, rows: Tensor, most_steps: int) -> Attribution:
            inputs = self.inputs[rows]
            base = torch.zeros_like(inputs[:1])
            output = output_of(network, self.two)
            target, fixed = self.target[rows], tuple(one[rows] for one in self.fixed)
            return integrated_gradients(
                output, (inputs,), (base,), target, fixed, most_steps=most_steps, rows_at_once=self.rows_at_once
            )

        found = attributed(self.network, torch.arange(len(self.inputs)), MOST_STEPS)

        def explain(network: nn.Module, rows: Tensor) -> Tensor:
            used = found if network is self.network else attributed(network, rows, SANITY_STEPS)
            return used.values[0].sum(1)

        how = f"{found.steps} steps from {self.blank}"
        return self._checked("integrated_gradients", "Integrated gradients", how, explain, seed, found.gap)

    def _occlusion(self, seed: int) -> Method:
        def explain(network: nn.Module, rows: Tensor) -> Tensor:
            fixed = tuple(one[rows] for one in self.fixed)
            output = output_of(network, self.two)
            return occlusion(output, self.inputs[rows], self.target[rows], self.rows_at_once, fixed)

        sides = " x ".join(map(str, windows(self.inputs.shape[2:])[0]))
        return self._checked("occlusion", "Occlusion", f"a window of {sides} set to {self.blank}", explain, seed)

    def _checked(
        self, name: str, title: str, how: str, explain: Explain, seed: int, gap: float | None = None
    ) -> Method:
        """The method with its maps, and what becomes of them under random weights."""
        learned = explain(self.network, torch.arange(len(self.inputs)))
        few = spread(len(learned), SANITY_ROWS)
        batch = torch.cat((self.inputs, torch.zeros_like(self.inputs[:1])))
        fixed = (torch.cat((one, one[:1])) for one in self.fixed)
        inputs = (batch, *fixed)

        def cells(network: nn.Module) -> Tensor:
            if network is self.network:
                return in_cells(learned[few])
            renew_batch_norm(network, inputs)
            return in_cells(explain(network, few))

        sanity = sanity_check(self.network, cells, seed, REDRAWS)
        return Method(name, title, how, learned.cpu(), sanity, gap)


def in_cells(maps: Tensor) -> Tensor:
    """Maps (B, ...) averaged over coarse cells, (B, cells)."""
    most = SANITY_CELLS[maps.dim() - 2]
    pool: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[maps.dim() - 2]
    sides = [min(side, cells) for side, cells in zip(maps.shape[1:], most, strict=True)]
    found: Tensor = pool(maps[:, None], sides)
    return found.flatten(1).cpu()
