"""MobileNets equal timm's (V1) and torchvision's (V2, V3); and what their variants promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import networks
from tests.peers import torchvision
from torch import nn

from chainrule.errors import InputError
from chainrule.models.mobilenet_v1 import MobileNetV1, MobileNetV1Config
from chainrule.models.mobilenet_v2 import MobileNetV2, MobileNetV2Config
from chainrule.models.mobilenet_v3 import MobileNetV3, MobileNetV3Config
from chainrule.models.weights import load_weights

PAPER_MOMENTUM = 0.01  # torchvision's MobileNetV3 has the paper's, ours 0.1 unless asked
# name: (config, network, its settings, what theirs is called with)
FAMILY: dict[str, tuple[type, Callable[[Any], nn.Module], dict[str, Any], dict[str, Any]]] = {
    "mobilenetv1_100": (MobileNetV1Config, MobileNetV1, {}, {}),
    "mobilenetv1_125": (MobileNetV1Config, MobileNetV1, {"width": 1.25}, {}),
    "mobilenet_v2": (MobileNetV2Config, MobileNetV2, {}, {}),
    "mobilenet_v2 x 0.35": (MobileNetV2Config, MobileNetV2, {"width": 0.35}, {"width_mult": 0.35}),
    "mobilenet_v2 x 1.4": (MobileNetV2Config, MobileNetV2, {"width": 1.4}, {"width_mult": 1.4}),
    "mobilenet_v3_small": (
        MobileNetV3Config, MobileNetV3, {"size": "small", "norm_momentum": PAPER_MOMENTUM}, {},
    ),
    "mobilenet_v3_large": (
        MobileNetV3Config, MobileNetV3, {"size": "large", "norm_momentum": PAPER_MOMENTUM}, {},
    ),
    "mobilenet_v3_large x 0.75": (
        MobileNetV3Config, MobileNetV3, {"width": 0.75, "norm_momentum": PAPER_MOMENTUM}, {"width_mult": 0.75},
    ),
}  # fmt: skip
PARAMETERS = {  # timm's and torchvision's documentation, 1000 classes
    "mobilenetv1_100": 4_231_976,
    "mobilenetv1_125": 6_270_840,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
}
PUBLISHED = pytest.mark.parametrize("name", FAMILY)
SIZED = pytest.mark.parametrize("name", ["mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
NARROW = 0.25  # of the published width: the contracts do not depend on it


def reference(name: str, num_classes: int = networks.CLASSES) -> nn.Module:
    """The network of timm or torchvision with its own random weights."""
    models = torchvision().models
    made: nn.Module
    if name.startswith("mobilenetv1"):
        made = pytest.importorskip("timm").create_model(name, num_classes=num_classes)
    else:
        made = getattr(models, name.split()[0])(num_classes=num_classes, **FAMILY[name][3])
    return made


def config_of(name: str, num_classes: int = networks.CLASSES, **settings: Any) -> Any:
    config, _, own, _ = FAMILY[name]
    return config(**{"in_channels": 3, "num_classes": num_classes, **own, **settings})


def small(name: str, side: int, dims: int = 2, **settings: Any) -> Any:
    size = {1: (side,), 2: (side, side), 3: (3, side, side)}[dims]
    more = {"norm_momentum": 0.1} if "v3" in name else {}
    return config_of(name, 3, **{"image_size": size, "dims": dims, "width": NARROW, **more, **settings})


def pair(name: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = networks.shake(reference(name), dtype)
    return theirs, networks.copied(config_of(name), FAMILY[name][1], theirs)


def image(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(3, 3, 71, 64, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.peers
@PUBLISHED
def test_outputs_gradients_and_statistics_equal_the_reference_in_float64(name: str) -> None:
    networks.assert_equal_in_float64(*pair(name, torch.float64), image(torch.float64))


@pytest.mark.peers
@SIZED
def test_outputs_and_gradients_equal_the_reference_in_float32(name: str) -> None:
    networks.assert_near_in_float32(*pair(name, torch.float32), image(torch.float32))


@pytest.mark.peers
@SIZED
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_equals_the_reference(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    networks.assert_equal_step(*pair(name, torch.float64), image(torch.float64), optimizer)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_an_equal_seed_gives_torchvisions_initial_weights(name: str) -> None:
    networks.assert_same_initial_weights(lambda: reference(name), lambda: FAMILY[name][1](config_of(name)))


@pytest.mark.peers
@SIZED
def test_a_file_of_the_reference_loads_without_renaming(name: str, tmp_path: Path) -> None:
    theirs = networks.shake(reference(name), torch.float32).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = FAMILY[name][1](config_of(name)).eval()
    assert load_weights(ours, tmp_path / "theirs.pth").fresh == ()
    torch.testing.assert_close(ours(image(torch.float32)), theirs(image(torch.float32)), rtol=1e-4, atol=1e-4)
    other = FAMILY[name][1](config_of(name, networks.CLASSES + 1))
    assert "starts fresh, as the file has 5 outputs" in load_weights(other, tmp_path / "theirs.pth").text


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts_are_the_published_ones_and_the_same_for_signals(name: str, count: int) -> None:
    for size in ((224, 224), (50_176,)):
        config = config_of(name, 1000, image_size=size, dims=len(size))
        assert networks.count_parameters(config, FAMILY[name][1]) == count


@SIZED
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 17, 64])
def test_small_inputs_keep_the_contract(name: str, dims: int, side: int) -> None:
    networks.assert_contract(small(name, side, dims), FAMILY[name][1])


@SIZED
@pytest.mark.parametrize("size", [(4500,), (70, 66), (2, 68, 66)])
def test_large_inputs_keep_the_contract(name: str, size: tuple[int, ...]) -> None:
    config = small(name, 64, len(size), image_size=size)
    assert config.stem == "imagenet"
    networks.assert_contract(config, FAMILY[name][1])


@SIZED
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_runs_in_bfloat16(name: str, dims: int) -> None:
    networks.assert_runs_in_bfloat16(small(name, 16, dims), FAMILY[name][1])


@SIZED
@pytest.mark.parametrize("side", [21, 66])
def test_a_still_clip_is_an_image(name: str, side: int) -> None:
    networks.assert_a_still_clip_is_an_image(small(name, side), small(name, side, 3), FAMILY[name][1])


@SIZED
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_learns_one_batch(name: str, dims: int) -> None:
    settings = {} if "v1" in name else {"dropout": 0.0}
    networks.assert_learns_one_batch(small(name, 16 if dims > 1 else 256, dims, **settings), FAMILY[name][1])


@SIZED
@pytest.mark.parametrize(("side", "stem", "left"), [(32, "small", 4), (64, "small", 8), (96, "imagenet", 3)])
def test_small_images_are_reduced_8_fold_others_32_fold(name: str, side: int, stem: str, left: int) -> None:
    config = small(name, side)
    assert config.stem == stem
    network = FAMILY[name][1](config).eval()
    sides: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    network(networks.random_input(config, 1))
    assert sides[-1] == left
    asked = small(name, side, stem="imagenet")
    assert asked.stem == "imagenet"


@SIZED
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"num_classes": -2}, "num_classes must be at least 1, got -2"),
        ({"width": 0.0}, "width must be above 0, got 0.0"),
        ({"dims": 1}, r"its length in samples with model.dims=1, got \(224, 224\)"),
        ({"stem": "tiny"}, "'auto', 'imagenet' or 'small', got 'tiny'"),
    ],
)
def test_impossible_sizes_are_refused(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(name, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "huge"}, "'small' or 'large', got 'huge'"),
        ({"norm_momentum": 0.0}, "norm_momentum must be above 0 and at most 1, got 0.0"),
        ({"dropout": 1.5}, "dropout must be at least 0 and below 1, got 1.5"),
    ],
)
def test_impossible_settings_of_v3_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MobileNetV3Config(**{"in_channels": 3, "num_classes": 2, **change})
