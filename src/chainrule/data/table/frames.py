"""Frames from everything that already has columns: Parquet, JSON lines, .npz, DataFrames, dicts and arrays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chainrule.data.delimited import MISSING, read_bytes
from chainrule.errors import InputError

TARGET_NAMES = ("y", "label", "labels", "target", "targets", "class", "classes")
PARTS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "test": "test"}


def read_parquet(path: Path) -> pl.DataFrame:
    """A Parquet file as a frame."""
    try:
        return pl.read_parquet(io.BytesIO(read_bytes(path)) if path.name.lower().endswith(".gz") else path)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path.name} cannot be read as Parquet: {error}; write the file again") from None


def read_json_lines(path: Path) -> pl.DataFrame:
    """A file of one JSON object a line as a frame; a value of several types in one column becomes text."""
    content = read_bytes(path)
    try:
        return pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return from_rows(list(_objects(content, path.name)))


def _objects(content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{name}, line {number}: no valid JSON ({error}); expected one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f'{name}, line {number}: expected a JSON object like {{"age": 3}}, got {line[:40]!r}')
        yield row


def json_lines_columns(path: Path) -> list[str]:
    """The names with single values (numbers, words) in a JSON lines file's first lines; none where it is no table."""
    names: dict[str, bool] = {}
    for line in read_bytes(path, 1 << 16).splitlines()[:20]:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line may be cut
        if not isinstance(row, dict):
            return []
        for name, value in row.items():
            single = isinstance(value, int | float | None) or (isinstance(value, str) and len(value) <= 100)
            names[name] = names.get(name, True) and single
    return [name for name, single in names.items() if single]


def from_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame from one mapping per row; absent values are missing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([column(name, [row.get(name) for row in rows]) for name in names])


def column(name: str, values: Any) -> pl.Series:
    """One column from values of any library; a mixture of types becomes text."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    if type(values).__module__.startswith("pandas"):
        return _pandas_column(name, values)
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufbM":
        wide = {"f": np.float64} if values.dtype == np.float16 else {}
        return pl.Series(
            name, np.ascontiguousarray(values.astype(wide.get(values.dtype.kind, values.dtype), copy=False))
        )
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if all(isinstance(v, bool | None) for v in values) or not any(isinstance(v, str | bool) for v in values):
        try:
            return pl.Series(name, values, strict=False)
        except (TypeError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, [_text_or_none(v) for v in values], dtype=pl.String)


def _pandas_column(name: str, values: Any) -> pl.Series:
    dtype = str(values.dtype).lower()
    if values.dtype.kind in "iuf" or dtype in ("bool", "boolean"):
        if not values.isna().any():
            return column(name, values.to_numpy(dtype=bool if values.dtype.kind == "b" else None))
        if dtype != "boolean":
            return pl.Series(name, values.to_numpy(dtype=np.float64, na_value=np.nan)).fill_nan(None)
    if dtype.startswith("datetime64"):
        naive = values.dt.tz_localize(None) if "," in dtype else values
        return pl.Series(name, naive.to_numpy(dtype="datetime64[us]"))
    missing = values.isna().to_numpy()
    return column(name, [None if gone else v for v, gone in zip(values.astype(object), missing, strict=True)])


def _text_or_none(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    return str(value)


def to_frame(value: Any) -> pl.DataFrame:
    """A frame from a Polars or pandas frame, a dict of columns, rows as dicts, or a 2-D array (columns x1, x2, ...).

    Raises:
        InputError: columns of unequal length, or something that is no table.
    """
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.DataFrame):
        return value
    if type(value).__module__.startswith("pandas") and hasattr(value, "columns"):
        names = [str(name) for name in value.columns]
        return _checked([column(name, value.iloc[:, i]) for i, name in enumerate(names)])
    if isinstance(value, Mapping):
        return _checked([column(str(name), values) for name, values in value.items()])
    if isinstance(value, Sequence) and value and all(isinstance(row, Mapping) for row in value):
        return from_rows(value)
    try:
        array = as_array(value)
    except ValueError:
        raise InputError(f"expected a table with rows and columns, got {type(value).__name__} of uneven rows") from None
    if array.ndim != 2:
        raise InputError(f"expected a table with rows and columns, got {type(value).__name__} of shape {array.shape}")
    return pl.DataFrame([column(f"x{i + 1}", array[:, i]) for i in range(array.shape[1])])


def is_pandas(value: Any) -> bool:
    """Whether this is a frame or a series of pandas."""
    return type(value).__module__.startswith("pandas") and hasattr(value, "iloc")


def timed_frame(value: Any) -> pl.DataFrame:
    """As ``to_frame``, with the moments of a pandas index as a column, zones kept; numbers in a row are one column."""
    if not is_pandas(value):
        return to_frame(as_array(value)[:, None] if _are_numbers_in_a_row(value) else value)
    frame = value if hasattr(value, "columns") else value.to_frame("value" if value.name is None else value.name)
    levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
    if any(str(level.dtype).startswith(("datetime64", "period")) for level in levels):
        names = ["time" if name is None else name for name in frame.index.names]
        frame = frame.reset_index(names=names)
    columns = []
    for place, name in enumerate(frame.columns):
        values, dtype = frame.iloc[:, place], str(frame.dtypes.iloc[place])
        if dtype.startswith("period"):
            values = values.dt.to_timestamp()
        utc = dtype.startswith("datetime64") and "," in dtype
        found = column(str(name), values.dt.tz_convert("UTC") if utc else values)
        columns.append(found.dt.replace_time_zone("UTC") if utc else found)
    return _checked(columns)


def _are_numbers_in_a_row(value: Any) -> bool:
    if isinstance(value, pl.DataFrame | pl.LazyFrame | Mapping | str):
        return False
    try:
        array = as_array(value)
    except ValueError:  # uneven rows
        return False
    return array.ndim == 1 and array.dtype.kind in "iuf"


def _checked(columns: list[pl.Series]) -> pl.DataFrame:
    lengths = {s.name: len(s) for s in columns}
    if len(set(lengths.values())) > 1:
        raise InputError(f"columns of one table must be equally long, got {lengths}")
    if len(lengths) < len(columns):
        names = [s.name for s in columns]
        double = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"the frame has several columns of the same name: {', '.join(double)}; rename them")
    return pl.DataFrame(columns)


def as_array(value: Any) -> NDArray[Any]:
    """A NumPy array of anything that has rows; torch tensors too."""
    return np.asarray(value.detach().cpu()) if hasattr(value, "detach") else np.asarray(value)


def is_pair(value: Any) -> bool:
    """Whether this is (X, y) with X a table and y one value per row."""
    if not (isinstance(value, tuple) and len(value) == 2):
        return False
    try:
        x, y = value[0], as_array(value[1])
        shape = x.shape if hasattr(x, "shape") else as_array(x).shape
    except (ValueError, TypeError):
        return False
    return len(shape) == 2 and y.shape in {(shape[0],), (shape[0], 1)}


def from_pair(x: Any, y: Any, names: Sequence[str] = ()) -> tuple[pl.DataFrame, str]:
    """The frame of (X, y) and the target's name: that of y where it has one, otherwise "y"."""
    frame = to_frame(x)
    if names:
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    name = str(getattr(y, "name", None) or "y")
    while name in frame.columns:
        name += "_target"
    values = y if getattr(y, "ndim", 1) == 1 else as_array(y).reshape(-1)
    return frame.with_columns(column(name, values)), name


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in an .npz file, from their headers only."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        version = np.lib.format.read_magic(file)
                        first = version == (1, 0)
                        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                        shapes[name.removesuffix(".npy")] = header(file)[0]
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{path.name} is no readable .npz file: {error}") from None
    return shapes


def pairs_of_arrays(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, str]]:
    """Which arrays make (X, y) of each part ("all", or "train", "valid", "test"); empty where they make no tables.

    y is "" where X is all that there is of a part.
    """
    parts: dict[str, list[str]] = {}
    for name in shapes:
        words = name.lower().replace("-", "_").split("_")
        parts.setdefault(next((PARTS[w] for w in words if w in PARTS), "all"), []).append(name)
    found = {}
    for part, names in parts.items():
        pair = _pair(names, shapes)
        if pair:
            found[part] = pair
    return found if "train" in found or set(found) == {"all"} else {}


def _pair(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str] | None:
    def target_like(name: str) -> bool:
        return bool(set(name.lower().replace("-", "_").split("_")) & set(TARGET_NAMES))

    if len(names) == 1 and len(shapes[names[0]]) == 2:
        return names[0], ""
    tables = [n for n in names if len(shapes[n]) == 2 and not target_like(n)]
    if len(tables) != 1:
        return None
    rows = shapes[tables[0]][0]
    columns = [n for n in names if shapes[n] in {(rows,), (rows, 1)}]
    columns = [n for n in columns if target_like(n)] or columns
    return (tables[0], columns[0]) if len(columns) == 1 else None


def read_arrays(arrays: Mapping[str, Any]) -> tuple[dict[str, pl.DataFrame], str]:
    """The frames of each part, and the target's name ("" without one). Raises InputError where no part has a 2-D X."""
    pairs = pairs_of_arrays({name: as_array(value).shape for name, value in arrays.items()})
    if not pairs:
        raise InputError("expected one 2-D array (the columns) and one 1-D array (the target), such as x and y")
    frames, target = {}, ""
    for part, (x, y) in pairs.items():
        width = as_array(arrays[x]).shape[1]
        names = [str(n) for n in as_array(arrays.get("feature_names", ()))]
        if y:
            frames[part], target = from_pair(arrays[x], arrays[y], names if len(names) == width else ())
        else:
            frames[part] = to_frame(arrays[x])
    return frames, target


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file; nothing in it is executed. Raises InputError for pickled objects."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} cannot be read: {error}; save plain number or text arrays") from None


def without_missing_words(series: pl.Series) -> pl.Series:
    """A text column without spaces at the ends, with the usual words for "missing" as null."""
    stripped = series.cast(pl.String).str.strip_chars()
    return stripped.set(stripped.is_in(list(MISSING)), None)
