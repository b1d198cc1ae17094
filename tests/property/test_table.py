"""Whatever a table holds, reading and encoding it keep their promises."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data import table
from chainrule.data.config import DataConfig
from chainrule.data.delimited import _read_polars, _read_python, sniff
from chainrule.data.sources import Source
from chainrule.data.table.columns import number_column

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=8)
cells = words | st.sampled_from(["a, b", 'say "x"', "two\nlines", "x;y", "née"])
floats = st.floats(allow_nan=False, allow_infinity=False, width=32, min_value=-(2.0**60), max_value=2.0**60)


@given(
    rows=st.lists(st.tuples(cells, st.none() | floats, st.integers(-99, 99)), min_size=4, max_size=20),
    sep=st.sampled_from(",;\t|"),
)
@settings(max_examples=60, deadline=None)
def test_the_fast_and_the_slow_reader_agree(rows: list[tuple[str, float | None, int]], sep: str) -> None:
    frame = pl.DataFrame(rows, schema={"word": pl.String, "value": pl.Float64, "count": pl.Int64}, orient="row")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        frame.write_csv(path, separator=sep)
        layout = sniff(path, ("word",))
        assert layout is not None
        assert (layout.delimiter, layout.names) == (sep, ("word", "value", "count"))
        fast = _read_polars(path, layout, set())
        slow = _read_python(path, layout)
    assert fast is not None
    assert fast["count"].cast(pl.Int64).to_list() == slow["count"].cast(pl.Int64).to_list() == frame["count"].to_list()
    assert fast["value"].cast(pl.Float64).equals(slow["value"].cast(pl.Float64))
    assert fast["word"].cast(pl.String).str.strip_chars().equals(slow["word"].str.strip_chars())


@given(data=st.data(), rows=st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_any_table_is_encoded_finitely_and_row_by_row(data: st.DataObject, rows: int) -> None:
    def column(cell: st.SearchStrategy[object]) -> list[object]:
        return data.draw(st.lists(st.none() | cell, min_size=rows, max_size=rows))

    frame = pl.DataFrame(
        {
            "n": pl.Series(column(st.floats(width=64)), dtype=pl.Float64),
            "w": pl.Series(column(st.sampled_from(["a", "b", "c"])), dtype=pl.String),
            "d": pl.Series(column(st.datetimes()), dtype=pl.Datetime),
            "b": pl.Series(column(st.booleans()), dtype=pl.Boolean),
            "fine": np.arange(rows) % 3 * 1.5,
            "y": np.arange(rows) % 2,
        }
    )
    records = table.read(Source(name="t", original="", value=frame), DataConfig())["all"]
    schema = table.learn_schema(records, DataConfig())
    assert table.load_schema(json.loads(json.dumps(asdict(schema)))) == schema
    samples = table.encode(records, schema)
    chosen = np.asarray(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=rows)))
    part = table.encode(records.select(chosen), schema)
    whole = samples.batch(torch.from_numpy(chosen))
    for ours, theirs in zip(part.inputs, whole.inputs, strict=True):
        assert torch.equal(ours.nan_to_num(-1.5), theirs.nan_to_num(-1.5))
    for takes in ("vector", "columns"):
        outputs = table.front(schema, takes).eval()(*samples.inputs)
        assert all(torch.isfinite(x).all() for x in outputs)
    for column_codes, size in zip(outputs[2].T, table.sizes(schema, "columns")["cardinalities"], strict=True):
        assert 0 <= column_codes.min() <= column_codes.max() < size
    assert (outputs[1] >= 0).all()
    assert (outputs[1] <= 1).all()


@given(values=st.lists(floats, min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_edges_rise_and_span_the_column(values: list[float]) -> None:
    column = number_column("a", "a", np.asarray(values, dtype=np.float64))
    assert column.edges[0] == min(values)
    assert column.edges[-1] == max(values)
    assert len(column.edges) <= 49
    assert (np.diff(column.edges) > 0).all()


@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_the_schema_does_not_depend_on_the_order_of_rows_and_columns(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"a": rng.normal(size=12), "b": rng.integers(0, 5, 12), "w": rng.choice(["u", "v"], 12), "y": np.arange(12) % 2}
    )
    records = table.read(Source(name="t", original="", value=frame), DataConfig())["all"]
    expected = table.learn_schema(records, DataConfig())
    assert table.learn_schema(records.select(np.asarray(order)), DataConfig()) == expected
    assert np.array_equal(np.sort(records.select(np.asarray(order)).hashes()), np.sort(records.hashes()))
