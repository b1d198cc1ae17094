"""Weights for networks that answer for pixels: of an encoder alone, of a whole network, of one with other classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.peers import torchvision
from torch import Tensor, nn

import chainrule
from chainrule.errors import InputError
from chainrule.models.weights import load_weights, unwrapped

PLAIN = {"train.precision": "float32", "train.threads": 1, "train.batch_size": 4}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
Published = dict[str, tuple[nn.Module, Path]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Torchvision's networks with random weights, and their files."""
    torch.manual_seed(0)
    folder, models = tmp_path_factory.mktemp("weights"), torchvision().models
    made = {name: getattr(models, name)().eval() for name in ("resnet18", "resnet34", "mobilenet_v2", "vgg11")}
    made["r3d_18"] = models.video.r3d_18().eval()
    for name, network in made.items():
        torch.save(network.state_dict(), folder / f"{name}.pth")
    return {name: (network, folder / f"{name}.pth") for name, network in made.items()}


def masks(folder: Path, rows: int = 8, side: int = 32) -> Path:
    """Grey images with a bright disc each, and its mask."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:side, :side]
    for row in range(rows):
        disc = (y - random.integers(8, 24)) ** 2 + (x - random.integers(8, 24)) ** 2 < 36
        pixels = np.clip(80 + 90 * disc + random.normal(0, 20, disc.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{row}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"masks/{row}.png")
    return folder


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in network.state_dict().items()}


def differing(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    return {name.partition(".")[0] for name, x in network.state_dict().items() if not torch.equal(x, before[name])}


@pytest.mark.peers
@pytest.mark.parametrize("model", ["unet", "unetpp"])
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_a_classifiers_file_becomes_the_encoder(published: Published, model: str, encoder: str) -> None:
    theirs, file = published[encoder]
    torch.manual_seed(1)
    network: Any = chainrule.create_model(model, in_channels=3, num_classes=2, encoder=encoder).eval()
    before = copied(network)
    report = load_weights(network, file)
    assert differing(before, network) == {"encoder"}
    assert "they are the encoder's, all else starts fresh" in report.text
    assert report.fresh == ()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        if encoder == "resnet18":
            x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
            expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
        else:
            expected = theirs.features(image)
        torch.testing.assert_close(network.encoder.maps(image)[-1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.peers
def test_create_model_takes_it(published: Published) -> None:
    theirs, file = published["resnet18"]
    network: Any = chainrule.create_model("unet", in_channels=3, num_classes=2, encoder="resnet18", weights=file)
    assert torch.equal(network.encoder.layer3[1].conv2.weight, theirs.layer3[1].conv2.weight)


@pytest.mark.peers
def test_grey_images_and_volumes_take_it_too(published: Published) -> None:
    theirs, file = published["resnet18"]
    grey: Any = chainrule.create_model("unet", in_channels=1, num_classes=2, encoder="resnet18", weights=file)
    torch.testing.assert_close(grey.encoder.conv1.weight, theirs.conv1.weight.sum(1, keepdim=True))
    sizes = {"in_channels": 3, "num_classes": 2, "encoder": "resnet18", "dims": 3}
    volumes: Any = chainrule.create_model("unetpp", **sizes, weights=file)
    flat = volumes.encoder.layer2[0].conv1.weight
    torch.testing.assert_close(flat.sum(2), theirs.layer2[0].conv1.weight)
    clips, file = published["r3d_18"]
    volumes = chainrule.create_model("unet", **sizes, weights=file)
    assert torch.equal(volumes.encoder.conv1.weight, clips.stem[0].weight)
    assert torch.equal(volumes.encoder.layer4[1].bn2.bias, clips.layer4[1].conv2[1].bias)


@pytest.mark.peers
def test_another_classifier_changes_nothing(published: Published) -> None:
    network = chainrule.create_model("unet", in_channels=3, num_classes=2, encoder="resnet34")
    before = copied(network)
    for other in ("resnet18", "mobilenet_v2", "vgg11"):
        with pytest.raises(InputError, match="does not fit the network"):
            load_weights(network, published[other][1])
    plain = chainrule.create_model("unet", in_channels=3, num_classes=2, widths=(4, 8))
    with pytest.raises(InputError, match="does not fit the network"):
        load_weights(plain, published["resnet18"][1])
    assert not differing(before, network)


@pytest.mark.parametrize(
    ("model", "sizes", "head"),
    [
        ("unet", {"widths": (4, 8)}, "head"), ("unet", {"encoder": "resnet18", "encoder_width": 8}, "head"),
        ("unetpp", {"widths": (4, 8, 8)}, "heads"),
        ("unetpp", {"widths": (4, 8, 8), "deep_supervision": True}, "heads"),
    ],
)  # fmt: skip
def test_a_whole_network_loads_as_a_whole(model: str, sizes: dict[str, Any], head: str, tmp_path: Path) -> None:
    source = chainrule.create_model(model, in_channels=1, num_classes=3, **sizes)
    torch.save(source.state_dict(), tmp_path / "whole.pth")
    same = chainrule.create_model(model, in_channels=1, num_classes=3, **sizes, weights=tmp_path / "whole.pth")
    assert not differing(copied(source), same)
    other = chainrule.create_model(model, in_channels=1, num_classes=5, **sizes)
    report = load_weights(other, tmp_path / "whole.pth")
    assert f"{head} starts fresh, as the file has 3 outputs and the network 5" in report.text
    assert {name.partition(".")[0] for name in report.fresh} == {head}
    assert len(report.fresh) == 2 * (2 if "deep_supervision" in sizes else 1)
    kept = {name: x for name, x in source.state_dict().items() if not name.startswith(head)}
    assert all(torch.equal(other.state_dict()[name], x) for name, x in kept.items())


def test_a_wrapped_network_is_the_network() -> None:
    class Wrapper(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

    inner = nn.Sequential(nn.Linear(2, 2))
    assert unwrapped(Wrapper(Wrapper(inner))) is inner
    assert unwrapped(inner) is inner


def fitted(data: Path, out: Path, weights: Path, **settings: Any) -> tuple[dict[str, Any], list[str]]:
    """The recipe of a run of one epoch from a file, and what was told."""
    told: list[str] = []
    model = settings.pop("model", None)
    changes = PLAIN | {name.replace("__", "."): value for name, value in settings.items()}
    chainrule.fit(data, model=model, weights=weights, out=out, epochs=1, set=changes, tell=told.append)
    return json.loads((out / "recipe.json").read_text()), told


@pytest.mark.peers
def test_fit_starts_an_encoder_from_published_weights(published: Published, tmp_path: Path) -> None:
    data, (theirs, file) = masks(tmp_path / "data"), published["resnet18"]
    recipe, told = fitted(
        data, tmp_path / "run", file, model__encoder="resnet18", model__widths=(4, 4, 4, 4, 4),
        optimizer__learning_rate=1e-6,
    )  # fmt: skip
    assert (recipe["model"]["name"], recipe["model"]["encoder"]) == ("unet", "resnet18")
    assert (recipe["data"]["channels"], recipe["data"]["mean"], recipe["data"]["std"]) == (3, *IMAGENET)
    assert recipe["optimizer"]["layer_decay"] == 0.7
    for said in ("they are the encoder's", "as the reference saw them", "optimizer.layer_decay=0.7"):
        assert [line for line in told if line.startswith("weights") and said in line], said
    network: Any = chainrule.load_model(tmp_path / "run")
    found = unwrapped(network).get_submodule("encoder.layer1.0.conv1").weight
    torch.testing.assert_close(found, theirs.layer1[0].conv1.weight, rtol=0, atol=1e-4)  # one small step away
    grey, told = fitted(
        data, tmp_path / "grey", file, model="unetpp", model__encoder="resnet18", model__widths=(4, 4, 4, 4, 4),
        data__channels=1, optimizer__layer_decay=0.5,
    )  # fmt: skip
    assert (grey["data"]["channels"], grey["data"]["mean"], grey["optimizer"]["layer_decay"]) == (1, [], 0.5)
    assert any("conv1.weight is summed over its 3 input channels" in line for line in told)


@pytest.mark.peers
def test_fit_says_which_encoder_to_set(published: Published, tmp_path: Path) -> None:
    data, out = masks(tmp_path / "data"), tmp_path / "run"
    said = "holds the weights of resnet34, an encoder for unet: add --set model.encoder=resnet34"
    with pytest.raises(InputError, match=said):
        fitted(data, out, published["resnet34"][1])
    with pytest.raises(InputError, match=said):
        fitted(data, out, published["resnet34"][1], model__encoder="resnet18")
    with pytest.raises(InputError, match=r"weights of vgg11; unet takes those of its own or resnet18, .*mobilenet_v2"):
        fitted(data, out, published["vgg11"][1], model__encoder="resnet18")
    assert not out.exists()


def test_fit_starts_an_encoder_from_a_run_of_ours(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 99, (16, 16, 16), dtype=np.uint8), np.arange(16) % 2
    narrow = PLAIN | {"model.width": 8}
    for name, stem in (("old", "imagenet"), ("small", "small")):
        chainrule.fit(
            pictures, model="resnet18", epochs=1, out=tmp_path / name, set=narrow | {"model.stem": stem},
            tell=lambda line: None,
        )  # fmt: skip
    data = masks(tmp_path / "data")
    with pytest.raises(InputError, match=r"add --set model.encoder=resnet18 --set model.encoder_width=8"):
        fitted(data, tmp_path / "run", tmp_path / "old", model__encoder="resnet18")
    sizes = {"model__encoder": "resnet18", "model__encoder_width": 8, "model__widths": (4, 4, 4, 4, 4)}
    with pytest.raises(InputError, match=r"a run on small images.*train it again with --set model.stem=imagenet"):
        fitted(data, tmp_path / "run", tmp_path / "small", **sizes)
    recipe, told = fitted(data, tmp_path / "run", tmp_path / "old", **sizes)
    schema = json.loads((tmp_path / "old/schema.json").read_text())
    assert recipe["data"]["mean"] == pytest.approx(schema["mean"], abs=1e-5)
    assert recipe["data"]["channels"] == 1
    assert any("they are the encoder's, all else starts fresh" in line for line in told)
    again, told = fitted(data, tmp_path / "again", tmp_path / "run")
    assert again["model"]["encoder_width"] == 8
    assert again["optimizer"]["learning_rate"] == pytest.approx(0.3 * recipe["optimizer"]["learning_rate"])
    assert not [line for line in told if "starts fresh" in line], "a run of the same network loads whole"
    with pytest.raises(InputError, match="is a run of unet, not of unetpp"):
        fitted(data, tmp_path / "other", tmp_path / "run", model="unetpp")
