"""What people bring to anomaly detection by mistake: each gets one sentence that says what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import chainrule
from chainrule.cli import run as typed
from chainrule.data.config import DataConfig
from chainrule.errors import InputError, MissingTargetError
from chainrule.prepare import prepare

ROWS = 120


def table(bad: int = 12) -> pl.DataFrame:
    values = np.random.default_rng(0).normal(size=(ROWS, 3))
    labels = ["ok"] * (ROWS - bad) + ["bad"] * bad
    return pl.DataFrame(values, schema=["a", "b", "c"]).with_columns(pl.Series("class", labels))


def refused(value: Any, said: str, kind: type[InputError] = InputError, **options: Any) -> None:
    with pytest.raises(kind, match=said):
        prepare(value, DataConfig(**({"task": "reconstruct", "normal": ("ok",)} | options)))


def test_classes_that_are_not_there() -> None:
    refused(table(), r"no row of the data is of data.normal=okay; the classes are bad, ok", normal=("okay",))
    refused(
        {"train": table(), "test": table().with_columns(pl.lit("new").alias("class"))},
        r"no row of test is of data.normal=ok; the classes are new",
    )


def test_labels_that_are_not_there() -> None:
    refused(table().drop("class"), r"the train part has no labels; name their column with --target")
    refused(table(), r"no column 'clas' for the target; did you mean 'class'", MissingTargetError, target="clas")
    refused(table().select("class"), r"one column only, the label 'class'", normal=(), target="class")


def test_nothing_to_tell_apart() -> None:
    refused(table(0), r"rows of test are of data.normal=ok, so there are no anomalies to tell from them")


def test_more_pollution_than_anomalies() -> None:
    refused(
        table(), r"data.polluted=0.3 needs \d+ anomalies in train, there are \d+; give a smaller share", polluted=0.3
    )
    refused(table(), r"data.polluted is a share from 0 to below 0.5", polluted=0.7)
    refused(table(), r"data.polluted is a share .* with normal \(\)", normal=(), polluted=0.1)
    refused(table(), r"give --task reconstruct as well", task="classify")


def test_a_table_of_empty_rows() -> None:
    empty = table().with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in "abc")
    refused(empty, r"all rows are empty", normal=())


def test_few_validation_rows_are_said(tmp_path: Path) -> None:
    quick = {"train.epochs": 2, "train.precision": "float32", "train.compile": "off", "data.normal": ("ok",)}
    run = chainrule.fit(table()[60:], task="reconstruct", out=tmp_path / "run", set=quick)
    limit = run.metrics["threshold"]
    assert limit["few"]
    assert limit["interval"][1] > 0.2
    line = next(line for line in run.lines() if line.startswith("threshold "))
    assert f"by {limit['rows']} validation rows, too few for a lower share" in line


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table().write_csv(tmp_path / "table.csv")
    words = ["fit", str(tmp_path / "table.csv"), "--task", "reconstruct", "--set", "data.normal=okay"]
    assert typed([*words, "--out", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "data.normal=okay; the classes are bad, ok" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_new_source_without_the_columns_is_refused(tmp_path: Path) -> None:
    quick = {"train.epochs": 2, "train.precision": "float32", "train.compile": "off", "data.normal": ("ok",)}
    run = chainrule.fit(table(), task="reconstruct", out=tmp_path / "run", set=quick)
    with pytest.raises(InputError, match="missing column: 'b'"):
        run.evaluate(table().drop("b"))
    with pytest.raises(InputError, match="missing columns: 'a', 'c'"):
        run.predict(table().select("b"))
    strange = run.predict(table().head(2).with_columns(a=pl.lit(1e25)))  # far beyond all that was seen
    assert strange["score"].is_finite().all()
    assert strange["share"].is_finite().all()
    assert strange["anomaly"].all()
    missing = run.predict(table().head(2).with_columns(a=pl.lit(None, dtype=pl.Float64)))
    assert missing["score"].is_finite().all()
