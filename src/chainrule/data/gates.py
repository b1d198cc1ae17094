"""Truth tables: OR, AND, NAND and XOR of two inputs. The four rows are train, validation and test set at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding, Shown
from chainrule.data.samples import Batch, TensorSamples
from chainrule.data.schema import ClassTarget, from_json
from chainrule.data.sources import Source
from chainrule.errors import InputError, nearest

NAME = "gates"
GIVES = ("vector",)
AUGMENT = None
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
GATES = {"or": (0, 1, 1, 1), "and": (0, 0, 0, 1), "nand": (1, 1, 1, 0), "xor": (0, 1, 1, 0)}  # one answer per corner
INPUTS = ("x_1", "x_2")


@dataclass(frozen=True, kw_only=True)
class GateSchema:
    """Which gate, and what its inputs and output are called."""

    kind: str = NAME
    target: ClassTarget
    inputs: tuple[str, ...] = INPUTS
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GateRecords:
    """Rows of a truth table."""

    name: str  # of the gate: the output's name
    ids: Sequence[str]
    inputs: NDArray[np.float32]  # (N, 2)
    labels: NDArray[Any] | None  # (N,) "0" or "1"; None in a prediction
    groups: NDArray[Any] | None = None
    times: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: NDArray[np.int64]) -> GateRecords:
        """The records of these rows."""
        ids = tuple(self.ids[row] for row in rows.tolist())
        return GateRecords(self.name, ids, self.inputs[rows], None if self.labels is None else self.labels[rows])

    def fingerprint(self) -> str:
        """SHA-256 over the inputs and answers in their order."""
        answers = [] if self.labels is None else self.labels.tolist()
        return hashlib.sha256(repr((self.name, self.inputs.tolist(), answers)).encode()).hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """One hash per row over its inputs."""
        digests = (hashlib.sha256(row.tobytes()).digest()[:8] for row in self.inputs)
        return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)

    def near_hashes(self) -> None:
        """None: no two inputs are nearly the same."""


def recognises(source: Source) -> str | None:
    """Why this source is a truth table, or None."""
    if source.path is not None or source.value is not None or source.name.lower() not in GATES:
        return None
    return f"the truth table of {source.name.upper()}: 2 inputs, 4 rows"


def read(source: Source, options: DataConfig) -> dict[str, GateRecords]:
    """The four rows, the same as train, validation and test set.

    Raises:
        InputError: no gate of that name, or a setting that a truth table cannot follow.
    """
    name = source.name.lower()
    if recognises(source) is None:
        raise InputError(f"{source.original or 'this data'} is not a truth table; {nearest(name, tuple(GATES))}")
    for setting, plain in (("target", ("", name)), ("task", ("", "classify")), ("group", ("",)), ("time", ("",))):
        if getattr(options, setting) not in plain:
            raise InputError(
                f"data.{setting}={getattr(options, setting)} has no effect on a truth table, which is classified by "
                "its one output; leave it out"
            )
    if options.drop:
        raise InputError(f"a truth table needs both its inputs; leave out data.drop={','.join(options.drop)}")
    ids = tuple(f"{a}, {b}" for a, b in CORNERS)
    records = GateRecords(name, ids, np.array(CORNERS, dtype=np.float32), np.array([str(y) for y in GATES[name]]))
    return {"train": records, "valid": records, "test": records}


def read_inputs(inputs: Sequence[Any], schema: GateSchema) -> GateRecords:
    """Rows to predict: "0,1", a pair of numbers, a mapping of the inputs' names, an (N, 2) array or a frame.

    Raises:
        InputError: a row that is not two finite numbers.
    """
    cells = [_pair(row, schema.inputs) for given in inputs for row in _rows(given, schema.inputs)]
    rows = np.array(cells, dtype=np.float32).reshape(-1, len(schema.inputs))
    ids = tuple(f"{a:g}, {b:g}" for a, b in rows.tolist())
    return GateRecords(schema.target.name, ids, rows, None)


def _rows(given: Any, names: tuple[str, ...]) -> Sequence[Any]:
    """The rows of a frame or of an (N, 2) array; anything else is one row."""
    columns = getattr(given, "columns", None)
    if columns is not None:
        _require(columns, names)
        return list(np.asarray(given[list(names)]))
    return list(given) if isinstance(given, np.ndarray) and given.ndim == 2 else [given]


def _require(found: Any, names: tuple[str, ...]) -> None:
    absent = [name for name in names if name not in found]
    if absent:
        raise InputError(f"the input has {', '.join(map(str, found))} and lacks {', '.join(absent)}")


def _pair(row: Any, names: tuple[str, ...]) -> list[float]:
    cells = row
    if isinstance(row, str):
        cells = row.replace(",", " ").split()
    elif isinstance(row, Mapping):
        _require(row, names)
        cells = [row[name] for name in names]
    try:
        numbers = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(names) or not all(map(math.isfinite, numbers)):
        raise InputError(f"a truth table's input is two numbers such as 0,1; got {row!r}")
    return numbers


def findings(records: GateRecords) -> list[Finding]:
    """Nothing can be wrong inside a truth table."""
    return []


def learn_schema(train: GateRecords, options: DataConfig) -> GateSchema:
    """The gate's output, 0 or 1, as the target."""
    labels = [] if train.labels is None else train.labels.tolist()
    counts = (labels.count("0"), labels.count("1"))
    return GateSchema(target=ClassTarget(name=train.name, classes=("0", "1"), counts=counts, positive="1"))


def load_schema(data: Mapping[str, Any]) -> GateSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(GateSchema, data)


def encode(records: GateRecords, schema: GateSchema) -> TensorSamples:
    """Inputs (N, 2) as the numbers they are, targets the class indices.

    Raises:
        InputError: an answer that the schema does not know.
    """
    inputs = (torch.from_numpy(records.inputs.copy()),)
    if records.labels is None:
        return TensorSamples(inputs, None, records.ids)
    classes = schema.target.classes
    for label in records.labels.tolist():
        if label not in classes:
            raise InputError(f"the answer {label!r} is unknown; a truth table answers {' or '.join(classes)}")
    targets = torch.tensor([classes.index(label) for label in records.labels.tolist()])
    return TensorSamples(inputs, targets, records.ids)


def mismatches(records: GateRecords, schema: GateSchema) -> list[Finding]:
    """Nothing can differ: two inputs, one answer."""
    return []


def aligned(records: GateRecords, schema: GateSchema) -> GateRecords:
    """The records: labels are spelt in one way."""
    return records


def target_of(records: GateRecords) -> str:
    """Nothing: a truth table has one output, which is not asked for by name."""
    return ""


def columns(records: GateRecords, schema: GateSchema) -> dict[str, NDArray[Any]]:
    """Nothing to hide a target in."""
    return {}


def classical(batch: Batch, schema: GateSchema) -> dict[str, NDArray[Any]]:
    """Nothing: four rows need no classical model beside the network."""
    return {}


def sizes(schema: GateSchema, takes: str) -> dict[str, Any]:
    """{"in_features": 2}."""
    _require_vector(takes)
    return {"in_features": len(schema.inputs)}


def input_names(schema: GateSchema, takes: str) -> list[str]:
    """x_1 and x_2."""
    return list(schema.inputs)


class GateFront(nn.Module):
    """Hands the inputs on unchanged: the textbook's numbers stay what they are."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(x,)."""
        return (x,)


def front(schema: GateSchema, takes: str) -> nn.Module:
    """The front of a truth table."""
    _require_vector(takes)
    return GateFront()


def _require_vector(takes: str) -> None:
    if takes != "vector":
        raise InputError(f"a truth table has two plain numbers, this model takes {takes}; use perceptron or mlp")


def augment(batch: Batch, generator: torch.Generator, config: Any) -> Batch:
    """The batch itself."""
    return batch


def show(records: GateRecords, row: int) -> Shown:
    """The row as a person writes it down."""
    values = {name: f"{value:g}" for name, value in zip(INPUTS, records.inputs[row].tolist(), strict=True)}
    if records.labels is not None:
        values[records.name] = str(records.labels[row])
    return Shown(values)


def pieces(schema: GateSchema, takes: str) -> int:
    """1: a row is seen whole."""
    return 1


def picture(batch: Batch, row: int, schema: GateSchema) -> None:
    """None: numbers are no picture."""
    return


def usual_settings(schema: GateSchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the network's own are right."""
    return {}
