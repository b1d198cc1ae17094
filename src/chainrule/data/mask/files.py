"""Images and masks that come as files: each pair decoded once, with what was odd about it."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.config import DataConfig
from chainrule.data.file_groups import file_groups
from chainrule.data.image.decode import pillow_settings
from chainrule.data.image.size import check_size
from chainrule.data.mask.codes import Level
from chainrule.data.mask.decode import Job, Pair, decode_pair
from chainrule.data.mask.records import MaskRecords, MaskStore, Table, presence
from chainrule.data.mask.soft import SOFT_ADVICE
from chainrule.data.media import IMAGES, refuse_too_many_bad
from chainrule.data.memory import Memory
from chainrule.data.store import Arrays
from chainrule.data.threads import stream_in_threads
from chainrule.errors import InputError

LARGEST_PX = 16_384  # what data.image_size may ask for
SHOWN = 10  # files named in a message
BY_NAME = "name"  # of data.time: files in the order of their names
IN_ORDER = "in order of time"  # what stands for what is in a mask
JPEG = (".jpg", ".jpeg", ".jfif")

Column = NDArray[Any] | None  # a value for each record


@dataclass(frozen=True, kw_only=True)
class PairFiles:
    """Images with their masks by the name that a person can find again; nothing decoded."""

    jobs: Sequence[Job]
    lone: tuple[tuple[str, str], ...] = ()  # pictures without a partner, and what is missing
    ignored: tuple[str, ...] = ()
    names: tuple[tuple[Level, str], ...] = ()  # of levels, that a file beside the data tells
    groups: Column = None  # of each job, where a table has them
    group_reason: str = ""
    times: Column = None
    notes: tuple[str, ...] = ()


class _Log:
    """What is kept of pairs as they are decoded, and what is known of them besides."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.pixels, self.masks, self.table = Arrays(), Arrays(), Table()
        self.ids: list[str] = []
        self.jobs = array("q")  # which job each record is of
        self.pages = array("q")
        self.originals: list[tuple[int, ...]] = []
        self.digests = bytearray()
        self.skipped: list[tuple[str, str]] = []
        self.crowded: list[tuple[str, str]] = []  # masks with too many levels
        self.remarks: dict[str, list[str]] = defaultdict(list)
        self.paged = 0

    def add(self, number: int, job: Job, pair: Pair, total: int) -> None:
        """One more file's images and masks."""
        if pair.levels:
            self.crowded.append((job.masks[0].name, pair.levels))
        if pair.error:
            self.skipped.append((job.name, pair.error))
            return
        self.paged += pair.paged
        for remark in pair.remarks:
            self.remarks[remark].append(job.name)
        several = len(pair.images) > 1
        for page, image in enumerate(pair.images):
            self.ids.append(f"{job.name}#{page:03d}" if several else job.name)
            self.jobs.append(number)
            self.pages.append(page)
            self.originals.append(pair.originals[page])
            self.digests += pair.digest
            self.pixels.add(image, self.memory, 0 if several else total)
            if pair.masks:
                self.masks.add(self.table.add(pair.masks[page]), self.memory, 0 if several else total)


def decoded_records(files: PairFiles, options: DataConfig, memory: Memory | None = None) -> MaskRecords:
    """The records of these pairs, without those that cannot be read.

    Raises:
        InputError: none can be read, a larger share is bad or alone than ``options.max_bad_share``, masks whose levels
            cannot be classes, or the disk is full.
    """
    check_size(options.image_size, LARGEST_PX)
    _refuse_too_many_alone(files, options.max_bad_share)
    log = _Log(memory or Memory(options.memory_mb << 20))
    with closing(_decoded(files.jobs, options)) as decoded:
        for number, pair in enumerate(decoded):
            log.add(number, files.jobs[number], pair, len(files.jobs))
    _refuse_crowded(log.crowded)
    refuse_too_many_bad(log.skipped, len(files.jobs), options.max_bad_share, IMAGES)
    return MaskRecords(_store(log, files, options))


def _decoded(jobs: Sequence[Job], options: DataConfig) -> Generator[Pair, None, None]:
    decode = partial(
        decode_pair, max_pixels=options.max_pixels, longer_side_px=options.image_size, threshold=options.threshold,
        volume=options.slices == "volume",
    )  # fmt: skip
    with pillow_settings():
        yield from stream_in_threads(decode, jobs)


def _refuse_too_many_alone(files: PairFiles, share: float) -> None:
    total = len(files.jobs) + len(files.lone)
    if len(files.lone) > share * total:
        shown = "".join(f"\n  {name}: {reason}" for name, reason in files.lone[:SHOWN])
        more = f"\n  and {len(files.lone) - SHOWN} more" if len(files.lone) > SHOWN else ""
        raise InputError(
            f"{len(files.lone)} of {total} images and masks have no partner, more than data.max_bad_share={share:g}; "
            f"add what is missing (an image without any object needs an empty mask), take them out, or raise the share:"
            f"{shown}{more}"
        )


def _refuse_crowded(crowded: Sequence[tuple[str, str]]) -> None:
    if crowded:
        shown = ", ".join(f"{name} ({count})" for name, count in crowded[:SHOWN])
        raise InputError(
            f"{len(crowded)} masks have too many levels to be classes: {shown}; at most 255 classes are expected, each "
            f"with a level or colour of its own. {SOFT_ADVICE}. Where levels number the objects of an image, "
            f"data.threshold=1 makes these one class"
        )


def _store(log: _Log, files: PairFiles, options: DataConfig) -> MaskStore:
    answered = len(log.masks) > 0
    levels, counts = log.table.levels, log.table.counts() if answered else None
    times, groups, reason = _order(log, files, options)
    labels = None if counts is None else presence(counts, levels)
    if labels is not None and times is not None:
        labels = np.full(len(labels), IN_ORDER, dtype=object)  # blocks of time are not moved for the sake of shares
    jpeg = [mask.name for job in files.jobs for mask in job.masks if mask.suffix.lower() in JPEG]
    return MaskStore(
        ids=tuple(log.ids), pixels=log.pixels, masks=log.masks if answered else None, levels=levels, counts=counts,
        palette=log.table.palette, names=files.names, originals=np.array(log.originals, dtype=np.int64),
        digests=np.frombuffer(bytes(log.digests), dtype=np.uint8).reshape(len(log.ids), -1), lone=files.lone,
        jpeg=tuple(jpeg[:SHOWN]), labels=labels, label_name="mask", groups=groups, group_reason=reason, times=times,
        memory=log.memory, skipped=tuple(log.skipped), ignored=files.ignored, notes=files.notes,
        remarks={remark: tuple(names) for remark, names in log.remarks.items()},
    )  # fmt: skip


def _order(log: _Log, files: PairFiles, options: DataConfig) -> tuple[Column, Column, str]:
    """Moments, groups and the reason for these: slices of one volume follow each other, several volumes are groups."""
    jobs = np.array(log.jobs, dtype=np.int64)
    names = [job.name for job in files.jobs]
    pages = log.paged > 0 and options.slices == "each"
    times = None if files.times is None else files.times[jobs]
    if options.time == BY_NAME and times is None:
        times = np.argsort(np.argsort(np.array(log.ids)))
    if files.groups is not None:
        return times, files.groups[jobs], files.group_reason
    if pages and not options.group:
        if len(set(log.jobs)) > 1:
            return times, np.array(names, dtype=object)[jobs], "volume, since slices of one are alike"
        return np.array(log.pages, dtype=np.int64) if times is None else times, None, ""
    groups, reason = file_groups(names, options.group)
    return times, None if groups is None else groups[jobs], reason
