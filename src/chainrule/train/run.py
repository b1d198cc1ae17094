"""A run is a folder: recipe, schema, environment, events, checkpoints, best weights, scores. One writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from torch import Tensor

from chainrule.errors import InputError
from chainrule.train.checkpoint import (
    Checkpoint,
    load_newest,
    read_tensors,
    replace_tensors,
    replace_text,
    save_checkpoint,
)

STARTING = ("data.json", "environment.json", "schema.json")  # written before recipe.json makes a folder a run


class Run:
    """The folder of one training, and the request to stop it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stop_signal = 0  # the signal number that asked to stop; 0: nobody asked
        self.stopping = False
        self.out_of_time = False  # the clock ended the run before its planned steps
        self.notes: list[str] = []  # what a person must hear: damaged checkpoints, failed saves
        self.saves = 0
        self.counters: dict[str, Any] = {}  # step, seconds, ... of the newest checkpoint
        self.failed_saves = 0
        self._lock: IO[str] | None = None
        self._events: IO[str] | None = None

    @classmethod
    def create(cls, path: Path) -> Run:
        """A new run in ``path``, which is absent or empty, or holds what a start that was killed left behind.

        Raises:
            InputError: something is there already, or the folder cannot be made.
        """
        if path.exists() and (not path.is_dir() or any(_is_kept(file.name) for file in path.iterdir())):
            raise InputError(f"{path} is not empty; choose another --out, or continue it with: chainrule resume {path}")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run folder {path}: {error.strerror}; choose another --out") from error
        run = cls(path)
        run.lock()
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run.

        Raises:
            InputError: there is no run in ``path``.
        """
        if not (path / "recipe.json").is_file():
            raise InputError(f"{path} is not a run folder (no recipe.json in it); give the folder that fit made")
        return cls(path)

    def lock(self) -> None:
        """Become the run's one writer until the process ends.

        Raises:
            InputError: another process writes to this run.
        """
        file = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise InputError(
                f"{self.path} is being written by process {holder}; wait for it or choose another --out"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def close(self) -> None:
        """Release the lock and the event file."""
        for file in (self._lock, self._events):
            if file is not None:
                file.close()
        self._lock = self._events = None

    def request_stop(self, signum: int = 0) -> None:
        """Ask the loop to finish its step, save and end."""
        self.stopping = True
        self.stop_signal = signum

    def write(self, name: str, data: Any) -> None:
        """A JSON file of the run, replaced as a whole."""
        replace_text(self.path / name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """A text file of the run, replaced as a whole."""
        replace_text(self.path / name, text)

    def read(self, name: str) -> Any:
        """A JSON file of the run.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise ValueError(f"expected an object, got {type(data).__name__}")
            return data
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path / name} cannot be read ({error}); the run folder is incomplete") from error

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one line to events.jsonl."""
        if self._events is None:
            self._events = (self.path / "events.jsonl").open("a", encoding="utf-8")
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()

    def events(self) -> list[dict[str, Any]]:
        """The whole lines of events.jsonl."""
        path = self.path / "events.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def forget_after(self, step: int) -> None:
        """Drop events of steps that a resumed run is about to repeat."""
        if (self.path / "events.jsonl").exists():
            kept = [event for event in self.events() if event.get("step", 0) <= step]
            replace_text(self.path / "events.jsonl", "".join(json.dumps(event) + "\n" for event in kept))

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
        """A checkpoint; a full disk is noted and the run goes on with the older one."""
        self.counters = {"step": step, **state}
        try:
            save_checkpoint(self.path / "checkpoints", step, tensors, state)
            self.saves += 1
        except OSError as error:
            self.failed_saves += 1
            self.notes.append(f"could not save step {step}: {error.strerror or error}; the older checkpoint is intact")

    def restore(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None on a fresh run."""
        checkpoint, notes = load_newest(self.path / "checkpoints")
        self.notes += notes
        if checkpoint is not None:
            self.counters = {"step": checkpoint.step, **checkpoint.state}
        return checkpoint

    def save_best(self, tensors: Mapping[str, Tensor]) -> None:
        """The best weights, as model.safetensors: with schema.json all that predicting needs."""
        try:
            replace_tensors(self.path / "model.safetensors", tensors)
        except OSError as error:
            self.failed_saves += 1
            self.notes.append(f"could not save the best weights: {error.strerror or error}")

    def load_best(self) -> dict[str, Tensor]:
        """The best weights.

        Raises:
            InputError: the run has none yet, or the file is damaged.
        """
        path = self.path / "model.safetensors"
        if not path.is_file():
            raise InputError(f"{self.path} has no trained weights yet; continue it with: chainrule resume {self.path}")
        return read_tensors(path)


def _is_kept(name: str) -> bool:
    """Whether a file says that a folder is taken: not hidden, not what a start writes before there is a run."""
    return not name.startswith(".") and name not in STARTING


@contextmanager
def stoppable(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM ask the run to stop after its step; the second one leaves at once, the disk stays valid."""

    def handle(signum: int, frame: FrameType | None) -> None:
        if run.stopping:
            os._exit(128 + signum)
        run.request_stop(signum)
        sys.stderr.write("\nstopping after this step and saving; press again to leave at once\n")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
