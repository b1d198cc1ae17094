"""What resembles what in a collection: an input and its look-alikes, a feed of what is like what a person liked.

An item of the index is the input itself where the network sees the same in both, or where it was asked for by its name;
it is not among the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.samples import Records
from chainrule.data.sources import is_named, path_of
from chainrule.errors import InputError
from chainrule.evaluate.alike import render_alike
from chainrule.evaluate.report import Picture
from chainrule.index import VectorIndex
from chainrule.index.store import read_manifest
from chainrule.indexing import (
    FOLDER,
    Collection,
    fingerprint,
    marks_of,
    own_collections,
    picture,
    pictures_of,
    read_collection,
    write_collections,
)
from chainrule.opened import OpenRun
from chainrule.prepare import absolute
from chainrule.tasks.task import Embeds

if TYPE_CHECKING:
    import polars

PAGES, TABLES = (".html", ".htm"), (".csv",)  # endings that --out may have
DIGITS = 6  # of a likeness
SHOWN = 3  # names in a message

Ranking = tuple[NDArray[np.int64], NDArray[np.float64]]  # rows of the index with their likenesses, the best first


@dataclass(frozen=True)
class Asked:
    """One input that is asked about."""

    name: str
    vector: NDArray[np.float32]  # (D,) as those of the index are
    itself: NDArray[np.int64]  # its rows in the index
    records: Records | None  # it alone; None where it was asked for by its name in the index


class Searcher:
    """The look-alikes that a run finds."""

    def __init__(self, run: OpenRun) -> None:
        self.run = run
        self._index: VectorIndex | None = None

    @cached_property
    def weights(self) -> str:
        """What tells the weights in use from others."""
        return fingerprint(self.run.path)

    def build(self, sources: Any = None) -> VectorIndex:
        """The index over other collections, or over the run's own data, in the place of the one there was.

        Args:
            sources: one, or a list of several.

        Raises:
            InputError: nothing can be read, or the run's own data changed or was handed over in memory.
        """
        self._check()
        run, session = self.run, self.run.session
        given = [] if sources is None else sources if isinstance(sources, list) else [sources]
        collections = self._collections(given)
        if given:
            run.notice(*(records for _, records in collections))
        places = [absolute(one) for one in given] if all(map(is_named, given)) else None
        self._index = write_collections(run.path, session, collections, places)
        return self._index

    def index(self) -> VectorIndex:
        """The index as it stands on the disk; made anew where there is none, or other weights made it.

        Raises:
            InputError: it is damaged, or of another collection and made by other weights.
        """
        self._check()
        folder = self.run.path / FOLDER
        manifest = read_manifest(folder)
        if manifest is None or (manifest.weights != self.weights and manifest.sources == []):
            built = self.build()
            why = "there was none" if manifest is None else "the weights changed"
            self.run.notes = [*self.run.notes, f"the index was made: {why}; {len(built):,} items in {folder}"]
            return built
        if manifest.weights != self.weights:
            places = " ".join(manifest.sources or ["SOURCE"])
            raise InputError(
                f"the index in {folder} was made by other weights than {self.run.path} has now; build it again with: "
                f"chainrule index {self.run.path} {places}"
            )
        if self._index is None or self._index.manifest != manifest:
            self._index = VectorIndex.open(folder)
        return self._index

    def search(self, one: Any, k: int, out: str | Path | None = None) -> polars.DataFrame:
        """The k items most like one input: "id", "likeness" and "label"."""
        check_asked(k, out)
        self.run.notes = []
        index = self.index()
        asked = self._asked(index, one)
        rows, alike = index.nearest(asked.vector, k + len(asked.itself))
        kept = ~np.isin(rows, asked.itself)
        rows, alike = rows[kept][:k], alike[kept][:k]
        return self._answer(index, [asked], k, rows, frame(index, rows, alike), out)

    def feed(self, liked: Sequence[Any], k: int, out: str | Path | None = None) -> polars.DataFrame:
        """The k items like those a person liked, which bring theirs by turns, each in the column "liked"."""
        import polars

        check_asked(k, out)
        if not liked:
            raise InputError("nothing is liked yet; give one input or more: --liked a.jpg b.jpg")
        self.run.notes = []
        index = self.index()
        asked = [self._asked(index, one) for one in liked]
        known = np.unique(np.concatenate([one.itself for one in asked]))
        deep = 2 * k + len(known)
        while True:
            rankings = [index.nearest(one.vector, deep) for one in asked]
            turns = list(islice(in_turn(rankings, index.marks, known), k))
            if len(turns) == k or deep >= len(index):
                break
            deep *= 4  # many of the nearest are copies of each other
        rows = np.array([rankings[by][0][place] for by, place in turns], dtype=np.int64)
        alike = np.array([rankings[by][1][place] for by, place in turns], dtype=np.float64)
        likers = polars.Series("liked", [asked[by].name for by, _ in turns], dtype=polars.String)
        return self._answer(index, asked, k, rows, frame(index, rows, alike).with_columns(likers), out)

    def _check(self) -> None:
        """Refuse a run that gives no embeddings before anything is read."""
        task = self.run.session.task
        if not isinstance(task, Embeds):
            raise InputError(
                f"{self.run.path} learned to {task.name}, which gives no embeddings to search by; train with --task "
                "embed, verify or reconstruct"
            )

    def _collections(self, sources: Sequence[Any]) -> list[Collection]:
        """What an index is made of: the sources, or where there are none, the run's own data."""
        if not sources:
            try:
                return own_collections(self.run.prepared().parts)
            except InputError as error:
                words = f"chainrule index {self.run.path} SOURCE, in Python run.index(data)"
                raise InputError(f"{error}; or say what to search in: {words}") from error
        return [part for source in sources for part in read_collection(self.run.session, source)]

    def _asked(self, index: VectorIndex, one: Any) -> Asked:
        """An input as the index knows its items: a file, a value, or the name of an item."""
        run, session, named = self.run, self.run.session, isinstance(one, str | Path) and path_of(one) is None
        row = index.items.find(str(one)) if named else None
        if row is not None:
            return Asked(str(one), index.vectors[row], np.union1d(index.twins(int(index.marks[row])), [row]), None)
        told = run.notes
        try:
            records = run.inputs([one])
        except InputError as error:
            if not named:
                raise
            some = ", ".join(repr(index.items[place][0]) for place in range(min(SHOWN, len(index))))
            raise InputError(f"{error}; nor is {str(one)!r} an item of the index, as {some} are") from error
        if len(records) != 1:
            raise InputError(f"{str(one)[:80]!r} holds {len(records)} inputs, expected one; give one of them")
        run.notes = [*told, *run.notes]
        samples = session.encode(records)
        vector = index.prepare(session.embed(samples)[0], records.ids[0])
        return Asked(records.ids[0], vector, index.twins(int(marks_of(samples)[0])), records)

    def _answer(
        self, index: VectorIndex, asked: Sequence[Asked], k: int, rows: NDArray[np.int64], found: polars.DataFrame,
        out: str | Path | None,
    ) -> polars.DataFrame:  # fmt: skip
        """What was found, with what a person should hear about it in the run's notes, written to ``out``."""
        notes = [index.note] if index.note else []
        for one in asked:
            same = [index.items[int(row)][0] for row in one.itself[:SHOWN]]
            if any(not one.name.endswith(name) for name in same):
                notes.append(f"{one.name} is in the index as {', '.join(same)}, and left out")
        if len(rows) < k:
            notes.append(f"{k} were asked for; {len(rows)} are all there are")
        self.run.notes += notes
        if out and Path(out).suffix.lower() in TABLES:
            found.write_csv(out)
        elif out:
            Path(out).write_text(self._page(index, asked, rows, found), encoding="utf-8")
        return found

    def _page(
        self, index: VectorIndex, asked: Sequence[Asked], rows: NDArray[np.int64], found: polars.DataFrame
    ) -> str:
        """Pictures of what was asked for and of what was found, side by side."""
        run, sources = self.run, index.manifest.sources
        session, given = run.session, [] if sources is None else sources

        def again() -> list[Collection]:
            if sources is None:
                raise InputError("the index was made from data in memory, so there are no pictures of it; leave --out")
            return self._collections(given)

        own = run.folder.read("data.json")["source"]
        roots = given or ([own] if isinstance(own, str) else [])
        named = [int(one.itself[0]) for one in asked if one.records is None]
        pictures = iter(pictures_of(session, index, [*named, *rows.tolist()], roots, again))
        first = [
            Picture(image=next(pictures) if one.records is None else picture(session, one.records, 0), caption=one.name)
            for one in asked
        ]
        second = [
            Picture(image=image, caption=" · ".join(str(value) for value in row.values() if value is not None))
            for image, row in zip(pictures, found.to_dicts(), strict=True)
        ]
        told = f"{len(index):,} items; likeness is the {index.likeness}; found by {index.how} search"
        return render_alike(f"Like {', '.join(one.name for one in asked)[:120]}", first, second, [told])


def in_turn(
    rankings: Sequence[Ranking], marks: NDArray[np.uint64], known: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Each ranking's next item in turn, as (ranking, place in it); no item twice, no copy of one, none that is known.

    Example:
        >>> one, other = (np.array([0, 1, 2]), np.zeros(3)), (np.array([1, 3, 4]), np.zeros(3))
        >>> list(in_turn([one, other], np.arange(5, dtype=np.uint64), np.array([0])))
        [(0, 1), (1, 1), (0, 2), (1, 2)]
    """
    taken = {int(mark) for mark in marks[known]}
    places = [iter(enumerate(rows.tolist())) for rows, _ in rankings]
    left = list(range(len(rankings)))
    while left:
        for by in list(left):
            fresh = next(((place, row) for place, row in places[by] if int(marks[row]) not in taken), None)
            if fresh is None:
                left.remove(by)
                continue
            taken.add(int(marks[fresh[1]]))
            yield by, fresh[0]


def frame(index: VectorIndex, rows: NDArray[np.int64], alike: NDArray[np.float64]) -> polars.DataFrame:
    """Items with their likenesses; the label is null where none is known."""
    import polars

    items = [index.items[int(row)] for row in rows]
    columns = {
        "id": polars.Series([name for name, _ in items], dtype=polars.String),
        "likeness": polars.Series(alike.round(DIGITS).tolist(), dtype=polars.Float64),
        "label": polars.Series([label for _, label in items], dtype=polars.String),
    }
    return polars.DataFrame(columns)


def check_asked(k: int, out: str | Path | None) -> None:
    """Refuse what can be known to be wrong before anything is read.

    Raises:
        InputError: k is below 1, or ``out`` is neither a page nor a table.
    """
    if k < 1:
        raise InputError(f"-k is a number of items from 1, got {k}")
    if out and Path(out).suffix.lower() not in (*PAGES, *TABLES):
        raise InputError(f"--out {str(out)!r} is neither a page of pictures, NAME.html, nor a table, NAME.csv")
