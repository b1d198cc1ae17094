"""Explanations by maps: where the truth is planted, against Captum, and what random or constant weights do to them."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import chainrule
from chainrule import create_model
from chainrule.cli import run
from chainrule.data import image
from chainrule.data.audio.front import mel_filters
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.image import ImageFront, ImageSchema
from chainrule.data.samples import TensorSamples
from chainrule.data.schema import ClassTarget, NumberTarget, Target
from chainrule.errors import InputError
from chainrule.explain.answers import Answer, answers_of, worth_explaining
from chainrule.explain.axes import axes_of
from chainrule.explain.cam import anatomy, grad_cam
from chainrule.explain.gradients import integrated_gradients
from chainrule.explain.maps import MapsExplanation, explain_maps
from chainrule.explain.methods import Explainer, in_cells, output_of
from chainrule.explain.occlusion import PARTS, occlusion, windows
from chainrule.explain.overlay import FRAME_PX, PANEL_PX, WAVE_PX, draw, heat, scaled, smoothed
from chainrule.explain.sanity import renew_batch_norm
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.tasks.regress import Regress, RegressConfig

SIDE, SQUARE = 24, 6
METHODS = ("grad_cam", "integrated_gradients", "occlusion")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a dark (class 0) or a bright square somewhere; the labels; where the square is."""
    pixels = torch.randint(60, 120, (rows, 1, SIDE, SIDE), generator=generator(seed), dtype=torch.uint8)
    labels = torch.arange(rows) % 2
    where = torch.zeros(rows, SIDE, SIDE, dtype=torch.bool)
    places = torch.randint(0, SIDE - SQUARE + 1, (rows, 2), generator=generator(seed + 1)).tolist()
    for row, (label, (top, left)) in enumerate(zip(labels.tolist(), places, strict=True)):
        pixels[row, :, top : top + SQUARE, left : left + SQUARE] = 220 if label else 0
        where[row, top : top + SQUARE, left : left + SQUARE] = True
    return pixels, labels, where


CLASSES = ClassTarget(name="square", classes=("dark", "bright"), counts=(32, 32))


def image_schema(target: Target = CLASSES) -> ImageSchema:
    return ImageSchema(target=target, size_px=(SIDE, SIDE), channels=1, mean=(0.36,), std=(0.12,))


def small_cnn(outputs: int = 2) -> nn.Sequential:
    """Two convolutions, the mean over the map, a dense layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs),
        )  # fmt: skip


def trained(network: nn.Module, front: nn.Module, steps: int = 60) -> Fronted:
    """A fronted network that tells the planted classes apart."""
    pixels, labels, _ = planted(64)
    module = Fronted(front, network).train()
    for _ in range(steps):
        gradients = torch.autograd.grad(F.cross_entropy(module(pixels), labels), list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
    return module.eval()


@pytest.fixture(scope="module")
def cnn() -> Fronted:
    return trained(small_cnn(), ImageFront(image_schema(), flat=False))


def explained(
    module: Fronted, rows: int = 8, target: Target = CLASSES, takes: str = "image", labels: Tensor | None = None
) -> MapsExplanation:
    pixels, _, _ = planted(rows, seed=1)
    samples = TensorSamples((pixels,), labels, [f"image {row}" for row in range(rows)])
    kind: Any = image
    task: Any = (
        Regress(RegressConfig(), target) if isinstance(target, NumberTarget) else Classify(ClassifyConfig(), target)
    )
    return explain_maps(module, task, kind, image_schema(target), takes, samples)


def grown(where: Tensor, cells: int) -> Tensor:
    """The region and so many places around it."""
    return F.max_pool2d(where.float()[:, None], 2 * cells + 1, 1, cells)[:, 0].bool()


# what the maps show


def test_the_planted_square_holds_the_attribution_and_the_maps_depend_on_the_weights(cnn: Fronted) -> None:
    found = explained(cnn, labels=torch.arange(8) % 2)
    where = planted(8, seed=1)[2][[answer.row for answer in found.explained.answers]]
    assert all(answer.right for answer in found.explained.answers)
    assert tuple(found.maps) == METHODS
    near = grown(where, 2)  # cells of 2 x 2 and windows of 6 x 6 reach over the square's edge
    assert near.float().mean() < 0.18
    for method in found.methods:
        speaks = method.maps.clamp(min=0)
        assert float(speaks[near].sum() / speaks.sum()) > 0.6, method.name
        assert method.sanity.passed, method.name
        assert abs(method.sanity.correlation) < 0.6
        assert 0 < method.half() < 0.15
    assert found.methods[1].gap is not None
    assert found.methods[1].gap < 0.05


def test_an_edge_detector_is_called_untrustworthy(cnn: Fronted) -> None:
    inputs = cnn.front(planted(6)[0])[0]
    edges = (inputs[:, 0] - F.avg_pool2d(inputs[:, 0], 3, 1, 1)).abs()
    explainer = Explainer(cnn.network, anatomy(cnn.network, inputs[:1]), inputs, torch.zeros(6).long(), True, False)
    found = explainer._checked("edges", "Edges", "of the picture", lambda network, rows: edges[rows], seed=0)
    assert found.sanity.correlation == pytest.approx(1.0)
    assert not found.sanity.passed
    assert "do not trust it" in "\n".join(found.lines())


def test_a_constant_network_gets_no_verdict_and_empty_maps(cnn: Fronted) -> None:
    network = small_cnn()
    head = network[-1]
    assert isinstance(head, nn.Linear)
    nn.init.zeros_(head.weight)
    found = explained(Fronted(cnn.front, network), rows=3)
    for method in found.methods:
        assert not method.sanity.passed
        assert not method.maps.any()
    assert found.text().count("the maps are empty") == 3
    assert found.page().count('class="doubt"') > 3


def test_what_lies_in_the_border_is_told() -> None:
    found = explained(trained(small_cnn(), ImageFront(image_schema(), flat=False), steps=1), rows=2)
    method = found.methods[2]
    method.maps.zero_()[:, 0, :] = -1.0
    assert method.half() == pytest.approx(SIDE / 2 / SIDE**2)
    share, area = method.border()
    assert share == 1.0
    assert area == pytest.approx(1 - (20 / 24) ** 2)
    assert "MORE THAN ITS PART" in method.lines()[-1]


def test_a_network_of_vectors_has_no_grad_cam_and_is_shown_as_a_picture() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mlp = create_model("mlp", in_features=SIDE**2, num_classes=1, hidden=(8,))
    module = Fronted(ImageFront(image_schema(), flat=True), mlp)
    found = explained(module, rows=3, takes="vector")
    assert tuple(found.maps) == METHODS[1:]
    assert "Grad-CAM is left out" in found.text()
    pixels = planted(3, seed=1)[0]
    with torch.no_grad():
        logits = module(pixels)[:, 0]
        base = mlp(torch.zeros(1, SIDE**2))[0, 0]
    for row, answer in enumerate(found.explained.answers):
        sign = 1 if answer.text == "bright" else -1  # one logit speaks for class 1
        assert answer.output == (logits[row] > 0)
        assert float(found.methods[0].maps[row].sum()) == pytest.approx(float(sign * (logits[row] - base)), abs=0.02)


def test_a_number_is_explained_with_what_raises_and_what_lowers_it(cnn: Fronted) -> None:
    module = Fronted(cnn.front, small_cnn(1))
    target = NumberTarget(name="size", mean=10.0, std=2.0)
    found = explained(module, rows=12, target=target, labels=torch.linspace(5, 15, 12))
    assert [answer.share for answer in found.explained.answers] == [None] * 8
    errors = [answer.off for answer in found.explained.answers]
    assert errors[:4] == sorted(errors[:4], reverse=True)
    assert max(errors[4:]) <= min(errors[:4])
    assert (found.methods[0].maps < 0).any()
    assert "raises it" in found.page()


def test_gradients_that_do_not_pass_leave_occlusion(cnn: Fronted) -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small_cnn()

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    found = explained(Fronted(cnn.front, Frozen()), rows=2)
    assert tuple(found.maps) == ("occlusion",)
    assert "no gradient passes" in found.text()


def test_no_samples_and_inputs_without_places_are_refused(cnn: Fronted) -> None:
    with pytest.raises(InputError, match="no samples to explain"):
        explained(cnn, rows=0)
    with pytest.raises(InputError, match="no places to point at"):
        explained(Fronted(ImageFront(image_schema(), flat=True), nn.Linear(SIDE**2, 2)))


def test_without_captum_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r"pip install 'chainrule\[explain\]'"):
        occlusion(lambda x: x.flatten(1), torch.zeros(1, 1, 4, 4), torch.zeros(1).long(), 8)


# samples cut into pieces


class Pieces(nn.Module):
    """Four frames of each clip (B C T H W) as pieces."""

    def forward(self, clip: Tensor) -> tuple[Tensor]:
        return (clip.transpose(1, 2),)


def test_of_a_sample_in_pieces_the_strongest_is_explained() -> None:
    class Brightness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            nn.init.constant_(self.conv.weight, 1 / 9)

        def forward(self, x: Tensor) -> Tensor:
            score = self.conv(x).mean((1, 2, 3))
            return torch.stack((score, score * 2), 1)

    clips = torch.rand(3, 1, 4, 10, 12, generator=generator()) * 0.1 + 0.5
    for row, piece in enumerate((2, 0, 3)):
        clips[row, :, piece] += 1
    samples = TensorSamples((clips,), None, ["a", "b", "c"])
    kind: Any = SimpleNamespace(NAME="video", GIVES=("clip", "image"))
    module = Fronted(Pieces(), Brightness(), pieces=True)
    found = explain_maps(
        module, Classify(ClassifyConfig(), CLASSES), kind, SimpleNamespace(target=CLASSES), "image", samples
    )
    assert found.explained.chosen == (2, 0, 3)
    assert torch.equal(found.explained.inputs[1], clips[1, :, 0])
    assert found.maps["occlusion"].shape == (3, 10, 12)
    pieces = torch.tensor(found.explained.pieces)
    with torch.no_grad():
        assert torch.allclose(pieces.mean(1), module(clips)[:, 1])
    assert "piece 3 of 4" in found.page()


# networks of every sort


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"), ("resnet20", "stages"), ("resnet9", "layer3"), ("alexnet", "features.11"),
        ("vgg11", "features.21"), ("vgg11_bn", "features.29"), ("mobilenet_v1", "blocks"),
        ("mobilenet_v2", "features.18"), ("mobilenet_v3_small", "features.12"),
    ],
)  # fmt: skip
def test_the_last_map_of_the_catalog(name: str, layer: str) -> None:
    sizes: dict[str, Any] = {} if name in ("resnet9", "resnet20") else {"image_size": (28, 28)}
    found = anatomy(create_model(name, in_channels=1, num_classes=3, **sizes).eval(), torch.zeros(1, 1, 28, 28))
    assert found.layer == layer
    assert min(found.cells) > 1


@pytest.mark.parametrize(("dims", "size"), [(1, (600,)), (2, (40, 32)), (3, (8, 24, 20))])
def test_grad_cam_equals_captum(dims: Literal[1, 2, 3], size: tuple[int, ...]) -> None:
    from captum.attr import LayerGradCam

    network = create_model("resnet18", in_channels=2, num_classes=3, image_size=size, dims=dims, width=4)
    network = network.double().eval()
    inputs = torch.randn(3, 2, *size, generator=generator(), dtype=torch.float64)
    target = torch.tensor([0, 2, 1])
    layer = anatomy(network, inputs[:1]).layer
    assert layer == "layer4"
    ours = grad_cam(network, network, inputs, target, layer)
    coarse = LayerGradCam(network, network.get_submodule(layer)).attribute(
        inputs, target=target, relu_attributions=True
    )
    theirs = F.interpolate(coarse.detach(), size, mode=("linear", "bilinear", "trilinear")[dims - 1])[:, 0]
    assert ours.shape == (3, *size)
    assert float(theirs.max()) > 0
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6 * float(theirs.max()))


@pytest.mark.parametrize(("dims", "size"), [(1, (300,)), (3, (4, 16, 20))])
def test_signals_and_clips_are_explained_and_drawn(dims: Literal[1, 3], size: tuple[int, ...]) -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x,)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("resnet18", in_channels=1, num_classes=2, image_size=size, dims=dims, width=4)
    samples = TensorSamples((torch.randn(2, 1, *size, generator=generator()),), torch.tensor([0, 1]), list("ab"))
    kind: Any = SimpleNamespace(NAME="other", GIVES=("signal", "clip"))
    found = explain_maps(
        Fronted(Plain(), network), Classify(ClassifyConfig(), CLASSES), kind, SimpleNamespace(target=CLASSES),
        "signal", samples,
    )  # fmt: skip
    assert tuple(found.maps) == METHODS
    assert all(values.shape == (2, *size) and np.isfinite(values).all() for values in found.maps.values())
    assert ("in the border" in found.text()) == (dims == 3)
    page = found.page()
    assert page.count("<image") == 2 * 4
    assert page.count("<rect") == (2 * 3 * 4 if dims == 3 else 0)  # a bar for each frame and method


class Own(nn.Module):
    """A person's module: functional activations, one layer used twice, an input changed in place, tuples inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mul_(2)
        x, _ = self.pool(self.act(self.first(x)))
        x = self.act(self.again(F.relu(self.again(x))))
        return self.act(self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def test_a_module_of_ones_own() -> None:
    inputs = torch.randn(2, 1, 12, 12, generator=generator())
    network = Own()
    for parameter in network.first.parameters():
        parameter.requires_grad_(False)
    found = anatomy(network, inputs[:1].clone())
    assert (found.layer, found.cells) == ("act", (6, 6))
    maps = grad_cam(network, network, inputs, torch.tensor([0, 1]), found.layer)
    assert maps.shape == (2, 12, 12)
    assert all(not module._forward_hooks for module in network.modules())


def test_a_last_map_of_one_cell_is_passed_over() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.AvgPool2d(4), nn.Conv2d(3, 5, 2), nn.Flatten(), nn.Linear(5, 2)
    )
    found = anatomy(network, torch.zeros(1, 1, 8, 8))
    assert (found.layer, found.cells) == ("0", (8, 8))
    assert found.values == 3 * 64 + 3 * 4 + 5 + 5 + 2
    assert found.flops == 2 * (3 * 9 + 3) // 30 * 27 * 64 + 2 * 5 * 12 + 2 * 10
    assert anatomy(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.zeros(1, 1, 8, 8)).layer == ""


# occlusion


def test_occlusion_is_the_mean_loss_over_the_windows_that_hold_a_place() -> None:
    inputs = torch.randn(2, 3, 20, 14, generator=generator())
    weight = torch.randn(3, 20, 14, generator=generator(1))

    def output(x: Tensor) -> Tensor:
        score = (x * weight).flatten(1).sum(1)
        return torch.stack((score, -score), 1)

    found = occlusion(output, inputs, torch.tensor([0, 1]), rows_at_once=7)
    (h, w), (down, right) = windows((20, 14))
    lost, covered = torch.zeros(2, 20, 14), torch.zeros(20, 14)
    for top in range(0, 20 - h + down, down):
        for left in range(0, 14 - w + right, right):
            part = (slice(None), slice(None), slice(top, top + h), slice(left, left + w))
            score = (inputs[part] * weight[part[1:]]).flatten(1).sum(1) * torch.tensor([1.0, -1.0])
            lost[part[0], part[2], part[3]] += score[:, None, None]
            covered[part[2:]] += 1
    assert torch.allclose(found, lost / covered, atol=1e-4)


@pytest.mark.parametrize("size", [(1,), (5,), (16000,), (8, 8), (224, 1), (128, 96), (1, 4, 4), (16, 112, 112)])
def test_windows_fit_and_are_few(size: tuple[int, ...]) -> None:
    sides, strides = windows(size)
    assert all(1 <= stride <= side <= whole for side, stride, whole in zip(sides, strides, size, strict=True))
    count = math.prod(
        -(-(whole - side) // stride) + 1 for side, stride, whole in zip(sides, strides, size, strict=True)
    )
    assert count <= math.prod(PARTS[len(size) - 1])
    occlusion(lambda x: x.flatten(1).sum(1, keepdim=True), torch.ones(1, 1, *size), torch.zeros(1).long(), 4)


# parts


def test_integration_steps_are_divided_without_a_trace() -> None:
    x = torch.randn(3, 5, generator=generator())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))
    target = torch.tensor([0, 1, 1])
    base = (torch.zeros(1, 5),)
    whole = integrated_gradients(network, (x,), base, target)
    rows: list[int] = []

    def counted(values: Tensor) -> Tensor:
        rows.append(len(values))
        return network(values)

    parts = integrated_gradients(counted, (x,), base, target, rows_at_once=10)
    assert max(rows) == 10
    assert torch.allclose(whole.values[0], parts.values[0], atol=1e-6)


def test_batch_norm_is_renewed_and_left_as_it_was() -> None:
    norm = nn.BatchNorm1d(3)
    network = nn.Sequential(nn.Linear(4, 3), norm).eval()
    norm.running_mean += 100
    x = torch.randn(50, 4, generator=generator())
    renew_batch_norm(network, (x,))
    with torch.no_grad():
        hidden = network[0](x)
    assert torch.allclose(norm.running_mean, hidden.mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, hidden.var(0), atol=1e-6)
    assert norm.momentum == 0.1
    assert not norm.training


def test_one_logit_of_two_classes_speaks_for_both() -> None:
    one, two, three = nn.Linear(4, 1), nn.Linear(4, 2), nn.Linear(4, 3)
    x = torch.randn(5, 4)
    assert torch.equal(output_of(one, two=True)(x), torch.cat((-one(x), one(x)), 1))
    assert torch.equal(output_of(two, two=True)(x), two(x))
    assert torch.equal(output_of(three, two=False)(x), three(x))
    assert torch.equal(output_of(one, two=False)(x), one(x))


def test_cells_are_means() -> None:
    assert in_cells(torch.arange(128.0)[None])[0, :3].tolist() == [0.5, 2.5, 4.5]
    assert in_cells(torch.ones(2, 40, 7)).shape == (2, 16 * 7)
    assert in_cells(torch.ones(2, 2, 30, 30)).shape == (2, 2 * 64)


def answer(row: int, output: int, share: float, right: bool) -> Answer:
    return Answer(row, str(row), output, "", share, "known", 0.0 if right else share)


def test_a_number_whose_truth_is_zero_is_off_by_what_was_answered() -> None:
    task = Regress(RegressConfig(), NumberTarget(name="y", mean=0.0, std=1.0))
    samples = TensorSamples((torch.tensor([[5.0], [1.0]]),), torch.tensor([0.0, 1.5]), ("a", "b"))
    module = Fronted(nn.Sequential(), nn.Identity())
    module.front.forward = lambda x: (x,)  # type: ignore[method-assign]
    found = answers_of(module, task, samples, torch.arange(2), torch.device("cpu"))
    assert [(one.truth, one.off) for one in found] == [("0", 5.0), ("1.5", 0.5)]


def test_confident_mistakes_come_first_then_right_answers_of_different_classes() -> None:
    answers = [
        answer(0, 0, 0.9, True), answer(1, 0, 0.95, True), answer(2, 1, 0.6, True), answer(3, 1, 0.7, False),
        answer(4, 0, 0.99, False), answer(5, 0, 0.5, False),
    ]  # fmt: skip
    assert [one.row for one in worth_explaining(answers, 4)] == [4, 3, 1, 2]
    assert [one.row for one in worth_explaining(answers, 6)] == [4, 3, 5, 1, 2, 0]
    assert [one.row for one in worth_explaining(answers[:4], 8)] == [3, 1, 2, 0]
    assert [one.row for one in worth_explaining(answers[3:], 2)] == [4, 3]


# drawing


def test_heat_is_warm_for_and_blue_against() -> None:
    picture = np.full((2, 3, 3), 200, np.uint8)
    pixels = heat(picture, np.array([[0.0, 0.6, -0.6], [0.0, 1.0, -1.0]])).astype(int)
    assert pixels[0, 0].tolist() == [150, 150, 150]
    assert pixels[0, 1, 0] > pixels[0, 1, 2] + 50
    assert pixels[0, 2, 2] > pixels[0, 2, 0] + 50
    assert pixels[1, 1].sum() > pixels[0, 1].sum()  # stronger is lighter


def test_maps_are_scaled_to_their_own_size() -> None:
    values = torch.randn(100, 100, generator=generator())
    assert float(scaled(values).abs().max()) == 1.0
    assert torch.equal(scaled(1000 * values).sign(), values.sign())
    one = torch.zeros(50, 50)
    one[3, 4] = -7
    assert float(scaled(one).min()) == -1.0  # though nearly all places are 0
    assert not scaled(torch.zeros(4)).any()
    assert torch.allclose(smoothed(torch.ones(64, 40)), torch.ones(64, 40))
    assert float(smoothed(torch.eye(64))[0, 63]) == 0.0


def test_a_picture_is_drawn_with_its_own_colours_and_its_map_at_its_place() -> None:
    tensor, picture = torch.zeros(3, 16, 8), np.zeros((16, 8, 3), np.uint8)
    picture[..., 1] = 255
    assert draw(tensor, None, picture).shape == (PANEL_PX, PANEL_PX // 2, 3)
    assert draw(tensor, None, picture)[0, 0].tolist() == [0, 255, 0]
    values = torch.zeros(16, 8)
    values[:4, :4] = 1
    pixels = draw(tensor, values, picture).astype(int)
    assert pixels[5, 5, 0] > 200
    assert pixels[-5, -5, 0] < 150


def test_a_spectrogram_stands_on_its_lowest_frequency() -> None:
    tensor = torch.zeros(1, 20, 60)
    tensor[0, 0] = 1.0
    pixels = draw(tensor, None, upright=False)
    assert pixels.shape == (WAVE_PX, 3 * WAVE_PX, 3)
    assert pixels[-1].min() == 255
    assert pixels[0].max() == 0
    values = torch.zeros(20, 60)
    values[0] = 1.0
    assert draw(tensor, values, upright=False)[-2, 5, 0] > 200


def test_frames_and_waveforms_are_drawn_under_their_maps() -> None:
    clip, values = torch.rand(1, 20, 10, 10, generator=generator()), torch.zeros(20, 10, 10)
    values[0] = 1
    strip = draw(clip, values).astype(int)
    assert strip.shape == (FRAME_PX, 8 * FRAME_PX + 7 * 4, 3)
    assert strip[:, :FRAME_PX, 0].mean() > strip[:, :FRAME_PX, 2].mean() + 50
    assert (strip[:, -FRAME_PX:, 0] == strip[:, -FRAME_PX:, 2]).all()
    signal, shade = torch.sin(torch.arange(300.0))[None], torch.zeros(300)
    shade[:100] = -1
    wave = draw(signal, shade).astype(int)
    assert wave[0, 10, 2] > wave[0, 10, 0] + 20
    assert wave[0, -10, 2] == wave[0, -10, 0]
    assert (draw((-1.0) ** torch.arange(300)[None], None)[WAVE_PX // 2, :-3] < 100).all()  # no gaps


def audio_schema() -> AudioSchema:
    return AudioSchema(
        target=CLASSES, sample_rate_hz=8000, clip_samples=12000, pieces=1, mels=40, n_fft=512, window_samples=400,
        hop_samples=100, f_min_hz=20.0, f_max_hz=4000.0, floor_db=-80.0, mean_db=-40.0, std_db=15.0, level=0.1,
    )  # fmt: skip


def test_axes_of_sound_are_seconds_and_hertz() -> None:
    schema = audio_schema()
    axes = axes_of(schema, 2)
    assert (axes.upright, axes.seconds) == (False, 1.5)
    filters = mel_filters(8000, 512, 40, 20.0, 4000.0)
    peaks = np.linspace(0, 4000, 257)[filters.argmax(1)]
    for place, words in axes.hertz:
        band = round(place * 40 - 0.5)
        if band < 40:
            assert float(words.removesuffix(" Hz")) == pytest.approx(peaks[band], rel=0.08, abs=20)
    assert axes.hertz[-1][1] == "4000 Hz"
    assert (axes_of(schema, 1).upright, axes_of(schema, 1).hertz) == (True, ())
    assert axes_of(image_schema(), 2).seconds == 0


def test_the_page_stands_alone_and_escapes_names(cnn: Fronted) -> None:
    pixels, labels, _ = planted(3)
    samples = TensorSamples((pixels,), labels, ["<script>a", "b", "c"])
    kind: Any = image
    found = explain_maps(cnn, Classify(ClassifyConfig(), CLASSES), kind, image_schema(), "image", samples)
    page = found.page()
    assert "<script" not in page
    assert "&lt;script&gt;a" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert page.count("<image") == 3 * 4
    assert found.as_dict()["samples"][0]["right"] is True
    assert set(found.as_dict()["methods"]) == set(METHODS)


# the verb


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on class folders of small pictures."""
    root = tmp_path_factory.mktemp("squares")
    pixels, labels, _ = planted(60)
    for row, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        path = root / "data" / CLASSES.classes[label] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[0].numpy()).save(path)
    chainrule.fit(root / "data", model="resnet9", epochs=1, out=root / "run", set={"model.widths": (4, 4, 8, 8)})
    return root


def test_explain_writes_a_page_of_the_test_split(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(finished / "run")]) == 0
    shown = capsys.readouterr().out
    assert "8 of 9 samples explained, the most telling ones first" in shown
    assert f"page: {finished / 'run' / 'explain.html'}" in shown
    page = (finished / "run/explain.html").read_text()
    assert "truth <b" in page
    assert any("explain" in line for line in chainrule.load(finished / "run").lines())


def test_explain_takes_unlabelled_files_and_folders(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(str(path) for path in (finished / "data/dark").iterdir())[:2]
    assert run(["explain", str(finished / "run"), *files, "--out", str(tmp_path / "page.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in told["samples"]] == files
    assert [one["truth"] for one in told["samples"]] == [None, None]
    assert set(told["methods"]) == set(METHODS)
    assert told["page"] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<image") == 2 * 4
    assert len(chainrule.load(finished / "run").explain(finished / "data").explained.answers) == 8


def test_what_cannot_be_explained_is_said(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(finished / "run"), str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err
    assert run(["explain", str(finished / "run"), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "no place for a file" in capsys.readouterr().err
    assert run(["explain", str(tmp_path)]) == 2
    assert run(["fit", "xor", "--epochs", "1", "--out", str(tmp_path / "xor")]) == 0
    capsys.readouterr()
    assert run(["explain", str(tmp_path / "xor")]) == 2
    assert "chainrule trace" in capsys.readouterr().err


def test_a_table_is_explained_on_a_page_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{value % 7},{value % 5},{'yes' if value % 7 > 3 else 'no'}" for value in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["a<b,c,y", *rows]))
    chainrule.fit(tmp_path / "t.csv", target="y", model="mlp", epochs=2, out=tmp_path / "run")
    assert run(["explain", str(tmp_path / "run"), str(tmp_path / "t.csv")]) == 0
    assert "Permutation importance" in capsys.readouterr().out
    page = (tmp_path / "run/explain.html").read_text()
    assert page.count("<svg") == 2
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert run(["explain", str(tmp_path / "run"), str(tmp_path / "t.csv"), str(tmp_path / "t.csv")]) == 2
