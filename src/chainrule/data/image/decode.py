"""The one image decoder: every verb reads a picture file through here.

Any mode becomes grey or RGB, 8 bits a channel: camera rotation applied, transparency laid on white, 16-bit levels
scaled by 65535, CMYK and palettes converted, of an animation the first frame. RGB files without colour become grey.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from chainrule.data.threads import stream_in_threads

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP")  # no format that runs another program
WORKING_PX = 256  # the longer side that decoded files are kept at where no larger size is asked for
AHEAD_PIXELS = 2_000_000  # that each thread decodes before it hands them over
DARK = "16-bit levels stay below an eighth of the range, so little of them is left in 8 bits; stretch them to 0..65535"

ROTATED = "rotated as the camera says"

Pixels = NDArray[np.uint8]  # (H, W, C) with C = 1 or 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture file's content; no pixels where it could not be read."""

    pixels: Pixels | None
    digest: bytes  # sha256 of the file's bytes
    remarks: tuple[str, ...]  # what was unusual, or why there are no pixels


class Unreadable(Exception):
    """Why a picture file gives no pixels."""


def decode_files(paths: Iterable[Path], *, max_pixels: int, longer_side_px: int) -> Generator[Decoded, None, None]:
    """Each file once, in order, shrunk so that its longer side is at most this long; bad files carry their reason.

    A few are decoded ahead of who asks. Close the iterator where it is not followed to its end.
    """
    stretch = max(1, AHEAD_PIXELS // longer_side_px**2)
    with pillow_settings():
        yield from stream_in_threads(lambda path: _decode_file(path, max_pixels, longer_side_px), paths, stretch)


def resize(pixels: Pixels, size_px: tuple[int, int]) -> Pixels:
    """The picture squeezed or stretched to (H, W), averaging over what falls together."""
    height, width = size_px
    if pixels.shape[:2] == size_px:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return _array(image.resize((width, height), Image.Resampling.BILINEAR))


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """The picture with 1 or 3 channels; colour becomes grey by ITU-R 601 luma."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return _array(Image.fromarray(pixels).convert("L"))


@contextmanager
def pillow_settings() -> Iterator[None]:
    """Our own limit on pixels instead of Pillow's, and no chatter about odd metadata."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode_file(path: Path, max_pixels: int, longer_side_px: int) -> Decoded:
    try:
        content = path.read_bytes()
    except OSError as error:
        return Decoded(None, b"", (f"cannot be opened ({error.strerror})",))
    digest = sha256(content).digest()
    try:
        pixels, remarks = decode(content, max_pixels=max_pixels, longer_side_px=longer_side_px)
    except Unreadable as reason:
        return Decoded(None, digest, (str(reason),))
    return Decoded(pixels, digest, remarks)


def decode(content: bytes, *, max_pixels: int, longer_side_px: int) -> tuple[Pixels, tuple[str, ...]]:
    """The pixels of one encoded picture, and what was unusual about it.

    Raises:
        Unreadable: empty, truncated, not a picture, or more than ``max_pixels``.
    """
    with opened(content, max_pixels) as image:
        image.draft(None, (longer_side_px, longer_side_px))
        image.load()
        return _plain(image, longer_side_px)


def decode_pages(content: bytes, *, max_pixels: int) -> tuple[list[Pixels], tuple[str, ...]]:
    """As ``decode``, at full size: every page of a TIFF file, one picture of any other.

    Raises:
        Unreadable: as ``decode`` does; ``max_pixels`` bounds a page.
    """
    with opened(content, max_pixels) as image:
        if image.format != "TIFF" or getattr(image, "n_frames", 1) == 1:
            image.load()
            pixels, remarks = _plain(image, max(image.size))
            return [pixels], remarks
        pages, seen = [], list[str]()
        for page in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(page)
            refuse_large(image, max_pixels)
            pixels, remarks = _plain(image.copy(), max(image.size))
            pages.append(pixels)
            seen += remarks
        return pages, tuple(dict.fromkeys(seen))


@contextmanager
def opened(content: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture that these bytes are, not yet decoded; what fails while it is used is told as ``Unreadable``."""
    if not content:
        raise Unreadable("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_large(image, max_pixels)
            yield image
    except UnidentifiedImageError:
        raise Unreadable(f"not a picture, it starts with {content[:8]!r}") from None
    except Unreadable:
        raise
    except Exception as error:  # decoders meet broken bytes with nearly any exception
        raise Unreadable(f"broken or truncated ({error or type(error).__name__})") from None


def refuse_large(image: Image.Image, max_pixels: int) -> None:
    """Raise Unreadable where a picture has more pixels than the person allows."""
    width, height = image.size
    if width * height > max_pixels:
        raise Unreadable(f"{width} x {height} pixels, more than data.max_pixels={max_pixels:,}")


def _plain(image: Image.Image, longer_side_px: int) -> tuple[Pixels, tuple[str, ...]]:
    """The picture upright, in grey or RGB, 8 bits, at the working size."""
    remarks = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        remarks.append("animated or several pages: first frame used")
        image.seek(0)
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        remarks.append(ROTATED)
    ImageOps.exif_transpose(image, in_place=True)
    plain = image
    if plain.mode.startswith("I") or plain.mode == "F":
        levels = np.asarray(plain)
        dark = np.issubdtype(levels.dtype, np.integer) and int(levels.max()) < 65536 // 8
        remarks.append(DARK if dark else "more than 8 bits: scaled to 8")
        plain = Image.fromarray(_eight_bits(levels))
    elif plain.has_transparency_data:
        plain = _on_white(plain)
        remarks.append("transparent: laid on white")
    elif plain.mode in ("1", "L"):
        plain = plain.convert("L")
    elif plain.mode != "RGB":
        if plain.mode != "P":
            remarks.append(f"{plain.mode} converted to RGB")
        plain = plain.convert("RGB")
    longer = max(plain.size)
    if longer > longer_side_px:
        width, height = (max(1, round(side * longer_side_px / longer)) for side in plain.size)
        plain = plain.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return _without_false_colour(_array(plain)), tuple(remarks)


def _on_white(image: Image.Image) -> Image.Image:
    colour = image.convert("RGBA")
    white = Image.new("RGBA", colour.size, "white")
    return Image.alpha_composite(white, colour).convert("RGB")


def _eight_bits(levels: NDArray[np.generic]) -> Pixels:
    """16-bit levels divided by 257; float levels from 0..1 or 0..255.

    Raises:
        Unreadable: other ranges, which nothing in the file explains.
    """
    low, high = float(np.min(levels)), float(np.max(levels))
    if not np.isfinite(low) or not np.isfinite(high):
        raise Unreadable("has pixels that are NaN or infinite")
    whole = np.issubdtype(levels.dtype, np.integer)
    white = 65535.0 if whole else 1.0 if high <= 1 else 255.0
    if low < 0 or high > white:
        known = "0..65535" if whole else "0..1 or 0..255"
        raise Unreadable(f"has levels from {low:g} to {high:g}; known are {known}")
    return np.rint(np.asarray(levels, dtype=np.float64) * (255 / white)).astype(np.uint8)


def _without_false_colour(pixels: Pixels) -> Pixels:
    """One channel where all three are equal everywhere."""
    if pixels.shape[2] == 1:
        return pixels
    for look in (pixels[::16, ::16], pixels):  # most coloured pictures show it in a few pixels
        if (look[..., :1] != look[..., 1:]).any():
            return pixels
    return np.ascontiguousarray(pixels[..., :1])


def _array(image: Image.Image) -> Pixels:
    pixels = np.array(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels
