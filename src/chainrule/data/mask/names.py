"""Names of classes from a file beside the masks: a name a line, an index and a name, or a colour and a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from chainrule.data.delimited import encoding_of
from chainrule.data.mask.codes import Level, narrow
from chainrule.data.sources import SPLIT_WORDS

NAMED = re.compile(
    r"(class(es)?|label(s|map)?|codes|palette)([-_ ]?(names?|dict|map|colou?rs?|list))?\.(txt|csv|tsv)", re.IGNORECASE
)
MOST_LINES = 256
LONGEST_LINE = 200
FORMS = (  # of a line whose separators are spaces
    re.compile(r"(?P<level>\d+ \d+ \d+) (?P<name>.*[^\d ].*)"),
    re.compile(r"(?P<name>.*[^\d ].*?) (?P<level>\d+ \d+ \d+)"),
    re.compile(r"(?P<level>\d+) (?P<name>.*[^\d ].*)"),
    re.compile(r"(?P<name>.*[^\d ].*)"),
)

Names = tuple[tuple[Level, str], ...]


def level_names(root: Path, masks: Path) -> Names:
    """The names of levels or colours that a file in a folder of data, or in that of its masks, tells.

    For one of several parts, such as ``train``, the folder above counts as well.
    """
    found = (names for folder in _folders(root.resolve(), masks.resolve()) if (names := _named_in(folder)))
    return next(found, ())


def _folders(root: Path, masks: Path) -> Iterator[Path]:
    yield root
    yield from (folder for folder in (masks, *masks.parents) if root in folder.parents)
    if root.name.lower() in SPLIT_WORDS:
        yield root.parent


def _named_in(folder: Path) -> Names:
    files = sorted(file for file in folder.iterdir() if NAMED.fullmatch(file.name) and file.is_file())
    return next((names for file in files if (names := _read(file))), ())


def _read(file: Path) -> Names:
    """What the file's lines say, all in one form; nothing where they have none."""
    content = file.read_bytes()[: MOST_LINES * LONGEST_LINE]
    encoding = encoding_of(content)
    text = "" if encoding is None else content.decode(encoding, "replace")
    lines = [re.sub(r"[\s,;:]+", " ", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for form in FORMS[:-1] if file.suffix.lower() != ".txt" else FORMS:
        kept = lines if not lines or form.fullmatch(lines[0]) else lines[1:]  # perhaps there is a header
        matches = [match for line in kept if (match := form.fullmatch(line))]
        if not kept or len(kept) > MOST_LINES or len(matches) < len(kept):
            continue
        names = [match["name"].strip() for match in matches]
        levels: list[Level] = [(place,) for place in range(len(names))]
        if form is not FORMS[-1]:
            levels = [narrow(tuple(map(int, match["level"].split()))) for match in matches]
        once = len(set(names)) == len(names) and len(set(levels)) == len(levels)
        return tuple(zip(levels, names, strict=True)) if once else ()
    return ()
