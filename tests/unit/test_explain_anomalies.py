"""Why rows are strange: columns, places, moments and words that were built worst, and the page that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.unit.test_reconstruct_sequences import HOURS, NORMAL, WINDOW, frame, sounds

import chainrule
from chainrule.errors import InputError
from chainrule.explain.anomalies import AnomalyExplanation
from chainrule.explain.elements import elements_of
from chainrule.explain.stretches import curve_svg, explain_moments, stretches
from chainrule.tasks.moments import Moments

QUICK = {"train.compile": "off"}


def explained(run: Any, source: Any = None) -> AnomalyExplanation:
    found = run.explain(source)
    assert isinstance(found, AnomalyExplanation)
    return found


def table(rows: int = 300) -> pl.DataFrame:
    """Three columns that depend on one hidden number, and a word."""
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=rows)
    noise = draw.normal(size=(3, rows)) / 20
    return pl.DataFrame(
        {
            "height": 170 + 10 * (hidden + noise[0]),
            "weight": 70 + 12 * (hidden + noise[1]),
            "reach": 75 + 9 * (hidden + noise[2]),
            "hand": ["left" if value < 0 else "right" for value in hidden],
        }
    )


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    table().write_csv(folder / "people.csv")
    chainrule.fit(
        folder / "people.csv", task="reconstruct", epochs=40, lr=1e-2, out=folder / "run",
        set={**QUICK, "model.code": 2, "model.widths": (16,)},
    )  # fmt: skip
    return folder / "run"


def test_the_column_that_was_spoiled_has_the_error(people: Path, tmp_path: Path) -> None:
    odd = table(20).with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(20.0).otherwise(pl.col("weight")).alias("weight")
    )
    odd.write_csv(tmp_path / "odd.csv")
    found = explained(chainrule.load(people), tmp_path / "odd.csv")
    first = found.rows[0]
    assert first.id == "row 5"
    assert first.called
    assert first.parts[0].name == "weight"
    assert first.parts[0].value == "20"
    assert float(first.parts[0].expected) > 25
    assert first.parts[0].share > 0.6
    assert sum(part.share for part in first.parts) == pytest.approx(1)
    assert {part.name for part in first.parts} == {"height", "weight", "reach", "hand"}
    assert len(found.rows) == 8
    scores = [row.score for row in found.rows]
    assert scores == sorted(scores, reverse=True)


def test_without_input_the_strangest_test_rows_are_shown(people: Path) -> None:
    run = chainrule.load(people)
    found = explained(run)
    records = run.prepared().parts["test"]
    scores = np.array(run.session.predict(run.session.encode(records))["score"])
    assert found.rows[0].id == records.ids[int(scores.argmax())]
    assert found.rows[0].score == pytest.approx(float(scores.max()), rel=1e-4)
    called = int((scores >= run.session.schema.target.threshold).sum())
    assert f"the 8 strangest of 45 rows; a score of 2 is usual; {called} score" in found.notes[0]


def test_the_page_holds_what_the_text_says_and_escapes_the_data(people: Path, tmp_path: Path) -> None:
    odd = table(9).with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("<b>no</b>")).otherwise("hand").alias("hand")
    )
    odd.write_csv(tmp_path / "odd.csv")
    found = explained(chainrule.load(people), tmp_path / "odd.csv")
    found.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What is strange, and why" in page
    assert "row 5" in page
    assert "<b>no" not in page
    said = found.as_dict()
    assert said["rows"][0]["parts"][0].keys() == {"name", "share", "value", "expected"}
    assert found.rows[0].said in found.text()


def pictures(rows: int = 60) -> np.ndarray:
    grid = np.linspace(0, 1, 16)
    draw = np.random.default_rng(0)
    light = draw.uniform(0.3, 1, size=rows)
    return (255 * light[:, None, None] * np.add.outer(grid, grid)[None] / 2).astype(np.uint8)


def test_the_place_that_was_spoiled_is_bright(tmp_path: Path) -> None:
    run = chainrule.fit(
        (pictures(), np.arange(60) % 2), task="reconstruct", epochs=30, lr=1e-2, out=tmp_path / "run",
        set={**QUICK, "model.layout": "dense", "model.widths": (32,), "model.code": 2},
    )  # fmt: skip
    odd = pictures(6)
    odd[2, 9:12, 3:6] = 255
    found = explained(run, odd)
    first = found.rows[0]
    assert first.id.endswith("2")
    assert first.parts[0].name.endswith(("around row 11, column 4", "around row 11, column 5"))
    assert first.parts[0].share > 0.7
    assert [title for title, _ in first.panels] == [
        "as the network sees it", "as it was expected", "brighter: further from it",
    ]  # fmt: skip
    samples = run.session.encode(run.opened.inputs(odd))
    squares = elements_of(run.session.module, run.session.schema.target, samples, np.array([2, 0])).misfits
    assert squares.shape == (2, 1, 16, 16)
    assert float(squares[0, 0, 9:12, 3:6].mean()) > 10 * float(squares[0].mean())


def test_sound_is_shown_at_the_piece_that_pays_most(tmp_path: Path) -> None:
    import soundfile

    run = chainrule.fit(
        sounds(tmp_path / "wav", 0.6), task="reconstruct", epochs=3, out=tmp_path / "run",
        set={**QUICK, "data.clip_s": 0.2, "model.code": 4, "model.widths": (4, 4)},
    )  # fmt: skip
    times = np.arange(4800) / 8000
    odd = 0.3 * np.sin(2 * np.pi * 500 * times)
    odd[3200:] = np.random.default_rng(0).normal(size=1600) / 3  # the last of three pieces
    soundfile.write(tmp_path / "odd.wav", odd, 8000)
    found = explained(run, tmp_path / "odd.wav")
    assert "of the spectrogram, around 0." in found.rows[0].parts[0].name
    samples = run.session.encode(run.opened.inputs(tmp_path / "odd.wav"))
    elements = elements_of(run.session.module, run.session.schema.target, samples, np.array([0]))
    with torch.inference_mode():
        pieces = run.session.module.front(*samples.batch(torch.tensor([0])).inputs)[0][0]
    each = [float((elements.inputs[0] - piece.float()).abs().max()) for piece in pieces]
    assert int(np.argmin(each)) == 2
    assert elements.misfits.shape[1:] == (1, run.session.schema.mels, run.session.schema.frames)


def test_the_word_that_does_not_fit_has_the_nats(tmp_path: Path) -> None:
    texts = [f"the {noun} sees the {noun}" for noun in ("cat", "dog", "fish", "bird") for _ in range(40)]
    labels = [number % 2 for number in range(len(texts))]
    run = chainrule.fit(
        pl.DataFrame({"text": texts, "label": labels}), task="reconstruct", target="label", epochs=25, lr=1e-2,
        out=tmp_path / "run", set={**QUICK, "data.kind": "text", "data.remove_duplicates": False},
    )  # fmt: skip
    found = explained(run, ["the cat sees the cat", "the cat sees sees cat"])
    first = found.rows[0]
    assert first.id == "text 2"
    assert first.parts[0].name == "sees"
    assert first.parts[0].share > 0.3
    assert sum(part.share for part in first.parts) == pytest.approx(1, abs=1e-3)
    assert [title for title, _ in first.panels] == ["the darker, the more nats", "as it was built"]
    assert "the cat sees the cat" in found.rows[1].panels[1][1]


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("hours")
    frame().write_csv(folder / "hours.csv")
    chainrule.fit(
        folder / "hours.csv", task="reconstruct", target="state", epochs=12, lr=1e-2, out=folder / "run",
        set={**QUICK, "data.normal": NORMAL, "data.window": WINDOW, "model.hidden": 24, "model.code": 6},
    )  # fmt: skip
    return folder / "run", folder / "hours.csv"


@pytest.mark.parametrize("own", [True, False])
def test_the_jump_of_a_series_is_the_first_stretch(hours: tuple[Path, Path], own: bool) -> None:
    run, file = hours
    found = explained(chainrule.load(run), None if own else file)
    first = found.rows[0]
    begin, end = first.id.split(" to ")
    assert begin <= "2020-01-29 18:00:00" <= end
    assert first.called
    assert first.label == "jump"
    assert first.parts[0].name.startswith("b at 2020-01-29 1")
    assert first.parts[0].share > 0.9
    assert len(first.panels) == 2
    assert "are called anomalies" in found.notes[0]
    assert found.overview[0][1].startswith("<svg")
    if own:  # the test split alone
        assert all(row.id > "2020-01-26" for row in found.rows)


def test_a_quiet_series_is_told_to_have_none(hours: tuple[Path, Path]) -> None:
    trained = chainrule.load(hours[0])
    session = trained.session
    samples = session.encode(trained.opened.inputs(hours[1]))
    quiet = Moments(np.tile(np.linspace(0, 0.1, HOURS)[:, None], 2), np.zeros((HOURS, 2)))
    panel = samples.records.panel  # type: ignore[union-attr]
    found = explain_moments(panel, quiet, session.schema, np.arange(HOURS))
    assert "no moment is called an anomaly" in found.notes[0]
    assert found.rows[0].called is False
    nothing = Moments(np.full((HOURS, 2), np.nan), np.full((HOURS, 2), np.nan))
    with pytest.raises(InputError, match="no value is known"):
        explain_moments(panel, nothing, session.schema, np.arange(HOURS))


def test_near_runs_are_one_stretch_and_the_highest_comes_first() -> None:
    scores = np.array([5.0, 0, 0, 0, 6.0, 0, 7.0, np.nan, 0, 0, 0, 9.0])
    assert stretches(scores, 5.0, 2) == [(11, 12), (4, 7), (0, 1)]
    assert stretches(scores, 5.0, 4) == [(11, 12), (0, 7)]
    assert stretches(scores, 10.0, 4) == []


def test_a_curve_is_lifted_where_nothing_is_known() -> None:
    svg = curve_svg([np.array([1.0, 2.0, np.nan, 3.0])], [(1, 2)], ["<a>", "b"], limit=2.5)
    assert svg.count("M") >= 3
    assert "&lt;a&gt;" in svg
    assert "nan" not in svg


def test_there_must_be_something_to_explain(people: Path) -> None:
    run = chainrule.load(people)
    with pytest.raises(InputError):
        run.explain([])
