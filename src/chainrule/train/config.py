"""Settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16")
CHOICES = ("auto", "on", "off")
FORMATS = (*CHOICES, "shallow")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in which portions and in which arithmetic. "auto" is resolved before the run and written down."""

    epochs: int = 10
    steps: int = 0  # optimizer steps in all; 0: epochs x iterations per epoch
    batch_size: int = 128
    micro_batch: int = 0  # rows that go through the network at once; 0: the whole batch
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    channels_last: str = "auto"
    compile: str = "auto"
    threads: int = 0  # 0: the CPU quota of this machine or container
    save_every: int = 0  # steps; 0: by the clock, at most every 20 seconds
    eval_every: int = 0  # steps; 0: once an epoch
    patience: int = 0  # evaluations without a better value before an early stop; 0: none
    average: float = 0.0  # decay of the averaged weights; 0: none
    max_grad_norm: float = 0.0  # gradients are scaled down to this norm; 0: not
    retries: int = 0  # times a non-finite step halves the learning rate instead of stopping
    time_limit: float = 0.0  # seconds of training with its validation; 0: none

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "steps",
            "micro_batch",
            "threads",
            "save_every",
            "eval_every",
            "patience",
            "retries",
            "max_grad_norm",
        ):
            if getattr(self, name) < 0:
                raise InputError(f"train.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise InputError(f"train.average is a decay from 0 (off) to below 1, got {self.average}")
        if self.precision not in PRECISIONS:
            raise InputError(f"train.precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name, choices in (("compile", CHOICES), ("channels_last", FORMATS)):
            if getattr(self, name) not in choices:
                raise InputError(f"train.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
