"""Photos of people as they were read: pixels, whose they are, where the face is, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from chainrule.data.audit import near_pairs
from chainrule.data.decoded import MediaRecords, MediaStore
from chainrule.data.faces.align import Align, Cut, fills
from chainrule.data.faces.detect import Detector, Face, installed
from chainrule.data.image.decode import Pixels
from chainrule.data.image.records import ImageRecords, ImageStore
from chainrule.data.schema import class_names
from chainrule.data.threads import in_threads
from chainrule.errors import InputError

SEEN_SHARE = 0.5  # of the photos that must show one face; below it the detector does not suit them
NO_FACE, SEVERAL, BLANK = "no face is seen", "several faces are seen", "a single colour all over"
REPEATED, CONTRADICTED = "repeats another photo of the same person", "stands under two people"

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FaceStore(MediaStore):
    """One source's photos; every selection of records shares it."""

    photos: ImageStore
    faces: tuple[tuple[Face, ...], ...]  # of each photo; () where none is, or none was looked for
    align: Align
    why: str  # it is aligned so, in words
    left_out: tuple[tuple[str, str], ...] = ()  # (id, reason)

    def digest(self, row: int) -> str:
        """SHA-256 of the file, or a hash of an array's pixels."""
        return self.photos.digest(row)


class FaceRecords(MediaRecords[FaceStore]):
    """Rows of a store of photos."""

    @property
    def groups(self) -> NDArray[Any] | None:
        """The people: none of them stands on both sides of the split."""
        return self.labels

    @property
    def photos(self) -> ImageRecords:
        """The same rows as plain images."""
        return ImageRecords(self.store.photos, self.rows)

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for photos of equal size and pixels."""
        return self.photos.hashes()

    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hash of whole photos; None where most are under 32 pixels."""
        return self.photos.near_hashes()

    def face(self, place: int) -> Face | None:
        """The only face of the photo in this place; None where there is none, or several."""
        faces = self.store.faces[int(self.rows[place])]
        return faces[0] if len(faces) == 1 else None

    def crop(self, place: int, cut: Cut) -> Pixels:
        """The photo in this place as a network sees it.

        Raises:
            InputError: it is to be cut about a face, and does not show one, or shows several.
        """
        face = self.face(place)
        if face is None and cut.align != "centre":
            raise InputError(f"{self.ids[place]}: {self.trouble(place)}; give a photo of one face, seen from the front")
        return cut(self.photos.images[place], face)

    def trouble(self, place: int) -> str:
        """Why no face can be cut out of the photo in this place, in words; "" where one can."""
        faces = self.store.faces[int(self.rows[place])]
        return "" if len(faces) == 1 else SEVERAL if faces else NO_FACE


@dataclass(frozen=True)
class Crops(Sequence[Pixels]):
    """What a network sees of some records, cut when it is asked for."""

    records: FaceRecords
    cut: Cut
    step: int = 1

    def __len__(self) -> int:
        return -(-len(self.records) // self.step)

    @overload
    def __getitem__(self, place: int) -> Pixels: ...
    @overload
    def __getitem__(self, place: slice) -> Crops: ...
    def __getitem__(self, place: int | slice) -> Pixels | Crops:
        if isinstance(place, slice):
            return Crops(self.records, self.cut, self.step * (place.step or 1))
        if place >= len(self):
            raise IndexError(place)
        return self.records.crop(place * self.step, self.cut)


@lru_cache(maxsize=1)
def detector() -> Detector:
    """The one that this process uses.

    Raises:
        InputError: it is not installed.
    """
    return Detector()


def seen_faces(photos: ImageRecords) -> tuple[tuple[Face, ...], ...]:
    """The faces in every photo of a store.

    Raises:
        InputError: there is no detector.
    """
    found, images = detector(), photos.images
    rows = list(range(len(images)))
    return tuple(in_threads(lambda row: tuple(found.faces(images[row])), rows))


def facts_of(photos: ImageStore) -> dict[str, Any]:
    """What is known of files besides their pixels, as fields of a store of faces."""
    return {field.name: getattr(photos, field.name) for field in fields(MediaStore)}


def people_records(images: ImageRecords, asked: str) -> FaceRecords:
    """The photos that can be learned from; the others are left out, each with its reason.

    Args:
        asked: how they are to be cut; "": whole where a detector sees that faces fill them, else by the eyes; the
            middle of each where there is none, or it sees few faces.

    Raises:
        InputError: nobody says who is on the photos, none is left, or there is no detector where one was asked for.
    """
    labels = images.labels
    if labels is None:
        raise InputError(
            f"nothing says who is on the photos, the first {images.ids[0]!r}; expected a folder for each person, names "
            "that begin with the person (subject01.happy.png, ann_lee_2.jpg; --target 'REGEX' says how), a CSV of "
            "paths and people, or arrays with one label a photo"
        )
    reasons = _unusable(images, class_names(labels))
    faces: tuple[tuple[Face, ...], ...] = ((),) * len(images)
    align: Align = "centre"
    if asked == "centre":
        why = "the middle of each photo is taken: data.align=centre; no face is looked for"
    elif not asked and not installed():
        why = "the middle of each photo is taken: there is no face detector (pip install 'chainrule[faces]')"
    else:
        faces = seen_faces(images)
        align = _alignment(images, faces, asked)
        why = _reason(faces, align)
    if align != "centre":
        for row, found in enumerate(faces):
            if len(found) != 1 and row not in reasons:
                reasons[row] = SEVERAL if found else NO_FACE
    store = FaceStore(
        **facts_of(images.store), photos=images.store, faces=faces, align=align, why=why,
        left_out=tuple((images.ids[row], reason) for row, reason in sorted(reasons.items())),
    )  # fmt: skip
    kept = np.array([row for row in range(len(images)) if row not in reasons], dtype=np.int64)
    if not len(kept):
        raise InputError(f"none of the {len(images)} photos can be used; {images.ids[0]}: {reasons[0]}")
    return FaceRecords(store, kept)


def _alignment(images: ImageRecords, faces: Sequence[Sequence[Face]], asked: str) -> Align:
    """How photos with these faces are cut."""
    one = [
        fills(found[0], shape) for found, shape in zip(faces, images.shapes.tolist(), strict=True) if len(found) == 1
    ]
    if not asked and len(one) < SEEN_SHARE * len(faces):
        return "centre"
    return "whole" if asked == "whole" or (not asked and 2 * sum(one) > len(one)) else "eyes"


def _reason(faces: Sequence[Sequence[Face]], align: Align) -> str:
    one = [found[0] for found in faces if len(found) == 1]
    if align == "whole":
        return f"faces fill the photos, which are taken whole; a detector sees one face in {len(one)} of {len(faces)}"
    if align == "centre":
        return (
            f"the middle of each photo is taken: the face detector sees one face in only {len(one)} of {len(faces)} "
            "(--set data.align=eyes uses those alone)"
        )
    eyes = sum(face.eyes is not None for face in one)
    return f"faces are aligned by their eyes in {eyes} photos, by their outline in {len(one) - eyes}"


def _unusable(images: ImageRecords, people: NDArray[np.str_]) -> dict[int, str]:
    """Rows that say nothing, or two things, of who is who, and why."""
    reasons = dict.fromkeys(np.flatnonzero(images.store.blank[images.rows]).tolist(), BLANK)
    twins = _twins(images)
    apart = people[twins[:, 0]] != people[twins[:, 1]]
    for first, second in twins[apart].tolist():
        reasons.setdefault(first, f"{CONTRADICTED}, also as {images.ids[second]}")
        reasons.setdefault(second, f"{CONTRADICTED}, also as {images.ids[first]}")
    same = images.hashes()
    for first, second in twins[~apart].tolist():
        if same[first] == same[second]:
            reasons.setdefault(second, f"{REPEATED}, {images.ids[first]}")
    return reasons


def _twins(images: ImageRecords) -> Ints:
    """(P, 2) rows, the earlier first, that show the same photo: equal ones, or nearly so."""
    same = images.hashes()
    order = np.argsort(same, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], same[order][1:] != same[order][:-1])))
    first = order[starts[np.cumsum(np.isin(np.arange(len(order)), starts)) - 1]]  # of each row its earliest equal
    equal = np.stack((first, order), 1)[first != order]
    near = images.near_hashes()
    return equal if near is None else np.unique(np.concatenate((equal, near_pairs(near))), axis=0)
