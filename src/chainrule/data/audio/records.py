"""Recordings as they were read: 16-bit samples, labels, and what was odd on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.audio.decode import WORKING_RATE_HZ, Decoded, Signal, decode_files
from chainrule.data.config import DataConfig
from chainrule.data.decoded import MediaRecords, MediaStore
from chainrule.data.media import SOUND_FILES, TEXT_TASK, MediaFiles, refuse_too_many_bad
from chainrule.data.memory import Memory
from chainrule.data.store import collect


@dataclass(frozen=True, kw_only=True)
class AudioStore(MediaStore):
    """One source's recordings; every selection of records shares it."""

    signals: Sequence[Signal]  # each (T,), of any length, at its rate
    lengths: NDArray[np.int64]  # samples of each
    rates_hz: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    silent: NDArray[np.bool_]  # all samples equal
    digests: tuple[str, ...] = ()  # sha256 of each file's bytes; nothing for arrays
    spoken: bool = False  # whether labels are what is said, because the task says so

    def digest(self, row: int) -> str:
        """SHA-256 of the file, or a hash of an array's samples."""
        return self.digests[row] if self.digests else f"{int(self.hashes[row]):016x}"

    @cached_property
    def durations_s(self) -> NDArray[np.float64]:
        """Seconds of each recording."""
        return self.lengths / self.rates_hz


class AudioRecords(MediaRecords[AudioStore]):
    """Rows of a store of recordings."""

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """Seconds of each record."""
        return self.store.durations_s[self.rows]

    @property
    def rates_hz(self) -> NDArray[np.int64]:
        """The rate at which each record is kept."""
        return self.store.rates_hz[self.rows]

    def signal(self, place: int) -> Signal:
        """The samples of one record, at its own rate."""
        return self.store.signals[int(self.rows[place])]

    def hashes(self) -> NDArray[np.uint64]:
        """Equal for equal samples at an equal rate, whatever the file's format."""
        return self.store.hashes[self.rows]

    def near_hashes(self) -> None:
        """None: near copies of sounds are not looked for."""


def working_rate(options_rate_hz: int) -> int:
    """The rate that files with a higher one are brought to at once, the same in every verb."""
    return max(WORKING_RATE_HZ, options_rate_hz)


def decoded_records(files: MediaFiles, options: DataConfig, memory: Memory | None = None) -> AudioRecords:
    """The records of these files, without those that cannot be read.

    Raises:
        InputError: none can be read, a larger share is bad than ``options.max_bad_share``, or the disk is full.
    """
    memory = memory or Memory(options.memory_mb << 20)
    ids = list(files.paths)
    working_rate_hz = working_rate(options.sample_rate_hz)
    decoded = decode_files(list(files.paths.values()), working_rate_hz=working_rate_hz, limit_s=options.decode_limit_s)
    facts: list[Decoded] = []
    with closing(decoded):
        signals = collect(_signals(decoded, facts), memory, len(ids))
    skipped = tuple((name, one.remarks[0]) for name, one in zip(ids, facts, strict=True) if not one.length)
    refuse_too_many_bad(skipped, len(ids), options.max_bad_share, SOUND_FILES)
    good = np.array([place for place, one in enumerate(facts) if one.length], dtype=np.int64)
    kept = {ids[place]: facts[place] for place in good}
    store = AudioStore(
        ids=tuple(kept),
        signals=signals,
        **columns_of(list(kept.values())),
        digests=tuple(one.digest for one in kept.values()),
        skipped=skipped,
        remarks=_remarks(kept),
        spoken=options.task == TEXT_TASK,
        memory=memory,
        **files.facts(good),
    )
    return AudioRecords(store)


def columns_of(facts: Sequence[Decoded]) -> dict[str, Any]:
    """What is known of each signal, as fields of a store."""
    return {
        "lengths": np.array([one.length for one in facts], dtype=np.int64),
        "rates_hz": np.array([one.rate_hz for one in facts], dtype=np.int64),
        "hashes": np.array([one.hash for one in facts], dtype=np.uint64),
        "silent": np.array([one.silent for one in facts], dtype=np.bool_),
    }


def _signals(decoded: Iterator[Decoded], facts: list[Decoded]) -> Iterator[Signal]:
    """The signals of the files that can be read; the rest of all files is added to ``facts``."""
    for one in decoded:
        facts.append(replace(one, signal=None))
        if one.signal is not None:
            yield one.signal


def _remarks(facts: Mapping[str, Decoded]) -> dict[str, tuple[str, ...]]:
    """What was unusual, with the files; rates and channels where not all files have the same."""
    found = defaultdict(list)
    several_rates = len({one.file_rate_hz for one in facts.values()}) > 1
    for name, one in facts.items():
        for remark in one.remarks:
            found[remark].append(name)
        if several_rates:
            found[f"recorded at {one.file_rate_hz:,} Hz"].append(name)
        if one.channels > 1:
            found[f"{one.channels} channels averaged to one"].append(name)
    return {remark: tuple(names) for remark, names in found.items()}
