"""Explain a network on a table: what its score needs, what each answer leans on, and whether to believe that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch, Samples
from chainrule.explain.bars import bars_svg, bars_text
from chainrule.explain.columns import owners_of, places_of
from chainrule.explain.gradients import ColumnAttribution, attribute_columns, typical_row
from chainrule.explain.importance import Importance, permutation_importance
from chainrule.explain.page import render_page, safe
from chainrule.explain.sanity import Sanity, sanity_check
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At, Task

IMPORTANCE_ROWS = 2000
GRADIENT_ROWS = 64  # rows that integrated gradients are averaged over
SANITY_STEPS = 32  # integration steps where only ranks are compared
TYPICAL_ROWS = 5000


@dataclass(frozen=True)
class TableExplanation:
    """Importance of each column for the score, mean size of its attribution, and the sanity check of the latter."""

    importance: Importance
    attribution: ColumnAttribution
    sanity: Sanity
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        found = self.importance
        importance = zip(found.names, found.mean, found.low, found.high, strict=True)
        names, sizes = self.attribution.ranked()
        return {
            "rows": self.rows,
            "permutation_importance": [
                {"column": name, "loss_rise": float(mean), "low": float(low), "high": float(high)}
                for name, mean, low, high in importance
            ],
            "integrated_gradients": dict(zip(names, sizes, strict=True)),
            "complete": self.attribution.complete,
            "sanity": {**asdict(self.sanity), "passed": self.sanity.passed},
        }

    def headings(self) -> tuple[str, str]:
        """What the two charts show."""
        complete = "sums meet the difference of outputs" if self.attribution.complete else "sums miss the difference"
        shuffled = f"{self.rows} rows, {self.importance.repeats} x"
        return (
            f"Permutation importance: rise of the loss when a column is shuffled ({shuffled})",
            f"Integrated gradients: mean size of each column's share in the answer ({complete})",
        )

    def text(self) -> str:
        """For a terminal."""
        found, headings = self.importance, self.headings()
        ranges = list(zip(found.low, found.high, strict=True))
        return "\n".join([
            headings[0],
            bars_text(found.names, list(found.mean), ranges),
            "",
            headings[1],
            bars_text(*self.attribution.ranked()),
            "",
            f"Sanity check: {self.sanity.text()}",
        ])  # fmt: skip

    def page(self) -> str:
        """One HTML file that needs nothing else."""
        return _page(self)

    def save(self, path: str | Path) -> None:
        """Write the page."""
        Path(path).write_text(self.page(), encoding="utf-8")


def explain_table(
    module: Fronted, task: Task, schema: Any, takes: str, samples: Samples, train: Samples, seed: int = 0
) -> TableExplanation:
    """Explain ``module`` on labelled ``samples``; the typical row that answers are compared with comes from ``train``.

    Raises:
        InputError: Captum is not installed.
    """
    module.eval()
    rows = samples.batch(_spread(len(samples), IMPORTANCE_ROWS))
    at = At(0, 1, torch.Generator())

    def loss(inputs: tuple[Tensor, ...]) -> float:
        batch = Batch(inputs, rows.targets, rows.ids)
        with torch.inference_mode():
            terms = task.loss(module, batch, at)
        counts = task.counts(batch)
        return float(sum(term.weight * term.total / counts[term.name] for term in terms))

    importance = permutation_importance(loss, rows.inputs, places_of(schema), seed)
    few = samples.batch(_spread(len(samples), GRADIENT_ROWS))
    typical = typical_row(train.batch(_spread(len(train), TYPICAL_ROWS)).inputs)
    owners = owners_of(schema, takes)
    answered = _answered(module, few.inputs)
    attribution = _attributed(module, few.inputs, typical, owners, answered)

    def again(network: nn.Module) -> Tensor:
        assert isinstance(network, Fronted)
        return _attributed(network, few.inputs, typical, owners, answered, SANITY_STEPS).values

    return TableExplanation(importance, attribution, sanity_check(module, again, seed, redraws=3), len(rows))


def _attributed(
    module: Fronted, inputs: tuple[Tensor, ...], typical: tuple[Tensor, ...], owners: Sequence[Sequence[str]],
    target: Tensor, most_steps: int = 256,
) -> ColumnAttribution:  # fmt: skip
    return attribute_columns(module.front, module.network, inputs, typical, owners, target, most_steps)


def _answered(module: Fronted, inputs: tuple[Tensor, ...]) -> Tensor:
    """The output of each row that its answer comes from: the largest logit; the only one where there is one."""
    with torch.no_grad():
        logits: Tensor = module(*inputs)
    return logits.argmax(dim=-1)


def _spread(length: int, most: int) -> Tensor:
    """Up to ``most`` rows, evenly over all."""
    return torch.linspace(0, length - 1, min(length, most)).round().long()


def _page(explanation: TableExplanation) -> str:
    """The page of a table's columns."""
    found, attribution = explanation.importance, explanation.attribution
    ranges = list(zip(found.low, found.high, strict=True))
    charts = [
        bars_svg(found.names, found.mean, ranges, title="rise of the loss when a column is shuffled"),
        bars_svg(*attribution.ranked(), title="mean size of each column's share in the answer"),
    ]
    doubts: list[tuple[list[str], bool]] = [([], True), ([explanation.sanity.text()], explanation.sanity.passed)]
    methods = [
        {"heading": heading, "lines": lines, "trusted": trusted, "chart": safe(chart)}
        for heading, (lines, trusted), chart in zip(explanation.headings(), doubts, charts, strict=True)
    ]
    return render_page("What the answers depend on", [], methods, (), [])
