"""Anomalies: the score's parts by hand, the threshold and its false alarms, which rows are learned from, baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.stats import beta
from torch.distributions import Bernoulli, kl_divergence

import chainrule
from chainrule.data.config import DataConfig
from chainrule.data.normal import normal_rows, with_anomalies
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.data.table import read
from chainrule.functional.anomaly import (
    bernoulli_divergence,
    called_of,
    distance,
    false_alarm_bounds,
    precision_of,
    threshold_of,
    usual_misfit,
)
from chainrule.functional.spread import shrunk_covariance
from chainrule.prepare import prepare

QUICK = {
    "model.code": 2, "train.epochs": 30, "optimizer.learning_rate": 3e-3, "train.precision": "float32",
    "train.compile": "off",
}  # fmt: skip
NORMAL = DataConfig(task="reconstruct", normal=("ok",))


def machines(bad: int = 30, ok: int = 270, seed: int = 0) -> pl.DataFrame:
    """Six columns of which four follow from two, but not in rows that are "bad"."""
    generator = np.random.default_rng(seed)
    base, mixed = generator.normal(size=(ok + bad, 2)), generator.normal(size=(2, 4))
    values = np.concatenate((base, base @ mixed + generator.normal(size=(ok + bad, 4)) / 10), 1)
    values[ok:] = 2 * generator.normal(size=(bad, 6))
    order = generator.permutation(ok + bad)
    labels = np.array(["ok"] * ok + ["bad"] * bad)[order]
    return pl.DataFrame(values[order], schema=list("abcdef")).with_columns(pl.Series("class", labels))


# the score


def test_what_pixels_cost_beyond_themselves_is_a_divergence() -> None:
    logits, truth = torch.randn(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    expected = kl_divergence(Bernoulli(truth), Bernoulli(logits=logits))
    torch.testing.assert_close(bernoulli_divergence(logits, truth), expected, rtol=0, atol=1e-12)
    exact = torch.tensor([0.0, 0.25, 1.0])
    met = bernoulli_divergence(torch.logit(exact).clamp(-50, 50), exact)
    assert met.tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_distance_is_one_on_average_of_what_it_was_fitted_to() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(500, 3)) @ generator.normal(size=(3, 3)) + 5
    precision, mean = precision_of(points), points.mean(0)
    np.testing.assert_allclose(precision @ shrunk_covariance(points), np.eye(3), atol=1e-9)
    found = distance(*(torch.from_numpy(x) for x in (points, mean, precision)))
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    expected = [mahalanobis(point, mean, precision) ** 2 / 3 for point in points[:5]]
    np.testing.assert_allclose(found[:5], expected, rtol=1e-9)


def test_codes_that_never_differ_have_no_distance() -> None:
    same = np.ones((20, 4))
    assert (precision_of(same) == 0).all()


def test_usual_misfits_by_hand() -> None:
    sums, known = np.array([[1.0, 0.0, 0.0], [3.0, 0.0, 0.5]]), np.array([[1, 1, 0], [1, 1, 1]])
    usual = usual_misfit(sums, known)
    np.testing.assert_allclose(usual, [2.0, 0.01 * 2.5 / 3, 0.5])  # nothing counts for less than a hundredth
    assert usual_misfit(np.zeros((2, 2)), np.ones((2, 2))).tolist() == [1, 1]


# the threshold


def test_the_threshold_is_an_order_statistic() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 99 of them
    assert threshold_of(scores, 0.05) == 95  # five of 99 reach it: 5 = 0.05 x 100
    assert (called_of(99, 0.05), called_of(98, 0.05), called_of(5, 0.05), called_of(5, 0.99)) == (5, 4, 1, 5)
    assert threshold_of(np.array([3.0, 1.0]), 0.05) == 3
    assert threshold_of(np.zeros(3), 0.05) > 0  # 0 would say that none is settled


def test_false_alarms_lie_within_their_bounds() -> None:
    low, high = false_alarm_bounds(40, 0.1)
    assert (low, high) == pytest.approx(beta(4, 37).ppf([0.025, 0.975]).tolist())
    generator = np.random.default_rng(0)
    true = []
    for _ in range(2000):  # of exponential scores the share above a threshold is known
        true.append(np.exp(-threshold_of(generator.exponential(size=40), 0.1)))
    assert np.mean(true) == pytest.approx(4 / 41, abs=0.003)
    assert np.mean((np.array(true) >= low) & (np.array(true) <= high)) == pytest.approx(0.95, abs=0.015)
    assert np.mean(true) <= 0.1


# which rows are learned from


def parts_of(frame: pl.DataFrame, config: DataConfig = NORMAL) -> tuple[dict[str, Any], str]:
    divided, words = complete(read(open_source(frame), config), config)
    return normal_rows(divided, config)[0], words


def test_all_anomalies_are_tested_on() -> None:
    parts, words = parts_of(machines())
    assert {name: set(part.labels.tolist()) for name, part in parts.items()} == {
        "train": {"ok"}, "valid": {"ok"}, "test": {"ok", "bad"}
    }  # fmt: skip
    assert (parts["test"].labels == "bad").sum() == 30
    assert sum(map(len, parts.values())) == 300
    assert "the 26 anomalies of train and valid are tested on as well" in words
    assert words.startswith("189 / 40 / 71 rows")


def test_a_given_test_part_stays_as_it_is() -> None:
    frame = machines()
    prepared = prepare({"train": frame[:200], "test": frame[200:]}, NORMAL)
    assert prepared.parts["test"].labels is not None
    assert (prepared.parts["test"].labels == "bad").sum() == (frame["class"][200:] == "bad").sum()
    assert prepared.parts["train"].labels is not None
    assert set(prepared.parts["train"].labels.tolist()) == {"ok"}


def test_no_group_stands_on_both_sides() -> None:
    groups = np.random.default_rng(1).integers(0, 40, 300)
    frame = machines().with_columns(pl.Series("patient", groups))
    config = DataConfig(task="reconstruct", normal=("ok",), group="patient")
    parts, words = parts_of(frame, config)
    learned = {*parts["train"].groups.tolist(), *parts["valid"].groups.tolist()}
    assert not learned & set(parts["test"].groups.tolist())
    assert "of a group that is learned from are left out" in words
    lone = np.where(frame["class"] == "bad", 100 + np.arange(300), groups)  # anomalies by themselves can all move
    parts, words = parts_of(frame.with_columns(pl.Series("patient", lone)), config)
    assert (parts["test"].labels == "bad").sum() == 30
    assert "left out" not in words


def test_rows_in_order_of_time_do_not_move() -> None:
    frame = machines().with_columns(pl.Series("day", np.arange(300)))
    config = DataConfig(task="reconstruct", normal=("ok",), time="day")
    parts, _ = parts_of(frame, config)
    assert min(parts["test"].times) > max(parts["valid"].times)


def test_pollution_is_a_share_of_train_and_valid() -> None:
    config = DataConfig(task="reconstruct", normal=("ok",), polluted=0.1)
    parts, _ = parts_of(machines(60, 300), config)
    for name in ("train", "valid"):
        assert (parts[name].labels == "bad").mean() == pytest.approx(0.1, abs=0.02)
    learned = np.concatenate((parts["train"].rows, parts["valid"].rows))
    assert not set(learned.tolist()) & set(parts["test"].rows.tolist())
    clean, _ = parts_of(machines(60, 300))
    normal = parts["train"].rows[parts["train"].labels == "ok"]
    assert normal.tolist() == clean["train"].rows.tolist()


def test_moving_by_hand() -> None:
    labels = np.array(["ok", "bad", "ok", "bad", "ok", "bad", "bad"])
    groups = np.array([0, 0, 1, 2, 3, 4, 2])
    train, valid, test, words = with_anomalies(
        labels, groups, np.array([0, 1, 2, 3]), np.array([4, 6]), np.array([5]), NORMAL
    )
    assert (train.tolist(), valid.tolist(), test.tolist()) == ([0, 2], [4], [3, 5, 6])
    assert "the 2 anomalies" in words
    assert "1 of a group" in words


# columns and labels of tables


def test_the_label_is_found_by_its_name_and_never_learned() -> None:
    records = read(open_source(machines()), DataConfig(task="reconstruct"))["all"]
    assert records.target == "class"
    assert "'class' is taken as the label" in records.notes[0].text
    named = machines().rename({"class": "state"})
    assert read(open_source(named), DataConfig(task="reconstruct"))["all"].target == ""
    told = read(open_source(named), DataConfig(task="reconstruct", target="state"))["all"]
    assert told.target == "state"
    prepared = prepare(named, DataConfig(task="reconstruct", target="state"))
    assert "state" not in prepared.schema.target.columns
    assert prepared.schema.target.columns == tuple("abcdef")


def test_rows_without_a_label_are_learned_from_where_it_only_judges() -> None:
    known = pl.when(pl.int_range(300) < 100).then(None).otherwise(pl.col("class"))
    frame = machines().with_columns(known.alias("class"))
    judged = prepare(frame, DataConfig(task="reconstruct"))
    assert sum(map(len, judged.parts.values())) == 300
    needed = prepare(frame, NORMAL)
    assert sum(map(len, needed.parts.values())) == 200
    assert any("without a value of the target 'class'" in finding.text for finding in needed.findings)


def test_labels_without_normal_classes_are_said_to_only_judge() -> None:
    told = [finding.text for finding in prepare(machines(), DataConfig(task="reconstruct")).findings]
    assert any("--set data.normal=ok" in text and "no anomalies are scored" in text for text in told)
    assert not any("data.normal=" in finding.text for finding in prepare(machines(), NORMAL).findings)


@pytest.mark.parametrize("form", ["frame", "pair", "array", "npz", "dict", "one column", "without a header"])
def test_tables_of_any_form_need_no_target(tmp_path: Path, form: str) -> None:
    frame = machines()
    values = frame.drop("class").to_numpy()
    sources: dict[str, Any] = {
        "frame": frame.drop("class"), "pair": (values, frame["class"].to_numpy()), "array": values,
        "npz": tmp_path / "x.npz", "dict": {"x_train": values[:200], "x_test": values[200:]},
        "one column": frame.select("a"), "without a header": tmp_path / "x.csv",
    }  # fmt: skip
    np.savez(tmp_path / "x.npz", x=values)
    np.savetxt(tmp_path / "x.csv", values, delimiter=",")
    prepared = prepare(sources[form], DataConfig(task="reconstruct"))
    assert len(prepared.schema.target.columns) == (1 if form == "one column" else 6)
    assert prepared.schema.target.label == ("y" if form == "pair" else "")


def test_places_of_a_vector_know_their_column() -> None:
    frame = pl.DataFrame({
        "age": [1.0, 2.0, None, 4.0, 5.0, 7.5] * 10, "day": ["2020-01-05", "2021-02-07", "2022-03-01"] * 20,
        "city": (["Rome"] * 30 + ["Oslo"] * 29 + [None]),
    })  # fmt: skip
    target = prepare(frame, DataConfig(task="reconstruct")).schema.target
    assert len(target.columns) == len(target.names)
    assert set(target.columns) == {"age", "day", "city"}
    for name, column in zip(target.names, target.columns, strict=True):
        assert name.startswith(column)


# whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("anomalies")
    machines().write_csv(folder / "machines.csv")
    return chainrule.fit(
        folder / "machines.csv", task="reconstruct", out=folder / "run", set={**QUICK, "data.normal": ("ok",)}
    )


def test_anomalies_are_found_and_scored(run: Any) -> None:
    test, interval = run.metrics["test"], run.metrics["interval"]
    assert test["roc_auc"] > 0.95
    assert test["detected"] > 0.8
    assert test["false_alarms"] < 0.25
    assert {"roc_auc", "average_precision", "detected", "false_alarms", "mse"} <= set(interval)
    limit = run.metrics["threshold"]
    assert limit["score"] == run.session.schema.target.threshold > 0
    assert (limit["rows"], limit["false_alarms"], limit["few"]) == (40, 0.05, False)
    assert limit["interval"] == pytest.approx(list(false_alarm_bounds(40, 0.05)))
    assert any(line.startswith("threshold ") and "by 40 validation rows" in line for line in run.lines())


def test_normal_rows_score_two(run: Any) -> None:
    frame = machines().filter(pl.col("class") == "ok")
    assert float(run.predict(frame)["score"].mean()) == pytest.approx(2, abs=0.3)


def test_answers_name_the_column_that_is_most_anomalous(run: Any) -> None:
    frame = machines().filter(pl.col("class") == "ok").head(8)
    usual = run.predict(frame)
    assert usual.columns == ["id", "score", "mse", "anomaly", "most", "share"]
    assert usual["anomaly"].sum() <= 1
    broken = run.predict(frame.with_columns(e=pl.col("e") + 30))
    assert broken["anomaly"].all()
    assert set(broken["most"].to_list()) == {"e"}
    assert (broken["share"] > 0.4).all()


def test_a_new_source_is_judged_by_the_names_of_its_labels(run: Any) -> None:
    frame = machines()
    found = run.evaluate(frame)["metrics"]
    assert found["roc_auc"] > 0.95
    renamed = frame.with_columns(pl.col("class").replace({"bad": "broken"}))  # a class that there never was
    assert run.evaluate(renamed)["metrics"] == found
    moved = frame.select("class", *reversed(list("abcdef")))
    assert run.evaluate(moved)["metrics"] == found
    unlabelled = run.evaluate(frame.drop("class"))["metrics"]
    assert "roc_auc" not in unlabelled
    assert unlabelled["mse"] == found["mse"]
    partly = frame.with_columns(pl.when(pl.int_range(300) < 5).then(None).otherwise(pl.col("class")).alias("class"))
    assert run.evaluate(partly)["rows"] == 295
    assert run.evaluate(frame.filter(pl.col("class") == "ok"))["metrics"].keys() == unlabelled.keys()


def test_a_resumed_run_settles_anew(run: Any) -> None:
    before = run.metrics
    again = chainrule.resume(run.path)
    assert again.metrics["threshold"] == before["threshold"]
    assert again.metrics["test"] == before["test"]


def test_baselines_are_scored_by_the_same_names(run: Any) -> None:
    entries = {entry["name"]: entry for entry in run.metrics["baselines"]}
    assert list(entries) == ["mean row", "PCA, 2 numbers", "z-score", "isolation forest"]
    shared = {"roc_auc", "average_precision", "detected", "false_alarms"}
    assert all(shared <= set(entry) and entry["note"] == "" for entry in entries.values())
    assert {"mse"} <= set(entries["mean row"]) & set(entries["PCA, 2 numbers"])
    assert entries["PCA, 2 numbers"]["mse"] < entries["mean row"]["mse"]
    assert run.metrics["baseline"]["roc_auc"] == max(entry["roc_auc"] for entry in entries.values())


def test_the_cost_of_unnoticed_anomalies_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    run = chainrule.fit(
        machines(60, 300), task="reconstruct", out=tmp_path / "run", tell=told.append,
        set={**QUICK, "data.normal": ("ok",), "data.polluted": 0.1},
    )  # fmt: skip
    clean = run.metrics["clean"]["test"]
    assert clean["roc_auc"] != run.metrics["test"]["roc_auc"]
    twin = chainrule.load(tmp_path / "run" / "clean")
    assert twin.metrics["test"] == clean
    assert twin.metrics["rows"]["test"] == run.metrics["rows"]["test"]
    assert any(line.startswith("clean ") for line in told)
    assert any(line.startswith("clean ") and f"{clean['roc_auc']:.4g}" in line for line in run.lines())
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What anomalies among the rows to learn from cost" in report
    assert f"{clean['roc_auc']:.4g}" in report
