"""report.html of a finished run: gathers what the page tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from chainrule.data.samples import Batch
from chainrule.data.schema import ClassTarget
from chainrule.evaluate.charts import Series
from chainrule.evaluate.report import Mistake, ReportData, Section, render_report, worst_rows
from chainrule.models.mlp import MLP
from chainrule.models.perceptron import Perceptron
from chainrule.prepare import Prepared, describe_target
from chainrule.scoring import headline
from chainrule.session import Session
from chainrule.tasks.classify import Classify
from chainrule.tasks.task import Rows
from chainrule.trace.regions import collapse_line, decision_regions_svg
from chainrule.train.run import Run

MISTAKES = 12


def write_report(run: Run, session: Session, prepared: Prepared, metrics: Mapping[str, Any], rows: Rows) -> None:
    """The page, from the scores, the measured test rows and the run's own events."""
    run.write_text("report.html", render_report(_gather(run, session, prepared, metrics, rows)))


def _gather(run: Run, session: Session, prepared: Prepared, metrics: Mapping[str, Any], rows: Rows) -> ReportData:
    events, task, target = run.events(), session.task, session.schema.target
    name, better = headline(task.name)
    monitor = task.monitor[0]
    positive = task.positive if isinstance(task, Classify) else None
    threshold = target.threshold if isinstance(target, ClassTarget) else 0.5
    itself = prepared.parts["test"] is prepared.parts["train"]
    losses = [event for event in events if "loss" in event]
    judged = [event for event in events if event.get("valid")]
    return ReportData(
        name=run.path.name,
        task=task.name,
        model=session.recipe.model_name,
        parameters=metrics["parameters"],
        source=prepared.name,
        recognised=(f"{prepared.kind.NAME}: {prepared.recognised}",),
        target=describe_target(target),
        split_rows=metrics["rows"],
        split_reason=prepared.divided,
        headline=name,
        better=better,
        scores={"valid": metrics["valid"], "test": metrics["test"]},
        interval={key: (low, high) for key, (low, high) in metrics["interval"].items()},
        interval_over="rows" if prepared.parts["test"].groups is None else "groups",
        baselines=metrics["baselines"],
        findings=prepared.findings,
        loss=[Series(name="train", x=[e["step"] for e in losses], y=[e["loss"] for e in losses])],
        monitored=[Series(name="valid", x=[e["step"] for e in judged], y=[e["valid"][monitor] for e in judged])],
        monitor=monitor,
        rows=rows,
        classes=target.classes if isinstance(target, ClassTarget) else (),
        positive=positive,
        threshold=threshold,
        mistakes=_mistakes(session, prepared, rows, positive, threshold),
        step_seconds=metrics["seconds"]["step"],
        speed_note=metrics["seconds"]["limit"],
        recipe=session.recipe.settings(),
        commands={
            "predict": f"chainrule predict {run.path} INPUT",
            **({"explain": f"chainrule explain {run.path}"} if session.kind.NAME == "table" else {}),
            "train longer": f"chainrule resume {run.path} --epochs {2 * metrics['epochs']}",
            "repeat": f"chainrule fit SOURCE --model {session.recipe.model_name} --recipe {run.path}/recipe.json",
        },
        environment={key: str(value) for key, value in run.read("environment.json").items()},
        sections=_sections(session, prepared),
        limits=("A truth table is its own test set: the score says that it was learned, no more.",) if itself else (),
    )


def _mistakes(
    session: Session, prepared: Prepared, rows: Rows, positive: int | None, threshold: float
) -> Sequence[Mistake]:
    records, target = prepared.parts["test"], session.schema.target
    worst = worst_rows(rows, MISTAKES, positive, threshold)
    if not worst:
        return ()
    found = []
    for row in worst:
        if isinstance(target, ClassTarget):
            probabilities = torch.from_numpy(rows["probabilities"][row : row + 1])
            assert isinstance(session.task, Classify)
            answer = target.classes[int(session.task.decide(probabilities)[0])]
            truth = target.classes[int(rows["targets"][row])]
            detail = f"share of {truth}: {probabilities[0, int(rows['targets'][row])]:.3f}"
        else:
            answer, truth = f"{rows['predictions'][row]:.4g}", f"{rows['targets'][row]:.4g}"
            detail = f"off by {rows['predictions'][row] - rows['targets'][row]:+.4g}"
        shown = prepared.kind.show(records, row)
        found.append(Mistake(id=records.ids[row], truth=truth, answer=answer, detail=detail, shown=shown))
    return found


def why_not_xor(session: Session) -> str:
    """For a network of two inputs without non-linearity: the product of its matrices, and what a line cannot do."""
    network = session.module.network
    if session.schema.target.name != "xor":
        return ""
    if isinstance(network, MLP) and network.config.activation == "identity":
        parameters = list(network.parameters())  # weight, bias, weight, bias, ...
        return collapse_line(parameters[::2], parameters[1::2])
    return collapse_line([network.linear.weight], [network.linear.bias]) if isinstance(network, Perceptron) else ""


def _sections(session: Session, prepared: Prepared) -> tuple[Section, ...]:
    """What only some data has: the decision regions of a truth table."""
    if prepared.kind.NAME != "gates":
        return ()
    records = prepared.parts["test"]
    samples = session.encode(records)
    corners = samples.batch(torch.arange(len(samples)))
    assert corners.targets is not None
    points = zip(corners.inputs[0].tolist(), corners.targets.tolist(), strict=True)
    rows = [(first, second, answer) for (first, second), answer in points]

    def share(x: Tensor) -> Tensor:
        task = session.task
        assert isinstance(task, Classify)
        return task.probabilities(session.module, Batch((x,), None, torch.arange(len(x))))[:, 1]

    svg = decision_regions_svg(share, rows)
    return (Section(title="Decision regions: 1 is green, 0 is red", svg=svg, text=why_not_xor(session)),)
