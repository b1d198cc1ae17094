"""Sources that no kind of data should take: folders that mix media, tables whose files are not there."""

from __future__ import annotations

from pathlib import Path

from chainrule.data.archive import is_junk
from chainrule.data.delimited import read_bytes, read_delimited, sniff
from chainrule.data.media import ALL_MEDIA, Medium
from chainrule.data.sources import MEDIA, TABLES, suffix, walk
from chainrule.errors import InputError

ENDINGS = tuple(ending.encode() for ending in MEDIA)
MIXED_SHARE = 0.1  # of a folder's media that another medium must hold before the folder counts as a mixture


def refuse_mixture(root: Path) -> None:
    """Raise InputError where a folder holds several media in earnest, such as images beside sound."""
    counts = dict.fromkeys(ALL_MEDIA, 0)
    examples: dict[Medium, str] = {}
    for folder, folders, files in walk(root):
        folders[:] = [name for name in folders if not is_junk(name)]
        for name in files:
            for medium in ALL_MEDIA:
                if medium.holds(Path(name)):
                    counts[medium] += 1
                    examples.setdefault(medium, (Path(folder) / name).relative_to(root).as_posix())
    present = [medium for medium in ALL_MEDIA if counts[medium] > MIXED_SHARE * sum(counts.values())]
    if len(present) > 1:
        held = " and ".join(f"{counts[medium]:,} {medium.name} (such as {examples[medium]})" for medium in present)
        raise InputError(
            f"{root} mixes {held}; one network learns one kind. Put them into folders of their own, or say which to "
            "read with --set data.kind=image, audio or video"
        )


def refuse_missing(path: Path) -> None:
    """Raise InputError where a table names files of a medium of which most are not there, instead of a mere table."""
    if suffix(path) not in TABLES[:2] or not any(ending in read_bytes(path, 1 << 16).lower() for ending in ENDINGS):
        return
    layout = sniff(path)
    if layout is None:
        return
    table = read_delimited(path, layout)
    for name in table.columns:
        values = [str(value) for value in table[name].head(20).to_list() if value]
        for medium in ALL_MEDIA:
            if values and all(medium.holds(Path(value)) and "://" not in value for value in values):
                raise InputError(
                    f"column {name!r} of {path} names {medium.name}, such as {values[0]!r}, but most are not below "
                    f"{path.parent}; put the table into the folder that holds them, mend the names, or learn from "
                    "the other columns alone with --set data.kind=table"
                )
