"""Learning from normal rows alone: which rows are learned from, and which anomalies are kept for the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.order import generator_of
from chainrule.data.samples import Records
from chainrule.data.schema import class_names
from chainrule.errors import InputError

Ints = NDArray[np.int64]
SHOWN = 10


def are_strange(labels: NDArray[Any], config: DataConfig, where: str) -> NDArray[np.bool_]:
    """Which rows are of no normal class. Raises InputError where none is normal."""
    names = class_names(labels)
    strange: NDArray[np.bool_] = ~np.isin(names, config.normal)
    if strange.all():
        known = sorted(set(names.tolist()))
        shown = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        raise InputError(f"no row of {where} is of data.normal={', '.join(config.normal)}; the classes are {shown}")
    return strange


def with_anomalies(
    labels: NDArray[Any], groups: Ints | None, train: Ints, valid: Ints, test: Ints, config: DataConfig
) -> tuple[Ints, Ints, Ints, str]:
    """Rows of the three parts after the anomalies that nothing is learned from have moved to test, and this in words.

    With ``data.polluted`` those stay that pollute. Rows of one group never stand on both sides.

    Args:
        groups: a code for each row; None where all are by themselves.
    """
    strange = are_strange(labels, config, "the data")
    left = [_kept(rows, strange[rows], config) for rows in (train, valid)]
    spare = np.setdiff1d(np.concatenate((train, valid)), np.concatenate(left))
    bound = np.zeros(len(spare), dtype=bool)
    if groups is not None:
        bound = np.isin(groups[spare], groups[np.concatenate(left)])
    moved, stuck = spare[~bound], spare[bound]
    words = f"; the {len(moved):,} anomalies of train and valid are tested on as well" if len(moved) else ""
    if len(stuck):
        words += f"; {len(stuck):,} of a group that is learned from are left out"
    return left[0], left[1], np.sort(np.concatenate((test, moved))), words


def normal_rows(parts: Mapping[str, Records], config: DataConfig) -> tuple[dict[str, Records], list[Finding]]:
    """The parts with only normal rows to learn from and to set the threshold by; the test part keeps its anomalies.

    With ``data.polluted`` that share of the rows to learn from is made of anomalies, as if nobody had noticed them.

    Raises:
        InputError: there are no labels, no rows of the normal classes, no anomalies to pollute with, or nothing to tell
            apart in the test part.
    """
    kept, told = dict(parts), list[Finding]()
    for name, records in parts.items():
        if records.labels is None:
            raise InputError(
                f"data.normal names classes, but the {name} part has no labels; name their column with --target, or "
                "leave data.normal out to learn from every row"
            )
        strange = are_strange(records.labels, config, name)
        if name == "test":
            if not strange.any():
                raise InputError(
                    f"all {len(records):,} rows of test are of data.normal={', '.join(config.normal)}, so there are no "
                    "anomalies to tell from them; give a test part that has some, or leave data.normal out to learn "
                    "from every row"
                )
            told.append(Finding("note", f"test: {int(strange.sum()):,} of {len(records):,} rows are anomalies"))
            continue
        rows = _kept(np.arange(len(records)), strange, config)
        count = int(strange[rows].sum())
        if count < polluting(int((~strange).sum()), config):
            raise InputError(
                f"data.polluted={config.polluted:g} needs {polluting(int((~strange).sum()), config):,} anomalies in "
                f"{name}, there are {count:,}; give a smaller share, or more anomalies"
            )
        mixed = f"; {count:,} anomalies are among them by data.polluted" if config.polluted else ""
        if len(rows) < len(records) or mixed:
            told.append(Finding("note", f"{name}: {len(rows):,} of {len(records):,} rows are taken as normal{mixed}"))
        kept[name] = records.select(rows)
    return kept, told


def polluting(normal: int, config: DataConfig) -> int:
    """How many anomalies beside so many normal rows make up the share that is asked for."""
    return round(normal * config.polluted / (1 - config.polluted))


def _kept(rows: Ints, strange: NDArray[np.bool_], config: DataConfig) -> Ints:
    """The normal ones of these rows, with as many anomalies as are to pollute them, where there are so many."""
    normal, anomalies = rows[~strange], rows[strange]
    drawn = generator_of(config.split_seed, len(normal))
    chosen = torch.randperm(len(anomalies), generator=drawn)[: polluting(len(normal), config)].numpy()
    return np.sort(np.concatenate((normal, anomalies[chosen])))
