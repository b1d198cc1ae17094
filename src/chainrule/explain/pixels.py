"""Explain a network that answers for pixels: where it is unsure, where it errs, and whether the first tells the second.

Source: uncertainty by test-time augmentation as in ``uncertainty``; the check with random weights as in ``sanity``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.image.decode import Pixels, resize, to_channels
from chainrule.data.mask.decode import nearest, scaled
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.mask.write import WHITE, class_colours, overlay
from chainrule.data.order import generator_of
from chainrule.data.samples import Batch
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.errors import InputError
from chainrule.explain.answers import spread
from chainrule.explain.cam import anatomy
from chainrule.explain.methods import in_cells
from chainrule.explain.overlay import heat
from chainrule.explain.page import render_page, shrunk
from chainrule.explain.sanity import Sanity, renew_batch_norm, sanity_check
from chainrule.explain.uncertainty import Doubt, doubt, doubt_of, shares_of
from chainrule.functional.metrics import ranking, roc_auc
from chainrule.functional.overlap import region_counts
from chainrule.nn.fronted import Fronted
from chainrule.tasks.segment import Segment
from chainrule.tasks.task import Rows

SHOWN = 8  # images on the page
LEAST_IMAGES, MOST_IMAGES = SHOWN, 100  # that are looked at
MOST_FLOPS = 4e12  # of all of them, beyond the least: a minute or two on a processor
FLOPS_PX = (256, 256), (16, 64, 64)  # largest part of an image whose work is counted
PIXELS = 200_000  # of all images together, on which uncertainty and errors are compared
KEPT_PX = 512  # longer side that maps are kept at
SANITY_ROWS, REDRAWS = 3, 3
SANITY_PX = (256, 256), (16, 64, 64)  # largest part of an image whose maps are compared
WELL, FAIRLY, BARELY = 0.9, 0.75, 0.6  # of ROC AUC, what is said of it

ERRORS = {  # colours of the error map
    "object, and right": (46, 196, 112), "false alarm": (249, 142, 9), "missed": (66, 168, 220),
    "another class": (216, 80, 200),
}  # fmt: skip

Choose = Callable[[Rows], tuple[NDArray[np.float64], list[tuple[str, list[int]]]]]
# ^ of measured rows: a score for each, and the ones to be shown by name, such as worst, middle and best


@dataclass(frozen=True)
class Seen:
    """One image that was looked at. Maps are shrunk to 512 pixels; of a volume they are those of the middle slice."""

    row: int
    id: str
    classes: NDArray[np.uint8]  # (H, W)
    truth: NDArray[np.uint8] | None
    uncertainty: NDArray[np.float32]  # (H, W) from 0 to 1
    disagreement: NDArray[np.float32]
    mean: float  # uncertainty over all pixels
    differing: float  # disagreement over all pixels
    counts: NDArray[np.int64] | None  # (3, K) pixels of each class: right, answered, true
    wrong: float | None  # share of the pixels with a known answer
    sampled: tuple[NDArray[np.float32], NDArray[np.bool_]] | None  # uncertainty of some pixels; whether they are wrong


@dataclass(frozen=True, slots=True)
class Pointing:
    """How well uncertainty tells wrong pixels from right ones."""

    auc: float  # NaN where all are right or all are wrong
    pixels: int
    images: int
    wrong: float  # share of the pixels

    @property
    def trusted(self) -> bool:
        """Whether it tells them better than by chance; also where there is nothing to tell."""
        return math.isnan(self.auc) or self.auc >= BARELY

    def text(self) -> str:
        """The verdict in one line."""
        if math.isnan(self.auc):
            return f"errors: no verdict, of {self.pixels:,} pixels {'none' if not self.wrong else 'every one'} is wrong"
        verdict = (
            "it points at errors well" if self.auc >= WELL
            else "it points at many errors" if self.auc >= FAIRLY
            else "it points at errors weakly" if self.auc >= BARELY
            else "IT HARDLY POINTS AT ERRORS: do not search for them by it"
        )  # fmt: skip
        return (
            f"errors: a wrong pixel is less certain than a right one in {self.auc:.0%} of such pairs (ROC AUC "
            f"{self.auc:.3f}, {self.pixels:,} pixels of {self.images} images, {self.wrong:.2%} wrong); {verdict}"
        )


@dataclass(frozen=True)
class Shown:
    """An image on the page."""

    seen: Seen
    sort: str  # worst, middle, best; "" where nothing is known
    score: float | None
    picture: Pixels  # (H, W, 3) in the size of the maps
    words: str  # what is answered


@dataclass(frozen=True)
class PixelsExplanation:
    """Where a network is unsure of pixels, where it errs, and how far that can be believed."""

    target: MaskTarget
    seen: tuple[Seen, ...]
    shown: tuple[Shown, ...]
    dice: tuple[float, ...]  # of each image; empty without masks
    views: int
    pointing: Pointing | None  # None without masks
    sanity: dict[str, Sanity]  # of the maps of "uncertainty" and "answer"
    notes: tuple[str, ...]

    @property
    def maps(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Of each image that is shown its "uncertainty" and "disagreement", by its id."""
        shown = [one.seen for one in self.shown]
        return {one.id: {"uncertainty": one.uncertainty, "disagreement": one.disagreement} for one in shown}

    @property
    def mean(self) -> float:
        """The mean uncertainty of the images, from 0 to 1."""
        return float(np.mean([one.mean for one in self.seen]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the maps are left to ``maps``."""
        sorts = {one.seen.row: one.sort for one in self.shown}
        return {
            "views": self.views,
            "uncertainty": self.mean,
            "disagreement": float(np.mean([one.differing for one in self.seen])),
            "errors": None if self.pointing is None else _plain(asdict(self.pointing)),
            "images": [
                {
                    "id": one.id, "uncertainty": one.mean, "disagreement": one.differing, "wrong": one.wrong,
                    "dice": self.dice[place] if self.dice else None, "shown": one.row in sorts,
                    "sort": sorts.get(one.row) or None,
                }
                for place, one in enumerate(self.seen)
            ],
            "sanity": {
                name: _plain({**asdict(found), "passed": found.passed}) for name, found in self.sanity.items()
            },
            "notes": list(self.notes),
        }  # fmt: skip

    def methods(self) -> list[tuple[str, list[tuple[str, bool]]]]:
        """Headings, each with its lines, and whether what they say can be relied on."""
        sides = {1: "the image as it is", 2: "the image and its mirror image", 4: "four mirrored views"}[self.views]
        unsure = sorted(self.seen, key=lambda one: -one.mean)[:3]
        lines = [
            (f"mean {self.mean:.3f} over {len(self.seen)} images; 0 is sure, 1 is all classes alike", True),
            (f"least certain: {', '.join(f'{one.id} ({one.mean:.3f})' for one in unsure)}", True),
        ]
        if self.pointing is not None:
            lines.append((self.pointing.text(), self.pointing.trusted))
        lines.append((self.sanity["uncertainty"].text(), self.sanity["uncertainty"].passed))
        answer = [(self.sanity["answer"].text(), self.sanity["answer"].passed)]
        return [
            (f"Uncertainty: entropy of the mean shares of {sides}", lines),
            ("Answer: the share of each class", answer),
        ]

    def text(self) -> str:
        """For a terminal."""
        lines = list(self.notes)
        for heading, found in self.methods():
            lines += ["", heading, *(f"  {line}" for line, _ in found)]
        return "\n".join(lines)

    def page(self) -> str:
        """One HTML file that needs nothing else."""
        return _page(self)

    def save(self, path: str | Path) -> None:
        """Write the page."""
        Path(path).write_text(self.page(), encoding="utf-8")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values with None for NaN, which JSON does not know."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()
    }  # fmt: skip


def explain_pixels(
    module: Fronted, task: Segment, samples: MaskSamples, views: int, choose: Choose, seed: int = 0
) -> PixelsExplanation:
    """Explain ``module`` on images spread over all samples; with masks on the worst, middle and best of them.

    Args:
        views: 2, the image and its mirror image, or 4, also upside down.

    Raises:
        InputError: there are no samples.
    """
    if not len(samples):
        raise InputError("there are no images to explain")
    module = Fronted(module.front, module.network).eval()  # as it is, not compiled
    device = next(module.parameters()).device
    rows = spread(len(samples), _affordable(module, samples, views, device)).tolist()
    quota = max(1, PIXELS // len(rows))
    seen = [_seen(module, task, samples, row, views, quota, seed, device) for row in rows]
    dice, chosen = _chosen(seen, choose)
    shown = [
        Shown(
            seen[place], sort, dice[place] if dice else None, _picture(samples, rows[place]), _words(task, seen[place])
        )
        for sort, place in chosen[:SHOWN]
    ]
    maps = _Maps(module, task, samples, views, device)
    return PixelsExplanation(
        target=task.target, seen=tuple(seen), shown=tuple(shown), dice=dice, views=views, pointing=_pointing(seen),
        sanity={name: maps.check(name, seed) for name in ("uncertainty", "answer")},
        notes=(_told(seen, shown, len(samples)),),
    )  # fmt: skip


def _told(seen: Sequence[Seen], shown: Sequence[Shown], samples: int) -> str:
    looked = f"{len(seen):,} of {samples:,} images looked at, {len(shown)} shown"
    if shown[0].score is None:
        return f"{looked}; their masks are not known"
    sorts = dict.fromkeys(one.sort for one in shown)
    return f"{looked}: {', '.join(sorts)} by Dice"


def _affordable(module: Fronted, samples: MaskSamples, views: int, device: torch.device) -> int:
    """How many images can be looked at for what their views cost."""
    sizes = samples.sizes
    part = tuple(min(int(side), most) for side, most in zip(sizes[0], FLOPS_PX[sizes.shape[1] - 2], strict=True))
    image = torch.zeros((1, samples.channels, *part), dtype=torch.uint8, device=device)
    (tensor,) = module.front(image)
    flops = anatomy(module.network, tensor).flops / math.prod(part) * float(sizes.prod(axis=1).mean()) * views
    return max(LEAST_IMAGES, min(MOST_IMAGES, int(MOST_FLOPS / max(1.0, flops))))


def _seen(
    module: Fronted, task: Segment, samples: MaskSamples, row: int, views: int, quota: int, seed: int,
    device: torch.device,
) -> Seen:  # fmt: skip
    batch = samples.batch(torch.tensor([row]))
    found = doubt_of(module, batch.inputs[0][0].to(device), views)
    truth = None if batch.targets is None else batch.targets[0]
    counts, wrong, sampled = None, None, None
    if truth is not None:
        counts = region_counts(found.classes[None], truth[None], len(task.target.classes))[0].numpy()
        known = int(counts[2].sum())
        wrong = 1 - int(counts[0].sum()) / known if known else None
        sampled = _sampled(found, truth, quota, generator_of(seed, row))
    return Seen(
        row=row, id=samples.ids[row], classes=_small(found.classes), truth=None if truth is None else _small(truth),
        uncertainty=_small_map(found.uncertainty), disagreement=_small_map(found.disagreement),
        mean=float(found.uncertainty.double().mean()), differing=float(found.disagreement.double().mean()),
        counts=counts, wrong=wrong, sampled=sampled,
    )  # fmt: skip


def _sampled(
    found: Doubt, truth: Tensor, quota: int, generator: torch.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The uncertainty of pixels drawn at random among those whose answer is known, and whether each is wrong."""
    size = truth.numel()
    places = torch.randint(size, (quota,), generator=generator) if size > quota else torch.arange(size)
    wanted, got = truth.flatten()[places], found.classes.flatten()[places]
    known = wanted != IGNORE
    return found.uncertainty.flatten()[places][known].numpy(), (wanted != got)[known].numpy()


def _pointing(seen: Sequence[Seen]) -> Pointing | None:
    parts = [one.sampled for one in seen if one.sampled is not None]
    if not parts:
        return None
    uncertainty, wrong = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if not len(wrong):
        return None
    both = wrong.any() and not wrong.all()
    auc = float(roc_auc(ranking(uncertainty, wrong).curve())) if both else math.nan
    return Pointing(auc, len(wrong), len(parts), float(wrong.mean()))


def _plane(values: Tensor) -> Tensor:
    """A map (H, W), or the middle one of a volume."""
    return values if values.ndim == 2 else values[len(values) // 2]


def _kept_size(size: tuple[int, ...]) -> tuple[int, int]:
    return scaled(size, KEPT_PX) if max(size) > KEPT_PX else (size[0], size[1])


def _small(classes: Tensor) -> NDArray[np.uint8]:
    plane = np.ascontiguousarray(_plane(classes).numpy())
    return nearest(plane, _kept_size(plane.shape))


def _small_map(values: Tensor) -> NDArray[np.float32]:
    plane = _plane(values)
    size = _kept_size(tuple(plane.shape))
    return F.interpolate(plane[None, None], size, mode="area")[0, 0].numpy()


def _chosen(seen: Sequence[Seen], choose: Choose) -> tuple[tuple[float, ...], list[tuple[str, int]]]:
    """The score of each image, and the worst, middle and best ones; without masks images spread over all."""
    counts = [one.counts for one in seen if one.counts is not None]
    if len(counts) < len(seen):
        return (), [("", place) for place in spread(len(seen), SHOWN).tolist()]
    hits, answered, support = np.stack(counts).transpose(1, 0, 2)
    scores, chosen = choose({"hits": hits, "answered": answered, "support": support})
    return tuple(scores.tolist()), [(sort, place) for sort, places in chosen for place in places]


def _picture(samples: MaskSamples, row: int) -> Pixels:
    pixels = samples.images[row]
    plane = np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[len(pixels) // 2])
    return to_channels(np.ascontiguousarray(resize(plane, _kept_size(plane.shape[:2]))), 3)


def _words(task: Segment, one: Seen) -> str:
    """The classes that are answered, the largest area first."""
    pixels = np.bincount(one.classes.ravel(), minlength=len(task.target.classes))
    found = sorted((k for k in task.target.foreground if pixels[k]), key=lambda k: -pixels[k])
    return ", ".join(task.target.classes[k] for k in found) or task.target.classes[task.target.background]


class _Maps:
    """Parts of a few images, and what a network with these or with random weights says of them."""

    def __init__(self, module: Fronted, task: Segment, samples: MaskSamples, views: int, device: torch.device) -> None:
        self.network, self.views = module.network, views
        rows = spread(len(samples), SANITY_ROWS)
        parts = [_middle(samples.batch(rows[place : place + 1]), samples, rows.tolist()) for place in range(len(rows))]
        with torch.no_grad():
            (self.inputs,) = module.front(torch.cat(parts).to(device))

    def check(self, name: str, seed: int) -> Sanity:
        """Whether the maps of "uncertainty", or those of the answer's shares, change with the weights."""
        batch = torch.cat((self.inputs, torch.zeros_like(self.inputs[:1])))  # two rows at least, for batch norm

        @torch.no_grad()
        def cells(network: nn.Module) -> Tensor:
            if network is not self.network:
                renew_batch_norm(network, (batch,))
            shares = shares_of(network, self.inputs, self.views)
            if name == "uncertainty":
                return in_cells(doubt(shares)[1])
            return in_cells(torch.stack(shares).mean(0).flatten(0, 1))  # (rows classes), each ranked by itself

        return sanity_check(self.network, cells, seed, REDRAWS)


def _middle(batch: Batch, samples: MaskSamples, rows: Sequence[int]) -> Tensor:
    """The middle of an image, of the largest size that all of these rows have, up to ``SANITY_PX``."""
    most = SANITY_PX[samples.sizes.shape[1] - 2]
    size = np.minimum(samples.sizes[rows].min(axis=0), most).tolist()
    image = batch.inputs[0]
    for axis, part in enumerate(size, start=2):
        image = image.narrow(axis, (image.shape[axis] - part) // 2, part)
    return image


def _page(explanation: PixelsExplanation) -> str:
    """The page of answers about pixels."""
    methods = [
        {
            "heading": heading, "lines": [text for text, _ in lines], "trusted": all(fine for _, fine in lines),
            "chart": "",
        }
        for heading, lines in explanation.methods()
    ]  # fmt: skip
    target, shown = explanation.target, explanation.shown
    held = np.unique(np.concatenate([one.seen.classes.ravel() for one in shown]))
    keys = [
        {"colour": colour, "words": name}
        for k, (name, colour) in enumerate(zip(target.classes, class_colours(target), strict=True))
        if k in held and k != target.background
    ]
    if any(one.seen.truth is not None for one in shown):
        keys.append({"colour": WHITE, "words": "outline of the mask"})
        keys += [{"colour": colour, "words": f"errors: {name}"} for name, colour in ERRORS.items()]
    rows = [_pixels_row(one, target) for one in shown]
    return render_page("Where the network is unsure, and where it errs", explanation.notes, methods, (), rows, keys)


def _pixels_row(one: Shown, target: MaskTarget) -> dict[str, Any]:
    seen, picture = one.seen, one.picture
    panels = [("the image", picture)]
    if seen.truth is not None:
        panels.append(("its mask", overlay(picture, seen.truth, target)))
    panels += [
        ("the answer", overlay(picture, seen.classes, target, seen.truth)),
        ("uncertainty", heat(picture, seen.uncertainty.astype(np.float64))),
        ("what the views differ in", heat(picture, seen.disagreement.astype(np.float64))),
    ]
    if seen.truth is not None:
        panels.append(("errors", error_map(picture, seen.classes, seen.truth, target.background)))
    known = [one.sort] if one.sort else []
    known += [] if one.score is None else [f"Dice {one.score:.3f}"]
    known.append(f"mean uncertainty {seen.mean:.3f}")
    known += [] if seen.wrong is None else [f"{seen.wrong:.2%} of the pixels wrong"]
    return {
        "answer": {"id": seen.id, "text": one.words, "share": None, "truth": ""},
        "panels": [{"title": title, "svg": shrunk(pixels)} for title, pixels in panels],
        "piece": " · ".join(known),
    }


def error_map(picture: Pixels, classes: NDArray[np.uint8], truth: NDArray[np.uint8], background: int) -> Pixels:
    """The picture in dimmed grey, objects that are answered right, wrongly, as another class, or not, in colour."""
    grey = np.rint(0.6 * picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    shown = np.repeat(grey[..., None], 3, axis=2)
    claimed, there, known = classes != background, truth != background, truth != IGNORE
    same = classes == truth
    parts = (claimed & same, claimed & ~there, ~claimed & there, claimed & there & ~same)
    for part, colour in zip(parts, ERRORS.values(), strict=True):
        chosen = part & known
        shown[chosen] = np.rint(0.4 * shown[chosen] + 0.6 * np.array(colour))
    return shown
