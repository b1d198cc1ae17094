"""Pictures and their masks among the files of a folder: which belongs to which, by folders and by names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import polars as pl

from chainrule.data.archive import is_junk
from chainrule.data.media import IMAGES, PathTable
from chainrule.data.sources import SPLIT_WORDS, walk

IMAGE_WORDS = {
    "image", "images", "img", "imgs", "input", "inputs", "x", "frame", "frames", "photo", "photos", "picture",
    "pictures", "scan", "scans", "raw", "rgb", "original", "originals",
}  # fmt: skip
MASK_WORDS = {
    "mask", "masks", "label", "labels", "annotation", "annotations", "annot", "anno", "gt", "gts", "groundtruth",
    "truth", "segmentation", "segmentations", "seg", "segm", "manual", "target", "targets", "y",
}  # fmt: skip
GLUED = re.compile(r"(.{2,}?)(annot|annotations?|masks?|labels?|gt)")  # trainannot beside train
WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
# what the stem of a picture, or of a mask, may have more than its partner's
IMAGE_NAMES = "images?|img|im|input|raw|rgb|sat|volume|frame|original|x"
MASK_NAMES = "masks?|labels?|annotations?|annot|anno|gt|ground[-_ ]?truth|truth|segmentations?|segm?|manual|l|y"
LEAST_SHARE = 0.5  # of a folder's pictures that must have a mask where names alone say so
SHOWN = 3  # folders named in words
FIRST_ROWS = 20  # of a table, whose files are looked for


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The pictures of a folder that have masks, by path below it; nothing decoded."""

    root: Path
    masks: Mapping[str, tuple[str, ...]]  # of each picture, in order of path
    lone_images: tuple[str, ...] = ()
    lone_masks: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    how: str  # in words
    choices: tuple[str, ...] = ()  # folders of masks among which a person has to choose

    @property
    def parts(self) -> dict[str, str]:
        """Train, valid or test of each picture, where folders inside say so for all of them; otherwise nothing."""
        found = {name: _part_of(name) for name in (*self.masks, *self.lone_images)}
        words = set(found.values())
        return found if "train" in words and "" not in words and len(words) > 1 else {}


@dataclass(frozen=True)
class _Picture:
    """One file, and the folder that says what it is."""

    path: str
    folder: str  # that says it is an image or a mask; "" where none does
    inner: str  # the folders from there on
    stem: str


Folders = dict[str, list[_Picture]]
Matched = dict[str, list[_Picture]]  # the masks of each picture
Keys = Callable[[_Picture, str], list[str]]  # under which a picture can be found, the most exact first


def find_pairs(root: Path, wanted: str = "") -> Pairing | None:
    """The pictures below a folder and their masks; None where there are no pairs.

    Folders such as ``images/`` beside ``masks/`` say it, with equal names in both or a word more in the masks';
    otherwise the names within one folder do, such as ``a.png`` and ``a_mask.png``.

    Args:
        wanted: the folder of masks that a person chose among several.
    """
    names = _pictures(root)
    return _by_folders(root, names, wanted) or _beside(root, names) or _by_names(root, names)


def pair_columns(found: PathTable) -> tuple[str, str] | None:
    """The columns of a table that name an image and its mask, told by header or by the files' names and folders."""
    words = [name for name in found.table.columns if found.table[name].dtype == pl.String]
    files = {name: paths for name in words if (paths := _named_files(found, name))}
    masks = [name for name in files if _role(name)[0] == "mask"]
    masks = masks or [name for name in files if all(_role_of(path, found.folder) == "mask" for path in files[name])]
    images = [name for name in files if name not in masks[:1]]
    if not masks or not images:
        return None
    return next((name for name in images if _role(name)[0] == "image"), images[0]), masks[0]


def _named_files(found: PathTable, column: str) -> list[Path]:
    """The first files that a column names, where most of its rows name one."""
    values = [value for value in found.table[column].head(FIRST_ROWS).to_list() if value]
    paths = [path for value in values if (path := found.find(value)) is not None]
    return paths if 2 * len(paths) >= len(values) else []


def _role_of(path: Path, root: Path) -> str:
    """What a file's own name, or the folders between it and ``root``, say it is."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return next((role for name in (below.stem, *reversed(below.parts[:-1])) if (role := _role(name)[0])), "")


def _pictures(root: Path) -> list[str]:
    found = []
    for folder, folders, files in walk(root):
        at = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not is_junk(name))
        found += [(at / name).as_posix() for name in files if IMAGES.holds(Path(name))]
    return sorted(found)


@cache
def _role(name: str) -> tuple[str, tuple[str, ...]]:
    """What a folder's name says of its pictures ("image", "mask" or ""), and the words that are left of it."""
    words = [word.lower() for word in WORDS.findall(re.sub(r"(?i)ground[-_ ]?truth", "Groundtruth", name))]
    for role, known in (("mask", MASK_WORDS), ("image", IMAGE_WORDS)):
        if known & set(words):
            return role, tuple(word for word in words if word not in MASK_WORDS | IMAGE_WORDS)
    glued = GLUED.fullmatch(words[-1]) if words else None
    return ("mask", (*words[:-1], glued[1])) if glued else ("", tuple(words))


def _by_folders(root: Path, names: Sequence[str], wanted: str) -> Pairing | None:
    """Pairs in sibling folders whose names say image and mask."""
    sides: dict[str, dict[str, Folders]] = defaultdict(lambda: {"image": {}, "mask": {}})
    plain = list[_Picture]()
    for path in names:
        *folders, name = path.split("/")
        stem = name.rsplit(".", 1)[0]
        at = next((place for place in reversed(range(len(folders))) if _role(folders[place])[0]), None)
        if at is None:
            plain.append(_Picture(path, "", "/".join(folders), stem))
            continue
        held = sides["/".join(folders[:at])][_role(folders[at])[0]].setdefault(folders[at], [])
        held.append(_Picture(path, folders[at], "/".join(folders[at + 1 :]), stem))
    found, alone, over = dict[str, tuple[str, ...]](), list[str](), list[str]()
    how, choices = list[str](), set[str]()
    for parent, side in sides.items():
        images = side["image"] or _plain_folders(parent, plain, side["mask"])
        for pictures, masks in _siblings(images, side["mask"], wanted):
            if len(masks) > 1:
                choices |= set(masks)
            all_masks = [mask for held in masks.values() for mask in held]
            chosen = [mask for mask in all_masks if wanted and wanted in mask.inner.split("/")] or all_masks
            matched, lonely = _matched(pictures, chosen, len(sides) > 1)
            choices |= {mask.inner for held in matched.values() for mask in held if _spread(held)}
            found |= {path: tuple(mask.path for mask in held) for path, held in matched.items()}
            alone += [picture.path for picture in pictures if picture.path not in matched]
            over += lonely
            how.append(f"{pictures[0].folder or parent.rsplit('/', 1)[-1] or root.name}/ beside {', '.join(masks)}/")
        if not side["mask"]:
            alone += [picture.path for held in side["image"].values() for picture in held]
    if not how:
        return None
    used = {*found, *alone, *over, *(path for paths in found.values() for path in paths)}
    return Pairing(
        root=root, masks=dict(sorted(found.items())), lone_images=tuple(sorted(alone)), lone_masks=tuple(sorted(over)),
        ignored=tuple(name for name in names if name not in used), choices=tuple(sorted(choices)),
        how=", ".join(sorted(set(how))[:SHOWN]),
    )  # fmt: skip


def _plain_folders(parent: str, plain: Sequence[_Picture], masks: Folders) -> Folders:
    """Pictures beside folders of masks: right there, or in folders whose names do not say what they are."""
    found: Folders = defaultdict(list)
    above = f"{parent}/" if parent else ""
    for picture in plain:
        if masks and (picture.inner == parent or picture.inner.startswith(above)):
            first, _, inner = picture.inner[len(above) :].partition("/")
            found[first].append(replace(picture, folder=first, inner=inner))
    return found


def _siblings(images: Folders, masks: Folders, wanted: str) -> list[tuple[list[_Picture], Folders]]:
    """Folders of images, each with the folder of masks that belongs to it, or those among which to choose."""
    if wanted in masks:
        masks = {wanted: masks[wanted]}
    if len(images) == 1 and masks:
        named = {name: held for name, held in masks.items() if "class" in _role(name)[1]}  # not the objects of VOC
        return [(next(iter(images.values())), named if len(named) == 1 else masks)]
    by_rest = {_role(name)[1]: {name: held} for name, held in masks.items()}
    return [(held, by_rest[rest]) for name, held in images.items() if (rest := _role(name)[1]) in by_rest]


def _matched(images: Sequence[_Picture], masks: Sequence[_Picture], of_many: bool) -> tuple[Matched, list[str]]:
    """The masks of each picture, and those without a picture.

    Args:
        of_many: there are several such folders, so that one with a single image is a case of its own.
    """
    if len(images) == 1 and masks and (of_many or len(masks) > 1):
        return {images[0].path: list(masks)}, []  # a folder for each case, perhaps a mask for each object
    for keys in (_by_place, _by_stem, _by_number):
        matched, over = _looked_up(keys, images, masks)
        if matched:
            return matched, over
    return {}, [mask.path for mask in masks]


def _looked_up(keys: Keys, images: Sequence[_Picture], masks: Sequence[_Picture]) -> tuple[Matched, list[str]]:
    places: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for key in keys(image, IMAGE_NAMES):
            places[key].add(image.path)
    exact = {keys(image, IMAGE_NAMES)[0]: image.path for image in images if keys(image, IMAGE_NAMES)}
    matched: Matched = defaultdict(list)
    over = []
    for mask in masks:
        wanted = keys(mask, MASK_NAMES)
        path = next((exact[key] for key in wanted if key in exact and (len(places[key]) == 1 or keys is _by_place)), "")
        path = path or next((min(places[key]) for key in wanted if len(places[key]) == 1), "")
        if path:
            matched[path].append(mask)
        else:
            over.append(mask.path)
    return dict(matched), over


def _by_place(picture: _Picture, words: str) -> list[str]:
    return [f"{picture.inner}/{stem}" for stem in _stems(picture.stem, words)]


def _by_stem(picture: _Picture, words: str) -> list[str]:
    return _stems(picture.stem, words)


def _by_number(picture: _Picture, words: str) -> list[str]:
    """The first number in the name: 21_training.tif and 21_manual1.gif."""
    return re.findall(r"\d+", picture.stem)[:1]


def _stems(stem: str, words: str) -> list[str]:
    """The stem, and what is left of it without one of these words at either end, behind which a number may stand."""
    end = re.fullmatch(rf"(.*?[^-_. ])[-_. ]+(?:{words})(?:[-_. ]?\d+)?", stem, re.IGNORECASE)
    start = re.fullmatch(rf"(?:{words})(?:[-_. ]+|(?=\d))(.+)", stem, re.IGNORECASE)
    joined = re.fullmatch(r"(.*[a-z0-9])(?:Mask|Label|GT)", stem) if words is MASK_NAMES else None
    if re.fullmatch(words, stem, re.IGNORECASE):  # image.png and mask.png in a folder for each case
        return [stem, ""]
    return [stem, *(match[1] for match in (end, start, joined) if match)]


def _spread(masks: Sequence[_Picture]) -> bool:
    """Whether the masks of one picture lie in several folders, which may be one for each class."""
    return len({mask.inner for mask in masks}) > 1


def _by_names(root: Path, names: Sequence[str]) -> Pairing | None:
    """Pairs within one folder, where the masks' names have a word more."""
    stems: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        folder, _, file = name.rpartition("/")
        stems[folder][file.rsplit(".", 1)[0]].append(name)
    found: dict[str, list[str]] = defaultdict(list)
    masks, over = set[str](), list[str]()
    for held in stems.values():
        images = {short: stem for stem in held for short in reversed(_stems(stem, IMAGE_NAMES))}
        images |= {stem: stem for stem in held}
        for stem, paths in held.items():
            shorter = _stems(stem, MASK_NAMES)[1:]
            image = next((images[short] for short in shorter if short in images and images[short] != stem), None)
            if image is not None:
                found[held[image][0]] += paths
                masks.update(paths)
            elif re.search(r"(?i)[-_. ]mask([-_. ]?\d+)?$", stem):
                over += paths
    pictures = [name for name in names if name not in masks and name not in over]
    pairs = {name: tuple(sorted(found[name])) for name in pictures if name in found}
    if not pairs or len(pairs) < LEAST_SHARE * len(pictures):
        return None
    first = next(iter(pairs))
    return Pairing(
        root=root, masks=pairs, lone_images=tuple(name for name in pictures if name not in found),
        lone_masks=tuple(over), how=f"names such as {_name(first)!r} and {_name(pairs[first][0])!r}",
    )  # fmt: skip


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _beside(root: Path, names: Sequence[str]) -> Pairing | None:
    """Pairs of a folder such as ``train`` with its sibling ``trainannot`` or ``train_masks``."""
    here = root.resolve()
    role, words = _role(here.name)
    if not names or role or not words:
        return None
    siblings = [child for child in sorted(here.parent.iterdir()) if child != here and _role(child.name)[1] == words]
    masked = [child for child in siblings if child.is_dir() and _role(child.name)[0] == "mask"]
    if len(masked) != 1:
        return None
    images = [_loose(name, "") for name in names]
    matched, over = _matched(images, [_loose(name, f"../{masked[0].name}/") for name in _pictures(masked[0])], False)
    if not matched:
        return None
    return Pairing(
        root=here, masks={path: tuple(mask.path for mask in held) for path, held in matched.items()},
        lone_images=tuple(name for name in names if name not in matched), lone_masks=tuple(over),
        how=f"{here.name}/ beside {masked[0].name}/",
    )  # fmt: skip


def _loose(name: str, above: str) -> _Picture:
    inner, _, file = name.rpartition("/")
    return _Picture(above + name, "", inner, file.rsplit(".", 1)[0])


def _part_of(name: str) -> str:
    """Train, valid or test, where one of the folders, or the name without its ending, is such a word."""
    *folders, file = name.split("/")
    stems = _stems(file.rsplit(".", 1)[0], IMAGE_NAMES)
    words: Iterable[str] = (*(word for folder in folders for word in _role(folder)[1]), *stems)
    found = {SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else ""
