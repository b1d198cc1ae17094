"""The index: exact answers, graphs beyond that, files that are whole or refused, readers while it is replaced."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.alike import clusters

from chainrule.errors import InputError
from chainrule.index import Block, Metric, VectorIndex, approximate, exact, store, vectors, write_index


def write(folder: Path, values: Any, names: list[str] | None = None, metric: Metric = "cosine") -> VectorIndex:
    values = np.asarray(values, dtype=np.float32)
    block = Block(
        vectors=values,
        names=names or [f"item {row}" for row in range(len(values))],
        marks=np.arange(len(values), dtype=np.uint64),
    )
    return write_index(folder, [block], metric=metric, weights="w", sources=[])


def brute(index: VectorIndex, query: NDArray[np.float32], k: int) -> list[int]:
    """By all distances at once, in float64."""
    stored, wanted = np.array(index.vectors, dtype=np.float64), query.astype(np.float64)
    far = -stored @ wanted if index.manifest.metric == "cosine" else np.linalg.norm(stored - wanted, axis=1)
    return np.argsort(far, kind="stable")[:k].tolist()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_exact_search_equals_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: Metric, shift: float
) -> None:
    monkeypatch.setattr(exact, "BLOCK_BYTES", 4 * 24 * 100)  # many blocks
    generator = np.random.default_rng(1)
    index = write(tmp_path, generator.standard_normal((1234, 24)) + shift, metric=metric)
    for _ in range(20):
        query = index.prepare(generator.standard_normal(24) + shift, "q")
        for k in (1, 10, 150):
            rows, alike = index.nearest(query, k)
            assert rows.tolist() == brute(index, query, k)
            assert np.all(np.diff(alike) <= 0)


def test_likeness_is_the_cosine_or_falls_with_the_distance(tmp_path: Path) -> None:
    values = [[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]]
    index = write(tmp_path / "a", values)
    rows, alike = index.nearest(index.prepare(np.array([4.0, 0.0]), "q"), 3)
    assert rows.tolist() == [0, 2, 1]
    np.testing.assert_allclose(alike, [1, np.sqrt(0.5), 0], atol=1e-7)
    index = write(tmp_path / "b", values, metric="euclidean")
    rows, alike = index.nearest(index.prepare(np.array([3.0, 0.0]), "q"), 3)
    np.testing.assert_allclose(alike, 1 / (1 + np.array([1, 3, np.sqrt(34)])), atol=1e-7)
    assert rows.tolist() == [0, 2, 1]


def test_equals_come_in_order_of_rows_and_k_may_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "BLOCK_BYTES", 4 * 7 * 10)
    same = np.random.default_rng(0).standard_normal(7)
    values = np.tile(same, (45, 1))
    values[20] = -same
    index = write(tmp_path, values)
    rows, _ = index.nearest(index.prepare(same, "q"), 30)
    assert rows.tolist() == [row for row in range(31) if row != 20]
    rows, alike = index.nearest(index.prepare(same, "q"), 1000)
    assert len(rows) == 45
    assert rows[-1] == 20
    assert alike[-1] == pytest.approx(-1)


def test_a_vector_without_direction_is_like_nothing(tmp_path: Path) -> None:
    index = write(tmp_path, [[0.0, 0.0], [1.0, 0.0]])
    rows, alike = index.nearest(index.prepare(np.array([1.0, 0.0]), "q"), 2)
    assert (rows.tolist(), alike.tolist()) == ([1, 0], [1, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_is_refused_and_the_old_index_stays(tmp_path: Path, bad: float) -> None:
    index = write(tmp_path, np.eye(3))
    with pytest.raises(InputError, match="'item 1' has numbers that are not finite"):
        write(tmp_path, [[1.0, 0, 0], [bad, 0, 0]])
    with pytest.raises(InputError, match="'q' has numbers that are not finite"):
        index.prepare(np.array([bad, 0, 0]), "q")
    assert len(VectorIndex.open(tmp_path)) == 3
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [index.manifest.folder]


def test_another_length_and_emptiness_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to search in"):
        write_index(tmp_path, [], metric="cosine", weights="w", sources=[])
    with pytest.raises(InputError, match="there is no index in"):
        VectorIndex.open(tmp_path)
    with pytest.raises(InputError, match=r"embedding of 4 numbers, .* of 3; build it again: chainrule index"):
        write(tmp_path, np.eye(3)).prepare(np.zeros(4), "q")


def test_names_are_kept_and_found(tmp_path: Path) -> None:
    names = ["a", "ab", '["ab', "ö\n,]", 'q"uote', "\udcff.png", "x" * 5000, "ab"]
    labels = ["cat", "", "ö", "ab", "l", "l", "l", "l"]
    block = Block(vectors=np.eye(8, dtype=np.float32), names=names, labels=labels, marks=np.zeros(8, np.uint64))
    index = write_index(tmp_path, [block], metric="cosine", weights="w", sources=None)
    assert [index.items[row] for row in range(8)] == [
        (n, label or None) for n, label in zip(names, labels, strict=True)
    ]
    assert [index.items.find(name) for name in names] == [0, 1, 2, 3, 4, 5, 6, 1]
    assert index.items.find("cat") is None
    assert index.twins(0).tolist() == list(range(8))


def test_files_hold_plain_numbers_and_names(tmp_path: Path) -> None:
    index = write_index(tmp_path, clusters(5000, 8, 700), metric="euclidean", weights="w", sources=["/data"])
    inside = tmp_path / index.manifest.folder
    held = np.load(inside / "vectors.npy", allow_pickle=False)
    assert (held.shape, held.dtype) == ((5000, 8), np.float32)
    np.testing.assert_array_equal(held, np.concatenate([block.vectors for block in clusters(5000, 8, 700)]))
    lines = (inside / "items.jsonl").read_text().splitlines()
    assert (len(lines), json.loads(lines[4999])[0]) == (5000, "item 4999")
    saved = json.loads((tmp_path / "manifest.json").read_text())
    assert (saved["count"], saved["dims"], saved["metric"], saved["sources"]) == (5000, 8, "euclidean", ["/data"])


FILES = ("vectors.npy", "squares.npy", "marks.npy", "items.jsonl", "offsets.npy")


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / write(tmp_path, np.eye(50)).manifest.folder / name
    whole = file.read_bytes()
    flipped = bytes([*whole[:-3], whole[-3] ^ 1, *whole[-2:]])
    for content, message in ((whole[:-1], "another length"), (flipped, "another SHA-256")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"{name} has {message} .* Build it again with: chainrule index"):
            VectorIndex.open(tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        VectorIndex.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "folder": "x"}', "{"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, np.eye(5))
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="Build it again with: chainrule index"):
        VectorIndex.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="another version"):
        VectorIndex.open(tmp_path)
    assert len(write(tmp_path, np.eye(4))) == 4


def test_an_index_that_is_replaced_can_be_read_all_the_time(tmp_path: Path) -> None:
    old = write(tmp_path, np.eye(3))
    faults, done = [], []

    def read() -> None:
        while not done:
            index = VectorIndex.open(tmp_path)
            rows, _ = index.nearest(index.prepare(np.eye(3)[1], "q"), 1)
            if rows.tolist() != [1] or index.items[1][0] != f"item {1}":
                faults.append(rows)

    def tried() -> None:
        try:
            read()
        except Exception as error:
            faults.append(error)

    readers = [Thread(target=tried) for _ in range(3)]
    for reader in readers:
        reader.start()
    for count in range(20):
        write(tmp_path, np.vstack((np.eye(3), -np.eye(3)[: count % 3])))
    done.append(True)
    for reader in readers:
        reader.join()
    assert not faults
    assert old.nearest(old.prepare(np.eye(3)[2], "q"), 1)[0].tolist() == [2]  # its files live until it is closed


def test_what_a_killed_writer_left_goes_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "vectors.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "people.safetensors").write_bytes(b"kept")
    index = write(tmp_path, np.eye(3))
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "manifest.json", "people.safetensors", index.manifest.folder,
    }  # fmt: skip


def test_writing_needs_memory_for_a_block_only(tmp_path: Path) -> None:
    tracemalloc.start()
    write_index(tmp_path, clusters(60_000, 64, 1000), metric="cosine", weights="w", sources=[])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6, f"{peak:,} bytes for 15 MB of vectors"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    """20,000 vectors in four graphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "EXACT_MOST", 1000)
        patch.setattr(approximate, "SHARD", 6000)
        folder = tmp_path_factory.mktemp("large")
        yield write_index(folder, clusters(20_000, 32), metric="cosine", weights="w", sources=[])


def test_graphs_find_nearly_all(large: VectorIndex) -> None:
    assert (large.how, len(large.manifest.graphs), large.note) == ("approximate", 4, "")
    generator = np.random.default_rng(5)
    found, behind = 0, 0.0
    for row in generator.integers(0, len(large), 100):
        query = large.prepare(large.vectors[row] + 0.03 * generator.standard_normal(32), "q")
        rows, alike = large.nearest(query, 10)
        true, best = large.nearest(query, 10, exactly=True)
        found += len(set(rows.tolist()) & set(true.tolist()))
        assert len(rows) == 10
        assert np.all(alike <= best + 1e-12)  # measured as exactly
        behind += best[0] - alike[0]
    assert found >= 950
    assert behind < 1.0, "the best of 100 questions are 0.01 less alike on average at most"


def test_very_many_neighbours_are_found_exactly(large: VectorIndex) -> None:
    query = large.prepare(np.array(large.vectors[7]), "q")
    assert large.nearest(query, 2000)[0].tolist() == brute(large, query, 2000)


def test_without_usearch_all_are_looked_at_and_it_says_so(large: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "is_installed", lambda: False)
    index = VectorIndex.open(large.folder)
    assert index.how == "exact"
    assert "usearch is faster; pip install 'chainrule[search]'" in index.note
    query = index.prepare(np.array(index.vectors[7]), "q")
    assert index.nearest(query, 10)[0].tolist() == brute(index, query, 10)


def test_euclidean_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "EXACT_MOST", 100)
    index = write_index(tmp_path, clusters(3000, 16), metric="euclidean", weights="w", sources=[])
    hits = itself = 0
    for row in range(50):
        query = np.array(index.vectors[row])
        rows, alike = index.nearest(query, 10)
        itself += (rows[0], alike[0]) == (row, 1.0)
        hits += len(set(rows.tolist()) & set(brute(index, query, 10)))
    assert hits >= 450, "graphs differ from build to build: usearch adds in threads"
    assert itself >= 45


def test_a_damaged_graph_is_refused(large: VectorIndex, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(large.folder, tmp_path / "index")
    graph = tmp_path / "index" / large.manifest.folder / large.manifest.graphs[0]
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 255
    graph.write_bytes(content)
    with pytest.raises(InputError, match=r"graph-000\.usearch has another SHA-256"):
        VectorIndex.open(tmp_path / "index")


def test_store_rows_may_be_none(tmp_path: Path) -> None:
    rows = store.Rows(tmp_path / "a.npy", "<f4", (3,))
    rows.close()
    assert np.load(tmp_path / "a.npy").shape == (0, 3)
