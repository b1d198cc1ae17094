"""Approximate nearest neighbours beyond what is quickly looked through: graphs of usearch, read where they lie.

Source: Malkov, Yashunin 2016, Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs, arXiv:1603.09320; the numbers below are its M, efConstruction and ef.
Differs: one graph for each ``SHARD`` rows, so that building needs memory for one of them, however many there are; what
they find is measured again against the vectors themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.index.blocks import Metric, Vectors, distances

SHARD = 2**18  # rows of one graph
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 192
ADDED = 2**14  # rows that are copied from the disk and added together
INSTALL = "pip install 'chainrule[search]'"


def is_installed() -> bool:
    """Whether usearch is there."""
    return find_spec("usearch") is not None


def build_graphs(file: Path, folder: Path, metric: Metric) -> list[str]:
    """The graphs of all vectors in a .npy file, saved in ``folder``; gives their names, in order of rows."""
    count, dims = _mapped(file).shape
    names = []
    for number, start in enumerate(range(0, count, SHARD)):
        graph = _graph(dims, metric)
        stop = min(start + SHARD, count)
        for first in range(start, stop, ADDED):
            rows = np.arange(first, min(first + ADDED, stop), dtype=np.uint64)
            graph.add(rows, np.array(_mapped(file)[first : first + len(rows)]))  # mapped anew: what was read is let go
        names.append(f"graph-{number:03d}.usearch")
        graph.save(folder / names[-1])
    return names


def _mapped(file: Path) -> Vectors:
    vectors: Vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    return vectors


def view_graphs(files: Sequence[Path], dims: int, metric: Metric) -> list[Any]:
    """Graphs mapped from their files.

    Raises:
        InputError: this version of usearch cannot read them.
    """
    graphs = []
    for file in files:
        graph = _graph(dims, metric)
        try:
            graph.view(file)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{file} cannot be opened ({error}); build the index again: chainrule index RUN"
            ) from error
        graphs.append(graph)
    return graphs


def nearest(
    graphs: Sequence[Any], vectors: Vectors, query: NDArray[np.float32], k: int, metric: Metric
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As ``exact.nearest``, of the rows that the graphs lead to."""
    found = [np.asarray(graph.search(query, min(k, len(graph))).keys, dtype=np.int64) for graph in graphs]
    rows = np.sort(np.concatenate(found))
    far = distances(vectors[rows], query, metric)
    kept = np.lexsort((rows, far))[:k]
    return rows[kept], far[kept]


def _graph(dims: int, metric: Metric) -> Any:
    """An empty graph; unit vectors are kept in it in half precision, which only steers the search."""
    from usearch.index import Index

    cosine = metric == "cosine"
    return Index(
        ndim=dims, metric="ip" if cosine else "l2sq", dtype="f16" if cosine else "f32",
        connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD, expansion_search=EXPANSION_SEARCH,
        enable_key_lookups=False,
    )  # fmt: skip
