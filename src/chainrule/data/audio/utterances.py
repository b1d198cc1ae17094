"""Whole recordings with what is said in them: nothing is cut, a batch is as long as its longest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.audio.decode import Signal
from chainrule.data.audio.learn import (
    at_rate,
    check_limits,
    find_rate,
    find_spectrogram,
    usual_mels,
    with_statistics,
)
from chainrule.data.audio.records import AudioRecords
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.labels import FEW
from chainrule.data.samples import Arrangement, Batch
from chainrule.data.schema import TranscriptTarget
from chainrule.data.store import collect
from chainrule.data.threads import stream_in_threads
from chainrule.data.transcripts import encode_texts, padded, unknown_characters
from chainrule.errors import InputError
from chainrule.functional.ctc import needed_frames

SPECTROGRAM_S = 1.0  # of sound whose spectrogram all recordings get: 10 ms from frame to frame
SUBSAMPLE = 2  # frames that are joined to one where texts fit
FEW_SHORT = 0.01  # of the train split may not fit then
LONG_S = 60.0


class UtteranceSamples:
    """Recordings at one rate, each of its own length, and their texts as classes of characters.

    A batch's inputs are 16-bit levels (B, T), silence after the end of each, and lengths (B,); its targets (B, S)
    classes, blanks after the end of each.
    """

    arrangement: Arrangement = "by_length"

    def __init__(
        self, signals: Sequence[Signal], lengths: NDArray[np.int64], texts: Sequence[NDArray[np.int64]] | None,
        ids: Sequence[str],
    ) -> None:  # fmt: skip
        self.signals, self.texts, self.ids = signals, texts, ids
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of these rows (int64), in training and in evaluation alike."""
        places = rows.tolist()
        lengths = self.lengths[rows.numpy()]
        levels = np.zeros((len(places), int(lengths.max())), dtype=np.int16)
        for row, place in zip(levels, places, strict=True):
            row[: self.lengths[place]] = self.signals[place]
        targets = None if self.texts is None else padded([self.texts[place] for place in places])
        return Batch((torch.from_numpy(levels), torch.from_numpy(lengths)), targets, rows)


def learned_utterances(train: AudioRecords, target: TranscriptTarget, options: DataConfig, reason: str) -> AudioSchema:
    """The schema of a train split of recordings and texts.

    Raises:
        InputError: a setting that is absurd or would cut recordings, or texts that most recordings are too short for.
    """
    check_limits(options)
    if options.clip_s:
        raise InputError(
            f"data.clip_s={options.clip_s:g} cuts windows out of recordings, but a text belongs to all of one; leave "
            f"it out, and cut long files at pauses before"
        )
    rate_hz, why_rate = find_rate(train.rates_hz, options.sample_rate_hz)
    plain = find_spectrogram(rate_hz, SPECTROGRAM_S, options.mels or usual_mels(rate_hz))
    low_s, high_s = float(train.durations_s.min()), float(train.durations_s.max())
    schema = replace(plain, target=target, clip_samples=max(plain.window_samples, round(high_s * rate_hz)))
    texts = encode_texts(train.labels, target) or []
    subsample = SUBSAMPLE if len(too_short(train, texts, schema, SUBSAMPLE)) <= FEW_SHORT * len(train) else 1
    short = too_short(train, texts, schema, subsample)
    if 2 * len(short) > len(train):
        raise InputError(
            f"{len(short)} of {len(train)} recordings are too short for their text, the first {train.ids[short[0]]!r}: "
            f"each character needs {1000 * schema.hop_samples / rate_hz:.3g} ms of sound; is {target.name!r} what is "
            f"said in them?"
        )
    notes = [reason, why_rate, _described(schema, low_s, high_s)]
    if short:
        names = ", ".join(train.ids[row] for row in short[:FEW])
        notes.append(f"{len(short)} recordings of train are too short for their text and teach nothing: {names}")
    if high_s > LONG_S:
        notes.append(f"memory and time grow with the longest recording, which has {high_s:.3g} s: cut files at pauses")
    return with_statistics(train, replace(schema, subsample=subsample, notes=tuple(notes)))


def _described(schema: AudioSchema, low_s: float, high_s: float) -> str:
    hop_ms, window_ms = (1000 * n / schema.sample_rate_hz for n in (schema.hop_samples, schema.window_samples))
    return (
        f"whole recordings of {low_s:.3g} to {high_s:.3g} s as frames of {schema.mels} mel bands (data.mels): a window "
        f"of {window_ms:.3g} ms every {hop_ms:.3g} ms"
    )


def utterances(records: AudioRecords, schema: AudioSchema) -> UtteranceSamples:
    """The records at the schema's rate, with their texts where they have any.

    Raises:
        InputError: no room for recordings that do not fit into memory.
    """
    target = schema.target
    assert isinstance(target, TranscriptTarget)

    def one(place: int) -> Signal:
        return at_rate(records.signal(place), int(records.rates_hz[place]), schema.sample_rate_hz)

    signals = collect(stream_in_threads(one, range(len(records))), records.store.memory, len(records))
    lengths = signals.shapes[:, 0] if len(signals) else np.zeros(0, dtype=np.int64)
    return UtteranceSamples(signals, lengths, encode_texts(records.labels, target), records.ids)


def text_mismatches(records: AudioRecords, schema: AudioSchema) -> list[Finding]:
    """Characters that were not learned, and recordings that are too short for their text."""
    target, labels = schema.target, records.labels
    assert isinstance(target, TranscriptTarget)
    texts = encode_texts(labels, target)
    if labels is None or texts is None:
        return []
    found = []
    unknown, rows = unknown_characters(labels, target)
    if unknown:
        found.append(Finding("warning", unknown, tuple(records.ids[row] for row in rows[:FEW])))
    short = too_short(records, texts, schema, schema.subsample)
    if short:
        text = f"{len(short)} recordings are too short for their text: it cannot be answered for them"
        found.append(Finding("warning", text, tuple(records.ids[row] for row in short[:FEW])))
    return found


def too_short(
    records: AudioRecords, texts: Sequence[NDArray[np.int64]], schema: AudioSchema, subsample: int
) -> list[int]:
    """The rows whose frames, so many joined to one, are fewer than their text needs."""
    samples = (records.durations_s * schema.sample_rate_hz).round().astype(np.int64)
    frames = -(-(1 + samples // schema.hop_samples) // subsample)
    return [row for row, text in enumerate(texts) if needed_frames(text.tolist()) > frames[row]]
