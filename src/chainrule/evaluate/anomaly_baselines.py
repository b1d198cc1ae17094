"""What rows cost that are built again without a network, and how well their anomalies are told.

Source: principal components: Pearson 1901, doi:10.1080/14786440109462720; isolation forest: Liu, Ting, Zhou 2008,
    doi:10.1109/ICDM.2008.17.
Reference: sklearn's PCA and IsolationForest, which do the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Batch, Samples
from chainrule.evaluate.baselines import rows_within
from chainrule.functional.anomaly import threshold_of
from chainrule.tasks.reconstruct import Reconstruct

Array = NDArray[Any]
LEARNED_ROWS = 5_000  # of the train split
ASKED_ROWS = 20_000  # of valid and test each
SEEN_ROWS = 1_024  # rows that are read at once
USUAL_CODE = 32  # numbers of a code where there is no network yet, of few columns a quarter of them
LEAST_SPREAD = 0.05  # of the mean spread, so that a column that hardly varies is no reason for alarm by itself


@dataclass(frozen=True)
class Given:
    """Rows as the baselines see them."""

    values: Array  # (N, F), or (N, T) tokens
    known: Array  # the same shape, 1 where a value is known
    rows: dict[str, Array]  # of the task: labels, and which are anomalies
    own: bool  # in the network's units: errors may be compared

    def errors(self, built: Array) -> Array:
        """(N,) the mean squared error of what is known."""
        squares = ((self.values - built) ** 2 * self.known).sum(1)
        found: Array = squares / np.maximum(self.known.sum(1), 1)
        return found


See = Callable[[Batch], tuple[Array, Array, bool]]  # values (B, F), where known, and whether in the network's units
Score = Callable[[Given], tuple[Array, Array | None]]  # how strange each row is, and its squared error if it is built


def anomaly_baselines(
    samples: Mapping[str, Samples], task: Reconstruct, see: See, code_size: int, table: bool
) -> list[dict[str, Any]]:
    """Each with "name", the metrics on test, "rows", "seconds" and "note" ("" if there is nothing to say)."""
    train = _given(samples["train"], LEARNED_ROWS, see, task)
    others = {part: _given(samples[part], ASKED_ROWS, see, task) for part in ("valid", "test")}
    note = "" if train.own else "on fewer values than the network sees, so that errors do not compare"
    entries = []
    for name, fit in _ways(train, task, code_size, table):
        start = time.perf_counter()
        try:
            metrics, said = _scored(fit(), others, task), note
        except (ValueError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            metrics, said = {}, f"could not be fitted: {error}"
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **metrics, "rows": len(train.values), "seconds": seconds, "note": said})
    return entries


def _given(samples: Samples, limit: int, see: See, task: Reconstruct) -> Given:
    parts, rows = list[tuple[Array, Array]](), list[dict[str, Array]]()
    own = True
    for chosen in torch.split(torch.from_numpy(rows_within(len(samples), limit)), SEEN_ROWS):
        batch = samples.batch(chosen)
        values, known, own = see(batch)
        parts.append((values, known))
        rows.append({name: value.cpu().numpy() for name, value in task.labels(batch).items()})
    values, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Given(values, known, {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}, own)


def _ways(train: Given, task: Reconstruct, code_size: int, table: bool) -> Iterator[tuple[str, Callable[[], Score]]]:
    if task.target.form == "tokens":
        yield "frequency of words", lambda: _frequency(train, task.target.vocab_size)
        return
    yield "mean row", lambda: _mean_row(train)
    N, F = train.values.shape
    components = min(code_size or min(USUAL_CODE, F // 4), N - 1, F - 1)
    if components > 0:
        yield f"PCA, {components} numbers", lambda: _components(train, components)
    if task.target.normal:
        yield "z-score", lambda: _z_score(train)
        if table:
            yield "isolation forest", lambda: _forest(train)


def _scored(score: Score, others: Mapping[str, Given], task: Reconstruct) -> dict[str, float]:
    """The task's scores of the test rows, with a threshold by the validation rows as the network has one."""
    limit = threshold_of(score(others["valid"])[0], task.config.false_alarms)
    test = others["test"]
    scores, errors = score(test)
    rows = {"score": scores, **test.rows}
    if errors is not None and test.own:
        rows |= {"mse": errors, "elements": test.known.sum(1).astype(np.float64)}
    return Reconstruct(task.config, replace(task.target, threshold=limit)).score(rows)


def _mean_row(train: Given) -> Score:
    mean = train.values.mean(0)

    def score(given: Given) -> tuple[Array, Array]:
        errors = given.errors(mean)
        return errors, errors

    return score


def _components(train: Given, count: int) -> Score:
    from sklearn.decomposition import PCA

    found = PCA(count, random_state=0).fit(train.values)

    def score(given: Given) -> tuple[Array, Array]:
        errors = given.errors(found.inverse_transform(found.transform(given.values)))
        return errors, errors

    return score


def _z_score(train: Given) -> Score:
    mean, spread = train.values.mean(0), train.values.std(0)
    spread = np.maximum(spread, max(LEAST_SPREAD * spread.mean(), np.finfo(np.float32).tiny))

    def score(given: Given) -> tuple[Array, None]:
        away = np.abs(given.values - mean) / spread * given.known
        return away.sum(1) / np.maximum(given.known.sum(1), 1), None

    return score


def _forest(train: Given) -> Score:
    from sklearn.ensemble import IsolationForest

    found = IsolationForest(random_state=0).fit(train.values)
    return lambda given: (-found.score_samples(given.values), None)


def _frequency(train: Given, vocab_size: int) -> Score:
    """What tokens cost by how often each occurs; the commonest one everywhere."""
    counts = np.bincount(train.values[train.known > 0].ravel(), minlength=vocab_size) + 1.0
    nats, commonest = -np.log(counts / counts.sum()), int(counts.argmax())

    def score(given: Given) -> tuple[Array, Array]:
        many = np.maximum(given.known.sum(1), 1)
        missed = ((given.values != commonest) * given.known).sum(1) / many
        return (nats[given.values] * given.known).sum(1) / many, missed

    return score
