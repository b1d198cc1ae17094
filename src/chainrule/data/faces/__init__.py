"""Photos of people: whose they are, and their faces cut out in one way. Of each person several photos are needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data import image
from chainrule.data.config import DataConfig
from chainrule.data.decoded import joined, media_findings, read_by
from chainrule.data.faces.align import Cut, Frame, fills, frame_of
from chainrule.data.faces.detect import INSTALL, installed
from chainrule.data.faces.records import Crops, FaceRecords, FaceStore, facts_of, seen_faces
from chainrule.data.faces.schema import NAME, FaceSchema, load_schema
from chainrule.data.faces.sources import given_photos, photo_options, reader_of
from chainrule.data.image.augment import AugmentConfig
from chainrule.data.image.decode import DARK, Pixels, to_channels
from chainrule.data.image.front import PixelFront
from chainrule.data.image.records import ImageRecords, ImageStore
from chainrule.data.image.size import check_size, common_size
from chainrule.data.image.statistics import statistics
from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW, counted, encode_targets
from chainrule.data.levels import chosen_levels, levels_note
from chainrule.data.media import IMAGES
from chainrule.data.memory import Memory
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import IdentityTarget, class_names
from chainrule.data.sources import Source
from chainrule.data.store import collect, stack, stacked_samples
from chainrule.errors import InputError

__all__ = ["NAME", "FaceRecords", "FaceSchema", "load_schema"]

GIVES = ("image",)
AUGMENT = AugmentConfig
USUAL_PX = 48  # the longer side of what a network sees of a photo
LARGEST_PX = 512
FEWEST_PEOPLE = 2  # of a part: pairs of one person and pairs of two
ACCEPTED = (
    "expected photos of people: a folder for each person, files named after the person (subject01.happy.png), a CSV of "
    "paths and people, or arrays with one label a photo"
)


def recognises(source: Source) -> str | None:
    """Why this source is photos of people, in words, or None. Asked only where faces are meant: any photos would do."""
    found = reader_of(source)
    return None if found is None else found[0]


def read(source: Source, options: DataConfig) -> dict[str, FaceRecords]:
    """The photos that can be learned from, "all" or by split.

    Raises:
        InputError: broken or unreadable content, or nothing says who is who.
    """
    return read_by(reader_of(source), source, options, ACCEPTED)


def read_inputs(inputs: Sequence[Any], schema: FaceSchema) -> FaceRecords:
    """Photos to be compared, cut as those that were learned from.

    Raises:
        InputError: nothing there, not a picture, of a single colour; without a face, or with several, where faces are
            looked for.
    """
    memory = Memory()
    parts = given_photos(inputs, schema, photo_options(DataConfig(max_bad_share=0)))
    if not parts:
        raise InputError("no photos were given; give files, folders or arrays")
    stores = [part.store for part in parts]
    photos = stores[0] if len(stores) == 1 else ImageStore(
        **joined(stores), pixels=collect((image for part in parts for image in part.images), memory), memory=memory
    )  # fmt: skip
    records = _looked_at(ImageRecords(photos), schema)
    blank = photos.blank
    for place, name in enumerate(records.ids):
        trouble = "a single colour all over" if blank[place] else records.trouble(place)
        if trouble and (blank[place] or schema.align != "centre"):
            raise InputError(f"{name}: {trouble}; give a photo of one face, seen from the front")
    return records


def _looked_at(photos: ImageRecords, schema: FaceSchema) -> FaceRecords:
    _need_detector(schema)
    faces = seen_faces(photos) if schema.align != "centre" else ((),) * len(photos)
    store = FaceStore(**facts_of(photos.store), photos=photos.store, faces=faces, align=schema.align, why="")
    return FaceRecords(store)


def _need_detector(schema: FaceSchema) -> None:
    if schema.align != "centre" and not installed():
        raise InputError(f"this run looks for faces with a detector that is not installed here: {INSTALL}")


def target_of(records: FaceRecords) -> str:
    """The pattern that found people in the names; "" where folders, a table or arrays have them."""
    return records.store.label_pattern


def findings(records: FaceRecords) -> list[Finding]:
    """Photos that were left out and why, people with a single photo, how faces were found."""
    store = records.store
    found = media_findings(records, IMAGES, "photo", (DARK,), classes=False)
    reasons = defaultdict(list)
    for name, reason in store.left_out:
        reasons[reason.split(",")[0]].append((name, reason))
    for what, photos in reasons.items():
        listed = "; ".join(f"{name} {reason[len(what) + 2 :]}".strip() for name, reason in photos[:FEW])
        text = f"{len(photos)} photos are left out: {what} ({listed})"
        found.append(Finding("warning", text, tuple(name for name, _ in photos[:FEW])))
    if records.labels is not None:
        lone = [name for name, count in Counter(class_names(records.labels).tolist()).items() if count == 1]
        if lone:
            text = f"{len(lone)} people have a single photo: nothing tells whether they are known again"
            found.append(Finding("warning", text, tuple(lone[:FEW])))
    return found


def learn_schema(train: FaceRecords, options: DataConfig) -> FaceSchema:
    """The people, how photos are cut, channels, and mean and spread per channel, from the train split.

    Raises:
        InputError: fewer than two people, nobody with two photos, or an absurd size.
    """
    check_size(options.image_size, LARGEST_PX)
    check_people(train, "train")
    assert train.labels is not None
    classes, counts = counted(train.labels)
    align = train.store.align
    size_px, size_reason = find_size(train, options.image_size)
    channels = options.channels or int(train.photos.shapes[:, 2].max())
    frame = _frame(train) if align == "whole" else (0.0, 0.0, 0.0, 0.0)
    mean, std = chosen_levels(options, channels) or statistics(Crops(train, Cut(align, size_px, frame)), channels)
    return FaceSchema(
        target=IdentityTarget(name=train.store.label_name, classes=classes, counts=counts), align=align,
        size_px=size_px, frame=frame, channels=channels, mean=mean, std=std, white=train.store.photos.white,
        notes=(train.store.why, size_reason, _naming(train.store.label_pattern), levels_note(options, channels)),
    )  # fmt: skip


def _frame(train: FaceRecords) -> Frame:
    """What photos that a face fills usually show about it."""
    shapes = train.photos.shapes.tolist()
    faces = [(face, shape) for place, shape in enumerate(shapes) if (face := train.face(place)) is not None]
    filled = [(face, shape) for face, shape in faces if fills(face, shape)] or faces
    left, above, right, below = np.median([frame_of(face, shape) for face, shape in filled], axis=0).tolist()
    return left, above, right, below


def _naming(pattern: str) -> str:
    return f"people are what {pattern!r} finds in the file names; --target 'REGEX' says otherwise" if pattern else ""


def check_people(records: FaceRecords, part: str) -> None:
    """Raise InputError where a part has no pair of photos of one person, or none of two people."""
    assert records.labels is not None
    counts = counted(records.labels)[1]
    if len(counts) >= FEWEST_PEOPLE and max(counts) > 1:
        return
    people = f"{len(counts)} {'person' if len(counts) == 1 else 'people'}"
    if max(counts, default=0) < 2:
        raise InputError(
            f"{part} holds {people} with a single photo each: nothing tells who looks like whom. Give two photos or "
            "more of each person"
        )
    raise InputError(
        f"{part} holds photos of {people}, and two are needed to tell people apart: give more people, or a larger "
        "share of them (data.valid_share, data.test_share)"
    )


def find_size(train: FaceRecords, longer_px: int) -> tuple[tuple[int, int], str]:
    """(H, W) of what a network sees: a square about a face; of whole photos their shape where all have one."""
    side = longer_px or USUAL_PX
    if train.store.align == "eyes":
        return (side, side), f"{side} x {side} pixels about the face (data.image_size)"
    sizes = np.asarray(train.photos.shapes, dtype=np.float64)[:, :2]
    return common_size(sizes, longer_px, USUAL_PX, "data.image_size sets another")


def encode(records: FaceRecords, schema: FaceSchema) -> Samples:
    """uint8 photos (N, C, H, W), cut as the schema says, and indices of people.

    Raises:
        InputError: a photo without a face where faces are aligned.
    """
    targets = encode_targets(records.labels, schema.target)
    shape = (schema.channels, *schema.size_px)

    def make(place: int) -> NDArray[np.uint8]:
        return to_channels(records.crop(place, schema.cut), schema.channels).transpose(2, 0, 1)

    pixels = stack(len(records), shape, np.uint8, make, records.store.memory)
    return stacked_samples((pixels,), targets, records.ids)


def mismatches(records: FaceRecords, schema: FaceSchema) -> list[Finding]:
    """People who were learned from as well."""
    if records.labels is None:
        return []
    known = sorted(set(class_names(records.labels).tolist()) & set(schema.target.classes))
    if not known:
        return []
    text = f"{len(known)} people were learned from as well: the score flatters, it should tell of people never seen"
    return [Finding("warning", text, tuple(known[:FEW]))]


def aligned(records: FaceRecords, schema: FaceSchema) -> FaceRecords:
    """The records themselves.

    Raises:
        InputError: they hold no pairs to judge by, or faces are aligned and there is no detector here.
    """
    _need_detector(schema)
    check_people(records, "a part to judge by")
    return records


def columns(records: FaceRecords, schema: FaceSchema) -> dict[str, NDArray[Any]]:
    """Photos have no columns."""
    return {}


def classical(batch: Batch, schema: FaceSchema) -> dict[str, NDArray[Any]]:
    """All pixels, in [-1, 1]."""
    return {"vector": (batch.inputs[0].float().flatten(1) / 127.5 - 1).cpu().numpy()}


def sizes(schema: FaceSchema, takes: str) -> dict[str, Any]:
    """``in_channels`` and ``image_size`` (H, W)."""
    return {"in_channels": schema.channels, "image_size": schema.size_px}


def input_names(schema: FaceSchema, takes: str) -> list[str]:
    """Pixels have no names."""
    return []


def front(schema: FaceSchema, takes: str) -> PixelFront:
    """The module from uint8 pixels to standard units."""
    return PixelFront(schema.mean, schema.std)


def pieces(schema: FaceSchema, takes: str) -> int:
    """1: a photo is seen whole."""
    return 1


def usual_settings(schema: FaceSchema, takes: str, rows: int) -> dict[str, Any]:
    """Few photos of each person: they are mirrored, moved, turned, lit and partly covered, and seen many times.

    In float32: likenesses are compared with a threshold, also on other machines.
    """
    return {
        "train.precision": "float32",
        "train.epochs": max(10, min(40, 200_000 // max(1, rows))), "optimizer.learning_rate": 2e-3,
        "augment.flip": "yes", "augment.shift": 0.1, "augment.rotate": 10.0, "augment.scale": 0.1,
        "augment.brightness": 0.15, "augment.contrast": 0.3, "augment.erase": 0.3,
    }  # fmt: skip


def augment(batch: Batch, generator: torch.Generator, config: AugmentConfig) -> Batch:
    """The whole batch, changed at random on its device."""
    return image.augment(batch, generator, config)


def show(records: FaceRecords, row: int) -> Shown:
    """The photo as it was read, with the person's name."""
    shown = image.show(records.photos, row)
    return Shown({"photo": records.ids[row], **{k: v for k, v in shown.values.items() if k != "image"}}, shown.image)


def picture(batch: Batch, row: int, schema: FaceSchema) -> Pixels:
    """The face as the network sees it."""
    return image.picture(batch, row, schema)  # type: ignore[arg-type]  # which it does not look at
