"""report.html of a finished run: gathers what the page tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.backtests import backtests
from chainrule.data.order import seed_of
from chainrule.data.samples import Batch, Records
from chainrule.data.schema import (
    ClassTarget,
    LabelsTarget,
    MaskTarget,
    NumberTarget,
    TranscriptTarget,
    class_names,
    describe_target,
)
from chainrule.data.transcripts import transcripts, written
from chainrule.errors import InputError
from chainrule.evaluate.cases import dice_of_rows, telling_rows
from chainrule.evaluate.charts import Series
from chainrule.evaluate.report import Mistake, Picture, ReportData, Section, render_report, worst_rows
from chainrule.evaluate.sheet import sheet
from chainrule.generating import sample
from chainrule.look_alikes import look_alikes
from chainrule.mistaken import mistaken_people
from chainrule.models.mlp import MLP
from chainrule.models.perceptron import Perceptron
from chainrule.prepare import Prepared
from chainrule.reconstructions import reconstructions
from chainrule.session import Session
from chainrule.tasks.classify import Classify
from chainrule.tasks.task import Rows
from chainrule.trace.regions import collapse_line, decision_regions_svg
from chainrule.train.run import Run

MISTAKES = 12
PICTURED, VERSIONS = 6, 7  # training samples on the page of augmented ones, and changed versions of each
AUGMENTED = "samples/augmented.png"


def write_report(
    run: Run, session: Session, prepared: Prepared, metrics: Mapping[str, Any], rows: Rows, uses: Mapping[str, str]
) -> None:
    """The page, from the scores, the measured test rows, the run's own events and what to type to use it."""
    run.write_text("report.html", render_report(_gather(run, session, prepared, metrics, rows, uses)))


def _gather(
    run: Run, session: Session, prepared: Prepared, metrics: Mapping[str, Any], rows: Rows, uses: Mapping[str, str]
) -> ReportData:
    events, task, target = run.events(), session.task, session.schema.target
    name, better = task.headline
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
        parts=_parts_of_nats(judged),
        rows=rows,
        classes=getattr(target, "classes", ()),
        positive=positive,
        threshold=threshold,
        mistakes=_mistakes(session, prepared, rows, positive, threshold),
        cases=_cases(session, prepared, rows),
        class_rows={} if itself else _class_rows(prepared, target),
        augmented=augmented_rows(session, prepared.parts["train"]),
        step_seconds=metrics["seconds"]["step"],
        speed_note=metrics["seconds"]["limit"],
        recipe=session.recipe.settings(),
        commands={
            **uses,
            "train longer": f"chainrule resume {run.path} --epochs {2 * metrics['epochs']}",
            "repeat": f"chainrule fit SOURCE --model {session.recipe.model_name} --recipe {run.path}/recipe.json",
        },
        environment={key: str(value) for key, value in run.read("environment.json").items()},
        sections=(*_cost_of_anomalies(metrics), *_sections(run, session, prepared, rows)),
        limits=("A truth table is its own test set: the score says that it was learned, no more.",) if itself else (),
    )


def _parts_of_nats(judged: Sequence[Mapping[str, Any]]) -> Sequence[Series]:
    """Of an autoencoder, over the evaluations, what the nats of a validation row are for."""
    names = [name for name in judged[0]["valid"] if name.endswith("_nats")] if judged else []
    steps = [event["step"] for event in judged]
    return [Series(name=n.removesuffix("_nats"), x=steps, y=[e["valid"][n] for e in judged]) for n in names]


def _cost_of_anomalies(metrics: Mapping[str, Any]) -> tuple[Section, ...]:
    """What anomalies among the rows to learn from cost, where data.polluted mixed some in."""
    if "clean" not in metrics:
        return ()
    without = metrics["clean"]["test"]
    rows = [
        [name, f"{value:.4g}", f"{without[name]:.4g}"] for name, value in metrics["test"].items() if name in without
    ]
    return (
        Section(
            title="What anomalies among the rows to learn from cost",
            text="Both are scored on the same test rows; the run without them is in the folder clean.",
            table=[["score", "with them", "without them"], *rows],
        ),
    )


def _mistakes(
    session: Session, prepared: Prepared, rows: Rows, positive: int | None, threshold: float
) -> Sequence[Mistake]:
    records, target = prepared.parts["test"], session.schema.target
    if isinstance(target, TranscriptTarget):
        return _misheard(session, prepared, rows)
    if isinstance(target, LabelsTarget):
        return _mislabelled(prepared, target, rows)
    if not isinstance(target, ClassTarget | NumberTarget) or "targets" not in rows:
        return ()
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


def _mislabelled(prepared: Prepared, target: LabelsTarget, rows: Rows) -> Sequence[Mistake]:
    """The rows with the most wrong labels, with those they have and those they were given."""
    records, true = prepared.parts["test"], rows["targets"] > 0.5
    said = rows["probabilities"] >= target.threshold
    wrong = (true != said).sum(1)
    found = []
    for row in [int(row) for row in np.argsort(-wrong, kind="stable")[:MISTAKES] if wrong[row]]:
        truth, answer = (
            ", ".join(name for name, there in zip(target.classes, part[row], strict=True) if there) or "none"
            for part in (true, said)
        )
        shown = prepared.kind.show(records, row)
        detail = f"{wrong[row]} labels wrong"
        found.append(Mistake(id=records.ids[row], truth=truth, answer=answer, detail=detail, shown=shown))
    return found


def _misheard(session: Session, prepared: Prepared, rows: Rows) -> Sequence[Mistake]:
    """The recordings with the most wrong characters, with what is said and what was understood."""
    errors, records = rows["character_errors"], prepared.parts["test"]
    worst = [int(row) for row in np.argsort(-errors, kind="stable")[:MISTAKES] if errors[row]]
    few = records.select(np.array(worst, dtype=np.int64))
    if not worst or few.labels is None:
        return ()
    answers = session.predict(session.encode(few))["prediction"]
    found = []
    for place, (row, truth, answer) in enumerate(zip(worst, transcripts(few.labels), answers, strict=True)):
        detail = f"{errors[row]} edits of {rows['characters'][row]} characters"
        shown = prepared.kind.show(few, place)
        found.append(Mistake(id=few.ids[place], truth=truth, answer=answer, detail=detail, shown=shown))
    return found


def _cases(session: Session, prepared: Prepared, rows: Rows) -> dict[str, list[list[Picture]]]:
    """Of masks the worst, middle and best images, each beside its answer over the truth."""
    target, records = session.schema.target, prepared.parts["test"]
    if not isinstance(target, MaskTarget):
        return {}
    dice, found = dice_of_rows(rows, target.foreground), dict[str, list[list[Picture]]]()
    for name, chosen in telling_rows(dice):
        few = records.select(np.array(chosen, dtype=np.int64))
        samples = session.encode(few)
        for place, answer in enumerate(session.answers(samples)):
            batch = samples.batch(torch.tensor([place]))
            drawn = replace(batch, targets=answer.classes[None])
            strip = [
                Picture(image=_shown(session, replace(batch, targets=None)), caption=few.ids[place]),
                Picture(image=_shown(session, batch), caption="mask"),
                Picture(image=_shown(session, drawn), caption=f"answer, Dice {dice[chosen[place]]:.3f}"),
            ]
            found.setdefault(name, []).append(strip)
    return found


def _shown(session: Session, batch: Batch) -> NDArray[np.uint8]:
    image = session.kind.picture(batch, 0, session.schema)
    assert image is not None
    return image


def _class_rows(prepared: Prepared, target: Any) -> dict[str, list[int]]:
    """Rows of each class in every split."""
    if not isinstance(target, ClassTarget):
        return {}
    labels = {part: records.labels for part, records in prepared.parts.items()}
    counted = {part: Counter(class_names(found).tolist()) for part, found in labels.items() if found is not None}
    return {part: [counts[name] for name in target.classes] for part, counts in counted.items()}


def augmented_rows(session: Session, train: Records) -> list[list[Picture]]:
    """A few training samples, each as it is and as augmentation changes it; nothing where there is nothing to see."""
    augment = session.augment()
    if augment is None:
        return []
    count = min(PICTURED, len(train))
    chosen = train.select(np.linspace(0, len(train) - 1, count).astype(np.int64))
    batch = session.arithmetic.place_batch(session.encode(chosen).batch(torch.arange(count)))
    if session.kind.picture(batch, 0, session.schema) is None:
        return []
    generator, seed = torch.Generator(session.arithmetic.device), session.recipe.train.seed
    changed = [augment(batch, generator.manual_seed(seed_of(seed, number))) for number in range(VERSIONS)]
    if all(torch.equal(version.inputs[0], batch.inputs[0]) for version in changed):
        return []
    return [[_picture(session, version, row) for version in (batch, *changed)] for row in range(count)]


def _picture(session: Session, batch: Batch, row: int) -> Picture:
    """One row with its target's name, or the shares of both where it is a blend."""
    image, target = session.kind.picture(batch, row, session.schema), session.schema.target
    assert image is not None

    if isinstance(target, TranscriptTarget) and batch.targets is not None:
        return Picture(image=image, caption=written(batch.targets[row].tolist(), target))

    def name(value: Tensor) -> str:
        return target.classes[int(value)] if isinstance(target, ClassTarget) else f"{float(value):.4g}"

    if batch.targets is None or not isinstance(target, ClassTarget | NumberTarget):
        return Picture(image=image)

    own = name(batch.targets[row])
    if batch.mixed is None:
        return Picture(image=image, caption=own)
    share, partner = float(batch.mixed.share[row]), name(batch.mixed.targets[row])
    return Picture(image=image, caption=f"{share:.0%} {own}, {1 - share:.0%} {partner}")


def write_augmented(run: Run, pictures: Sequence[Sequence[Picture]]) -> None:
    """samples/augmented.png, if there is something to see."""
    if pictures:
        (run.path / AUGMENTED).parent.mkdir(exist_ok=True)
        (run.path / AUGMENTED).write_bytes(sheet([[picture.image for picture in row] for row in pictures]))


def why_not_xor(session: Session) -> str:
    """For a network of two inputs without non-linearity: the product of its matrices, and what a line cannot do."""
    network = session.module.network
    if session.schema.target.name != "xor":
        return ""
    if isinstance(network, MLP) and network.config.activation == "identity":
        parameters = list(network.parameters())  # weight, bias, weight, bias, ...
        return collapse_line(parameters[::2], parameters[1::2])
    return collapse_line([network.linear.weight], [network.linear.bias]) if isinstance(network, Perceptron) else ""


def decision_regions(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """Of a truth table what the network answers between its corners."""
    records = prepared.parts["test"]
    samples = session.encode(records)
    corners = samples.batch(torch.arange(len(samples)))
    assert corners.targets is not None
    points = zip(corners.inputs[0].tolist(), corners.targets.tolist(), strict=True)
    corners_of = [(first, second, answer) for (first, second), answer in points]

    def share(x: Tensor) -> Tensor:
        task = session.task
        assert isinstance(task, Classify)
        return task.probabilities(session.module, Batch((x,), None, torch.arange(len(x))))[:, 1]

    svg = decision_regions_svg(share, corners_of)
    return (Section(title="Decision regions: 1 is green, 0 is red", svg=svg, text=why_not_xor(session)),)


def own_text(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """Of a language model a text of its own."""
    return (Section(title="What it writes, at temperature 0.8", text=sample(session)),)


def translations(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """Some test sentences beside what was written and the truth, and where the words of one of them come from."""
    from chainrule.data.parallel.samples import ParallelSamples
    from chainrule.explain.alignment import explain_alignment
    from chainrule.tasks.translate import Translate

    samples = session.encode(prepared.parts["test"])
    assert isinstance(samples, ParallelSamples)
    assert isinstance(session.task, Translate)
    try:
        found = explain_alignment(session.module, session.task, samples)
    except InputError:  # all sentences are too long to be drawn
        return ()
    return (Section(title="What it writes", text=found.compared(), svg=found.drawing()),)


Sections = Callable[[Run, Session, Prepared, Rows], tuple[Section, ...]]  # from the measured rows of the test split
SECTIONS: dict[str, Sections] = {  # what only some tasks or data kinds have
    "forecast": backtests,
    "reconstruct": reconstructions,
    "embed": look_alikes,
    "gates": decision_regions,
    "language": own_text,
    "translate": translations,
    "verify": mistaken_people,
}


def _sections(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    found = [SECTIONS[name] for name in (session.task.name, session.kind.NAME) if name in SECTIONS]
    return tuple(section for sections in found for section in sections(run, session, prepared, rows))
