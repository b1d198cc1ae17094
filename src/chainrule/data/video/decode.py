"""The one video decoder: every verb reads a video file through here.

A file becomes frames that lie evenly in time, upright, 8 bits, shrunk. Its packets are read once without decoding, for
the presentation times; then it is decoded once, and only frames that are kept are converted. Frames are told apart by
time, not by number, so a changing frame rate does no harm.
"""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.image.decode import resize
from chainrule.data.image.records import NEAR_HASH_PX, perceptual_hash
from chainrule.data.threads import stream_in_threads
from chainrule.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# One file each, nothing that names other files or addresses (HLS, DASH, concat, SDP, image sequences).
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf,flv,ogg,gif"
MAX_WINDOWS = 10  # of one video; as many as Wang et al. 2018, arXiv:1711.07971, section 4.1, average over
STORED_PER_FRAME = 2  # frames kept for each one that a clip shows, so that training can choose
DAY_S = 86_400.0  # a longer video has broken timestamps
LONE_GAP = 0.9  # share of the time in a single gap between many frames from which timestamps count as broken
MANY = 10  # frames from which one gap may not hold nearly all of the time
UNEVEN = 1.5  # a gap that many times longer or shorter than usual makes a frame rate variable
USUAL_RATE_HZ = 25.0  # of a video that tells neither times nor a rate
BROKEN_FRAMES = "broken frames"
GREY = 2  # levels by which the channels of a compressed grey video differ at most
CHUNK = 1 << 20

Frames = NDArray[np.uint8]  # (windows, stored frames, H, W, C) with C = 1 or 3


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames are kept of a video, at which size, and what it may cost."""

    clip_frames: int  # T: frames that the network sees of a clip
    clip_s: float  # seconds of a clip; 0: the whole video
    working_px: int  # the longer side that larger frames are shrunk to
    max_pixels: int  # of one frame
    limit_s: float  # for one file

    @property
    def stored(self) -> int:
        """Frames kept of each window."""
        return STORED_PER_FRAME * self.clip_frames


@dataclass(frozen=True, slots=True)
class Decoded:
    """A video's content; no frames where it could not be read."""

    frames: Frames | None
    digest: str = ""  # sha256 of the file's bytes; "" for arrays
    content: bytes = b""  # 16 bytes over the kept frames
    near: int | None = None  # the perceptual hash of the middle frame; None where frames are too small for one
    remarks: tuple[str, ...] = ()  # what was unusual, or why there are no frames


class Unreadable(Exception):
    """Why a video file gives no frames."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment from which decoding a file took too long."""

    limit_s: float
    end: float

    @staticmethod
    def after(limit_s: float) -> Deadline:
        """So many seconds from now."""
        return Deadline(limit_s, time.monotonic() + limit_s)

    def check(self) -> None:
        """Raise Unreadable where the time is up."""
        if time.monotonic() > self.end:
            raise Unreadable(f"not decoded within data.decode_limit_s={self.limit_s:g} seconds")


@dataclass(frozen=True, slots=True)
class Timeline:
    """When a video's frames are shown, from its packets."""

    start: float  # in ticks of the stream's clock, or in frames where they are counted
    span: float
    seconds: float
    counted: bool  # frames are counted because the timestamps are absent or broken
    keyframes_only: bool  # keyframes lie so densely that decoding them is enough
    remarks: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """How reading a file went."""

    fed: int = 0  # packets given to the decoder
    bad: int = 0  # packets and frames that it refused
    cut: bool = False  # reading stopped before the end of the file


def require_av() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"videos are read with PyAV, which cannot be loaded ({error}): pip install chainrule[video]"
        ) from None
    return av


def decode_files(paths: Sequence[Path], sampling: Sampling) -> Generator[Decoded, None, None]:
    """Each file in order, some at once; bad ones carry their reason."""
    require_av()
    yield from stream_in_threads(lambda path: decode_file(path, sampling), paths)


def decode_file(path: Path, sampling: Sampling) -> Decoded:
    """One file; a bad one carries its reason."""
    deadline = Deadline.after(sampling.limit_s)
    digest = ""
    try:
        digest = _digest(path, deadline)
        frames, remarks = _decode(path, sampling, deadline)
    except Unreadable as reason:
        return Decoded(None, digest, remarks=(str(reason),))
    except Exception as error:  # decoders meet broken bytes with nearly any exception
        return Decoded(None, digest, remarks=(f"broken or truncated ({error or type(error).__name__})",))
    return described(frames, digest, remarks)


def described(frames: Frames, digest: str = "", remarks: tuple[str, ...] = ()) -> Decoded:
    """Kept frames with the hashes that tell equal and similar videos."""
    content = blake2b(str(frames.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(frames).data)
    middle = frames[len(frames) // 2, frames.shape[1] // 2]
    near = perceptual_hash(middle) if min(middle.shape[:2]) >= NEAR_HASH_PX else None
    return Decoded(frames, digest, content.digest(), near, remarks)


def kept_of_array(video: NDArray[Any], sampling: Sampling) -> Frames:
    """Frames (1, S, H, W, C) of a video (T, H, W, C) in memory, which has no timestamps: evenly by number, shrunk."""
    places = np.arange(sampling.stored) * len(video) // sampling.stored
    size = _shrunk(video.shape[2], video.shape[1], sampling.working_px)
    distinct = {int(place): resize(np.ascontiguousarray(video[place]), size) for place in np.unique(places)}
    return np.stack([distinct[int(place)] for place in places])[None]


def _digest(path: Path, deadline: Deadline) -> str:
    """SHA-256 of the file's bytes.

    Raises:
        Unreadable: no regular file (a pipe would never end), or an empty one.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise Unreadable(f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(state.st_mode):
        raise Unreadable("not a file")
    if state.st_size == 0:
        raise Unreadable("empty file (0 bytes)")
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            deadline.check()
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, sampling: Sampling, deadline: Deadline) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first stream of moving pictures, on one thread: files are decoded side by side.

    Raises:
        Unreadable: no video, no moving pictures, no decoder, or frames that are too large.
    """
    av = require_av()
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), options=options, timeout=sampling.limit_s)
    except (av.error.InvalidDataError, av.error.ArgumentError):
        with path.open("rb") as file:
            raise Unreadable(f"not a video, or cut off at its start: it begins with {file.read(8)!r}") from None
    with container:
        deadline.check()
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise Unreadable(f"no video stream, it holds {held}")
        stream = streams[0]
        codec = stream.codec_context
        if codec is None:
            raise Unreadable("no decoder for its codec; convert it to H.264, for example with ffmpeg")
        if codec.width * codec.height > sampling.max_pixels:
            raise Unreadable(
                f"{codec.width} x {codec.height} pixels, more than data.max_pixels={sampling.max_pixels:,}"
            )
        codec.thread_count = 1
        codec.options = {"max_pixels": str(sampling.max_pixels)}
        yield container, stream


def _packets(
    container: InputContainer, stream: VideoStream, deadline: Deadline, tally: Tally
) -> Iterator[Packet[VideoStream]]:
    """The stream's packets, an empty one last unless the file is cut."""
    av = require_av()
    packets = container.demux(stream)
    while True:
        deadline.check()
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.ExitError:
            raise Unreadable(f"not read within data.decode_limit_s={deadline.limit_s:g} seconds") from None
        except av.error.FFmpegError:
            tally.cut = True
            return
        yield packet


def _timeline(container: InputContainer, stream: VideoStream, sampling: Sampling, deadline: Deadline) -> Timeline:
    """The times of all packets, without decoding any.

    Raises:
        Unreadable: there is no packet, or less than half of those that the file's index promises.
    """
    tally, times, keys, duration, seen = Tally(), list[int | None](), list[int | None](), 0, 0
    for packet in _packets(container, stream, deadline, tally):
        seen += packet.size > 0
        if packet.size and not packet.is_discard:
            times.append(packet.dts if packet.pts is None else packet.pts)
            duration = packet.duration or duration
            if packet.is_keyframe:
                keys.append(times[-1])
    if not times:
        raise Unreadable("holds no frames")
    promised = stream.frames if "mp4" in container.format.name else 0  # by the index; other headers often guess
    if 2 * seen < promised:
        raise Unreadable(f"truncated: {seen} of {promised} frames are there")
    remarks = ["truncated: its last frames are missing"] if tally.cut or seen < promised else []
    ticks = _distinct(times)
    gaps = np.diff(ticks)
    step = float(np.median(gaps)) if len(gaps) else float(duration or 1)
    tick_s = float(stream.time_base or 0)
    steady = container.format.name == "avi"  # has no times, only an order, in which decoders may reorder
    if steady or _broken(ticks, len(times), tick_s):
        rate = float(stream.average_rate or USUAL_RATE_HZ)
        remarks += [] if steady else ["timestamps absent or broken: frames are counted instead"]
        return Timeline(0.0, len(times), len(times) / rate, True, False, tuple(remarks))
    if len(gaps) and (gaps.max() > UNEVEN * step or UNEVEN * gaps.min() < step):
        remarks.append("variable frame rate: frames are taken evenly in time")
    span = float(ticks[-1] - ticks[0]) + step
    return Timeline(
        float(ticks[0]), span, span * tick_s, False, _dense(_distinct(keys), ticks, span, sampling), tuple(remarks)
    )


def _distinct(times: Sequence[int | None]) -> NDArray[np.float64]:
    """The known times, ascending."""
    return np.unique(np.array([tick for tick in times if tick is not None], dtype=np.float64))


def _broken(ticks: NDArray[np.float64], packets: int, tick_s: float) -> bool:
    """Whether timestamps tell nothing: mostly absent or equal, over a day, or nearly all time in one of many gaps."""
    if not tick_s or 2 * len(ticks) < packets:
        return True
    span = float(ticks[-1] - ticks[0])
    lone = len(ticks) >= MANY and float(np.diff(ticks).max()) > LONE_GAP * span
    return lone or span * tick_s > DAY_S


def _dense(keys: NDArray[np.float64], ticks: NDArray[np.float64], span: float, sampling: Sampling) -> bool:
    """Whether keyframes lie so densely that the last one is never further away than half a stored frame's time.

    A long video is then decoded many times faster.
    """
    if not len(keys) or keys[0] > ticks[0] or len(keys) == len(ticks) or sampling.clip_s:
        return False
    return float(np.diff(np.append(keys, ticks[0] + span)).max()) < span / sampling.stored / 2


def _moments(timeline: Timeline, sampling: Sampling) -> NDArray[np.float64]:
    """(windows, S): when frames are kept, in ticks from the start, each window in equal steps from its own start.

    Windows lie evenly, as many as fill the video, at most ten; a video shorter than a window is one.
    """
    windows, length = 1, timeline.span
    if 0 < sampling.clip_s < timeline.seconds:
        windows = min(MAX_WINDOWS, math.ceil(timeline.seconds / sampling.clip_s))
        length = timeline.span * sampling.clip_s / timeline.seconds
    starts = np.linspace(0, timeline.span - length, windows)
    steps = (np.arange(sampling.stored) + 1e-6) / sampling.stored  # a frame counts from its very first moment on
    return np.asarray(starts[:, None] + length * steps)


def _decode(path: Path, sampling: Sampling, deadline: Deadline) -> tuple[Frames, tuple[str, ...]]:
    """The kept frames of a file, and what was unusual."""
    with _opened(path, sampling, deadline) as (container, stream):
        timeline = _timeline(container, stream, sampling, deadline)
    moments = _moments(timeline, sampling)
    order = np.argsort(moments, axis=None, kind="stable")  # windows may overlap
    tally, distinct, repeats, turned = Tally(), [], [], 0
    with _opened(path, sampling, deadline) as (container, stream):
        if timeline.keyframes_only:
            stream.codec_context.skip_frame = "NONKEY"
        shrink = _shrinker(float(stream.sample_aspect_ratio or 1), sampling.working_px)
        frames = _frames(container, stream, timeline, deadline, tally)
        for frame, times in _shown(frames, moments.ravel()[order]):
            distinct.append(shrink(frame))
            repeats.append(times)
            turned = frame.rotation
    if not distinct or 2 * tally.bad > tally.fed:
        raise Unreadable(f"broken: {tally.fed - tally.bad} of {tally.fed} frames can be decoded")
    pixels = _without_false_colour(np.stack(distinct))
    kept = np.empty((moments.size, *pixels.shape[1:]), dtype=np.uint8)
    kept[order] = np.repeat(pixels, repeats, axis=0)
    upright = np.rot90(kept.reshape(*moments.shape, *pixels.shape[1:]), round(turned / 90), axes=(2, 3))
    remarks = [*timeline.remarks]
    remarks += ["rotated as the file says"] if round(turned / 90) % 4 else []
    remarks += [f"{BROKEN_FRAMES}: left out"] if tally.bad else []
    return np.ascontiguousarray(upright), tuple(remarks)


def _frames(
    container: InputContainer, stream: VideoStream, timeline: Timeline, deadline: Deadline, tally: Tally
) -> Iterator[tuple[float, VideoFrame]]:
    """Every whole frame in order of presentation, and when it appears, in ticks from the start."""
    number, moment = 0, 0.0
    for frame in _decoded_frames(container, stream, deadline, tally):
        deadline.check()
        if frame.is_corrupt:
            tally.bad += 1
            continue
        known = not timeline.counted and frame.pts is not None
        moment = max(moment, float(frame.pts or 0) - timeline.start) if known else float(number + tally.bad)
        number += 1
        yield moment, frame


def _decoded_frames(
    container: InputContainer, stream: VideoStream, deadline: Deadline, tally: Tally
) -> Iterator[VideoFrame]:
    """What the decoder makes of the packets; those that it refuses are counted."""
    av = require_av()
    for packet in _packets(container, stream, deadline, tally):
        tally.fed += packet.size > 0
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            tally.bad += 1
    if tally.cut:
        yield from stream.codec_context.decode(None)


def _shown(
    frames: Iterator[tuple[float, VideoFrame]], moments: NDArray[np.float64]
) -> Iterator[tuple[VideoFrame, int]]:
    """Each frame that is on the screen at some of the ascending moments, and at how many; all moments are covered."""
    place, held = 0, None
    for appears, frame in frames:
        if held is not None:
            end = int(np.searchsorted(moments, appears, side="left"))
            if end > place:
                yield held, end - place
                place = end
            if place == len(moments):
                return
        held = frame
    if held is not None:
        yield held, len(moments) - place


def _shrinker(pixel_aspect: float, working_px: int) -> Callable[[VideoFrame], NDArray[np.uint8]]:
    """A function from a frame to RGB pixels (H, W, 3) with square pixels, all of the size that the first one gets."""
    from av.video.reformatter import VideoReformatter

    reformatter, size = VideoReformatter(), list[int]()

    def shrink(frame: VideoFrame) -> NDArray[np.uint8]:
        if not size:
            size.extend(_shrunk(frame.width * pixel_aspect, frame.height, working_px))
        small = reformatter.reformat(frame, size[1], size[0], "rgb24", interpolation="BILINEAR", threads=1)
        return np.asarray(small.to_ndarray(), dtype=np.uint8)

    return shrink


def _shrunk(width: float, height: float, working_px: int) -> tuple[int, int]:
    """(H, W) whose longer side is at most ``working_px``, in the same proportions."""
    scale = min(1.0, working_px / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _without_false_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) as one channel where all three are nearly equal everywhere."""
    for look in (pixels[:, ::8, ::8], pixels):  # most coloured videos show it in a few pixels
        if int(np.ptp(look, axis=-1).max()) > GREY:
            return pixels
    return np.ascontiguousarray(pixels[..., 1:2])
