"""How far single numbers, pixels and tokens of a few rows are from what was built, shown as their kind of data is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.audio.built import spectrograms_of
from chainrule.data.image.built import pictures_of
from chainrule.data.samples import Samples
from chainrule.data.schema import InputTarget
from chainrule.data.table.built import frame_of
from chainrule.data.table.front import MAX_ONE_HOT
from chainrule.data.text.built import texts_of
from chainrule.data.text.samples import TextSamples
from chainrule.errors import InputError
from chainrule.explain.anomalies import AnomalyExplanation, Part, Strange, told
from chainrule.explain.axes import axes_of
from chainrule.explain.bars import bars_svg
from chainrule.explain.marks import marked
from chainrule.explain.overlay import draw, scaled, smoothed
from chainrule.explain.page import panel
from chainrule.explain.spans import spans_of
from chainrule.nn.fronted import Fronted
from chainrule.tasks.costs import costs_of, seen_by

SHOWN = 8  # rows
MOST_BARS = 16  # columns of a row in its chart
WORST = 0.1  # of a picture's pixels, whose share of the misfit is told

Seen = tuple[list[Part], list[tuple[str, str]]]  # parts of a row, titles and figures


@dataclass(frozen=True)
class Elements:
    """What a few rows are, what was built of them, and how far each of their elements is off. On the CPU."""

    truth: Tensor  # (N, ...) as Costs has it
    built: Tensor
    misfits: Tensor  # of columns with names in units of what is usual for each
    inputs: Tensor  # (N, ...) what the network was given


@torch.inference_mode()
def elements_of(module: Fronted, target: InputTarget, samples: Samples, rows: NDArray[np.int64]) -> Elements:
    """In float32, built from mean codes; of a row that is seen in pieces the one that fits least."""
    module.eval()
    batch = samples.batch(torch.from_numpy(rows)).to(next(module.parameters()).device)
    seen, costs = seen_by(module, batch), costs_of(module)
    outputs, _ = costs.network.coded(seen)
    misfits = costs.misfits(seen, outputs)
    if target.names:
        misfits = misfits / torch.tensor(target.usual or (1.0,), device=misfits.device)
    built = costs.built(outputs)
    if costs.form == "tokens":  # nothing beyond a row's end
        built = built * (torch.arange(built.shape[1], device=built.device) < seen[1][:, None])
    found = (costs.truth(seen), built, misfits, seen[0])
    pieces = len(misfits) // len(rows)
    places = pieces * torch.arange(len(rows), device=misfits.device)
    worst = misfits.flatten(1).sum(1).view(-1, pieces).argmax(1) + places
    return Elements(*(values[worst].float().cpu() for values in found))


def explain_rows(
    module: Fronted, target: InputTarget, schema: Any, samples: Samples, scores: NDArray[np.float64],
    labels: Sequence[str],
) -> AnomalyExplanation:  # fmt: skip
    """Take the strangest rows apart.

    Args:
        scores: (N,) of each row.
        labels: of each row; empty where there are none.

    Raises:
        InputError: there are no rows.
    """
    if not len(samples):
        raise InputError("there are no samples to explain")
    chosen = np.argsort(-scores, kind="stable")[:SHOWN]
    elements = elements_of(module, target, samples, chosen)
    looked_at = LOOKS[schema.kind](elements, schema, samples, chosen)
    rows = [
        Strange(
            id=samples.ids[row], score=float(scores[row]),
            called=bool(scores[row] >= target.threshold) if target.threshold else None,
            label=labels[row] if len(labels) else "", parts=tuple(parts), panels=tuple(figures),
        )
        for row, (parts, figures) in zip(chosen.tolist(), looked_at, strict=True)
    ]  # fmt: skip
    note = told(len(rows), len(scores), scores.tolist(), target.threshold, target.false_alarms, NOUNS[schema.kind])
    return AnomalyExplanation(tuple(rows), (note, MEANINGS[schema.kind]))


def columns_of(elements: Elements, schema: Any, samples: Samples, rows: NDArray[np.int64]) -> Iterator[Seen]:
    """Of rows of a table: each column's share of the misfit, its value and what was expected."""
    names = _owners(schema)
    distinct = list(dict.fromkeys(names))
    places = torch.tensor([distinct.index(name) for name in names])
    sums = torch.zeros(len(elements.misfits), len(distinct)).index_add_(1, places, elements.misfits)
    shares = sums / sums.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    true, built = (frame_of(values.numpy(), schema) for values in (elements.truth, elements.built))
    for row, of_row in enumerate(shares):
        parts = [
            Part(distinct[place], float(of_row[place]), _cell(true[distinct[place]][row]),
                 _cell(built[distinct[place]][row]))
            for place in of_row.argsort(descending=True, stable=True).tolist()
        ]  # fmt: skip
        shown = parts[:MOST_BARS]
        named = [f"{part.name} = {part.value}, not {part.expected}" for part in shown]
        yield parts, [("share of the row's misfit", bars_svg(named, [part.share for part in shown]))]


def _owners(schema: Any) -> list[str]:
    """The column of each place of a table's vector, as ``VectorFront`` lays it out."""
    names = [column.name for column in schema.numbers]
    names += [column.name for column in schema.numbers if column.missing]
    for column in schema.categories:
        known = len(column.categories)
        names += [column.name] * (min(known, MAX_ONE_HOT) + column.missing + (known > MAX_ONE_HOT))
    return names


def _cell(value: Any) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def places_of_pictures(elements: Elements, schema: Any, samples: Samples, rows: NDArray[np.int64]) -> Iterator[Seen]:
    """Of pictures: where the misfit lies, as a map over the picture, and what was expected."""
    shape = (schema.channels, *schema.size_px)
    true, built = (
        pictures_of(values.flatten(1).numpy(), schema.channels, schema.size_px).repeat(3 // schema.channels, 3)
        for values in (elements.truth, elements.built)
    )
    axes = axes_of(schema, 2)
    for row, misfits in enumerate(elements.misfits.view(-1, *shape).sum(1)):
        y, x, held = _centre(misfits)
        parts = [Part(f"the worst {WORST:.0%} of the pixels, around row {y + 1}, column {x + 1}", held)]
        tensor = elements.inputs[row].view(shape)
        figures = [
            ("as the network sees it", draw(tensor, None, true[row])),
            ("as it was expected", draw(tensor, None, built[row])),
            ("brighter: further from it", draw(tensor, scaled(misfits), true[row])),
        ]
        yield parts, [(title, panel(pixels, axes, None)) for title, pixels in figures]


def places_of_sounds(elements: Elements, schema: Any, samples: Samples, rows: NDArray[np.int64]) -> Iterator[Seen]:
    """Of recordings: where in time and pitch the misfit lies, as a map over the spectrogram."""
    axes = axes_of(schema, 2)
    built = spectrograms_of(elements.built.numpy(), schema)[:, ::-1]  # the lowest band first, as the tensors have it
    true = spectrograms_of(elements.truth.numpy(), schema)[:, ::-1]
    for row, misfits in enumerate(elements.misfits[:, 0]):
        band, frame, held = _centre(misfits)
        where = f"around {frame * schema.hop_samples / schema.sample_rate_hz:.2f} s, band {band + 1} of {schema.mels}"
        tensor = elements.inputs[row]
        figures = [
            ("as the network hears it", draw(tensor, None, true[row], axes.upright)),
            ("as it was expected", draw(tensor, None, built[row], axes.upright)),
            ("brighter: further from it", draw(tensor, scaled(misfits), true[row], axes.upright)),
        ]
        parts = [Part(f"the worst {WORST:.0%} of the spectrogram, {where}", held)]
        yield parts, [(title, panel(pixels, axes, None)) for title, pixels in figures]


def _centre(misfits: Tensor) -> tuple[int, int, float]:
    """The place of the largest misfit, neighbours averaged, and the share of the worst tenth of all places."""
    place = int(smoothed(misfits, 16).argmax())
    worst = misfits.flatten().sort(descending=True).values
    held = worst[: max(1, round(WORST * len(worst)))].sum() / worst.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return place // misfits.shape[1], place % misfits.shape[1], float(held)


def words_of_texts(elements: Elements, schema: Any, samples: Samples, rows: NDArray[np.int64]) -> Iterator[Seen]:
    """Of texts: the nats of each word, and the text that was built. The first token of a row is its BEGIN."""
    assert isinstance(samples, TextSamples)
    built = texts_of(elements.built.numpy(), schema)
    for place, row in enumerate(rows.tolist()):
        spans = spans_of(schema.tokenizer, samples.texts[row], schema.max_tokens)
        nats = [float(elements.misfits[place, span.first + 1 : span.last + 1].sum()) for span in spans]
        total = sum(nats) or 1.0
        order = sorted(range(len(spans)), key=lambda number: -nats[number])
        parts = [Part(spans[number].text, nats[number] / total, f"{nats[number]:.3g} nats") for number in order]
        figures = [("the darker, the more nats", marked(spans, nats)), ("as it was built", marked_text(built[place]))]
        yield parts, figures


def marked_text(text: str) -> str:
    """A text as HTML, without colours."""
    from html import escape

    return f'<p dir="auto" style="white-space:pre-wrap;max-width:60rem;margin:.2rem 0">{escape(text)}</p>'


Look = Callable[[Elements, Any, Samples, NDArray[np.int64]], Iterator[Seen]]
LOOKS: dict[str, Look] = {  # by data kind
    "table": columns_of, "image": places_of_pictures, "audio": places_of_sounds, "text": words_of_texts,
}  # fmt: skip
NOUNS = {"table": "rows", "image": "images", "audio": "recordings", "text": "texts"}
MEANINGS = {
    "table": "shares: of each column in how far the row is from what was built, in units of what is usual for it",
    "image": "maps show where the picture is far from what was built, each on its own scale",
    "audio": "maps show when and at which pitch the sound is far from what was built, each on its own scale",
    "text": "nats of a word: minus the logarithm of the probability it was given",
}
