"""What looking at rows as they are scores in look-alike search: pooled pixels or bands, counted words, chance.

Source: principal components: Pearson 1901, doi:10.1080/14786440109462720; TF-IDF and its leading directions (latent
semantic analysis): Deerwester et al. 1990, doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9.
Reference: sklearn's TfidfVectorizer and TruncatedSVD, which do the work on texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Batch, ClassedSamples, Samples
from chainrule.data.text.samples import TextSamples
from chainrule.data.tokens import UNKNOWN
from chainrule.evaluate.baselines import rows_within
from chainrule.tasks.embed import PLACES, Embed
from chainrule.tasks.task import Rows

Array = NDArray[Any]
Scores = dict[str, float]
Vectors = Callable[[Batch], Array]  # what classical methods see of a batch, (B, F)

DIMS = 64  # directions that are kept
CHANCE_DIMS, CHANCES = 16, 2_000  # of a random place; and how many are drawn at least
LEARNED_ROWS = 5_000  # of the train split, by which directions are found
ASKED_ROWS = 10_000  # of the test split
SEEN_ROWS = 1_024  # rows that are read at once


def embedding_baselines(train: Samples, test: Samples, vectors: Vectors, task: Embed) -> list[dict[str, Any]]:
    """Each with "name", the metrics on test, "rows", "seconds" and "note" ("" if there is nothing to say)."""
    train = train.samples if isinstance(train, ClassedSamples) else train
    rows = rows_within(len(test), ASKED_ROWS)
    note = f"on {len(rows):,} of {len(test):,} rows" if len(rows) < len(test) else ""
    entries = []
    for name, scored in _ways(train, test, rows, vectors, task):
        start = time.perf_counter()
        try:
            metrics, said = scored(), ""
        except (ValueError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            metrics, said = {}, f"could not be fitted: {error}"
        seconds = round(time.perf_counter() - start, 4)
        notes = "; ".join(filter(None, (note, said)))
        entries.append({"name": name, **metrics, "rows": len(train), "seconds": seconds, "note": notes})
    return entries


def _ways(
    train: Samples, test: Samples, rows: Array, vectors: Vectors, task: Embed
) -> Iterator[tuple[str, Callable[[], Scores]]]:
    """A name and what scores the test rows by it."""
    yield "chance", lambda: _chance(test, rows, task)
    if isinstance(train, TextSamples):
        yield "TF-IDF, leading directions", lambda: task.score(_measured(test, rows, word_vectors(train), task))
        return
    measured: Rows = {}

    def plain() -> Scores:
        measured.update(_measured(test, rows, vectors, task))
        return task.score(measured)

    def leading() -> Scores:
        known = rows_within(len(train), LEARNED_ROWS)
        return task.score(_turned(measured, _measured(train, known, vectors, task, alone=True)["embeddings"]))

    yield "raw input", plain
    yield "principal components", leading


def _chance(test: Samples, rows: Array, task: Embed) -> Scores:
    """The mean over random places, drawn often where there are few rows."""
    generator = np.random.default_rng(0)
    names, targets = PLACES if task.by_versions else PLACES[:1], _targets(test, rows)
    scores = []
    for _ in range(max(1, CHANCES // len(rows))):
        places: Rows = {name: generator.standard_normal((len(rows), CHANCE_DIMS)) for name in names}
        scores.append(task.score(places | targets))
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def _targets(samples: Samples, rows: Array) -> Rows:
    found = [samples.batch(part).targets for part in torch.split(torch.from_numpy(rows), SEEN_ROWS)]
    known = [targets.cpu().numpy() for targets in found if targets is not None]
    return {"targets": np.concatenate(known)} if known else {}


def _measured(samples: Samples, rows: Array, vectors: Vectors, task: Embed, alone: bool = False) -> Rows:
    """As the task's own measure has them, with vectors for places; ``alone``: without altered versions."""
    parts: list[Rows] = []
    for chosen in torch.split(torch.from_numpy(rows), SEEN_ROWS):
        batch = samples.batch(chosen)
        part: Rows = {"embeddings": vectors(batch)}
        if task.by_versions and not alone:
            part["altered"] = vectors(task.altered(batch))
        if batch.targets is not None:
            part["targets"] = batch.targets.cpu().numpy()
        parts.append(part)
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _unprojected(found)


def _unprojected(rows: Rows) -> Rows:
    """Places without a projection are their own."""
    if "altered" not in rows:
        return rows
    return rows | {"projected": rows["embeddings"], "projected_altered": rows["altered"]}


def _turned(rows: Rows, known: Array) -> Rows:
    """Places in the directions of the largest spread of what is known."""
    centre = known.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(known - centre, full_matrices=False)
    return {
        name: (values - centre) @ directions[:DIMS].T if name in PLACES else values for name, values in rows.items()
    }


def word_vectors(train: Samples) -> Vectors:
    """Tokens by how often they come and how rare they are in train, in the leading directions of its rows."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = torch.split(torch.from_numpy(rows_within(len(train), LEARNED_ROWS)), SEEN_ROWS)
    counted = TfidfVectorizer(tokenizer=str.split, token_pattern=None, sublinear_tf=True)
    weighed = counted.fit_transform([text for part in rows for text in _written(train.batch(part))])
    directions = TruncatedSVD(min(DIMS, min(weighed.shape) - 1), random_state=0).fit(weighed)
    return lambda batch: np.asarray(directions.transform(counted.transform(_written(batch))))


def _written(batch: Batch) -> list[str]:
    """The numbers of each row's tokens as words; unknown ones say nothing."""
    return [" ".join(str(token) for token in ids if token > UNKNOWN) for ids in batch.inputs[0].tolist()]
