"""Reading, typing, learning and encoding tables."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from chainrule.data import table
from chainrule.data.config import DataConfig
from chainrule.data.delimited import sniff
from chainrule.data.schema import ClassTarget, NumberTarget, class_names, infer_target
from chainrule.data.sources import Source
from chainrule.errors import InputError


def source(path: Path) -> Source:
    return Source(name=path.name.split(".")[0], original=str(path), path=path)


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path_or_value: Any, **options: Any) -> table.TableRecords:
    path = path_or_value if isinstance(path_or_value, Path) else None
    given = source(path) if path else Source(name="memory", original="", value=path_or_value)
    return table.read(given, DataConfig(**options))["all"]


def learn(path_or_value: Any, **options: Any) -> tuple[table.TableRecords, table.TableSchema]:
    records = read(path_or_value, **options)
    return records, table.learn_schema(records, DataConfig(**options))


def people(rows: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": [None if i % 10 == 3 else float(v) for i, v in enumerate(rng.lognormal(10, 1, rows))],
            "city": rng.choice(["Bern", "Genf", "Basel"], rows, p=[0.6, 0.3, 0.1]),
            "member": rng.random(rows) < 0.5,
            "joined": pl.Series(rng.integers(0, 1000, rows)).cast(pl.Date),
            "label": rng.choice(["no", "yes"], rows, p=[0.7, 0.3]),
        }
    )


# what is a table


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "a,b\n1,2\n3,4\n", "CSV, ',' between 2 columns, with a header"),
        ("a.csv", "1,2\n3,4\n", "CSV, ',' between 2 columns, no header"),
        ("a.csv", "a;b;c\n1,5;2,5;x\n3,1;4,2;y\n", "CSV, ';' between 3 columns, with a header"),
        ("a.csv", "1,5;2,5;x\n3,1;4,2;y\n", "CSV, ';' between 3 columns, no header"),
        ("a.tsv", "a\tb\n1\tx y, z\n3\tw\n", "TSV, a tab between 2 columns, with a header"),
        ("a.txt", "a|b\n1|2\n3|4\n", "CSV, '|' between 2 columns, with a header"),
        ("a.data", "  0.1   2.5  3\n 10.1  22.5  4\n 1.1  2.5  5\n", "CSV, spaces between 3 columns, no header"),
        ("a.csv", 'id,text\n1,"a, b"\n2,"c\nd"\n', "CSV, ',' between 2 columns, with a header"),
        ("a.csv", "id,kind\n1,Action|Comedy\n2,War|Crime\n", "CSV, ',' between 2 columns, with a header"),
        ("a.csv", "p,x,s\ne,x,y\np,b,s\ne,x,s\np,x,s\n", "CSV, ',' between 3 columns, no header"),
        (
            "a.csv",
            "name,colour\nanna,red\nbeat,blue\ncora,red\ndina,blue\n",
            "CSV, ',' between 2 columns, with a header",
        ),
    ],
)
def test_layouts_are_found(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = write(tmp_path, text, name)
    assert table.recognises(source(path)) == words
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert table.recognises(source(packed)) == words


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "prose.txt",
            "It was the best of times, it was the worst of times.\nIt was the age of wisdom.\nIt was, too, so.\n",
        ),
        ("names.txt", "emma\nolivia\nava\n"),
        ("binary.csv", b"\x00\x01\x02\x03\n"),
        ("empty.csv", ""),
        ("pairs.jsonl", json.dumps({"chosen": "a" * 200, "rejected": "b" * 200}) + "\n"),
        ("photo.png", "a,b\n1,2\n"),
    ],
)
def test_other_files_are_no_tables(tmp_path: Path, name: str, text: str | bytes) -> None:
    assert table.recognises(source(write(tmp_path, text, name))) is None


def test_values_are_recognised() -> None:
    x, y = np.zeros((3, 2)), np.zeros(3)

    def words(value: Any) -> str | None:
        return table.recognises(Source(name="memory", original="", value=value))

    assert words(pl.DataFrame({"a": [1]})) == "a DataFrame with 1 columns"
    assert words(pd.DataFrame({"a": [1], "b": [2]})) == "a DataFrame with 2 columns"
    assert words((x, y)) == "arrays (X, y) with 2 columns"
    assert words({"a": [1, 2], "b": ["x", "y"]}) == "a dict of 2 columns"
    assert words({"x_train": x, "y_train": y, "x_test": x, "y_test": y}) == "a dict of arrays"
    assert words((np.zeros((3, 8, 8)), y)) is None
    assert words({"x_train": np.zeros((3, 8, 8)), "y_train": y}) is None


def test_all_formats_read_the_same(tmp_path: Path) -> None:
    frame = people()
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.with_columns(pl.col("joined").cast(pl.String)).write_ndjson(tmp_path / "a.jsonl")
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    expected = table.encode(*learn(frame))
    pandas = pd.DataFrame({name: frame[name].to_list() for name in frame.columns})
    pandas["joined"] = pd.to_datetime(pandas["joined"])
    paths = [tmp_path / n for n in ("a.csv", "a.csv.gz", "a.tsv", "a.parquet", "a.jsonl", "a.jsonl.gz")]
    for given in (*paths, pandas, {name: frame[name].to_list() for name in frame.columns}):
        samples = table.encode(*learn(given))
        for ours, theirs in zip(samples.inputs, expected.inputs, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)
        assert samples.targets is not None
        assert torch.equal(samples.targets, expected.targets)


def test_npz_with_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.random((30, 3)),
        "y_train": np.arange(30) % 3,
        "x_test": rng.random((9, 3)),
        "y_test": np.zeros(9),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    assert table.recognises(source(tmp_path / "a.npz")) is not None
    parts = table.read(source(tmp_path / "a.npz"), DataConfig())
    assert sorted(parts) == ["test", "train"]
    schema = table.learn_schema(parts["train"], DataConfig())
    assert schema.target == ClassTarget(name="y", classes=("0", "1", "2"), counts=(10, 10, 10))
    samples = table.encode(parts["test"], schema)
    np.testing.assert_allclose(samples.inputs[0].numpy(), arrays["x_test"].astype(np.float32))
    assert samples.targets is not None
    assert samples.targets.tolist() == [0] * 9


# reading


def test_unusual_files_are_read(tmp_path: Path) -> None:
    assert read(write(tmp_path, "﻿a,b\n1,x\n2,y\n"), target="b").names == ("a", "b")
    latin = read(write(tmp_path, "a,b\n1,Café\n2,Thé\n".encode("latin-1")), target="b")
    assert latin.frame["b"].to_list() == ["Café", "Thé"]
    assert any("Windows-1252" in note.text for note in latin.notes)
    late = "a,b\n" + "1,x\n" * 100_000
    assert read(write(tmp_path, late.encode() + "2,é\n".encode("latin-1")), target="b").frame["b"][-1] == "é"
    assert read(write(tmp_path, "a,b\n1,x\n2,y\n".encode("utf-16")), target="b").frame["b"].to_list() == ["x", "y"]
    quoted = read(write(tmp_path, 'a, "b"\n1, "x, ""y""\nz"\n2, "w"\n'), target="b")
    assert quoted.frame["b"].to_list() == ['x, "y"\nz', "w"]
    assert read(write(tmp_path, "a,b\r1,2\r3,4\r"), target="b").frame.rows() == [(1, 2), (3, 4)]
    r_names = read(write(tmp_path, '"x","y"\n"1",5.1,2\n"2",5.2,3\n"3",5.3,4\n'), target="y")
    assert r_names.names == ("row name", "x", "y")
    spaced = read(write(tmp_path, "1  2.5  a\n3\t4.5  b\n5 6.5 c\n", "a.data"))
    assert spaced.frame.rows() == [(1, 2.5, "a"), (3, 4.5, "b"), (5, 6.5, "c")]


def test_numbers_are_found_in_text(tmp_path: Path) -> None:
    comma = read(write(tmp_path, "a;b\n1.234,5;1\n-2,5;0\n3;1\n"), target="b")
    assert comma.frame["a"].to_list() == [1234.5, -2.5, 3.0]
    money = read(write(tmp_path, 'a,b,c\n"$1,234.50",5%,007\n"$12",10%,012\n$3,0.5%,123\n'), target="c")
    assert money.frame["a"].to_list() == [1234.5, 12.0, 3.0]
    assert money.frame["b"].to_list() == [5.0, 10.0, 0.5]
    assert money.frame["c"].to_list() == ["007", "012", "123"]


@pytest.mark.parametrize("missing", ["", "?", "NA", "N/A", "null", "NaN", "nan", " ?"])
def test_missing_words(tmp_path: Path, missing: str) -> None:
    rows = "".join(f"{i}.5,w{i % 2},{i % 2}\n" for i in range(30))
    records, schema = learn(write(tmp_path, f"a,b,y\n{missing},{missing},1\n{rows}"))
    samples = table.encode(records, schema)
    assert torch.isnan(samples.inputs[0][0, 0])
    assert samples.inputs[1][0, 0] == 1
    assert schema.numbers[0].missing
    assert schema.categories[0].missing
    assert "row 1" in " ".join(f.text for f in table.findings(records))


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        ("2024-01-31", "2024-03-01", False),
        ("1/31/24", "3/1/24", False),
        ("31/01/2024", "01/03/2024", False),
        ("31.01.2024", "01.03.2024", False),
        ("2024-01-31 06:30:00", "2024-03-01 18:00:00", True),
        ("2024-01-31T06:30:00", "2024-03-01T18:00:00", True),
        ("31-Jan-2024", "01-Mar-2024", False),
    ],
)
def test_dates_become_parts(tmp_path: Path, first: str, second: str, seconds: bool) -> None:
    path = write(tmp_path, f"when,y\n{first},1\n{second},2.5\n")
    records, schema = learn(path, target="y")
    numbers = table.encode(records, schema).inputs[0]
    columns = {n.name: (numbers[:, i].double() + n.offset).tolist() for i, n in enumerate(schema.numbers)}
    assert columns["when: month"] == [1, 3]
    assert columns["when: weekday"] == [3, 5]
    assert columns["when: day"][0] == pytest.approx(19753 + seconds * 6.5 / 24)
    assert columns.get("when: hour") == ([6.5, 18.0] if seconds else None)
    again = table.encode(table.read_inputs([path], schema), schema).inputs[0]
    assert torch.equal(again, numbers)
    one = table.encode(table.read_inputs([{"when": second}], schema), schema).inputs[0]
    assert torch.equal(one, numbers[1:])


def test_header_is_the_row_that_holds_the_target(tmp_path: Path) -> None:
    path = write(tmp_path, "country,2019,2020\nCH,1,2\nDE,3,4\n")
    assert read(path, target="2020").names == ("country", "2019", "2020")


def test_target_choice(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,Class\n1,2,x\n3,4,y\n")
    assert read(path).target == "Class"
    assert read(path, target="0").target == "a"
    assert read(path, target="-2").target == "b"
    headless = read(write(tmp_path, "1,2,x\n3,4,y\n"))
    assert headless.target == "column 3"
    assert any("last column" in note.text for note in headless.notes)


def test_row_names_count_from_the_file(tmp_path: Path) -> None:
    records = read(write(tmp_path, "a,y\n1,1\n\n2,\n3,0\n4,1\n"))
    assert list(records.ids) == ["row 1", "row 4", "row 5"]
    assert records.select(np.array([2, 0])).ids[0] == "row 5"
    texts = [note.text for note in records.notes]
    assert "1 row is empty and left out: row 2" in texts
    assert "1 row is without a value of the target 'y' and left out: row 3" in texts


def test_groups_times_and_drop(tmp_path: Path) -> None:
    lines = "".join(f"p{i % 7},2024-01-{i % 28 + 1:02d},{i % 5}.5,{i * 3 % 11},{i % 2}\n" for i in range(60))
    path = write(tmp_path, "patient,day,a,b,y\n" + lines)
    records, schema = learn(path, group="patient", time="day", drop=("b",))
    assert records.groups is not None
    assert records.groups[8] == "p1"
    assert records.times is not None
    assert records.times[1] - records.times[0] == 86_400_000_000
    assert schema.sources() == ["day", "a"]
    assert "day: day" not in [n.name for n in schema.numbers]
    reasons = {column.name: column.reason for column in schema.left_out}
    assert "groups" in reasons["patient"]
    assert "data.drop" in reasons["b"]
    assert any("--group 'patient'" in f.text for f in table.findings(read(path)))


def test_fingerprint_and_hashes(tmp_path: Path) -> None:
    frame = people()
    records = read(frame)
    assert records.fingerprint() == read(frame.clone()).fingerprint()
    assert records.fingerprint() != records.select(np.arange(200)[::-1]).fingerprint()
    changed = frame.with_columns(pl.when(pl.int_range(200) == 7).then(None).otherwise("age").alias("age"))
    assert read(changed).fingerprint() != records.fingerprint()
    twice = read(pl.concat([frame, frame[:3].with_columns(label=pl.lit("maybe"))]))
    hashes = twice.hashes()
    assert hashes[200:].tolist() == hashes[:3].tolist()
    assert len(np.unique(hashes)) == 200
    reordered = read(frame.select(reversed(frame.columns)).with_columns(pl.col("age").cast(pl.Float64)))
    assert np.array_equal(reordered.hashes(), records.hashes())
    numbered = read(pl.concat([frame, frame[:3]]).with_row_index("number"))
    assert len(np.unique(numbered.hashes())) == 200, "row numbers hide duplicates"
    assert np.array_equal(twice.select(np.array([5, 1])).hashes(), hashes[[5, 1]])
    assert records.near_hashes() is None


# learning


def test_kinds_of_columns() -> None:
    rng = np.random.default_rng(0)
    n = 100
    frame = pl.DataFrame(
        {
            "number": np.arange(n) + 5,
            "customerId": rng.permutation(n),
            "paid": rng.permutation(n),
            "code": [f"c{i}" for i in range(n)],
            "note": [f"these are some words about the thing {i}" for i in range(n)],
            "same": ["x"] * n,
            "empty": [None] * n,
            "list": [[1, 2]] * n,
            "size": rng.normal(size=n),
            "shape": rng.choice(["round", "square"], n),
            "flag": rng.choice(["true", "False"], n),
            "y": rng.normal(size=n),
        }
    )
    schema = learn(frame)[1]
    reasons = {column.name: column.reason for column in schema.left_out}
    assert list(reasons) == ["number", "customerId", "code", "note", "same", "empty", "list"]
    assert "row numbers" in reasons["number"]
    assert "free text" in reasons["note"]
    assert [(c.name, c.part) for c in schema.numbers] == [("paid", ""), ("size", ""), ("flag", "truth")]
    assert [c.name for c in schema.categories] == ["shape"]


def test_row_numbers_are_used_where_nothing_else_is_left() -> None:
    schema = learn({"x": np.arange(30), "y": np.arange(30) * 1.5})[1]
    assert [n.name for n in schema.numbers] == ["x"]
    assert schema.left_out == ()


def test_lines_above_the_table_are_passed_over(tmp_path: Path) -> None:
    rows = "".join(f"{i * 0.5},{i % 7},{i % 2}\n" for i in range(20))
    for above in ("Report of May\n\n", "# made by me\n# twice\n", "\n\n"):
        records = read(write(tmp_path, f"{above}a,b,y\n{rows}"))
        assert records.names == ("a", "b", "y")
        assert records.frame.rows()[3] == (1.5, 3, 1)
    assert read(write(tmp_path, "sep=;\n" + f"a,b,y\n{rows}".replace(",", ";"))).names == ("a", "b", "y")


def test_statistics_come_from_the_train_rows_only() -> None:
    frame = people()
    records = read(frame)
    train = np.random.default_rng(1).permutation(200)[:120]
    schema = table.learn_schema(records.select(train), DataConfig())
    income = frame["income"].to_numpy()[train]
    income = income[~np.isnan(income)]
    column = next(c for c in schema.numbers if c.name == "income")
    assert column.mean == pytest.approx(income.mean())
    assert column.std == pytest.approx(income.std())
    assert column.median == pytest.approx(np.median(income))
    np.testing.assert_allclose(column.edges, np.quantile(income, np.linspace(0, 1, 49), method="higher"))
    alone = learn(frame[np.sort(train)])[1]
    assert alone == schema


def test_a_column_of_zeros_keeps_bins_for_the_rest() -> None:
    gains = np.r_[np.zeros(9000), np.random.default_rng(0).exponential(1000, size=1000)]
    schema = learn(pl.DataFrame({"gain": gains, "y": np.arange(10_000) % 2}))[1]
    edges = np.array(schema.numbers[0].edges)
    assert len(np.unique(np.quantile(gains, np.linspace(0, 1, 49)))) < 8  # what plain quantiles would leave
    assert len(edges) > 40
    assert (np.diff(edges) > 0).all()


def test_rare_categories_share_the_row_of_unseen_ones() -> None:
    words = ["a"] * 300 + ["b"] * 100 + ["c"] * 2 + ["d"]
    frame = pl.DataFrame({"w": words, "y": np.arange(403) % 2})
    records, schema = learn(frame)
    assert schema.categories[0].categories == ("a", "b", "c")
    codes = table.encode(records, schema).inputs[1][:, 0]
    assert [codes[0], codes[300], codes[400], codes[402]] == [2, 3, 4, 0]
    assert any("'d'" in f.text for f in table.mismatches(records, schema))


def test_digits_survive_float32() -> None:
    values = 1_700_000_000 + np.arange(50) * 0.25
    records, schema = learn(
        pl.DataFrame({"stamp": values[np.random.default_rng(0).permutation(50)], "y": np.arange(50) * 0.5})
    )
    assert schema.numbers[0].offset != 0
    assert len(torch.unique(table.encode(records, schema).inputs[0])) == 50
    vector = table.front(schema, "vector")(*table.encode(records, schema).inputs)[0]
    assert float(vector.std()) == pytest.approx(1, abs=0.05)


def test_schema_survives_json() -> None:
    schema = learn(people())[1]
    data = json.loads(json.dumps(asdict(schema)))
    assert table.load_schema(data) == schema
    data["numbers"][0]["medain"] = 1.0
    with pytest.raises(InputError, match=r"numbers\[0\].*'medain'.*'median'"):
        table.load_schema(data)
    with pytest.raises(InputError, match="format 9"):
        table.load_schema({**asdict(schema), "format": 9})
    broken = asdict(schema)
    del broken["rows"]
    with pytest.raises(InputError, match="rows"):
        table.load_schema(broken)


# targets


def counted(*counts: int) -> np.ndarray[Any, Any]:
    return np.repeat(np.arange(len(counts), dtype=np.float64), counts)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.array(["b", "a", "b", ""]), ("a", "b")),
        (np.array(["10", "9", "9"]), ("9", "10")),
        (np.array([0.0, 1, 1, np.nan]), ("0", "1")),
        (np.array([1.5, 2.5, 2.5]), ("1.5", "2.5")),
        (np.array([True, False, False]), ("False", "True")),
        (counted(50, 50, 50), ("0", "1", "2")),
        (counted(*[178] * 10), tuple("0123456789")),
        (counted(1000, 5, 800, 30, 7, 90, 4), tuple("0123456")),
        (np.array([" x", "y ", "x"]), ("x", "y")),
    ],
)
def test_class_targets(values: np.ndarray[Any, Any], classes: tuple[str, ...]) -> None:
    target, reason = infer_target(values, "y")
    assert isinstance(target, ClassTarget)
    assert target.classes == classes
    assert sum(target.counts) == np.count_nonzero(class_names(values) != "")
    assert reason.startswith(f"{len(classes)} classes")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([1.5, 2.0, 3.0]), "fractions"),
        (np.repeat(np.arange(30.0), 3), "30 distinct whole numbers"),
        (counted(10, 53, 681, 638, 199, 18), "rating"),
        (counted(20, 9, 5, 1, 1), "single row"),
    ],
)
def test_number_targets(values: np.ndarray[Any, Any], reason: str) -> None:
    target, why = infer_target(values, "y")
    assert target == NumberTarget(name="y", mean=float(values.mean()), std=float(values.std()))
    assert reason in why
    asked, _ = infer_target(values, "y", "classify")
    assert isinstance(asked, ClassTarget)


def test_asking_for_regression_makes_numbers() -> None:
    assert infer_target(np.array([0.0, 1, 1]), "y", "regress")[0] == NumberTarget(
        name="y", mean=2 / 3, std=pytest.approx(0.4714, abs=1e-4)
    )


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (np.array([0.0, 1, 1]), "1"),
        (np.array([2.0, 2, 4]), "4"),
        (np.array(["benign", "malignant", "malignant"]), "malignant"),
        (np.array(["<=50K", ">50K", ">50K"]), ">50K"),
        (np.array(["M", "B", "B"]), "M"),
        (np.array([False, True, True]), "True"),
        (np.array(["a", "b", "c"]), ""),
    ],
)
def test_positive_class(values: np.ndarray[Any, Any], positive: str) -> None:
    target, _ = infer_target(values, "y")
    assert isinstance(target, ClassTarget)
    assert target.positive == positive


# fronts


def test_vector_is_standardised_imputed_and_one_hot() -> None:
    frame = people()
    records, schema = learn(frame)
    samples = table.encode(records, schema)
    front = table.front(schema, "vector")
    (vector,) = front(*samples.inputs)
    names = table.input_names(schema, "vector")
    assert vector.shape == (200, table.sizes(schema, "vector")["in_features"]) == (200, len(names))
    columns = dict(zip(names, vector.T, strict=True))
    age = frame["age"].to_numpy().astype(float)
    np.testing.assert_allclose(columns["age"], (age - age.mean()) / age.std(), atol=1e-5)
    income = frame["income"].to_numpy()
    known = income[~np.isnan(income)]
    filled = np.where(np.isnan(income), np.median(known), income)
    np.testing.assert_allclose(columns["income"], (filled - known.mean()) / known.std(), rtol=1e-4, atol=1e-5)
    assert torch.equal(columns["income is missing"], torch.from_numpy(np.isnan(income)).float())
    for city in ("Bern", "Genf", "Basel"):
        assert torch.equal(columns[f"city = {city}"], torch.tensor((frame["city"] == city).to_list()).float())
    assert torch.isfinite(front(torch.full((2, samples.inputs[0].shape[1]), torch.nan), torch.zeros(2, 1))[0]).all()


def test_many_categories_share_one_place() -> None:
    words = [f"w{i % 70:02d}" for i in range(1400)] + [None] * 2
    records, schema = learn(pl.DataFrame({"w": words, "y": np.arange(1402) % 2}))
    (vector,) = table.front(schema, "vector")(*table.encode(records, schema).inputs)
    names = table.input_names(schema, "vector")
    assert names[-2:] == ["w is missing", "w = another"]
    assert torch.equal(vector.sum(1), torch.ones(1402))
    assert vector[:, names.index("w = another")].sum() == 6 * 20
    unseen = table.encode(table.read_inputs([{"w": "new"}], schema), schema)
    assert table.front(schema, "vector")(*unseen.inputs)[0][0, names.index("w = another")] == 1


def piecewise_linear(x: float, edges: tuple[float, ...]) -> list[float]:
    """Equation 1 of arXiv:2203.05556 inside the range of the edges."""
    return [0.0 if x < a else 1.0 if x >= b else (x - a) / (b - a) for a, b in pairwise(edges)]


def test_columns_are_scaled_and_encoded() -> None:
    records, schema = learn(people())
    samples = table.encode(records, schema)
    front = table.front(schema, "columns").eval()
    numbers, encoded, codes = front(*samples.inputs)
    known = table.sizes(schema, "columns")
    assert numbers.shape == (200, known["num_numbers"])
    assert encoded.shape == (200, known["num_numbers"], known["num_bins"])
    assert codes.dtype == torch.int64
    assert codes.max(0).values.lt(torch.tensor(known["cardinalities"])).all()
    assert known["cardinalities"] == (5, 3)
    for j, column in enumerate(schema.numbers):
        for row in range(20):
            x = float(samples.inputs[0][row, j])
            if np.isnan(x):
                assert not encoded[row, j].any()
                assert numbers[row, j] == 0
                assert codes[row, 1] == 2
            else:
                expected = piecewise_linear(x, column.edges)
                np.testing.assert_allclose(encoded[row, j, : len(expected)], expected, atol=2e-4)  # float32 of days
                z = (x - column.median) / (column.upper_quartile - column.lower_quartile)
                assert float(numbers[row, j]) == pytest.approx(z / (1 + (z / 3) ** 2) ** 0.5, abs=1e-3)
    extreme = front(torch.full_like(samples.inputs[0][:1], 3e38), samples.inputs[1][:1])
    assert (extreme[0] > 2.99).all()
    assert extreme[1].max() == 1


def test_training_hides_some_codes() -> None:
    records, schema = learn(pl.DataFrame({"w": ["a", "b"] * 5000, "y": np.arange(10000) % 2}))
    batch = table.encode(records, schema).batch(torch.arange(10000))
    augmented = [
        table.augment(batch, torch.Generator().manual_seed(seed), table.TableAugmentConfig()) for seed in (0, 0, 1)
    ]
    hidden = [(one.inputs[1] == 0) for one in augmented]
    assert 20 <= hidden[0].sum() <= 90  # 50 expected
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden[2])
    assert (batch.inputs[1] > 0).all()  # the samples themselves stay as they are
    with pytest.raises(InputError, match=r"augment\.unseen"):
        table.TableAugmentConfig(unseen=1.0)


@pytest.mark.parametrize("takes", ["vector", "columns"])
def test_fronts_without_numbers_or_categories_and_state(takes: str) -> None:
    frame = people()
    for columns in (["city", "label"], ["age", "label"]):
        records, schema = learn(frame.select(columns))
        front = table.front(schema, takes)
        outputs = front(*table.encode(records, schema).inputs)
        assert all(x.shape[0] == 200 for x in outputs)
        assert set(table.sizes(schema, takes)) <= {"in_features", "shape", "num_numbers", "num_bins", "cardinalities"}
        other = table.front(schema, takes)
        other.load_state_dict(front.state_dict(), strict=True)
    numbers = torch.tensor([[30.0]], requires_grad=True)
    front(numbers, torch.zeros(1, 0, dtype=torch.int32))[0].sum().backward()
    assert numbers.grad is not None
    assert numbers.grad.item() != 0


# encoding and prediction


def test_columns_are_matched_by_name_and_inputs_of_all_shapes_agree(tmp_path: Path) -> None:
    frame = people()
    records, schema = learn(frame)
    expected = table.encode(records, schema)
    shuffled = frame.select(["city", "joined", "income", "member", "age"])
    shuffled.write_csv(tmp_path / "new.csv")
    pandas = pd.DataFrame({name: shuffled[name].to_list() for name in shuffled.columns})
    for inputs in ([tmp_path / "new.csv"], shuffled, [shuffled], pandas, shuffled.rows(named=True), shuffled.to_dict()):
        samples = table.encode(table.read_inputs(inputs, schema), schema)
        assert samples.targets is None
        for ours, theirs in zip(samples.inputs, expected.inputs, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)
    first = table.encode(table.read_inputs(frame.row(0, named=True), schema), schema)
    assert torch.equal(first.inputs[1], expected.inputs[1][:1])
    with_extra = table.read_inputs(shuffled.with_columns(shoe=pl.lit(42)), schema)
    assert any("shoe" in f.text for f in table.mismatches(with_extra, schema))
    both = table.read_inputs([tmp_path / "new.csv", str(tmp_path / "new.csv")], schema)
    assert both.ids[200] == "new.csv row 1"
    labelled = table.read_inputs(frame, schema)
    assert torch.equal(table.encode(labelled, schema).targets, expected.targets)


def test_headless_files_and_arrays_match_by_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).round(3)
    rows = "".join(f"{'ab'[i % 2]},{a},{b},{c}\n" for i, (a, b, c) in enumerate(x))
    records, schema = learn(write(tmp_path, rows), target="0")
    expected = table.encode(records, schema).inputs[0]
    unlabelled = write(tmp_path, "".join(f"{a},{b},{c}\n" for a, b, c in x), "new.csv")
    for inputs in ([unlabelled], x, x.tolist(), [tmp_path / "data.csv"], torch.from_numpy(x)):
        torch.testing.assert_close(table.encode(table.read_inputs(inputs, schema), schema).inputs[0], expected)
    pair_records, pair_schema = learn((x, np.arange(40) % 2))
    assert [n.name for n in pair_schema.numbers] == ["x1", "x2", "x3"]
    torch.testing.assert_close(table.encode(pair_records, pair_schema).inputs[0], expected)


def test_small_prediction_files_keep_the_schema_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"zip": ["02139", "10001"] * 30, "n": np.arange(60) * 0.5, "y": np.arange(60) % 2})
    schema = learn(frame)[1]
    records = table.read_inputs([write(tmp_path, "zip,n\n10001,?\n")], schema)
    numbers, codes = table.encode(records, schema).inputs
    assert torch.isnan(numbers).all()
    assert codes.item() == 2 + schema.categories[0].categories.index("10001")


def test_labels_with_a_full_stop_are_matched_and_said() -> None:
    schema = learn(pl.DataFrame({"a": np.arange(40) * 1.5, "y": ["<=50K", ">50K"] * 20}))[1]
    records = read(pl.DataFrame({"a": [1.0, 2.0], "y": [" >50K.", "<=50K."]}))
    samples = table.encode(records, schema)
    assert samples.targets is not None
    assert samples.targets.tolist() == [1, 0]
    assert "the label '>50K.' was read as '>50K'" in [f.text for f in table.mismatches(records, schema)]


def test_show_and_augment() -> None:
    records, schema = learn(people())
    assert table.show(records, 3).values["income"] == ""
    assert set(table.show(records, 0).values) == set(records.names)
    batch = table.encode(records, schema).batch(torch.tensor([1, 2]))
    assert table.augment(batch, torch.Generator(), table.TableAugmentConfig(unseen=0)) is batch


def test_decimal_commas_in_two_columns_do_not_divide_them(tmp_path: Path) -> None:
    rows = "\n".join(f"{day:02}.03.2024 00:00;{day},5" for day in range(1, 29))
    (tmp_path / "t.csv").write_text(f"Zeit;Verbrauch\n{rows}\n")
    layout = sniff(tmp_path / "t.csv")
    assert layout is not None
    assert (layout.delimiter, layout.header, layout.names) == (";", True, ("Zeit", "Verbrauch"))
