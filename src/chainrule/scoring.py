"""Scores of a run: baselines, held-out metrics with intervals, a threshold where one class is rare, the report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.kind import DataKind
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import ClassTarget, InputTarget, MaskTarget, TranscriptTarget
from chainrule.errors import InputError
from chainrule.evaluate.anomaly_baselines import anomaly_baselines
from chainrule.evaluate.baselines import MAX_ROWS, Inputs, baselines, rows_within, strongest
from chainrule.evaluate.cases import CLASS_COLUMNS, class_table
from chainrule.evaluate.embedding_baselines import embedding_baselines
from chainrule.evaluate.face_baselines import face_baselines
from chainrule.evaluate.intervals import interval
from chainrule.evaluate.pixel_baselines import pixel_baselines
from chainrule.evaluate.series_baselines import series_baselines
from chainrule.evaluate.text_baselines import word_baselines
from chainrule.evaluate.text_ngrams import text_baselines
from chainrule.evaluate.transcript_baselines import transcript_baselines
from chainrule.evaluate.translation_baselines import translation_baselines
from chainrule.evaluate.views import AVERAGED, View, mean_of_views
from chainrule.prepare import Prepared
from chainrule.recognise import find_kind
from chainrule.session import DIMS, Session
from chainrule.settling import SETTLE, said_of_threshold
from chainrule.tasks.embed import Embed
from chainrule.tasks.reconstruct import Reconstruct
from chainrule.tasks.segment import Segment
from chainrule.tasks.task import Rows, Task
from chainrule.train.run import Run

WIDE_ROWS = 10_000  # train rows that baselines see where a row has no columns but pixels
TEST_ROWS = 100_000  # test rows that baselines are scored on
SEEN_ROWS = 4_096  # rows that are read at once for them
MOST_PIXELS = 4_096  # of a picture that baselines build again


Fit = Callable[[Mapping[str, Any], Any, Task], list[dict[str, Any]]]  # of samples by split, schema, task
BASELINES: dict[str, Fit] = {  # by task or data kind, where rows are no columns
    "segment": lambda samples, schema, task: pixel_baselines(
        samples["train"], samples["test"], schema.target, task.score
    ),
    "translate": lambda samples, schema, task: translation_baselines(
        samples["train"], samples["test"], schema, task.score
    ),
    "embed": lambda samples, schema, task: _place_baselines(samples, schema, task),
    "verify": lambda samples, schema, task: face_baselines(
        samples["train"],
        samples["test"],
        lambda batch: find_kind(schema.kind).classical(batch, schema)["vector"],
        task.score,
    ),
    "forecast": lambda samples, schema, task: series_baselines(samples, schema.target, task.score),
    "language": lambda samples, schema, task: text_baselines(samples["train"], samples["test"], task.score),
    "text": lambda samples, schema, task: word_baselines(samples["train"], samples["test"], schema.target, task.score),
    "transcribe": lambda samples, schema, task: transcript_baselines(
        samples, schema.target, lambda batch: find_kind(schema.kind).classical(batch, schema)["vector"]
    ),
}


def _place_baselines(samples: Mapping[str, Samples], schema: Any, task: Task) -> list[dict[str, Any]]:
    """What pixels, bands or words as they are score."""
    assert isinstance(task, Embed)
    kind = find_kind(schema.kind)
    return embedding_baselines(
        samples["train"], samples["test"], lambda batch: kind.classical(batch, schema)["vector"], task
    )


def fit_baselines(
    kind: DataKind, schema: Any, task: Task, samples: Mapping[str, Samples], code_size: int = 0
) -> list[dict[str, Any]]:
    """Trivial and classical models on the same split, scored on test by the network's own score function.

    Args:
        code_size: of what is built again, how many numbers stand for a row; 0: as many as usual.
    """
    if isinstance(task, Reconstruct):
        return anomaly_baselines(samples, task, partial(_values, kind, schema), code_size, kind.NAME == "table")
    own = BASELINES.get(task.name) or BASELINES.get(kind.NAME)
    return own(samples, schema, task) if own else _columns_baselines(kind, schema, task, samples)


def _columns_baselines(kind: DataKind, schema: Any, task: Task, samples: Mapping[str, Samples]) -> list[dict[str, Any]]:
    target = schema.target
    classes = target.classes if isinstance(target, ClassTarget) else ()
    outputs = "probabilities" if classes else "predictions"

    def score(values: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
        return task.score({outputs: values, "targets": targets})

    train = _inputs(kind, schema, samples["train"], MAX_ROWS)
    test = _inputs(kind, schema, samples["test"], TEST_ROWS)
    limit = MAX_ROWS if train.numbers is not None else WIDE_ROWS
    name: Literal["classify", "regress"] = "classify" if classes else "regress"
    entries = baselines(name, train, test, score, num_classes=len(classes), max_rows=limit)
    for entry in entries:
        if entry["rows"] < len(samples["train"]):
            entry["note"] = entry["note"] or f"fitted on {entry['rows']:,} of {len(samples['train']):,} rows"
    return entries


def _inputs(kind: DataKind, schema: Any, samples: Samples, limit: int) -> Inputs:
    """Up to ``limit`` rows of a split as the baselines see them, which is far less than the pixels of a batch."""
    parts = []
    for rows in torch.split(torch.from_numpy(rows_within(len(samples), limit)), SEEN_ROWS):
        batch = samples.batch(rows)
        assert batch.targets is not None
        parts.append({"targets": batch.targets.cpu().numpy(), **kind.classical(batch, schema)})
    return Inputs(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _values(kind: DataKind, schema: Any, batch: Batch) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """(B, F) what is to be built again, where it is known, and whether in the network's units; of large rows less."""
    form, first = schema.target.form, batch.inputs[0]
    if form == "tokens":
        tokens, lengths = (x.cpu().numpy() for x in batch.inputs[:2])
        return tokens, (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.float64), True
    if form == "pixels" and first[0].numel() <= MOST_PIXELS:
        pixels = first.flatten(1).float().cpu().numpy() / 255
        return pixels, np.ones_like(pixels), True
    if schema.target.window:
        seen, known = (x.flatten(1).cpu().numpy() for x in batch.inputs)
        return seen, known, True
    vector = kind.classical(batch, schema)["vector"]
    return vector, np.ones_like(vector), kind.NAME == "table"


def baseline_line(entries: list[dict[str, Any]], metric: str) -> str:
    """The baselines in one line."""
    scored = [f"{entry['name']} {entry[metric]:.4g}" for entry in entries if metric in entry]
    return f"baselines   {metric} on test: {', '.join(scored)}"


def judge(
    session: Session, samples: Samples, groups: NDArray[Any] | None, views: int = 1
) -> tuple[Rows, dict[str, Any]]:
    """Measured rows of a split, and its metrics with their 95 % intervals: ``{"metrics", "interval"}``.

    Raises:
        InputError: more than one view of data that has no other view.
    """
    rows = session.measure(samples) if views == 1 else measure_views(session, samples, views)
    groups = rows.get("block", groups)  # windows of a series overlap: whole blocks of them are drawn
    task = session.task
    asked = task.questions(rows) if isinstance(task, Embed) else rows  # what is drawn anew are they, not the answers
    bounds = interval(task.score, asked, groups, prepare=task.scorer)
    return rows, {"metrics": task.score(asked), "interval": {name: list(pair) for name, pair in bounds.items()}}


def measure_views(session: Session, samples: Samples, views: int) -> Rows:
    """Measured rows, averaged over the samples as they are and ``views`` - 1 versions by the run's own augmentation.

    Raises:
        InputError: no positive number of views, or data or settings without another view.
    """
    config, kind = session.recipe.augment, session.kind
    if views < 1:
        raise InputError(f"--views is {views}; give the number of views to average over, 1 or more")
    if isinstance(session.task, Segment):
        return session.measure(samples, views)
    if isinstance(session.schema.target, TranscriptTarget):
        raise InputError("--views averages shares and numbers; texts have no mean, leave it out")
    if config is None or not set(kind.GIVES) & set(DIMS):
        raise InputError(f"--views is for images, sound and video; {kind.NAME} data has no other view, leave it out")
    seen = [session.measure(samples)]
    for number in range(1, views):
        view = View(samples, kind, config, number, session.recipe.train.seed, session.arithmetic)
        seen.append(session.measure(view))
        names = [name for name in AVERAGED if name in seen[0]]
        if number == 1 and all(np.array_equal(seen[0][name], seen[1][name]) for name in names):
            raise InputError(
                "all views get equal answers: this run was trained without augmentation (augment.*), or hardly at all"
            )
    return mean_of_views(seen)


def _seconds(counters: Mapping[str, Any]) -> dict[str, Any]:
    """Where the time of training went, and what limits its speed."""
    train, batches, update = (counters[name] for name in ("seconds", "batch_seconds", "update_seconds"))
    steps = max(1, counters["step"])
    parts = {"making batches": batches, "forward and backward": train - batches - update, "updating weights": update}
    slowest = max(parts, key=lambda name: parts[name])
    share = parts[slowest] / train if train else 0.0
    return {
        "train": round(train, 3),
        "step": {name: seconds / steps for name, seconds in parts.items()},
        "limit": f"{slowest} takes {share:.0%} of a step",
    }


def write_scores(
    run: Run, session: Session, prepared: Prepared, samples: Mapping[str, Samples], entries: list[dict[str, Any]],
    per_epoch: int, began: float,
) -> tuple[dict[str, Any], Rows]:  # fmt: skip
    """Settle what the validation split decides, score valid and test, write both files; gives the test rows as well."""
    session.unsettle()
    if session.task.name in SETTLE:
        session.answer_by(**SETTLE[session.task.name](session, prepared.parts, samples))
    run.write("schema.json", dataclasses.asdict(session.schema))
    rows, judged = {}, {}
    for part in ("valid", "test"):
        rows[part], judged[part] = judge(session, samples[part], prepared.parts[part].groups)
    itself = prepared.parts["test"] is prepared.parts["train"]  # a truth table has no interval
    metrics = {
        "task": session.task.name,
        "model": session.recipe.model_name,
        "parameters": sum(p.numel() for p in session.module.parameters()),
        "parent": "",
        "rows": {name: len(part) for name, part in samples.items()},
        "valid": judged["valid"]["metrics"],
        "test": judged["test"]["metrics"],
        "interval": {} if itself else judged["test"]["interval"],
        "baseline": strongest(entries, *session.task.headline),
        "baselines": entries,
        "seconds": {"total": round(time.perf_counter() - began, 3), **_seconds(run.counters)},
        "epochs": -(-run.counters["step"] // per_epoch),
        "steps": run.counters["step"],
    }
    if isinstance(session.schema.target, InputTarget):
        metrics["threshold"] = said_of_threshold(session.schema.target, len(samples["valid"]))
    if isinstance(session.schema.target, MaskTarget):
        table = class_table(rows["test"], session.schema.target.classes)
        metrics["classes"] = {name: dict(zip(CLASS_COLUMNS, scores, strict=True)) for name, *scores in table}
    run.write("metrics.json", metrics)
    return metrics, rows["test"]
