"""What `chainrule models NAME` says: published numbers, a table that adds up, a drawing, sizes asked for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import chainrule
from chainrule.cli import run
from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG, published_sizes
from chainrule.models.describe import on_meta
from chainrule.models.draw import Block, as_svg, as_text

PUBLISHED = {  # parameters of the papers' networks, and G multiply-adds as torchvision's documentation states them
    "alexnet": (61_100_840, 0.71), "vgg16": (138_357_544, 15.47), "resnet18": (11_689_512, 1.81),
    "resnet50": (25_557_032, 4.09), "mobilenet_v2": (3_504_872, 0.30), "mobilenet_v3_large": (5_483_032, 0.22),
    "mobilenet_v3_small": (2_542_856, 0.06), "resnet152": (60_192_808, 11.51), "vgg11_bn": (132_868_840, 7.61),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_parameters_and_work(name: str) -> None:
    seen = chainrule.describe(name)
    parameters, giga = PUBLISHED[name]
    assert seen.parameters == seen.published_parameters == parameters
    assert seen.multiply_adds / 1e9 == pytest.approx(giga, abs=0.006)
    assert f"{parameters:,}" in seen.text()


@pytest.mark.parametrize("name", list(CATALOG))
def test_the_table_adds_up_for_every_network(name: str) -> None:
    seen = chainrule.describe(name)
    assert sum(layer.parameters for layer in seen.layers) == seen.parameters
    assert seen.what.endswith((".", "!"))
    entry, work = CATALOG[name], sum(layer.multiply_adds for layer in seen.layers)
    if "pair" in entry.takes:  # attention and the tied head are products between the layers
        assert 0 < work < seen.multiply_adds
    else:
        assert work == seen.multiply_adds
        sizes = published_sizes(entry)
        classes = 0 if "segment" in entry.tasks else -1  # before the sides of a map
        names = ("num_classes", "vocab_size", "in_features")  # the last of what builds its input again
        built = sizes["shape"][-1] if "shape" in sizes else 0
        answers = built or next(sizes[name] for name in names if name in sizes)
        assert seen.layers[-1].shape[classes] in (answers, answers * sizes.get("horizon", 1))
    assert seen.reference in seen.text()
    drawn = ElementTree.fromstring(seen.svg())
    assert len(drawn.findall(".//{*}polygon")) >= 1 + len(seen.layers)


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize(
    "name", [name for name, entry in CATALOG.items() if "clip" in entry.takes and "frames" not in entry.takes]
)
def test_every_variant_over_one_axis_and_three(name: str, dims: int) -> None:
    seen = chainrule.describe(name, {"model.dims": dims})
    assert len(seen.layers[0].shape) == 1 + dims
    assert sum(layer.parameters for layer in seen.layers) == seen.parameters
    if dims == 1:
        assert seen.parameters == chainrule.describe(name).parameters


def test_equal_blocks_are_one_row() -> None:
    rows = {layer.name: layer for layer in chainrule.describe("resnet18").layers}
    assert list(rows) == ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc"]
    first = rows["layer1"]
    assert (first.repeats, first.kind, first.shape, first.parameters) == (2, "BasicBlock", (64, 56, 56), 147_968)
    assert rows["conv1"].kind == "Conv2d 7x7, BatchNorm2d"
    vgg = chainrule.describe("vgg16").layers
    assert (vgg[0].name, vgg[0].repeats, vgg[0].kind) == ("features.0 to 3", 2, "Conv2d 3x3, ReLU")


def test_a_network_for_pixels_is_described_in_the_order_it_runs() -> None:
    seen = chainrule.describe("unet")
    assert seen.what.startswith("U-Net: a class for every pixel")
    assert seen.inputs == ((1, 572, 572),)
    levels = [f"encoder.levels.{level}" for level in range(5)]
    assert [layer.name for layer in seen.layers] == [*levels, *(f"decoder.{level}" for level in range(4)), "head"]
    shapes = [layer.shape for layer in seen.layers]
    assert shapes[:2] == [(64, 568, 568), (128, 280, 280)]
    assert shapes[4:6] == [(1024, 28, 28), (512, 52, 52)]
    assert shapes[-1] == (2, 388, 388), "the numbers of figure 1"
    first = 570 * 570 * 64 * 9 + 568 * 568 * 64 * 9 * 64
    assert seen.layers[0].multiply_adds == first
    padded = chainrule.describe("unet", {"model.padding": "same", "model.batch_norm": "yes"})
    assert padded.inputs == ((1, 576, 576),), "the next multiple of 16"
    assert padded.published_parameters == 31_030_658


def test_an_encoder_is_shown_layer_by_layer() -> None:
    seen = chainrule.describe("unetpp", {"model.encoder": "resnet18"})
    rows = {layer.name: layer for layer in seen.layers}
    stages = [f"encoder.layer{stage}" for stage in (1, 2, 3, 4)]
    assert list(rows)[:7] == ["encoder.conv1", "encoder.maxpool", *stages, "nodes.x_1_1"]
    assert rows["encoder.layer4"].parameters == 8_393_728
    assert sum(layer.parameters for layer in seen.layers) == seen.parameters


def test_the_work_is_what_one_input_costs() -> None:
    seen = chainrule.describe("mlp", {"model.in_features": 7, "model.hidden": (5, 4), "model.num_classes": 3})
    assert seen.multiply_adds == 7 * 5 + 5 * 4 + 4 * 3
    assert seen.as_dict()["flops"] == 2 * seen.multiply_adds
    assert [layer.shape for layer in seen.layers] == [(5,), (4,), (3,)]


def test_sizes_that_are_asked_for() -> None:
    seen = chainrule.describe("resnet18", {"model.image_size": "32,32", "model.in_channels": 1, "model.num_classes": 7})
    assert seen.inputs == ((1, 32, 32),)
    assert seen.sizes["stem"] == "small"
    assert seen.published_parameters == 11_689_512
    built = chainrule.create_model("resnet18", in_channels=1, num_classes=7, image_size=(32, 32))
    assert seen.parameters == sum(p.numel() for p in built.parameters())
    assert f"{seen.parameters:,} at these sizes, 11,689,512 as published" in seen.text()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet51", {}, "resnet50"),
        ("resnet50", {"model.imagesize": 32}, "model.image_size"),
        ("resnet50", {"train.epochs": 3}, r"only model\.\*"),
        ("resnet50", {"model.dims": 4}, "model.dims"),
        ("tabm", {"model.dims": 3}, "model.dims"),
    ],
)
def test_what_cannot_be_described_is_refused(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chainrule.describe(name, settings)


def test_no_weights_are_made() -> None:
    entry = CATALOG["vgg19"]
    network = on_meta(entry, entry.config(**published_sizes(entry)))
    assert {p.device.type for p in network.parameters()} == {"meta"}


def test_blocks_are_drawn_in_proportion() -> None:
    wide, high = Block("wide", "", (64, 4, 4)), Block("high", "", (1, 64, 64))
    lines = as_text([wide, high]).split("\n")
    assert lines[-1].split() == ["in", "1"]
    assert [line[:4].strip() for line in lines[:4]] == [""] * 4
    assert sum(line.startswith("████ ") for line in lines) == 3  # 1 + log2(4) lines of 1 + log2(64) / 2 characters
    assert len(lines) == 7 + 1
    fronts = [
        one.attrib["points"].split()
        for one in ElementTree.fromstring(as_svg("t", [wide, high]))
        if "points" in one.attrib
    ]
    sizes = []
    for points in (fronts[0], fronts[3]):
        (left, low), (right, _), (_, top), _ = (tuple(map(float, point.split(","))) for point in points)
        sizes.append((right - left, low - top))
    (wide_w, wide_h), (high_w, high_h) = sizes
    assert wide_w / high_w == pytest.approx(8, rel=0.05)  # square roots of 64 and 1 channels
    assert high_h / wide_h == pytest.approx(4, rel=0.05)  # square roots of 64 and 4 pixels


def test_a_title_cannot_break_the_figure() -> None:
    assert ElementTree.fromstring(as_svg("<b> & </svg>", [Block("<x>", '"', (3, 4, 4))])) is not None


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figure.svg"
    words = ["models", "alexnet", "--set", "model.image_size=32,32", "--out", str(out)]
    assert run(words) == 0
    shown = capsys.readouterr().out
    for said in ("Krizhevsky 2014", "torchvision.models.alexnet; tests/parity/test_alexnet.py", "64 x 32 x 32", "█"):
        assert said in shown
    assert out.read_text().startswith("<svg")
    assert run([*words[:2], "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["parameters"], row["layers"][0]["shape"]) == ("alexnet", 61_100_840, [64, 55, 55])
    assert run(["models", "--out", str(out)]) == 2
    assert run(["models", "--set", "model.dims=3"]) == 2
    assert run(["models", "alexnet", "--out", str(tmp_path)]) == 2
    assert run(["models", "alexnat"]) == 2
    assert "alexnet" in capsys.readouterr().err
