"""One image with its masks from files: pixels at their own size, and a code for every pixel of the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from chainrule.data.image.decode import (
    ROTATED,
    Pixels,
    Unreadable,
    decode_pages,
    opened,
    refuse_large,
    resize,
    to_channels,
)
from chainrule.data.mask.codes import MOST_CODES, Coded, Codes, TooManyLevels, coded, recoded, united

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
TURNED = "the mask had the size before the camera's rotation and was turned like the image"
UPRIGHT = "rotated as the camera says, the mask taken as drawn on the upright image"


@dataclass(frozen=True, slots=True)
class Job:
    """One image and its masks."""

    name: str
    image: Path
    masks: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The images of one file with their masks; none where they could not be read."""

    images: list[Pixels] = field(default_factory=list)
    masks: list[Coded] = field(default_factory=list)
    originals: list[tuple[int, ...]] = field(default_factory=list)  # sizes before any shrinking
    paged: bool = False  # the file is a volume
    digest: bytes = b""
    remarks: tuple[str, ...] = ()
    error: str = ""
    levels: str = ""  # where a mask has too many levels to be classes, how many


def decode_pair(
    job: Job, *, max_pixels: int, longer_side_px: int = 0, threshold: int = 0, volume: bool = False
) -> Pair:
    """An image (all pages of a volume) and its masks, brought to a longer side if given; or why there is none."""
    content = []
    for path in (job.image, *job.masks):
        try:
            content.append(path.read_bytes())
        except OSError as error:
            return Pair(error=f"{_of(path, job)}cannot be opened ({error.strerror})")
    digest = sha256(b"".join(sha256(one).digest() for one in content)).digest()
    try:
        images, remarks = decode_pages(content[0], max_pixels=max_pixels)
        masks, more = _masks(job, content, images, max_pixels, threshold)
        return _pair(images, masks, digest, _remarks(remarks, more), longer_side_px, volume)
    except TooManyLevels as found:
        return Pair(error=str(found), levels=str(found), digest=digest)
    except Unreadable as reason:
        return Pair(error=str(reason), digest=digest)


def _remarks(of_image: Sequence[str], of_masks: Sequence[str]) -> tuple[str, ...]:
    """Each once; where the mask's remark speaks of the camera's rotation, the image's need not."""
    told = [remark for remark in of_image if remark != ROTATED or not {TURNED, UPRIGHT} & set(of_masks)]
    return tuple(dict.fromkeys((*told, *of_masks)))


def _pair(
    images: list[Pixels], masks: list[Coded], digest: bytes, remarks: tuple[str, ...], longer_px: int, volume: bool
) -> Pair:
    """Pages as they were read, brought to a size and made one volume where that is asked for."""
    paged = len(images) > 1
    originals: list[tuple[int, ...]] = [image.shape[:2] for image in images]
    if volume and not paged:
        raise Unreadable("is a single picture, but data.slices=volume takes files of several pages")
    if longer_px:
        images = [resize(image, scaled(image.shape[:2], longer_px)) for image in images]
        masks = [
            Coded(nearest(mask.codes, image.shape[:2]), mask.levels, mask.palette)
            for mask, image in zip(masks, images, strict=False)
        ]
    if volume:
        images, masks, originals = _volume(images, masks, originals)
    return Pair(images, masks, originals, paged, digest, remarks)


def _of(path: Path, job: Job) -> str:
    return "" if path == job.image else f"its mask {path.name} "


def scaled(size_px: tuple[int, ...], longer_px: int) -> tuple[int, int]:
    """(H, W) in the same shape with this longer side."""
    H, W = size_px[-2:]
    return max(1, round(H * longer_px / max(H, W))), max(1, round(W * longer_px / max(H, W)))


def nearest(codes: Codes, size_px: tuple[int, ...]) -> Codes:
    """A mask (H, W) at another size, each pixel the nearest one's."""
    if codes.shape == tuple(size_px):
        return codes
    return np.array(Image.fromarray(codes).resize((size_px[1], size_px[0]), Image.Resampling.NEAREST))


def _volume(
    images: list[Pixels], masks: list[Coded], originals: list[tuple[int, ...]]
) -> tuple[list[Pixels], list[Coded], list[tuple[int, ...]]]:
    """All pages as one image (D, H, W, C), their masks as one (D, H, W)."""
    if len({image.shape[:2] for image in images}) > 1:
        raise Unreadable("has pages of several sizes, which are no volume")
    channels = max(image.shape[2] for image in images)
    images = [to_channels(image, channels) for image in images]
    whole = [np.stack(images)]
    if not masks:
        return whole, [], [(len(images), *originals[0])]
    levels = tuple(sorted({level for mask in masks for level in mask.levels}))
    if len(levels) > MOST_CODES:
        raise TooManyLevels(len(levels), "levels")
    codes = [recoded(mask, levels) for mask in masks]
    return whole, [Coded(np.stack(codes), levels, masks[0].palette)], [(len(images), *originals[0])]


def _masks(
    job: Job, content: Sequence[bytes], images: Sequence[Pixels], max_pixels: int, threshold: int
) -> tuple[list[Coded], list[str]]:
    """A mask for each page of the image, those of several files united, and what was unusual about them."""
    if not job.masks:
        return [], []
    remarks = list[str]()
    layers = []
    for path, one in zip(job.masks, content[1:], strict=True):
        try:
            pages = _mask_pages(one, max_pixels, threshold, remarks)
        except TooManyLevels:
            raise
        except Unreadable as reason:
            raise Unreadable(f"its mask {path.name}: {reason}") from None
        if len(pages) != len(images):
            raise Unreadable(f"its mask {path.name} has {len(pages)} pages, the image {len(images)}")
        layers.append(pages)
    turn = _orientation(content[0], max_pixels)
    if turn in TURNS and any(_orientation(one, max_pixels) in TURNS for one in content[1:]):
        turn = 1  # the camera turned the masks as well
    masks = []
    for page, image in enumerate(images):
        mask = united([pages[page] for pages in layers])
        masks.append(_placed(mask, image, turn, job, remarks))
    return masks, remarks


def _orientation(content: bytes, max_pixels: int) -> int:
    with opened(content, max_pixels) as image:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _placed(mask: Coded, image: Pixels, turn: int, job: Job, remarks: list[str]) -> Coded:
    """The mask upright as its image is.

    Raises:
        Unreadable: it has another size.
    """
    size = image.shape[:2]
    if mask.codes.shape == size:
        if turn in TURNS:
            remarks.append(UPRIGHT)
        return mask
    if turn in TURNS and turn >= 5 and mask.codes.shape == size[::-1]:
        remarks.append(TURNED)
        turned = Image.fromarray(mask.codes).transpose(TURNS[turn])
        return Coded(np.array(turned), mask.levels, mask.palette)
    H, W = mask.codes.shape
    raise Unreadable(
        f"its mask {job.masks[0].name} has {H} x {W} pixels, the image {size[0]} x {size[1]} (height x width)"
    )


def _mask_pages(content: bytes, max_pixels: int, threshold: int, remarks: list[str]) -> list[Coded]:
    with opened(content, max_pixels) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        found = []
        for page in range(pages):
            image.seek(page)
            refuse_large(image, max_pixels)
            found.append(coded(image.copy(), threshold, remarks))
        return found
