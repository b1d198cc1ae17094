"""Embeddings through ``fit``: what is learned with and without labels, how it is judged, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import chainrule
from chainrule.data.samples import Batch, ClassedSamples
from chainrule.data.schema import EmbeddingTarget
from chainrule.errors import InputError
from chainrule.evaluate.embedding_baselines import embedding_baselines
from chainrule.fitting import start_training
from chainrule.functional.losses import cross_entropy_sum
from chainrule.functional.metric_losses import arcface_logits, contrastive_sum, nt_xent_sum, triplet_sum
from chainrule.session import Session
from chainrule.tasks.embed import MARGINS, Embed, EmbedConfig, Placed
from chainrule.tasks.task import At
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.gradients import accumulate

AT = At(0, 1, torch.Generator())
LABELLED = ("arcface", "triplet", "contrastive")


def blobs(count: int = 120, classes: int = 3, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright stripe at a height that its class decides."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    images = random.integers(0, 120, (count, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * size // classes :][:3] += 120
    return images, labels


SETTINGS: dict[str, Any] = {
    "data.task": "embed", "task.dims": 8, "model.widths": (4, 8, 8, 8), "train.batch_size": 24, "train.epochs": 6,
    "augment.shift": 0.0,
}  # fmt: skip


def session_of(data: Any, tmp_path: Path, **settings: Any) -> tuple[Session, Any]:
    """A session that has not learned anything, and its train samples."""
    training = start_training(data, {**SETTINGS, **settings}, "resnet9", tmp_path / "run")
    training.run.close()
    return training.session, training.samples


class Behind(torch.nn.Module):
    """A placed network as the session has it, behind a front that changes nothing."""

    def __init__(self, placed: torch.nn.Module) -> None:
        super().__init__()
        assert isinstance(placed, Placed)
        self.network = placed

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(*inputs)
        return out


def built(loss: str, classes: int = 3, **config: Any) -> tuple[Embed, Behind]:
    target = EmbeddingTarget(classes=tuple("abcdef"[:classes]), counts=(1,) * classes)
    task = Embed(EmbedConfig(loss=loss, dims=4, **config), target)
    torch.manual_seed(0)
    return task, Behind(task.wrap(torch.nn.Linear(5, 4), None)).double()


def batch(rows: int = 6) -> Batch:
    return Batch((torch.randn(rows, 5, dtype=torch.float64),), torch.arange(rows) % 3, torch.arange(rows))


def test_the_margin_rises_over_the_first_steps() -> None:
    task, network = built("arcface", margin=0.4, warmup=0.5)
    rows = batch()
    assert rows.targets is not None
    places = network(*rows.inputs)
    for step, share in ((0, 1 / 20), (9, 0.5), (19, 1.0), (39, 1.0)):
        (term,) = task.loss(network, rows, At(step, 40, torch.Generator()))
        logits = arcface_logits(places, network.network.centres, rows.targets, 0.4 * share, 16.0)
        torch.testing.assert_close(term.total, cross_entropy_sum(logits, rows.targets), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("warmup", "near"), [(0.0, False), (0.3, True)])
def test_without_the_rise_hard_classes_end_opposite_to_all_centres(warmup: float, near: bool) -> None:
    """Ten classes whose noise is three times what tells them apart."""
    classes, steps = 10, 300
    names = tuple(map(str, range(classes)))
    task = Embed(EmbedConfig(dims=16, warmup=warmup), EmbeddingTarget(classes=names, counts=(1,) * classes))
    torch.manual_seed(0)
    means, layers = torch.randn(classes, 32), (torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
    network = Behind(task.wrap(torch.nn.Sequential(*layers), None))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(steps):
        targets = torch.randint(classes, (128,))
        rows = Batch((means[targets] + 3 * torch.randn(128, 32),), targets, torch.arange(128))
        (term,) = task.loss(network, rows, At(step, steps, torch.Generator()))
        optimizer.zero_grad()
        (term.total / 128).backward()
        optimizer.step()
    own = (task.embed(network, rows) * torch.nn.functional.normalize(network.network.centres)[targets]).sum(1)
    assert own.mean().item() > 0.5 if near else own.mean().item() < -0.5


@pytest.mark.parametrize("loss", [*LABELLED, "nt_xent"])
def test_the_loss_is_its_function_of_the_places(loss: str) -> None:
    task, network = built(loss)
    rows = batch()
    assert rows.targets is not None
    places, margin = network(*rows.inputs), MARGINS[loss]
    unit = torch.nn.functional.normalize(places)
    expected = {
        "arcface": lambda: cross_entropy_sum(
            arcface_logits(places, network.network.centres, rows.targets, margin, 16.0), rows.targets
        ),
        "triplet": lambda: triplet_sum(unit, rows.targets, margin),
        "contrastive": lambda: contrastive_sum(unit, rows.targets, margin),
        "nt_xent": lambda: nt_xent_sum(*network.network.head(places).chunk(2), 0.2),
    }[loss]()
    (term,) = task.loss(network, rows, AT)
    torch.testing.assert_close(term.total, expected, rtol=1e-12, atol=0)
    assert task.counts(rows) == {term.name: 15.0 if loss == "contrastive" else 6.0}


def test_micro_batches_of_arcface_add_up() -> None:
    task, network = built("arcface")
    rows, gradients = batch(7), []
    for size in (0, 3):
        network.zero_grad()
        accumulate(task, network, rows, AT, size, Arithmetic(torch.device("cpu")))
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == 3
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-14)


def test_cosines_are_not_taken_in_eight_bits() -> None:
    task, network = built("arcface")
    network.float()
    rows = batch()
    rows = Batch((rows.inputs[0].float(),), rows.targets, rows.ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (term,) = task.loss(network, rows, AT)
    assert term.total.dtype == torch.float32
    assert {"row", "batch"} == {built(loss)[0].unit for loss in LABELLED}


@pytest.mark.parametrize("loss", LABELLED)
def test_what_is_alike_comes_to_lie_together(loss: str, tmp_path: Path) -> None:
    settings = {**SETTINGS, "train.epochs": 15, "task.loss": loss}
    run = chainrule.fit(blobs(), model="resnet9", out=tmp_path / "run", set=settings)
    test, chance = run.metrics["test"], run.metrics["baselines"][0]
    assert chance["name"] == "chance"
    assert 0.2 < chance["precision_at_10"] < 0.5
    assert test["precision_at_10"] > 0.9
    assert test["map"] > 0.85
    low, high = run.metrics["interval"]["precision_at_10"]
    assert low <= test["precision_at_10"] <= high
    page = (tmp_path / "run" / "report.html").read_text()
    assert "test rows nearest to each" in page
    assert "Classes that are taken for each other" in page


def test_without_labels_a_row_is_found_by_an_altered_version_of_it(tmp_path: Path) -> None:
    settings = {**SETTINGS, "train.epochs": 15, "augment.crop": 0.3}
    run = chainrule.fit(blobs()[0], model="resnet9", out=tmp_path / "run", set=settings)
    test, (chance, raw, _) = run.metrics["test"], run.metrics["baselines"]
    assert set(test) == {"found_again", "alignment", "nt_xent", "uniformity"}
    assert (chance["name"], raw["name"]) == ("chance", "raw input")
    assert chance["found_again"] == pytest.approx(1 / run.metrics["rows"]["test"], abs=0.03)
    assert test["found_again"] > 3 * chance["found_again"]
    assert test["nt_xent"] < 0.9 * chance["nt_xent"]


def test_labels_that_only_judge_are_not_looked_at(tmp_path: Path) -> None:
    images, labels = blobs()
    weights, scores = [], []
    for number, given in enumerate((labels, np.random.default_rng(1).permutation(labels))):
        cut = {"train": slice(0, 72), "valid": slice(72, 96), "test": slice(96, 120)}
        data = {
            f"{axis}_{part}": values[rows]
            for part, rows in cut.items()
            for axis, values in (("x", images), ("y", given))
        }
        settings = {**SETTINGS, "train.epochs": 2, "task.loss": "nt_xent"}
        run = chainrule.fit(data, model="resnet9", out=tmp_path / str(number), set=settings)
        weights.append((tmp_path / str(number) / "model.safetensors").read_bytes())
        scores.append(run.metrics["test"])
    assert weights[0] == weights[1]
    assert scores[0]["found_again"] == scores[1]["found_again"]
    assert scores[0]["precision_at_10"] != scores[1]["precision_at_10"]


def test_a_batch_without_labels_holds_two_versions_of_each_row(tmp_path: Path) -> None:
    session, samples = session_of(blobs()[0], tmp_path)
    augment = session.augment()
    assert augment is not None
    rows = samples["train"].batch(torch.arange(10))
    twice = augment(rows, torch.Generator().manual_seed(3))
    again = augment(rows, torch.Generator().manual_seed(3))
    assert torch.equal(twice.inputs[0], again.inputs[0])
    assert twice.ids.tolist() == [*range(10)] * 2
    first, second = twice.inputs[0].chunk(2)
    assert not torch.equal(first, second)
    assert session.task.counts(twice) == {"likeness": 20.0}


def test_the_validation_loss_is_the_same_every_time_and_moves_no_generator(tmp_path: Path) -> None:
    session, samples = session_of(blobs()[0], tmp_path)
    state = torch.get_rng_state()
    first, second = (session.task.score(session.measure(samples["valid"])) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert session.task.monitor == ("nt_xent", "min")


def test_rows_of_a_class_come_together_where_they_are_compared(tmp_path: Path) -> None:
    _, samples = session_of(blobs(), tmp_path, **{"task.loss": "triplet"})
    assert isinstance(samples["train"], ClassedSamples)
    assert not isinstance(samples["valid"], ClassedSamples)
    _, samples = session_of(blobs(), tmp_path / "arcface")
    assert not isinstance(samples["train"], ClassedSamples)


def test_the_rows_that_answer_stay_while_questions_are_drawn(tmp_path: Path) -> None:
    task, _ = built("arcface")
    random = np.random.default_rng(0)
    rows = {"embeddings": random.standard_normal((30, 4)).astype(np.float32), "targets": np.arange(30) % 3}
    asked = task.questions(rows)
    weights = random.integers(0, 3, (5, 30))
    scores = task.scorer(rows)(weights)
    for draw in range(5):
        drawn = np.repeat(asked["precision_at_10"], weights[draw])
        assert scores["precision_at_10"][draw] == pytest.approx(drawn.mean())
    assert task.score(asked) == task.score(rows)


def test_places_are_of_unit_length_and_predict_gives_their_numbers(tmp_path: Path) -> None:
    images, labels = blobs()
    run = chainrule.fit((images, labels), model="resnet9", out=tmp_path / "run", set={**SETTINGS, "train.epochs": 1})
    session = run.session
    places = session.embed(session.encode(run.opened.inputs(images[:5])))
    assert places.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1, rtol=1e-6)
    answers = run.predict(images[:5])
    assert answers.columns == ["id", *(f"place_{number}" for number in range(1, 9))]
    np.testing.assert_allclose(answers.drop("id").to_numpy(), places, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="no labels to judge"):
        run.evaluate(images)


def test_places_of_several_views_are_averaged(tmp_path: Path) -> None:
    images, labels = blobs()
    settings = {**SETTINGS, "train.epochs": 2, "augment.shift": 0.3}
    run = chainrule.fit((images, labels), model="resnet9", out=tmp_path / "run", set=settings)
    judged = run.evaluate((images, labels), views=3)
    assert judged["views"] == 3
    assert judged["metrics"] != run.evaluate((images, labels))["metrics"]


def test_new_classes_are_judged_like_known_ones(tmp_path: Path) -> None:
    images, labels = blobs()
    run = chainrule.fit((images, labels), model="resnet9", out=tmp_path / "run", set={**SETTINGS, "train.epochs": 1})
    judged = run.evaluate((images[:60], np.where(labels[:60] == 2, 7, labels[:60])))
    assert 0 <= judged["metrics"]["precision_at_10"] <= 1
    assert judged["rows"] == 60


def photos(folder: Path, count: int = 30) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(blobs(count)[0]):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("where", ["flat", "nested"])
def test_one_folder_of_photos_is_learned_from(where: str, tmp_path: Path) -> None:
    photos(tmp_path / "photos" / ("one" if where == "nested" else ""))
    settings = {**SETTINGS, "train.epochs": 1, "train.batch_size": 8}
    run = chainrule.fit(tmp_path / "photos", model="resnet9", out=tmp_path / "run", set=settings)
    assert "found_again" in run.metrics["test"]


def test_texts_with_and_without_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = {"fruit": ["apple", "pear", "plum", "fig"], "tool": ["saw", "file", "drill", "plane"]}
    lines = [(label, f"{' '.join(random.choice(words[label], 6))} {n}") for n in range(40) for label in words]
    labelled, plain = tmp_path / "labelled.csv", tmp_path / "plain.csv"
    labelled.write_text("text,kind\n" + "\n".join(f"{text},{label}" for label, text in lines))
    plain.write_text("text\n" + "\n".join(text for _, text in lines))
    settings = {"data.task": "embed", "data.kind": "text", "task.dims": 8, "train.epochs": 20}
    run = chainrule.fit(labelled, target="kind", out=tmp_path / "a", set=settings)
    assert run.metrics["model"] == "bag_of_embeddings"
    assert run.metrics["test"]["precision_at_10"] > 0.9
    assert run.metrics["baselines"][1]["name"] == "TF-IDF, leading directions"
    run = chainrule.fit(plain, out=tmp_path / "b", set={**settings, "train.epochs": 2})
    assert "found_again" in run.metrics["test"]


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    images, labels = blobs(40)

    def fit(source: Any, **settings: Any) -> None:
        start_training(source, {**SETTINGS, **settings}, "resnet9", tmp_path / "run")

    with pytest.raises(InputError, match="needs labels of two classes or more"):
        fit(images, **{"task.loss": "arcface"})
    for loss in ("triplet", "contrastive"):
        with pytest.raises(InputError, match=rf"augment.mixup would blend rows that {loss} compares"):
            fit((images, labels), **{"task.loss": loss, "augment.mixup": 0.2})
    with pytest.raises(InputError, match=r"train\.micro_batch divides a batch"):
        fit(images, **{"train.micro_batch": 4})
    with pytest.raises(InputError, match=r"task\.loss is 'arcfase'; did you mean 'arcface'"):
        EmbedConfig(loss="arcfase")
    with pytest.raises(InputError, match=r"task\.dims must be 2 or more"):
        EmbedConfig(dims=1)
    with pytest.raises(InputError, match="serves image, audio, video and text data, and this is table data"):
        chainrule.fit("iris", task="embed", out=tmp_path / "iris")
    assert not (tmp_path / "run").exists()


def test_baselines_that_fail_say_why(tmp_path: Path) -> None:
    session, samples = session_of(blobs(), tmp_path)
    assert isinstance(session.task, Embed)

    def broken(rows: Batch) -> np.ndarray:
        raise ValueError("no vector")

    entries = embedding_baselines(samples["train"], samples["test"], broken, session.task)
    assert [entry["name"] for entry in entries] == ["chance", "raw input", "principal components"]
    assert entries[1]["note"] == "could not be fitted: no vector"
