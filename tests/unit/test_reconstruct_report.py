"""What an autoencoder's report shows: rows built again, the map of codes, ways between rows, fresh rows, the parts of
the loss; and what it shows while it learns.
"""

from __future__ import annotations

import re
import sys
import types
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.shapes import CLASSES, shapes

import chainrule
from chainrule.drawing import RESTORED, built_again, restored
from chainrule.errors import InputError
from chainrule.evaluate.built_rows import MOST_COLUMNS, MOST_ON_SHEET, Columns, Pictures, Texts, Windows
from chainrule.evaluate.charts import COLOURS, MARKS, groups_chart
from chainrule.evaluate.code_map import MOST_GROUPS, class_groups, code_maps
from chainrule.fitting import start_training
from chainrule.models.catalog import CATALOG
from chainrule.reconstructions import USED_NATS, evenly, groups_of, used_nats, ways_between, write_rebuilt
from chainrule.trained import TrainedRun

SMALL = {"train.threads": 1, "model.code": 4}


def headings(run: TrainedRun) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", (run.path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    path = tmp_path_factory.mktemp("pictures") / "run"
    return chainrule.fit(shapes(), task="reconstruct", model="vae", epochs=20, set=SMALL, out=path)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    path = tmp_path_factory.mktemp("table") / "run"
    return chainrule.fit("iris", task="reconstruct", model="autoencoder", epochs=30, set={"train.threads": 1}, out=path)


def test_the_report_of_pictures(pictures: TrainedRun) -> None:
    page = (pictures.path / "report.html").read_text(encoding="utf-8")
    found = headings(pictures)
    for wanted in (
        "Test rows beside what is built from their codes", "Built worst", "Codes of test rows in two dimensions",
        "What the code is used for", "From one test row&#39;s code to another&#39;s, in 8 steps",
        "Fresh rows, their codes drawn from the prior",
    ):  # fmt: skip
        assert wanted in found
    assert page.count("<figcaption>built again</figcaption>") == 24  # 16 rows and the worst 8
    assert page.count("<figure>") == 2 * 24 + 3 * 8 + 24
    assert "What the loss is made of, validation split" in page
    assert all(f">{name}</text>" in page for name in (*CLASSES, "reconstruction", "kl"))
    assert "Principal components" in page


def test_the_report_of_a_table(table: TrainedRun) -> None:
    page = (table.path / "report.html").read_text(encoding="utf-8")
    assert "<td>petal length (cm)</td>" in page
    assert '<th class="n">built again</th>' in page
    assert "What the code is used for" not in page  # nothing is paid for a code
    assert "What the loss is made of" not in page
    assert "Fresh rows, their codes drawn from a normal distribution fitted to the codes of the train split" in page


def test_every_kind_that_is_built_again_has_a_way_back() -> None:
    kinds = {kind for entry in CATALOG.values() if "reconstruct" in entry.tasks for kind in entry.kinds}
    assert kinds <= set(RESTORED)


def test_what_is_shown_are_the_rows_and_their_reconstructions(pictures: TrainedRun) -> None:
    x, _ = shapes(9, seed=3)
    session = pictures.session
    samples = session.encode(session.kind.read_inputs([x], session.schema))
    truth, built = (restored(session, values).values for values in built_again(session, samples))
    assert np.abs(truth[..., 0].astype(int) - x).max() <= 1
    near = np.abs(truth.astype(int) - built).mean((1, 2, 3))
    far = np.abs(np.roll(truth, 1, 0).astype(int) - built).mean((1, 2, 3))
    assert (near < far).sum() >= 8


def test_ways_lead_from_one_row_to_another(pictures: TrainedRun) -> None:
    """Both ends of a strip are test rows built again; between them are no two equal pictures."""
    session = pictures.session
    records = session.kind.read_inputs([shapes(12, seed=3)[0]], session.schema)
    ends = evenly(12, 6)
    _, built = built_again(session, session.encode(records.select(ends)))
    rebuilt = restored(session, built)
    assert isinstance(rebuilt, Pictures)
    section = ways_between(session, records)
    assert [len(strip) for strip in section.pictures] == [8, 8, 8]
    for place, strip in enumerate(section.pictures):
        images = np.stack([picture.image for picture in strip]).astype(int)
        assert np.abs(images[0] - rebuilt.values[place]).max() <= 1
        assert np.abs(images[-1] - rebuilt.values[3 + place]).max() <= 1
        assert (np.abs(np.diff(images, axis=0)).max((1, 2, 3)) > 0).all()


def test_numbers_of_a_code_that_are_not_used_are_told(pictures: TrainedRun) -> None:
    """An encoder that says nothing in one place of the code has no KL divergence there."""
    session = pictures.session
    x, _ = shapes(30, seed=3)
    records = session.kind.read_inputs([x], session.schema)
    nats = used_nats(session, records)
    assert nats.shape == (4,)
    mean, kl = session.measure(session.encode(records))["kl_nats"].mean(), nats.sum()
    assert kl == pytest.approx(mean, rel=1e-5)
    last = [m for m in session.module.network.network.encoder.modules() if isinstance(m, torch.nn.Linear)][-1]
    kept = last.weight.detach().clone(), last.bias.detach().clone()
    with torch.no_grad():
        for place in (1, 5):  # the mean, and the logarithm of the variance, of the second number
            last.weight[place] = last.bias[place] = 0
    silent = used_nats(session, records)
    with torch.no_grad():
        last.weight.copy_(kept[0])
        last.bias.copy_(kept[1])
    assert silent[1] < USED_NATS
    np.testing.assert_allclose(silent[[0, 2, 3]], nats[[0, 2, 3]])


def test_pictures_are_shown_while_they_are_learned_and_training_stays_the_same(tmp_path: Path) -> None:
    found = []
    for writes in (False, True):
        settings = {**SMALL, "train.steps": 6, "data.task": "reconstruct"}
        training = start_training(shapes(90), settings, "vae", tmp_path / str(writes))
        with closing(training.run):
            for report in training:
                if writes:
                    write_rebuilt(training.session, training.run, report.step, training.prepared)
                    assert training.session.module.training
        found.append({name: x.clone() for name, x in training.session.module.state_dict().items()})
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
    with Image.open(tmp_path / "True/samples/step-00000001.png") as sheet:
        assert sheet.size == (8 * (96 + 6) + 6, 2 * (96 + 6) + 6)  # eight rows above what is built of them


def test_the_note_comes_once_and_only_for_pictures(tmp_path: Path) -> None:
    told = {}
    for name, source in {"pictures": shapes(90), "iris": "iris"}.items():
        settings = {"data.task": "reconstruct", "train.threads": 1, "train.epochs": 3}
        training = start_training(source, settings, "autoencoder", tmp_path / name)
        with closing(training.run):
            told[name] = [note for report in training for note in report.notes]
    assert len(told["pictures"]) == 1
    assert told["pictures"][0].startswith(f"samples     {tmp_path / 'pictures/samples'}")
    assert len(list((tmp_path / "pictures/samples").glob("step-*.png"))) == 3
    assert told["iris"] == []
    assert not (tmp_path / "iris/samples").exists()


def test_points_are_coloured_by_what_is_known(pictures: TrainedRun, table: TrainedRun) -> None:
    rows = {"labels": np.array([0, 1, 2, 1]), "mse": np.zeros(4), "score": np.array([0.0, 9.0, 0.0, 0.0])}
    groups, names = groups_of(table.session, rows)
    assert (groups.tolist(), names) == ([0, 1, 2, 1], ["setosa", "versicolor", "virginica"])
    unlabelled = {name: values for name, values in rows.items() if name != "labels"}
    session = table.session
    try:
        session.answer_by(threshold=5.0)
        assert groups_of(session, unlabelled)[0].tolist() == [0, 1, 0, 0]
        session.answer_by(normal=True, classes=("setosa",))
        assert groups_of(session, rows)[0].tolist() == [0, 1, 1, 1]
        session.answer_by(normal=False, threshold=0.0)
        assert groups_of(session, unlabelled)[1] == ["rows"]
    finally:
        table.opened.__dict__.pop("session")


def test_of_many_classes_the_common_ones_have_colours() -> None:
    labels = np.repeat(np.arange(40), np.arange(40) + 1)
    groups, names = class_groups(labels, [f"c{k}" for k in range(40)])
    assert len(names) == MOST_GROUPS == len(COLOURS) * len(MARKS)
    assert names[0] == "c20"
    assert names[-1] == "another class"
    assert (groups[labels < 20] == MOST_GROUPS - 1).all()
    assert (groups[labels == 39] == MOST_GROUPS - 2).all()


def test_the_map_of_codes_names_its_groups_and_counts_its_points() -> None:
    points = np.random.default_rng(0).normal(size=(50, 6))
    drawn = code_maps(points, np.arange(50) % 2, ["<cat>", "dog"])
    assert drawn.count("<svg") == 1
    assert drawn.count("h0") == 50 + 2  # and one each in the legend
    assert "&lt;cat&gt;" in drawn
    one = groups_chart("t", points[:, :2], np.zeros(50, np.int64), ["rows"], ("a", "b"))
    assert ">rows</text>" not in one  # one colour needs no legend
    assert code_maps(points[:1], np.zeros(1, np.int64), ["rows"]).count("h0") == 1


def test_umap_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("umap")
    fake.__spec__ = types.SimpleNamespace(name="umap")  # type: ignore[assignment]

    class UMAP:
        def __init__(self, n_neighbors: int, random_state: int) -> None:
            assert (n_neighbors, random_state) == (15, 0)

        def fit_transform(self, codes: np.ndarray) -> np.ndarray:
            return codes[:, :2]

    fake.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", fake)
    points = np.random.default_rng(0).normal(size=(50, 6))
    assert code_maps(points, np.zeros(50, np.int64), ["rows"]).count("<svg") == 2
    assert code_maps(points[:9], np.zeros(9, np.int64), ["rows"]).count("<svg") == 1  # too few for neighbours


def test_windows_and_texts_are_shown_and_saved(tmp_path: Path) -> None:
    truth = Windows(np.arange(24.0).reshape(2, 4, 3), ("a", "b", "c"))
    built = Windows(truth.array + 1, truth.names)
    assert built.compared("t", truth, ["one", "two"]).svg.count("<svg") == 6
    assert built.stepped("t", 2).svg.count("<polyline") == 2
    assert built.alone("t").svg.count("<svg") == 3
    built.save(tmp_path / "w.csv")
    lines = (tmp_path / "w.csv").read_text().splitlines()
    assert lines[:2] == ["window,step,a,b,c", "0,0,1.0,2.0,3.0"]
    assert lines[-1] == "1,3,22.0,23.0,24.0"
    texts = Texts(["so", "and so"])
    assert texts.compared("t", Texts(["true", "too"]), ["one", "two"]).text == "one\ntrue\n→ so\n\ntwo\ntoo\n→ and so"
    assert texts.stepped("t", 1).text == "so\n\nand so"
    texts.save(tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text() == texts.written() == "so\nand so\n"


def test_wide_tables_are_shown_in_part_and_saved_whole(tmp_path: Path) -> None:
    import polars as pl

    rows = Columns(pl.DataFrame({f"c{place}": [0.5, None, 3.25] for place in range(30)}))
    section = rows.compared("t", rows, ["a", "b", "c"])
    assert len(section.table) == MOST_COLUMNS + 1
    assert section.table[1] == ["c0", "0.5", "0.5", "missing", "missing", "3.25", "3.25"]
    assert "6 more are not shown" in section.text
    rows.save(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == rows.written()
    assert rows.listed()[0]["c29"] == 0.5


def test_too_many_pictures_for_a_sheet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a sheet holds 1,024 pictures, got 1,025"):
        Pictures(np.zeros((MOST_ON_SHEET + 1, 2, 2, 1), np.uint8)).save(tmp_path / "many.png")


def test_rows_are_chosen_from_the_first_to_the_last() -> None:
    assert evenly(100, 3).tolist() == [0, 49, 99]
    assert evenly(2, 8).tolist() == [0, 1]
    assert evenly(1, 8).tolist() == [0]
