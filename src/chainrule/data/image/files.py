"""Images that come as files: each decoded once, with what was odd about it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from chainrule.data.config import DataConfig
from chainrule.data.image.decode import WORKING_PX, decode_files
from chainrule.data.image.records import ImageRecords, ImageStore
from chainrule.data.media import IMAGES, MediaFiles, refuse_too_many_bad


def decoded_records(files: MediaFiles, options: DataConfig) -> ImageRecords:
    """The records of these files, without those that cannot be read.

    Raises:
        InputError: none can be read, or a larger share is bad than ``options.max_bad_share``.
    """
    ids = list(files.paths)
    decoded = decode_files(
        list(files.paths.values()), max_pixels=options.max_pixels, longer_side_px=max(WORKING_PX, options.image_size)
    )
    skipped = tuple((name, one.remarks[0]) for name, one in zip(ids, decoded, strict=True) if one.pixels is None)
    refuse_too_many_bad(skipped, len(ids), options.max_bad_share, IMAGES)
    good = np.array([place for place, one in enumerate(decoded) if one.pixels is not None], dtype=np.int64)
    remarks = defaultdict(list)
    for place in good:
        for remark in decoded[place].remarks:
            remarks[remark].append(ids[place])
    store = ImageStore(
        ids=tuple(ids[place] for place in good),
        pixels=[one.pixels for one in decoded if one.pixels is not None],
        digests=tuple(decoded[place].digest for place in good),
        skipped=skipped,
        remarks={remark: tuple(names) for remark, names in remarks.items()},
        **files.facts(good),
    )
    return ImageRecords(store)
