"""Series are found, put on a grid and cut into windows that never see the future."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from chainrule.data import series
from chainrule.data.config import DataConfig
from chainrule.data.samples import NEVER
from chainrule.data.series.features import calendar_of, calendar_values
from chainrule.data.series.frequency import DAY, HOUR, Frequency, bins, find_frequency, parse_frequency
from chainrule.data.series.moments import to_moments, written
from chainrule.data.series.read import found_window
from chainrule.data.series.records import SeriesRecords
from chainrule.data.series.samples import SeriesSamples, carried
from chainrule.data.sources import open_source
from chainrule.data.split import complete, folds
from chainrule.recognise import recognise


def stamps(count: int, step: timedelta = timedelta(hours=1), first: datetime = datetime(2020, 1, 1)) -> list[datetime]:
    return [first + i * step for i in range(count)]


def frame(count: int = 200, **columns: Any) -> pl.DataFrame:
    values = np.arange(count) % 24 + np.arange(count) / 10
    return pl.DataFrame({"time": stamps(count), "load": values, **columns})


def read(value: Any, **options: Any) -> SeriesRecords:
    records = series.read(open_source(value), DataConfig(**({"horizon": 4, "window": 8} | options)))
    return records["all"]


def texts(records: SeriesRecords) -> str:
    return " ".join(finding.text for finding in series.findings(records))


def moments_of(cells: Sequence[Any], name: str = "time") -> list[str]:
    found = to_moments(pl.Series(name, cells))
    assert found is not None
    return written(found.values, found.clock)


@pytest.mark.parametrize(
    ("cells", "first", "second"),
    [
        (["2020-01-31", "2020-02-01"], "2020-01-31", "2020-02-01"),
        (["2020-01-31 05:00", "2020-01-31 06:30"], "2020-01-31 05:00:00", "2020-01-31 06:30:00"),
        (["2020-01-31T05:00:00Z", "2020-01-31T06:00:00Z"], "2020-01-31 05:00:00Z", "2020-01-31 06:00:00Z"),
        (["2020-10-25T02:30:00+02:00", "2020-10-25T02:30:00+01:00"], "2020-10-25 00:30:00Z", "2020-10-25 01:30:00Z"),
        (["2020-06-01 12:00-0430", "2020-06-01 13:00-0430"], "2020-06-01 16:30:00Z", "2020-06-01 17:30:00Z"),
        (["1949-01", "1949-02"], "1949-01-01", "1949-02-01"),
        (["Jan 1949", "Feb 1949"], "1949-01-01", "1949-02-01"),
        (["2020Q1", "2020Q2"], "2020-01-01", "2020-04-01"),
        (["Q3 2020", "Q4 2020"], "2020-07-01", "2020-10-01"),
        (["31.12.2020", "01.01.2021"], "2020-12-31", "2021-01-01"),
        ([1577836800, 1577840400, 1577844000], "2020-01-01 00:00:00Z", "2020-01-01 01:00:00Z"),
        ([1577836800000, 1577840400000, 1577844000000], "2020-01-01 00:00:00Z", "2020-01-01 01:00:00Z"),
        (["1577836800", "1577840400", "1577844000"], "2020-01-01 00:00:00Z", "2020-01-01 01:00:00Z"),
        ([20200131, 20200201, 20200202], "2020-01-31", "2020-02-01"),
        ([1990, 1991, 1992], "1990-01-01", "1991-01-01"),
    ],
)
def test_times_are_read_in_many_formats(cells: list[Any], first: str, second: str) -> None:
    assert moments_of(cells)[:2] == [first, second]


def test_a_frames_time_zone_becomes_utc() -> None:
    local = pl.Series("time", [datetime(2020, 7, 1, 12), datetime(2020, 7, 1, 13)])
    assert moments_of(local.dt.replace_time_zone("Europe/Berlin").to_list())[0] == "2020-07-01 10:00:00Z"


@pytest.mark.parametrize("cells", [["a", "b"], ["17:30", "17:31"], [1.5, 2.5], [3, 4, 5], ["12345", "2", "7"]])
def test_other_cells_are_no_times(cells: list[Any]) -> None:
    assert to_moments(pl.Series("value", cells)) is None


def test_even_steps_tell_day_from_month() -> None:
    days = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(12)]
    assert moments_of([day.strftime("%d/%m/%Y") for day in days])[1] == "2020-01-02"
    assert moments_of([day.strftime("%m/%d/%Y") for day in days])[1] == "2020-01-02"


def stamp(texts: Sequence[str]) -> Any:
    return np.array(texts, dtype="datetime64[us]").astype(np.int64)


@pytest.mark.parametrize(
    ("times", "words", "more"),
    [
        (["2020-01-01", "2020-02-01", "2020-03-01", "2020-05-01"], "every month", "2020-06-01"),
        (["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"], "every month, on its last day", "2020-05-31"),
        (["2020-01-15", "2020-02-15", "2020-03-15"], "every month, on day 15", "2020-04-15"),
        (["2020-03-31", "2020-06-30", "2020-09-30", "2020-12-31"], "every quarter, on its last day", "2021-03-31"),
        (["1920-01-01", "1921-01-01", "1922-01-01"], "every year", "1923-01-01"),
        (["2020-01-01T00:00", "2020-01-01T00:30", "2020-01-01T01:00"], "every 30 minutes", "2020-01-01 01:30:00"),
        (["2020-02-27", "2020-02-28", "2020-02-29"], "every day", "2020-03-01"),
        (["2020-01-06", "2020-01-13", "2020-01-20"], "every week", "2020-01-27"),
    ],
)
def test_the_step_is_found_and_continues(times: list[str], words: str, more: str) -> None:
    found = find_frequency(stamp(times), "it")
    assert found.words() == words
    start = int(stamp(times[:1])[0])
    places = found.index(stamp(times), start)
    np.testing.assert_array_equal(found.moments(start, places), stamp(times))
    assert written(found.moments(start, places[-1:] + 1)) == [more]
    assert found.index(stamp(["2020-01-02T03:04:05"]), start)[0] == -1


@pytest.mark.parametrize("first", ["2020-01-01", "1961-03-01"])
def test_business_days_pass_over_weekends(first: str) -> None:
    days = np.datetime64(first) + np.arange(60)
    days = days[np.is_busday(days)]
    times = days.astype("datetime64[us]").astype(np.int64)
    found = find_frequency(np.delete(times, 7), "it")  # a holiday
    assert found.words() == "every business day"
    np.testing.assert_array_equal(found.index(times, int(times[0])), np.arange(len(times)))
    np.testing.assert_array_equal(found.moments(int(times[0]), np.arange(len(times))), times)


def test_asked_for_steps() -> None:
    assert parse_frequency("30min").size == HOUR // 2
    assert parse_frequency("daily") == Frequency(unit="fixed", size=DAY)
    assert parse_frequency("2q").size == 6
    monday = stamp(["2024-01-01"])[0]
    np.testing.assert_array_equal(bins(stamp(["2024-01-03T05:00"]), parse_frequency("1w")), [monday])
    assert written(bins(stamp(["2024-02-03"]), parse_frequency("1mo-end"))) == ["2024-02-29"]
    assert written(bins(stamp(["2024-02-03"]), parse_frequency("business"))) == ["2024-02-02"]  # a Saturday's Friday


def test_the_calendar_has_what_the_step_can_tell() -> None:
    hourly, monthly = Frequency(unit="fixed", size=HOUR), Frequency(unit="months", size=1)
    assert calendar_of(hourly, 3 * DAY) == ("hour",)
    assert calendar_of(hourly, 900 * DAY) == ("hour", "weekday", "day of year")
    assert calendar_of(monthly, 900 * DAY) == ("month",)
    assert calendar_of(Frequency(unit="months", size=12), 9000 * DAY) == ()
    noon = calendar_values(stamp(["2024-01-01T12:00"]), ("hour", "weekday"))
    np.testing.assert_allclose(noon, [[0, -1, 0, 1]], atol=1e-12)  # noon on a Monday


def test_wide_form() -> None:
    records = read(frame(other=np.arange(200.0) ** 0.5, word=["x"] * 200))
    assert records.panel.names == ("load", "other")
    assert records.panel.values.shape == (200, 2)
    assert "'word' is left out" in texts(records)


def long_frame() -> pl.DataFrame:
    parts = [pl.DataFrame({"time": stamps(100), "shop": [name] * 100, "sales": np.arange(100.0) + level})
             for name, level in (("north", 0), ("south", 1000))]  # fmt: skip
    return pl.concat(parts)


def test_long_form_is_found() -> None:
    records = read(long_frame().sample(fraction=1.0, shuffle=True, seed=1))
    panel = records.panel
    assert sorted(panel.names) == ["north", "south"]
    assert len(records) == 100
    np.testing.assert_array_equal(panel.values[:, panel.names.index("south")], np.arange(100.0) + 1000)
    assert "'shop' names 2 series" in texts(records)


def test_long_form_with_a_numbered_series_and_two_columns() -> None:
    data = long_frame().with_columns(
        pl.col("shop").replace_strict({"north": 7, "south": 9}), cost=pl.lit(1.5) * pl.col("sales")
    )
    panel = read(data, series="shop").panel
    assert panel.names == ("7 sales", "7 cost", "9 sales", "9 cost")
    assert panel.owners.tolist() == [0, 0, 1, 1]


def test_roles_of_columns() -> None:
    data = frame(hot=np.arange(200.0) ** 0.5, promo=[bool(i % 3) for i in range(200)], instant=range(1, 201))
    panel = read(data, target="load", known=("promo",)).panel
    assert (panel.names, panel.past_names, panel.known_names) == (("load",), ("hot",), ("promo",))
    assert panel.known[:4, 0, 0].tolist() == [0, 1, 1, 0]


def test_gaps_repeats_and_disorder_are_stated() -> None:
    data = pl.concat([frame().head(50), frame().tail(140), frame().head(2)])
    records = read(data)
    told = texts(records)
    assert "10 times have no row" in told
    assert "2 rows repeat another one" in told
    assert "not in order of time" in told
    assert np.isnan(records.panel.values[50:60]).all()


def test_resampling_takes_means() -> None:
    records = read(frame(240), frequency="1d", horizon=1, window=2)
    assert len(records) == 10
    assert records.panel.values[0, 0] == pytest.approx(float(frame(24)["load"].mean()))  # type: ignore[arg-type]
    assert "mean of up to 24 rows" in texts(records)


def prepared(value: Any, **options: Any) -> tuple[dict[str, Any], Any, DataConfig]:
    config = DataConfig(**({"horizon": 4, "window": 8} | options))
    parts, _ = complete(series.read(open_source(value), config), config)
    return parts, series.learn_schema(parts["train"], config), config


def test_the_split_leaves_a_gap() -> None:
    parts, schema, _ = prepared(frame(200), valid_share=0.2, test_share=0.2)
    train, valid, test = (parts[name] for name in ("train", "valid", "test"))
    assert train.rows[0] == 8
    assert train.rows[-1] + 3 == 119  # the last target of train; valid's first is 120
    assert (valid.rows[0], valid.rows[-1]) == (120, 156)
    assert (test.rows[0], test.rows[-1]) == (160, 196)
    values = parts["train"].panel.values[:120, 0]
    assert schema.target.mean[0] == pytest.approx(values.mean())
    assert schema.target.std[0] == pytest.approx(values.std())


def test_a_short_series_keeps_one_horizon_to_test_on() -> None:
    parts, _, _ = prepared(frame(60), horizon=12, window=12)
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [13, 1, 1]
    assert parts["test"].rows[0] == 48


def test_moments_without_a_whole_window_count_as_time_only() -> None:
    spans = read(frame(30), horizon=4, window=8).times
    assert (spans[:8, 1] == NEVER).all()
    assert (spans[8:27, 1] == np.arange(8, 27) + 3).all()
    assert (spans[27:, 1] == NEVER).all()


def test_folds_by_time_leave_gaps_as_well() -> None:
    config = DataConfig(horizon=4, window=8)
    records = series.read(open_source(frame(300)), config)["all"]
    for cut in folds(records, 3, config):
        assert records.times[cut.train, 1].max() < records.times[cut.valid, 0].min()
        assert records.times[cut.valid, 1].max() < records.times[cut.test, 0].min()


def test_a_series_can_be_cut_at_a_date() -> None:
    assert len(read(frame(200), end="2020-01-05").panel) == 96


def test_windows_look_back_on_horizons_and_seasons() -> None:
    assert found_window(17_000, 96, (24, 168)) == 480
    assert found_window(17_000, 24, (24, 168, 8766)) == 168
    assert found_window(144, 24, (12,)) == 24  # a third of it, less the horizon
    assert found_window(3000, 7, (7, 365)) == 35


def samples_of(value: Any, part: str = "train", **options: Any) -> SeriesSamples:
    parts, schema, _ = prepared(value, **options)
    return series.encode(parts[part], schema)


def test_a_window_holds_what_came_before_and_its_target_what_came_after() -> None:
    samples = samples_of(frame(200))
    target = samples.schema.target
    batch = samples.batch(torch.tensor([0, 5]))
    values, _, ahead, known = batch.inputs
    assert batch.targets is not None
    assert batch.mask is not None
    back = (values[1, :, 0].double() * target.std[0] + target.mean[0]).numpy()
    np.testing.assert_allclose(back, frame(200)["load"].to_numpy()[5:13], atol=1e-4)
    forth = (batch.targets[1, :, 0].double() * target.std[0] + target.mean[0]).numpy()
    np.testing.assert_allclose(forth, frame(200)["load"].to_numpy()[13:17], atol=1e-4)
    assert bool(batch.mask.all())
    assert bool((known == 1).all())
    moments = samples.records.panel.moments(np.arange(5, 17))
    np.testing.assert_allclose(ahead[1, :, 0], calendar_values(moments, samples.schema.calendar), atol=1e-6)


def test_the_future_changes_nothing_that_is_learned_from() -> None:
    plain, other = frame(200, cost=np.sin(np.arange(200))), frame(200, cost=np.sin(np.arange(200)))
    split = 140  # the first moment of valid
    other = other.with_columns(
        load=pl.when(pl.int_range(200) >= split).then(pl.lit(1e6)).otherwise(pl.col("load")),
        cost=pl.when(pl.int_range(200) >= split).then(pl.lit(None)).otherwise(pl.col("cost")),
    )
    (first, schema, _), (second, schema2, _) = prepared(plain), prepared(other)
    assert schema == schema2
    assert first["train"].rows.tolist() == second["train"].rows.tolist()
    a, b = (series.encode(parts["train"], schema) for parts in (first, second))
    rows = torch.arange(len(a))
    x, y = a.batch(rows), b.batch(rows)
    for one, two in zip((*x.inputs, x.targets, x.mask), (*y.inputs, y.targets, y.mask), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    # and at every later moment an input depends on what came before it alone
    a, b = (series.encode(parts["valid"], schema) for parts in (first, second))
    for one, two in zip(a.batch(torch.tensor([0])).inputs, b.batch(torch.tensor([0])).inputs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_gaps_are_carried_forward_and_masked() -> None:
    load = frame(200)["load"].to_list()
    load[20:23] = [None] * 3
    samples = samples_of(frame(200).with_columns(load=pl.Series(load)))
    ids = list(samples.ids)
    batch = samples.batch(torch.tensor([ids.index("2020-01-01 21:00:00"), ids.index("2020-01-01 23:00:00")]))
    assert batch.mask is not None
    assert batch.mask[0, :, 0].tolist() == [False, False, True, True]
    values, _, _, known = batch.inputs
    assert known[1, :, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert len(set(values[1, 4:, 0].tolist())) == 1
    assert carried(np.array([np.nan, 2.0, np.nan])).tolist() == [0, 2, 2]


def test_a_column_that_is_hardly_known_is_not_learned_from() -> None:
    late = [None] * 100 + list(np.arange(100.0) ** 0.5)
    samples = samples_of(frame(200, late=late))
    row = list(samples.ids).index("2020-01-05 07:00:00")  # step 103: 3 of 8 moments are known
    batch = samples.batch(torch.tensor([row, row + 1]))
    assert batch.mask is not None
    assert batch.mask[:, 0].tolist() == [[True, False], [True, True]]


def test_the_front_makes_a_row_of_every_column() -> None:
    data = frame(200, hot=np.arange(200.0) ** 0.5, cold=np.arange(200.0) ** 0.4)
    samples = samples_of(data, target="load,cold")
    front = series.front(samples.schema, "window")
    batch = samples.batch(torch.tensor([3, 4]))
    seen, ahead = front(*batch.inputs)
    sizes = series.sizes(samples.schema, "window")
    assert seen.shape == (4, sizes["window"], sizes["in_features"])
    assert ahead.shape == (4, sizes["horizon"], sizes["known_features"])
    torch.testing.assert_close(seen[1, :, 0], batch.inputs[0][0, :, 1])
    torch.testing.assert_close(seen[2, :, 2], batch.inputs[1][1, :, 0, 0])
    assert len(series.input_names(samples.schema, "window")) == sizes["in_features"]


def test_the_season_is_confirmed_or_denied() -> None:
    assert prepared(frame(300))[1].target.season == 24
    walk = np.random.default_rng(0).standard_normal(300).cumsum()
    _, schema, _ = prepared(frame(300).with_columns(load=pl.Series(walk)))
    assert schema.target.season == 1
    assert any("no season" in note for note in schema.notes)


def test_a_schema_survives_json() -> None:
    _, schema, _ = prepared(frame(200, hot=np.arange(200.0) ** 0.5), target="load")
    assert series.load_schema(json.loads(json.dumps(dataclasses.asdict(schema)))) == schema


def test_new_data_is_matched_by_name() -> None:
    _, schema, _ = prepared(frame(200, other=np.arange(200.0) ** 0.5))
    newer = frame(220, other=np.arange(220.0) ** 0.5).select("other", "load", "time")
    records = series.read_inputs([newer], schema)
    assert records.panel.names == ("load", "other")
    assert records.rows.tolist() == [220]
    batch = series.encode(records, schema).batch(torch.tensor([0]))
    assert batch.mask is not None
    assert not batch.mask.any()


def test_only_clear_series_are_recognised_without_being_told() -> None:
    assert series.recognises(open_source(frame(200))) == "a regular series every hour of 1 column"
    assert series.recognises(open_source(frame(200, shop=["a"] * 200))) is None
    assert series.recognises(open_source(frame(200, level=np.arange(200) % 4))) is None
    assert series.recognises(open_source(frame(200).sample(fraction=0.3, seed=1))) is None


def test_a_target_alone_or_another_task_makes_a_table_of_a_series() -> None:
    source = open_source(frame(200, other=np.arange(200.0) ** 0.5))
    assert recognise(source).kind.NAME == "series"
    assert recognise(source, target="load").kind.NAME == "table"
    assert recognise(source, task="regress").kind.NAME == "table"
    assert recognise(source, task="forecast", target="load").kind.NAME == "series"


def test_hours_and_minutes_after_a_t_are_times() -> None:
    text = pl.Series("time", [f"2024-03-01T{hour:02}:30" for hour in range(5)])
    found = to_moments(text)
    assert found is not None
    assert np.diff(found.values).tolist() == [3_600_000_000] * 4
