"""Augmented images: every operation against a reference on a known picture, every draw from the generator."""

from __future__ import annotations

import colorsys
import math
import sys
from dataclasses import fields
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from chainrule.data.image.augment import MOST, AugmentConfig, augment
from chainrule.data.image.warp import blur, enlarge, saturate, turn_hue, warp
from chainrule.data.samples import Batch
from chainrule.errors import InputError

OFF = {"flip": "no", "shift": 0.0}
CHANGES: list[dict[str, Any]] = [
    {"flip": "yes"}, {"flip": "both"}, {"shift": 0.2}, {"rotate": 30}, {"scale": 0.3}, {"shear": 20}, {"erase": 0.4},
    {"brightness": 0.3}, {"contrast": 0.5}, {"saturation": 0.6}, {"hue": 0.2}, {"blur": 2}, {"mixup": 1},
    {"cutmix": 1}, {"crop": 0.5}, {"grey": 0.5},
]  # fmt: skip


def photo(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random pixels (B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:2], 5, 5, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 255).round().to(torch.uint8)


def batch_of(image: Tensor) -> Batch:
    rows = torch.arange(len(image))
    return Batch((image,), rows % 3, rows)


def augmented(image: Tensor, seed: int = 0, **changes: Any) -> Tensor:
    batch = augment(batch_of(image), torch.Generator().manual_seed(seed), AugmentConfig(**OFF | changes))
    return batch.inputs[0]


def amount(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


# each operation against a reference


@pytest.mark.parametrize(("turns", "size"), [(1, (9, 9)), (2, (9, 9)), (3, (8, 8)), (2, (6, 11))])
def test_quarter_turns_equal_rot90(turns: int, size: tuple[int, int]) -> None:
    image = photo(2, 3, *size)
    found = warp(image, amount(90.0 * turns, 0.0), amount(1, 1), amount(0, 0))
    assert torch.equal(found[0], torch.rot90(image[0], turns, (1, 2)))  # counter-clockwise
    assert torch.equal(found[1], image[1])


def test_turned_resized_and_slanted_as_pillow_does() -> None:
    image = photo(1, 3, 40, 48)
    angle, factor, slant = 17.0, 1.3, 12.0
    found = warp(image, amount(angle), amount(factor), amount(slant))[0].permute(1, 2, 0).numpy().astype(int)
    turn = math.radians(angle)
    rotation = factor * np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    matrix = rotation @ np.array([[1, -math.tan(math.radians(slant))], [0, 1]])  # from x, y of the old to the new
    inverse, centre = np.linalg.inv(matrix), np.array([23.5, 19.5])
    start = centre - inverse @ centre
    half = inverse @ [0.5, 0.5] - 0.5  # Pillow's pixels have their centres at a half
    data = (*inverse[0], start[0] - half[0], *inverse[1], start[1] - half[1])
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.transform((48, 40), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))
    inner = (slice(14, 26), slice(14, 34))  # here nothing from beyond the edge comes in
    assert np.abs(found[inner] - expected[inner]).max() <= 2  # Pillow's coefficients have 16 bits


def test_a_factor_of_two_shows_the_middle_half_of_a_ramp() -> None:
    ramp = torch.arange(0, 210, 10, dtype=torch.uint8).expand(1, 1, 21, 21).contiguous()
    found = warp(ramp, amount(0), amount(2), amount(0))[0, 0]
    assert torch.equal(found[10], torch.arange(50, 155, 5, dtype=torch.uint8))
    assert torch.equal(found[0], found[20])


def test_what_opens_shows_the_edge_mirrored() -> None:
    ramp = torch.arange(0, 210, 10, dtype=torch.uint8).expand(1, 1, 21, 21).contiguous()
    small = warp(ramp, amount(0), amount(0.5), amount(0))[0, 0, 10].tolist()
    assert small[5:16] == list(range(0, 220, 20))
    assert small[:5] == small[10:5:-1]


def hsv_of(image: Tensor) -> list[tuple[float, float, float]]:
    return [colorsys.rgb_to_hsv(*(level / 255 for level in pixel)) for pixel in image.flatten(1).T.tolist()]


def rgb_of(pixels: list[tuple[float, float, float]]) -> Tensor:
    return torch.tensor([[255 * level for level in colorsys.hsv_to_rgb(*pixel)] for pixel in pixels]).T


@pytest.mark.parametrize("share", [1 / 3, -0.2, 0.5])
def test_hues_turn_as_colorsys_says(share: float) -> None:
    image = photo(1, 3, 12, 10)
    found = turn_hue(image, amount(share))[0].flatten(1).float()
    expected = rgb_of([((h + share) % 1, s, v) for h, s, v in hsv_of(image[0])])
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01)  # rounded to whole levels


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.7])
def test_colours_weaken_as_colorsys_says(factor: float) -> None:
    image = photo(1, 3, 12, 10)
    found = saturate(image, amount(factor))[0].flatten(1).float()
    expected = rgb_of([(h, min(1, s * factor), v) for h, s, v in hsv_of(image[0])])
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01)  # rounded to whole levels


def test_blur_is_scipys_gaussian() -> None:
    image = photo(2, 1, 30, 26)
    found = blur(image, amount(1.5, 0.0), most_px=1.5)
    expected = gaussian_filter(image[0, 0].double().numpy(), 1.5, mode="mirror", radius=5)
    assert np.abs(found[0, 0].numpy() - expected).max() <= 0.51  # rounded to whole levels
    assert torch.equal(found[1], image[1])


def test_blur_of_an_image_smaller_than_its_kernel() -> None:
    assert blur(photo(2, 3, 3, 30), amount(5, 9), most_px=10).shape == (2, 3, 3, 30)


# the whole of it


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_each_setting_changes_rows_apart_and_repeatably(changes: dict[str, Any]) -> None:
    image = photo(1, 3, 16, 16).repeat(12, 1, 1, 1) if "mix" not in str(changes) else photo(12, 3, 16, 16)
    found, before = augmented(image, **changes), torch.get_rng_state()
    assert found.dtype == torch.uint8
    assert found.shape == image.shape
    assert torch.equal(found, augmented(image, **changes))
    assert torch.equal(torch.get_rng_state(), before)
    others = [augmented(image, seed, **changes) for seed in range(1, 4)]
    assert any(not torch.equal(found, other) for other in others)
    assert any(not torch.equal(found[0], row) for row in found[1:])


def test_every_setting_is_tried_and_nothing_happens_where_all_are_off() -> None:
    assert {field.name for field in fields(AugmentConfig)} == {name for change in CHANGES for name in change}
    image = photo(6, 3, 16, 16)
    assert torch.equal(augmented(image), image)


def test_micro_batches_see_the_same_images() -> None:
    everything = AugmentConfig(rotate=20, scale=0.2, hue=0.1, blur=1, erase=0.3, contrast=0.3, cutmix=1)
    batch = batch_of(photo(7, 3, 16, 16))
    whole = augment(batch, torch.Generator().manual_seed(3), everything)
    parts = list(augment(batch, torch.Generator().manual_seed(3), everything).split(3))
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), whole.inputs[0])
    assert whole.mixed is not None
    assert torch.equal(torch.cat([part.mixed.share for part in parts if part.mixed]), whole.mixed.share)
    assert torch.equal(torch.cat([part.mixed.targets for part in parts if part.mixed]), whole.mixed.targets)


def test_amounts_stay_within_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def watch(image: Tensor, *amounts: Tensor) -> Tensor:
        seen.append(amounts)  # type: ignore[arg-type]
        return image

    monkeypatch.setattr(import_module("chainrule.data.image.augment"), "warp", watch)
    augmented(photo(500, 1, 8, 8), rotate=30, scale=0.5, shear=10)
    for values, low, high in zip(seen[0], (-30, 1 / 1.5, -10), (30, 1.5, 10), strict=True):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high


@pytest.mark.parametrize(("flip", "channels", "count"), [("both", 1, 4), ("yes", 1, 2), ("auto", 1, 1), ("auto", 3, 2)])
def test_flips_give_every_mirror_image(flip: str, channels: int, count: int) -> None:
    image = photo(1, channels, 7, 9).repeat(60, 1, 1, 1)
    found = {row.numpy().tobytes() for row in augmented(image, flip=flip)}
    mirrors = (image[0], image[0].flip(-1), image[0].flip(-2), image[0].flip((-1, -2)))
    assert found <= {mirror.contiguous().numpy().tobytes() for mirror in mirrors}
    assert len(found) == count
    mirrored = AugmentConfig(flip=flip).mirrored(batch_of(image))  # type: ignore[arg-type]
    assert (mirrored is not None) == (count > 1)
    if mirrored is not None:
        assert torch.equal(mirrored.inputs[0], image.flip(-1))


@pytest.mark.parametrize("name", list(MOST))
def test_amounts_beyond_their_range_are_refused(name: str) -> None:
    for value in (-0.1, MOST[name] + 0.1, float("nan")):
        with pytest.raises(InputError, match=rf"augment\.{name} must be from 0 to"):
            AugmentConfig(**{name: value})  # type: ignore[arg-type]


def test_a_cut_window_is_shown_in_full_size() -> None:
    """On a ramp each image shows a shorter stretch of it, evenly: its ends say which one."""
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(400, 1, 64, 64).contiguous()
    found = augmented(ramp, crop=0.75, shift=0).float()
    assert torch.equal(found[:, :, 0], found[:, :, -1])  # nothing leans
    steps = found.diff(dim=-1).mean((1, 2, 3)) / 4  # of the ramp, between two pixels: the window's share of the width
    assert 0.4 < float(steps.min()) < 0.55  # area 1/4 with a side of sqrt(3 / 4) of the other
    assert float(steps.max()) == pytest.approx(1, abs=0.02)
    assert float(found.diff(dim=-1).min()) >= 0
    assert float(found[..., 0].max()) > 100  # of 0 to 252: some begin far to the right
    assert torch.equal(augmented(ramp, shift=0), ramp)


def test_enlarging_reads_between_the_pixels() -> None:
    image = torch.tensor([[0, 100, 200]], dtype=torch.uint8).view(1, 1, 1, 3)
    half, centre = torch.tensor([[0.5, 1.0]]), torch.zeros(1, 2)
    assert enlarge(image, half, centre).flatten().tolist() == [50, 100, 150]
    assert enlarge(image, half, torch.tensor([[0.5, 0.0]])).flatten().tolist() == [100, 150, 200]
    assert torch.equal(enlarge(image, torch.ones(1, 2), centre), image)


def test_some_images_lose_their_colours() -> None:
    image = photo(300, 3, 4, 4)
    found = augmented(image, grey=0.3, shift=0, flip="no")
    grey = (found[:, :1] == found).all(1).flatten(1).all(1)
    assert 0.2 < float(grey.double().mean()) < 0.4
    assert torch.equal(found[~grey], image[~grey])
    expected = np.stack([np.asarray(Image.fromarray(row.permute(1, 2, 0).numpy()).convert("L")) for row in image[grey]])
    assert np.abs(found[grey][:, 0].numpy().astype(int) - expected).max() <= 1  # Pillow cuts fractions off


def test_what_cannot_be_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="auto, yes, no or both"):
        AugmentConfig(flip="up")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="these images are grey"):
        augmented(photo(2, 1, 8, 8), hue=0.1)
    with pytest.raises(InputError, match="these images are grey"):
        augmented(photo(2, 1, 8, 8), grey=0.1)
    for name in ("kornia.geometry.transform", "kornia.filters", "kornia.enhance"):
        monkeypatch.setitem(sys.modules, name, None)
    for changes in ({"rotate": 5}, {"blur": 1}, {"saturation": 0.1}, {"hue": 0.1}):
        with pytest.raises(InputError, match="pip install kornia"):
            augmented(photo(2, 3, 8, 8), **changes)
    augment(batch_of(photo(2, 3, 8, 8)), torch.Generator(), AugmentConfig(mixup=1, erase=0.5, contrast=0.5))
