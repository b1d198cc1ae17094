"""Fine-tuning: rates that fall with the distance from the head, and data seen as the weights expect it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tests.toy import equal, fit, network, plan, weights
from torch import Tensor, nn

import chainrule
from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG, published_sizes
from chainrule.nn.fronted import Fronted
from chainrule.train.loop import Plan
from chainrule.train.optimizer import Optimizer, OptimizerConfig
from chainrule.train.stages import stages

PLAIN = {"train.precision": "float32", "train.threads": 1}
Data = tuple[NDArray[np.uint8], NDArray[np.int64]]


def names_of_stages(name: str) -> list[str]:
    """The first and the last parameter of each stage of the published network behind a front."""
    entry = CATALOG[name]
    with torch.device("meta"):
        module = Fronted(nn.Identity(), entry.build(entry.config(**published_sizes(entry))))
    names = {id(p): parameter.removeprefix("network.") for parameter, p in module.named_parameters()}
    found = stages(module)
    assert sorted(id(p) for stage in found for p in stage) == sorted(names), "each parameter once"
    return [f"{names[id(stage[0])]} {names[id(stage[-1])]}" for stage in found]


def test_a_resnet_has_its_papers_stages() -> None:
    assert names_of_stages("resnet50") == [
        "conv1.weight bn1.bias",
        *(f"layer{n}.0.conv1.weight layer{n}.{last}.bn3.bias" for n, last in ((1, 2), (2, 3), (3, 5), (4, 2))),
        "fc.weight fc.bias",
    ]


@pytest.mark.parametrize("name", [name for name in CATALOG if name != "resnet50"])
def test_every_network_has_stages_that_end_with_its_head(name: str) -> None:
    heads = {
        "vgg": "classifier.6", "alexnet": "classifier.6", "mobilenet_v1": "classifier", "mobilenet_v2": "classifier.1",
        "mobilenet_v3": "classifier.3", "tabm": "head", "mlp": "layers.1", "perceptron": "linear",
        "resnet9": "linear", "resnet": "fc", "unetpp": "heads.0", "unet": "head", "dlinear": "trend",
        **dict.fromkeys(("rnn_attention", "gru_attention", "lstm_attention"), "combine"),  # its head is the embedding
        **dict.fromkeys(("denoising", "sparse"), "decoder.4"), "autoencoder": "decoder.6", "vae": "decoder.2",
        "vq_vae": "decoder.5",
        **dict.fromkeys(("rnn", "gru", "lstm", "tcn", "bag_of_embeddings", "cnn_lstm"), "head"),
    }  # fmt: skip
    head = next(layer for family, layer in heads.items() if name.startswith(family))
    found = names_of_stages(name)
    assert found[-1] == f"{head}.weight {head}.bias"
    few = {
        "perceptron": 1,
        "mlp": 2,
        "dlinear": 2,
        "bag_of_embeddings": 2,
        "tabm": 5,
        "cnn_lstm": 5,
        "vae": 4,
        "lstm_autoencoder": 5,
    }
    sequences = {"lm": 3, "ctc": 3, "forecast": 2, "lstm": 3, "gru": 3, "rnn": 3}
    assert len(found) == (few | sequences).get(name, sequences.get(name.split("_")[-1], 6))


def test_frozen_and_shared_weights_are_counted_once() -> None:
    shared = nn.Linear(3, 3)
    net = nn.Sequential(nn.Linear(2, 3), shared, nn.Tanh(), shared, nn.Linear(3, 1))
    net[0].requires_grad_(False)
    assert [[tuple(p.shape) for p in stage] for stage in stages(net)] == [[(3, 3), (3,)], [(1, 3), (1,)]]


def test_one_step_of_sgd_moves_the_stages_in_the_ratio() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 1), nn.Flatten(), nn.Linear(6, 2)).double()
    optimizer = Optimizer(net, OptimizerConfig(name="sgd", layer_decay=0.5))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(torch.randn(4, 1, 5, dtype=torch.float64)).square().sum().backward()
    optimizer.gather()
    optimizer.step(0.1)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        rate = {"0": 0.025, "1": 0.05, "3": 0.1}[name[0]]
        torch.testing.assert_close(before[name] - parameter, rate * parameter.grad)


REFERENCES = {
    "sgd": lambda groups: torch.optim.SGD(groups, fused=True),
    "momentum": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, alpha=0.999, foreach=False),
    "adam": lambda groups: torch.optim.Adam(groups, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, fused=True),
}


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_twenty_steps_equal_torchs_parameter_groups(name: str, image: bool) -> None:
    networks = [network("image" if image else "norm") for _ in range(2)]
    config = OptimizerConfig(name=name, learning_rate=0.02, weight_decay=0.1, layer_decay=0.6)
    ours = Optimizer(networks[0], config)
    assert all(group.flat for group in ours.groups) != image
    groups = []
    for distance, stage in enumerate(reversed(stages(networks[1]))):
        rate = 0.02 * 0.6**distance
        groups.append({"params": [p for p in stage if p.ndim >= 2], "lr": rate, "weight_decay": 0.1})
        groups.append({"params": [p for p in stage if p.ndim < 2], "lr": rate, "weight_decay": 0.0})
    theirs = REFERENCES[name](groups)
    x = torch.randn(16, 6)
    for _ in range(20):
        ours.zero_grad()
        theirs.zero_grad()
        for net in networks:
            net(x).square().mean().backward()
        ours.gather()
        ours.step(0.02)
        theirs.step()
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        # a flat buffer is cut into other vector lanes than single tensors: the last bit may round differently
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_without_decay_the_state_has_its_old_names() -> None:
    state = Optimizer(network("norm"), OptimizerConfig(weight_decay=0.1)).state()
    assert set(state) == {f"{group}.{part}.0" for group in "01" for part in ("first", "second", "step")}


@pytest.mark.parametrize("kind", ["norm", "image"])
def test_resume_is_exact_with_it(tmp_path: Path, kind: str) -> None:
    def falling(steps: int = 30) -> Plan:
        made = plan(steps=steps)
        config = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.01, layer_decay=0.7)
        return Plan(train=made.train, optimizer=config, schedule=made.schedule)

    whole, broken, resumed = network(kind), network(kind), network(kind)
    fit(tmp_path / "a", whole, falling())
    fit(tmp_path / "b", broken, falling(), stop_after=13)
    fit(tmp_path / "b", resumed, falling())
    assert equal(weights(resumed), weights(whole))
    same_rate = network(kind)
    fit(tmp_path / "c", same_rate, plan())
    assert not equal(weights(same_rate), weights(whole))


@pytest.mark.parametrize("value", [0.0, -0.5, 1.5])
def test_a_decay_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="layer_decay must be above 0"):
        OptimizerConfig(layer_decay=value)


def pictures(rows: int = 20, side: int = 16, classes: int = 2, seed: int = 0) -> Data:
    """Grey noise."""
    random = np.random.default_rng(seed)
    return random.integers(0, 255, (rows, side, side), dtype=np.uint8), np.arange(rows) % classes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict with the names and shapes of the published mobilenet_v3_small."""
    torch.manual_seed(0)
    state = chainrule.create_model("mobilenet_v3_small", in_channels=3, num_classes=1000).state_dict()
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({name: x.contiguous() for name, x in state.items()}, file)
    return file


def fine_tuned(
    out: Path, file: Path, data: Data | None = None, **settings: Any
) -> tuple[dict[str, Any], list[str], chainrule.TrainedRun]:
    """The recipe of one epoch from a file, what was told, and the run."""
    told: list[str] = []
    model, epochs = settings.pop("model", None), settings.pop("epochs", 1)
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    run = chainrule.fit(
        data or pictures(), model=model, weights=file, out=out, epochs=epochs, set=PLAIN | changes, tell=told.append
    )
    return json.loads((out / "recipe.json").read_text()), told, run


def test_published_weights_decide_how_pictures_are_seen(published: Path, tmp_path: Path) -> None:
    recipe, told, run = fine_tuned(tmp_path / "run", published)
    assert recipe["model"]["name"] == "mobilenet_v3_small"
    assert recipe["model"]["stem"] == "imagenet"
    assert recipe["data"]["channels"] == 3
    assert recipe["data"]["mean"] == [0.485, 0.456, 0.406]
    assert recipe["data"]["image_size"] == 128
    assert recipe["optimizer"]["layer_decay"] == 0.7
    usual = CATALOG["mobilenet_v3_small"].training(28, 1)["optimizer.learning_rate"]
    assert recipe["optimizer"]["learning_rate"] == pytest.approx(0.3 * usual)
    lines = [line for line in told if line.startswith("weights  ")]
    for said in (
        "classifier.3 starts fresh, as the file has 1000 outputs and the network 2", "model.stem=imagenet",
        "data.mean=0.485,0.456,0.406 data.std=0.229,0.224,0.225", "16 x 16 pixels are enlarged: data.image_size=128",
        "optimizer.layer_decay=0.7",
    ):  # fmt: skip
        assert [line for line in lines if said in line], said
    schema = json.loads((tmp_path / "run/schema.json").read_text())
    assert (schema["size_px"], schema["channels"], schema["std"]) == ([128, 128], 3, [0.229, 0.224, 0.225])
    front = run.session.module.front
    white = front(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))[0]
    torch.testing.assert_close(
        white[0, :, 0, 0], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    )
    assert len(run.predict(pictures(5, side=20)[0])) == 5


def test_a_resumed_run_repeats_what_the_weights_asked_for(published: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, X=pictures()[0], y=pictures()[1])
    settings = PLAIN | {"data.image_size": 32}
    for name in ("whole", "broken"):

        def watch(report: Any, name: str = name) -> None:
            if name == "broken" and report.step == 1:
                raise KeyboardInterrupt

        try:
            chainrule.fit(data, weights=published, out=tmp_path / name, epochs=3, set=settings, watch=watch)
        except KeyboardInterrupt:
            chainrule.resume(tmp_path / name)
    whole, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == resumed
    again = chainrule.load(tmp_path / "whole").evaluate()["metrics"]["accuracy"]
    assert again == chainrule.load(tmp_path / "whole").metrics["test"]["accuracy"]


def test_the_users_settings_win(published: Path, tmp_path: Path) -> None:
    recipe, told, run = fine_tuned(
        tmp_path / "run", published, model="mobilenet_v3_small", data__channels=1, data__image_size=32,
        optimizer__layer_decay=0.9, optimizer__learning_rate=0.002,
    )  # fmt: skip
    assert (recipe["data"]["channels"], recipe["data"]["mean"], recipe["data"]["image_size"]) == (1, [], 32)
    assert (recipe["optimizer"]["layer_decay"], recipe["optimizer"]["learning_rate"]) == (0.9, 0.002)
    assert recipe["model"]["stem"] == "imagenet"
    assert any("features.0.0.weight is summed over its 3 input channels" in line for line in told)
    assert run.session.module.network.features[0][0].weight.shape[1] == 1


def test_every_fold_starts_from_the_weights(published: Path, tmp_path: Path) -> None:
    chainrule.fit(
        pictures(), weights=published, out=tmp_path / "run", epochs=1, folds=2, set=PLAIN | {"data.image_size": 32}
    )
    recipes = [json.loads((folder / "recipe.json").read_text()) for folder in (tmp_path / "run/folds").iterdir()]
    assert [recipe["optimizer"]["layer_decay"] for recipe in recipes] == [0.7, 0.7]
    assert [recipe["data"]["channels"] for recipe in recipes] == [3, 3]


def test_weights_of_another_model_are_named(published: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the weights of mobilenet_v3_small, not of resnet18; say --model"):
        fine_tuned(tmp_path / "run", published, model="resnet18")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.channels": 2}, "data.channels must be 1"),
        ({"data.mean": "0.5"}, "go together"),
        ({"data.mean": "0.5", "data.std": "0"}, "go together"),
        ({"data.mean": "0.5,0.5,0.5", "data.std": "1,1,1"}, "set data.channels=3"),
    ],
)
def test_levels_that_cannot_be_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        chainrule.fit(pictures(), model="resnet9", out=tmp_path / "run", epochs=1, set=settings)


def test_colour_seen_in_grey_has_the_levels_of_grey(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    colour[..., 0] = 250
    out = tmp_path / "run"
    chainrule.fit((colour, np.arange(40) % 2), model="resnet9", out=out, epochs=1, set=PLAIN | {"data.channels": 1})
    schema = json.loads((out / "schema.json").read_text())
    assert schema["channels"] == 1
    assert schema["mean"][0] == pytest.approx((0.299 * 250 + 0.701 * 127.5) / 255, abs=0.02)


def textures(rows: int, classes: list[tuple[float, float]], seed: int) -> Data:
    """Gratings in noise: a class is an angle and a frequency; phase and contrast are random."""
    random, labels = np.random.default_rng(seed), np.arange(rows) % len(classes)
    y, x = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    images = np.empty((rows, 16, 16), np.uint8)
    for row, label in enumerate(labels):
        angle, frequency = classes[label]
        wave = np.sin(2 * np.pi * frequency * (y * np.cos(angle) + x * np.sin(angle)) + random.uniform(0, 2 * np.pi))
        levels = 128 + random.uniform(20, 60) * wave + random.normal(0, 40, (16, 16))
        images[row] = np.clip(levels, 0, 255)
    return images, labels


def test_a_run_of_ours_gives_another_a_better_start(tmp_path: Path) -> None:
    many = [(turn * np.pi / 6, frequency) for turn in range(6) for frequency in (0.15, 0.3)]
    few = [(turn * np.pi / 6 + np.pi / 12, 0.22) for turn in range(4)]
    settings = PLAIN | {"augment.flip": "no"}
    chainrule.fit(textures(600, many, 0), model="resnet9", epochs=4, batch_size=32, out=tmp_path / "many", set=settings)
    scores = {}
    for start in (None, tmp_path / "many", tmp_path / "many/model.safetensors"):
        told: list[str] = []
        out = tmp_path / f"few-{len(scores)}"
        run = chainrule.fit(
            textures(64, few, 1), test=textures(200, few, 9), model="resnet9", weights=start, epochs=6, batch_size=16,
            out=out, set=settings, tell=told.append,
        )  # fmt: skip
        scores[str(start)] = run.metrics["test"]["accuracy"]
    scratch, folder, file = scores.values()
    assert folder == file
    assert folder > scratch + 0.1  # measured: 0.93 to 0.98 after 0.69 to 0.72
    assert any("of the run's front left out" in line and "linear starts fresh" in line for line in told)
    levels = [json.loads((tmp_path / name / "schema.json").read_text())["mean"] for name in ("many", "few-1")]
    assert levels[0] == pytest.approx(levels[1], abs=1e-5)


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    chainrule.fit(pictures(), model="resnet9", epochs=1, out=tmp_path / "old", set=PLAIN)
    with pytest.raises(InputError, match="is a run of resnet9, not of resnet20"):
        chainrule.fit(pictures(), model="resnet20", weights=tmp_path / "old", out=tmp_path / "new")


def test_a_module_of_ones_own_takes_weights_too(tmp_path: Path) -> None:
    def made(seed: int, classes: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, classes))

    torch.save(made(1, 7).state_dict(), tmp_path / "own.pth")
    told: list[str] = []
    first: list[Tensor] = []
    net = made(2, 2)
    chainrule.fit(
        pictures(), model=net, weights=tmp_path / "own.pth", out=tmp_path / "run", epochs=1, set=PLAIN,
        tell=told.append, watch=lambda report: first.append(net[0].weight.detach().clone()),
    )  # fmt: skip
    assert any("3 starts fresh, as the file has 7 outputs and the network 2" in line for line in told)
    assert float((first[0] - made(1, 7)[0].weight.detach()).abs().max()) < 0.01
