"""What somebody meets who brings files, modules and options that nobody tried before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import chainrule
from chainrule.cli import run
from chainrule.errors import InputError

SHORT = ["--epochs", "2", "--model", "mlp"]
DRAWN = np.random.default_rng(0).normal(size=(120, 4))
ANSWERS = (DRAWN[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with numbers, words and an answer."""
    path = tmp_path_factory.mktemp("data") / "flats.csv"
    rows = [f"{x:.4f},{i % 7},{('red', 'blue')[i % 2]},{('no', 'yes')[int(x > 0)]}" for i, x in enumerate(DRAWN[:, 0])]
    path.write_text("size,rooms,door,sold\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(flats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished short run on it."""
    out = tmp_path_factory.mktemp("runs") / "flats"
    assert run(["fit", str(flats), "--target", "sold", "--out", str(out), *SHORT, "--set", "model.hidden=7"]) == 0
    return out


def arrays(out: Path, **options: Any) -> chainrule.TrainedRun:
    return chainrule.fit((DRAWN, ANSWERS), **{"epochs": 2, "model": "mlp", "out": out, **options})


def test_rooms_do_not_hide_the_functions_of_their_name() -> None:
    code = (
        "import chainrule, chainrule.trace.iteration, chainrule.models.mlp as mlp; assert mlp.MLP; "
        "assert chainrule.models('mlp')[0]['name'] == 'mlp'; assert chainrule.trace('xor').text()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("folds", ["1", "-2", "500"])
def test_folds_that_cannot_be_are_refused_before_training(folds: str, flats: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(["fit", str(flats), "--target", "sold", "--folds", folds, "--out", str(out), *SHORT]) == 2
    assert not out.exists()


def test_a_recipe_repeats_its_run_and_serves_other_data(flats: Path, trained: Path, tmp_path: Path) -> None:
    recipe = ["--recipe", str(trained / "recipe.json")]
    assert run(["fit", str(flats), *recipe, "--out", str(tmp_path / "again")]) == 0
    old, new = (json.loads((path / "metrics.json").read_text()) for path in (trained, tmp_path / "again"))
    assert (new["model"], new["parameters"], new["test"]) == (old["model"], old["parameters"], old["test"])
    wider = tmp_path / "wider.csv"
    pl.read_csv(flats).with_columns(more=pl.col("size") ** 2).write_csv(wider)
    assert run(["fit", str(wider), *recipe, "--epochs", "3", "--out", str(tmp_path / "wider")]) == 0
    assert json.loads((tmp_path / "wider/metrics.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "clasify"], "did you mean 'classify'"),
        (["--set", "task.name=regress"], "regress needs numbers"),
        (["--set", "model.name=mpl"], "did you mean 'mlp'"),
        (["--set", "data.tarhet=a"], "data.target"),
        (["--set", "train.threads=-1"], "train.threads"),
        (["--lr", "inf"], "learning_rate"),
    ],
)
def test_settings_are_heard_or_refused(
    words: list[str], message: str, flats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fit", str(flats), "--target", "sold", "--out", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["nowhere/answers.csv", "."])
def test_an_answer_file_needs_a_place(
    place: str, flats: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(trained), str(flats), "--out", str(tmp_path / place)]) == 2
    assert run(["trace", str(flats), "--target", "sold", "--out", str(tmp_path / place)]) == 2
    assert capsys.readouterr().err.count("is no place for a file") == 2


def test_predict_tells_of_cells_it_could_not_read(
    flats: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.read_csv(flats)
    many = pl.concat([frame] * 2).with_columns(size=pl.int_range(240).cast(pl.String))
    many.with_columns(size=pl.when(pl.col("size") == "9").then(pl.lit("oops")).otherwise("size")).write_csv(
        tmp_path / "a.csv"
    )
    assert run(["predict", str(trained), str(tmp_path / "a.csv")]) == 0
    assert "'oops' in row 10" in capsys.readouterr().err
    frame.drop("door").write_csv(tmp_path / "b.csv")
    for verb in ("predict", "evaluate"):
        assert run([verb, str(trained), str(tmp_path / "b.csv")]) == 2
        assert "missing column: 'door'" in capsys.readouterr().err


def test_predict_says_what_a_folder_holds(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("size,rooms,door,sold\n1,2,red,no\n")
    assert run(["predict", str(trained), str(tmp_path)]) == 2
    assert "holds train, test" in capsys.readouterr().err


def test_a_batch_with_missing_cells_is_traced(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("a,b,y\n" + "".join(f"{'' if i % 2 else i},{i % 5},{i % 3 > 0}\n" for i in range(60)))
    assert run(["trace", str(path), "--target", "y"]) == 0


def test_a_run_with_parts_of_its_own_goes_on_from_another_folder(
    flats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flats.parent)
    frame = pl.read_csv(flats)
    frame[:30].write_csv("part.csv")
    frame[30:].write_csv("rest.csv")
    out = tmp_path / "run"
    assert run(["fit", "rest.csv", "--target", "sold", "--test", "part.csv", "--out", str(out), *SHORT]) == 0
    monkeypatch.chdir(tmp_path)
    assert run(["resume", str(out), "--epochs", "3"]) == 0
    assert run(["evaluate", str(out)]) == 0


def test_parts_in_memory(tmp_path: Path) -> None:
    parts = {"train": (DRAWN[:90], ANSWERS[:90]), "test": (DRAWN[90:], ANSWERS[90:])}
    trained = chainrule.fit(parts["train"], test=parts["test"], model="mlp", epochs=2, out=tmp_path / "run")
    assert trained.metrics["rows"]["test"] == 30
    assert chainrule.resume(trained.path, parts, epochs=3).metrics["epochs"] == 3


def test_data_in_memory_that_does_not_fit_is_explained() -> None:
    with pytest.raises(InputError, match="X has 120 rows and y has 119"):
        chainrule.look((DRAWN, ANSWERS[:-1]))
    rows = [{"a": float(x), "y": int(x > 0)} for x in DRAWN[:, 0]]
    assert chainrule.look(rows, target="y").prepared.kind.NAME == "table"
    with pytest.raises(InputError, match=r"reaches .*below 1e30"):
        chainrule.look((DRAWN, DRAWN[:, 0] * 1e300))
    beyond = np.full((120, 1), 2**64 - 1, dtype=np.uint64) - (np.arange(120) % 7).astype(np.uint64)[:, None]
    assert chainrule.look((beyond, ANSWERS)).baselines


def test_a_column_of_one_value_and_gaps_is_learned_from(tmp_path: Path) -> None:
    gaps = np.where(np.arange(60) % 3 == 0, np.nan, 5.0)[:, None]
    trained = chainrule.fit((gaps, np.isnan(gaps[:, 0]).astype(int)), epochs=2, out=tmp_path / "run")
    assert len(trained.predict(gaps)) == 60


def test_spellings_of_one_class_are_named(tmp_path: Path) -> None:
    path = tmp_path / "typo.csv"
    path.write_text("a,y\n" + "".join(f"{i},{'Yes' if i in (3, 50) else ('yes', 'no')[i % 2]}\n" for i in range(60)))
    texts = [finding.text for finding in chainrule.look(path, target="y").prepared.findings]
    assert "classes 'yes' and 'Yes' may be one class in several spellings" in texts
    assert not any("repeat an earlier one" in text for text in texts)  # row numbers, all there is, tell rows apart


def test_decimal_commas_with_thousands_points(tmp_path: Path) -> None:
    path = tmp_path / "euro.csv"
    path.write_text("price;y\n" + "".join(f"{i}.{100 + i},{i % 90 + 10};{i % 2}\n" for i in range(1, 61)))
    assert [n.name for n in chainrule.look(path, target="y").prepared.schema.numbers] == ["price"]


def test_a_truth_table_has_no_interval_anywhere(tmp_path: Path) -> None:
    trained = chainrule.fit("and", out=tmp_path / "run")
    assert trained.metrics["interval"] == trained.evaluate()["interval"] == {}
    assert not any("explain" in line for line in trained.lines())


@pytest.mark.parametrize("text", ["[]", '{"format": 1}', '{"format": 1, "model": 3}', "{"])
def test_a_broken_recipe_is_one_message(
    text: str, flats: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/recipe.json").write_text(text)
    for words in (["predict", str(tmp_path / "run"), str(flats)], ["resume", str(tmp_path / "run")]):
        assert run(words) == 2
        assert "recipe.json" in capsys.readouterr().err


def test_resume_says_that_there_is_nothing_to_go_on_from(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("step-*"))
    assert run(["resume", str(tmp_path / "run")]) == 0
    assert "starts from its first step" in capsys.readouterr().out


def test_an_early_stop_is_said(flats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", str(flats), "--target", "sold", "--model", "mlp", "--epochs", "300", "--out", str(tmp_path / "run")]
    assert run([*words, "--lr", "0.5", "--set", "train.patience=2"]) == 0
    steps = json.loads((tmp_path / "run/metrics.json").read_text())["steps"]
    assert f"after {steps} of 900 steps: no better value in 2 evaluations" in capsys.readouterr().out


class Own(nn.Module):
    """A person's module."""

    def __init__(self, features: int = 4, outputs: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(features, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layer(x)


def test_a_module_of_ones_own_predicts_and_comes_back(tmp_path: Path) -> None:
    trained = arrays(tmp_path / "run", model=Own())
    answers = trained.predict(DRAWN)
    assert chainrule.load(trained.path, model=Own()).predict(DRAWN).equals(answers)
    with pytest.raises(InputError, match="model="):
        chainrule.load(trained.path).predict(DRAWN)
    longer = chainrule.resume(trained.path, (DRAWN, ANSWERS), model=Own(), epochs=3)
    assert len(longer.predict(DRAWN)) == 120
    with pytest.raises(InputError, match=r"gives \(2, 3\)"):
        chainrule.resume(trained.path, (DRAWN, ANSWERS), model=Own(4, 3), epochs=4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Own, "an nn.Module that is built"),
        (Own(3), r"fails on a batch of shape \(2, 4\)"),
        (Own(4, 3), r"expected logits of shape \(2, 2\) or \(2, 1\)"),
        (nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(2)), "no weights"),
    ],
)
def test_a_module_that_does_not_fit_is_refused_before_training(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        arrays(tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()


def test_folds_start_from_the_weights_the_module_came_with(tmp_path: Path) -> None:
    first: list[float] = []
    for rate in (1e-9, 0.5):  # what the training before the folds learns must not matter to them
        torch.manual_seed(0)
        trained = arrays(tmp_path / str(rate), model=Own(), folds=2, epochs=20, lr=rate)
        events = (trained.path / "folds/0/events.jsonl").read_text().split("\n")
        first.append(json.loads(events[0])["loss"])
    assert first[0] == pytest.approx(first[1], rel=1e-6)


def test_a_fold_is_judged_on_its_own_test_rows(tmp_path: Path) -> None:
    chainrule.fit("iris", model="mlp", epochs=2, folds=3, out=tmp_path / "run")
    fold = chainrule.load(tmp_path / "run" / "folds" / "1")
    again = fold.evaluate()
    assert again["rows"] == fold.metrics["rows"]["test"]
    assert again["metrics"] == fold.metrics["test"]
