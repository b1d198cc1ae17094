"""Explain a network on images, spectrograms, signals and clips: where in the input its answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.kind import DataKind
from chainrule.data.mask.decode import nearest
from chainrule.data.mask.write import WHITE, outline
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import ClassTarget
from chainrule.errors import InputError
from chainrule.explain.answers import MEASURED_ROWS, Answer, answers_of, spread, worth_explaining
from chainrule.explain.axes import Axes, axes_of
from chainrule.explain.cam import Output, anatomy
from chainrule.explain.methods import Explainer, Method, output_of
from chainrule.explain.overlay import Pixels, draw, scaled, smoothed
from chainrule.explain.page import LEFT_PX, bars, panel, render_page, safe
from chainrule.explain.partners import Mask, Partner, at_size, share_inside
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import Task

DEAR_FLOPS = (4e9, 4e10)  # of one row, from which 4 and 2 samples are explained instead of 8


@dataclass(frozen=True)
class Explained:
    """Samples as the network saw them, and its answers."""

    answers: tuple[Answer, ...]
    inputs: Tensor  # (B C ...): what the front gave; of samples in pieces the piece that says most for the answer
    pictures: tuple[NDArray[np.uint8] | None, ...]  # (H, W, 3) of the inputs' size, where the data are pictures
    pieces: tuple[tuple[float, ...], ...] = ()  # of each sample the output of every piece, which the answer averages
    chosen: tuple[int, ...] = ()  # the piece that is explained
    masks: tuple[Mask | None, ...] = ()  # (H, W) what is marked in each, where masks lie beside pictures
    fixed: tuple[Tensor, ...] = ()  # what goes to the network with the inputs: how many frames of each row there are


@dataclass(frozen=True)
class MapsExplanation:
    """Maps of each method over some samples.

    ``methods[0].maps[i]`` is what each place of sample ``i`` adds to the answer (Grad-CAM: a score above 0).
    """

    explained: Explained
    methods: tuple[Method, ...]
    notes: tuple[str, ...]
    axes: Axes

    @property
    def maps(self) -> dict[str, NDArray[np.float32]]:
        """Arrays (samples, ...) by the methods' names."""
        return {method.name: method.maps.numpy() for method in self.methods}

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "samples": [
                {"id": one.id, "answer": one.text, "share": one.share, "truth": one.truth or None, "right": one.right}
                for one in self.explained.answers
            ],
            "methods": {method.name: {**method.as_dict(), **self._inside(method)} for method in self.methods},
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """For a terminal."""
        lines = list(self.notes)
        for method in self.methods:
            lines += ["", *self.lines_of(method)]
        return "\n".join(lines)

    def _inside(self, method: Method) -> dict[str, Any]:
        found = share_inside(method.maps, self.explained.masks) if self.explained.masks else None
        return {} if found is None else {"inside": dict(zip(("share", "area", "images"), found, strict=True))}

    def lines_of(self, method: Method) -> list[str]:
        """What is told of one method, the masks too where there are some."""
        inside = self._inside(method).get("inside")
        if inside is None:
            return method.lines()
        return [
            *method.lines(),
            f"  {inside['share']:.0%} of it lies inside the masks, which cover {inside['area']:.0%} of the area (means "
            f"over the images that have one: {inside['images']})",
        ]

    def page(self) -> str:
        """One HTML file that needs nothing else."""
        return _page(self)

    def save(self, path: str | Path) -> None:
        """Write the page."""
        Path(path).write_text(self.page(), encoding="utf-8")


def explain_maps(
    module: Fronted, task: Task, kind: DataKind, schema: Any, takes: str, samples: Samples, seed: int = 0,
    partner: Partner | None = None,
) -> MapsExplanation:  # fmt: skip
    """Explain ``module`` on the samples that tell most: confident mistakes and right answers.

    Each map belongs to the output that the network answers with (of classes: the logit of the one answered). Of samples
    that are cut into pieces, the piece that says most for the answer is explained. All arithmetic is in float32.

    Args:
        partner: gives the mask of a picture by its id, to be held against the maps.

    Raises:
        InputError: Captum is not installed, there are no samples, or the input is no map.
    """
    if not len(samples):
        raise InputError("there are no samples to explain")
    module = Fronted(module.front, module.network, pieces=module.pieces).eval()  # as it is, not compiled
    device = next(module.parameters()).device
    front, network = _seen(module, kind, schema, takes, device)
    row, *fixed = _tensors(front, takes, samples.batch(torch.zeros(1, dtype=torch.long)).to(device))
    if module.pieces:
        row, fixed = row[:, 0], [one[:, 0] for one in fixed]
    if not 3 <= row.dim() <= 5:
        raise InputError(
            f"the network takes {takes}, which has no places to point at; maps need images, sound or clips"
        )
    found = anatomy(network, row, *fixed)
    found = replace(found, layer="") if fixed else found  # maps of frames lie on their side, and end where rows do not
    count = 8 >> sum(found.flops >= dear for dear in DEAR_FLOPS)
    answers = _telling(answers_of(module, task, samples, spread(len(samples), MEASURED_ROWS), device), count)
    classes = schema.target.classes if isinstance(schema.target, ClassTarget) else ()
    two = len(classes) == 2
    batch = samples.batch(torch.tensor([answer.row for answer in answers])).to(device)
    tensors = _tensors(front, takes, batch)
    explained = _looked_at(tensors, output_of(network, two), module.pieces, kind, schema, batch, answers)
    explained = explained if partner is None else _marked(explained, partner)
    target = torch.tensor([answer.output for answer in answers], device=device)
    inputs, lengths = explained.inputs.to(device), tuple(one.to(device) for one in explained.fixed)
    explainer = Explainer(network, found, inputs, target, two=two, signed=not classes, fixed=lengths)
    methods, notes = explainer.methods(seed)
    axes = axes_of(schema, explained.inputs.dim() - 2)
    return MapsExplanation(explained, tuple(methods), (_told(answers, len(samples)), *notes), axes)


def _marked(explained: Explained, partner: Partner) -> Explained:
    """The same with the masks of its pictures, if there are any."""
    size = explained.inputs.shape[-2], explained.inputs.shape[-1]
    known = zip(explained.answers, explained.pictures, strict=True)
    masks = tuple(None if picture is None else at_size(partner(one.id), size) for one, picture in known)
    return replace(explained, masks=masks) if any(mask is not None for mask in masks) else explained


def _telling(answers: Sequence[Answer], count: int) -> list[Answer]:
    """So many answers: chosen by what is known of the truth, or evenly."""
    if answers[0].truth:
        return worth_explaining(answers, count)
    return [answers[place] for place in spread(len(answers), count).tolist()]


def _told(answers: Sequence[Answer], samples: int) -> str:
    wrong = sum(answer.right is False for answer in answers)
    order = "the most telling ones first" if answers[0].truth else "their truth is not known"
    return f"{len(answers)} of {samples:,} samples explained, {order}" + (
        f"; {wrong} answered wrongly" if wrong else ""
    )


def _seen(
    module: Fronted, kind: DataKind, schema: Any, takes: str, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """The front that gives places, and the network behind it: one of vectors flattens the image itself.

    Frames in a row are an upright picture of bands over time, with how many of them there are.
    """
    if takes == "frames":
        return Upright(module.front), Lying(module.network)
    if takes == "vector" and "image" in kind.GIVES:
        return kind.front(schema, "image").to(device).eval(), nn.Sequential(nn.Flatten(), module.network)
    return module.front, module.network


class Upright(nn.Module):
    """A front of frames (B T F), or (B P T F), whose output is a picture (B 1 F T), or (B P 1 F T); and lengths."""

    def __init__(self, front: nn.Module) -> None:
        super().__init__()
        self.front = front

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures, and how many frames each has."""
        frames, lengths = self.front(*inputs)
        return frames.mT.unsqueeze(-3), lengths


class Lying(nn.Module):
    """A network of frames that is given the pictures of ``Upright``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, lengths: Tensor) -> Tensor:
        """Its outputs (B K)."""
        outputs: Tensor = self.network(pictures[:, 0].mT, lengths)
        return outputs


@torch.no_grad()
def _tensors(front: nn.Module, takes: str, batch: Batch) -> tuple[Tensor, ...]:
    """What the network is given: the places (B ...), and of frames their numbers."""
    tensors: tuple[Tensor, ...] = front(*batch.inputs)
    if len(tensors) != 1 + (takes == "frames"):
        raise InputError(f"the network takes {len(tensors)} tensors; maps need one, an image, sound or a clip")
    return tensors[0].float(), *tensors[1:]


@torch.no_grad()
def _looked_at(
    tensors: tuple[Tensor, ...], output: Output, pieces: bool, kind: DataKind, schema: Any, batch: Batch,
    answers: Sequence[Answer],
) -> Explained:  # fmt: skip
    """The tensors of a batch; of each sample in pieces (B P ...) the one whose output for the answer is largest."""
    if not pieces:
        pictured = kind.NAME == "image" and tensors[0].dim() == 4
        pictures = tuple(kind.picture(batch, row, schema) if pictured else None for row in range(len(batch)))
        return Explained(tuple(answers), tensors[0].cpu(), pictures, fixed=tuple(one.cpu() for one in tensors[1:]))
    rows = zip(answers, *tensors, strict=True)
    outputs = torch.stack([output(*row)[:, answer.output] for answer, *row in rows])
    chosen = outputs.argmax(1)
    strongest, *fixed = (one[torch.arange(len(one)), chosen.to(one.device)].cpu() for one in tensors)
    every = tuple(map(tuple, outputs.tolist()))
    return Explained(tuple(answers), strongest, (None,) * len(batch), every, tuple(chosen.tolist()), fixed=tuple(fixed))


def _page(explanation: MapsExplanation) -> str:
    """The page of maps over samples."""
    methods = [
        {"heading": lines[0], "lines": lines[1:], "trusted": method.sanity.passed, "chart": ""}
        for method in explanation.methods
        for lines in [explanation.lines_of(method)]
    ]
    rows = [_row(explanation, row) for row in range(len(explanation.explained.answers))]
    number = explanation.explained.answers[0].share is None
    meaning = ("lowers the number", "raises it") if number else ("speaks against the answer", "speaks for it")
    keys = [{"colour": WHITE, "words": "outline of the mask"}] if explanation.explained.masks else []
    return render_page("Where the answers come from", explanation.notes, methods, meaning, rows, keys)


def _row(explanation: MapsExplanation, row: int) -> dict[str, Any]:
    seen, axes = explanation.explained, explanation.axes
    tensor, picture = seen.inputs[row], seen.pictures[row]
    mask = seen.masks[row] if seen.masks else None
    panels = [("as the network sees it", panel(draw(tensor, None, picture, axes.upright), axes, None))]
    for method in explanation.methods:
        values = scaled(smoothed(method.maps[row]) if method.name == "integrated_gradients" else method.maps[row])
        pixels = draw(tensor, values, picture, axes.upright)
        pixels = pixels if mask is None else _outlined(pixels, mask)
        panels.append((method.title, panel(pixels, axes, values if tensor.dim() == 4 else None)))
    if seen.pieces:
        panels.append(("output of each piece", bars(seen.pieces[row], 4 * LEFT_PX, (seen.chosen[row],))))
    return {
        "answer": seen.answers[row],
        "panels": [{"title": title, "svg": safe(svg)} for title, svg in panels],
        "piece": f"piece {seen.chosen[row] + 1} of {len(seen.pieces[row])}" if seen.pieces else "",
    }


def _outlined(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """The pixels with the edge of the mask in white."""
    large = nearest(mask.astype(np.uint8), pixels.shape[:2])
    return np.where((outline(large) & (large > 0))[..., None], np.uint8(255), pixels)
