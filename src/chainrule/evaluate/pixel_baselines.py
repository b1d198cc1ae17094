"""What methods without a network score for pixels: the commonest class, a threshold of brightness, boosted pixels.

Source: the threshold with the best Dice on the train split; scikit-learn's HistGradientBoostingClassifier on what a
pixel and its neighbourhood look like, as in trainable segmentation (Arganda-Carreras et al. 2017,
doi:10.1093/bioinformatics/btx180), at fixed settings. Nothing is tuned, the cost is bounded by the sizes, and every
limit met is said in ``note``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.samples import Samples
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.evaluate.baselines import rows_within
from chainrule.functional.overlap import region_counts

Grid = tuple[slice, ...]
Answer = Callable[[NDArray[np.float32], Grid], NDArray[Any]]  # the classes of an image's pixels on a grid
Looked = tuple[NDArray[np.float32], NDArray[np.uint8]]
Score = Callable[[dict[str, NDArray[Any]]], dict[str, float]]

LEARNED_IMAGES, LEARNED_PIXELS = 60, 30_000  # of the train split
SCORED_PIXELS = 400_000  # of the test split, on an even grid in each image
SCALES_PX = (1.0, 3.0, 9.0)  # standard deviations of the blurs that a pixel's neighbourhood is seen through
LEVELS = 256
MOST_VALUES = 2**22  # of an image up to which it is looked at
ITERATIONS = 60


def pixel_baselines(train: Samples, test: Samples, target: MaskTarget, score: Score) -> list[dict[str, Any]]:
    """Each baseline: its "name", scores, "rows" it learned from, "seconds" and "note", as ``baselines`` gives them."""
    learned = list(_images(train, rows_within(len(train), LEARNED_IMAGES)))
    pixels = sum(truth.size for _, truth in _images(test))
    stride = max(1, round((pixels / SCORED_PIXELS) ** 0.5))
    K, entries = len(target.classes), []
    commonest = int(np.argmax(target.pixels))
    ways: list[tuple[str, Callable[[], Answer]]] = [("commonest class", lambda: _constant(commonest))]
    if K == 2 and target.background >= 0 and learned:
        ways.append(("brightness threshold", lambda: _threshold(learned, target.background)))
    if learned:
        ways.append(("gradient boosting on pixels", lambda: _boosting(learned, commonest)))
    for name, fit in ways:
        start = time.perf_counter()
        answer = fit()
        counts = [_counted(answer, image, truth, stride, K) for image, truth in _images(test)]
        rows = {part: np.array([count[place] for count in counts]) for place, part in enumerate(COUNTS)}
        note = f"scored on every {stride}th pixel of each axis" if stride > 1 else ""
        seconds = round(time.perf_counter() - start, 4)
        entries.append({"name": name, **score(rows), "rows": len(learned), "seconds": seconds, "note": note})
    return entries


COUNTS = ("hits", "answered", "support")


def _images(samples: Samples, rows: NDArray[np.int64] | None = None) -> Iterator[Looked]:
    """Images (C, *size) in 0..1 with their classes; those that are too large to be looked at here are passed over."""
    for row in range(len(samples)) if rows is None else rows.tolist():
        if samples.lengths is None or samples.lengths[row] <= MOST_VALUES:
            batch = samples.batch(torch.tensor([row]))
            assert batch.targets is not None
            image: NDArray[np.float32] = batch.inputs[0][0].cpu().numpy().astype(np.float32)
            yield image / np.float32(255), batch.targets[0].cpu().numpy()


def _counted(
    answer: Answer, image: NDArray[np.float32], truth: NDArray[np.uint8], stride: int, K: int
) -> NDArray[np.int64]:
    """(3, K) pixels on a grid of every so many: answered right, answered, true."""
    grid = (slice(None, None, stride),) * truth.ndim
    first, second = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (answer(image, grid), truth[grid]))
    counts: NDArray[np.int64] = region_counts(first, second, K)[0].numpy()
    return counts


def _constant(commonest: int) -> Answer:
    return lambda image, grid: np.full(image[0][grid].shape, commonest)


def _threshold(learned: list[Looked], background: int) -> Answer:
    """Pixels brighter, or darker, than the level with the best Dice on the train split are the object."""
    table = np.zeros((2, LEVELS), dtype=np.int64)  # of objects and of the background, by brightness
    for image, truth in learned:
        level = np.minimum((image.mean(0) * LEVELS).astype(np.int64), LEVELS - 1)
        for place, held in enumerate((truth != background, truth == background)):
            table[place] += np.bincount(level[held & (truth != IGNORE)], minlength=LEVELS)
    best = (-1.0, 0, True)
    for bright in (True, False):
        ahead, behind = (np.cumsum(row[::-1])[::-1] if bright else np.cumsum(row) for row in table)
        dice = 2 * ahead / np.maximum(1, ahead + behind + table[0].sum())
        best = max(best, (float(dice.max()), int(dice.argmax()), bright))
    _, level, bright = best

    def answer(image: NDArray[np.float32], grid: Grid) -> NDArray[Any]:
        seen = np.minimum((image.mean(0)[grid] * LEVELS).astype(np.int64), LEVELS - 1)
        return np.where((seen >= level) if bright else (seen <= level), 1 - background, background)

    return answer


def _boosting(learned: list[Looked], commonest: int) -> Answer:
    """Boosted trees on the colours, blurs and edges at a pixel, and on where it lies."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    generator = np.random.default_rng(0)
    columns, answers = [], []
    for image, truth in learned:
        places = generator.integers(0, truth.size, LEARNED_PIXELS // len(learned))
        places = places[truth.reshape(-1)[places] != IGNORE]
        columns.append(_features(image).reshape(-1, truth.size)[:, places].T)
        answers.append(truth.reshape(-1)[places])
    wanted = np.concatenate(answers)
    if len(np.unique(wanted)) < 2:
        return _constant(commonest)
    trees = HistGradientBoostingClassifier(max_iter=ITERATIONS, early_stopping=False, random_state=0)
    trees.fit(np.concatenate(columns), wanted)

    def answer(image: NDArray[np.float32], grid: Grid) -> NDArray[Any]:
        seen = _features(image)[(slice(None), *grid)]
        found: NDArray[Any] = trees.predict(seen.reshape(len(seen), -1).T).reshape(seen.shape[1:])
        return found

    return answer


def _features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(features, *size): channels, each blurred, the steepness of each blur, and the place in the image."""
    from scipy import ndimage

    size, columns = image.shape[1:], list(image)
    for channel in image:
        for sigma in SCALES_PX:
            columns += [ndimage.gaussian_filter(channel, sigma), ndimage.gaussian_gradient_magnitude(channel, sigma)]
    columns += list(np.meshgrid(*(np.linspace(0, 1, side, dtype=np.float32) for side in size), indexing="ij"))
    return np.stack(columns)
