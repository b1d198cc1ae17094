"""Videos: class folders, tables of paths, arrays in memory, one label per clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chainrule.data.config import DataConfig
from chainrule.data.decoded import Reader, files_reader, input_files, joined, media_findings, read_by
from chainrule.data.image.decode import resize, to_channels
from chainrule.data.image.size import check_size, common_size
from chainrule.data.kind import Finding, Shown
from chainrule.data.labels import FEW, encode_targets, target_of_labels
from chainrule.data.levels import chosen_levels, levels_note
from chainrule.data.media import VIDEO_FILES, MediaFiles, refuse_columns
from chainrule.data.memory import Memory
from chainrule.data.samples import Batch, Samples
from chainrule.data.schema import ClassTarget, from_json
from chainrule.data.sources import Source
from chainrule.data.store import collect, stack, stacked_samples
from chainrule.data.video.augment import VideoAugmentConfig
from chainrule.data.video.augment import augment as augment_videos
from chainrule.data.video.decode import BROKEN_FRAMES, Frames, Sampling
from chainrule.data.video.front import NAME, VideoFront, VideoSchema
from chainrule.data.video.records import STILL, VideoRecords, VideoStore, array_records, decoded_records
from chainrule.errors import InputError

__all__ = ["NAME", "VideoAugmentConfig", "VideoSchema"]

GIVES = ("clip", "image")
TRAINED_FRAMES = 4  # of each video that a network of single frames sees in a training step
AUGMENT = VideoAugmentConfig
DEFAULT_PX = 112  # the longer side that larger frames are brought to, as in Tran et al. 2018, arXiv:1711.11248
LEAST_WORKING_PX = 64  # files are kept at least this large, so that near copies can be told
LARGEST_PX = 1024  # what data.image_size may ask for
MOST_FRAMES = 512  # what data.clip_frames may ask for
LINEAR_PX = 12  # side of what the linear baseline sees
STATISTICS_VIDEOS = 500
STRIP_FRAMES = 8
SIDES = {"left", "right", "clockwise", "counterclockwise", "anticlockwise", "leftward", "rightward"}
ACCEPTED = (
    "expected a folder of class folders of clips (MP4, AVI, WebM, MOV, MKV), a CSV with a column of paths, or arrays "
    "(N, T, H, W, 3) of uint8, with one label per clip"
)


def recognises(source: Source) -> str | None:
    """Why this source is videos, in words, or None."""
    found = _reader(source)
    return None if found is None else found[0]


def read(source: Source, options: DataConfig) -> dict[str, VideoRecords]:
    """The records, "all" or by split where one table holds several.

    Raises:
        InputError: broken or unreadable content, or a setting that videos in this form cannot follow.
    """
    return read_by(_reader(source), source, options, f"videos; {ACCEPTED}")


def _reader(source: Source) -> tuple[str, Reader[VideoRecords]] | None:
    """The reason in words, and what reads it."""
    if source.path is None:
        return _array_reader(source.value)
    return files_reader(source.path, VIDEO_FILES, _decoded)


def _decoded(files: MediaFiles, options: DataConfig) -> VideoRecords:
    return decoded_records(files, _sampling(options), options)


def _array_reader(value: Any) -> tuple[str, Reader[VideoRecords]] | None:
    """A reader of one array of videos (N, T, H, W, C), alone or with a label for each."""
    pair = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, None)
    shape = np.shape(pair[0]) if hasattr(pair[0], "shape") else ()
    if len(shape) != 5 or shape[4] not in (1, 3):
        return None

    def read_with(options: DataConfig) -> dict[str, VideoRecords]:
        if options.group:
            raise InputError("--group is a pattern over file names, but these videos are arrays; leave it out")
        refuse_columns(options, VIDEO_FILES)
        labels = None if pair[1] is None else np.asarray(pair[1]).squeeze()
        if labels is not None and labels.shape != shape[:1]:
            raise InputError(f"labels of shape {labels.shape} for {shape[0]} videos; there must be one per video")
        return {"all": array_records(_eight_bits(np.asarray(pair[0])), labels, _sampling(options), _memory(options))}

    return f"array of videos, shape {tuple(shape)}", read_with


def _eight_bits(videos: NDArray[Any]) -> NDArray[np.uint8]:
    if videos.dtype != np.uint8:
        raise InputError(f"videos in arrays are uint8 (levels 0..255), got {videos.dtype}; scale and convert them")
    return videos


def _memory(options: DataConfig) -> Memory:
    return Memory(options.memory_mb << 20)


def _sampling(options: DataConfig) -> Sampling:
    """What decoding obeys.

    Raises:
        InputError: a size, a number of frames or a duration that makes no sense.
    """
    check_size(options.image_size, LARGEST_PX)
    if not 1 <= options.clip_frames <= MOST_FRAMES:
        raise InputError(f"data.clip_frames is {options.clip_frames}; expected 1 to {MOST_FRAMES}")
    if not 0 <= options.clip_s < float("inf"):
        raise InputError(f"data.clip_s is {options.clip_s}; expected seconds above 0, or 0 for the whole video")
    if not options.decode_limit_s > 0:
        raise InputError(f"data.decode_limit_s is {options.decode_limit_s}; expected seconds above 0")
    return Sampling(
        clip_frames=options.clip_frames, clip_s=options.clip_s, max_pixels=options.max_pixels,
        working_px=max(LEAST_WORKING_PX, options.image_size or DEFAULT_PX), limit_s=options.decode_limit_s,
    )  # fmt: skip


def read_inputs(inputs: Sequence[Any], schema: VideoSchema) -> VideoRecords:
    """Records for prediction from video files, folders of them, or arrays (T, H, W, 3) of uint8.

    Raises:
        InputError: nothing found, or a file that cannot be read.
    """
    options = DataConfig(clip_frames=schema.clip_frames, clip_s=schema.clip_s, max_bad_share=0)
    sampling, memory = replace(_sampling(options), working_px=schema.working_px), Memory()
    stores = [store for one in inputs for store in _input_stores(one, sampling, options, memory)]
    if not stores:
        raise InputError("no videos to predict; give files, folders or arrays")
    if len(stores) == 1:
        return VideoRecords(stores[0])
    return VideoRecords(
        VideoStore(
            **joined(stores),
            frames=collect((frames for store in stores for frames in store.frames), memory),
            memory=memory,
            contents=tuple(content for store in stores for content in store.contents),
            near=tuple(near for store in stores for near in store.near),
            working_px=sampling.working_px,
        )
    )


def _input_stores(one: Any, sampling: Sampling, options: DataConfig, memory: Memory) -> list[VideoStore]:
    if not isinstance(one, (str, Path)):
        return [array_records(_input_videos(np.asarray(one)), None, sampling, memory).store]
    files = input_files(one, VIDEO_FILES)
    if files is None:
        raise InputError(f"{str(one)!r} is no video; give files ({', '.join(VIDEO_FILES.endings)}), folders or arrays")
    return [decoded_records(files, sampling, options, memory).store]


def _input_videos(array: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, T, H, W, C) from one video (T, H, W), (T, H, W, C) or from many."""
    plain = array[..., None] if array.ndim == 3 else array
    videos = plain[None] if plain.ndim == 4 else plain
    if videos.ndim != 5 or videos.shape[4] not in (1, 3) or 0 in videos.shape:
        raise InputError(f"a video is an array (T, H, W, 3) or (T, H, W) of uint8, got the shape {array.shape}")
    return _eight_bits(videos)


def findings(records: VideoRecords) -> list[Finding]:
    """Skipped and unusual files, empty or tiny classes, videos in which nothing moves."""
    return media_findings(records, VIDEO_FILES, "video", (BROKEN_FRAMES, STILL, "trunc"))


def learn_schema(train: VideoRecords, options: DataConfig) -> VideoSchema:
    """Classes or number, size, windows, channels, and mean and spread per channel, from the train split.

    Raises:
        InputError: no labels, one class only, or labels the task cannot be done on.
    """
    store, shapes = train.store, train.shapes
    target, reason = target_of_labels(
        train.labels, store.label_name, options.task, train.ids[0], "videos", ACCEPTED, store.label_pattern
    )
    usual = "data.image_size sets another longer side"
    size_px, size_reason = common_size(shapes[:, 2:4].astype(np.float64), options.image_size, DEFAULT_PX, usual)
    channels, windows = options.channels or int(shapes[:, 4].max()), int(shapes[:, 0].max())
    mean, std = chosen_levels(options, channels) or _statistics(train, channels)
    notes = (
        reason, f"{options.clip_frames} frames {_spread(options, windows)}", size_reason,
        levels_note(options, channels), *_sides(target),
    )  # fmt: skip
    return VideoSchema(
        target=target, clip_frames=options.clip_frames, clip_s=options.clip_s, windows=windows, size_px=size_px,
        channels=channels, mean=mean, std=std, working_px=train.store.working_px, notes=notes,
    )  # fmt: skip


def _spread(options: DataConfig, windows: int) -> str:
    if not options.clip_s:
        return "spread evenly over each video: data.clip_frames, data.clip_s"
    return f"over data.clip_s={options.clip_s:g} seconds; evaluation averages up to {windows} such clips of a video"


def _sides(target: Any) -> list[str]:
    """A warning where class names tell left from right, which mirroring confuses."""
    if not isinstance(target, ClassTarget):
        return []
    sided = [
        name for name in target.classes if SIDES & set(name.lower().replace("-", "_").replace(" ", "_").split("_"))
    ]
    if not sided:
        return []
    named = ", ".join(map(repr, sided[:FEW]))
    return [f"training mirrors videos, which may turn {named} into another class: --set augment.flip=no prevents it"]


def _statistics(train: VideoRecords, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in 0..1, over four frames and more of all videos, or of 500 and more."""
    moments = np.zeros((2, channels))
    places = range(0, len(train), max(1, len(train) // STATISTICS_VIDEOS))
    for place in places:
        stored = train.frames(place)[0]
        seen = [to_channels(frame, channels) for frame in stored[:: max(1, len(stored) // 4)]]
        levels = np.stack(seen).astype(np.float64) / 255
        moments += [levels.mean(axis=(0, 1, 2)), (levels**2).mean(axis=(0, 1, 2))]
    mean, square = moments / len(places)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-6] = 1.0  # all pixels equal: nothing to scale
    return tuple(mean.tolist()), tuple(std.tolist())


def load_schema(data: Mapping[str, Any]) -> VideoSchema:
    """The schema back from JSON.

    Raises:
        InputError: a key this version does not know, or one that is absent.
    """
    return from_json(VideoSchema, data)


def encode(records: VideoRecords, schema: VideoSchema) -> Samples:
    """uint8 frames (N, windows, S, C, H, W), squeezed to the schema's size, and class indices or numbers.

    A video that is too short for all windows repeats some.

    Raises:
        InputError: a label the schema does not know.
    """
    targets = encode_targets(records.labels, schema.target)
    H, W = schema.size_px
    shape = (schema.windows, schema.stored, schema.channels, H, W)

    def encoded(place: int) -> NDArray[np.uint8]:
        frames = _windowed(records.frames(place), schema.windows)
        squeezed = [
            to_channels(resize(np.ascontiguousarray(frame), (H, W)), schema.channels)
            for frame in frames.reshape(-1, *frames.shape[2:])
        ]
        return np.stack(squeezed).transpose(0, 3, 1, 2).reshape(shape)

    return stacked_samples((stack(len(records), shape, np.uint8, encoded, records.store.memory),), targets, records.ids)


def _windowed(frames: Frames, windows: int) -> Frames:
    """So many of the video's windows, evenly chosen, some twice where it has fewer."""
    return frames[np.rint(np.linspace(0, len(frames) - 1, windows)).astype(np.int64)]


def sizes(schema: VideoSchema, takes: str) -> dict[str, Any]:
    """``in_channels`` and ``image_size``: (T, H, W) for networks of clips, (H, W) for those of single frames."""
    _check_takes(takes)
    frames = (schema.clip_frames,) if takes == "clip" else ()
    return {"in_channels": schema.channels, "image_size": (*frames, *schema.size_px)}


def _check_takes(takes: str) -> None:
    if takes not in GIVES:
        raise InputError(f"a network that takes {takes!r} cannot be given videos; choose one that takes clip or image")


def input_names(schema: VideoSchema, takes: str) -> list[str]:
    """Pixels have no names."""
    return []


def front(schema: VideoSchema, takes: str) -> VideoFront:
    """The module from stored or augmented frames to what the network takes: "clip" or "image"."""
    _check_takes(takes)
    return VideoFront(schema, takes)


def pieces(schema: VideoSchema, takes: str) -> int:
    """Windows of a video, or all their frames one by one, whose outputs evaluation averages."""
    return schema.pieces(takes)


def augment(batch: Batch, generator: torch.Generator, config: VideoAugmentConfig) -> Batch:
    """The whole batch, frames drawn and changed at random on its device."""
    return augment_videos(batch, generator, config)


def show(records: VideoRecords, row: int) -> Shown:
    """Eight frames side by side, with the label."""
    labels = records.labels
    values = {"video": records.ids[row]} | ({} if labels is None else {records.store.label_name: str(labels[row])})
    frames = records.frames(row)
    return Shown(values, _strip(frames.reshape(-1, *frames.shape[2:])))


def picture(batch: Batch, row: int, schema: VideoSchema) -> NDArray[np.uint8]:
    """Eight frames as the network sees them, side by side."""
    video = batch.inputs[0][row]
    return _strip(video.reshape(-1, *video.shape[-3:]).permute(0, 2, 3, 1).cpu().numpy())


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most eight of the frames (N, H, W, C), evenly chosen, in one RGB picture."""
    places = np.unique(np.arange(STRIP_FRAMES) * len(frames) // STRIP_FRAMES)
    return np.concatenate([to_channels(np.ascontiguousarray(frames[place]), 3) for place in places], axis=1)


def mismatches(records: VideoRecords, schema: VideoSchema) -> list[Finding]:
    """Videos of any size, length and colour are brought to the schema's."""
    return []


def aligned(records: VideoRecords, schema: VideoSchema) -> VideoRecords:
    """The records: labels are spelt in one way."""
    return records


def target_of(records: VideoRecords) -> str:
    """The pattern that found labels in the names; "" where nothing is read by a target's name."""
    return records.store.label_pattern


def columns(records: VideoRecords, schema: VideoSchema) -> dict[str, NDArray[Any]]:
    """Videos have no columns."""
    return {}


def classical(batch: Batch, schema: VideoSchema) -> dict[str, NDArray[Any]]:
    """The mean frame in [-1, 1] and the mean change from frame to frame, each averaged over areas to 12 x 12."""
    vectors = [_summary(video) for video in batch.inputs[0]]
    return {"vector": torch.stack(vectors).cpu().numpy()}


def _summary(video: Tensor) -> Tensor:
    """(windows, S, C, H, W) or (T, C, H, W) -> one vector."""
    frames = video.float().div_(127.5)
    still = frames.flatten(0, -4).mean(0) - 1
    steps = frames.diff(dim=-4).abs().flatten(0, -4)
    moved = steps.mean(0) if len(steps) else torch.zeros_like(still)
    H, W = still.shape[-2:]
    area = (min(H, LINEAR_PX), min(W, LINEAR_PX))
    return torch.nn.functional.adaptive_avg_pool2d(torch.cat([still, moved]), area).flatten()


def usual_settings(schema: VideoSchema, takes: str, rows: int) -> dict[str, Any]:
    """Clips cost as much as all their frames, so fewer are seen; single frames are trained on a few of each video."""
    if takes == "clip":
        return {"train.batch_size": 16, "train.epochs": max(10, min(40, 20_000 // rows))}
    return {"augment.frames": min(TRAINED_FRAMES, schema.clip_frames), "train.batch_size": 16 if rows < 2000 else 32}
