"""What a network of sounds remembers of its data."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.data.schema import Target

NAME = "audio"


@dataclass(frozen=True, kw_only=True)
class AudioSchema:
    """How recordings become tensors and outputs become answers. Hz, seconds and dB of full scale throughout."""

    kind: str = NAME
    target: Target | None
    sample_rate_hz: int  # every recording is brought to it
    clip_samples: int  # of the window that goes through the network at once
    pieces: int  # windows of a recording in evaluation, spread evenly
    mels: int  # bands of the spectrogram
    n_fft: int  # samples of a Fourier transform, the window and zeros around it
    window_samples: int
    hop_samples: int  # from one frame of the spectrogram to the next
    f_min_hz: float
    f_max_hz: float
    floor_db: float  # quieter is taken to be this
    mean_db: float  # of the train split's bands above the floor
    std_db: float
    level: float  # root mean square of the train split's samples, full scale is 1
    subsample: int = 1  # frames that a network of transcripts joins to one, so that texts still fit
    notes: tuple[str, ...] = ()  # what was decided, and why

    @property
    def clip_s(self) -> float:
        """Seconds of a window."""
        return self.clip_samples / self.sample_rate_hz

    @property
    def frames(self) -> int:
        """Columns of the spectrogram of a window."""
        return 1 + self.clip_samples // self.hop_samples
