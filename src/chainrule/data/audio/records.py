"""Recordings as they were read: 16-bit samples, labels, and what was odd on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from chainrule.data.audio.decode import WORKING_RATE_HZ, Decoded, Signal, decode_files
from chainrule.data.config import DataConfig
from chainrule.data.media import SOUND_FILES, MediaFiles, refuse_too_many_bad
from chainrule.data.memory import Memory
from chainrule.data.store import collect


@dataclass(frozen=True, kw_only=True)
class AudioStore:
    """One source's recordings; every selection of records shares it."""

    ids: tuple[str, ...]
    signals: Sequence[Signal]  # each (T,), of any length, at its rate
    lengths: NDArray[np.int64]  # samples of each
    rates_hz: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    silent: NDArray[np.bool_]  # all samples equal
    labels: NDArray[Any] | None = None
    label_name: str = "class"
    label_pattern: str = ""  # the regular expression that found labels in the names
    groups: NDArray[Any] | None = None
    group_reason: str = ""
    times: NDArray[Any] | None = None
    digests: tuple[str, ...] = ()  # sha256 of each file's bytes; nothing for arrays
    skipped: tuple[tuple[str, str], ...] = ()  # (id, reason)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what was unusual -> ids
    ignored: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    memory: Memory = field(default_factory=Memory)  # what signals and the tensors made from them may take

    @cached_property
    def durations_s(self) -> NDArray[np.float64]:
        """Seconds of each recording."""
        return self.lengths / self.rates_hz


class AudioRecords:
    """Rows of a store, as the Records protocol asks."""

    def __init__(self, store: AudioStore, rows: NDArray[np.int64] | None = None) -> None:
        self.store = store
        self.rows = np.arange(len(store.ids)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The files' relative paths, or ``recording 17``, counted from 0 as in the array."""
        return tuple(self.store.ids[row] for row in self.rows)

    @property
    def labels(self) -> NDArray[Any] | None:
        """Class names, class numbers or numbers, as they came."""
        return None if self.store.labels is None else self.store.labels[self.rows]

    @property
    def groups(self) -> NDArray[Any] | None:
        """What must stay on one side of the split."""
        return None if self.store.groups is None else self.store.groups[self.rows]

    @property
    def times(self) -> NDArray[Any] | None:
        """Moments from a column the user named."""
        return None if self.store.times is None else self.store.times[self.rows]

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

    def select(self, rows: NDArray[np.int64]) -> Self:
        """The records of these rows, sharing the samples."""
        return type(self)(self.store, self.rows[rows])

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and content (file bytes, or the samples of arrays)."""
        digest, labels = sha256(), self.labels
        content = self.store.digests or [f"{value:016x}" for value in self.store.hashes.tolist()]
        for place, row in enumerate(self.rows):
            label = "" if labels is None else str(labels[place])
            digest.update(f"{self.store.ids[row]}\0{label}\0{content[row]}\n".encode())
        return digest.hexdigest()

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
