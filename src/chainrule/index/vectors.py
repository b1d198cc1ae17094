"""An index of vectors: written block by block, opened where it lies, asked for what is nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.index import approximate, exact, store
from chainrule.index.blocks import Block, Metric, check_finite, likeness, unit
from chainrule.index.store import Manifest

EXACT_MOST = 100_000  # vectors that are all looked at; of more, an approximate library finds the nearest
NEAR_MOST = 1000  # neighbours that graphs are asked for; more are found by looking at all
VECTORS, SQUARES, MARKS = "vectors.npy", "squares.npy", "marks.npy"
LINES, OFFSETS = "items.jsonl", "offsets.npy"
TRIES = 3  # at an index that is being replaced


class VectorIndex:
    """Vectors with their names, mapped from the disk: any number of processes may read one at the same time."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        inside = folder / manifest.folder
        self.vectors: NDArray[np.float32] = _mapped(inside / VECTORS)
        self.squares: NDArray[np.float32] = _mapped(inside / SQUARES)
        self.marks: NDArray[np.uint64] = _mapped(inside / MARKS)
        self.items = store.Items(inside / LINES, inside / OFFSETS)
        counts = {len(self.vectors), len(self.squares), len(self.marks), len(self.items), manifest.count}
        if len(counts) > 1 or self.dims != manifest.dims:
            raise store.damaged(folder, "its files are of different lengths")
        paths = [inside / name for name in manifest.graphs] if approximate.is_installed() else []
        self.graphs = approximate.view_graphs(paths, self.dims, manifest.metric)

    @classmethod
    def open(cls, folder: Path) -> VectorIndex:
        """The index in ``folder``, verified; one that is being replaced is tried again.

        Raises:
            InputError: there is none, or it is damaged.
        """
        for _ in range(TRIES):
            manifest = store.read_manifest(folder)
            if manifest is None:
                raise InputError(f"there is no index in {folder}; build it with: chainrule index {folder.parent}")
            try:
                store.verify(folder, manifest)
                return cls(folder, manifest)
            except FileNotFoundError as error:
                absent = Path(error.filename).name
        raise store.damaged(folder, f"{absent} is missing")

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def dims(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def longest(self) -> float:
        """The length of the longest vector."""
        return float(np.sqrt(self.squares.max()))

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(int(file["bytes"]) for file in self.manifest.files.values())

    @property
    def how(self) -> str:
        """Whether all vectors are looked at."""
        return "approximate" if self.graphs else "exact"

    @property
    def likeness(self) -> str:
        """What a likeness is."""
        return "cosine" if self.manifest.metric == "cosine" else "inverse of 1 + distance"

    @property
    def again(self) -> str:
        """What to type to build it again."""
        return " ".join(["chainrule index", str(self.folder.parent), *(self.manifest.sources or [])])

    @property
    def note(self) -> str:
        """What a person should hear about how neighbours are found; "" where that is as it should be."""
        if self.graphs or len(self) <= EXACT_MOST:
            return ""
        return (
            f"all {len(self):,} vectors are looked at, one after the other: beyond {EXACT_MOST:,} usearch is faster; "
            f"{approximate.INSTALL}, then build the index again: {self.again}"
        )

    def prepare(self, vector: NDArray[np.floating], name: str) -> NDArray[np.float32]:
        """A vector (D,) as those of the index are.

        Raises:
            InputError: it has another length, or a number that is not finite.
        """
        if vector.shape != (self.dims,):
            raise InputError(
                f"{name!r} has an embedding of {vector.size} numbers, the index in {self.folder} holds such of "
                f"{self.dims}; build it again: {self.again}"
            )
        check_finite(vector[None], [name])
        return unit(vector) if self.manifest.metric == "cosine" else np.asarray(vector, dtype=np.float32)

    def nearest(
        self, query: NDArray[np.float32], k: int, *, exactly: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k rows (all, where there are fewer) most like a prepared vector with their likenesses, the best first.

        Args:
            exactly: look at all vectors even where there are graphs.
        """
        k, metric = min(k, len(self)), self.manifest.metric
        if self.graphs and not exactly and k <= NEAR_MOST:
            rows, far = approximate.nearest(self.graphs, self.vectors, query, k, metric)
        else:
            rows, far = exact.nearest(self.vectors, self.squares, self.longest, query, k, metric)
        return rows, likeness(far, metric)

    def twins(self, mark: int) -> NDArray[np.int64]:
        """The rows of an input with this mark."""
        return np.flatnonzero(self.marks == np.uint64(mark))


def write_index(
    folder: Path, blocks: Iterable[Block], *, metric: Metric, weights: str, sources: Sequence[str] | None
) -> VectorIndex:
    """An index of all blocks, in the place of the one that ``folder`` held; memory is needed for a block at a time.

    Args:
        weights, sources: see ``store.Manifest``.

    Raises:
        InputError: there are no vectors, or one has a number that is not finite; the old index stays.
    """
    with store.writing(folder) as fresh:
        count, dims = _write_rows(fresh, blocks, metric)
        graphs: list[str] = []
        if count > EXACT_MOST and approximate.is_installed():
            graphs = approximate.build_graphs(fresh / VECTORS, fresh, metric)
        about = {
            "count": count, "dims": dims, "metric": metric, "weights": weights,
            "sources": None if sources is None else list(sources), "graphs": graphs,
        }  # fmt: skip
        store.publish(folder, fresh, about)
    return VectorIndex.open(folder)


def _write_rows(fresh: Path, blocks: Iterable[Block], metric: Metric) -> tuple[int, int]:
    """The files of all rows; gives how many there are, and how many numbers each has."""
    with ExitStack() as files:

        def grows(name: str, dtype: str, shape: tuple[int, ...] = ()) -> store.Rows:
            rows = store.Rows(fresh / name, dtype, shape)
            files.callback(rows.close)
            return rows

        squares, marks, offsets = grows(SQUARES, "<f4"), grows(MARKS, "<u8"), grows(OFFSETS, "<i8")
        lines = files.enter_context((fresh / LINES).open("wb"))
        offsets.add(np.zeros(1))
        vectors = None
        for block in blocks:
            check_finite(block.vectors, block.names)
            vectors = vectors or grows(VECTORS, "<f4", block.vectors.shape[1:])
            rows = unit(block.vectors) if metric == "cosine" else np.asarray(block.vectors, dtype=np.float32)
            vectors.add(rows)
            squares.add(np.square(rows.astype(np.float64)).sum(1))
            marks.add(block.marks)
            written = [store.item_line(*item) for item in zip(block.names, _labels(block), strict=True)]
            offsets.add(lines.tell() + np.cumsum([len(line) for line in written], dtype=np.int64))
            lines.write(b"".join(written))
    if vectors is None or not vectors.count:
        raise InputError("there is nothing to search in: no inputs came; give files or folders to index")
    return vectors.count, vectors.shape[0]


def _labels(block: Block) -> Sequence[str]:
    return [""] * len(block.names) if block.labels is None else block.labels


def _mapped(path: Path) -> NDArray[Any]:
    """An array that stays on the disk."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
