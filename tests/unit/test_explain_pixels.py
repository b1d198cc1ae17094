"""Answers about pixels explained: uncertainty where it was planted, errors, random weights, masks beside classes."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

import chainrule
from chainrule.data import image
from chainrule.data.image import ImageFront, ImageSchema
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.samples import TensorSamples
from chainrule.data.schema import IGNORE, ClassTarget, MaskTarget
from chainrule.errors import InputError
from chainrule.evaluate.cases import dice_of_rows, telling_rows
from chainrule.explain import pixels as pixels_room
from chainrule.explain import uncertainty
from chainrule.explain.maps import explain_maps
from chainrule.explain.partners import at_size, partners, share_inside
from chainrule.explain.pixels import ERRORS, PixelsExplanation, Pointing, error_map, explain_pixels
from chainrule.explain.uncertainty import doubt, doubt_of, shares_of
from chainrule.models.unet import UNet, UNetConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.tasks.segment import Segment, SegmentConfig
from chainrule.tasks.task import Rows
from chainrule.trained import TrainedRun

SIDE = 48
TWO = MaskTarget(classes=("background", "object"), levels=((0,), (255,)), pixels=(900, 100), background=0)


def disc(number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A bright disc whose edge is blurred over some pixels, under noise; and where it truly is."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    cy, cx, radius = random.uniform(15, 33), random.uniform(15, 33), random.uniform(8, 13)
    there = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    smooth = ndimage.gaussian_filter(there.astype(float), 2.5)
    picture = 60 + 130 * smooth + random.normal(0, 12, there.shape)
    return picture.clip(0, 255).astype(np.uint8), there


def save_pair(root: Path, number: int) -> None:
    picture, there = disc(number)
    for folder, values in (("images", picture), ("masks", 255 * there.astype(np.uint8))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / folder / f"{number:02d}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("discs")
    for number in range(40):
        save_pair(root, number)
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A small U-Net that finds the discs."""
    chosen = {"model.widths": "8,16", "augment.rotate": 0.0, "augment.scale": 0.0, "augment.shift": 0.0}
    out = tmp_path_factory.mktemp("run") / "run"
    return chainrule.fit(data, model="unet", epochs=12, batch_size=4, lr=0.03, out=out, set=chosen)


@pytest.fixture(scope="module")
def explained(run: TrainedRun, data: Path) -> PixelsExplanation:
    found = run.explain(data)
    assert isinstance(found, PixelsExplanation)
    return found


def choose(rows: Rows) -> tuple[NDArray[np.float64], list[tuple[str, list[int]]]]:
    dice = dice_of_rows(rows, TWO.foreground)
    return dice, telling_rows(dice)


class Scaled(nn.Module):
    """A front: bytes to -0.5..0.5."""

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (image.float() / 255 - 0.5,)


class Bright(nn.Module):
    """Bright pixels are objects, whatever its weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack((-4 * image[:, 0], 4 * image[:, 0]), 1) + 0 * self.unused.sum()


def samples_of(images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]] | None) -> MaskSamples:
    return MaskSamples(
        [picture[..., None] for picture in images], masks, [f"image {n}" for n in range(len(images))],
        shapes=np.array([(*picture.shape, 1) for picture in images]), table=np.arange(256, dtype=np.uint8),
        patch_px=images[0].shape, channels=1, foreground=(1,),
    )  # fmt: skip


def bright() -> tuple[Fronted, Segment]:
    task = Segment(SegmentConfig(), TWO)
    return Fronted(Scaled(), task.wrap(Bright(), None)).eval(), task


# uncertainty


def test_uncertainty_and_disagreement_are_the_sums_of_their_definition() -> None:
    shares = torch.rand((4, 2, 3, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares /= shares.sum(2, keepdim=True)
    classes, unsure, differing = doubt(list(shares))
    views = shares.numpy()
    mean = views.mean(0)
    whole = -(mean * np.log(mean)).sum(1)
    each = -(views * np.log(views)).sum(2).mean(0)
    assert np.array_equal(classes.numpy(), views[0].argmax(1))
    np.testing.assert_allclose(unsure.numpy(), whole / math.log(3), rtol=1e-12)  # float64
    np.testing.assert_allclose(differing.numpy(), (whole - each) / math.log(3), rtol=1e-9)  # a difference of the two


@pytest.mark.parametrize(
    ("views", "unsure", "differing"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], 1, 0), ([[1.0, 0.0], [1.0, 0.0]], 0, 0), ([[1.0, 0.0], [0.0, 1.0]], 1, 1),
    ],
)  # fmt: skip
def test_known_values(views: list[list[float]], unsure: float, differing: float) -> None:
    _, found, apart = doubt([torch.tensor([view]) for view in views])
    assert (float(found), float(apart)) == pytest.approx((unsure, differing), abs=1e-6)


def test_each_view_is_turned_back() -> None:
    class Left(nn.Module):
        """Pixels are objects where their left neighbour, or the one above, is bright."""

        def forward(self, image: Tensor) -> Tensor:
            z = image[:, 0].roll(1, -1) + 2 * image[:, 0].roll(1, -2)
            return torch.stack((-z, z), 1)

    picture = torch.randn((1, 1, 6, 8), generator=torch.Generator().manual_seed(0))
    found = shares_of(Left(), picture, 4)
    x = picture[0, 0].numpy()
    for shares, (across, down) in zip(found, ((1, 1), (-1, 1), (1, -1), (-1, -1)), strict=True):
        z = np.roll(x, across, 1) + 2 * np.roll(x, down, 0)  # the neighbour on the other side, seen in a mirror
        np.testing.assert_allclose(shares[0, 1].numpy(), 1 / (1 + np.exp(-2 * z)), rtol=1e-5)  # float32
    assert len(shares_of(Left(), picture, 2)) == 2


def test_a_large_image_is_looked_at_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Segment(SegmentConfig(), TWO)
    torch.manual_seed(0)
    network = UNet(UNetConfig(in_channels=1, num_classes=2, widths=(4, 6), batch_norm=False))
    module = Fronted(Scaled(), task.wrap(network, None)).eval()
    picture = torch.randint(0, 256, (1, 70, 90), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    whole = doubt_of(module, picture, 1)
    monkeypatch.setattr(uncertainty, "MOST_PIXELS", 40 * 40)
    monkeypatch.setitem(uncertainty.CORES, 2, 24)
    parts: list[int] = []
    module.register_forward_pre_hook(lambda module, inputs: parts.append(inputs[0].shape[2:].numel()))
    tiled = doubt_of(module, picture, 1)
    assert len(parts) > 4
    assert max(parts) < 70 * 90
    assert torch.equal(tiled.classes, whole.classes)
    assert 0.02 < float(whole.classes.double().mean()) < 0.98, "a comparison of nothing"
    torch.testing.assert_close(tiled.uncertainty, whole.uncertainty, atol=1e-5, rtol=0)  # float32, other sums


def test_edges_that_are_blurred_are_less_certain_than_the_inside(run: TrainedRun, explained: PixelsExplanation) -> None:
    assert len(explained.seen) == 40
    inside, edge, outside = [], [], []
    for one in explained.seen:
        assert one.truth is not None
        far = ndimage.distance_transform_edt(one.truth == 1) - ndimage.distance_transform_edt(one.truth != 1)
        inside.append(one.uncertainty[far > 5].mean())
        edge.append(one.uncertainty[np.abs(far) <= 1].mean())
        outside.append(one.uncertainty[far < -5].mean())
    assert np.mean(edge) > 1.5 * np.mean(inside)
    assert np.mean(edge) > 3 * np.mean(outside)


def test_uncertainty_points_at_the_errors_of_a_trained_network(explained: PixelsExplanation) -> None:
    found = explained.pointing
    assert found is not None
    assert found.pixels == 40 * SIDE * SIDE
    assert 0 < found.wrong < 0.05
    assert found.auc > 0.85
    assert found.trusted
    errors = np.mean([one.wrong for one in explained.seen])
    assert found.wrong == pytest.approx(float(errors))
    assert "ROC AUC" in explained.text()


def test_the_auc_is_that_of_sampled_pixels(run: TrainedRun, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import roc_auc_score

    monkeypatch.setattr(pixels_room, "PIXELS", 40 * 500)
    found = run.explain(data)
    assert isinstance(found, PixelsExplanation)
    assert found.pointing is not None
    assert found.pointing.pixels == 40 * 500
    values = [one.sampled for one in found.seen if one.sampled is not None]
    expected = roc_auc_score(np.concatenate([w for _, w in values]), np.concatenate([u for u, _ in values]))
    assert found.pointing.auc == pytest.approx(expected, abs=1e-12)


# trust


def test_a_network_with_random_weights_is_told_apart(run: TrainedRun, explained: PixelsExplanation) -> None:
    for sanity in explained.sanity.values():
        assert sanity.passed
        assert sanity.correlation < 0.5
    random = copy.deepcopy(run.session.module)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in random.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.square().mean().sqrt())
    task, samples = run.session.task, run.session.encode(run.prepared().parts["test"])
    assert isinstance(task, Segment)
    assert isinstance(samples, MaskSamples)
    other = explain_pixels(random, task, samples, 2, choose)
    assert other.pointing is not None
    assert explained.pointing is not None
    assert other.pointing.wrong > 5 * explained.pointing.wrong
    assert other.pointing.auc < explained.pointing.auc - 0.1


def test_random_weights_get_statistics_of_their_own(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[nn.Module] = []
    monkeypatch.setattr(pixels_room, "renew_batch_norm", lambda network, inputs: renewed.append(network))
    run.explain()
    assert len(renewed) == 2 * pixels_room.REDRAWS  # of the maps of uncertainty and of the answer
    assert all(network is not run.session.module.network for network in renewed)


def test_maps_that_ignore_the_weights_are_flagged() -> None:
    module, task = bright()
    pairs = [disc(number) for number in range(3)]
    samples = samples_of([picture for picture, _ in pairs], [there.astype(np.uint8) for _, there in pairs])
    found = explain_pixels(module, task, samples, 2, choose)
    assert all(sanity.correlation == pytest.approx(1) for sanity in found.sanity.values())
    assert found.text().count("do not trust it") == 2
    assert 'class="doubt"' in found.page()
    assert all(one.differing == 0 for one in found.seen)  # each pixel by itself: mirroring changes nothing


@pytest.mark.parametrize(
    ("auc", "words", "trusted"),
    [(0.95, "well", True), (0.8, "many", True), (0.65, "weakly", True), (0.5, "HARDLY", False), (0.1, "HARDLY", False)],
)
def test_what_is_said_of_the_auc(auc: float, words: str, trusted: bool) -> None:
    found = Pointing(auc, 1000, 3, 0.1)
    assert words in found.text()
    assert found.trusted is trusted


def test_without_errors_there_is_no_verdict() -> None:
    module, task = bright()
    picture = np.full((16, 16), 20, np.uint8)
    picture[4:9, 5:12] = 230
    truth = (picture > 128).astype(np.uint8)
    truth[0, :3] = IGNORE
    found = explain_pixels(module, task, samples_of([picture], [truth]), 2, choose)
    assert found.pointing is not None
    assert math.isnan(found.pointing.auc)
    assert found.pointing.pixels == 16 * 16 - 3  # what is not known is not counted
    assert "none is wrong" in found.text()
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["errors"]["auc"] is None
    assert plain["images"][0]["dice"] == 1


# what is shown


def test_the_worst_middle_and_best_images_are_shown(explained: PixelsExplanation) -> None:
    assert len(explained.shown) == 8
    assert [one.sort for one in explained.shown] == ["worst"] * 3 + ["middle"] * 3 + ["best"] * 2
    scores = [one.score for one in explained.shown]
    assert scores[0] == min(explained.dice)
    assert scores[6] == max(explained.dice)
    assert sorted(scores[:3]) == sorted(explained.dice)[:3]  # type: ignore[type-var]
    plain = explained.as_dict()
    assert sum(one["shown"] for one in plain["images"]) == 8
    assert [one["dice"] for one in plain["images"]] == list(explained.dice)
    for one, dice in zip(explained.seen, explained.dice, strict=True):
        assert one.truth is not None
        both = ((one.classes == 1) & (one.truth == 1)).sum()
        assert dice == pytest.approx(2 * both / ((one.classes == 1).sum() + (one.truth == 1).sum()))


def test_images_without_masks_are_shown_evenly(run: TrainedRun, data: Path) -> None:
    files = sorted(map(str, (data / "images").iterdir()))[:20]
    found = run.explain(files)
    assert isinstance(found, PixelsExplanation)
    assert [one.seen.id for one in found.shown] == [files[n] for n in (0, 3, 5, 8, 11, 14, 16, 19)]
    assert found.pointing is None
    assert found.as_dict()["errors"] is None
    assert "masks are not known" in found.text()
    assert "its mask" not in found.page()
    assert found.maps[files[0]]["uncertainty"].shape == (SIDE, SIDE)


def test_the_run_s_own_test_split_is_looked_at(run: TrainedRun) -> None:
    found = run.explain()
    assert isinstance(found, PixelsExplanation)
    assert [one.id for one in found.seen] == list(run.prepared().parts["test"].ids)
    assert found.pointing is not None
    assert "explain" in run.lines()[-1]


@pytest.mark.parametrize(("flip", "views"), [("no", 2), ("both", 4)])
def test_views_are_those_that_training_mirrors(flip: str, views: int, data: Path, tmp_path: Path) -> None:
    chosen = {"model.widths": "4,4", "train.steps": 1, "augment.flip": flip}
    found = chainrule.fit(data, model="unet", batch_size=4, out=tmp_path / "run", set=chosen).explain()
    assert isinstance(found, PixelsExplanation)
    assert found.views == views
    assert ("four mirrored views" in found.text()) == (views == 4)


def test_large_images_are_shrunk_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_room, "KEPT_PX", 20)
    module, task = bright()
    picture, there = disc(0)
    found = explain_pixels(module, task, samples_of([picture], [there.astype(np.uint8)]), 2, choose)
    (one,) = found.shown
    assert one.seen.uncertainty.shape == one.seen.classes.shape == one.picture.shape[:2] == (20, 20)
    whole = doubt_of(module, torch.from_numpy(picture)[None], 2).uncertainty
    assert one.seen.mean == pytest.approx(float(whole.mean()), rel=1e-5)
    assert float(one.seen.uncertainty.mean()) == pytest.approx(one.seen.mean, rel=0.02)


def test_a_volume_shows_its_middle_slice() -> None:
    class Bright3D(Bright):
        multiple, margin = 1, 0

    task = Segment(SegmentConfig(), TWO)
    module = Fronted(Scaled(), task.wrap(Bright3D(), None)).eval()
    slices = np.stack([disc(number)[0] for number in range(5)])
    samples = MaskSamples(
        [slices[..., None]], None, ["volume"], shapes=np.array([(5, SIDE, SIDE, 1)]), table=np.zeros(0, np.uint8),
        patch_px=(4, 16, 16), channels=1, foreground=(),
    )  # fmt: skip
    found = explain_pixels(module, task, samples, 2, choose)
    assert np.array_equal(found.shown[0].picture[..., 0], slices[2])
    assert np.array_equal(found.seen[0].classes, slices[2] > 127)


def test_errors_have_a_colour_each() -> None:
    classes = np.array([[0, 1, 1, 0, 2, 1]], np.uint8)
    truth = np.array([[0, 1, 0, 1, 1, IGNORE]], np.uint8)
    found = error_map(np.zeros((1, 6, 3), np.uint8), classes, truth, 0)
    right, alarm, missed, other = (np.rint(0.6 * np.array(colour)) for colour in ERRORS.values())
    assert [*map(tuple, found[0])] == [*map(tuple, ((0, 0, 0), right, alarm, missed, other, (0, 0, 0)))]


def test_the_page_stands_alone(explained: PixelsExplanation, tmp_path: Path) -> None:
    explained.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") == 8 * 6
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "false alarm" in page
    assert "worst · Dice" in page
    assert page.count("uncertainty</figcaption>") == 8


def test_names_are_escaped() -> None:
    module, task = bright()
    samples = samples_of([disc(0)[0]], None)
    samples.ids = ["<script>alert(1)</script>.png"]
    page = explain_pixels(module, task, samples, 2, choose).page()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_nothing_to_explain_is_told() -> None:
    module, task = bright()
    empty: Any = samples_of([disc(0)[0]], None)
    empty.ids = []
    with pytest.raises(InputError, match="no images"):
        explain_pixels(module, task, empty, 2, choose)


# masks beside classes


def test_the_share_inside_a_mask_is_known_by_construction() -> None:
    maps = torch.zeros(3, 4, 4)
    maps[0, 0, 0], maps[0, 3, 3] = 3, -1  # what speaks against the answer counts by its size
    maps[1, :2] = 1
    corner, half = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    corner[0, 0] = True
    half[:, :2] = True
    found = share_inside(maps, [corner, half, corner])
    assert found == pytest.approx(((0.75 + 0.5) / 2, (1 / 16 + 1 / 2) / 2, 2))  # the third map is empty
    assert share_inside(maps, [None, np.zeros((4, 4), bool), None]) is None


def test_partners_are_found_by_name_and_by_folder(tmp_path: Path) -> None:
    picture, there = disc(0)
    mask = Image.fromarray(255 * there.astype(np.uint8))
    for name in ("flat/benign/a.png", "split/images/benign/a.png", "flat/normal/b.png", "split/images/normal/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / name)
    mask.save(tmp_path / "flat/benign/a_mask.png")
    (tmp_path / "split/masks/benign").mkdir(parents=True)
    mask.save(tmp_path / "split/masks/benign/a.png")
    for sources, name in (
        ([tmp_path / "flat"], "benign/a.png"), ([tmp_path / "split/images"], "benign/a.png"),
        ([tmp_path / "split"], "images/benign/a.png"),
        ([tmp_path / "flat/benign/a.png"], f"{tmp_path}/flat/benign/a.png"),
    ):  # fmt: skip
        found = partners(sources)(name)
        assert found is not None, (sources, name)
        assert np.array_equal(found, there)
    assert partners([tmp_path / "flat"])("normal/b.png") is None
    assert partners([np.zeros((2, 3, 3)), None, ""])("image 0") is None
    small = at_size(there, (SIDE // 2, SIDE // 2))
    assert small is not None
    assert np.array_equal(small, there[1::2, 1::2])


def test_masks_of_another_size_or_unreadable_are_passed_over(tmp_path: Path) -> None:
    Image.fromarray(disc(0)[0]).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "a_mask.png")
    assert partners([tmp_path])("a.png") is None
    (tmp_path / "a_mask.png").write_bytes(b"nothing")
    assert partners([tmp_path])("a.png") is None


def test_maps_say_how_much_of_them_lies_in_the_mask() -> None:
    target = ClassTarget(name="spot", classes=("dark", "bright"), counts=(4, 4))
    schema = ImageSchema(target=target, size_px=(16, 16), channels=1, mean=(0.3,), std=(0.2,))
    images = torch.full((4, 1, 16, 16), 40, dtype=torch.uint8)
    images[:, :, 2:6, 2:6] = 220
    spot = np.zeros((32, 32), bool)
    spot[4:12, 4:12] = True

    class Corner(nn.Module):
        """Looks at nothing but the corner with the spot."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.convolution(x)[:, :, 2:6, 2:6].mean((2, 3))

    torch.manual_seed(0)
    kind: Any = image
    module, task = Fronted(ImageFront(schema, flat=False), Corner()), Classify(ClassifyConfig(), target)
    samples = TensorSamples((images,), None, ["a", "b", "c", "d"])
    found = explain_maps(
        module, task, kind, schema, "image", samples, partner=lambda name: spot if name in "ab" else None
    )
    inside = found.as_dict()["methods"]["integrated_gradients"]["inside"]
    assert inside == pytest.approx({"share": 1.0, "area": 16 / 256, "images": 2})
    line = "100% of it lies inside the masks, which cover 6% of the area (means over the images that have one: 2)"
    assert line in found.text()
    assert line in found.page()
    assert "outline of the mask" in found.page()
    plain = explain_maps(module, task, kind, schema, "image", samples)
    assert "inside" not in plain.as_dict()["methods"]["integrated_gradients"]
    assert "outline of the mask" not in plain.page()
    assert plain.page() != found.page()


def test_a_run_about_classes_finds_the_doctor_s_masks(tmp_path: Path) -> None:
    for number in range(24):
        picture, there = disc(number)
        folder = tmp_path / "data" / ("malignant" if number % 2 else "benign")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture if number % 2 else 255 - picture).save(folder / f"{number:02d}.png")
        Image.fromarray(255 * there.astype(np.uint8)).save(folder / f"{number:02d}_mask.png")
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    run = chainrule.fit(tmp_path / "data", task="classify", model=network, epochs=1, out=tmp_path / "run")
    for found in (run.explain(), run.explain(tmp_path / "data/benign"), run.explain([tmp_path / "data/benign/02.png"])):
        inside = found.as_dict()["methods"]["grad_cam"]["inside"]
        assert 0 < inside["share"] <= 1
        assert 0.05 < inside["area"] < 0.3
