"""U-Net++ equals figure 1 of its paper written plainly, and with encoders segmentation_models_pytorch's."""

from __future__ import annotations

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
from chainrule.models.catalog import build_unetpp
from chainrule.models.unetpp import UNetPlusPlusConfig, reference_name
from chainrule.models.weights import load_weights

State = dict[str, Tensor]
WIDTHS = (3, 4, 5, 6, 7)
ENCODERS = ("resnet18", "resnet50", "mobilenet_v2")


def figure_1(w: State, image: Tensor, training: bool) -> list[Tensor]:
    """The answers of X^{0,1} ... X^{0,4} by equation 1: x^{i,j} = H([x^{i,0} ... x^{i,j-1}, U(x^{i+1,j-1})]).

    Our nodes join the other way round, so the channels of their first windows are put in the paper's order.
    """
    dims = image.ndim - 2
    conv = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    up = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]
    half, two = (4, 4) if dims == 1 else (1, 2)

    def unit(x: Tensor, weight: Tensor, key: str, number: int) -> Tensor:
        x = conv(x, weight, w.get(f"{key}.conv{number}.bias"), padding=half)
        norm = f"{key}.bn{number}"
        if f"{norm}.weight" in w:
            axes = [0, *range(2, x.ndim)]
            mean, variance = x.mean(axes), x.var(axes, unbiased=False)
            if not training:
                mean, variance = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
            scale = w[f"{norm}.weight"] / (variance + 1e-5).sqrt()
            shift = w[f"{norm}.bias"] - mean * scale
            x = x * scale.reshape(-1, *[1] * dims) + shift.reshape(-1, *[1] * dims)
        return x.clamp(min=0)

    def down(x: Tensor, level: int) -> Tensor:
        key = f"encoder.levels.{level}"
        x = unit(x, w[f"{key}.conv1.weight"], key, 1)
        return unit(x, w[f"{key}.conv2.weight"], key, 2)

    def node(i: int, j: int, joined: list[Tensor], below: Tensor) -> Tensor:
        raised = up(below, w[f"nodes.x_{i}_{j}.up.weight"], w[f"nodes.x_{i}_{j}.up.bias"], stride=two)
        x, key = torch.cat([*joined, raised], dim=1), f"nodes.x_{i}_{j}.convs"
        width = raised.shape[1]
        assert x.shape[1] == (j + 1) * width, "j maps and the one from below"
        first = torch.cat(w[f"{key}.conv1.weight"].split(width, dim=1)[::-1], dim=1)
        x = unit(x, first, key, 1)
        return unit(x, w[f"{key}.conv2.weight"], key, 2)

    x00 = down(image, 0)
    x10 = down(pool(x00, two), 1)
    x20 = down(pool(x10, two), 2)
    x30 = down(pool(x20, two), 3)
    x40 = down(pool(x30, two), 4)
    x01 = node(0, 1, [x00], x10)
    x11 = node(1, 1, [x10], x20)
    x21 = node(2, 1, [x20], x30)
    x31 = node(3, 1, [x30], x40)
    x02 = node(0, 2, [x00, x01], x11)
    x12 = node(1, 2, [x10, x11], x21)
    x22 = node(2, 2, [x20, x21], x31)
    x03 = node(0, 3, [x00, x01, x02], x12)
    x13 = node(1, 3, [x10, x11, x12], x22)
    x04 = node(0, 4, [x00, x01, x02, x03], x13)
    heads = [(w[f"heads.{k}.weight"], w[f"heads.{k}.bias"]) for k in range(4) if f"heads.{k}.bias" in w]
    answered = [x01, x02, x03, x04][-len(heads) :]
    return [conv(x, weight, bias) for x, (weight, bias) in zip(answered, heads, strict=True)]


CASES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # the config, the image
    "one head": ({"in_channels": 3, "num_classes": 2}, (32, 48)),
    "four heads": ({"in_channels": 1, "num_classes": 1, "deep_supervision": True}, (48, 32)),
    "biases": ({"in_channels": 2, "num_classes": 3, "batch_norm": False, "deep_supervision": True}, (32, 16)),
    "signals": ({"in_channels": 1, "num_classes": 2, "dims": 1}, (1024,)),
    "volumes": ({"in_channels": 1, "num_classes": 2, "dims": 3, "deep_supervision": True}, (16, 16, 32)),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    settings, size = CASES[name]
    torch.manual_seed(0)
    network = networks.shake(build_unetpp(UNetPlusPlusConfig(widths=WIDTHS, **settings)), torch.float64)
    for head in network.heads:  # type: ignore[union-attr]
        nn.init.normal_(head.weight)
    return network, images(2, settings["in_channels"], *size)


def copy_of(network: nn.Module) -> State:
    state = {name: x.clone() for name, x in network.state_dict().items()}
    return {name: x.requires_grad_() if x.is_floating_point() else x for name, x in state.items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_figure_1_written_plainly(name: str, training: bool) -> None:
    network, image = made(name)
    state = copy_of(network)
    branches = figure_1(state, image, training)
    expected, logits = torch.stack(branches).mean(0), network.train(training)(image)
    assert float(logits.detach().std()) > 1e-3, "a comparison of nothing"
    torch.testing.assert_close(logits, expected, rtol=EXACT, atol=EXACT)
    objective(expected).backward()
    objective(logits).backward()
    for key, parameter in network.named_parameters():
        assert state[key].grad is not None, key
        torch.testing.assert_close(parameter.grad, state[key].grad, rtol=EXACT, atol=EXACT)
    seen = network.eval().branches(image)  # type: ignore[operator]
    expected_branches = figure_1(network.state_dict(), image, training=False)
    assert len(seen) == len(expected_branches) == (4 if CASES[name][0].get("deep_supervision") else 1)
    for ours, theirs in zip(seen, expected_branches, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_step_on_all_heads_equals_that_of_figure_1(optimizer: type[torch.optim.Optimizer]) -> None:
    network, image = made("four heads")
    state = copy_of(network)
    trained = {name: state[name] for name, _ in network.named_parameters()}
    steppers = [optimizer(list(x), lr=0.01) for x in (network.parameters(), trained.values())]  # type: ignore[call-arg]
    branches: Any = network.train().branches(image)  # type: ignore[operator]
    for answers in (branches, figure_1(state, image, training=True)):
        sum(objective(logits) for logits in answers).backward()  # type: ignore[union-attr]
    for stepper in steppers:
        stepper.step()
    atol = 1e-8 if optimizer is torch.optim.AdamW else EXACT  # it divides by the gradient's own size
    torch.testing.assert_close(dict(network.named_parameters()), trained, rtol=EXACT, atol=atol)


def parameters(**settings: Any) -> int:
    return networks.count_parameters(UNetPlusPlusConfig(**settings), build_unetpp)


def test_the_papers_parameters() -> None:
    """Table 2 of the paper of 2018 says 9.04 million; here by hand, and what the options add."""
    widths = (32, 64, 128, 256, 512)
    count = 0
    for a, b in zip((3, *widths), widths, strict=False):
        count += 9 * a * b + b + 9 * b * b + b
    for i, width in enumerate(widths[:-1]):
        for j in range(1, 5 - i):
            count += 4 * widths[i + 1] * width + width  # the doubling
            count += 9 * (j + 1) * width * width + width + 9 * width * width + width
    count += 32 + 1
    paper = {"in_channels": 3, "num_classes": 1}
    assert parameters(**paper, batch_norm=False) == count == 9_042_177
    assert chainrule.describe("unetpp").parameters == count
    assert f"{count / 1e6:.2f}" == "9.04"
    assert parameters(**paper) - count == 3_648  # a norm has two numbers an output, a bias one
    assert parameters(**paper, batch_norm=False, deep_supervision=True) - count == 3 * 33
    assert parameters(in_channels=3, num_classes=2, batch_norm=False) - count == 33


def smp_pair(name: str, dtype: torch.dtype, **settings: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = segmentation_models().UnetPlusPlus(
        name, encoder_weights=None, in_channels=settings.get("in_channels", 3), classes=4,
        decoder_channels=settings.get("widths", (16, 32, 64, 128, 256))[::-1],
        decoder_use_norm="batchnorm" if settings.get("batch_norm", True) else False,
    )  # fmt: skip
    networks.shake(theirs, dtype)
    with torch.device("meta"):
        ours = build_unetpp(UNetPlusPlusConfig(**{"in_channels": 3, "num_classes": 4, "encoder": name, **settings}))
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
def test_a_file_of_smp_loads_by_its_map(tmp_path: Path) -> None:
    theirs, ours = smp_pair("resnet18", torch.float32)
    torch.save(theirs.state_dict(), tmp_path / "unetpp.pt")
    with torch.no_grad():
        ours.encoder.conv1.weight.zero_()  # type: ignore[union-attr]
    assert load_weights(ours, tmp_path / "unetpp.pt", rename=reference_name).fresh == ()
    image = images(1, 3, 64, 64, dtype=torch.float32)
    with torch.no_grad():
        expected, logits = theirs.eval()(image), ours.eval()(image)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    own = ours.state_dict()
    assert [reference_name(name) for name in own] == list(own), "our own names stay"


def test_parameters_with_encoders() -> None:
    counts = {"resnet18": 15_970_884, "resnet50": 48_986_180, "mobilenet_v2": 6_825_156}
    for name, count in counts.items():
        assert parameters(in_channels=3, num_classes=4, encoder=name) == count
