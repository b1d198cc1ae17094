"""Drawn faces that a detector takes for real ones: of a person, in one of many photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINE = 4  # drawn so many times larger


def portrait(person: int, photo: int = 0, size: tuple[int, int] = (120, 100), tilt: float = 0.0) -> np.ndarray:
    """A grey photo (H, W, 1) of a person's face, from the front; photos differ in light, place and a little noise."""
    look, light = np.random.default_rng(person), np.random.default_rng((person, photo))
    H, W = (side * FINE for side in size)
    wall = Image.fromarray(look.integers(30, 150, (7, 6)).astype(np.uint8))  # no two people stand before the same one
    image = wall.resize((W, H), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)

    def oval(x: float, y: float, across: float, down: float, level: int) -> None:
        draw.ellipse((x - across, y - down, x + across, y + down), fill=level)

    x, y = W * (0.5 + 0.02 * light.uniform(-1, 1)), H * (0.52 + 0.02 * light.uniform(-1, 1))
    w, h = W * 0.36 * (1 + 0.1 * look.uniform(-1, 1)), H * 0.4 * (1 + 0.08 * look.uniform(-1, 1))
    skin, hair = int(look.integers(185, 215)), int(look.integers(20, 70))
    apart, up = w * (0.44 + 0.05 * look.uniform(-1, 1)), y - h * (0.16 + 0.04 * look.uniform(-1, 1))
    nose = h * (0.32 + 0.06 * look.uniform(-1, 1))
    oval(x, y - 0.27 * h, 1.08 * w, 0.88 * h, hair)
    draw.rectangle((x - 0.4 * w, y + 0.7 * h, x + 0.4 * w, H), fill=skin - 25)
    oval(x, y, w, h, skin)
    for side in (-1, 1):
        eye = x + side * apart
        oval(eye, up, 0.27 * w, 0.12 * h, skin - 45)
        oval(eye, up, 0.2 * w, 0.065 * h, 225)
        oval(eye, up, 0.09 * w, 0.07 * h, 30)
        draw.rectangle((eye - 0.25 * w, up - 0.2 * h, eye + 0.25 * w, up - 0.13 * h), fill=hair + 25)
    draw.polygon(
        [(x - 0.1 * w, up), (x + 0.1 * w, up), (x + 0.17 * w, up + nose), (x - 0.17 * w, up + nose)], fill=skin + 15
    )
    oval(x, up + nose, 0.18 * w, 0.045 * h, skin - 50)
    oval(x, up + nose + 0.26 * h, 0.36 * w, 0.055 * h, 90)
    image = image.filter(ImageFilter.GaussianBlur(5)).rotate(tilt, Image.Resampling.BILINEAR, fillcolor=70)
    levels = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BOX), dtype=np.float64)
    levels = levels * (1 + 0.1 * light.uniform(-1, 1)) + light.normal(0, 2, levels.shape)
    return levels.clip(0, 255).round().astype(np.uint8)[..., None]


def save(path: Path, pixels: np.ndarray) -> Path:
    """The photo as a file; gives its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


def album(folder: Path, people: int = 8, photos: int = 4) -> Path:
    """A folder for each person, with photos of the face."""
    for person in range(people):
        for photo in range(photos):
            save(folder / f"person{person}" / f"{photo}.png", portrait(person, photo))
    return folder
