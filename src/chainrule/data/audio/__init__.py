"""Sound: class folders, tables of paths and files named after their class; a label or a text for each recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.audio.augment import AudioAugmentConfig
from chainrule.data.audio.augment import augment as augment_sounds
from chainrule.data.audio.built import coloured
from chainrule.data.audio.decode import FULL_SCALE, described, to_int16
from chainrule.data.audio.front import FramesFront, SignalFront, SpectrogramFront, log_mel
from chainrule.data.audio.learn import FLOOR_DB, RANGE_DB, find_spectrogram, fitted, laid_out, learned
from chainrule.data.audio.records import AudioRecords, AudioStore, columns_of, decoded_records
from chainrule.data.audio.schema import NAME as NAME
from chainrule.data.audio.schema import AudioSchema
from chainrule.data.audio.utterances import learned_utterances, text_mismatches, utterances
from chainrule.data.config import DataConfig
from chainrule.data.decoded import Reader, files_reader, input_files, joined, media_findings, read_by
from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW, encode_targets, input_target, target_of_labels
from chainrule.data.media import SOUND_FILES, TEXT_TASK
from chainrule.data.memory import Memory
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import InputTarget, TranscriptTarget, from_json
from chainrule.data.sources import Source
from chainrule.data.store import collect, stack, stacked_samples
from chainrule.data.transcripts import are_texts, learn_transcripts
from chainrule.errors import InputError

GIVES = ("image", "signal", "frames")
FOLDERS = "class"  # the name of labels that no column has
AUGMENT = AudioAugmentConfig
SHOWN_S, SHOWN_BANDS = 30.0, 64  # of a recording in the report
ACCEPTED = (
    "expected a folder of class folders of WAV, FLAC, MP3 or OGG files, a CSV with a column of paths and one of "
    "labels, or files that are all named after their class, such as 7_jackson_32.wav (or any, with --target 'REGEX')"
)


def recognises(source: Source) -> str | None:
    """Why this source is sound, in words, or None."""
    found = _reader(source)
    return None if found is None else found[0]


def read(source: Source, options: DataConfig) -> dict[str, AudioRecords]:
    """The records, "all" or by split where a table divides them.

    Raises:
        InputError: broken or unreadable content, or a setting that sound in this form cannot follow.
    """
    return read_by(_reader(source), source, options, f"sound; {ACCEPTED}")


def _reader(source: Source) -> tuple[str, Reader[AudioRecords]] | None:
    """The reason in words, and what reads it."""
    return None if source.path is None else files_reader(source.path, SOUND_FILES, decoded_records)


def target_of(records: AudioRecords) -> str:
    """The pattern that found labels in the names; "" where folders or a table have them."""
    return records.store.label_pattern


def read_inputs(inputs: Sequence[Any], schema: AudioSchema) -> AudioRecords:
    """Records for prediction from sound files, folders of them, or arrays at the schema's rate.

    Raises:
        InputError: nothing found, or a file that cannot be read.
    """
    options, memory = DataConfig(sample_rate_hz=schema.sample_rate_hz, max_bad_share=0), Memory()
    stores = [store for one in inputs for store in _input_stores(one, schema, options, memory)]
    if not stores:
        raise InputError("no sound to predict; give files, folders or arrays")
    if len(stores) == 1:
        return AudioRecords(stores[0])
    columns = ("lengths", "rates_hz", "hashes", "silent")
    return AudioRecords(
        AudioStore(
            **joined(stores),
            signals=collect((signal for store in stores for signal in store.signals), memory),
            **dict[str, Any]((name, np.concatenate([getattr(store, name) for store in stores])) for name in columns),
            memory=memory,
        )
    )


def _input_stores(one: Any, schema: AudioSchema, options: DataConfig, memory: Memory) -> list[AudioStore]:
    if not isinstance(one, (str, Path)):
        return [_array_store(np.asarray(one), schema, memory)]
    files = input_files(one, SOUND_FILES)
    if files is None:
        raise InputError(f"{str(one)!r} is no sound; give files ({', '.join(SOUND_FILES.endings)}), folders or arrays")
    return [decoded_records(files, options, memory).store]


def _array_store(array: NDArray[Any], schema: AudioSchema, memory: Memory) -> AudioStore:
    """One recording (T,) or several (N, T) as 16-bit levels, or as numbers from -1 to 1."""
    known = array.dtype == np.int16 or array.dtype.kind == "f"
    if array.ndim not in (1, 2) or not known or not array.size or not np.isfinite(array).all():
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} was given; expected finite samples (T,) or (N, T) "
            f"at {schema.sample_rate_hz:,} Hz, as int16 or as numbers from -1 to 1"
        )
    signals = [row if row.dtype == np.int16 else to_int16(row) for row in np.atleast_2d(array)]
    facts = [described(signal, schema.sample_rate_hz) for signal in signals]
    return AudioStore(
        ids=tuple(f"recording {place}" for place in range(len(signals))),
        signals=collect(signals, memory), **columns_of(facts), memory=memory,
        notes=(f"arrays are taken to have the network's {schema.sample_rate_hz:,} samples per second",),
    )  # fmt: skip


def findings(records: AudioRecords) -> list[Finding]:
    """Skipped and unusual files, empty or tiny classes, silence, and how long recordings are."""
    found = media_findings(records, SOUND_FILES, "recording", classes=not records.store.spoken)
    return found + _sound_findings(records)


def _sound_findings(records: AudioRecords) -> list[Finding]:
    durations_s = records.durations_s
    low, middle, high = np.percentile(durations_s, (0, 50, 100))
    total = f"{durations_s.sum() / 60:.3g} minutes in all"
    found = [Finding("note", f"recordings of {low:.3g} to {high:.3g} s, half of them up to {middle:.3g} s; {total}")]
    silent = [records.ids[place] for place in np.flatnonzero(records.store.silent[records.rows])]
    if silent:
        found.append(Finding("warning", f"{len(silent)} silent recordings, every sample equal", tuple(silent[:FEW])))
    return found


def learn_schema(train: AudioRecords, options: DataConfig) -> AudioSchema:
    """Classes, number or texts, sample rate, window and spectrogram, and how loud it is, from the train split.

    Raises:
        InputError: no labels, one class only, labels the task cannot be done on, or an absurd setting.
    """
    store = train.store
    if options.task == TEXT_TASK or (not options.task and _holds_texts(train)):
        text, reason = learn_transcripts(train.labels, store.label_name, train.ids[0])
        return learned_utterances(train, text, options, reason)
    if options.task == "reconstruct":
        itself = input_target(train.labels, store.label_name, options, name="the spectrogram", form="numbers")
        return learned(train, itself, options, "")
    target, reason = target_of_labels(
        train.labels, store.label_name, options.task, train.ids[0], "recordings", ACCEPTED, store.label_pattern
    )
    return learned(train, target, options, reason)


def _holds_texts(train: AudioRecords) -> bool:
    """Whether a table's labels are sentences; names of folders and parts of names are classes."""
    return train.labels is not None and train.store.label_name != FOLDERS and are_texts(train.labels)


def load_schema(data: Mapping[str, Any]) -> AudioSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(AudioSchema, data)


def encode(records: AudioRecords, schema: AudioSchema) -> Samples:
    """16-bit recordings (N, 1, pieces, clip_samples) laid out row by row, silence after them, and their lengths (N,).

    With texts each recording keeps its own length.

    Raises:
        InputError: a label the schema does not know, or no room for recordings that do not fit into memory.
    """
    if isinstance(schema.target, TranscriptTarget):
        return utterances(records, schema)
    targets = encode_targets(records.labels, schema.target)
    lengths = np.zeros(len(records), dtype=np.int64)

    def make(place: int) -> NDArray[np.int16]:
        signal = fitted(records.signal(place), int(records.rates_hz[place]), schema)
        lengths[place] = len(signal)
        laid, _ = laid_out(signal, schema)
        return np.asarray(laid[0].numpy())

    shape = (1, schema.pieces, schema.clip_samples)
    signals = stack(len(records), shape, np.int16, make, records.store.memory)
    return stacked_samples((signals, torch.from_numpy(lengths)), targets, records.ids)


def mismatches(records: AudioRecords, schema: AudioSchema) -> list[Finding]:
    """Recordings whose rate is lower than the network's: their upper bands are empty; and texts that do not fit."""
    found = text_mismatches(records, schema) if isinstance(schema.target, TranscriptTarget) else []
    low = np.flatnonzero(records.rates_hz < schema.sample_rate_hz)
    if not len(low):
        return found
    lowest = int(records.rates_hz.min())
    text = f"{len(low)} recordings have a lower rate than {schema.sample_rate_hz:,} Hz, down to {lowest:,} Hz: nothing "
    where = tuple(records.ids[place] for place in low[:FEW])
    return [*found, Finding("warning", f"{text}is heard above half of it", where)]


def aligned(records: AudioRecords, schema: AudioSchema) -> AudioRecords:
    """The records: labels are spelt in one way."""
    return records


def columns(records: AudioRecords, schema: AudioSchema) -> dict[str, NDArray[Any]]:
    """Recordings have no columns."""
    return {}


def classical(batch: Batch, schema: AudioSchema) -> dict[str, NDArray[Any]]:
    """Mean and spread over time of every band, in the network's units; with texts, over a recording's own frames."""
    if batch.inputs[0].ndim == 2:
        return {"vector": _mean_frames(batch, schema).cpu().numpy()}
    bands = _spectrograms(batch, schema).transpose(1, 2).flatten(2)  # (B, mels, P frames)
    return {"vector": torch.cat((bands.mean(2), bands.std(2)), dim=1).cpu().numpy()}


def _mean_frames(batch: Batch, schema: AudioSchema) -> Tensor:
    """(B, 2 mels): mean and spread of each band over each row's frames."""
    frames, numbers = FramesFront(schema).to(batch.inputs[0].device)(*batch.inputs)
    there = (torch.arange(frames.shape[1], device=frames.device) < numbers[:, None])[..., None]
    mean = frames.sum(1) / numbers[:, None]
    spread = ((frames - mean[:, None]) * there).square().sum(1) / numbers[:, None]
    return torch.cat((mean, spread.sqrt()), dim=1)


def _spectrograms(batch: Batch, schema: AudioSchema) -> Tensor:
    """(B, P, mels, frames) of a batch, augmented or not; of whole recordings one window each, as long as the batch."""
    if batch.inputs[0].ndim == 2:
        signal, *others = batch.inputs
        batch = Batch((signal[:, None, None], *others), None, batch.ids)
    images: Tensor = SpectrogramFront(schema).to(batch.inputs[0].device)(*batch.inputs)[0]
    return images.squeeze(2) if schema.pieces > 1 else images


def sizes(schema: AudioSchema, takes: str) -> dict[str, Any]:
    """``in_channels`` and ``image_size``: bands and frames of a spectrogram, samples of a signal; a frame's bands.

    Of a spectrogram that is built again its ``shape``.
    """
    _check_takes(takes)
    if takes == "frames":
        return {"in_features": schema.mels}
    return {
        "in_channels": 1,
        "image_size": (schema.mels, schema.frames) if takes == "image" else (schema.clip_samples,),
        **({"shape": (1, schema.mels, schema.frames)} if isinstance(schema.target, InputTarget) else {}),
    }


def input_names(schema: AudioSchema, takes: str) -> list[str]:
    """Samples and bands have no names."""
    return []


def front(schema: AudioSchema, takes: str) -> nn.Module:
    """The module from 16-bit samples to log-mel spectrograms ("image", "frames") or standardised signals ("signal")."""
    _check_takes(takes)
    fronts = {"image": SpectrogramFront, "signal": SignalFront, "frames": FramesFront}
    return fronts[takes](schema)


def _check_takes(takes: str) -> None:
    if takes not in GIVES:
        raise InputError(
            f"a network that takes {takes!r} cannot be given sound; choose one that takes image or frames "
            f"(spectrograms) or signal"
        )


def pieces(schema: AudioSchema, takes: str) -> int:
    """Windows that an evaluation takes from each recording."""
    return schema.pieces


def augment(batch: Batch, generator: torch.Generator, config: AudioAugmentConfig) -> Batch:
    """One window of each recording, changed at random on the batch's device."""
    return augment_sounds(batch, generator, config)


def show(records: AudioRecords, row: int) -> Shown:
    """The spectrogram of the recording's first half minute at its own rate, with its label."""
    labels, rate_hz = records.labels, int(records.rates_hz[row])
    values = {"recording": records.ids[row], "seconds": f"{records.durations_s[row]:.3g}"}
    values |= {} if labels is None else {records.store.label_name: str(labels[row])}
    signal = torch.from_numpy(records.signal(row)[: int(SHOWN_S * rate_hz)] / FULL_SCALE)
    schema = find_spectrogram(rate_hz, len(signal) / rate_hz, mels=SHOWN_BANDS)
    decibels = log_mel(schema)(signal)
    return Shown(values, coloured(decibels, max(FLOOR_DB, float(decibels.max()) - RANGE_DB)))


def picture(batch: Batch, row: int, schema: AudioSchema) -> NDArray[np.uint8]:
    """The spectrograms of a row's windows side by side, low frequencies at the bottom, as the network sees them."""
    one = Batch(tuple(x[row : row + 1] for x in batch.inputs), None, batch.ids[row : row + 1])
    if one.inputs[0].ndim == 2:  # a whole recording without what fills the batch
        signal, length, *others = one.inputs
        one = replace(one, inputs=(signal[:, : int(length)], length, *others))
    windows = _spectrograms(one, schema)[0] * schema.std_db + schema.mean_db
    return coloured(torch.cat(list(windows), dim=-1), schema.floor_db)


def usual_settings(schema: AudioSchema, takes: str, rows: int) -> dict[str, Any]:
    """None: the network's own are right; but texts forbid to cut and blend recordings, and join frames to fewer.

    What is to be built again is heard as it is.
    """
    if isinstance(schema.target, InputTarget):
        return {f"augment.{field.name}": 0.0 for field in fields(AudioAugmentConfig)}
    if not isinstance(schema.target, TranscriptTarget):
        return {}
    return {"augment.mixup": 0.0, "augment.shift": 0.0, "model.subsample": schema.subsample}
