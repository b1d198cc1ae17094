"""What embeddings find: test rows beside the rows nearest to them, classes taken for each other, the map of places."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Records, Samples
from chainrule.evaluate.code_map import class_groups, code_maps
from chainrule.evaluate.report import Picture, Section
from chainrule.functional.retrieval import nearest, some_of
from chainrule.prepare import Prepared
from chainrule.session import Session
from chainrule.tasks.task import Rows
from chainrule.train.run import Run

ASKED, FOUND = 8, 6  # test rows that are shown, and rows nearest to each
MOST_PAIRS = 12  # of classes taken for each other
COMPARED = 5_000  # test rows that are looked through
MAPPED = 2_000  # rows whose places are drawn
SHOWN = 120  # letters of a text


def look_alikes(run: Run, session: Session, prepared: Prepared, rows: Rows) -> tuple[Section, ...]:
    """The sections of the report, from the measured test rows."""
    records = prepared.parts["test"]
    if len(records) < 2:
        return ()
    chosen = some_of(len(records), COMPARED)
    places, few = rows["embeddings"][chosen], records.select(chosen)
    asked = np.unique(np.linspace(0, len(few) - 1, ASKED).astype(np.int64))
    found, cosines = nearest(places, asked, FOUND)
    sections = [_beside(session, few, asked, found, cosines)]
    classes = session.schema.target.classes
    targets = rows["targets"][chosen] if "targets" in rows and classes else None
    if targets is not None:
        sections.append(_mistaken(places, targets, classes))
    mapped = some_of(len(few), MAPPED)
    groups, names = (
        (np.zeros(len(mapped), np.int64), ["rows"]) if targets is None else class_groups(targets[mapped], classes)
    )
    return (
        *sections,
        Section(title="Places of test rows in two dimensions", svg=code_maps(places[mapped], groups, names)),
    )


def _beside(
    session: Session, records: Records, asked: NDArray[np.int64], found: NDArray[np.int64], cosines: NDArray[np.float32]
) -> Section:
    """Pictures where rows are such, otherwise what they say."""
    title = f"Test rows, and the {found.shape[1]} test rows nearest to each"
    strips: list[list[Picture]] = []
    table = [["row", *(f"nearest {place + 1}" for place in range(found.shape[1]))]]
    for row, others, near in zip(asked.tolist(), found.tolist(), cosines.tolist(), strict=True):
        few = records.select(np.array([row, *others], dtype=np.int64))
        captions = [_named(few, 0), *(f"{_named(few, place)} · {cosine:.2f}" for place, cosine in enumerate(near, 1))]
        images = _pictures(session, session.encode(few))
        if images is None:
            table.append([f"{_said(session, few, place)} ({text})" for place, text in enumerate(captions)])
        else:
            strips.append([Picture(image=image, caption=text) for image, text in zip(images, captions, strict=True)])
    return Section(title=title, pictures=strips) if strips else Section(title=title, table=table)


def _named(records: Records, row: int) -> str:
    """A row's label, or its name where it has none."""
    return records.ids[row] if records.labels is None else str(records.labels[row])


def _said(session: Session, records: Records, row: int) -> str:
    """A row in words."""
    values = session.kind.show(records, row).values
    text = next(iter(values.values()), records.ids[row])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def _pictures(session: Session, samples: Samples) -> list[NDArray[np.uint8]] | None:
    """Every row as the network sees it; None where there is nothing to see."""
    batch = samples.batch(torch.arange(len(samples)))
    images = [session.kind.picture(batch, row, session.schema) for row in range(len(samples))]
    return None if any(image is None for image in images) else [image for image in images if image is not None]


def _mistaken(places: NDArray[np.float32], targets: NDArray[np.int64], classes: tuple[str, ...]) -> Section:
    """The pairs of classes whose rows lie nearest to each other most often."""
    found, _ = nearest(places, np.arange(len(places)), 1)
    taken = targets[found[:, 0]]
    wrong = np.flatnonzero(taken != targets)
    pairs = Counter(zip(targets[wrong].tolist(), taken[wrong].tolist(), strict=True))
    count = Counter(targets.tolist())

    def name(label: int) -> str:
        return classes[label] if label < len(classes) else "a class that train does not have"

    table = [["class", "nearest row is of", "rows", "share of the class"]]
    for (label, other), rows in pairs.most_common(MOST_PAIRS):
        table.append([name(label), name(other), f"{rows:,} of {count[label]:,}", f"{rows / count[label]:.1%}"])
    text = "" if pairs else "None: the nearest row is always of the same class."
    return Section(title="Classes that are taken for each other", table=table if pairs else (), text=text)
