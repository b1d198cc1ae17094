"""Series, sound and texts built again: windows and their labels, single moments, pieces of recordings, tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from tests.texts import DID, WHAT, WHO

import chainrule
from chainrule.data import audio, series
from chainrule.data.config import DataConfig
from chainrule.data.samples import NEVER
from chainrule.data.series.frequency import DAY, HOUR, MINUTE, Frequency
from chainrule.data.series.window_records import WindowRecords, usual_window
from chainrule.data.series.window_samples import WindowSamples, WindowSchema
from chainrule.data.sources import open_source
from chainrule.data.split import complete
from chainrule.data.tokens import BEGIN
from chainrule.errors import InputError, MissingTargetError
from chainrule.functional.anomaly import threshold_of
from chainrule.recognise import recognise
from chainrule.tasks import reconstruct
from chainrule.tasks.costs import costs_of, of_rows, seen_by
from chainrule.tasks.reconstruct import anomaly_scores

HOURS, SPIKE, WINDOW = 720, 690, 12
NORMAL = ("ok",)


def frame(hours: int = HOURS, spike: int = SPIKE, **columns: Any) -> pl.DataFrame:
    """Two waves of a day; at ``spike`` the second one jumps, and its row says so."""
    steps = np.arange(hours)
    noise = np.random.default_rng(0).normal(size=(2, hours)) / 20
    waves = np.stack([np.sin(2 * np.pi * steps / 24), 5 + 2 * np.cos(2 * np.pi * steps / 24)]) + noise
    waves[1, spike : spike + 2] += 4.0
    state = ["jump" if spike <= step < spike + 2 else "ok" for step in range(hours)]
    times = [datetime(2020, 1, 1) + timedelta(hours=step) for step in range(hours)]
    return pl.DataFrame({"time": times, "a": waves[0], "b": waves[1], "state": state, **columns})


def options(**given: Any) -> DataConfig:
    return DataConfig(**({"task": "reconstruct", "window": WINDOW, "target": "state"} | given))


def read(value: Any, **given: Any) -> WindowRecords:
    records = series.read(open_source(value), options(**given))["all"]
    assert isinstance(records, WindowRecords)
    return records


def windows(records: WindowRecords, **given: Any) -> WindowSamples:
    records = records.select(np.flatnonzero(records.times[:, 1] < NEVER))
    schema = series.learn_schema(records, options(**given))
    assert isinstance(schema, WindowSchema)
    samples = series.encode(records, schema)
    assert isinstance(samples, WindowSamples)
    return samples


def test_a_regular_series_is_recognised_beside_its_labels() -> None:
    found = recognise(open_source(frame()), task="reconstruct", target="state")
    assert found.kind.NAME == "series"
    assert recognise(open_source(frame().drop("state")), task="reconstruct").kind.NAME == "series"
    assert recognise(open_source(frame()), task="classify", target="state").kind.NAME == "table"


def test_a_window_is_strange_if_any_of_its_moments_is() -> None:
    records = read(frame(), normal=NORMAL)
    labels = records.labels
    assert labels is not None
    strange = np.flatnonzero(labels == "jump")
    assert strange.tolist() == list(range(SPIKE - WINDOW + 1, SPIKE + 2))
    assert read(frame().drop("state"), target="").labels is None


def test_the_rarest_label_names_a_window_and_empty_cells_are_told() -> None:
    state = ["late" if step == 40 else None for step in range(HOURS)]
    records = read(frame().with_columns(pl.Series("state", state)))
    assert records.labels is not None
    assert set(records.labels.tolist()) == {"late", "none"}
    assert "is empty in 719 of 720 rows: that is read as 'none'" in " ".join(f.text for f in series.findings(records))
    known = ["x" if step % 3 else None for step in range(HOURS)]
    few = read(frame().with_columns(pl.Series("state", known))).labels
    assert few is not None
    assert set(few.tolist()) == {"x"}


def test_of_several_rows_at_one_moment_the_strange_one_counts() -> None:
    twice = pl.concat([frame(), frame().with_columns(pl.lit("ok").alias("state"))])
    labels = read(twice, normal=NORMAL, frequency="1h").labels
    assert labels is not None
    assert labels[SPIKE] == "jump"
    day = read(frame(), normal=NORMAL, frequency="3h", window=4)
    assert day.panel.labels is not None
    assert day.panel.labels[SPIKE // 3] == "jump"


def test_no_window_reaches_into_the_next_part() -> None:
    records = read(frame())
    parts, why = complete({"all": records}, options())
    assert "none reaches into the next part" in why
    last = {name: int(part.rows.max()) + WINDOW - 1 for name, part in parts.items()}
    first = {name: int(part.rows.min()) for name, part in parts.items()}
    assert last["train"] < first["valid"]
    assert last["valid"] < first["test"]
    assert last["test"] == HOURS - 1
    assert (records.times[-WINDOW + 1 :, 1] == NEVER).all()


def test_windows_of_which_less_than_half_is_known_are_left_out() -> None:
    holes = frame().with_columns(
        [pl.when(pl.int_range(pl.len()).is_between(100, 130)).then(None).otherwise(pl.col(c)).alias(c) for c in "ab"]
    )
    records = read(holes)
    never = records.times[:, 1] == NEVER
    assert never[110]
    assert never[100 - WINDOW // 2 + 1]
    assert not never[100 - WINDOW // 2]


def test_samples_are_windows_in_standard_units_with_what_is_known() -> None:
    gap = frame().with_columns(pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("a")).alias("a"))
    samples = windows(read(gap))
    values, known = samples.batch(torch.tensor([3, 5])).inputs
    assert values.shape == known.shape == (2, WINDOW, 2)
    schema = samples.schema
    expected = (gap["b"].to_numpy()[3 : 3 + WINDOW] - schema.target.mean[1]) / schema.target.std[1]
    np.testing.assert_allclose(values[0, :, 1], expected, rtol=1e-5)
    assert known[0, :, 0].tolist() == [1, 1, 1, 1, 0, *[1] * 7]
    assert float(values[0, 4, 0]) == float(values[0, 3, 0])  # what is missing is the last one known
    assert samples.batch(torch.tensor([0])).targets is not None


def test_the_scale_comes_from_moments_of_train_windows_alone() -> None:
    records = read(frame(), normal=NORMAL)
    early = records.select(np.arange(100))
    later = frame().with_columns(pl.when(pl.int_range(pl.len()) > 112).then(1e6).otherwise(pl.col("a")).alias("a"))
    schemas = [series.learn_schema(r, options()) for r in (early, read(later, normal=NORMAL).select(np.arange(100)))]
    assert schemas[0].target.mean == schemas[1].target.mean
    assert early.held.sum() == 100 + WINDOW - 1


def test_the_schema_comes_back_from_json_and_unknown_keys_are_refused() -> None:
    schema = windows(read(frame(), normal=NORMAL), normal=NORMAL).schema
    saved = json.loads(json.dumps(asdict(schema)))
    assert series.load_schema(saved) == schema
    with pytest.raises(InputError, match="unknown key 'windoe'"):
        series.load_schema({**saved, "windoe": 3})


@pytest.mark.parametrize(
    ("size", "steps"), [(HOUR, 24), (30 * MINUTE, 48), (DAY, 14), (MINUTE, 60), (7 * DAY, 52), (11 * MINUTE, 32)]
)
def test_the_usual_window_holds_seasons(size: int, steps: int) -> None:
    assert usual_window(Frequency(unit="fixed", size=size)) == steps


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"horizon": 4}, InputError, "for forecasts"),
        ({"known": ("a",)}, InputError, "for forecasts"),
        ({"target": "stat"}, MissingTargetError, "no column 'stat' of labels; did you mean 'state'"),
        ({"target": "9"}, MissingTargetError, "no column '9'"),
        ({"window": 200}, InputError, "windows of 200 steps need 1,600"),
        ({"group": "a"}, InputError, "divided by time"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(frame(), **given)


def test_the_label_may_be_named_by_its_place_and_is_never_learned_from() -> None:
    records = read(frame(), target="-1")
    assert records.label_name == "state"
    numbers = frame().with_columns((pl.col("state") == "jump").cast(pl.Int64).alias("state"))
    samples = windows(read(numbers, normal=("0",)), normal=("0",))
    assert samples.schema.target.names == ("a", "b")
    assert samples.schema.target.label == "state"
    assert samples.targets is not None
    assert int((samples.targets > 0).sum()) == WINDOW + 1


@pytest.fixture(scope="module")
def spiky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run over hours with a jump in the test part, and the file."""
    folder = tmp_path_factory.mktemp("spiky")
    frame().write_csv(folder / "hours.csv")
    chainrule.fit(
        folder / "hours.csv", task="reconstruct", target="state", epochs=12, lr=1e-2, out=folder / "run",
        set={"data.normal": NORMAL, "data.window": WINDOW, "model.hidden": 24, "model.code": 6, "train.compile": "off"},
    )  # fmt: skip
    return folder / "run", folder / "hours.csv"


def test_the_jump_is_the_most_unlikely_moment(spiky: tuple[Path, Path]) -> None:
    run, file = spiky
    trained = chainrule.load(run)
    assert trained.metrics["model"] == "lstm_autoencoder"
    assert trained.metrics["test"]["roc_auc"] > 0.95
    table = trained.predict(file)
    assert trained.notes == []
    assert table.columns == ["time", "score", "anomaly", "column", "value", "expected"]
    assert len(table) == HOURS
    top = table[int(table["score"].arg_max() or 0)].to_dicts()[0]
    assert top["time"] in ("2020-01-29 18:00:00", "2020-01-29 19:00:00")
    assert (top["column"], top["anomaly"]) == ("b", True)
    assert top["value"] == pytest.approx(frame()["b"][SPIKE if top["time"].endswith("18:00:00") else SPIKE + 1])
    assert top["expected"] < top["value"] - 1
    assert 0.005 < table["anomaly"].mean() < 0.2  # a share of 0.05 of the validation moments, and the jump
    assert trained.predict().equals(table)


def test_a_moments_score_is_the_mean_over_the_windows_that_hold_it(spiky: tuple[Path, Path]) -> None:
    run, file = spiky
    trained = chainrule.load(run)
    session = trained.session
    samples = session.encode(trained.opened.inputs(file))
    assert isinstance(samples, WindowSamples)
    found = session.moments(samples)
    step, values, built = 300, [], []
    for begin in range(step - WINDOW + 1, step + 1):
        with torch.inference_mode():
            seen = seen_by(session.module, samples.batch(torch.tensor([begin])))
            costs = costs_of(session.module)
            outputs = costs.network.coded(seen)[0]
            values.append(costs.misfits(seen, outputs)[0, step - begin].double().numpy())
            built.append(outputs[0, step - begin].double().numpy())
    expected = np.mean(values, axis=0) / np.array(session.schema.target.usual)
    np.testing.assert_allclose(found.misfits[step], expected, rtol=1e-4)
    np.testing.assert_allclose(found.built[step], np.mean(built, axis=0), rtol=1e-4)
    assert found.scores[step] == pytest.approx(expected.mean(), rel=1e-4)
    assert found.worst[step] == expected.argmax()


def test_moments_that_are_not_known_have_no_score(spiky: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = spiky
    hole = pl.int_range(pl.len()) == 50
    holes = frame(100, 90).with_columns(
        pl.when(hole).then(None).otherwise(pl.col("a")).alias("a"),
        pl.when(hole | (pl.int_range(pl.len()) == 60)).then(None).otherwise(pl.col("b")).alias("b"),
    )
    holes.write_csv(tmp_path / "holes.csv")
    table = chainrule.load(run).predict(tmp_path / "holes.csv", out=tmp_path / "out.csv")
    assert table.row(50)[1:5] == (None, False, None, None)
    assert table["column"][60] == "a"
    assert pl.read_csv(tmp_path / "out.csv").height == 100


def test_the_thresholds_are_those_of_the_validation_split(spiky: tuple[Path, Path]) -> None:
    trained = chainrule.load(spiky[0])
    session, target = trained.session, trained.session.schema.target
    valid = session.encode(trained.prepared().parts["valid"])
    scores = session.moments(valid).scores  # type: ignore[arg-type]
    scores = scores[np.isfinite(scores)]
    assert target.moment_threshold == pytest.approx(threshold_of(scores, 0.05))
    assert target.threshold == pytest.approx(threshold_of(anomaly_scores(session.measure(valid)), 0.05))
    session.unsettle()
    assert session.schema.target.moment_threshold == 0.0


def test_input_that_does_not_fit_the_run_is_refused(spiky: tuple[Path, Path], tmp_path: Path) -> None:
    run = chainrule.load(spiky[0])
    frame(WINDOW - 1, 5).write_csv(tmp_path / "short.csv")
    with pytest.raises(InputError, match="has 11 times, the network sees windows of 12"):
        run.predict(tmp_path / "short.csv")
    with pytest.raises(InputError, match="--horizon is for forecasts"):
        run.predict(spiky[1], horizon=3)
    with pytest.raises(InputError, match="give one source"):
        run.predict([spiky[1], spiky[1]])
    frame().drop("a").write_csv(tmp_path / "less.csv")
    with pytest.raises(InputError, match="lacks 'a'"):
        run.predict(tmp_path / "less.csv")
    with pytest.raises(InputError, match="no place for a file"):
        run.predict(spiky[1], out=tmp_path)


def test_other_labelled_series_are_scored(spiky: tuple[Path, Path], tmp_path: Path) -> None:
    frame(200, 150).write_csv(tmp_path / "other.csv")
    scores = chainrule.load(spiky[0]).evaluate(tmp_path / "other.csv")
    assert scores["metrics"]["roc_auc"] > 0.9
    assert scores["rows"] == 200 - WINDOW + 1


@pytest.mark.parametrize("model", ["autoencoder", "vae", "denoising", "sparse"])
def test_dense_networks_build_windows_again(model: str, tmp_path: Path) -> None:
    run = chainrule.fit(
        frame(300, 290).drop("state"), task="reconstruct", model=model, epochs=1, out=tmp_path / "run",
        set={"data.window": WINDOW, "train.compile": "off", "model.widths": (16,), "model.code": 4},
    )  # fmt: skip
    assert np.isfinite(run.metrics["test"]["nats"])
    assert run.predict(frame(50, 40))["score"].null_count() == 0


def sounds(folder: Path, seconds: float = 0.4, count: int = 14) -> Path:
    folder.mkdir()
    times = np.arange(round(8000 * seconds)) / 8000
    for number in range(count):
        pitch = 400 + 100 * (number % 3) + 300 * (times > seconds / 2)
        soundfile.write(folder / f"{number}.wav", 0.4 * np.sin(2 * np.pi * pitch * times), 8000)
    return folder


def test_long_recordings_pay_the_mean_of_their_pieces(tmp_path: Path) -> None:
    run = chainrule.fit(
        sounds(tmp_path / "wav", 0.6), task="reconstruct", epochs=1, out=tmp_path / "run",
        set={"data.clip_s": 0.2, "train.compile": "off", "model.code": 4, "model.widths": (4, 4)},
    )  # fmt: skip
    session = run.session
    assert session.schema.pieces == 3
    samples = session.encode(run.prepared().parts["test"])
    rows = session.measure(samples)
    batch, costs = samples.batch(torch.arange(len(samples))), costs_of(session.module)
    with torch.inference_mode():
        together = session.module.eval()(*batch.inputs)[:, 0]
        each = [costs(piece) for piece in session.module.front(*batch.inputs)[0].unbind(1)]
        expected = torch.stack(each).mean(0)[:, 0]
    assert len(each) == 3
    np.testing.assert_allclose(rows["reconstruction_nats"], expected, rtol=1e-4)
    np.testing.assert_allclose(together, expected, rtol=1e-4)
    assert session.embed(samples).shape == (len(samples), 4)
    assert set(run.predict(tmp_path / "wav" / "3.wav").columns) == {"id", "score", "mse", "anomaly"}
    assert all(value == 0 for value in asdict(session.recipe.augment).values())


def test_the_mean_over_pieces_keeps_rows_apart() -> None:
    values = torch.arange(12.0).view(6, 2)
    assert of_rows(values, 6) is values
    assert of_rows(values, 2).tolist() == [[2.0, 3.0], [8.0, 9.0]]


def test_sound_of_one_class_may_be_normal(tmp_path: Path) -> None:
    for name in ("hum", "hiss"):
        sounds(tmp_path / name)
    schema = audio.learn_schema(
        audio.read(open_source(tmp_path), DataConfig())["all"], DataConfig(task="reconstruct", normal=("hum",))
    )
    assert (schema.target.classes, schema.target.form) == (("hum",), "numbers")
    assert audio.sizes(schema, "image")["shape"] == (1, schema.mels, schema.frames)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over short sentences."""
    folder = tmp_path_factory.mktemp("sentences")
    draw = np.random.default_rng(0)
    texts = [" ".join(part[draw.integers(len(part))] for part in (WHO, DID, WHAT)) for _ in range(400)]
    longer = [text + (" again" if number % 3 else " and again") for number, text in enumerate(texts)]
    labels = [text.split()[1] for text in texts]
    pl.DataFrame({"text": longer, "who": labels}).write_csv(folder / "texts.csv")
    chainrule.fit(
        folder / "texts.csv", task="reconstruct", target="who", epochs=30, lr=1e-2, out=folder / "run",
        set={"train.compile": "off", "data.kind": "text", "data.remove_duplicates": False},
    )  # fmt: skip
    return folder / "run"


def test_texts_are_built_again_word_by_word(sentences: Path) -> None:
    run = chainrule.load(sentences)
    metrics = run.metrics["test"]
    assert run.metrics["model"] == "lstm_autoencoder"
    assert metrics["token_accuracy"] > 0.9
    assert "mse" not in metrics
    session = run.session
    samples = session.encode(run.prepared().parts["test"])
    batch = samples.batch(torch.arange(4))
    assert batch.inputs[0][:, 0].tolist() == [BEGIN] * 4
    rows = session.measure(samples)
    per_token = rows["reconstruction_nats"].sum() / rows["tokens"].sum()
    assert metrics["nats_per_token"] == pytest.approx(per_token)
    answers = run.predict(["the cat eats the sea. again", "the the the the the sea"])
    assert answers["score"][1] > answers["score"][0]
    assert set(answers.columns) == {"id", "score", "token_accuracy", "anomaly"}


def test_a_text_written_from_its_code_alone_ends_where_it_began(sentences: Path) -> None:
    session = chainrule.load(sentences).session
    samples = session.encode(chainrule.load(sentences).opened.inputs(["the cat eats the sea. again"]))
    code = torch.from_numpy(session.embed(samples))
    with torch.inference_mode():
        tokens = costs_of(session.module).network.decode(code).argmax(-1)[0].tolist()
    given = samples.batch(torch.tensor([0])).inputs[0][0].tolist()
    assert session.schema.tokenizer.decode(tokens) == session.schema.tokenizer.decode(given)


def test_texts_are_measured_in_parts_that_fit_into_memory(sentences: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = chainrule.load(sentences)
    samples = run.session.encode(run.prepared().parts["test"])
    whole = run.session.measure(samples)
    monkeypatch.setattr(reconstruct, "VALUES", 3 * 10 * run.session.schema.target.vocab_size)
    for name, values in run.session.measure(samples).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-4, atol=1e-5)


def test_words_are_not_dropped_where_they_are_to_be_built(sentences: Path) -> None:
    assert asdict(chainrule.load(sentences).session.recipe.augment) == {"word_dropout": 0.0}


def test_the_recipe_refuses_a_size_that_the_data_decides() -> None:
    with pytest.raises(InputError, match=r"model\.shape comes from the data"):
        chainrule.fit(frame(300, 290).drop("state"), task="reconstruct", set={"model.shape": (3, 3)})


def test_records_keep_what_they_were_read_from() -> None:
    records = read(frame(), normal=NORMAL)
    assert replace(records, rows=records.rows[:5]).fingerprint() != records.fingerprint()
    assert records.select(np.arange(5)).fingerprint() == replace(records, rows=records.rows[:5]).fingerprint()
    other = read(frame().with_columns(pl.lit("ok").alias("state")), normal=NORMAL)
    assert other.fingerprint() != records.fingerprint()
