"""The contract of a data kind. Each kind is one module in this folder that has these names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data.config import DataConfig
from chainrule.data.samples import Batch, Records, Samples
from chainrule.data.schema import Target
from chainrule.data.sources import Source


class Schema(Protocol):
    """Everything needed to turn raw input into tensors and outputs into answers; a frozen dataclass, JSON on disk."""

    @property
    def kind(self) -> str:
        """The data kind's name."""

    @property
    def target(self) -> Target | None:
        """What is to be answered."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided that a person may want otherwise, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the audit noticed."""

    level: str  # "note", "warning" or "error"
    text: str
    where: tuple[str, ...] = ()  # ids or columns, the first few


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample as a person sees it: named values, or pixels (H, W, 3) uint8."""

    values: dict[str, str] = field(default_factory=dict)
    image: NDArray[np.uint8] | None = None


class DataKind(Protocol):
    """Reads one kind of data. Knows nothing of models, tasks and training."""

    NAME: str
    GIVES: tuple[str, ...]  # forms of input that the front can make for a network, the usual one first (see front)
    AUGMENT: type | None  # the frozen config of ``augment``; None for kinds that are not augmented

    def recognises(self, source: Source) -> str | None:
        """Why this source is of this kind, in words ("CSV with 12 columns"), or None."""

    def read(self, source: Source, options: DataConfig) -> dict[str, Records]:
        """The records: {"all": ...}, or "train", "valid", "test" where one file or folder holds them (npz, idx).

        Where ``source.parts`` is filled, the caller reads each part on its own and a part answers {"all": ...}.

        Raises:
            InputError: the source is broken; names the file, the row and the fix.
        """

    def target_of(self, records: Any) -> str:
        """The ``options.target`` that these records were read with or that was found; "" where a kind names none."""

    def read_inputs(self, inputs: Sequence[Any], schema: Any) -> Records:
        """Records for prediction: paths, frames or arrays matched to the schema by name; a target is not needed."""

    def findings(self, records: Any) -> list[Finding]:
        """What is wrong inside these records: missing, non-finite, skipped, constant, ..."""

    def learn_schema(self, train: Any, options: DataConfig) -> Any:
        """The schema, learned on the train split only. Decides the target by ``options.task`` or from its values."""

    def load_schema(self, data: Mapping[str, Any]) -> Any:
        """The schema back from JSON; unknown keys are refused."""

    def encode(self, records: Any, schema: Any) -> Samples:
        """Tensors. Labels the schema does not know are an InputError that lists the known ones."""

    def mismatches(self, records: Any, schema: Any) -> list[Finding]:
        """How records differ from what the schema learned: extra columns, unseen words, renamed labels."""

    def aligned(self, records: Any, schema: Any) -> Any:
        """The records with their labels spelt as the schema spells them; themselves where nothing differs."""

    def columns(self, records: Any, schema: Any) -> dict[str, NDArray[Any]]:
        """Single columns in which the target might hide, by name; empty for kinds that have none."""

    def classical(self, batch: Batch, schema: Any) -> dict[str, NDArray[Any]]:
        """What classical models see of a batch: "vector" (B F), "numbers" (B A), "codes" (B C); any may be missing."""

    def sizes(self, schema: Any, takes: str) -> dict[str, Any]:
        """The model-config fields that the data decides, such as in_features, for a model that takes this."""

    def input_names(self, schema: Any, takes: str) -> list[str]:
        """A name for each feature the front gives; empty where features have none (pixels)."""

    def front(self, schema: Any, takes: str) -> nn.Module:
        """The module saved with the network: from a batch's inputs to the tuple that the network is called with.

        ``takes`` is the form that the network wants: "vector" (B F), "columns" (numbers, encoded, codes), "signal"
        (B C T), "image" (B C H W: pictures, spectrograms, frames) or "clip" (B C T H W). Where ``pieces`` is above 1,
        every tensor has the pieces as its second axis, (B P ...), in training as well (P may then be smaller).
        """

    def pieces(self, schema: Any, takes: str) -> int:
        """Into how many parts (frames, windows) a sample is cut up in evaluation, their outputs averaged; 1: whole."""

    def usual_settings(self, schema: Any, takes: str, rows: int) -> dict[str, Any]:
        """Settings that this data asks for in this form, whatever the network; those of a person win."""

    def augment(self, batch: Batch, generator: torch.Generator, config: Any) -> Batch:
        """The whole batch, augmented on its device with draws from ``generator`` only."""

    def show(self, records: Any, row: int) -> Shown:
        """One record for the report."""

    def picture(self, batch: Batch, row: int, schema: Any) -> NDArray[np.uint8] | None:
        """One row of an encoded, perhaps augmented batch as a picture (H, W, 3); None where there is nothing to see."""
