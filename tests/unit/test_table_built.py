"""From a network's vectors back to a table: rows come back as they were read, in own units and words."""

from __future__ import annotations

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from chainrule.data import table
from chainrule.data.config import DataConfig
from chainrule.data.sources import open_source
from chainrule.data.table.built import ANOTHER, frame_of
from chainrule.data.table.front import MAX_ONE_HOT
from chainrule.data.table.schema import TableSchema
from chainrule.prepare import prepare

ROWS = 200


def frame() -> pl.DataFrame:
    """Fractions, whole numbers, truth values and words, some of each missing, in no order of kinds."""
    generator = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "colour": [None if i % 9 == 0 else ("red", "green", "blue")[i % 3] for i in range(ROWS)],
            "weight": [None if i % 7 == 0 else float(w) for i, w in enumerate(generator.normal(70, 12, ROWS).round(2))],
            "rooms": [i % 5 + 1 for i in range(ROWS)],
            "garden": [i % 2 == 0 for i in range(ROWS)],
            "when": 1_700_000_000 + generator.normal(0, 40, ROWS),  # far from 0, narrow: float32 alone would lose it
            "size": ["small" if i % 4 else "large" for i in range(ROWS)],
        }
    )


def vectors(data: pl.DataFrame) -> tuple[np.ndarray, TableSchema]:
    options = DataConfig(task="reconstruct", target="label")
    labelled = data.with_columns(label=pl.Series(["a", "b"] * (len(data) // 2) + ["a"] * (len(data) % 2)))
    records = table.read(open_source(labelled), options)["all"]
    schema = table.learn_schema(records, options)
    samples = table.encode(records, schema)
    return table.front(schema, "vector")(*samples.inputs)[0].numpy(), schema


def test_rows_come_back_as_they_were_read() -> None:
    data = frame()
    found = frame_of(*vectors(data))
    assert found.columns == data.columns
    assert_frame_equal(found, data, check_exact=False, rel_tol=0, abs_tol=1e-3)
    assert found["rooms"].to_list() == data["rooms"].to_list()
    assert found["garden"].dtype == pl.Boolean
    assert found["rooms"].dtype == pl.Int64


def test_the_likeliest_word_and_the_nearer_flag_are_taken() -> None:
    schema = vectors(frame())[1]
    names = table.input_names(schema, "vector")
    row = np.zeros((1, len(names)))
    row[0, names.index("colour = green")] = 0.4
    row[0, names.index("colour = red")] = 0.3
    row[0, names.index("weight is missing")] = 0.4
    row[0, names.index("rooms")] = 0.1
    found = frame_of(row, schema)
    assert found["colour"].to_list() == ["green"]
    assert found["weight"][0] is not None
    assert float(found["rooms"][0]).is_integer()
    row[0, names.index("weight is missing")] = 0.6
    assert frame_of(row, schema)["weight"][0] is None


def test_words_without_a_place_of_their_own() -> None:
    """Words beyond the most frequent share a place; one that was never seen has none."""
    many = MAX_ONE_HOT + 6
    words = [f"w{place:03}" for place in range(many) for _ in range(many - place + 2)]
    data = pl.DataFrame({"word": words, "x": np.arange(float(len(words))) * 1.5})
    values, schema = vectors(data)
    found = frame_of(values, schema)["word"].to_list()
    kept = set(schema.categories[0].categories[:MAX_ONE_HOT])
    assert found == [word if word in kept else ANOTHER for word in words]
    assert frame_of(np.zeros((1, values.shape[1])), schema)["word"].to_list() == [ANOTHER]


def test_a_packaged_table_comes_back() -> None:
    prepared = prepare("breast_cancer", DataConfig(task="reconstruct"))
    records = prepared.parts["test"]
    samples = table.encode(records, prepared.schema)
    found = frame_of(table.front(prepared.schema, "vector")(*samples.inputs)[0].numpy(), prepared.schema)
    for name in found.columns:
        np.testing.assert_allclose(found[name], records.column(name), rtol=1e-4, atol=1e-6)
