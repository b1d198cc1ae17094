"""Settings of the data room: where a run's data comes from and how it is divided."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.errors import InputError

TOKENIZERS = ("", "words", "bpe", "characters")
SLICES = ("each", "volume")
ALIGNMENTS = ("", "eyes", "whole", "centre")
UNLABELLED = ("reconstruct", "embed")  # tasks that need no labels
MOST_LEVEL = 65_535  # of a 16-bit mask


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to read and how to divide it; empty words mean "find it out and say so"."""

    kind: str = ""  # table, image, ...; "" recognises it
    valid: str = ""
    test: str = ""
    target: str = ""  # a column's name, or its index as text, -1 the last
    task: str = ""
    group: str = ""  # a column, or a regular expression over file names whose first group is the group
    time: str = ""  # a column to split by: oldest rows train, newest test
    drop: tuple[str, ...] = ()  # columns to leave out
    split_seed: int = 0
    valid_share: float = 0.15
    test_share: float = 0.15
    remove_duplicates: bool = True  # rows of valid and test that also stand in train
    image_size: int = 0  # pixels of the longer side; 0: found from the train split
    channels: int = 0  # 1: pictures are seen in grey, 3: in colour; 0: found from the train split
    mean: tuple[float, ...] = ()  # of each channel, from 0 to 1, that becomes 0; (): found from the train split
    std: tuple[float, ...] = ()  # of each channel, that becomes 1; with mean
    align: str = ""  # of faces: eyes, whole (both by a detector) or centre (the middle of each photo); "": found
    slices: str = "each"  # each: a page of a TIFF volume is one image; volume: all of them are one
    patch: tuple[int, ...] = ()  # pixels of what training cuts out of an image, one number for a square; (): found
    background: str = ""  # the class of a mask's pixels that is no object, by name or level; none: all count; "": found
    ignore: tuple[str, ...] = ()  # names or levels of a mask's pixels whose answer is not known
    threshold: int = 0  # mask levels from this on are the object; 0: each level is a class
    sample_rate_hz: int = 0  # sound is resampled to this; 0: found from the train split
    clip_s: float = 0.0  # seconds of a sound or video that go through the network at once; 0: found
    clip_frames: int = 16  # frames of a clip, spread evenly over its seconds
    mels: int = 0  # bands of the spectrogram that sound is seen as; 0: 64, or 32 up to 10,000 Hz
    source: str = ""  # of parallel text: the column or the file ending of what is translated
    tokenizer: str = ""  # words, bpe or characters; "": found
    vocab_size: int = 0  # tokens at most; 0: found
    max_tokens: int = 0  # longer texts are cut; 0: found
    labels: str = ""  # what stands between several labels in one cell; "": each row has one
    window: int = 0  # tokens or moments that a network sees at once; 0: found
    horizon: int = 0  # steps of a series that are forecast; 0: found
    series: str = ""  # the column that names the series where a table holds several
    known: tuple[str, ...] = ()  # columns of a series that are known ahead, such as holidays
    frequency: str = ""  # what an irregular series is resampled to: 1h, 1d, 1mo
    end: str = ""  # the date from which on a series is left out, such as 2018-02-21
    normal: tuple[str, ...] = ()  # of reconstruction: classes that are normal, all that is trained on; (): every row
    polluted: float = 0.0  # share of the normal rows to train on that is made of anomalies, to see what that costs
    decode_limit_s: float = 60.0  # a sound or video that takes longer to decode is skipped
    max_pixels: int = 100_000_000  # larger images are refused as decompression bombs
    max_bad_share: float = 0.05  # more unreadable files than this stop the run
    memory_mb: int = 0  # of decoded data kept in memory, the rest in TMPDIR; 0: a quarter of what is free
    accept_data_change: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.valid_share + self.test_share < 1 or min(self.valid_share, self.test_share) < 0:
            raise InputError(
                f"data.valid_share and data.test_share must be shares whose sum is between 0 and 1, "
                f"got {self.valid_share} and {self.test_share}"
            )
        if self.channels not in (0, 1, 3):
            raise InputError(f"data.channels must be 1 (grey), 3 (colour) or 0 (found), got {self.channels}")
        if len(self.mean) != len(self.std) or any(std <= 0 for std in self.std):
            raise InputError(
                "data.mean and data.std go together, a number for each channel, std above 0; "
                f"got {self.mean} and {self.std}"
            )
        if self.align not in ALIGNMENTS:
            raise InputError(f"data.align must be {' or '.join(ALIGNMENTS[1:])}, got {self.align!r}")
        if self.slices not in SLICES:
            raise InputError(f"data.slices must be {' or '.join(SLICES)}, got {self.slices!r}")
        if any(side < 1 for side in self.patch) or len(self.patch) > 3:
            raise InputError(f"data.patch is one to three numbers of pixels, 1 or more each, got {self.patch}")
        if not 0 <= self.threshold <= MOST_LEVEL:
            raise InputError(f"data.threshold must be a mask level from 1 to {MOST_LEVEL}, or 0, got {self.threshold}")
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"data.tokenizer must be {', '.join(TOKENIZERS[1:])}, got {self.tokenizer!r}")
        for name in ("vocab_size", "max_tokens", "window", "horizon"):
            if getattr(self, name) < 0:
                raise InputError(f"data.{name} must be 0 (found) or more, got {getattr(self, name)}")
        if (self.normal or self.polluted) and self.task != "reconstruct":
            raise InputError("data.normal and data.polluted are for anomalies: give --task reconstruct as well")
        if not 0 <= self.polluted < 0.5 or (self.polluted and not self.normal):
            raise InputError(
                f"data.polluted is a share from 0 to below 0.5 of the rows of data.normal, got {self.polluted} with "
                f"normal {self.normal}"
            )
        if self.memory_mb < 0:
            raise InputError(f"data.memory_mb must be 0 (a quarter of what is free) or more, got {self.memory_mb}")


def checked_horizon(horizon: int | None) -> int | None:
    """The horizon that somebody gave. Raises InputError below 1."""
    if horizon is not None and horizon < 1:
        raise InputError(f"--horizon must be 1 or more steps, got {horizon}; leave it out to have it found")
    return horizon
