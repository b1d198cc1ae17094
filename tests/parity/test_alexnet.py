"""AlexNet equals torchvision's: state dict, outputs, gradients, optimizer steps; and what its variants promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import networks
from tests.peers import torchvision
from torch import nn

from chainrule.errors import InputError
from chainrule.models.alexnet import AlexNet, AlexNetConfig

HIDDEN = 48  # 4096 units in float64, four times, would be gigabytes and prove nothing more


def pair(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Torchvision's network with random weights, its dense layers narrowed, and ours with the same."""
    torch.manual_seed(0)
    theirs = torchvision().models.alexnet(num_classes=networks.CLASSES)
    theirs.classifier[1] = nn.Linear(9216, HIDDEN)
    theirs.classifier[4] = nn.Linear(HIDDEN, HIDDEN)
    theirs.classifier[6] = nn.Linear(HIDDEN, networks.CLASSES)
    theirs = networks.shake(theirs, dtype)
    config = AlexNetConfig(in_channels=3, num_classes=networks.CLASSES, hidden=HIDDEN)
    return theirs, networks.copied(config, AlexNet, theirs)


def image(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(3, 3, 101, 96, dtype=dtype, generator=torch.Generator().manual_seed(1))


def small(side: int, dims: int = 2, **settings: Any) -> AlexNetConfig:
    sizes = {1: (side,), 2: (side, side), 3: (4, side, side)}
    fields: dict[str, Any] = {"in_channels": 2, "num_classes": 3, "hidden": 32, **settings}
    return AlexNetConfig(image_size=sizes[dims], dims=dims, **fields)  # type: ignore[arg-type]


@pytest.mark.peers
def test_outputs_and_gradients_equal_torchvision() -> None:
    networks.assert_equal_in_float64(*pair(torch.float64), image(torch.float64))
    networks.assert_near_in_float32(*pair(torch.float32), image(torch.float32))


@pytest.mark.peers
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_equals_torchvision(optimizer: type[torch.optim.Optimizer]) -> None:
    networks.assert_equal_step(*pair(torch.float64), image(torch.float64), optimizer)


@pytest.mark.peers
def test_the_full_size_has_torchvisions_names_shapes_and_initial_weights() -> None:
    networks.assert_same_initial_weights(
        torchvision().models.alexnet, lambda: AlexNet(AlexNetConfig(in_channels=3, num_classes=1000))
    )


@pytest.mark.parametrize("size", [(224, 224), (50_176,)])
def test_parameter_count_is_the_published_one_and_the_same_for_signals(size: tuple[int, ...]) -> None:
    config = AlexNetConfig(in_channels=3, num_classes=1000, image_size=size, dims=len(size))  # type: ignore[arg-type]
    assert networks.count_parameters(config, AlexNet) == 61_100_840


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 17, 28, 64])
def test_small_inputs_keep_the_contract(dims: int, side: int) -> None:
    networks.assert_contract(small(side, dims), AlexNet)


@pytest.mark.parametrize("size", [(4500,), (70, 66), (2, 68, 66)])
def test_large_inputs_keep_the_contract(size: tuple[int, ...]) -> None:
    config = replace(small(64), image_size=size, dims=len(size), stem="auto", grid=0)
    assert (config.stem, config.grid) == ("imagenet", 6)
    networks.assert_contract(config, AlexNet)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_runs_in_bfloat16(dims: int) -> None:
    networks.assert_runs_in_bfloat16(small(16, dims), AlexNet)


def test_a_still_clip_is_an_image() -> None:
    networks.assert_a_still_clip_is_an_image(small(20), small(20, 3), AlexNet)


@pytest.mark.parametrize("dims", [1, 2])
def test_learns_one_batch(dims: int) -> None:
    networks.assert_learns_one_batch(small({1: 256, 2: 16}[dims], dims, dropout=0.0), AlexNet)


def test_the_config_shows_what_is_built() -> None:
    config = AlexNetConfig(in_channels=1, num_classes=2, image_size=(9, 40))
    assert (config.stem, config.grid, config.hidden) == ("small", 2, 512)
    assert AlexNet(config).features[0].kernel_size == (5, 5)
    kept = AlexNetConfig(in_channels=1, num_classes=2, image_size=(64, 64), stem="imagenet")
    assert (kept.stem, kept.grid, kept.hidden) == ("imagenet", 6, 4096)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"hidden": -1}, "hidden must be at least 1, got -1"),
        ({"dims": 4}, r"dims must be 1 \(signals\), 2 \(images\) or 3 \(clips\), got 4"),
        ({"dims": 3}, r"frames, and height and width in pixels with model.dims=3, got \(224, 224\)"),
        ({"image_size": (0, 3)}, r"got \(0, 3\)"),
        ({"stem": "tiny"}, "'auto', 'imagenet' or 'small', got 'tiny'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlexNetConfig(**{"in_channels": 3, "num_classes": 2, **change})
