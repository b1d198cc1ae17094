"""Times that are counted, made of a day and an hour, or come from an index; series that end apart; look-ahead."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import chainrule
from chainrule.data import series
from chainrule.data.config import DataConfig
from chainrule.data.samples import NEVER
from chainrule.data.series.moments import to_moments, written
from chainrule.data.series.records import SeriesRecords
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.data.table.frames import timed_frame
from chainrule.errors import InputError

LOAD = 50 + 10 * np.sin(2 * np.pi * np.arange(240) / 24) + np.arange(240) % 5
SMALL = {"train.compile": "off", "train.threads": 1}


def read(value: Any, **options: Any) -> SeriesRecords:
    return series.read(open_source(value), DataConfig(**({"horizon": 4, "window": 8} | options)))["all"]


def texts(records: SeriesRecords) -> str:
    return " ".join(finding.text for finding in series.findings(records))


@pytest.mark.parametrize(
    ("name", "cells", "first", "second"),
    [
        ("week", ["2020-W53", "2021-W01"], "2020-12-28", "2021-01-04"),
        ("week", ["2020W9", "2020W10"], "2020-02-24", "2020-03-02"),
        ("month", ["Dec-98", "Jan-99"], "1998-12-01", "1999-01-01"),
        ("month", ["Dec-99", "Jan-00"], "1999-12-01", "2000-01-01"),
        (
            "time",
            ["2020-01-01 05:00:00 UTC", "2020-01-01 06:00:00 UTC"],
            "2020-01-01 05:00:00Z",
            "2020-01-01 06:00:00Z",
        ),
        ("Jahr", [1990, 1991, 1992], "1990-01-01", "1991-01-01"),
    ],
)
def test_more_formats(name: str, cells: list[Any], first: str, second: str) -> None:
    found = to_moments(pl.Series(name, cells))
    assert found is not None
    assert written(found.values, found.clock)[:2] == [first, second]


def test_an_epoch_is_found_under_a_short_name_and_years_where_they_are_chosen() -> None:
    epochs = pl.DataFrame({"ts": 1_577_836_800 + 3600 * np.arange(240), "load": LOAD})
    assert read(epochs).panel.written([0, 1])[1] == "2020-01-01 01:00:00Z"
    years = pl.DataFrame({"campaign": np.arange(1900, 1960), "load": LOAD[:60]})
    assert read(years, time="campaign").panel.frequency.words() == "every year"


@pytest.mark.parametrize("name", ["t", "time", "step", "Index"])
def test_whole_numbers_count_steps_where_no_date_is(name: str) -> None:
    data = pl.DataFrame({name: np.arange(1, 480, 2), "load": LOAD})
    records = read(data)
    assert records.panel.clock == "count"
    assert records.panel.frequency.words() == "every 2 steps"
    assert records.panel.written([0, 240]) == ["1", "481"]
    assert "count steps: there is no calendar" in texts(records)
    dated = data.with_columns(day=pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 8, 27), eager=True))
    assert read(dated).panel.time == "day"
    assert read(data, time=name, end="101").panel.written([49]) == ["99"]
    with pytest.raises(InputError, match="expected a step"):
        read(data, end="soon")
    with pytest.raises(InputError, match=r"irregular steps.*to [0-9]+; mend the times"):
        read(data.with_columns(pl.when(pl.col(name) > 100).then(pl.col(name) + 1).otherwise(pl.col(name)).alias(name)))
    with pytest.raises(InputError, match="needs dates"):
        read(data, frequency="1d")


@pytest.mark.parametrize("value", [LOAD, LOAD[:, None], LOAD.tolist(), pl.DataFrame({"load": LOAD})])
def test_rows_without_times_are_steps_in_their_order(value: Any) -> None:
    records = read(value)
    assert len(records) == 240
    assert records.panel.written([0, 240]) == ["1", "241"]
    assert "taken as steps 1, 2, 3" in texts(records)


def test_rows_are_not_counted_where_a_column_looks_like_a_time() -> None:
    for column in ([f"the {i}" for i in range(240)], 1.5e9 + 0.25 * np.arange(240)):
        with pytest.raises(InputError, match="no column of times"):
            read(pl.DataFrame({"time": column, "load": LOAD}))


def test_a_counted_series_goes_on_counting(tmp_path: Path) -> None:
    run = chainrule.fit(LOAD, horizon=4, epochs=1, out=tmp_path / "run", set=SMALL)
    assert run.predict(LOAD)["time"].to_list() == ["241", "242", "243", "244"]


@pytest.mark.parametrize("name", ["hr", "Hour", "Stunde"])
def test_days_and_hours_make_one_time(name: str) -> None:
    days = [(datetime(2020, 1, 1) + timedelta(days=i // 24)).strftime("%d.%m.%Y") for i in range(240)]
    data = pl.DataFrame({"day": days, name: np.arange(240) % 24, "load": LOAD})
    records = read(data)
    assert records.panel.frequency.words() == "every hour"
    assert records.panel.names == ("load",)
    assert f"column '{name}' is the time of day of the days in 'day'" in texts(records)
    config = DataConfig(horizon=4, window=8)
    schema = series.learn_schema(complete({"all": records}, config)[0]["train"], config)
    assert name in schema.sources()
    assert series.read_inputs([data[:100]], schema).panel.written([100]) == ["2020-01-05 04:00:00"]
    assert read(data, series=name, horizon=1, window=4).panel.names[:2] == ("0", "1")  # as asked for


@pytest.mark.parametrize("form", ["%H:%M", "%H:%M:%S", "%I:%M %p"])
def test_days_and_clock_times_make_one_time(form: str) -> None:
    moments = [datetime(2020, 1, 1) + timedelta(minutes=15 * i) for i in range(240)]
    columns = {"Date": [f"{m:%d/%m/%Y}" for m in moments], "Time": [m.strftime(form) for m in moments], "load": LOAD}
    records = read(pl.DataFrame(columns))
    assert records.panel.frequency.words() == "every 15 minutes"
    assert records.panel.written([239]) == ["2020-01-03 11:45:00"]


def test_the_index_of_a_pandas_frame_is_its_time() -> None:
    days = pd.date_range("2020-01-01", periods=240, freq="D")
    for value in (pd.DataFrame({"load": LOAD}, index=days), pd.Series(LOAD, index=days, name="load")):
        records = read(value)
        assert records.panel.names == ("load",)
        assert records.panel.written([0]) == ["2020-01-01"]
    months = pd.DataFrame({"load": LOAD}, index=pd.period_range("2000-01", periods=240, freq="M", name="month"))
    assert read(months).panel.frequency.words() == "every month"
    assert timed_frame(months).columns == ["month", "load"]
    assert timed_frame(pd.DataFrame({"load": LOAD})).columns == ["load"]


def test_zones_of_pandas_are_kept_where_clocks_are_set_back() -> None:
    local = pd.date_range("2020-10-24", periods=240, freq="h", tz="Europe/Berlin")
    for value in (pd.DataFrame({"load": LOAD}, index=local), pd.DataFrame({"when": local, "load": LOAD})):
        panel = read(value).panel
        assert panel.clock == "utc"
        assert len(panel) == 240
        assert np.isfinite(panel.values).all()


def long_form() -> pl.DataFrame:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 8, 27), eager=True)
    whole = pl.DataFrame({"shop": "a", "day": days, "sales": LOAD})
    return pl.concat([whole, whole[:200].with_columns(shop=pl.lit("b"), sales=pl.col("sales") * 3)])


def test_series_that_end_apart_are_continued_from_their_own_ends(tmp_path: Path) -> None:
    data = long_form()
    run = chainrule.fit(data, horizon=3, epochs=1, out=tmp_path / "run", set=SMALL)
    table = run.predict(data, horizon=5, out=tmp_path / "next.csv")
    assert table.filter(pl.col("series") == "b")["time"].to_list()[::4] == ["2020-07-19", "2020-07-23"]
    assert table.filter(pl.col("series") == "a")["time"][0] == "2020-08-28"
    assert table["time"].is_sorted()
    assert sum("continued from its own end" in note for note in run.notes) == 1
    assert sum("look back on forecasts" in note for note in run.notes) == 1
    alone = run.predict(data.filter(pl.col("day") < pl.date(2020, 7, 19)), horizon=5)
    found, wanted = (one.filter(pl.col("series") == "b")["forecast"].to_numpy() for one in (table, alone))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    short = pl.concat([data[:240], data[435:440]])  # all of a, the last five days of b
    assert run.predict(short).filter(pl.col("series") == "b")["time"][0] == "2020-07-19"
    assert any("little is known of the last 14 steps of b" in note for note in run.notes)
    wide = pl.DataFrame({"day": data["day"][:240], "a": LOAD, "b": [*LOAD[:239], None]})
    assert read(wide).panel.ends.tolist() == [240, 240]


def test_moments_with_nothing_to_learn_count_as_time_only() -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 8, 27), eager=True)
    load = pl.Series(LOAD).scatter(range(100, 120), None)
    last = read(pl.DataFrame({"day": days, "load": load})).times[:, 1]
    assert (last[:8] == NEVER).all()
    assert (last[8:100] < NEVER).all()
    assert (last[100:124] == NEVER).all()  # no answer up to 116, then less than half of the window is known
    assert (last[124:237] < NEVER).all()


def test_a_changed_future_leaves_what_is_learned_as_it_was(tmp_path: Path) -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 8, 27), eager=True)
    noise = np.random.default_rng(0).standard_normal((2, 240))
    plain = pl.DataFrame({"day": days, "load": LOAD + noise[0], "heat": noise[1], "promo": np.arange(240) % 7 == 0})
    late = pl.int_range(240) >= 168  # the first step of valid
    other = plain.with_columns(
        load=pl.when(late).then(-1e5 * pl.int_range(240)).otherwise("load"),
        heat=pl.when(late).then(1e9).otherwise("heat"), promo=pl.col("promo") ^ late,
    )  # fmt: skip
    config = DataConfig(horizon=4, target="load", known=("promo",))
    found = []
    for name, data in (("plain", plain), ("other", other)):
        data.write_csv(tmp_path / f"{name}.csv")
        parts, _ = complete(series.read(open_source(tmp_path / f"{name}.csv"), config), config)
        schema = series.learn_schema(parts["train"], config)
        batch = (samples := series.encode(parts["train"], schema)).batch(torch.arange(len(samples)))
        found.append((schema, parts["train"].rows.tolist(), (*batch.inputs, batch.targets, batch.mask)))
    (schema, rows, tensors), (schema2, rows2, tensors2) = found
    assert schema == schema2  # mean, spread, season, scale of MASE, window and calendar
    assert rows == rows2
    assert all(torch.equal(one, two) for one, two in zip(tensors, tensors2, strict=True))


def test_the_scores_of_a_run_by_hand(tmp_path: Path) -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 8, 27), eager=True)
    values = 5 * np.sin(2 * np.pi * np.arange(240) / 7) + np.random.default_rng(1).standard_normal(240)
    run = chainrule.fit(
        pl.DataFrame({"day": days, "load": values}), horizon=6, epochs=3, out=tmp_path / "run",
        set=SMALL | {"data.window": 14},
    )  # fmt: skip
    scores, begins = run.metrics["test"], range(240 - 36, 240 - 6 + 1)
    assert run.metrics["rows"]["test"] == len(begins)
    truth, parts = [], []
    for begin in begins:
        table = run.predict(pl.DataFrame({"day": days[:begin], "load": values[:begin]}))
        parts.append(table.select("forecast", "lower", "upper").to_numpy())
        truth.append(values[begin : begin + 6])
    (point, low, high), answer = np.moveaxis(np.array(parts), -1, 0), np.array(truth)
    train = values[:168]  # 70 % of the steps
    scale = np.abs(train[7:] - train[:-7]).mean()
    error = np.abs(point - answer)
    assert scores["mase"] == pytest.approx(error.mean() / scale, rel=1e-4)
    assert scores["mae_scaled"] == pytest.approx(error.mean() / train.std(), rel=1e-4)
    assert scores["smape"] == pytest.approx(100 * (2 * error / (np.abs(point) + np.abs(answer))).mean(), rel=1e-4)
    assert scores["coverage"] == pytest.approx(((low <= answer) & (answer <= high)).mean())
    assert scores["width_scaled"] == pytest.approx((high - low).mean() / train.std(), rel=1e-4)
