"""A million vectors: the index is built and asked in memory that does not grow with it."""

from __future__ import annotations

import os

import pytest
from benchmarks.search import LIMIT_MS, measured
from tests.prove.record import record

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]

OWN_MB = 400  # the interpreter with numpy, one graph of 262,144 vectors, and blocks


def test_a_million_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = measured(1_000_000)
    record(
        "search, 1,000,000 x 128",
        f"built in {found['built_s']:.0f} s; a question p95 {found['p95_ms']:.2f} ms, recall of the ten nearest "
        f"{found['recall']:.3f}; own memory {found['own_mb']:.0f} MB at most, {found['disk_mb']:.0f} MB on disk",
    )
    assert found["search"] == "approximate"
    assert found["own_mb"] < OWN_MB
    assert found["recall"] >= 0.95
    assert found["p95_ms"] < LIMIT_MS


def test_a_hundred_thousand_vectors_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = measured(100_000)
    record(
        "search, 100,000 x 128",
        f"exact; a question p95 {found['p95_ms']:.2f} ms, p50 {found['p50_ms']:.2f} ms on {os.cpu_count()} cores",
    )
    assert (found["search"], found["recall"]) == ("exact", 1.0)
    assert found["p95_ms"] < LIMIT_MS
