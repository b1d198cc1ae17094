"""Scores of forecasts by hand, the task's sums, baselines, and a run from a CSV to its continuation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

import chainrule
from chainrule.data import series
from chainrule.data.config import DataConfig
from chainrule.data.samples import Batch
from chainrule.data.schema import SeriesTarget
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.errors import InputError
from chainrule.evaluate.series_baselines import drift, naive, seasonal_naive, series_baselines
from chainrule.functional.forecast_metrics import (
    autocorrelation,
    forecast_scores,
    forecast_sums,
    pinball,
    seasonal_scale,
    stretch_of,
)
from chainrule.models.catalog import CATALOG
from chainrule.models.dlinear import DLinear, DLinearConfig
from chainrule.tasks.forecast import Forecast, ForecastConfig, Normalised
from chainrule.tasks.task import At

QUANTILES = (0.1, 0.5, 0.9)


def target(**changes: Any) -> SeriesTarget:
    usual = {"name": "load", "names": ("a", "b"), "horizon": 3, "mean": (1.0, 10.0), "std": (2.0, 4.0),
             "scale": (1.0, 2.0), "season": 2, "quantiles": QUANTILES}  # fmt: skip
    return SeriesTarget(**(usual | changes))


def test_pinball_by_hand() -> None:
    loss = pinball(torch.tensor([[2.0, 2.0, 2.0]]), torch.tensor([5.0]), QUANTILES)
    torch.testing.assert_close(loss, torch.tensor([[0.3, 1.5, 2.7]]))
    loss = pinball(torch.tensor([[2.0, 2.0, 2.0]]), torch.tensor([1.0]), QUANTILES)
    torch.testing.assert_close(loss, torch.tensor([[0.9, 0.5, 0.1]]))


def test_the_quantile_of_a_sample_has_the_least_pinball_loss() -> None:
    sample = torch.arange(1, 101, dtype=torch.float64)
    places = torch.linspace(0, 101, 1011, dtype=torch.float64)
    for share in QUANTILES:
        total = pinball(places[:, None, None].expand(-1, 100, 1), sample.expand(len(places), -1), (share,)).sum((1, 2))
        assert abs(float(places[total.argmin()]) - 100 * share) <= 1


def test_scores_by_hand() -> None:
    forecast = torch.tensor([[[1.0], [2.0], [9.0]]], dtype=torch.float64)
    truth = torch.tensor([[[2.0], [4.0], [0.0]]], dtype=torch.float64)
    quantiles = torch.stack((forecast - 1, forecast, forecast + 1), -1)
    mask = torch.tensor([[[True], [True], [False]]])
    sums = {
        name: value.numpy().sum(0) for name, value in forecast_sums(forecast, quantiles, truth, mask, QUANTILES).items()
    }
    scores = forecast_scores(sums, np.array([2.0]), np.array([3.0]))
    assert scores["mae"] == pytest.approx(1.5)
    assert scores["rmse"] == pytest.approx(math.sqrt(2.5))
    assert scores["mase"] == pytest.approx(0.5)
    assert scores["smape"] == pytest.approx(100 * (2 / 3 + 4 / 6) / 2)
    assert scores["coverage"] == pytest.approx(0.5)  # 2 lies on the edge of [0, 2], 4 above [1, 3]
    assert scores["mse_scaled"] == pytest.approx(2.5 / 4)
    assert scores["mae_scaled"] == pytest.approx(0.75)
    assert scores["width_scaled"] == pytest.approx(1.0)
    first = (0.1 * 2 + 0.5 * 1 + 0.1 * 0) / 3  # of truth 2: quantiles 0, 1, 2
    second = (0.1 * 3 + 0.5 * 2 + 0.9 * 1) / 3  # of truth 4: quantiles 1, 2, 3
    assert scores["pinball"] == pytest.approx((first + second) / 2)


def test_a_constant_column_has_no_mase_and_zeros_no_smape() -> None:
    zero = torch.zeros(1, 2, 2, dtype=torch.float64)
    truth = torch.tensor([[[0.0, 1.0], [0.0, 3.0]]], dtype=torch.float64)
    sums = forecast_sums(
        zero, zero[..., None].expand(-1, -1, -1, 3), truth, torch.ones(1, 2, 2, dtype=torch.bool), QUANTILES
    )
    scores = forecast_scores(
        {name: value.numpy().sum(0) for name, value in sums.items()}, np.ones(2), np.array([0.0, 2.0])
    )
    assert scores["mase"] == pytest.approx(1.0)  # of the second column alone
    assert scores["smape"] == pytest.approx(100.0)  # 0 and 0: no error; 0 and 1: 200 %
    alone = forecast_scores({name: value.numpy().sum(0)[:1] for name, value in sums.items()}, np.ones(1), np.zeros(1))
    assert alone["mase"] == 0  # all errors are 0
    missed = {name: value.numpy().sum(0)[1:] for name, value in sums.items()}
    assert forecast_scores(missed, np.array([4.0]), np.zeros(1))["mase"] == 0.5  # in standard units


def test_the_scale_passes_over_what_is_missing() -> None:
    values = np.array([[1.0], [2.0], [np.nan], [6.0], [7.0]])
    assert seasonal_scale(values, 1).tolist() == [1.0]
    assert seasonal_scale(values, 2).tolist() == [4.0]
    assert seasonal_scale(values, 9).tolist() == [0.0]


def test_autocorrelation_sees_a_season_and_no_trend() -> None:
    steps = np.arange(400.0)
    assert autocorrelation(np.sin(2 * np.pi * steps / 12)[:, None], 12) > 0.95
    assert autocorrelation(np.sin(2 * np.pi * steps / 12)[:, None], 6) < -0.9
    assert autocorrelation((5 * steps)[:, None], 12) == 0
    assert autocorrelation(np.full((50, 1), 3.0), 12) == 0
    assert abs(autocorrelation(np.random.default_rng(0).standard_normal((2000, 1)), 12)) < 0.1


def test_baselines_by_hand() -> None:
    values = np.arange(10.0)[:, None] ** 2
    begins = np.array([6])
    assert naive(values, begins, 3)[0, :, 0].tolist() == [25, 25, 25]
    assert drift(values, begins, 3)[0, :, 0].tolist() == [30, 35, 40]
    assert seasonal_naive(values, begins, 5, 2)[0, :, 0].tolist() == [16, 25, 16, 25, 16]
    assert seasonal_naive(values, np.array([1]), 2, 4)[0, :, 0].tolist() == [0, 0]


class Constant(nn.Module):
    """Gives the same outputs whatever it sees."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.outputs


def batch() -> Batch:
    targets = torch.tensor([[[0.5, 0.0], [1.0, 1.0], [0.0, -1.0]]])
    mask = torch.tensor([[[True, True], [True, False], [True, True]]])
    return Batch((torch.zeros(1, 1),), targets, torch.tensor([7]), mask)


def test_the_loss_is_a_sum_over_known_values() -> None:
    task = Forecast(ForecastConfig(), target())
    outputs = torch.zeros(2, 3, 4)
    at = At(0, 1, torch.Generator())
    point, spread = task.loss(Constant(outputs), batch(), at)
    assert task.counts(batch()) == {"loss": 5.0, "pinball": 5.0}
    assert float(point.total.detach()) == pytest.approx(0.25 + 1 + 1)
    assert float(spread.total.detach()) == pytest.approx(
        (0.5 + 1) * 1.5 + 1 * 1.5
    )  # 0.1 + 0.5 + 0.9 of above, the same below
    median, _ = Forecast(ForecastConfig(loss="quantile"), target()).loss(Constant(outputs), batch(), at)
    assert float(median.total.detach()) == pytest.approx(0.5 * (0.5 + 1 + 1))


def test_micro_batches_add_up() -> None:
    torch.manual_seed(0)
    task = Forecast(ForecastConfig(), target())
    many = Batch((torch.randn(6, 2),), torch.randn(6, 3, 2), torch.arange(6), torch.rand(6, 3, 2) > 0.3)

    class PerRow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 1, 1).expand(-1, 3, 4)

    at = At(0, 1, torch.Generator())
    whole = [term.total for term in task.loss(PerRow(), many, at)]
    parts = [[term.total for term in task.loss(PerRow(), part, at)] for part in many.split(4)]
    torch.testing.assert_close(whole, [a + b for a, b in zip(*parts, strict=True)])
    assert task.counts(many) == {k: sum(task.counts(part)[k] for part in many.split(4)) for k in ("loss", "pinball")}


def test_forecasts_are_in_the_columns_own_units_and_intervals_hold_the_point() -> None:
    task = Forecast(ForecastConfig(), target())
    outputs = torch.tensor([5.0, 1.0, -1.0, 2.0]).expand(2, 3, 4)  # the point lies above, the quantiles cross
    point, quantiles = task.forecast(Constant(outputs), batch())
    assert point.shape == (1, 3, 2)
    assert point[0, 0].tolist() == [11.0, 30.0]
    assert quantiles[0, 0].tolist() == [[-1.0, 3.0, 11.0], [6.0, 14.0, 30.0]]
    assert task.outputs() == ["forecast", "quantile 0.1", "quantile 0.5", "quantile 0.9"]


def test_the_scorer_equals_scores_of_resampled_rows() -> None:
    generator = np.random.default_rng(0)
    task = Forecast(ForecastConfig(), target())
    names = ("count", "absolute", "squared", "relative", "pinball", "inside", "width")
    rows = {name: generator.random((5, 2)) + 1 for name in names} | {"block": np.arange(5)}
    weights = generator.integers(0, 3, (4, 5))
    found = task.scorer(rows)(weights)
    for place, draw in enumerate(weights):
        again = task.score({name: values.repeat(draw, axis=0) for name, values in rows.items()})
        for name, value in again.items():
            assert found[name][place] == pytest.approx(value), name


@pytest.mark.parametrize("normalise", ["instance", "last"])
def test_normalised_networks_follow_level_and_spread(normalise: str) -> None:
    torch.manual_seed(0)

    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, seen: Tensor, ahead: Tensor) -> Tensor:
            outputs: Tensor = self.linear(seen[..., 0])[..., None]
            return outputs

    network = Normalised(Weights(), normalise).double()
    seen = torch.cat((torch.randn(4, 8, 1, dtype=torch.float64), torch.ones(4, 8, 1, dtype=torch.float64)), -1)
    ahead = torch.zeros(4, 3, 0, dtype=torch.float64)
    factor = 3.0 if normalise == "instance" else 1.0
    moved = torch.cat((seen[..., :1] * factor + 7, seen[..., 1:]), -1)
    tolerance = 1e-4 if normalise == "instance" else 1e-10  # a small number is added to the variance
    torch.testing.assert_close(network(moved, ahead), network(seen, ahead) * factor + 7, rtol=tolerance, atol=tolerance)


def test_the_instance_norm_looks_at_known_values_only_and_survives_constants() -> None:
    class First(nn.Module):
        def forward(self, seen: Tensor, ahead: Tensor) -> Tensor:
            return seen[:, :1, :1]

    value = torch.tensor([[[1.0], [3.0], [99.0]], [[4.0], [4.0], [4.0]]])
    known = torch.tensor([[[1.0], [1.0], [0.0]], [[1.0], [1.0], [1.0]]])
    outputs = Normalised(First(), "instance")(torch.cat((value, known), -1), torch.zeros(2, 1, 0))
    torch.testing.assert_close(outputs[:, 0, 0], torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(Normalised(First(), "none")(value, torch.zeros(2, 1, 0)), value[:, :1])


def test_settings_that_do_not_exist_name_the_nearest() -> None:
    with pytest.raises(InputError, match="squared"):
        ForecastConfig(loss="squred")
    with pytest.raises(InputError, match="instance"):
        ForecastConfig(normalise="instanc")


def noisy(count: int = 400, seed: int = 0) -> pl.DataFrame:
    """Days of a weekly pattern with a trend and noise of spread 1."""
    generator = np.random.default_rng(seed)
    steps = np.arange(count)
    values = 50 + 0.02 * steps + 5 * np.sin(2 * np.pi * steps / 7) + generator.standard_normal(count)
    dates = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=count - 1), "1d", eager=True)
    return pl.DataFrame({"date": dates, "sales": values})


def test_baselines_have_scores_and_intervals_that_cover() -> None:
    config = DataConfig(horizon=7, window=21)
    parts, _ = complete(series.read(open_source(noisy(700)), config), config)
    schema = series.learn_schema(parts["train"], config)
    samples = {name: series.encode(records, schema) for name, records in parts.items()}
    task = Forecast(ForecastConfig(), schema.target)
    found = {entry["name"]: entry for entry in series_baselines(samples, schema.target, task.score)}
    assert list(found) == ["naive", "seasonal naive (7)", "drift"]
    assert found["seasonal naive (7)"]["mase"] == pytest.approx(1, abs=0.2)
    assert found["naive"]["mase"] > 2
    assert 0.65 < found["seasonal naive (7)"]["coverage"] < 0.95  # 0.8 is meant, 105 days are scored


SMALL = {"train.compile": "off", "train.precision": "float32", "train.threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> chainrule.TrainedRun:
    folder = tmp_path_factory.mktemp("forecast")
    noisy(600).write_csv(folder / "sales.csv")
    return chainrule.fit(folder / "sales.csv", horizon=7, epochs=20, out=folder / "run", set=SMALL)


def test_a_run_beats_its_baselines_with_intervals_that_cover(run: chainrule.TrainedRun) -> None:
    scores = run.metrics
    assert scores["task"] == "forecast"
    assert scores["test"]["mase"] < 0.9 * scores["baseline"]["mase"]
    assert 0.68 < scores["test"]["coverage"] < 0.92
    low, high = scores["interval"]["mase"]
    assert low < scores["test"]["mase"] < high
    assert run.evaluate()["metrics"] == pytest.approx(scores["test"])
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Backtests" in page


def test_a_run_continues_its_series(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    table = run.predict(out=tmp_path / "next.csv")
    assert table["time"].to_list()[:2] == ["2021-08-23", "2021-08-24"]
    assert table.columns == ["time", "series", "forecast", "lower", "upper"]
    assert ((table["lower"] <= table["forecast"]) & (table["forecast"] <= table["upper"])).all()
    again = pl.read_csv(tmp_path / "next.csv")
    np.testing.assert_allclose(again["forecast"], table["forecast"])
    assert (tmp_path / "next.svg").read_text(encoding="utf-8").count("<polygon") == 1
    steps = np.arange(600, 607)
    truth = 50 + 0.02 * steps + 5 * np.sin(2 * np.pi * steps / 7)
    assert float(np.abs(table["forecast"].to_numpy() - truth).mean()) < 1.2


def test_longer_horizons_roll_on_with_wider_intervals(run: chainrule.TrainedRun) -> None:
    table = run.predict(horizon=18)
    assert len(table) == 18
    assert any("look back on forecasts" in note for note in run.notes)
    np.testing.assert_allclose(table["forecast"][:7], run.predict()["forecast"])
    widths = (table["upper"] - table["lower"]).to_numpy()
    assert widths[7:14].mean() > widths[:7].mean()
    assert widths[14:].mean() > widths[7:14].mean()
    assert len(run.predict(horizon=3)) == 3


def test_a_newer_file_is_continued_from_its_own_end(run: chainrule.TrainedRun, tmp_path: Path) -> None:
    noisy(650).write_csv(tmp_path / "newer.csv")
    assert run.predict(tmp_path / "newer.csv")["time"][0] == "2021-10-12"
    with pytest.raises(InputError, match="known values to look back on"):
        run.predict(noisy(10))


@pytest.mark.parametrize("model", ["lstm", "gru", "rnn", "tcn"])
def test_every_network_trains_and_continues(model: str, tmp_path: Path) -> None:
    settings = SMALL | {"model.hidden": 8, "data.window": 14}
    done = chainrule.fit(noisy(200), horizon=7, model=model, epochs=1, out=tmp_path / "run", set=settings)
    assert math.isfinite(done.metrics["test"]["mase"])
    assert done.predict(noisy(200))["forecast"].is_finite().all()


def test_several_series_known_columns_and_unknown_ones(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    promo = generator.integers(0, 2, 307)
    dates = noisy(307)["date"]
    rows = []
    for name, level in (("north", 0.0), ("south", 500.0)):
        sales = level + 20 * promo + generator.standard_normal(307)
        sales[300:] = np.nan
        rows.append(pl.DataFrame({"date": dates, "shop": [name] * 307, "sales": sales, "promo": promo}))
    data = pl.concat(rows).with_columns(pl.col("sales").fill_nan(None))
    data.write_csv(tmp_path / "shops.csv")
    settings = SMALL | {"data.known": "promo", "optimizer.learning_rate": 0.02}
    done = chainrule.fit(tmp_path / "shops.csv", horizon=7, epochs=15, out=tmp_path / "run", set=settings)
    table = done.predict()
    assert table["series"].to_list()[:2] == ["north", "south"]
    found = table["forecast"].to_numpy().reshape(7, 2)
    wanted = 20.0 * promo[300:, None] + np.array([0.0, 500.0])
    assert np.abs(found - wanted).mean() < 6  # promo alone moves sales by 20
    with pytest.raises(InputError, match="'promo' must be known ahead"):
        done.predict(horizon=8)


def test_columns_that_are_not_known_ahead_end_at_the_horizon(tmp_path: Path) -> None:
    data = noisy(200).with_columns(heat=pl.col("sales") ** 2)
    done = chainrule.fit(data, horizon=7, target="sales", epochs=1, out=tmp_path / "run", set=SMALL, model="gru")
    assert done.session.schema.past_names == ("heat",)
    with pytest.raises(InputError, match="heat is not known after"):
        done.predict(data, horizon=8)


def test_intervals_are_stretched_until_they_cover() -> None:
    truth = np.random.default_rng(0).standard_normal(5000)
    below, above = (-0.5 - truth) / 1.0, (truth - 0.5) / 1.0  # an interval from -0.5 to 0.5
    low, high = stretch_of(below, above, QUANTILES)
    assert ((truth < -0.5 - low).mean(), (truth > 0.5 + high).mean()) == pytest.approx((0.1, 0.1), abs=0.001)
    assert stretch_of(np.array([np.nan]), np.array([np.nan]), QUANTILES) == (0.0, 0.0)
    assert stretch_of(np.array([-9.0]), np.array([9.0]), QUANTILES) == (-0.4, 4.0)
    few = np.linspace(-1, 1, 40).reshape(4, 10)  # 4 windows whose 10 steps miss together: the farthest miss counts
    assert stretch_of(few, few, QUANTILES) == (1.0, 1.0)
    task = Forecast(ForecastConfig(), target(stretch=(0.5, 1.0)))
    _, quantiles = task.forecast(Constant(torch.tensor([0.0, -1.0, 0.0, 1.0]).expand(2, 3, 4)), batch())
    assert quantiles[0, 0, 0].tolist() == [1 + 2 * -2.0, 1.0, 1 + 2 * 3.0]


def test_the_stretch_is_settled_on_valid_and_kept(run: chainrule.TrainedRun) -> None:
    stretch = run.session.schema.target.stretch
    assert stretch != (0.0, 0.0)
    assert run.metrics["valid"]["coverage"] == pytest.approx(0.8, abs=0.02)


ENTRIES = [name for name, entry in CATALOG.items() if entry.kinds == ("series",)]
SIZES = {"window": 12, "horizon": 3, "columns": 1, "in_features": 4, "known_features": 2, "num_classes": 4, "hidden": 5}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    entry = CATALOG[name]
    known = {field.name for field in dataclasses.fields(entry.config)}
    return entry.build(entry.config(**entry.settings, **{key: size for key, size in SIZES.items() if key in known}))


def window(rows: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 12, 4, generator=generator), torch.randn(rows, 3, 2, generator=generator)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_contract_of_networks_for_series(name: str) -> None:
    network = built(name).train()
    outputs = network(*window())
    assert outputs.shape == (4, 3, 4)
    (outputs**2).sum().backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().sum() > 0, path
    network.eval()
    with torch.no_grad():
        whole = network(*window())
        assert torch.equal(whole, network(*window()))
        alone = torch.cat([network(*(x[row : row + 1] for x in window())) for row in range(4)])
        torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)  # float32 kernels differ by batch size
        again = built(name).eval()
        again.load_state_dict(network.state_dict(), strict=True)
        assert torch.equal(again(*window()), whole)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(*window()).isfinite().all()


def test_individual_columns_have_weights_of_their_own() -> None:
    config = DLinearConfig(window=12, horizon=3, columns=2, known_features=0, num_classes=1, individual=True)
    network, seen = DLinear(config), torch.ones(4, 12, 1)  # two windows of two columns
    outputs = network(seen, torch.zeros(4, 3, 0))
    torch.testing.assert_close(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_parts_given_as_files(tmp_path: Path) -> None:
    whole = noisy(400)
    for name, part in (("train", whole[:300]), ("valid", whole[250:350]), ("test", whole[300:])):
        part.write_csv(tmp_path / f"{name}.csv")
    done = chainrule.fit(tmp_path, horizon=7, epochs=1, out=tmp_path / "run", set=SMALL | {"data.window": 14})
    assert done.metrics["rows"] == {"train": 280, "valid": 80 - 30, "test": 80}  # 30 stand in train
