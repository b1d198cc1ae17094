"""What files' names tell about what belongs together: patients, speakers, clips that were cut out of one video."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError

PATIENT = re.compile(
    r"((?:patient|person|subject|subj|speaker|case|video|clip|scan|study|slide|volume)[-_ ]?[a-z]*\d+)(?!\d)",
    re.IGNORECASE,
)
CUT_OUT = re.compile(
    r"(?P<set>v_.+_g\d+)_c\d+"  # UCF-101
    r"|(?P<part>.*\d.*?)[-_. ]+(?:part|clip|seg(?:ment)?|scene|shot|chunk)[-_ ]?\d+"  # fight_0012_part3
    r"|(?P<address>(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{11})_\d+(?:_\d+)?"  # of YouTube, then the time
)
SPEAKER = re.compile(r"([0-9a-f]+)_nohash_\d+")  # of Speech Commands


def matches_of(names: Sequence[str], pattern: str, option: str, meaning: str) -> list[str]:
    """What a person's regular expression finds in each name: its first group, or all of it where it has none.

    Raises:
        InputError: the pattern is none, or misses a file.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{option} {pattern!r} is not a regular expression ({error})") from None
    matches = [expression.search(name) for name in names]
    missed = [name for name, match in zip(names, matches, strict=True) if match is None]
    if missed:
        raise InputError(
            f"{option} {pattern!r} is not found in {len(missed)} of {len(names)} file names, the first {missed[0]!r}; "
            f"write a regular expression whose first (group) is the {meaning}"
        )
    return [match[1 if expression.groups else 0] or "" for match in matches if match]


def file_groups(names: Sequence[str], pattern: str) -> tuple[NDArray[Any] | None, str]:
    """Groups by a person's regular expression over the file names, or those that the names tell by themselves.

    Raises:
        InputError: the pattern is none, or misses a file.
    """
    if not pattern:
        return found_groups(names)
    values = matches_of(names, pattern, "--group", "patient, the source video, ...")
    return np.array(values, dtype=object), f"--group {pattern!r}"


def found_groups(names: Sequence[str]) -> tuple[NDArray[Any] | None, str]:
    """Groups that paths like ``class/patient7/3.png`` or ``class/patient7_3.png`` tell, and the reason in words.

    Clips cut out of one video, by names such as ``v_Run_g01_c02.avi`` and ``fight_0012_part3.mp4``, are such groups.
    Careful: they must cover nine files of ten, hold at least two files somewhere, and leave every class three groups.
    """
    folders = [name.rsplit("/", 1)[0] if name.count("/") >= 2 else "" for name in names]
    matches = [PATIENT.search(name.rsplit("/", 1)[-1]) for name in names]
    words = [match[1].lower() if match else "" for match in matches]
    videos = [_cut_out_of(name) for name in names]
    speakers = [match[1] if (match := SPEAKER.match(name.rsplit("/", 1)[-1])) else "" for name in names]
    example = next((name for name, video in zip(names, videos, strict=True) if video), "")
    for values, reason in (
        (folders, "sub-folders"),
        (videos, f"the video that names like {example.rsplit('/', 1)[-1]!r} are cut out of"),
        (speakers, "the speaker, named before _nohash_"),
        (words, "a number after a word like patient in the names"),
    ):
        if _plausible(names, values):
            filled = [value or f"alone {place}" for place, value in enumerate(values)]
            return np.array(filled, dtype=object), reason
    return None, ""


def _cut_out_of(name: str) -> str:
    """The source that a clip's name tells; "" where it tells none. A word like patient within it says more."""
    match = CUT_OUT.fullmatch(name.rsplit("/", 1)[-1].rsplit(".", 1)[0])
    if match is None:
        return ""
    word = PATIENT.search(match["part"] or "")
    return word[1].lower() if word else str(match["set"] or match["part"] or match["address"])


def _plausible(names: Sequence[str], values: Sequence[str]) -> bool:
    known = [value for value in values if value]
    counts = Counter(known)
    if len(known) < 0.9 * len(names) or not counts or max(counts.values()) < 2 or len(counts) < 6:
        return False
    of_class = defaultdict(set)
    for name, value in zip(names, values, strict=True):
        of_class[name.split("/")[0] if "/" in name else ""].add(value)
    return min(map(len, of_class.values())) >= 3
