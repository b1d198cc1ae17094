"""Codes in two dimensions: their principal components, and UMAP where it is installed.

Source: McInnes, Healy, Melville 2018, UMAP, arXiv:1802.03426.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.evaluate.charts import groups_chart
from chainrule.functional.spread import principal_components

LEAST_POINTS = 16  # that neighbours can be told among
NEIGHBOURS = 15
MOST_GROUPS = 21  # classes with a colour and shape of their own


def code_maps(codes: NDArray[Any], groups: NDArray[Any], names: Sequence[str]) -> str:
    """The charts of codes (N, D), coloured by group."""
    points, shares = principal_components(np.asarray(codes, dtype=np.float64))
    first, second = (f"component {place + 1} ({share:.0%} of the variance)" for place, share in enumerate(shares))
    charts = [groups_chart("Principal components", points, groups, names, (first, second))]
    if len(codes) >= LEAST_POINTS and find_spec("umap"):
        charts.append(groups_chart("UMAP", _umap(codes), groups, names, ("UMAP 1", "UMAP 2")))
    return "".join(charts)


def _umap(codes: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 2); the same ones every time."""
    import warnings

    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed costs it its threads
        found: NDArray[Any] = UMAP(n_neighbors=NEIGHBOURS, random_state=0).fit_transform(codes)
    return np.asarray(found, dtype=np.float64)


def class_groups(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Of points with class indices (N,) what they are coloured by, and the names: of many classes the common ones."""
    common = np.argsort(-np.bincount(labels, minlength=len(classes)), kind="stable")
    kept = sorted(common[: MOST_GROUPS - 1].tolist()) if len(classes) > MOST_GROUPS else [*range(len(common))]
    place = {label: number for number, label in enumerate(kept) if label < len(classes)}
    names = [classes[label] for label in place]
    groups = np.array([place.get(label, len(names)) for label in labels.tolist()], dtype=np.int64)
    return groups, names + ["another class"] * bool((groups == len(names)).any())
