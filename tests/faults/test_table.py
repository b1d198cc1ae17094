"""Bad tables: rows 10, 16, 17 and 19 of the fault list, each with the row or column it names."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from chainrule.data import table
from chainrule.data.config import DataConfig
from chainrule.data.schema import ClassTarget
from chainrule.data.sources import Source
from chainrule.errors import InputError


def read(given: Any, **options: Any) -> table.TableRecords:
    if isinstance(given, Path):
        return table.read(Source(name="data", original=str(given), path=given), DataConfig(**options))["all"]
    return table.read(Source(name="memory", original="", value=given), DataConfig(**options))["all"]


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def texts(records: table.TableRecords) -> str:
    return "\n".join(finding.text for finding in table.findings(records))


# row 10: NaN and infinity


def test_missing_and_infinite_cells_are_counted_and_located() -> None:
    values = np.arange(50) * 0.5
    values[[3, 7]] = np.nan
    values[[10, 20]] = np.inf, -1e300
    records = read({"a": values, "y": np.arange(50) % 2})
    found = texts(records)
    assert "'a' is missing in 2 rows (4.0%): row 4, row 8" in found
    assert "'a' is infinite in 2 rows, read as missing: row 11, row 21" in found
    schema = table.learn_schema(records, DataConfig())
    samples = table.encode(records, schema)
    for takes in ("vector", "columns"):
        assert all(torch.isfinite(x).all() for x in table.front(schema, takes)(*samples.inputs))


def test_numbers_beyond_float32_stay_finite(tmp_path: Path) -> None:
    rows = "".join(f"{'1e300' if i == 5 else i * 0.5},{i % 2}\n" for i in range(40))
    records = read(write(tmp_path, "a,y\n" + rows))
    schema = table.learn_schema(records.select(np.arange(6, 40)), DataConfig())
    (vector,) = table.front(schema, "vector")(*table.encode(records, schema).inputs)
    assert torch.isfinite(vector).all()


def test_heavy_tails_are_noted() -> None:
    values = np.r_[np.random.default_rng(0).normal(size=999), 1e6]
    assert "heavy tails" in texts(read({"a": values, "y": np.arange(1000) % 2}))


def test_rows_without_a_target_are_dropped_and_counted() -> None:
    records = read({"a": np.arange(5) * 0.5, "y": [1.0, None, 0.0, float("nan"), 1.0]})
    assert "2 rows are without a value of the target 'y' and left out: row 2, row 4" in texts(records)
    assert list(records.ids) == ["row 1", "row 3", "row 5"]
    with pytest.raises(InputError, match="no row has a value of the target 'y'"):
        read({"a": [1, 2], "y": [None, None]})


# row 16: classes


def test_one_class_only_is_refused_with_its_count() -> None:
    records = read({"a": np.arange(9) * 0.5, "y": ["x"] * 9})
    with pytest.raises(InputError, match="all 9 rows to learn from have the target 'y' = 'x'"):
        table.learn_schema(records, DataConfig())


def test_a_class_with_one_row_is_kept_and_said() -> None:
    records = read({"a": np.arange(9) * 0.5, "y": ["x"] * 4 + ["z"] * 4 + ["lonely"]})
    schema = table.learn_schema(records, DataConfig(task="classify"))
    assert isinstance(schema.target, ClassTarget)
    assert schema.target.counts == (1, 4, 4)
    assert "single row: lonely" in schema.notes[0]


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (["a", "b", "c"] * 10, "regress", "--task regress needs numbers, but the target 'y' holds 'a', 'b', 'c'"),
        (np.arange(30) * 1.5, "classify", "30 distinct numbers in 30 rows.*--task regress"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(labels: Any, task: str, message: str) -> None:
    records = read({"a": np.arange(30) * 0.5, "y": labels}, task=task)
    with pytest.raises(InputError, match=message):
        table.learn_schema(records, DataConfig(task=task))


# row 17: other data than learned from


@pytest.fixture(scope="module")
def schema() -> table.TableSchema:
    frame = {
        "size": np.arange(60) * 0.5,
        "colour": ["red", "blue"] * 30,
        "shape": ["o", "x", "+"] * 20,
        "y": ["no", "yes"] * 30,
    }
    return table.learn_schema(read(frame), DataConfig())


def test_missing_columns_are_named(schema: table.TableSchema) -> None:
    with pytest.raises(InputError, match=r"missing column: 'colour'; did you mean 'color'\?"):
        table.encode(table.read_inputs({"size": [1.0], "color": ["red"], "shape": ["o"]}, schema), schema)
    with pytest.raises(InputError, match="missing columns: 'colour', 'shape'"):
        table.encode(table.read_inputs({"size": [1.0]}, schema), schema)


def test_unknown_labels_are_named_beside_the_known_ones(schema: table.TableSchema) -> None:
    records = read({"size": [1.0, 2], "colour": ["red", "red"], "shape": ["o", "o"], "y": ["yes", "maybe"]})
    with pytest.raises(InputError, match="'maybe'; known classes: 'no', 'yes'"):
        table.encode(records, schema)


def test_unseen_words_and_words_in_number_columns(schema: table.TableSchema) -> None:
    records = table.read_inputs({"size": ["big", "2"], "colour": ["green", None], "shape": ["o", "o"]}, schema)
    numbers, codes = table.encode(records, schema).inputs
    assert torch.isnan(numbers[0, 0])
    assert numbers[1, 0] == 2
    assert codes[:, 0].tolist() == [0, 1]
    found = "\n".join(f.text for f in table.mismatches(records, schema))
    assert "column 'colour': 1 cells hold rare or unseen words: 'green' in row 1" in found
    assert "column 'size': 1 cells have no number and were read as missing: 'big' in row 1" in found


def test_wrong_widths_and_empty_inputs(schema: table.TableSchema) -> None:
    with pytest.raises(InputError, match="2 columns without names; expected 3: size, colour, shape"):
        table.read_inputs(np.zeros((4, 2)), schema)
    with pytest.raises(InputError, match="no inputs"):
        table.read_inputs([], schema)
    with pytest.raises(InputError, match="neither a file or folder here"):
        table.read_inputs(["nowhere.csv"], schema)
    with pytest.raises(InputError, match="expected a table"):
        table.read_inputs(np.zeros(3), schema)


# row 19: files


@pytest.mark.parametrize("quote", ["", '"'])
def test_ragged_rows_are_named(tmp_path: Path, quote: str) -> None:
    good = "".join(f"{i},{quote}w{i % 3}{quote},{i % 2}\n" for i in range(40))
    short = write(tmp_path, f"a,b,y\n{good}1,x\n{good}7\n")
    with pytest.raises(InputError, match="2 ragged rows: row 41 has 2, row 82 has 1, where 3 fields"):
        read(short, target="y")
    long = write(tmp_path, f"a,b,y\n{good}1,x,0,5,6\n{good}")
    with pytest.raises(InputError, match="1 ragged row: row 41 has 5, where 3 fields"):
        read(long, target="y")
    blank = write(tmp_path, f"a,b,y\n{good}\n{good}1,x,\n")
    assert len(read(blank, target="y")) == 80, "an empty line and an empty last cell are not ragged"


def test_a_ragged_row_far_below_is_named(tmp_path: Path) -> None:
    rows = "1.5,2.5,3.5,0\n" * 60_000
    path = write(tmp_path, f"a,b,c,y\n{rows}1.5,2.5,3.5\n{rows}")
    with pytest.raises(InputError, match="row 60001 has 3, where 4 fields"):
        read(path)


def test_an_open_quote_is_located(tmp_path: Path) -> None:
    rows = "".join(f"{i},text {i},{i % 2}\n" for i in range(9000))
    path = write(tmp_path, f'a,b,y\n1,w,1\n2,"never closed,0\n{rows}')
    with pytest.raises(InputError, match=r"row|quote"):
        read(path, target="y")


def test_duplicate_names_are_renamed_and_said(tmp_path: Path) -> None:
    records = read(write(tmp_path, "x,x,x (2),,y\n1,2,3,4,0\n5,6,7,8,1\n"))
    assert records.names == ("x", "x (3)", "x (2)", "column 4", "y")
    assert "the column name 'x' stands more than once; the column in place 2 is now 'x (3)'" in texts(records)


def test_mixed_types_are_located(tmp_path: Path) -> None:
    cells = [f"{i * 0.5}" for i in range(3000)]
    cells[1200], cells[2500] = "broken", "n.a."
    path = write(tmp_path, "a,y\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)))
    records = read(path)
    assert records.frame["a"].dtype == pl.Float64
    assert "'a' has numbers but also 2 other cells, read as missing: 'broken' in row 1201, 'n.a.' in row 2501" in texts(
        records
    )
    grades = read(write(tmp_path, "a,y\n" + "".join(f"{'absent' if i == 50 else i % 5},{i % 2}\n" for i in range(200))))
    assert grades.frame["a"].dtype == pl.String, "few distinct values: a word is one more of them"


def test_very_many_categories_are_capped_and_said() -> None:
    words = [f"w{i}" for i in range(20_000)] * 2 + [f"w{i}" for i in range(3000)] * 5
    records = read({"w": words, "v": np.arange(55_000) % 7, "y": np.arange(55_000) % 2})
    schema = table.learn_schema(records, DataConfig())
    assert len(schema.categories[0].categories) == 2000
    assert "20000 categories; at most the 2000 most frequent are kept" in texts(records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "Survive"}, r"no column 'Survive' for the target; did you mean 'Survived'\?"),
        ({"target": "survived"}, r"did you mean 'Survived'\?"),
        ({"target": "7"}, "has 3 columns, 0 to 2"),
        ({}, "which column .* --target COLUMN; there are: Age, Sex, Survived"),
        ({"target": "Survived", "group": "sexx"}, "data.group: .*'sexx'.*'Sex'"),
        ({"target": "Survived", "time": "Sex"}, "data.time: column 'Sex' holds text"),
        ({"target": "Survived", "drop": ("Agee",)}, "data.drop: .*'Agee'.*'Age'"),
        ({"target": "Survived", "drop": ("Survived",)}, "names the target"),
        ({"target": "Survived", "drop": ("Age", "Sex")}, "no column is left"),
    ],
)
def test_wrong_column_names_get_a_hint(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path, "Age,Sex,Survived\n22.5,m,0\n38.5,f,1\n26.5,f,1\n")
    with pytest.raises(InputError, match=message):
        table.learn_schema(read(path, **options), DataConfig(**options))


def test_broken_files_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,y\n" + b"1,2\n" * 50_000)
    with pytest.raises(InputError, match=r"data\.csv\.gz: the compressed file is damaged"):
        read(write(tmp_path, whole[: len(whole) // 2], "data.csv.gz"))
    with pytest.raises(InputError, match=r"data\.csv\.gz: the compressed file is damaged"):
        read(write(tmp_path, b"no gzip at all", "data.csv.gz"))
    with pytest.raises(InputError, match=r"data\.csv is empty"):
        read(write(tmp_path, ""))
    with pytest.raises(InputError, match="header but no rows"):
        read(write(tmp_path, "a,b,y\n"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(write(tmp_path, "no parquet", "data.parquet"))
    with pytest.raises(InputError, match="line 3: no valid JSON"):
        read(write(tmp_path, '{"a": 1, "y": 0}\n{"a": 2, "y": 1}\n{"a": 3,\n', "data.jsonl"))
    with pytest.raises(InputError, match=r"is no readable \.npz"):
        table.recognises(Source(name="a", original="", path=write(tmp_path, "x", "a.npz")))


def test_pickles_in_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), y=np.array([{}, {}], dtype=object))
    with pytest.raises(InputError, match="save plain number or text arrays"):
        read(tmp_path / "a.npz")


def test_unequal_columns_are_refused() -> None:
    with pytest.raises(InputError, match="equally long"):
        read({"a": [1, 2, 3], "y": [1, 2]})


def test_missing_groups_and_times_are_located() -> None:
    frame = {"g": ["a", None, "b"], "t": [1.0, 2.0, float("nan")], "a": [1.5, 2.5, 3.5], "y": [0, 1, 0]}
    with pytest.raises(InputError, match=r"data\.group: column 'g' is missing in 1 rows, first row 2"):
        read(frame, group="g")
    with pytest.raises(InputError, match=r"data\.time: column 't' is missing in 1 rows, first row 3"):
        read(frame, time="t")
