"""What telling people apart without a network scores: pixels as they are, and eigenfaces.

Source: Turk, Pentland 1991, "Eigenfaces for recognition", doi:10.1162/jocn.1991.3.1.71; directions of equal spread and
the cosine between them: Moon, Phillips 2001, doi:10.1068/p2896.
Reference: sklearn.decomposition.PCA with whiten=True, compared in tests/unit/test_verify.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Batch, ClassedSamples, Samples
from chainrule.evaluate.baselines import rows_within

Array = NDArray[Any]
Vectors = Callable[[Batch], Array]  # all pixels of each photo, (B, F)
Score = Callable[[dict[str, Array]], dict[str, float]]

EIGENFACES = 50
LEARNED_ROWS = 3_000  # of the train split, by which directions are found
ASKED_ROWS = 5_000  # of the test split
SEEN_ROWS = 512  # photos that are read at once


def face_baselines(train: Samples, test: Samples, vectors: Vectors, score: Score) -> list[dict[str, Any]]:
    """Each with "name", the metrics on test, "rows", "seconds" and "note" ("" if there is nothing to say)."""
    train = train.samples if isinstance(train, ClassedSamples) else train
    known, _ = _pixels(train, rows_within(len(train), LEARNED_ROWS), vectors)
    asked, people = _pixels(test, rows_within(len(test), ASKED_ROWS), vectors)
    note = f"on {len(asked):,} of {len(test):,} photos" if len(asked) < len(test) else ""
    entries = []
    for name, seen in (("pixels", lambda: asked - known.mean(0)), ("eigenfaces", lambda: eigenfaces(known, asked))):
        start = time.perf_counter()
        metrics = score({"embeddings": seen(), "targets": people})
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **metrics, "rows": len(known), "seconds": seconds, "note": note})
    return entries


def eigenfaces(known: Array, asked: Array, most: int = EIGENFACES) -> Array:
    """(N, at most 50) photos in the directions in which the known ones differ most, each in units of its spread."""
    mean = known.mean(0)
    _, spread, directions = np.linalg.svd(known - mean, full_matrices=False)
    kept = min(most, int((spread > 1e-6 * spread[0]).sum()))
    scale = spread[:kept] / np.sqrt(max(1, len(known) - 1))
    return np.asarray((asked - mean) @ directions[:kept].T / scale)


def _pixels(samples: Samples, rows: Array, vectors: Vectors) -> tuple[Array, Array]:
    batches = [samples.batch(part) for part in torch.split(torch.from_numpy(rows), SEEN_ROWS)]
    people = [batch.targets.cpu().numpy() for batch in batches if batch.targets is not None]
    return np.concatenate([vectors(batch) for batch in batches]).astype(np.float64), np.concatenate(people)
