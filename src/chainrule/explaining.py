"""What a run's answers depend on, by data kind or task: which data is looked at, and by which method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.data.mask.augment import MaskAugmentConfig
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.sources import open_source, path_of
from chainrule.data.text.samples import TextSamples
from chainrule.errors import InputError
from chainrule.evaluate.cases import dice_of_rows, telling_rows
from chainrule.opened import OpenRun, listed
from chainrule.tasks.segment import Segment
from chainrule.tasks.task import Rows


class Explanation(Protocol):
    """What ``explain`` gives."""

    def text(self) -> str:
        """In a few lines for a person."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""

    def save(self, path: str | Path) -> None:
        """The page."""


OF_ROWS = ("classify", "regress", "multilabel")  # tasks that have one answer a row, which a kind's own way explains
Explain = Callable[[OpenRun, Any], Explanation]  # of a run, and a source or None for its own test split


def explain(run: OpenRun, source: Any) -> Explanation:
    """What the run's answers depend on.

    Raises:
        InputError: the data has nothing to explain, changed, or cannot be read, or Captum is not installed.
    """
    session = run.session
    chosen = explainer(session.task.name, session.kind.NAME)
    if chosen is None:
        traced = f"; every number of one iteration is shown by: chainrule trace {run.path}"
        raise InputError(
            f"this run learned to {session.task.name} from {session.kind.NAME} data, which explain does not serve; it "
            f"serves rows of tables, texts, images, sound and video, masks and translations"
            f"{traced if session.task.name in OF_ROWS else ''}"
        )
    return chosen(run, source)


def explainer(task: str, kind: str) -> Explain | None:
    """What explains a task on a kind of data; None where nothing does."""
    return EXPLAINERS.get(task) or (EXPLAINERS.get(kind) if task in OF_ROWS else None)


def explain_pixels(run: OpenRun, source: Any) -> Explanation:
    """Of masks, where the network is unsure and where it errs."""
    from chainrule.explain.pixels import explain_pixels as explained

    session, task = run.session, run.session.task
    assert isinstance(task, Segment)
    records = run.prepared().parts["test"] if source is None else _masked(run, source)
    foreground = task.target.foreground

    def choose(rows: Rows) -> tuple[NDArray[np.float64], list[tuple[str, list[int]]]]:
        dice = dice_of_rows(rows, foreground)
        return dice, telling_rows(dice)

    config = session.recipe.augment
    upside_down = isinstance(config, MaskAugmentConfig) and (config.flip == "both" or config.turn)
    samples = session.encode(records)
    assert isinstance(samples, MaskSamples)
    return explained(session.module, task, samples, 4 if upside_down else 2, choose)


def _lone(source: Any) -> Any:
    """The only one of a list of inputs, otherwise what came."""
    return source[0] if isinstance(source, list | tuple) and len(source) == 1 else source


def _masked(run: OpenRun, source: Any) -> Any:
    """Images with their masks where the source has such, otherwise the images."""
    one = _lone(source)
    if isinstance(one, str | Path) and run.session.kind.recognises(open_source(one)):
        return run.labelled(one)
    return run.inputs(source)


def explain_maps(run: OpenRun, source: Any) -> Explanation:
    """Places in images, sound and video."""
    from chainrule.explain.maps import explain_maps as explained
    from chainrule.explain.partners import partners

    session = run.session
    if source is None:
        records = run.prepared().parts["test"]
        looked_in = [session.recipe.data.test, run.folder.read("data.json")["source"]]
    else:
        records = run.inputs(source)
        looked_in = list(listed(source))
    partner = partners(looked_in) if session.kind.NAME == "image" else None
    return explained(
        session.module, session.task, session.kind, session.schema, session.takes, session.encode(records),
        partner=partner,
    )  # fmt: skip


def explain_columns(run: OpenRun, source: Any) -> Explanation:
    """Columns of a table."""
    from chainrule.explain.table import explain_table

    session = run.session
    source = _lone(source)
    own = run.prepared() if source is None else None
    samples = session.encode(own.parts["test"] if own else run.labelled(source))
    train = session.encode(own.parts["train"]) if own else samples
    return explain_table(session.module, session.task, session.schema, session.takes, samples, train)


def explain_texts(run: OpenRun, source: Any) -> Explanation:
    """Words of a text."""
    from chainrule.explain.words import explain_words

    session = run.session
    one = _lone(source)
    if source is None:
        records = run.prepared().parts["test"]
    elif isinstance(one, str | Path) and path_of(one) and session.kind.recognises(open_source(one)):
        records = run.labelled(one)
    else:
        records = run.inputs(source)
    samples = session.encode(records)
    assert isinstance(samples, TextSamples)
    return explain_words(session.module, session.task, session.schema, samples)


def explain_alignments(run: OpenRun, source: Any) -> Explanation:
    """Of a translation the words that each of its words was read from."""
    from chainrule.data.parallel.samples import ParallelSamples
    from chainrule.explain.alignment import explain_alignment
    from chainrule.tasks.translate import Translate

    session = run.session
    records = run.prepared().parts["test"] if source is None else run.inputs(source)
    samples = session.encode(records)
    assert isinstance(samples, ParallelSamples)
    assert isinstance(session.task, Translate)
    return explain_alignment(session.module, session.task, samples)


def explain_anomalies(run: OpenRun, source: Any) -> Explanation:
    """Of what is built again which column, pixel, moment or word of the most unlikely rows is to blame."""
    from chainrule.data.schema import class_names
    from chainrule.explain.elements import explain_rows
    from chainrule.tasks.reconstruct import anomaly_scores

    session = run.session
    if session.kind.NAME == "series":
        return _explain_series(run, source)
    records = run.prepared().parts["test"] if source is None else run.inputs(source)
    samples = session.encode(records)
    scores = anomaly_scores(session.measure(samples))
    labels = [] if records.labels is None else class_names(records.labels).tolist()
    return explain_rows(session.module, session.schema.target, session.schema, samples, scores, labels)


def _explain_series(run: OpenRun, source: Any) -> Explanation:
    """Stretches of moments: of another series all of it, of its own the test split."""
    from chainrule.data.series.window_samples import WindowSamples
    from chainrule.explain.stretches import explain_moments

    session = run.session
    samples = session.encode(run.prepared().parts["test"] if source is None else run.inputs(source))
    assert isinstance(samples, WindowSamples)
    records = samples.records
    return explain_moments(records.panel, session.moments(samples), session.schema, np.flatnonzero(records.held))


EXPLAINERS: dict[str, Explain] = {  # by task or data kind
    "segment": explain_pixels, "translate": explain_alignments, "reconstruct": explain_anomalies,
    "table": explain_columns, "text": explain_texts,
    **dict.fromkeys(("image", "audio", "video"), explain_maps),
}  # fmt: skip
