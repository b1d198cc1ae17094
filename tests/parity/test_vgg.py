"""Every VGG equals torchvision's: state dict, outputs, gradients, optimizer steps; and what its variants promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import networks
from tests.peers import torchvision
from torch import nn

from chainrule.errors import InputError
from chainrule.models.vgg import VGG, VGGConfig

BLOCKS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
SIZES: dict[str, dict[str, Any]] = {
    **{name: {"blocks": blocks} for name, blocks in BLOCKS.items()},
    **{f"{name}_bn": {"blocks": blocks, "batch_norm": True} for name, blocks in BLOCKS.items()},
}
PARAMETERS = {  # torchvision's documentation, 1000 classes
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
}  # fmt: skip
HIDDEN = 16  # 4096 units in float64, four times, would be gigabytes and prove nothing more


def pair(name: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Torchvision's network with random weights, its dense layers narrowed, and ours with the same."""
    torch.manual_seed(0)
    models = torchvision().models
    layers = models.vgg.make_layers(models.vgg.cfgs["ABDE"[list(BLOCKS).index(name[:5])]], name.endswith("_bn"))
    with torch.device("meta"):
        theirs = models.VGG(nn.Identity(), num_classes=networks.CLASSES, init_weights=False)
    theirs.features = layers
    theirs.classifier[0] = nn.Linear(25_088, HIDDEN)
    theirs.classifier[3] = nn.Linear(HIDDEN, HIDDEN)
    theirs.classifier[6] = nn.Linear(HIDDEN, networks.CLASSES)
    for module in layers:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    theirs = networks.shake(theirs, dtype)
    config = VGGConfig(in_channels=3, num_classes=networks.CLASSES, hidden=HIDDEN, **SIZES[name])
    return theirs, networks.copied(config, VGG, theirs)


def image(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(2, 3, 37, 32, dtype=dtype, generator=torch.Generator().manual_seed(1))


def small(side: int, dims: int = 2, **settings: Any) -> VGGConfig:
    sizes = {1: (side,), 2: (side, side), 3: (3, side, side)}
    fields: dict[str, Any] = {
        "in_channels": 2, "num_classes": 3, "blocks": BLOCKS["vgg11"], "widths": (8, 16, 32, 32, 32), "hidden": 32,
        "batch_norm": True,
    }  # fmt: skip
    return VGGConfig(**{"image_size": sizes[dims], "dims": dims, **fields, **settings})


@pytest.mark.peers
@pytest.mark.parametrize("name", SIZES)
def test_outputs_and_gradients_equal_torchvision_in_float64(name: str) -> None:
    networks.assert_equal_in_float64(*pair(name, torch.float64), image(torch.float64))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["vgg16", "vgg11_bn"])
def test_outputs_and_gradients_equal_torchvision_in_float32(name: str) -> None:
    networks.assert_near_in_float32(*pair(name, torch.float32), image(torch.float32))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_equals_torchvision(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    networks.assert_equal_step(*pair(name, torch.float64), image(torch.float64), optimizer)


@pytest.mark.peers
@pytest.mark.parametrize("name", SIZES)
def test_the_full_size_has_torchvisions_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision().models, name)().state_dict()
        ours = VGG(VGGConfig(in_channels=3, num_classes=1000, **SIZES[name])).state_dict()
    assert {key: x.shape for key, x in ours.items()} == {key: x.shape for key, x in theirs.items()}


@pytest.mark.peers
def test_an_equal_seed_gives_torchvisions_initial_weights() -> None:
    networks.assert_same_initial_weights(
        torchvision().models.vgg11_bn, lambda: VGG(VGGConfig(in_channels=3, num_classes=1000, **SIZES["vgg11_bn"]))
    )


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts_are_the_published_ones_and_the_same_for_signals(name: str, count: int) -> None:
    for size in ((224, 224), (50_176,)):
        config = VGGConfig(
            in_channels=3, num_classes=1000, image_size=size, dims=len(size), **SIZES[name]  # type: ignore[arg-type]
        )  # fmt: skip
        assert networks.count_parameters(config, VGG) == count


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 17, 28, 64])
def test_small_inputs_keep_the_contract(dims: int, side: int) -> None:
    networks.assert_contract(small(side, dims), VGG)


@pytest.mark.parametrize("size", [(4500,), (70, 66), (2, 68, 66)])
def test_large_inputs_keep_the_contract(size: tuple[int, ...]) -> None:
    config = small(64, len(size), image_size=size)
    assert (config.pools, config.grid) == (5, 7)
    networks.assert_contract(config, VGG)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_runs_in_bfloat16(dims: int) -> None:
    networks.assert_runs_in_bfloat16(small(16, dims), VGG)


def test_a_still_clip_is_an_image() -> None:
    networks.assert_a_still_clip_is_an_image(small(16), small(16, 3), VGG)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_learns_one_batch(dims: int) -> None:
    networks.assert_learns_one_batch(small(16 if dims > 1 else 256, dims, dropout=0.0), VGG)


@pytest.mark.parametrize(
    ("size", "pools", "grid"),
    [((8, 8), 2, 2), ((28, 28), 3, 3), ((32, 40), 4, 2), ((64, 64), 5, 2), ((65, 65), 5, 7)],
)
def test_small_images_keep_a_map_of_2x2(size: tuple[int, int], pools: int, grid: int) -> None:
    config = VGGConfig(in_channels=1, num_classes=2, image_size=size)
    assert (config.pools, config.grid) == (pools, grid)
    with torch.device("meta"):
        network = VGG(config)
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == pools
    assert [name for name, _ in network.features.named_parameters()][-1] == "28.bias"  # torchvision's number of it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"blocks": (1, 2)}, "one number of at least 1 per stage"),
        ({"widths": (8, 8, 8, 8, 0)}, "one number of at least 1 per stage"),
        ({"image_size": (224,)}, "height and width"),
        ({"pools": -1}, "pools must be at least 1, got -1"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VGGConfig(**{"in_channels": 3, "num_classes": 2, **change})
