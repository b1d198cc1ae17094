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


def code_maps(codes: NDArray[Any], groups: NDArray[Any], names: Sequence[str]) -> str:
    """The charts of codes (N, D), coloured by group."""
    points, shares = principal_components(np.asarray(codes, dtype=np.float64))
    labels = [f"component {place + 1} ({share:.0%} of the variance)" for place, share in enumerate(shares)]
    charts = [groups_chart("Codes, principal components", *points.T, groups, names, *labels)]
    if len(codes) >= LEAST_POINTS and find_spec("umap"):
        charts.append(groups_chart("Codes, UMAP", *_umap(codes).T, groups, names, "UMAP 1", "UMAP 2"))
    return "".join(charts)


def _umap(codes: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 2); the same ones every time."""
    import warnings

    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed costs it its threads
        found: NDArray[Any] = UMAP(n_neighbors=NEIGHBOURS, random_state=0).fit_transform(codes)
    return np.asarray(found, dtype=np.float64)
