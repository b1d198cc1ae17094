"""The index of a run: what goes into it, from the run's own data or from other collections, and its pictures again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import Records, Samples
from chainrule.data.schema import class_names
from chainrule.data.sources import is_named, open_source
from chainrule.errors import InputError, MissingTargetError
from chainrule.index import Block, Metric, VectorIndex, write_index
from chainrule.index.store import read_manifest
from chainrule.prepare import Prepared
from chainrule.session import PREDICT_ROWS, Session
from chainrule.train.measure import portions
from chainrule.train.run import Run

FOLDER = "index"  # of a run
METRICS: dict[str, Metric] = {"reconstruct": "euclidean"}  # by task; the others learn directions: cosine
ROWS = 8192  # of a collection that are embedded and written together

Collection = tuple[str, Records]  # what stands before the names of its items where others have equal ones


def own_collections(parts: Mapping[str, Records]) -> list[Collection]:
    """The parts of a run's own data, each once."""
    return list({id(records): (name, records) for name, records in parts.items()}.values())


def read_collection(session: Session, source: Any) -> list[Collection]:
    """All that a source holds, with labels where it has some.

    Raises:
        InputError: nothing of this kind of data is in it.
    """
    options = replace(session.recipe.data, valid="", test="", normal=(), polluted=0.0)
    name, opened = Path(str(source)).name if is_named(source) else "given", open_source(source)
    if not session.kind.recognises(opened):
        return [(name, session.kind.read_inputs([source], session.schema))]
    try:
        if opened.parts:
            parts = {word: session.kind.read(part, options)["all"] for word, part in opened.parts.items()}
        else:
            parts = session.kind.read(opened, options)
    except MissingTargetError:
        return [(name, session.kind.read_inputs([source], session.schema))]
    return [(name if word == "all" else word, records) for word, records in parts.items()]


def write_collections(
    path: Path, session: Session, collections: Sequence[Collection], sources: Sequence[str] | None
) -> VectorIndex:
    """The index of the run in ``path`` over some collections; of its own data without ``sources``, which is then ()."""
    return write_index(
        path / FOLDER, _blocks(session, collections), metric=METRICS.get(session.task.name, "cosine"),
        weights=fingerprint(path), sources=sources,
    )  # fmt: skip


def keep_index(run: Run, session: Session, prepared: Prepared) -> None:
    """The index that a finished run has, unless somebody made one of another collection; a fold needs none."""
    if prepared.fold is not None:
        return
    try:
        manifest = read_manifest(run.path / FOLDER)
    except InputError:
        manifest = None  # damaged: it is made anew
    if manifest is None or manifest.sources == []:
        write_collections(run.path, session, own_collections(prepared.parts), ())


def fingerprint(path: Path) -> str:
    """What tells a run's weights from others."""
    with (path / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _blocks(session: Session, collections: Sequence[Collection]) -> Iterator[Block]:
    """All items with their vectors, a block at a time."""
    for prefix, records in zip(_prefixes(collections), (records for _, records in collections), strict=True):
        for start in range(0, len(records), ROWS):
            few = records.select(np.arange(start, min(start + ROWS, len(records))))
            samples = session.encode(few)
            yield Block(
                vectors=session.embed(samples),
                names=[prefix + name for name in few.ids],
                labels=None if few.labels is None else class_names(few.labels).tolist(),
                marks=marks_of(samples),
            )


def _prefixes(collections: Sequence[Collection]) -> list[str]:
    """What stands before the names of each collection: nothing where no other has one of its names."""
    if len(collections) == 1:
        return [""]
    counts = Counter[str]()
    for _, records in collections:
        counts.update(set(records.ids))
    return [f"{name}/" if any(counts[one] > 1 for one in records.ids) else "" for name, records in collections]


def marks_of(samples: Samples) -> NDArray[np.uint64]:
    """A mark for each row, equal for inputs that the network sees as equal; what fills a row up does not count."""
    marks = np.empty(len(samples), dtype=np.uint64)
    for rows in portions(samples, PREDICT_ROWS):
        columns = [x.cpu().numpy() for x in samples.batch(rows).inputs]
        for place, row in enumerate(rows.tolist()):
            digest = hashlib.blake2b(digest_size=8)
            for column in columns:
                content = np.ascontiguousarray(column[place]).tobytes().rstrip(b"\0")
                digest.update(len(content).to_bytes(8, "little") + content)
            marks[row] = int.from_bytes(digest.digest(), "little")
    return marks


def pictures_of(
    session: Session,
    index: VectorIndex,
    rows: Sequence[int],
    roots: Sequence[str],
    again: Callable[[], list[Collection]],
) -> list[NDArray[np.uint8]]:
    """The pictures of some items, read again from where they were.

    Args:
        roots: folders that the items may lie in as files.
        again: reads all that the index was made of, where they do not.

    Raises:
        InputError: they are not there any more, or such data has no pictures.
    """
    names = [index.items[row][0] for row in rows]
    files = [_file(name, roots) for name in names]
    if all(files):
        records = session.kind.read_inputs(files, session.schema)
        return [picture(session, records, place) for place in range(len(rows))]
    collections = again()
    starts = np.cumsum([0, *(len(records) for _, records in collections)])
    found = []
    for row, name in zip(rows, names, strict=True):
        at = int(np.searchsorted(starts, row, side="right")) - 1
        if starts[-1] != len(index) or not name.endswith(collections[at][1].ids[row - int(starts[at])]):
            raise InputError(f"what the index was made of changed since then; build it again: {index.again}")
        found.append(picture(session, collections[at][1], row - int(starts[at])))
    return found


def _file(name: str, roots: Sequence[str]) -> Path | None:
    """The file that an item was, below one of the folders."""
    places = (place / name for root in map(Path, roots) if root.is_dir() for place in (root, root.parent))
    return next((place for place in places if place.is_file()), None)


def picture(session: Session, records: Records, row: int) -> NDArray[np.uint8]:
    """One record as a picture (H, W, 3).

    Raises:
        InputError: such data has none.
    """
    image = session.kind.show(records, row).image
    if image is None:
        raise InputError(f"{session.kind.NAME} data has no pictures for a page; give --out NAME.csv, or leave it out")
    return image
