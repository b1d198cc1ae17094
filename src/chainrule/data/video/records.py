"""Videos as they were read: frames evenly spread in time, labels, and what was odd on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.decoded import MediaRecords, MediaStore
from chainrule.data.media import VIDEO_FILES, MediaFiles, refuse_too_many_bad
from chainrule.data.memory import Memory
from chainrule.data.store import Arrays, collect
from chainrule.data.video.decode import Decoded, Frames, Sampling, decode_files, described, kept_of_array
from chainrule.errors import InputError

STILL = "nothing moves in it"


@dataclass(frozen=True, kw_only=True)
class VideoStore(MediaStore):
    """One source's videos; every selection of records shares it."""

    frames: Arrays  # each (windows, stored frames, H, W, C) with C = 1 or 3
    contents: tuple[bytes, ...]  # 16 bytes over the frames of each
    near: tuple[int | None, ...]  # the perceptual hash of each one's middle frame
    working_px: int  # the longer side that frames were shrunk to
    digests: tuple[str, ...] = ()  # sha256 of each file's bytes; nothing for arrays

    def digest(self, row: int) -> str:
        """SHA-256 of the file, or a hash of an array's frames."""
        return self.digests[row] if self.digests else self.contents[row].hex()

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """8 bytes of each one's content."""
        return np.array([int.from_bytes(content[:8], "big") for content in self.contents], dtype=np.uint64)

    @cached_property
    def near_hashes(self) -> NDArray[np.uint64] | None:
        """The perceptual hashes, or None where most frames are too small for one; the others are like no other."""
        if 2 * sum(near is not None for near in self.near) <= len(self.near):
            return None
        known = [int(own) if near is None else near for near, own in zip(self.near, self.hashes, strict=True)]
        return np.array(known, dtype=np.uint64)


class VideoRecords(MediaRecords[VideoStore]):
    """Rows of a store of videos."""

    def frames(self, place: int) -> Frames:
        """The frames of one record, (windows, stored frames, H, W, C), without a copy."""
        return self.store.frames[int(self.rows[place])]

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(N, 5): the shape of each record's frames, without reading them."""
        return self.store.frames.shapes[self.rows]

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for videos of equal kept frames."""
        return self.store.hashes[self.rows]

    def near_hashes(self) -> NDArray[np.uint64] | None:
        """Near for videos whose middle frames look alike; None where most frames are under 32 pixels."""
        hashes = self.store.near_hashes
        return None if hashes is None else hashes[self.rows]


def decoded_records(
    files: MediaFiles, sampling: Sampling, options: DataConfig, memory: Memory | None = None
) -> VideoRecords:
    """The records of these files, without those that cannot be read.

    Raises:
        InputError: none can be read, a larger share is bad than ``options.max_bad_share``, or the disk is full.
    """
    memory = memory or Memory(options.memory_mb << 20)
    ids, facts = list(files.paths), list[Decoded]()
    with closing(decode_files(list(files.paths.values()), sampling)) as decoded:
        frames = collect(_frames(decoded, facts), memory, len(ids))
    skipped = tuple((name, one.remarks[0]) for name, one in zip(ids, facts, strict=True) if not one.content)
    refuse_too_many_bad(skipped, len(ids), options.max_bad_share, VIDEO_FILES)
    good = np.array([place for place, one in enumerate(facts) if one.content], dtype=np.int64)
    kept, names = [facts[place] for place in good], tuple(ids[place] for place in good)
    return VideoRecords(
        VideoStore(
            ids=names, frames=frames, memory=memory, working_px=sampling.working_px, **_columns(kept, names),
            digests=tuple(one.digest for one in kept), skipped=skipped, **files.facts(good),
        )
    )  # fmt: skip


def array_records(
    videos: NDArray[np.uint8], labels: NDArray[Any] | None, sampling: Sampling, memory: Memory
) -> VideoRecords:
    """The records of videos (N, T, H, W, C) in memory.

    Raises:
        InputError: a clip was asked for in seconds, which arrays do not have, or the disk is full.
    """
    if sampling.clip_s:
        raise InputError("data.clip_s is in seconds, but videos in arrays tell no times; leave it out")
    facts = list[Decoded]()
    decoded = (described(kept_of_array(video, sampling)) for video in videos)
    frames, names = (
        collect(_frames(decoded, facts), memory, len(videos)),
        tuple(f"video {i}" for i in range(len(videos))),
    )
    return VideoRecords(
        VideoStore(
            ids=names, frames=frames, memory=memory, working_px=sampling.working_px, labels=labels,
            **_columns(facts, names),
        )
    )  # fmt: skip


def _frames(decoded: Iterable[Decoded], facts: list[Decoded]) -> Iterator[Frames]:
    """The frames of all that have some; everything else is added to ``facts``."""
    for one in decoded:
        still = one.frames is not None and not (one.frames != one.frames[:, :1]).any()
        facts.append(replace(one, frames=None, remarks=(*one.remarks, STILL) if still else one.remarks))
        if one.frames is not None:
            yield one.frames


def _columns(facts: Sequence[Decoded], names: Sequence[str]) -> dict[str, Any]:
    """Hashes and remarks as fields of a store."""
    remarks = defaultdict(list)
    for one, name in zip(facts, names, strict=True):
        for remark in one.remarks:
            remarks[remark].append(name)
    return {
        "contents": tuple(one.content for one in facts),
        "near": tuple(one.near for one in facts),
        "remarks": {remark: tuple(named) for remark, named in remarks.items()},
    }
