"""Augmented images with masks: both move alike, as references say, and every draw comes from the generator."""

from __future__ import annotations

import sys
from dataclasses import fields
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chainrule.data.image.warp import places, read_at, warp
from chainrule.data.mask.augment import MOST, MaskAugmentConfig, augment
from chainrule.data.samples import Batch
from chainrule.errors import InputError
from chainrule.functional.pixel_losses import IGNORE

OFF: dict[str, Any] = {
    "flip": "no", "rotate": 0.0, "scale": 0.0, "shift": 0.0, "brightness": 0.0, "contrast": 0.0,
}  # fmt: skip
MOVES: list[dict[str, Any]] = [
    {"flip": "yes"}, {"flip": "both"}, {"turn": True}, {"rotate": 40.0}, {"scale": 0.4}, {"shear": 20.0},
    {"shift": 0.2}, {"elastic": 4.0},
]  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"brightness": 0.3}, {"contrast": 0.5}, {"noise": 0.1}, {"blur": 2.0}, {"saturation": 0.6}, {"hue": 0.2},
]  # fmt: skip
EVERYTHING: dict[str, Any] = {name: value for change in MOVES + OTHERS for name, value in change.items()}
PLAIN = {name: value for name, value in EVERYTHING.items() if name not in ("saturation", "hue")}


def name_of(change: dict[str, Any]) -> str:
    return "-".join(str(part) for pair in change.items() for part in pair)


def photo(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random pixels (B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:2], 5, 5, generator=generator) * 255
    return F.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 255).round().to(torch.uint8)


def batch_of(image: Tensor, seed: int = 0) -> Batch:
    """The image with random answers; its last columns are not real, so nothing is known of them."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(image), *image.shape[2:])
    targets = torch.randint(3, size, dtype=torch.uint8, generator=generator)
    mask = torch.ones(size, dtype=torch.bool)
    mask[..., -3:] = False
    targets[~mask] = IGNORE
    return Batch((image,), targets, torch.arange(len(image)), mask)


def augmented(batch: Batch, seed: int = 0, **changes: Any) -> tuple[Tensor, Tensor, Tensor]:
    found = augment(batch, torch.Generator().manual_seed(seed), MaskAugmentConfig(**OFF | changes))
    assert found.targets is not None
    assert found.mask is not None
    return found.inputs[0], found.targets, found.mask


def amounts(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def still(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Angle, factor, slant, mirror and shift that change nothing."""
    zeros, ones = torch.zeros(count), torch.ones(count)
    return zeros, ones, zeros, torch.ones(count, 2), torch.zeros(count, 2)


# the grid of places against references


@pytest.mark.parametrize("size", [(40, 40), (30, 52), (17, 1)])
def test_places_turn_resize_and_slant_as_kornias_warp_does(size: tuple[int, int]) -> None:
    image = photo(6, 3, *size)
    generator = torch.Generator().manual_seed(1)
    angle, slant = (60 * torch.rand(6, generator=generator) - 30 for _ in range(2))
    factor = torch.exp(torch.rand(6, generator=generator) - 0.5)
    found = read_at(image, places(size, angle, factor, slant, torch.ones(6, 2), torch.zeros(6, 2)), "bilinear")
    expected = warp(image, angle, factor, slant)
    assert (found.int() - expected.int()).abs().max() <= 1  # float32 places, rounded to whole levels
    if size[1] > 1:
        assert (found.int() - image.int()).abs().max() > 20


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_equal_rot90_in_image_and_mask(turns: int) -> None:
    batch = batch_of(photo(2, 1, 12, 12))
    _, factor, slant, mirror, shift = still(2)
    grid = places((12, 12), amounts(90.0 * turns, 0.0), factor, slant, mirror, shift)
    for pixels, mode in ((batch.inputs[0], "bilinear"), (batch.targets, "nearest"), (batch.mask, "nearest")):
        assert pixels is not None
        found = read_at(pixels, grid, mode)  # type: ignore[arg-type]
        assert torch.equal(found[0], torch.rot90(pixels[0], turns, (-2, -1)))  # counter-clockwise
        assert torch.equal(found[1], pixels[1])


def test_whole_pixels_are_moved_right_and_down_and_the_edge_mirrored_into_what_opens() -> None:
    image, (angle, factor, slant, mirror, _) = photo(1, 2, 9, 11), still(1)
    found = read_at(image, places((9, 11), angle, factor, slant, mirror, amounts(3, -2)[None]), "bilinear")
    expected = np.pad(image[0].numpy(), ((0, 0), (0, 2), (3, 0)), mode="reflect")[:, 2:, :11]
    np.testing.assert_array_equal(found[0].numpy(), expected)


def test_mirrored_before_it_is_turned_and_bent_last() -> None:
    image, (_, factor, slant, _, shift) = photo(1, 1, 10, 10), still(1)
    grid = places((10, 10), amounts(90), factor, slant, amounts(-1, 1)[None], shift)
    assert torch.equal(read_at(image, grid, "bilinear")[0], torch.rot90(image[0].flip(-1), 1, (1, 2)))
    bend = torch.zeros(1, 2, 10, 10)
    bend[:, 0] = 2  # read two pixels further right in the old image
    grid = places((10, 10), amounts(0), factor, slant, amounts(1, 1)[None], shift, bend)
    assert torch.equal(read_at(image, grid, "bilinear")[..., :8], image[..., 2:])


# image and mask together


@pytest.mark.parametrize("change", [*MOVES, PLAIN | {"noise": 0.02, "blur": 0.5, "contrast": 0.2}], ids=name_of)
@pytest.mark.parametrize("size", [(48, 48), (40, 56)])
def test_a_mask_stays_on_what_it_marks(size: tuple[int, int], change: dict[str, Any]) -> None:
    marked = F.interpolate(torch.rand(16, 1, 6, 6), size, mode="bicubic") > 0.5
    image = torch.where(marked, 200, 50).to(torch.uint8)
    batch = Batch((image,), marked[:, 0].to(torch.uint8), torch.arange(16), torch.ones_like(marked[:, 0]))
    found, targets, mask = augmented(batch, **change)
    assert mask.all()
    answers = targets.float().unsqueeze(1)
    inside = F.max_pool2d(answers, 5, 1) == -F.max_pool2d(-answers, 5, 1)  # two pixels from every border
    assert inside.float().mean() > 0.4
    levels = found.float()
    middle = (levels.amax((2, 3), keepdim=True) + levels.amin((2, 3), keepdim=True)) / 2
    inner = (..., slice(2, -2), slice(2, -2))
    assert torch.equal((levels > middle)[inner][inside], answers[inner][inside] == 1)
    moved = (targets != marked[:, 0]).float().mean()
    assert moved > 0.01


@pytest.mark.parametrize("shape", [(6, 1, 24, 24), (6, 2, 5, 20, 28)])
def test_what_is_not_known_or_not_real_stays_so(shape: tuple[int, ...]) -> None:
    image = photo(shape[0], int(np.prod(shape[1:-2])), *shape[-2:]).view(shape)
    batch = batch_of(image)
    found, targets, mask = augmented(batch, **PLAIN)
    assert found.dtype == targets.dtype == torch.uint8
    assert mask.dtype == torch.bool
    assert found.shape == shape
    assert targets.shape == mask.shape == (shape[0], *shape[2:])
    assert torch.equal(targets == IGNORE, ~mask)  # answers come from real pixels only, whole and unmixed
    assert 0 < (~mask).float().mean() < 0.5
    assert set(targets.unique().tolist()) == {0, 1, 2, IGNORE}


def test_slices_of_a_volume_move_alike_and_as_an_image_does() -> None:
    volume = photo(4, 2 * 5, 20, 28).view(4, 2, 5, 20, 28)
    everywhere = {name: value for change in MOVES for name, value in change.items()}
    found, targets, mask = augmented(batch_of(volume), **everywhere)
    flat, _, _ = augmented(batch_of(volume.flatten(1, 2)), **everywhere)
    assert torch.equal(found.flatten(1, 2), flat)
    for place in range(5):
        part = batch_of(volume)
        assert part.targets is not None
        assert part.mask is not None
        of_slice = Batch((volume[:, :, place],), part.targets[:, place], part.ids, part.mask[:, place])
        image, answers, real = augmented(of_slice, **everywhere)
        assert torch.equal(image, found[:, :, place])
        assert torch.equal(answers, targets[:, place])
        assert torch.equal(real, mask[:, place])


@pytest.mark.parametrize("change", OTHERS, ids=name_of)
def test_light_colours_and_noise_leave_answers_alone(change: dict[str, Any]) -> None:
    batch = batch_of(photo(6, 3, 16, 16))
    found, targets, mask = augmented(batch, **change)
    assert not torch.equal(found, batch.inputs[0])
    assert targets is batch.targets
    assert mask is batch.mask


def test_a_batch_without_answers_is_changed_too() -> None:
    image = photo(3, 1, 16, 16)
    batch = Batch((image,), None, torch.arange(3))
    found = augment(batch, torch.Generator().manual_seed(0), MaskAugmentConfig())
    assert found.targets is None
    assert found.mask is None
    assert not torch.equal(found.inputs[0], image)


# settings and draws


@pytest.mark.parametrize("change", MOVES + OTHERS, ids=name_of)
def test_each_setting_changes_rows_apart_and_repeatably(change: dict[str, Any]) -> None:
    batch = batch_of(photo(1, 3, 16, 16).repeat(12, 1, 1, 1))
    (found, *answers), before = augmented(batch, **change), torch.get_rng_state()
    again, *same = augmented(batch, **change)
    assert torch.equal(found, again)
    assert all(torch.equal(one, other) for one, other in zip(answers, same, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(found, augmented(batch, seed, **change)[0]) for seed in range(1, 4))
    assert any(not torch.equal(found[0], row) for row in found[1:])


def test_every_setting_is_tried_and_nothing_happens_where_all_are_off() -> None:
    assert {field.name for field in fields(MaskAugmentConfig)} == set(EVERYTHING)
    batch = batch_of(photo(6, 3, 16, 16))
    found = augment(batch, torch.Generator().manual_seed(0), MaskAugmentConfig(**OFF))
    assert found.inputs[0] is batch.inputs[0]
    assert found.targets is batch.targets
    assert found.mask is batch.mask


def test_micro_batches_see_the_same_images() -> None:
    batch, config = batch_of(photo(7, 3, 16, 16)), MaskAugmentConfig(**EVERYTHING)
    whole = augment(batch, torch.Generator().manual_seed(3), config)
    parts = list(augment(batch, torch.Generator().manual_seed(3), config).split(3))
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), whole.inputs[0])
    assert whole.targets is not None
    assert torch.equal(torch.cat([part.targets for part in parts if part.targets is not None]), whole.targets)
    first = Batch((batch.inputs[0].roll(1, 0),), whole.targets, batch.ids, whole.mask)
    rolled = augment(first, torch.Generator().manual_seed(3), MaskAugmentConfig(**OFF | {"rotate": 90.0}))
    assert not torch.equal(rolled.inputs[0].roll(-1, 0), whole.inputs[0])  # draws belong to places in the batch


@pytest.mark.parametrize(
    ("change", "size", "count"),
    [
        ({"flip": "auto"}, (9, 9), 2), ({"flip": "yes"}, (7, 9), 2), ({"flip": "both"}, (7, 9), 4),
        ({"turn": True}, (9, 9), 4), ({"turn": True}, (7, 9), 2), ({"turn": True, "flip": "both"}, (9, 9), 8),
    ],
)  # fmt: skip
def test_flips_and_turns_give_every_picture_of_their_kind(
    change: dict[str, Any], size: tuple[int, int], count: int
) -> None:
    one = photo(1, 1, *size)
    batch = Batch((one.repeat(120, 1, 1, 1),), one[:, 0].repeat(120, 1, 1), torch.arange(120), None)
    found = augment(batch, torch.Generator().manual_seed(0), MaskAugmentConfig(**OFF | change))
    assert found.targets is not None
    assert torch.equal(found.inputs[0][:, 0], found.targets)
    turned = [torch.rot90(one[0, 0], turns) for turns in range(4)]
    known = {picture.numpy().tobytes() for turn in turned for picture in (turn, turn.flip(0), turn.flip(1))}
    pictures = {row.numpy().tobytes() for row in found.targets}
    assert pictures <= known
    assert len(pictures) == count


def test_the_mirror_image_has_mirrored_answers() -> None:
    batch = batch_of(photo(4, 3, 7, 9))
    assert batch.targets is not None
    assert batch.mask is not None
    found = MaskAugmentConfig().mirrored(batch)
    assert found is not None
    assert found.targets is not None
    assert found.mask is not None
    assert torch.equal(found.inputs[0], batch.inputs[0].flip(-1))
    assert torch.equal(found.targets, batch.targets.flip(-1))
    assert torch.equal(found.mask, batch.mask.flip(-1))
    assert MaskAugmentConfig(flip="no").mirrored(batch) is None


def test_amounts_stay_within_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watch(size: tuple[int, int], *drawn: Tensor) -> Tensor:
        seen.extend(drawn)
        return places(size, *drawn)

    monkeypatch.setattr(import_module("chainrule.data.mask.augment"), "places", watch)
    augmented(batch_of(photo(500, 1, 8, 16)), rotate=30, scale=0.5, shear=10, shift=0.25, flip="both")
    angle, factor, slant, mirror, shift, bend = seen
    assert bend is None
    drawn = [angle, factor, slant, shift[:, 0], shift[:, 1]]
    for values, low, high in zip(drawn, (-30, 1 / 1.5, -10, -4, -2), (30, 1.5, 10, 4, 2), strict=True):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
    assert set(mirror.unique().tolist()) == {-1, 1}
    assert torch.corrcoef(torch.stack([*drawn, mirror[:, 0], mirror[:, 1]])).fill_diagonal_(0).abs().max() < 0.2


def test_elastic_bends_by_what_is_asked_and_smoothly() -> None:
    x = (60 + 2 * torch.arange(65)).to(torch.uint8).expand(65, 65)  # two levels a pixel
    image = torch.stack((x, x.T)).repeat(600, 1, 1, 1)
    batch = Batch((image,), torch.zeros(600, 65, 65, dtype=torch.uint8), torch.arange(600))
    found = augment(batch, torch.Generator().manual_seed(0), MaskAugmentConfig(**OFF | {"elastic": 5.0}))
    moved = (found.inputs[0].float() - image) / 2
    inner = moved[:, :, 16:49, 16:49]  # further out the edge is mirrored
    at_point = moved[:, :, 32, 32]
    assert at_point.std(0) == pytest.approx([5, 5], rel=0.1)  # 600 draws
    assert at_point.mean(0).abs().max() < 0.8
    assert torch.corrcoef(at_point.T)[0, 1].abs() < 0.15
    assert 0.5 * 5 < inner.std() < 5  # less between the points
    assert inner.diff(dim=-1).abs().max() < 2.5  # 32 pixels between points that differ by some 10


def test_noise_has_up_to_the_strength_that_is_asked() -> None:
    grey = torch.full((200, 1, 24, 24), 128, dtype=torch.uint8)
    found, _, _ = augmented(batch_of(grey), noise=0.1)
    strengths = found.float().std((1, 2, 3))
    assert 24 < strengths.max() < 28  # 25.5, each from 576 pixels
    assert strengths.min() < 2
    assert strengths.mean() == pytest.approx(12.75, rel=0.15)


@pytest.mark.parametrize("name", list(MOST))
def test_amounts_beyond_their_range_are_refused(name: str) -> None:
    for value in (-0.1, MOST[name] + 0.1, float("nan")):
        with pytest.raises(InputError, match=rf"augment\.{name} must be from 0 to"):
            MaskAugmentConfig(**{name: value})


def test_what_cannot_be_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="auto, yes, no or both"):
        MaskAugmentConfig(flip="up")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="these are grey; leave them out"):
        augmented(batch_of(photo(2, 1, 8, 8)), hue=0.1)
    with pytest.raises(InputError, match="these are volumes; leave them out"):
        augmented(batch_of(photo(2, 3, 8, 8)[:, :, None]), saturation=0.1)
    for name in ("kornia.geometry.transform", "kornia.filters", "kornia.enhance"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="pip install kornia"):
        augmented(batch_of(photo(2, 3, 8, 8)), blur=1)
    augment(batch_of(photo(2, 3, 8, 8)), torch.Generator(), MaskAugmentConfig(elastic=2, turn=True, noise=0.1))
