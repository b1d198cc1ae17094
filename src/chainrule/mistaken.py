"""Which people are mistaken: pairs of test photos that are least or most alike, and what other thresholds would do."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.evaluate.report import Picture, Section
from chainrule.functional.verification import Pairs, at_threshold, operating_point, pairs_of
from chainrule.prepare import Prepared
from chainrule.session import Session
from chainrule.tasks.task import Rows
from chainrule.train.run import Run

SHOWN = 6  # pairs of a sort
SHARES = (0.0, 0.001, 0.01, 0.05, 0.1)  # of false accepts


def mistaken_people(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """The sections of the report, from the measured test photos."""
    pairs, threshold = pairs_of(rows["embeddings"], rows["targets"]), session.schema.target.threshold
    apart = np.where(pairs.same, -np.inf, pairs.likeness)
    together = np.where(pairs.same, -pairs.likeness, -np.inf)
    return (
        Section(title="Thresholds, on the test people", table=_table(pairs, threshold)),
        Section(title="Two people who look alike", pictures=_strips(session, prepared, pairs, apart)),
        Section(title="One person who looks like two", pictures=_strips(session, prepared, pairs, together)),
    )


def _table(pairs: Pairs, threshold: float) -> list[list[str]]:
    points = [("of this run", at_threshold(pairs, threshold))]
    points += [(f"false accepts up to {share:.1%}", operating_point(pairs, share)) for share in SHARES]
    head = ["threshold", "likeness", "false accept", "false reject"]
    return [
        head,
        *([name, f"{p.threshold:.4f}", f"{p.false_accept:.2%}", f"{p.false_reject:.2%}"] for name, p in points),
    ]


def _strips(
    session: Session, prepared: Prepared, pairs: Pairs, worst: NDArray[np.float64]
) -> list[list[Picture]]:  # fmt: skip
    """Pairs with the highest numbers, each pair of people once, as the network sees their photos."""
    records = prepared.parts["test"]
    samples, people, strips = session.encode(records), records.labels, list[list[Picture]]()
    assert people is not None
    shown = set[tuple[str, ...]]()
    for place in np.argsort(-worst, kind="stable").tolist():
        rows = [int(pairs.first[place]), int(pairs.second[place])]
        names = tuple(sorted(str(people[row]) for row in rows))
        if len(strips) == SHOWN or not np.isfinite(worst[place]):
            break
        if names in shown:
            continue
        shown.add(names)
        batch = samples.batch(torch.tensor(rows))
        pictures = []
        for number, row in enumerate(rows):
            image = session.kind.picture(batch, number, session.schema)
            assert image is not None
            pictures.append(Picture(image=image, caption=f"{records.ids[row]} · {pairs.likeness[place]:.3f}"))
        strips.append(pictures)
    return strips
