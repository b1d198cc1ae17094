"""Masks of new images: a class for every pixel at each image's own size, its regions, and the folder of all of them."""

from __future__ import annotations

import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.archive import is_junk
from chainrule.data.image.decode import Pixels, resize
from chainrule.data.mask.decode import nearest, scaled
from chainrule.data.mask.records import MaskRecords
from chainrule.data.mask.write import overlay, write_mask
from chainrule.data.schema import MaskTarget
from chainrule.data.sources import MEDIA, PICTURES, TABLES
from chainrule.errors import InputError
from chainrule.opened import OpenRun, listed
from chainrule.session import Session
from chainrule.tasks.segment import Segment
from chainrule.tasks.whole import Answer

if TYPE_CHECKING:
    import polars

MASKS, OVERLAYS, REGIONS, AREAS = "masks", "overlays", "regions.csv", "areas.csv"  # what a folder of answers holds
FILES = (*MEDIA, *TABLES, ".txt", ".json", ".npz", ".npy", ".zip", ".html", ".pdf")  # endings of no folder
OVERLAY_PX = 4096  # the longer side that overlays are shrunk to
BAND = 2**20  # pixels that are counted or drawn at once
ID = re.compile(rf"(.*?)({'|'.join(map(re.escape, PICTURES))})?(?:#(\d+))?", re.IGNORECASE | re.DOTALL)
AXES = {2: "yx", 3: "zyx"}
EDGES = {"z": ("front", "back"), "y": ("top", "bottom"), "x": ("left", "right")}
ENDINGS = (".png", ".tif")  # of pictures and of volumes
SHOWN = 3  # names in a message

Classes = NDArray[np.uint8]  # (H, W) or (D, H, W)


def check_file(out: str | Path) -> None:
    """Refuse a file that cannot be written before anything is computed for it."""
    if Path(out).is_dir() or not Path(out).parent.is_dir():
        raise InputError(f"--out {str(out)!r} is no place for a file: give a file's name in a folder that exists")


def is_table(out: str | Path) -> bool:
    """Whether answers about masks are to be written as one table, not as a folder."""
    return Path(out).suffix.lower() == ".csv"


def check_folder(out: str | Path, expected: Sequence[str] = ()) -> None:
    """Refuse a folder that answers cannot be written to, or that holds what would be taken for one of them.

    Args:
        expected: names of the images, once they are known: only their files may be there already, to be written again.
    """
    folder = Path(out)
    file = (folder.exists() and not folder.is_dir()) or (not folder.exists() and folder.suffix.lower() in FILES)
    if file:
        raise InputError(
            f"--out {str(out)!r} is {'a file' if folder.exists() else 'the name of a file'}; of masks name a folder, "
            f"which gets {MASKS}/, {OVERLAYS}/, {REGIONS} and {AREAS}, or a file NAME.csv, which gets the areas"
        )
    if not folder.is_dir():
        return
    ours = {MASKS, OVERLAYS, REGIONS, AREAS}
    others = [path.name for path in sorted(folder.iterdir()) if path.name not in ours and not is_junk(path.name)]
    if expected and not others:
        written = {f"{part}/{name}{ending}" for name in expected for part in (MASKS, OVERLAYS) for ending in ENDINGS}
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        others = sorted(there - written - ours)
    if others:
        shown = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        raise InputError(
            f"--out {str(out)!r} holds what is no answer to these images: {shown}; name a folder that is absent or "
            f"empty"
        )


def predict_masks(run: OpenRun, inputs: Any, out: str | Path | None, horizon: int | None) -> polars.DataFrame:
    """The areas of each image; ``out`` is a folder for everything, or a CSV file for the areas.

    Raises:
        InputError: nothing to read, or ``out`` cannot be written to.
    """
    if horizon is not None:
        raise InputError("--horizon is for series; of masks leave it out")
    if out:
        check_file(out) if is_table(out) else check_folder(out)
    given = read_given(run.session, [] if inputs is None else listed(inputs))
    run.notice(*(part.records for part in given))
    if out and not is_table(out):
        check_folder(out, [name for part in given for name in part.names])
        return write_answers(run.session, given, Path(out))
    areas = areas_of(run.session, given)
    if out:
        areas.write_csv(out)
    return areas


@dataclass(frozen=True)
class Given:
    """Images to be answered for: a name for each that a person can find again, and one for its files."""

    records: MaskRecords
    ids: tuple[str, ...]
    names: tuple[str, ...]  # without an ending, sub-folders kept; no two are equal


def read_given(session: Session, inputs: Sequence[Any]) -> list[Given]:
    """The images of all inputs; those of equal names in several folders are told apart by their folders.

    Raises:
        InputError: nothing found, or a file that cannot be read.
    """
    if not inputs:
        raise InputError("no images to predict; give files, folders or arrays")
    groups = _apart(inputs)
    kind: Any = session.kind
    parts: list[MaskRecords] = [kind.read_inputs(group, session.schema) for group in groups]
    counts = Counter(name for records in parts for name in records.ids)
    ids = [
        [folder + name if counts[name] > 1 else name for name in records.ids]
        for folder, records in zip(_folders(groups), parts, strict=True)
    ]
    files = [name for own, group in zip(ids, groups, strict=True) for name in _within(own, group)]
    names = iter(file_names(files))
    return [Given(records, tuple(own), tuple(islice(names, len(own)))) for records, own in zip(parts, ids, strict=True)]


def _apart(inputs: Sequence[Any]) -> list[list[Any]]:
    """Each folder alone, files and arrays between them together."""
    groups: list[list[Any]] = []
    for folder, held in groupby(inputs, _is_folder):
        group = list(held)
        groups += [[one] for one in group] if folder else [group]
    return groups


def _is_folder(one: Any) -> bool:
    return isinstance(one, str | Path) and Path(one).expanduser().is_dir()


def _folders(groups: Sequence[Sequence[Any]]) -> list[str]:
    """Of each folder its path below the one that holds them all, to be put before a name; "" for what is none."""
    paths = [Path(group[0]).expanduser().resolve() if _is_folder(group[0]) else None for group in groups]
    known = [path for path in paths if path is not None]
    above = os.path.commonpath(known) if known else ""
    return ["" if path is None or path == Path(above) else f"{path.relative_to(above).as_posix()}/" for path in paths]


def _within(ids: Sequence[str], inputs: Sequence[Any]) -> list[str]:
    """Files that were given one by one, by their path below the folder that holds them all; other names as they are."""
    given = {str(one): Path(one).expanduser().resolve() for one in inputs if isinstance(one, str | Path)}
    paths = [given.get(name) or given.get(name.rpartition("#")[0]) for name in ids]
    known = [path.parent for path in paths if path is not None]
    above = os.path.commonpath(known) if known else ""
    found = []
    for name, path in zip(ids, paths, strict=True):
        page = name[len(name.rpartition("#")[0]) :] if name not in given and "#" in name else ""
        found.append(name if path is None else f"{path.relative_to(above).as_posix()}{page}")
    return found


def file_names(ids: Sequence[str]) -> list[str]:
    """A name for the files of each image, its path without the ending; where two would be equal, with it or a number.

    Example:
        >>> file_names(["a/x.png", "y.tif#003", "y.png", "y.jpg", "../z.png"])
        ['a/x', 'y_003', 'y_png', 'y_jpg', 'z']
    """
    parts = []
    for name in ids:
        match = ID.fullmatch(name)
        assert match is not None
        stem = "/".join(part for part in re.split(r"[/\\]", match[1]) if part not in ("", ".", "..")) or "image"
        parts.append((f"{stem}_{match[3]}" if match[3] else stem, (match[2] or "").lstrip(".")))
    endings = defaultdict(set)
    for stem, ending in parts:
        endings[stem.casefold()].add(ending)  # some disks do not tell a.png from A.png
    names, taken = list[str](), set[str]()
    for stem, ending in parts:
        first = f"{stem}_{ending}" if len(endings[stem.casefold()]) > 1 and ending else stem
        name, number = first, 1
        while name.casefold() in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


@dataclass(frozen=True)
class Answered:
    """One image with its answer, at the size that the network saw and at its own."""

    id: str
    name: str
    pixels: Pixels  # as the network saw it
    seen: Answer
    answer: Answer  # at the image's own size

    def areas(self, task: Segment, regions: int) -> dict[str, Any]:
        """What was found, the share of each class, and the number of regions."""
        return {"id": self.id, **task.areas(self.answer), "regions": regions}


def answered(session: Session, given: Sequence[Given]) -> Iterator[Answered]:
    """Every image with its answer, one after the other."""
    for part in given:
        samples, sizes = session.encode(part.records), part.records.original_px.tolist()
        for row, seen in enumerate(session.answers(samples)):
            own = at_size(seen, tuple(sizes[row]))
            yield Answered(part.ids[row], part.names[row], part.records.images[row], seen, own)


def at_size(answer: Answer, size: tuple[int, ...]) -> Answer:
    """The answer at another size, each pixel the nearest one's."""
    if tuple(answer.classes.shape) == size:
        return answer
    return Answer(*(torch.from_numpy(_at_size(x.numpy(), size)) for x in (answer.classes, answer.shares)))


def _at_size(values: Classes, size: tuple[int, ...]) -> Classes:
    if values.ndim == 2:
        return nearest(np.ascontiguousarray(values), size)
    return np.stack([nearest(np.ascontiguousarray(plane), size[1:]) for plane in values])


def areas_of(session: Session, given: Sequence[Given]) -> polars.DataFrame:
    """A row for each image: what was found, the share of each class, and the number of regions."""
    import polars

    assert isinstance(session.task, Segment)
    rows = [one.areas(session.task, len(regions_of(one, session.task.target))) for one in answered(session, given)]
    return polars.DataFrame(rows)


def write_answers(session: Session, given: Sequence[Given], folder: Path) -> polars.DataFrame:
    """The masks, overlays and tables of all images in a folder, written image by image; gives the areas.

    ``areas.csv`` is written last: where it is, everything is.
    """
    import polars

    task = session.task
    assert isinstance(task, Segment)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / AREAS).unlink(missing_ok=True)
    rows = list[dict[str, Any]]()
    with (folder / REGIONS).open("wb") as table:
        for one in answered(session, given):
            regions = regions_of(one, task.target)
            regions.write_csv(table, include_header=not rows)
            rows.append(one.areas(task, len(regions)))
            _write_pictures(one, task.target, folder)
    areas = polars.DataFrame(rows)
    areas.write_csv(folder / AREAS)
    return areas


def _write_pictures(one: Answered, target: MaskTarget, folder: Path) -> None:
    """The mask at the image's own size, and its outline over the image."""
    classes = one.answer.classes.numpy()
    ending = ENDINGS[classes.ndim - 2]
    for part in (MASKS, OVERLAYS):
        (folder / part / one.name).parent.mkdir(parents=True, exist_ok=True)
    write_mask(folder / MASKS / f"{one.name}{ending}", classes, target)
    (folder / OVERLAYS / f"{one.name}{ending}").write_bytes(_drawn(one.pixels, one.seen.classes.numpy(), target))


def _drawn(pixels: Pixels, classes: Classes, target: MaskTarget) -> bytes:
    """A picture file of the image with the outlines of what was found; a page for each slice of a volume."""
    from PIL import Image

    planes = zip(pixels, classes, strict=True) if classes.ndim == 3 else [(pixels, classes)]
    pages = [Image.fromarray(overlaid(picture, found, target)) for picture, found in planes]
    file = io.BytesIO()
    if classes.ndim == 3:
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    else:
        pages[0].save(file, "PNG")
    return file.getvalue()


def overlaid(pixels: Pixels, classes: Classes, target: MaskTarget) -> Pixels:
    """The overlay of a picture (H, W, C), large ones shrunk first, drawn in bands of rows so that it needs no room."""
    if max(classes.shape) > OVERLAY_PX:
        size = scaled(classes.shape, OVERLAY_PX)
        pixels, classes = resize(np.ascontiguousarray(pixels), size), nearest(np.ascontiguousarray(classes), size)
    H, W = classes.shape
    step = max(1, BAND // W)
    drawn = np.empty((H, W, 3), dtype=np.uint8)
    for start in range(0, H, step):
        first, stop = max(0, start - 1), min(H, start + step)  # outlines look at the rows above and below
        rows = slice(first, min(H, stop + 1))
        drawn[start:stop] = overlay(pixels[rows], classes[rows], target)[start - first : stop - first]
    return drawn


def regions_of(one: Answered, target: MaskTarget) -> polars.DataFrame:
    """A row for each connected region of a class of objects; pixels that touch at a corner are connected.

    Columns: image, class, region (1, 2, ... in each class), pixels, share of the image, top, left, bottom and right
    (its outermost pixels, counted from 0), centre_y and centre_x, certainty (mean share of the class in it). Volumes
    have front, back and centre_z as well.
    """
    import polars

    classes, shares = one.answer.classes.numpy(), one.answer.shares.numpy()
    held = [k for k in target.foreground if (classes == k).any()] or target.foreground[:1]
    frames = []
    for k in held:
        columns = _regions(classes == k, shares)
        count = len(columns["pixels"])
        names = polars.select(
            polars.repeat(one.id, count).alias("image"), polars.repeat(target.classes[k], count).alias("class")
        )
        frames.append(names.hstack(polars.DataFrame(columns)))
    return polars.concat(frames)


def _regions(there: NDArray[np.bool_], shares: Classes) -> dict[str, NDArray[Any]]:
    """The columns of the regions of one class."""
    from scipy import ndimage  # its import takes a quarter of a second

    axes = AXES[shares.ndim]
    labels = np.empty(there.shape, dtype=np.int32)
    count = ndimage.label(there, np.ones((3,) * there.ndim), output=labels)
    boxes = ndimage.find_objects(labels) if count else []
    sums = _sums(labels, shares, count)
    pixels = sums[0].astype(np.int64)
    edges = np.array([[(side.start, side.stop - 1) for side in box] for box in boxes], dtype=np.int64)
    edges = edges.reshape(count, len(axes), 2)
    columns: dict[str, NDArray[Any]] = {
        "region": np.arange(1, count + 1),
        "pixels": pixels,
        "share": pixels / shares.size,
    }
    columns |= {EDGES[axis][0]: edges[:, place, 0] for place, axis in enumerate(axes)}
    columns |= {EDGES[axis][1]: edges[:, place, 1] for place, axis in enumerate(axes)}
    columns |= {f"centre_{axis}": sums[2 + place] / pixels for place, axis in enumerate(axes)}
    return columns | {"certainty": sums[1] / pixels / 255}


def _sums(labels: NDArray[np.int32], shares: Classes, count: int) -> NDArray[np.float64]:
    """(2 + axes, regions): pixels of each region, the sum of their shares, and that of their places along each axis."""
    sums = np.zeros((2 + labels.ndim, count + 1))
    step = max(1, BAND // max(1, labels[:1].size))
    for start in range(0, len(labels), step):
        part = labels[start : start + step]
        places = part.nonzero()
        found = part[places]
        weights = (None, shares[start : start + step][places], places[0] + start, *places[1:])
        for row, weight in enumerate(weights):
            sums[row] += np.bincount(found, weight, count + 1)
    return sums[:, 1:]
