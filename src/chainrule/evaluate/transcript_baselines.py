"""What methods without a network score for transcripts: the commonest text, and that of the most similar recording."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import TranscriptTarget
from chainrule.data.transcripts import written
from chainrule.functional.edit_distance import edit_distance, transcript_scores

LEARNED_ROWS = 10_000  # of the train split, the first ones
SEEN_ROWS = 64  # that are read at once
Vectors = Callable[[Batch], NDArray[Any]]  # what classical models see of a batch, (B F)


def transcript_baselines(
    samples: Mapping[str, Samples], target: TranscriptTarget, vectors: Vectors
) -> list[dict[str, Any]]:
    """Each baseline: its "name", scores on test, "rows" it learned from, "seconds" and "note"."""
    began = time.perf_counter()
    learned, heard = _seen(samples["train"], target, vectors, LEARNED_ROWS)
    truths, asked = _seen(samples["test"], target, vectors, len(samples["test"]))
    mean, spread = heard.mean(0), heard.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    near = _nearest((asked - mean) / spread, (heard - mean) / spread)
    commonest = Counter(learned).most_common(1)[0][0]
    answers = {
        "commonest text": [commonest] * len(truths),
        "nearest recording by its mean spectrum": [learned[row] for row in near],
    }
    rows = len(samples["train"])
    note = f"fitted on {len(learned):,} of {rows:,} rows" if len(learned) < rows else ""
    seconds = round(time.perf_counter() - began, 4)
    return [
        {"name": name, **_scores(found, truths), "rows": len(learned), "seconds": seconds, "note": note}
        for name, found in answers.items()
    ]


def _seen(
    samples: Samples, target: TranscriptTarget, vectors: Vectors, most: int
) -> tuple[list[str], NDArray[np.float64]]:
    """The texts of the first rows, and what classical models see of them."""
    texts: list[str] = []
    seen: list[NDArray[Any]] = []
    for rows in torch.split(torch.arange(min(most, len(samples))), SEEN_ROWS):
        batch = samples.batch(rows)
        assert batch.targets is not None
        texts += [written(text, target) for text in batch.targets.tolist()]
        seen.append(vectors(batch))
    return texts, np.concatenate(seen).astype(np.float64)


def _nearest(asked: NDArray[np.float64], known: NDArray[np.float64]) -> list[int]:
    """For each row the known one at the smallest distance: |a - b|^2 = |a|^2 - 2 a b + |b|^2."""
    parts = np.array_split(asked, max(1, len(asked) // SEEN_ROWS))
    square = (known**2).sum(1)
    return [int(row) for part in parts for row in (square - 2 * part @ known.T).argmin(1)]


def _scores(answers: Sequence[str], truths: Sequence[str]) -> dict[str, Any]:
    pairs = list(zip(answers, truths, strict=True))
    scores = transcript_scores(
        np.array([edit_distance(answer, truth) for answer, truth in pairs]),
        np.array([len(truth) for truth in truths]),
        np.array([edit_distance(answer.split(), truth.split()) for answer, truth in pairs]),
        np.array([len(truth.split()) for truth in truths]),
        np.full(len(truths), np.inf),
    )
    return {name: float(score) for name, score in scores.items() if np.isfinite(score)}
