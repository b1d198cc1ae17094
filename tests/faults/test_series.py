"""What is wrong with a series is said once, with its place and the way out."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import chainrule
from chainrule.data import series
from chainrule.data.config import DataConfig
from chainrule.data.series.records import SeriesRecords
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.errors import InputError

HOUR = timedelta(hours=1)


def frame(count: int = 100, step: timedelta = HOUR, **columns: Any) -> pl.DataFrame:
    times = [datetime(2020, 1, 1) + i * step for i in range(count)]
    return pl.DataFrame({"time": times, "load": np.sin(np.arange(count)) + np.arange(count), **columns})


def read(value: Any, **options: Any) -> SeriesRecords:
    config = DataConfig(**({"horizon": 4, "window": 8} | options))
    return series.read(open_source(value), config)["all"]


def refused(value: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(value, **options)
    return str(caught.value)


def told(value: Any, **options: Any) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in series.findings(read(value, **options))]


def test_too_short_says_the_numbers() -> None:
    message = refused(frame(19))
    assert "19 times" in message
    assert "window of 8" in message
    assert "horizon of 4" in message
    assert "need 20" in message
    assert len(read(frame(20))) == 20


def test_two_columns_of_times() -> None:
    data = frame(100).with_columns(seen=pl.col("time") + HOUR)
    assert "'time', 'seen'; choose with --set data.time=" in refused(data)
    assert read(data, time="seen").panel.time == "seen"
    assert "did you mean 'seen'" in refused(data, time="sen")


def test_no_column_of_times() -> None:
    assert "no column of times" in refused(pl.DataFrame({"a": [1.5] * 50, "b": ["x"] * 50}))
    assert "'load' of data holds no times" in refused(frame(100), time="load")


def test_cells_that_are_no_times_are_located() -> None:
    times = [f"2020-01-{day:02}" for day in range(1, 31)]
    times[6] = "the 7th"
    message = refused(pl.DataFrame({"day": times, "load": np.arange(30.0)}))
    assert "'the 7th' in row 7" in message


def test_irregular_steps_need_to_be_asked_for() -> None:
    data = frame(100)
    data = data.with_columns(time=pl.col("time") + pl.int_range(100) % 7 * timedelta(minutes=3))
    assert "irregular steps" in refused(data)
    assert "data.frequency=1h" in refused(data)
    assert len(read(data, frequency="2h")) == 50
    assert "expected a step such as 30min" in refused(data, frequency="often")


def test_a_change_of_step_is_located() -> None:
    late = frame(40, timedelta(days=1)).with_columns(time=pl.col("time") + timedelta(days=5))
    message = refused(pl.concat([frame(100), late]))
    assert "changes its step" in message
    assert "every hour before, every day after" in message
    assert "data.frequency=1d" in message


def test_mostly_gaps_is_no_step() -> None:
    bursts = [start + i for start in range(0, 1000, 100) for i in range(8)]  # 8 of every 100 hours
    assert "too many gaps" in refused(frame(1000)[bursts])


def test_repeated_times() -> None:
    same = pl.concat([frame(100), frame(3)])
    assert any("3 rows repeat another one" in text for _, text in told(same))
    other = pl.concat([frame(100), frame(3).with_columns(pl.col("load") + 1)])
    message = refused(pl.concat([other, frame(1).with_columns(pl.col("load") + 2)]))
    assert "3 times that stand in several rows with different values" in message
    assert "data.series=COLUMN" in message


def test_a_clock_set_back_is_averaged_and_said() -> None:
    local = [datetime(2020, 10, 25) + i * HOUR for i in range(100)]
    local.insert(3, datetime(2020, 10, 25, 2))  # 00 01 02 02 03
    found = told(pl.DataFrame({"time": local, "load": np.arange(101.0)}))
    assert ("warning", "these times stand twice, as when clocks are set back: the mean of both is taken. "
            "Offsets are exact") in found  # fmt: skip


def test_offsets_keep_the_hour_that_comes_twice() -> None:
    moments = [datetime(2020, 10, 24, 22) + i * HOUR for i in range(100)]
    written = [
        (moment + (2 if moment < datetime(2020, 10, 25, 1) else 1) * HOUR).strftime("%Y-%m-%dT%H:%M:%S")
        + ("+02:00" if moment < datetime(2020, 10, 25, 1) else "+01:00")
        for moment in moments
    ]
    panel = read(pl.DataFrame({"time": written, "load": np.arange(100.0)})).panel
    assert len(panel) == 100
    assert np.isfinite(panel.values).all()


def test_a_clock_set_forward_is_a_gap() -> None:
    local = [datetime(2020, 3, 29) + i * HOUR for i in range(100) if i != 2]
    records = read(pl.DataFrame({"time": local, "load": np.arange(99.0)}))
    assert np.isnan(records.panel.values[2, 0])
    assert any("1 times have no row" in finding.text for finding in series.findings(records))


def test_what_is_not_finite_is_counted_and_located() -> None:
    load = frame(100)["load"].to_list()
    load[3], load[7], load[8] = math.inf, math.nan, None
    found = told(frame(100).with_columns(load=pl.Series(load)))
    assert ("warning", "column 'load' is infinite in 1 rows, read as missing") in found
    assert any("'load' is missing in 2 of 100 rows" in text for _, text in found)
    places = [finding.where for finding in series.findings(read(frame(100).with_columns(load=pl.Series(load))))]
    assert ("2020-01-01 03:00:00",) in places
    assert ("2020-01-01 07:00:00", "2020-01-01 08:00:00") in places


def test_numbers_with_commas_are_numbers(tmp_path: Path) -> None:
    lines = ["day,visitors", *(f'{20200101 + i},"{1000 + i:,}"' for i in range(28))]
    (tmp_path / "v.csv").write_text("\n".join(lines))
    records = series.read(open_source(tmp_path / "v.csv"), DataConfig(horizon=2, window=4))["all"]
    assert records.panel.values[:2, 0].tolist() == [1000, 1001]
    german = ["tag;wert", *(f"{i:02}.01.2020;{i},5" for i in range(1, 29))]
    (tmp_path / "g.csv").write_text("\n".join(german))
    records = series.read(open_source(tmp_path / "g.csv"), DataConfig(horizon=2, window=4, time="tag"))["all"]
    assert records.panel.values[:2, 0].tolist() == [1.5, 2.5]


def test_nothing_to_forecast() -> None:
    assert "no column of numbers to forecast" in refused(frame(100).select("time", word=pl.lit("x")))
    assert "--target: data has no column 'lod'" in refused(frame(100), target="lod")
    assert "data.known: data has no column 'promo'" in refused(frame(100), known=("promo",))
    assert "holds no numbers" in refused(frame(100, promo=["yes"] * 100), known=("promo",))


def test_a_bad_end_and_an_end_before_the_beginning() -> None:
    assert "expected a date" in refused(frame(100), end="soon")
    assert "no row is older" in refused(frame(100), end="2019-01-01")


def test_another_task_is_refused() -> None:
    config = DataConfig(horizon=4, window=8)
    parts, _ = complete(series.read(open_source(frame(100)), config), config)
    with pytest.raises(InputError, match=r"data.kind=table"):
        series.learn_schema(parts["train"], DataConfig(horizon=4, task="classify"))


def test_a_column_that_begins_after_the_train_part() -> None:
    config = DataConfig(horizon=4, window=8)
    late = [None] * 90 + [1.0 * i for i in range(10)]
    parts, _ = complete(series.read(open_source(frame(100, late=late)), config), config)
    with pytest.raises(InputError, match="'late': no value in the train part"):
        series.learn_schema(parts["train"], config)


def schema() -> series.SeriesSchema:
    config = DataConfig(horizon=4, window=8)
    parts, _ = complete(series.read(open_source(frame(100)), config), config)
    return series.learn_schema(parts["train"], config)


def test_new_data_of_another_shape() -> None:
    with pytest.raises(InputError, match="lacks 'load'"):
        series.read_inputs([frame(50).rename({"load": "weight"})], schema())
    with pytest.raises(InputError, match="the run learned every hour"):
        series.read_inputs([frame(50, timedelta(hours=2))], schema())
    with pytest.raises(InputError, match="give one source"):
        series.read_inputs([frame(50), frame(50)], schema())
    records = series.read_inputs([frame(50, extra=[1] * 50)], schema())
    assert "extra" in " ".join(finding.text for finding in series.findings(records))


@pytest.mark.parametrize("normalise", ["last", "instance"])
def test_a_constant_series_is_said_and_divides_by_no_zero(normalise: str, tmp_path: Path) -> None:
    lines: list[str] = []
    data = frame(120).with_columns(load=pl.lit(5.0))
    settings = {"train.compile": "off", "train.threads": 1, "task.normalise": normalise}
    run = chainrule.fit(data, horizon=4, epochs=20, out=tmp_path / "run", set=settings, tell=lines.append)
    assert any("'load' is constant: always 5" in line for line in lines)
    assert math.isfinite(run.metrics["test"]["mae_scaled"])
    assert run.predict(data)["forecast"].to_numpy() == pytest.approx(5, abs=1)


def test_folds_and_shares_that_leave_no_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no whole forecast fits|folds"):
        chainrule.fit(frame(40), horizon=10, folds=5, epochs=1, out=tmp_path / "run", set={"data.window": 8})


def test_a_horizon_for_data_without_time(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": np.arange(50.0), "label": ["x", "y"] * 25})
    with pytest.raises(InputError, match="no column of times"):
        chainrule.fit(table, horizon=4, out=tmp_path / "run")


@pytest.mark.parametrize("horizon", [0, -1])
def test_a_horizon_below_one(horizon: int, tmp_path: Path) -> None:
    for verb in (chainrule.look, lambda *args, **more: chainrule.fit(*args, out=tmp_path / "run", **more)):
        with pytest.raises(InputError, match=f"--horizon must be 1 or more steps, got {horizon}"):
            verb(frame(100), horizon=horizon)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_part_of_no_rows(part: str) -> None:
    with pytest.raises(InputError, match=f"there is no {part} part: data.{part}_share is 0"):
        chainrule.look(frame(100), horizon=4, set={f"data.{part}_share": 0})


@pytest.mark.parametrize(("part", "first", "last"), [("train", 0, 138), ("valid", 136, 172), ("test", 170, 199)])
def test_a_part_in_which_nothing_is_known(part: str, first: int, last: int) -> None:
    load: list[float | None] = frame(200)["load"].to_list()
    load[first:last] = [None] * (last - first)
    data = frame(200).with_columns(load=pl.Series(load))
    with pytest.raises(InputError, match=rf"no whole forecast fits into the {part} part.*values where"):
        chainrule.look(data, horizon=4, set={"data.window": 8})


def test_a_step_that_leaves_mostly_gaps() -> None:
    assert "100 times where every minute would give 5,941: too many gaps" in refused(frame(100), frequency="1min")


def test_numbers_beyond_all_measure() -> None:
    assert "no cell of load is a number up to 1e+30" in refused(frame(100).with_columns(pl.col("load") * 1e300 + 1e300))


def test_a_column_cannot_have_two_roles() -> None:
    assert "load cannot be both forecast and named by data.known" in refused(frame(100), known=("load",))
    assert "no column 'time' of numbers beside its times" in refused(frame(100), target="time")


def test_a_group_is_refused() -> None:
    assert "--group does not fit a series" in refused(frame(100), group="load")


def test_dates_in_several_formats_are_named() -> None:
    days = [f"2020-01-{day:02}" if day % 2 else f"{day:02}.01.2020" for day in range(1, 31)]
    assert "of the cells of 'day' stand in one format, as its first, '2020-01-01'" in refused(
        pl.DataFrame({"day": days, "load": np.arange(30.0)})
    )


def test_one_column_alone_is_led_to_a_horizon(tmp_path: Path) -> None:
    frame(100).select("load").write_csv(tmp_path / "load.csv")
    with pytest.raises(InputError, match="or --horizon to forecast it as a series"):
        chainrule.look(tmp_path / "load.csv")
    chainrule.look(tmp_path / "load.csv", horizon=4)


def test_a_value_far_from_all_others_is_told_with_its_place() -> None:
    data = frame(200).with_columns(load=pl.Series(np.where(np.arange(200) == 77, 99_999.0, np.arange(200) % 24)))
    (text,) = [text for level, text in told(data) if level == "warning"]
    assert "99999 stands at 2020-01-04 05:00" in text
    assert "0 to 23" in text
    assert not told(frame(200))
