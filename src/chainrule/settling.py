"""What is decided when training is over: thresholds and the like, on the validation split alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import Records, Samples
from chainrule.data.schema import InputTarget
from chainrule.data.series.window_samples import WindowSamples
from chainrule.evaluate.baselines import rows_within
from chainrule.evaluate.calibration import choose_threshold
from chainrule.functional.anomaly import false_alarm_bounds, precision_of, threshold_of, usual_misfit
from chainrule.functional.forecast_metrics import stretch_of
from chainrule.session import PREDICT_ROWS, Session
from chainrule.tasks.classify import Classify
from chainrule.tasks.forecast import Forecast
from chainrule.tasks.reconstruct import Reconstruct, anomaly_scores
from chainrule.tasks.verify import Verify
from chainrule.train.measure import measure

RARE = 0.2  # share of the rarer of two classes below which "auto" chooses a threshold
STRETCHED_WINDOWS = 2_000  # of the validation split, by which intervals are widened
USUAL_ROWS = 20_000  # of the train split, by which is told what is usual
MOST_CODE = 128  # numbers of a code whose distance is part of the score

Parts = Mapping[str, Records]
Splits = Mapping[str, Samples]
Settle = Callable[[Session, Parts, Splits], dict[str, Any]]  # fields of the target


def _threshold_of_classes(session: Session, parts: Parts, samples: Splits) -> dict[str, Any]:
    """The share from which the positive of two classes is answered."""
    target, task = session.schema.target, session.task
    if not isinstance(task, Classify) or task.positive is None:
        return {}
    objective = task.config.threshold
    if objective == "auto":
        rare = min(target.counts) / max(1, sum(target.counts)) < RARE
        objective = "macro_f1" if rare else "half"
    if objective == "half":
        return {}
    rows = session.measure(samples["valid"])
    return {"threshold": choose_threshold(rows["probabilities"], rows["targets"], task.positive, objective)}


def _stretch_of_intervals(session: Session, parts: Parts, samples: Splits) -> dict[str, Any]:
    """How far a forecast's intervals are widened, or narrowed, so that they hold their share."""
    task = session.task
    assert isinstance(task, Forecast)
    valid = parts["valid"]
    few = session.encode(valid.select(rows_within(len(valid), STRETCHED_WINDOWS)))
    rows = measure(task.misses, session.module, few, STRETCHED_WINDOWS, session.arithmetic)
    return {"stretch": stretch_of(rows["below"], rows["above"], task.target.quantiles)}


def _threshold_of_anomalies(session: Session, parts: Parts, samples: Splits) -> dict[str, Any]:
    """What is usual, by the train split; the score from which only the share of rows lies that may be false alarms."""
    task = session.task
    assert isinstance(task, Reconstruct)
    share = task.config.false_alarms
    usual = _usual(session, task, parts["train"], samples["train"])
    session.answer_by(**usual)
    found = {"threshold": anomaly_scores(session.measure(samples["valid"]))}
    if isinstance(samples["valid"], WindowSamples):
        scores = session.moments(samples["valid"]).scores
        found["moment_threshold"] = scores[np.isfinite(scores)]
    return {**usual, **{name: threshold_of(scores, share) for name, scores in found.items()}, "false_alarms": share}


def _usual(session: Session, task: Reconstruct, train: Records, samples: Samples) -> dict[str, Any]:
    """How far rows to learn from are from what is built of them, and where their codes lie."""
    if len(train) > USUAL_ROWS:
        samples = session.encode(train.select(rows_within(len(train), USUAL_ROWS)))
    rows = measure(task.usual, session.module, samples, PREDICT_ROWS, session.arithmetic)
    found: dict[str, Any] = {"usual": rounded(usual_misfit(rows["misfits"], rows["known"]))}
    if rows["codes"].shape[1] <= MOST_CODE:
        precision = precision_of(rows["codes"])
        found["code_mean"] = rounded(rows["codes"].mean(0))
        found["code_precision"] = tuple(rounded(row) for row in precision)
    return found


def said_of_threshold(target: InputTarget, rows: int) -> dict[str, Any]:
    """The score from which rows are called anomalies, the false alarms that it was set for, and how well that is known.

    Args:
        rows: of the validation split; of windows that overlap only so many count as lie side by side.
    """
    apart = max(1, rows // max(1, target.window))
    low, high = false_alarm_bounds(apart, target.false_alarms)
    return {
        "score": target.threshold, "false_alarms": target.false_alarms, "rows": apart, "interval": [low, high],
        "few": apart < 1 / target.false_alarms - 1,
    }  # fmt: skip


def rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Numbers in as many digits as float32 has, so that a schema stays small."""
    return tuple(float(f"{value:.9g}") for value in values.tolist())


def _threshold_of_likeness(session: Session, parts: Parts, samples: Splits) -> dict[str, Any]:
    """The likeness from which two photos are of one person, and how often that errs on the validation people."""
    task = session.task
    assert isinstance(task, Verify)
    rows = session.measure(samples["valid"])
    count = {"people": len(np.unique(rows["targets"])), "photos": len(samples["valid"])}
    return {**dataclasses.asdict(task.operating_point(rows)), **count}


SETTLE: dict[str, Settle] = {
    "classify": _threshold_of_classes,
    "forecast": _stretch_of_intervals,
    "reconstruct": _threshold_of_anomalies,
    "verify": _threshold_of_likeness,
}
