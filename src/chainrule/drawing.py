"""From codes to rows: what an autoencoder builds from codes, those of data or drawn ones, as its kind of data has it.

Where codes are drawn from: a variational autoencoder's own prior, the standard normal distribution; otherwise, and
where a class is asked for, a normal distribution with the mean and the (shrunk) covariance of the codes of the train
split, of all rows or of that class.

Source: Ghosh, Sajjadi, Vergari, Black, Schölkopf 2019, arXiv:1903.12436, section 5 (ex-post density estimation).
Differs: one normal distribution instead of a mixture of ten; of a variational autoencoder the mean codes are fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.audio.built import spectrograms_of
from chainrule.data.image.built import pictures_of
from chainrule.data.samples import Batch, Records, Samples
from chainrule.data.series.window_samples import in_own_units
from chainrule.data.table.built import frame_of
from chainrule.data.text.built import texts_of
from chainrule.errors import InputError
from chainrule.evaluate.baselines import rows_within
from chainrule.evaluate.built_rows import BuiltRows, Columns, Pictures, Texts, Windows
from chainrule.functional.draws import normal_of
from chainrule.functional.spread import spread_of
from chainrule.prepare import Prepared
from chainrule.session import PREDICT_ROWS, Session
from chainrule.tasks.costs import costs_of, seen_by
from chainrule.tasks.reconstruct import KL, Reconstruct
from chainrule.train.checkpoint import read_tensors, replace_tensors
from chainrule.train.measure import measure
from chainrule.train.run import Run

STATISTICS = "index/codes"  # .safetensors and .json
FITTED_ROWS = 20_000  # of the train split, whose codes are looked at
STORED = 4_000_000  # numbers of all factors at most; of long codes only the directions of the largest spread are kept
FORMAT = 1

RESTORED: dict[str, Callable[[NDArray[Any], Any], BuiltRows]] = {  # by data kind: built values and schema to rows
    "image": lambda values, schema: Pictures(pictures_of(values, schema.channels, schema.size_px)),
    "table": lambda values, schema: Columns(frame_of(values, schema)),
    "audio": lambda values, schema: Pictures(spectrograms_of(values, schema)),
    "series": lambda values, schema: Windows(in_own_units(values, schema), schema.target.names),
    "text": lambda values, schema: Texts(texts_of(values, schema)),
}


@dataclass(frozen=True, kw_only=True)
class CodeStatistics:
    """Where the codes of the train split lie, all of them ("") and those of each class."""

    names: tuple[str, ...]
    rows: tuple[int, ...]  # whose codes were looked at
    mean: Tensor  # (names, D)
    factor: Tensor  # (names, R, D): R standard normal numbers times it are spread as the codes are


def coder_task(session: Session) -> Reconstruct:
    """The task of an autoencoder.

    Raises:
        InputError: the network is none.
    """
    if not isinstance(session.task, Reconstruct):
        raise InputError(
            f"rows are drawn by autoencoders, this run learned to {session.task.name} from {session.kind.NAME} data; "
            "train one with: chainrule fit SOURCE --task reconstruct --model vae"
        )
    return session.task


def has_prior(session: Session) -> bool:
    """Whether the codes were trained to be standard normal."""
    return KL in costs_of(session.module).network.penalties


def restored(session: Session, values: NDArray[Any]) -> BuiltRows:
    """Built or true values as rows of the session's kind of data."""
    return RESTORED[session.kind.NAME](values, session.schema)


def built_again(session: Session, samples: Samples) -> tuple[NDArray[Any], NDArray[Any]]:
    """The true values of rows and those built from their codes; of a row that is seen in pieces, its first one."""

    def look(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        seen, costs = seen_by(network, batch), costs_of(network)
        first = tuple(x[:: len(seen[0]) // len(batch)] for x in seen)
        outputs, _ = costs.network.coded(first)
        truth, built = costs.truth(first).float(), costs.built(outputs).float()
        if costs.form == "tokens":
            built = built * (
                torch.arange(built.shape[1], device=built.device) < first[1][:, None]
            )  # PAD beyond the end
        elif len(first) > 1:
            truth = truth.masked_fill(first[1] == 0, torch.nan)
        return {"truth": truth, "built": built}

    found = measure(look, session.module, samples, PREDICT_ROWS, session.arithmetic)
    return found["truth"], found["built"]


def decoded(session: Session, codes: Tensor) -> NDArray[Any]:
    """(N, ...) the values built from codes (N, D)."""
    training, costs = session.module.training, costs_of(session.module)
    session.module.eval()
    try:
        with torch.inference_mode(), session.arithmetic.autocast():
            parts = [
                costs.built(costs.network.decode(part.to(session.arithmetic.device))).float().cpu()
                for part in torch.split(codes, PREDICT_ROWS)
            ]
    finally:
        session.module.train(training)
    return torch.cat(parts).numpy()


def look_at_codes(session: Session, records: Records) -> CodeStatistics:
    """The statistics of the codes of a split, and of each class where rows have labels."""
    task, classes = coder_task(session), session.schema.target.classes
    few = session.encode(records.select(rows_within(len(records), FITTED_ROWS)))

    def look(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        labels = {} if batch.targets is None else {"labels": batch.targets}
        return {"codes": task.embed(network, batch).double(), **labels}

    found = measure(look, session.module, few, PREDICT_ROWS, session.arithmetic)
    parts = {"": found["codes"]}
    if "labels" in found:
        parts |= {name: found["codes"][found["labels"] == place] for place, name in enumerate(classes)}
    parts = {name: part for name, part in parts.items() if len(part)}
    D = found["codes"].shape[1]
    directions = min(D, max(1, STORED // (len(parts) * D)))
    factor = torch.zeros(len(parts), directions, D)
    for place, part in enumerate(parts.values()):
        spread = torch.from_numpy(spread_of(part, directions))
        factor[place, : len(spread)] = spread
    return CodeStatistics(
        names=tuple(parts),
        rows=tuple(len(part) for part in parts.values()),
        mean=torch.from_numpy(np.stack([part.mean(0) for part in parts.values()])).float(),
        factor=factor,
    )


def keep_statistics(run: Run, session: Session, prepared: Prepared) -> None:
    """Look at the codes of the train split and write down where they lie, so that drawing needs no data."""
    found = look_at_codes(session, prepared.parts["train"])
    (run.path / STATISTICS).parent.mkdir(exist_ok=True)
    replace_tensors(run.path / f"{STATISTICS}.safetensors", {"mean": found.mean, "factor": found.factor})
    of = {"names": found.names, "rows": found.rows, "weights": _digest(run)}
    run.write(f"{STATISTICS}.json", {"format": FORMAT, **of})


def kept_statistics(run: Run) -> CodeStatistics | None:
    """What was written down about these weights; None where nothing was, or the weights are others by now."""
    if not (run.path / f"{STATISTICS}.json").is_file():
        return None
    said = run.read(f"{STATISTICS}.json")
    if said["weights"] != _digest(run):
        return None
    tensors = read_tensors(run.path / f"{STATISTICS}.safetensors")
    return CodeStatistics(names=tuple(said["names"]), rows=tuple(said["rows"]), **tensors)


def _digest(run: Run) -> str:
    return hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()


def check_drawn(session: Session, number: int, of: str, seed: int) -> None:
    """Refuse what cannot be drawn, before anything is computed.

    Raises:
        InputError: no autoencoder, no positive number of rows, a class that is not known, a negative seed.
    """
    target = coder_task(session).target
    if number < 1:
        raise InputError(f"the number of rows to draw is 1 or more, got {number}")
    if seed < 0:
        raise InputError(f"the seed is a whole number from 0, got {seed}")
    if of and not target.classes:
        raise InputError(f"this run was trained without labels, so there is no class {of!r}; leave --class out")
    if of and of not in target.classes:
        raise InputError(f"there is no class {of!r}; known: {', '.join(target.classes[:50])}")


def drawn_codes(
    session: Session, statistics: CodeStatistics | None, number: int, of: str = "", seed: int = 0
) -> Tensor:
    """(number, D) codes of rows that there never were; each is decided by the seed and its own place alone.

    Args:
        statistics: may be None for the prior of a variational autoencoder, without a class.
        of: a class; "": of all rows.

    Raises:
        InputError: the train split had no row of the class.
    """
    normal = normal_of(torch.arange(number), costs_of(session.module).network.code_size, seed)
    if not of and has_prior(session):
        return normal
    assert statistics is not None
    if of not in statistics.names:
        raise InputError(f"the train split had no row of {of!r}, so nothing is known about its codes; choose another")
    place = statistics.names.index(of)
    factor = statistics.factor[place]
    return statistics.mean[place] + normal[:, : len(factor)] @ factor


def drawn(
    session: Session, run: Run, prepared: Callable[[], Prepared], number: int, of: str = "", seed: int = 0
) -> BuiltRows:
    """Fresh rows.

    Args:
        prepared: gives the run's own data; asked only where nothing was written down about the codes.

    Raises:
        InputError: what ``check_drawn`` refuses; nothing is known about the codes, and the data is gone.
    """
    check_drawn(session, number, of, seed)
    statistics = None
    if of or not has_prior(session):
        statistics = kept_statistics(run)
        if statistics is None:
            try:
                records = prepared().parts["train"]
            except InputError as error:
                raise InputError(
                    f"nothing is written down about the codes of {run.path} ({STATISTICS}.json), and its data cannot "
                    f"be read to look at them: {error}"
                ) from error
            statistics = look_at_codes(session, records)
    return restored(session, decoded(session, drawn_codes(session, statistics, number, of, seed)))
