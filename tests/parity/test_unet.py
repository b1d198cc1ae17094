"""U-Net equals the reference's layout written plainly, and with encoders segmentation_models_pytorch's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests import networks
from tests.peers import segmentation_models
from tests.pixelwise import EXACT, assert_equal, assert_equal_step, images, objective
from torch import Tensor, nn

import chainrule
from chainrule.models.catalog import build_unet
from chainrule.models.unet import UNetConfig, reference_name
from chainrule.models.weights import load_weights

State = dict[str, Tensor]
WIDTHS = (3, 4, 5, 6, 7)
ENCODERS = ("resnet18", "resnet50", "mobilenet_v2")


def reference_state(dims: int, c_in: int, classes: int, norm: bool, widths: tuple[int, ...] = WIDTHS) -> State:
    """Random tensors under the names of mateuszbuda/brain-segmentation-pytorch, unet.py."""
    generator = torch.Generator().manual_seed(0)
    long, short = (9, 4) if dims == 1 else (3, 2)

    def random(*shape: int, scale: float = 1.0, plus: float = 0.0) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator) * scale + plus

    state: State = {}

    def block(name: str, short_name: str, first: int, last: int) -> None:
        for number, inputs in ((1, first), (2, last)):
            key, fan_in = f"{name}.{short_name}", inputs * long**dims
            state[f"{key}conv{number}.weight"] = random(last, inputs, *[long] * dims, scale=(2 / fan_in) ** 0.5)
            if not norm:
                state[f"{key}conv{number}.bias"] = random(last, scale=0.1)
                continue
            state[f"{key}norm{number}.weight"] = random(last, scale=0.1, plus=1.0)
            state[f"{key}norm{number}.bias"] = random(last, scale=0.1)
            state[f"{key}norm{number}.running_mean"] = random(last, scale=0.1)
            state[f"{key}norm{number}.running_var"] = random(last, scale=0.1).abs() + 0.8
            state[f"{key}norm{number}.num_batches_tracked"] = torch.tensor(0)

    for level, (a, b) in enumerate(itertools.pairwise((c_in, *widths[:-1])), 1):
        block(f"encoder{level}", f"enc{level}", a, b)
    block("bottleneck", "bottleneck", *widths[-2:])
    for level in (4, 3, 2, 1):
        fine, coarse = widths[level - 1 : level + 1]
        state[f"upconv{level}.weight"] = random(coarse, fine, *[short] * dims, scale=coarse**-0.5)
        state[f"upconv{level}.bias"] = random(fine, scale=0.1)
        block(f"decoder{level}", f"dec{level}", 2 * fine, fine)
    state["conv.weight"] = random(classes, widths[0], *[1] * dims)
    state["conv.bias"] = random(classes)
    return state


def plain_unet(w: State, image: Tensor, training: bool, padded: bool = True) -> Tensor:
    """The reference's forward pass before its sigmoid; without padding figure 1 of the paper."""
    dims = image.ndim - 2
    conv = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    up = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]
    half, two = (4, 4) if dims == 1 else (1, 2)

    def unit(x: Tensor, key: str, number: int) -> Tensor:
        x = conv(x, w[f"{key}conv{number}.weight"], w.get(f"{key}conv{number}.bias"), padding=half if padded else 0)
        norm = f"{key}norm{number}"
        if f"{norm}.weight" in w:
            axes = [0, *range(2, x.ndim)]
            mean, variance = x.mean(axes), x.var(axes, unbiased=False)
            if not training:
                mean, variance = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
            scale = w[f"{norm}.weight"] / (variance + 1e-5).sqrt()
            shift = w[f"{norm}.bias"] - mean * scale
            x = x * scale.reshape(-1, *[1] * dims) + shift.reshape(-1, *[1] * dims)
        return x.clamp(min=0)

    def block(x: Tensor, name: str, short: str) -> Tensor:
        return unit(unit(x, f"{name}.{short}", 1), f"{name}.{short}", 2)

    enc1 = block(image, "encoder1", "enc1")
    enc2 = block(pool(enc1, two), "encoder2", "enc2")
    enc3 = block(pool(enc2, two), "encoder3", "enc3")
    enc4 = block(pool(enc3, two), "encoder4", "enc4")
    x = block(pool(enc4, two), "bottleneck", "bottleneck")
    for level, skip in ((4, enc4), (3, enc3), (2, enc2), (1, enc1)):
        x = up(x, w[f"upconv{level}.weight"], w[f"upconv{level}.bias"], stride=two)
        cut = [(a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]
        middle = tuple(slice(off, off + length) for off, length in zip(cut, x.shape[2:], strict=True))
        x = block(torch.cat((x, skip[:, :, *middle]), dim=1), f"decoder{level}", f"dec{level}")
    return conv(x, w["conv.weight"], w["conv.bias"])


CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {  # the config, the image, the logits
    "one class": ({"in_channels": 3, "num_classes": 1}, (32, 48), (32, 48)),
    "classes": ({"in_channels": 1, "num_classes": 4}, (48, 32), (48, 32)),
    "biases": ({"in_channels": 2, "num_classes": 3, "batch_norm": False}, (32, 16), (32, 16)),
    "the paper's": ({"in_channels": 1, "num_classes": 2, "batch_norm": False, "padding": "valid"}, (188, 204), (4, 20)),
    "unpadded with norms": ({"in_channels": 1, "num_classes": 2, "padding": "valid"}, (204, 188), (20, 4)),
    "signals": ({"in_channels": 1, "num_classes": 2, "dims": 1}, (1024,), (1024,)),
    "volumes": ({"in_channels": 1, "num_classes": 2, "dims": 3}, (16, 16, 32), (16, 16, 32)),
}


def pair(name: str) -> tuple[nn.Module, State, Tensor, bool]:
    settings, size, _ = CASES[name]
    config = UNetConfig(widths=WIDTHS, **settings)
    state = reference_state(config.dims, config.in_channels, config.num_classes, config.batch_norm)
    network = build_unet(config).double()
    network.load_state_dict({reference_name(key): x for key, x in state.items()}, strict=True)
    return network, state, images(2, config.in_channels, *size), config.padding == "same"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference_written_plainly(name: str, training: bool) -> None:
    network, state, image, padded = pair(name)
    state = {key: x.requires_grad_() if x.is_floating_point() else x for key, x in state.items()}
    expected, logits = plain_unet(state, image, training, padded), network.train(training)(image)
    assert logits.shape == (2, CASES[name][0]["num_classes"], *CASES[name][2])
    assert float(logits.detach().std()) > 1e-3, "a comparison of nothing"
    torch.testing.assert_close(logits, expected, rtol=EXACT, atol=EXACT)
    objective(expected).backward()
    objective(logits).backward()
    parameters = {reference_name(key): x for key, x in state.items() if "running" not in key and "num_" not in key}
    for key, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[key].grad, rtol=EXACT, atol=EXACT)
    assert {key for key, _ in network.named_parameters()} == parameters.keys()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", ["classes", "the paper's"])
def test_one_step_equals_that_of_the_reference(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    network, state, image, padded = pair(name)
    trained = {key: x.requires_grad_() for key, x in state.items() if "running" not in key and "num_" not in key}
    steppers = [optimizer(list(x), lr=0.01) for x in (network.parameters(), trained.values())]  # type: ignore[call-arg]
    objective(network.train()(image)).backward()
    objective(plain_unet(state, image, True, padded)).backward()
    for stepper in steppers:
        stepper.step()
    atol = 1e-8 if optimizer is torch.optim.AdamW else EXACT  # it divides by the gradient's own size
    expected = {reference_name(key): x for key, x in trained.items()}
    torch.testing.assert_close(dict(network.named_parameters()), expected, rtol=EXACT, atol=atol)


def test_running_statistics_are_those_of_the_maps() -> None:
    network, _, image, _ = pair("classes")
    first = network.encoder.levels[0]  # type: ignore[union-attr]
    x = F.conv2d(image, first.conv1.weight, padding=1)
    expected = 0.9 * first.bn1.running_mean + 0.1 * x.mean((0, 2, 3))
    network.train()(image)
    torch.testing.assert_close(first.bn1.running_mean, expected, rtol=EXACT, atol=EXACT)


def test_a_file_of_the_reference_loads_by_its_map(tmp_path: Path) -> None:
    state = reference_state(2, 3, 1, norm=True)
    torch.save(state, tmp_path / "unet.pt")
    network = build_unet(UNetConfig(in_channels=3, num_classes=1, widths=WIDTHS)).double()
    assert load_weights(network, tmp_path / "unet.pt", rename=reference_name).fresh == ()
    image = images(1, 3, 32, 32)
    torch.testing.assert_close(network.eval()(image), plain_unet(state, image, False), rtol=EXACT, atol=EXACT)
    own = network.state_dict()
    assert [reference_name(name) for name in own] == list(own), "our own names stay"


def parameters(**settings: Any) -> int:
    return networks.count_parameters(UNetConfig(**settings), build_unet)


def test_the_papers_parameters() -> None:
    """Figure 1 by hand: 3x3 windows and biases, 2x2 doublings and biases, one 1x1 head."""
    widths = (64, 128, 256, 512, 1024)
    count = 0
    for a, b in zip((1, *widths), widths, strict=False):
        count += 9 * a * b + b + 9 * b * b + b
    for fine, coarse in itertools.pairwise(widths):
        count += 4 * coarse * fine + fine + 9 * 2 * fine * fine + fine + 9 * fine * fine + fine
    count += 64 * 2 + 2
    paper = {"in_channels": 1, "num_classes": 2}
    assert parameters(**paper, batch_norm=False, padding="valid") == count == 31_030_658
    assert chainrule.describe("unet").parameters == count
    # eighteen 3x3 convolutions with 5,888 outputs: a norm has two numbers for each of them, a bias one
    assert parameters(**paper) - count == 5_888
    assert parameters(**paper) == 31_036_546
    # the reference's network: three channels, one class, 32 to 512 channels, batch norm
    assert parameters(in_channels=3, num_classes=1, widths=(32, 64, 128, 256, 512)) == 7_763_041
    assert parameters(in_channels=1, num_classes=3) - parameters(**paper) == 64 + 1  # of one class more
    assert parameters(in_channels=2, num_classes=2) - parameters(**paper) == 9 * 64  # of one channel more


def smp_pair(name: str, dtype: torch.dtype, **settings: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    smp = segmentation_models()
    theirs = smp.Unet(
        name, encoder_weights=None, in_channels=settings.get("in_channels", 3), classes=4,
        decoder_channels=settings.get("widths", (16, 32, 64, 128, 256))[::-1],
        decoder_use_norm="batchnorm" if settings.get("batch_norm", True) else False,
    )  # fmt: skip
    networks.shake(theirs, dtype)
    with torch.device("meta"):
        ours = build_unet(UNetConfig(**{"in_channels": 3, "num_classes": 4, "encoder": name, **settings}))
    state = {reference_name(key): x for key, x in theirs.state_dict().items()}
    ours.to_empty(device="cpu").to(dtype).load_state_dict(state, strict=True)
    return theirs, ours


@pytest.mark.peers
@pytest.mark.parametrize("name", ENCODERS)
def test_equals_smp_in_float64(name: str) -> None:
    assert_equal(*smp_pair(name, torch.float64), reference_name, images(2, 3, 64, 64))


@pytest.mark.peers
def test_other_sizes_equal_smp() -> None:
    narrow = smp_pair("resnet34", torch.float64, in_channels=1, widths=(4, 6, 8, 10, 12), batch_norm=False)
    assert_equal(*narrow, reference_name, images(2, 1, 96, 64))


@pytest.mark.peers
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", ENCODERS)
def test_one_step_equals_smp(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    assert_equal_step(*smp_pair(name, torch.float64), reference_name, images(2, 3, 64, 64), optimizer)


@pytest.mark.peers
@pytest.mark.parametrize("name", ENCODERS)
def test_near_smp_in_float32(name: str) -> None:
    theirs, ours = smp_pair(name, torch.float32)
    image = images(2, 3, 64, 64, dtype=torch.float32)
    with torch.no_grad():
        expected, logits = theirs.eval()(image), ours.eval()(image)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2"])
def test_every_encoder_has_the_parameters_of_smp(name: str) -> None:
    smp = segmentation_models()
    with torch.device("meta"):
        theirs = smp.Unet(name, encoder_weights=None, classes=4)
    expected = {reference_name(key): x.shape for key, x in theirs.state_dict().items()}
    with torch.device("meta"):
        ours = build_unet(UNetConfig(in_channels=3, num_classes=4, encoder=name))
    assert {key: x.shape for key, x in ours.state_dict().items()} == expected


def test_parameters_with_encoders() -> None:
    """As smp's, with three channels and four classes; the sum of the encoder without its head and of the decoder."""
    counts = {"resnet18": 14_328_644, "resnet50": 32_521_540, "mobilenet_v2": 6_629_380}
    for name, count in counts.items():
        assert parameters(in_channels=3, num_classes=4, encoder=name) == count
