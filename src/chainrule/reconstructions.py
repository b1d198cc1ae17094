"""What an autoencoder makes of rows: rows built again, the map of their codes, the ways between them, fresh ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Batch, Records
from chainrule.drawing import (
    built_again,
    decoded,
    drawn_codes,
    has_prior,
    kept_statistics,
    restored,
)
from chainrule.evaluate.built_rows import STRIP, Pictures
from chainrule.evaluate.charts import Bar, bar_chart
from chainrule.evaluate.code_map import class_groups, code_maps
from chainrule.evaluate.report import Section
from chainrule.evaluate.sheet import sheet
from chainrule.functional.coding import gaussian_kl
from chainrule.nn.coding import Variational
from chainrule.prepare import Prepared
from chainrule.session import PREDICT_ROWS, Session
from chainrule.tasks.costs import costs_of, seen_by
from chainrule.tasks.reconstruct import anomaly_scores
from chainrule.tasks.task import Rows
from chainrule.train.measure import measure
from chainrule.train.run import Run

SHOWN, WORST = 16, 8  # rows beside what is built of them
MAPPED = 2000  # rows whose codes are drawn
WAYS, STEPS = 3, 8  # between codes of two rows
FRESH = 24
USED_NATS = 0.01  # of the KL divergence of one number of a code, on average, from which it says something
MOST_BARS = 32


def evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """Up to ``wanted`` of ``count`` places, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def reconstructions(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """The sections of the report, from the measured test rows."""
    records = prepared.parts["test"]
    worst = np.argsort(-rows["mse"], kind="stable")[:WORST]
    sections = [
        _beside(session, records, evenly(len(records), SHOWN), "Test rows beside what is built from their codes"),
        _beside(session, records, worst, "Built worst"),
        _codes_in_two(session, records, rows),
    ]
    if isinstance(costs_of(session.module).network, Variational):
        sections.append(_used(session, records))
    if len(records) > 1:
        sections.append(ways_between(session, records))
    return (*sections, _fresh(run, session))


def _beside(session: Session, records: Records, places: NDArray[np.int64], title: str) -> Section:
    few = records.select(places)
    truth, built = built_again(session, session.encode(few))
    return restored(session, built).compared(title, restored(session, truth), few.ids)


def _codes_in_two(session: Session, records: Records, rows: Rows) -> Section:
    places = evenly(len(records), MAPPED)
    codes = session.embed(session.encode(records.select(places)))
    groups, names = groups_of(session, {name: values[places] for name, values in rows.items()})
    return Section(title="Codes of test rows in two dimensions", svg=code_maps(codes, groups, names))


def groups_of(session: Session, rows: Rows) -> tuple[NDArray[np.int64], list[str]]:
    """What the points of measured rows are coloured by, and the names: anomalies where they are known, else classes.

    Without labels, by which rows are called anomalies.
    """
    target = session.schema.target
    if target.normal and "labels" in rows:
        return (rows["labels"] >= len(target.classes)).astype(np.int64), ["normal", "anomaly"]
    if "labels" in rows and target.classes:
        return class_groups(rows["labels"], target.classes)
    if target.threshold:
        return (anomaly_scores(rows) >= target.threshold).astype(np.int64), ["normal", "called an anomaly"]
    return np.zeros(len(rows["mse"]), dtype=np.int64), ["rows"]


def used_nats(session: Session, records: Records) -> NDArray[np.float64]:
    """(D,) the mean KL divergence of each number of the code, in nats."""

    def look(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        coder = costs_of(network).network
        assert isinstance(coder, Variational)
        mean, log_var = coder.posterior(*seen_by(network, batch))
        nats = gaussian_kl(mean.double().reshape(-1, 1), log_var.double().reshape(-1, 1))
        return {"nats": nats.view(mean.shape)}

    few = session.encode(records.select(evenly(len(records), MAPPED)))
    nats: NDArray[np.float64] = measure(look, session.module, few, PREDICT_ROWS, session.arithmetic)["nats"].mean(0)
    return nats


def _used(session: Session, records: Records) -> Section:
    nats = used_nats(session, records)
    order = np.argsort(-nats, kind="stable")[:MOST_BARS]
    bars = [Bar(name=f"number {p + 1}", value=float(nats[p]), strong=bool(nats[p] > USED_NATS)) for p in order]
    used = int((nats > USED_NATS).sum())
    return Section(
        title="What the code is used for",
        text=f"{used} of the {len(nats)} numbers of a code are used: their KL divergence is above {USED_NATS} nats.",
        svg=bar_chart("KL divergence of each number of the code", bars, "nats"),
    )


def ways_between(session: Session, records: Records) -> Section:
    """Evenly spaced codes on the way from one test row's to another's."""
    ends = evenly(len(records), 2 * WAYS)
    half = len(ends) // 2
    codes = torch.from_numpy(session.embed(session.encode(records.select(ends))))
    share = torch.linspace(0, 1, STEPS)[:, None]
    ways = torch.cat([torch.lerp(codes[place], codes[half + place], share) for place in range(half)])
    title = f"From one test row's code to another's, in {STEPS} steps"
    return restored(session, decoded(session, ways)).stepped(title, STEPS)


def _fresh(run: Run, session: Session) -> Section:
    codes = drawn_codes(session, kept_statistics(run), FRESH)
    came = "the prior" if has_prior(session) else "a normal distribution fitted to the codes of the train split"
    return restored(session, decoded(session, codes)).alone(f"Fresh rows, their codes drawn from {came}")


def write_rebuilt(session: Session, run: Run, step: int, prepared: Prepared) -> str:
    """Rows of the validation split above what is built of them after this step, into samples/ of the run.

    Gives a line for the terminal the first time, and nothing where rows are no pictures.
    """
    records = prepared.parts["valid"]
    few = session.encode(records.select(evenly(len(records), STRIP)))
    truth, built = (restored(session, values) for values in built_again(session, few))
    if not isinstance(truth, Pictures) or not isinstance(built, Pictures):
        return ""
    folder = run.path / "samples"
    first = not any(folder.glob("step-*.png"))
    folder.mkdir(exist_ok=True)
    (folder / f"step-{step:08d}.png").write_bytes(sheet([truth.coloured(), built.coloured()]))
    return f"samples     {folder}: pictures of the validation split, below them what is built of them" if first else ""
