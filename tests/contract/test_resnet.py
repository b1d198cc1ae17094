"""What every residual network promises, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.resnet import ResNet, ResNetConfig, stem_for
from chainrule.models.resnet9 import ResNet9, ResNet9Config
from chainrule.models.resnet_cifar import ResNetCifar, ResNetCifarConfig

Build = Callable[..., Any]
SMALL_STEM = {"image_size": (28, 28), "blocks": (1, 2), "width": 8}


def basic(**sizes: int) -> nn.Module:
    return ResNet(ResNetConfig(**sizes, **SMALL_STEM))  # type: ignore[arg-type]


def bottleneck(**sizes: int) -> nn.Module:
    return ResNet(ResNetConfig(**sizes, **SMALL_STEM, bottleneck=True))  # type: ignore[arg-type]


def large_stem(**sizes: int) -> nn.Module:
    return ResNet(ResNetConfig(**sizes, blocks=(1, 1), width=8))


def cifar(**sizes: int) -> nn.Module:
    return ResNetCifar(ResNetCifarConfig(**sizes, depth=1))


def nine(**sizes: int) -> nn.Module:
    return ResNet9(ResNet9Config(**sizes, widths=(4, 8, 8, 16)))  # type: ignore[arg-type]


BUILDS = pytest.mark.parametrize("build", [basic, bottleneck, large_stem, cifar, nine])


def make(build: Build, in_channels: int = 1, num_classes: int = 3) -> Any:
    torch.manual_seed(0)
    return build(in_channels=in_channels, num_classes=num_classes)


def last_linear(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@BUILDS
@pytest.mark.parametrize("size", [(28, 28), (17, 40), (5, 6)])
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_logits_have_the_shape_of_batch_and_classes(build: Build, size: tuple[int, int], in_channels: int) -> None:
    network = make(build, in_channels)
    image = images(2, in_channels, *size)
    assert network(image).shape == (2, 3)
    assert network.features(image).shape == (2, last_linear(network).in_features)


@BUILDS
def test_every_parameter_gets_a_finite_gradient_and_the_batch_can_be_learned(build: Build) -> None:
    network = make(build)
    image, targets = images(6, 1, 28, 28), torch.arange(6) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        loss = F.cross_entropy(network(image), targets)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0 or loss < 1e-3, name
        optimizer.step()
    assert loss < 0.05


@BUILDS
def test_eval_is_deterministic_and_rows_do_not_see_each_other(build: Build) -> None:
    network = make(build).eval()
    image = images(5, 1, 28, 28)
    together = network(image)
    assert torch.equal(together, network(image))
    alone = torch.cat([network(row[None]) for row in image])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)  # float32 sums in another order


@BUILDS
def test_a_state_dict_makes_a_second_network_the_same(build: Build) -> None:
    first, second = make(build), build(in_channels=1, num_classes=3)
    image = images(4, 1, 28, 28)
    first(image)  # moves the running statistics, which belong to the state
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first.eval()(image), second.eval()(image))


@BUILDS
def test_channels_last_changes_nothing_and_survives_to_the_last_stage(build: Build) -> None:
    network = make(build).train()
    image = images(4, 1, 28, 28)
    expected = network(image)
    formats: list[bool] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _, inputs, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
            )
    network.to(memory_format=torch.channels_last)
    logits = network(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert formats
    assert all(formats), "a layer fell back to the slow memory format"


@BUILDS
def test_bfloat16_is_near_float32(build: Build) -> None:
    network = make(build).eval()
    image = images(4, 1, 28, 28)
    expected = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)
    torch.testing.assert_close(logits.float(), expected, rtol=0.1, atol=0.1)  # 8 bits of mantissa through 5 layers


@pytest.mark.parametrize(
    ("size", "stem"), [((28, 28), "small"), ((64, 64), "small"), ((64, 300), "small"), ((65, 65), "imagenet")]
)
def test_the_stem_follows_the_image_size_and_is_recorded(size: tuple[int, int], stem: str) -> None:
    assert stem_for(size) == stem
    config = ResNetConfig(in_channels=3, num_classes=2, image_size=size)
    assert config.stem == stem
    network = ResNet(config)
    assert network.conv1.kernel_size == ((3, 3) if stem == "small" else (7, 7))
    assert isinstance(network.maxpool, nn.MaxPool2d) == (stem == "imagenet")


def test_a_stem_that_was_asked_for_is_kept() -> None:
    assert ResNetConfig(in_channels=3, num_classes=2, image_size=(28, 28), stem="imagenet").stem == "imagenet"
    assert ResNetConfig(in_channels=3, num_classes=2, image_size=(224, 224), stem="small").stem == "small"


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (ResNetConfig, {"in_channels": 0}, "in_channels must be at least 1, got 0"),
        (ResNetConfig, {"num_classes": -1}, "num_classes must be at least 1"),
        (ResNetConfig, {"width": 0}, "width must be at least 1"),
        (ResNetConfig, {"blocks": ()}, "blocks needs one number"),
        (ResNetConfig, {"blocks": (2, 0)}, "blocks needs one number"),
        (ResNetConfig, {"image_size": (28,)}, "height and width"),
        (ResNetConfig, {"stem": "tiny"}, "'auto', 'imagenet' or 'small', got 'tiny'"),
        (ResNet9Config, {"num_classes": 0}, "num_classes must be at least 1"),
        (ResNet9Config, {"widths": (8, 8)}, "four numbers"),
        (ResNet9Config, {"logit_scale": 0.0}, "logit_scale must be positive"),
        (ResNetCifarConfig, {"depth": 0}, "depth must be at least 1"),
        (ResNetCifarConfig, {"widths": (32, 16)}, "do not fall"),
        (ResNetCifarConfig, {"widths": ()}, "do not fall"),
    ],
)
def test_impossible_sizes_are_refused(config: type, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**{"in_channels": 3, "num_classes": 2, **change})
