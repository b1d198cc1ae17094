"""The report of a run: one HTML file that needs nothing else and asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.kind import Finding, Shown
from chainrule.evaluate import charts
from chainrule.evaluate.baselines import strongest
from chainrule.evaluate.calibration import calibration
from chainrule.evaluate.cases import class_table
from chainrule.evaluate.charts import Bar, Series, number
from chainrule.evaluate.sheet import LARGE_PX, WIDE_PX, is_wide
from chainrule.functional.metrics import ClassCounts, answers, class_counts, confusion_matrix, ranking
from chainrule.tasks.task import Rows

FEW_ROWS = 30  # of a class: below it its recall is known to about one part in ten at best
MOST_CLASSES = 200  # of the per-class table; of more, the ones with the lowest F1
MOST_BARS = 30  # of the chart of classes; of more, the ones with the fewest rows
IMBALANCE = 5  # largest class over smallest from which accuracy alone misleads
NO_METRICS = {"name", "rows", "seconds", "note"}  # of a baseline's entry


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One row the network got wrong, as a person sees it."""

    id: str
    truth: str
    answer: str
    detail: str = ""  # "said with 98 %", "off by 1.2 m"
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture (H, W, 3) uint8 with what it shows."""

    image: NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Something more to show. ``svg`` goes into the page as it is: only charts of our own belong there."""

    title: str
    svg: str = ""
    text: str = ""
    pictures: Sequence[Sequence[Picture]] = ()  # strips below each other
    table: Sequence[Sequence[str]] = ()  # the first row names the columns


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What a report tells; what is left empty is left out."""

    name: str
    task: str
    model: str
    parameters: int
    source: str
    recognised: Sequence[str] = ()  # what the data were taken for, and why; one sentence each
    target: str = ""  # the target's name, with its unit where it has one
    split_rows: Mapping[str, int] = field(default_factory=dict)
    split_reason: str = ""

    headline: str = ""  # the metric the page opens with
    better: Literal["min", "max"] = "max"
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by split
    scored: str = "test"  # the split that the headline, intervals, baselines, rows and mistakes are from
    interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    level: float = 0.95
    interval_over: str = "rows"  # or "groups"
    baselines: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()

    loss: Sequence[Series] = ()  # over iterations
    loss_name: str = "loss"
    monitored: Sequence[Series] = ()  # over iterations
    monitor: str = ""
    parts: Sequence[Series] = ()  # what the loss is made of, on the validation split over iterations

    rows: Rows = field(default_factory=dict)  # measured: probabilities and targets, or predictions and targets
    classes: Sequence[str] = ()
    positive: int | None = None
    threshold: float = 0.5
    mistakes: Sequence[Mistake] = ()
    class_rows: Mapping[str, Sequence[int]] = field(default_factory=dict)  # by split, in the order of the classes
    augmented: Sequence[Sequence[Picture]] = ()  # a training sample and versions of it, one after the other
    cases: Mapping[str, Sequence[Sequence[Picture]]] = field(default_factory=dict)  # "worst" -> images, strips of each

    step_seconds: Mapping[str, float] = field(default_factory=dict)  # of one step, by what it was spent on
    speed_note: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)  # flat: "train.epochs" -> 10
    commands: Mapping[str, str] = field(default_factory=dict)  # what for -> what to type
    environment: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    limits: Sequence[str] = ()  # what the score does not show, beyond what is true of every score


def render_report(report: ReportData) -> str:
    """The page. Every word from the data is escaped, and its own policy forbids scripts and requests."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _cell
    template = environment.from_string(files("chainrule.evaluate").joinpath("templates/report.html").read_text("utf-8"))
    pictures = {name: [Markup(chart) for chart in drawn] for name, drawn in _charts(report).items()}
    return template.render(
        report=report,
        verdict=verdict(report),
        metrics=_metric_table(report),
        baseline_metrics=_baseline_metrics(report),
        charts=pictures,
        per_class=_per_class(report),
        class_rows=_class_rows(report),
        imbalance=imbalance_words(report),
        augmented=[_strip(row) for row in report.augmented],
        cases={name: [_strip(row) for row in rows] for name, rows in report.cases.items()},
        overlap=_overlap(report),
        calibration=_calibration_words(report),
        mistakes=[(m, charts.png(m.shown.image) if m.shown.image is not None else "") for m in report.mistakes],
        timings=_shares(report.step_seconds),
        sections=[(s, Markup(s.svg), [_strip(row) for row in s.pictures]) for s in report.sections],
        limits=_limits(report),
    )


def verdict(report: ReportData) -> list[str]:
    """The headline in words: the score, its interval, and what the strongest baseline does to it."""
    value = report.scores.get(report.scored, {}).get(report.headline)
    if value is None:
        return []
    count = report.split_rows.get(report.scored)
    where = f"on the {report.scored} split" + (f" of {count:,} rows" if count else "")
    sentence = f"{report.headline} {number(value)} {where}"
    bounds = report.interval.get(report.headline)
    if bounds:
        sentence += f", {report.level:.0%} interval {number(bounds[0])} to {number(bounds[1])}"
    sentences = [sentence + "."]
    best = strongest([dict(entry) for entry in report.baselines], report.headline, report.better)
    if best is None:
        return sentences
    other, name = float(best[report.headline]), best["name"]
    if other == value:
        relation = "exactly what the network scores"
    elif (other > value) == (report.better == "max"):
        relation = f"better than the network by {number(abs(other - value))}"
    else:
        relation = f"the network is better by {number(abs(other - value))}"
    sentences.append(f"The strongest baseline is {name} with {number(other)}: {relation}.")
    if bounds and bounds[0] <= other <= bounds[1] and other != value:
        sentences.append("That lies within the interval: these rows alone do not tell the two apart.")
    return sentences


def worst_rows(rows: Rows, count: int = 12, positive: int | None = None, threshold: float = 0.5) -> list[int]:
    """The rows answered most wrongly, worst first: least share for the true class, or the largest error."""
    targets = rows["targets"]
    if "probabilities" in rows:
        probabilities = rows["probabilities"]
        wrong = np.flatnonzero(answers(probabilities, positive, threshold) != targets)
        badness = 1 - probabilities[wrong, targets[wrong]]
    else:
        wrong = np.arange(len(targets))
        badness = np.abs(rows["predictions"] - targets)
    worst: list[int] = wrong[np.argsort(-badness, kind="stable")[:count]].tolist()
    return worst


def _charts(report: ReportData) -> dict[str, list[str]]:
    """Every chart of the page, by the section it stands in."""
    drawn: dict[str, list[str]] = {"score": [], "classes": [], "learning": [], "answers": [], "calibration": []}
    value = report.scores.get(report.scored, {}).get(report.headline)
    if value is not None and report.baselines:
        low, high = report.interval.get(report.headline, (None, None))
        bars = [Bar(name=report.model, value=value, low=low, high=high, strong=True)]
        known = [entry for entry in report.baselines if report.headline in entry]
        bars += [Bar(name=entry["name"], value=float(entry[report.headline])) for entry in known]
        drawn["score"].append(charts.bar_chart(f"{report.headline}, {report.scored} split", bars, report.headline))
    if _class_rows(report):
        bars = [Bar(name=name, value=counts[0]) for name, counts in _class_rows(report)]
        title = "Rows of each class in train" + (f", the {MOST_BARS} rarest" if len(report.classes) > MOST_BARS else "")
        drawn["classes"].append(charts.bar_chart(title, bars, "rows"))
    if report.loss:
        values = np.concatenate([np.asarray(series.y, float) for series in report.loss])
        above = values[np.isfinite(values) & (values > 0)]
        wide = len(above) > 0 and above.max() > 20 * above.min()
        drawn["learning"].append(charts.line_chart("Loss", report.loss, "iteration", report.loss_name, log_y=wide))
    if report.monitored:
        title = f"{report.monitor} on the validation split"
        drawn["learning"].append(charts.line_chart(title, report.monitored, "iteration", report.monitor))
    if len(report.parts) > 1:
        title = "What the loss is made of, validation split"
        drawn["learning"].append(charts.line_chart(title, report.parts, "iteration", "nats"))
    if "probabilities" in report.rows and report.classes and report.rows["targets"].ndim == 1:
        _draw_classes(report, drawn)
    elif "predictions" in report.rows:
        true, predicted = report.rows["targets"], report.rows["predictions"]
        drawn["answers"].append(charts.scatter_chart("Predicted and true", true, predicted, report.target))
        label = f"predicted - true {report.target}"
        drawn["answers"].append(charts.histogram("Errors", predicted - true, label))
    return drawn


def _draw_classes(report: ReportData, drawn: dict[str, list[str]]) -> None:
    probabilities, targets, K = report.rows["probabilities"], report.rows["targets"], len(report.classes)
    chosen = answers(probabilities, report.positive, report.threshold)
    matrix = confusion_matrix(targets, chosen, K)
    drawn["answers"].append(charts.confusion_chart("Confusion matrix", matrix, report.classes))
    positive = 1 if report.positive is None else report.positive
    if K == 2 and 0 < (targets == positive).sum() < len(targets):
        points = ranking(probabilities[:, positive], targets == positive).curve()
        drawn["answers"].append(charts.roc_chart("ROC curve", points, report.classes[positive]))
    bins = calibration(probabilities, targets, report.positive).bins
    drawn["calibration"].append(charts.reliability_chart("Reliability", bins))


def _metric_table(report: ReportData) -> list[tuple[str, str, list[str]]]:
    """Each metric with its interval and its value on every split."""
    names = dict.fromkeys(name for scores in report.scores.values() for name in scores)
    ordered = sorted(names, key=lambda name: name != report.headline)
    table = []
    for name in ordered:
        bounds = report.interval.get(name)
        words = f"{number(bounds[0])} to {number(bounds[1])}" if bounds else ""
        table.append((name, words, [_cell(scores.get(name)) for scores in report.scores.values()]))
    return table


def _baseline_metrics(report: ReportData) -> list[str]:
    names = dict.fromkeys(name for entry in report.baselines for name in entry if name not in NO_METRICS)
    return sorted(names, key=lambda name: name != report.headline)


def _per_class(report: ReportData) -> list[tuple[str, str, str, str, str]]:
    """Name, precision, recall, F1 and rows of each class; of very many classes the worst."""
    if "probabilities" not in report.rows or not report.classes:
        return []
    counts = _counts(report)
    order = np.arange(len(report.classes))
    if len(order) > MOST_CLASSES:
        order = np.argsort(np.nan_to_num(counts.f1, nan=np.inf), kind="stable")[:MOST_CLASSES]
    columns: list[NDArray[Any]] = [counts.precision, counts.recall, counts.f1]
    table = []
    for k in order.tolist():
        precision, recall, f1 = (_cell(float(column[k])) for column in columns)
        table.append((str(report.classes[k]), precision, recall, f1, f"{int(counts.support[k]):,}"))
    return table


def _counts(report: ReportData) -> ClassCounts:
    probabilities, targets = report.rows["probabilities"], report.rows["targets"]
    if targets.ndim == 1:
        return class_counts(targets, answers(probabilities, report.positive, report.threshold), len(report.classes))
    true, said = targets > 0.5, probabilities >= report.threshold  # several labels a row
    return ClassCounts((true & said).sum(0), said.sum(0), true.sum(0))


def _overlap(report: ReportData) -> list[tuple[str, ...]]:
    """Name, Dice, IoU, precision, recall and true pixels of each class of pixels."""
    if "hits" not in report.rows:
        return []
    table = class_table(report.rows, report.classes)
    return [(name, *(_cell(score) for score in scores), f"{pixels:,}") for name, *scores, pixels in table]


def _strip(row: Sequence[Picture]) -> tuple[bool, list[tuple[str, str]]]:
    """Whether a row's pictures are wide, and each as a data URI with its caption."""
    wide = is_wide(row[0].image)
    return wide, [(charts.png(p.image, WIDE_PX if wide else LARGE_PX), p.caption) for p in row]


def _class_rows(report: ReportData) -> list[tuple[str, tuple[int, ...]]]:
    """Each class with its rows in every split; of very many classes the rarest."""
    if not report.class_rows or not report.classes:
        return []
    counts = zip(*report.class_rows.values(), strict=True)
    table = list(zip(report.classes, counts, strict=True))
    return table if len(table) <= MOST_BARS else sorted(table, key=lambda row: row[1])[:MOST_BARS]


def imbalance_words(report: ReportData) -> str:
    """What unequal classes do to the score, and what was or can be done; nothing where they are about equal."""
    counts = next(iter(report.class_rows.values()), ())
    if not report.classes or not counts or max(counts) <= IMBALANCE * max(1, min(counts)):
        return ""
    words = (
        f"The largest class has {number(round(max(counts) / max(1, min(counts)), 1))} times the rows of the smallest: "
        "accuracy alone misleads, read balanced_accuracy and macro_f1 as well. "
    )
    if report.recipe.get("task.class_weight") == "balanced":
        return words + "Rare classes weighed as much as common ones in the loss (task.class_weight=balanced)."
    return words + "--set task.class_weight=balanced makes rare classes weigh as much as common ones in the loss."


def _calibration_words(report: ReportData) -> str:
    """What the calibration says, in a sentence."""
    if "probabilities" not in report.rows or not report.classes or report.rows["targets"].ndim > 1:
        return ""
    found = calibration(report.rows["probabilities"], report.rows["targets"], report.positive)
    leaning = "about as sure of itself as it should be"
    if found.temperature > 1.1:
        leaning = "surer of itself than it should be"
    elif found.temperature < 0.9:
        leaning = "less sure of itself than it could be"
    return (
        f"The network is {leaning}: expected calibration error {number(round(found.error, 4))}, Brier score "
        f"{number(round(found.brier, 4))}, best temperature {number(round(found.temperature, 3))} (1 is calibrated; "
        f"reported, not applied)."
    )


def _shares(seconds: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """What a step spends its time on: name, milliseconds, share; the largest first."""
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return [(name, number(1000 * value), f"{value / total:.0%}") for name, value in ordered] if total > 0 else []


def _limits(report: ReportData) -> list[str]:
    """What the headline does not show: what holds for every score, and what these data add."""
    limits = list(report.limits)
    if not report.scores:
        return limits
    limits.append(
        f"How the network does on rows of another kind than the {report.scored} split: another place, time, device or "
        f"way of choosing rows."
    )
    if report.interval:
        limits.append(
            f"How much another seed, split or training run would move it: the interval draws {report.interval_over} of "
            f"this one {report.scored} split again, for this one network."
        )
    if "probabilities" in report.rows and report.classes:
        support = _counts(report).support.astype(np.int64)
        rare = [
            f"{report.classes[k]} ({support[k]})" for k in np.argsort(support, kind="stable") if support[k] < FEW_ROWS
        ]
        if rare:
            more = f" and {len(rare) - 8} more" if len(rare) > 8 else ""
            limits.append(f"Much about classes with fewer than {FEW_ROWS} rows here: {', '.join(rare[:8])}{more}.")
    if "valid" in report.scores:
        limits.append("The validation scores are a little too good: they chose the best weights and any threshold.")
    if report.baselines:
        limits.append("The baselines are not tuned; a tuned one could score higher.")
    return limits


def _cell(value: Any) -> str:
    """A table's cell: short numbers, words as they are, nothing for what is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
