"""Images that come as files: each decoded once, with what was odd about it."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing

import numpy as np

from chainrule.data.config import DataConfig
from chainrule.data.image.decode import WORKING_PX, Decoded, Pixels, decode_files
from chainrule.data.image.records import ImageRecords, ImageStore
from chainrule.data.media import IMAGES, MediaFiles, refuse_too_many_bad
from chainrule.data.memory import Memory
from chainrule.data.store import collect


class _Log:
    """What is known of files besides their pixels, as they are decoded."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.good = array("q")
        self.digests = bytearray()
        self.skipped: list[tuple[str, str]] = []
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def pixels(self, decoded: Iterator[Decoded]) -> Iterator[Pixels]:
        """Those of the files that can be read."""
        for place, one in enumerate(decoded):
            if one.pixels is None:
                self.skipped.append((self.ids[place], one.remarks[0]))
                continue
            self.good.append(place)
            self.digests += one.digest
            for remark in one.remarks:
                self.remarks[remark].append(self.ids[place])
            yield one.pixels


def decoded_records(files: MediaFiles, options: DataConfig, memory: Memory | None = None) -> ImageRecords:
    """The records of these files, without those that cannot be read.

    Raises:
        InputError: none can be read, a larger share is bad than ``options.max_bad_share``, or the disk is full.
    """
    memory = memory or Memory(options.memory_mb << 20)
    log = _Log(list(files.paths))
    decoded = decode_files(
        files.paths.values(), max_pixels=options.max_pixels, longer_side_px=max(WORKING_PX, options.image_size)
    )
    with closing(decoded):
        pixels = collect(log.pixels(decoded), memory, len(log.ids))
    refuse_too_many_bad(log.skipped, len(log.ids), options.max_bad_share, IMAGES)
    good = np.array(log.good, dtype=np.int64)
    store = ImageStore(
        ids=tuple(log.ids[place] for place in good),
        pixels=pixels,
        memory=memory,
        digests=np.frombuffer(bytes(log.digests), dtype=np.uint8).reshape(len(good), -1),
        skipped=tuple(log.skipped),
        remarks={remark: tuple(names) for remark, names in log.remarks.items()},
        **files.facts(good),
    )
    return ImageRecords(store)
