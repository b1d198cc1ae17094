"""Every ResNet equals torchvision's: state dict, outputs, gradients, running statistics and optimizer steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import networks
from tests.peers import torchvision
from torch import Tensor, nn

from chainrule.models.resnet import ResNet, ResNetConfig, r3d_name
from chainrule.models.resnet9 import ResNet9, ResNet9Config
from chainrule.models.resnet_cifar import ResNetCifar, ResNetCifarConfig
from chainrule.models.weights import load_weights

SIZES: dict[str, dict[str, Any]] = {
    "resnet18": {"blocks": (2, 2, 2, 2)},
    "resnet34": {"blocks": (3, 4, 6, 3)},
    "resnet50": {"blocks": (3, 4, 6, 3), "bottleneck": True},
    "resnet101": {"blocks": (3, 4, 23, 3), "bottleneck": True},
    "resnet152": {"blocks": (3, 8, 36, 3), "bottleneck": True},
}
PARAMETERS = {  # torchvision's documentation, 1000 classes
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}
EXACT = 1e-10  # float64: 300 layers, each reordering sums by some 1e-16


def pair(name: str, dtype: torch.dtype) -> tuple[nn.Module, ResNet]:
    """Torchvision's network with random weights and statistics, and ours with the same."""
    torch.manual_seed(0)
    theirs: nn.Module = getattr(torchvision().models, name)(num_classes=5).to(dtype)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: nothing is 0 or 1 by luck
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    with torch.device("meta"):  # every number comes from theirs
        ours = ResNet(ResNetConfig(in_channels=3, num_classes=5, **SIZES[name]))
    ours.to_empty(device="cpu").to(dtype).load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, 34, 33, generator=generator, dtype=dtype), torch.tensor([0, 4, 2])


def gradients(network: nn.Module, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    image, targets = data(dtype)
    network.zero_grad()
    logits = network(image)
    F.cross_entropy(logits, targets).backward()
    return logits.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.peers
@pytest.mark.parametrize("name", SIZES)
def test_outputs_gradients_and_statistics_equal_torchvision_in_float64(name: str) -> None:
    theirs, ours = pair(name, torch.float64)
    for training in (False, True):
        logits_a, grads_a = gradients(theirs.train(training), torch.float64)
        logits_b, grads_b = gradients(ours.train(training), torch.float64)
        torch.testing.assert_close(logits_b, logits_a, rtol=EXACT, atol=EXACT)
        assert grads_b.keys() == grads_a.keys() == dict(ours.named_parameters()).keys()
        torch.testing.assert_close(grads_b, grads_a, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), rtol=EXACT, atol=EXACT)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_outputs_and_gradients_equal_torchvision_in_float32(name: str) -> None:
    theirs, ours = pair(name, torch.float32)
    (logits_a, grads_a), (logits_b, grads_b) = gradients(theirs, torch.float32), gradients(ours, torch.float32)
    torch.testing.assert_close(logits_b, logits_a, rtol=1e-5, atol=1e-5)
    for key, grad in grads_a.items():  # 1e-4 of the largest: float32's 6e-8 grows through batch norms of three values
        torch.testing.assert_close(grads_b[key], grad, rtol=0, atol=1e-4 * float(grad.abs().max()))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_equals_torchvision(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    networks = pair(name, torch.float64)
    for network in networks:
        stepper = optimizer(network.parameters(), lr=0.01)  # type: ignore[call-arg]
        gradients(network, torch.float64)
        stepper.step()
    theirs, ours = networks
    for (name_a, a), (name_b, b) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert name_a == name_b
        # AdamW divides by the gradient's own size, so a gradient of 1e-9 turns 1e-16 of rounding into 1e-9 of step
        torch.testing.assert_close(b, a, rtol=EXACT, atol=1e-8 if optimizer is torch.optim.AdamW else EXACT)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_an_equal_seed_gives_torchvisions_initial_weights(name: str) -> None:
    torch.manual_seed(7)
    theirs = getattr(torchvision().models, name)(num_classes=5)
    torch.manual_seed(7)
    ours = ResNet(ResNetConfig(in_channels=3, num_classes=5, **SIZES[name]))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    with torch.device("meta"):
        network = ResNet(ResNetConfig(in_channels=3, num_classes=1000, **SIZES[name]))
    assert sum(p.numel() for p in network.parameters()) == count


def r3d_pair(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Torchvision's r3d_18 and ours, each under our names."""
    torch.manual_seed(0)
    theirs = networks.shake(torchvision().models.video.r3d_18(num_classes=networks.CLASSES), dtype)
    with torch.device("meta"):
        ours = ResNet(ResNetConfig(in_channels=3, num_classes=networks.CLASSES, image_size=(16, 112, 112), dims=3))
    state = {r3d_name(name): x for name, x in theirs.state_dict().items()}
    ours.to_empty(device="cpu").to(dtype).load_state_dict(state, strict=True)
    return theirs, ours


def clip(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 3, 5, 34, 33, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.peers
def test_r3d_18_equals_torchvision_in_float64() -> None:
    theirs, ours = r3d_pair(torch.float64)
    for training in (False, True):
        logits_a, grads_a = networks.gradients(theirs.train(training), clip(torch.float64))
        logits_b, grads_b = networks.gradients(ours.train(training), clip(torch.float64))
        torch.testing.assert_close(logits_b, logits_a, rtol=EXACT, atol=EXACT)
        renamed = {r3d_name(name): grad for name, grad in grads_a.items()}
        assert grads_b.keys() == renamed.keys() == dict(ours.named_parameters()).keys()
        torch.testing.assert_close(grads_b, renamed, rtol=EXACT, atol=EXACT)
    statistics = {r3d_name(name): x for name, x in theirs.named_buffers()}
    torch.testing.assert_close(dict(ours.named_buffers()), statistics, rtol=EXACT, atol=EXACT)


@pytest.mark.peers
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_of_r3d_18_equals_torchvision(optimizer: type[torch.optim.Optimizer]) -> None:
    pair = r3d_pair(torch.float64)
    for network in pair:
        stepper = optimizer(network.parameters(), lr=0.01)  # type: ignore[call-arg]
        networks.gradients(network, clip(torch.float64))
        stepper.step()
    expected = {r3d_name(name): p for name, p in pair[0].named_parameters()}
    atol = 1e-8 if optimizer is torch.optim.AdamW else EXACT  # as above
    torch.testing.assert_close(dict(pair[1].named_parameters()), expected, rtol=EXACT, atol=atol)


@pytest.mark.peers
def test_a_file_of_r3d_18_loads_by_its_map(tmp_path: Path) -> None:
    theirs, ours = r3d_pair(torch.float32)
    torch.save(theirs.state_dict(), tmp_path / "r3d_18.pth")
    with torch.no_grad():
        ours.conv1.weight.zero_()
    assert load_weights(ours, tmp_path / "r3d_18.pth", rename=r3d_name).fresh == ()
    assert torch.equal(ours.conv1.weight, theirs.stem[0].weight)


@pytest.mark.peers
def test_r3d_18_is_near_torchvision_in_float32() -> None:
    theirs, ours = r3d_pair(torch.float32)
    (logits_a, grads_a), (logits_b, grads_b) = (
        networks.gradients(x.eval(), clip(torch.float32)) for x in (theirs, ours)
    )
    torch.testing.assert_close(logits_b, logits_a, rtol=1e-5, atol=1e-5 * float(logits_a.abs().max()))
    for name, grad in grads_a.items():
        torch.testing.assert_close(grads_b[r3d_name(name)], grad, rtol=0, atol=1e-4 * float(grad.abs().max()))


def test_r3d_18_has_torchvisions_parameter_count() -> None:
    config = ResNetConfig(in_channels=3, num_classes=400, image_size=(16, 112, 112), dims=3)
    assert config.stem == "video"
    assert networks.count_parameters(config, ResNet) == 33_371_472


def test_signals_have_the_parameters_of_images() -> None:
    for name, count in PARAMETERS.items():
        config = ResNetConfig(in_channels=3, num_classes=1000, image_size=(50_176,), dims=1, **SIZES[name])
        assert config.stem == "imagenet"
        assert networks.count_parameters(config, ResNet) == count


def narrow(size: tuple[int, ...], bottleneck: bool = False) -> ResNetConfig:
    return ResNetConfig(
        in_channels=2, num_classes=3, image_size=size, dims=len(size),  # type: ignore[arg-type]
        blocks=(1, 1, 2), width=8, bottleneck=bottleneck,
    )  # fmt: skip


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("size", [(8,), (300,), (5000,), (8, 8), (70, 66), (1, 8, 8), (3, 17, 30), (2, 33, 40)])
def test_signals_images_and_clips_keep_the_contract(size: tuple[int, ...], bottleneck: bool) -> None:
    networks.assert_contract(narrow(size, bottleneck), ResNet)
    networks.assert_runs_in_bfloat16(narrow(size, bottleneck), ResNet)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_still_clip_is_an_image(bottleneck: bool) -> None:
    networks.assert_a_still_clip_is_an_image(narrow((21, 20), bottleneck), narrow((4, 21, 20), bottleneck), ResNet)


@pytest.mark.parametrize("size", [(300,), (3, 16, 16)])
def test_signals_and_clips_learn_one_batch(size: tuple[int, ...]) -> None:
    networks.assert_learns_one_batch(narrow(size), ResNet)


def shaken(network: nn.Module) -> nn.Module:
    """The network in float64 with batch norms as after training: nothing is 0 or 1 by luck."""
    for module in network.double().modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network


def batch_norm(x: Tensor, w: dict[str, Tensor], key: str, training: bool) -> Tensor:
    """Ioffe and Szegedy 2015, algorithm 1; running statistics when not training."""
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    if not training:
        mean, variance = w[f"{key}.running_mean"], w[f"{key}.running_var"]
    scale = w[f"{key}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{key}.bias"][:, None, None]


def assert_equal_to_plain(network: nn.Module, plain: Callable[[dict[str, Tensor]], Tensor], image: Tensor) -> None:
    """Logits and every gradient of ``network`` equal those of a plain function of its state dict."""
    targets = torch.arange(len(image)) % 3
    copy = {name: x.clone().requires_grad_() for name, x in network.state_dict().items() if x.is_floating_point()}
    expected, logits = plain(copy), network(image)
    torch.testing.assert_close(logits, expected, rtol=EXACT, atol=EXACT)
    F.cross_entropy(expected, targets).backward()
    F.cross_entropy(logits, targets).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, copy[name].grad, rtol=EXACT, atol=EXACT)


def paper_resnet_cifar(w: dict[str, Tensor], image: Tensor, n: int, training: bool) -> Tensor:
    """Section 4.2 written plainly: 1 + 6n convolutions, widths 16, 32, 64, option A, average pool, linear."""

    def convolution_norm(x: Tensor, conv: str, norm: str, stride: int) -> Tensor:
        return batch_norm(F.conv2d(x, w[f"{conv}.weight"], stride=stride, padding=1), w, norm, training)

    x = convolution_norm(image, "conv1", "bn1", 1).clamp(min=0)
    assert x.shape[1:] == (16, 32, 32)
    for index in range(3 * n):
        stride = 2 if index in (n, 2 * n) else 1
        key = f"stages.{index}"
        y = convolution_norm(x, f"{key}.conv1", f"{key}.bn1", stride).clamp(min=0)
        y = convolution_norm(y, f"{key}.conv2", f"{key}.bn2", 1)
        if stride == 2:
            x = x[:, :, ::2, ::2]
            x = torch.cat((x, torch.zeros_like(x)), dim=1)
        x = (x + y).clamp(min=0)
    assert x.shape[1:] == (64, 8, 8)
    return x.flatten(2).mean(2) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_the_cifar_family_equals_the_paper_written_plainly(n: int, training: bool) -> None:
    torch.manual_seed(0)
    network = shaken(ResNetCifar(ResNetCifarConfig(in_channels=3, num_classes=10, depth=n))).train(training)
    image = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    assert_equal_to_plain(network, lambda w: paper_resnet_cifar(w, image, n, training), image)


@pytest.mark.parametrize(("n", "millions"), [(3, "0.27"), (5, "0.46"), (7, "0.66"), (9, "0.85"), (18, "1.7")])
def test_cifar_parameter_counts_are_those_of_table_6(n: int, millions: str) -> None:
    network = ResNetCifar(ResNetCifarConfig(in_channels=3, num_classes=10, depth=n))
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert f"{count:.{len(millions) - 2}f}" == millions
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == 6 * n + 2


def plain_resnet9(w: dict[str, Tensor], image: Tensor, training: bool) -> Tensor:
    """The network of dawn.py written plainly, with our order of pool and batch norm."""

    def unit(x: Tensor, key: str, pool: bool = False) -> Tensor:
        x = F.conv2d(x, w[f"{key}.conv.weight"], padding=1)
        if pool:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-torch.inf)
            x = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(0).values
        return batch_norm(x, w, f"{key}.bn", training).clamp(min=0)

    x = unit(image, "prep")
    x = unit(x, "layer1.0", pool=True)
    x = x + unit(unit(x, "layer1.1.res1"), "layer1.1.res2")
    x = unit(x, "layer2", pool=True)
    x = unit(x, "layer3.0", pool=True)
    x = x + unit(unit(x, "layer3.1.res1"), "layer3.1.res2")
    assert x.shape[2:] == (4, 3)
    return (x.flatten(2).max(2).values @ w["linear.weight"].T + w["linear.bias"]) / 8


@pytest.mark.parametrize("training", [True, False])
def test_resnet9_equals_its_source_written_plainly(training: bool) -> None:
    torch.manual_seed(0)
    network = shaken(ResNet9(ResNet9Config(in_channels=3, num_classes=4, widths=(4, 6, 8, 10)))).train(training)
    image = torch.randn(5, 3, 28, 23, dtype=torch.float64)
    assert_equal_to_plain(network, lambda w: plain_resnet9(w, image, training), image)


def test_resnet9_has_the_parameter_count_of_its_source() -> None:
    config = ResNet9Config(in_channels=3, num_classes=10, widths=(64, 128, 256, 512))
    own_bias = 10
    assert sum(p.numel() for p in ResNet9(config).parameters()) - own_bias == 6_573_120
