"""Transcription: what is said in a recording, letter by letter, learned without knowing when each letter is said.

Source: connectionist temporal classification, Graves, Fernandez, Gomez, Schmidhuber 2006; see ``functional/ctc.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import TranscriptTarget
from chainrule.data.transcripts import padded, written
from chainrule.errors import InputError, nearest
from chainrule.functional.ctc import BLANK, beam_search, best_path, ctc_nats
from chainrule.functional.edit_distance import edit_distance, transcript_scorer, transcript_scores
from chainrule.functional.metrics import Scorer
from chainrule.tasks.task import At, Headline, Loss, Rows, Term

MONITORS: dict[str, Literal["min", "max"]] = {"cer": "min", "wer": "min", "nats": "min", "exact": "max"}
LEAST = 1e-4  # probability of a frame's class from which the beam follows it
MOST_BEAM = 1000
COLUMNS = ("character_errors", "characters", "word_errors", "words", "nats")

Classes = Sequence[int]
Decode = Callable[[Tensor, Tensor], Sequence[Classes]]  # log probabilities (B T K), frames of each row -> texts


@dataclass(frozen=True, kw_only=True)
class TranscribeConfig:
    """How texts are chosen and searched for."""

    monitor: str = "cer"
    beam: int = 16  # prefixes that the final scores and predictions follow; 1: the best path, as while learning

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise InputError(f"task.monitor is {self.monitor!r}; {nearest(self.monitor, tuple(MONITORS))}")
        if not 1 <= self.beam <= MOST_BEAM:
            raise InputError(f"task.beam is a number of prefixes from 1 to {MOST_BEAM}, got {self.beam}")


class Transcribe:
    """Logits (B T K) for every frame and frames (B,) of each row against classes of characters (B S).

    Class 0 is the blank, in the targets what fills up a row; -1 is a character that was not learned.
    """

    name = "transcribe"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("cer", "min")

    def __init__(self, config: TranscribeConfig, target: TranscriptTarget) -> None:
        self.config = config
        self.target = target
        self.monitor = (config.monitor, MONITORS[config.monitor])

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network itself: it gives the logits of each frame, and how many frames each row has."""
        return network

    def counts(self, batch: Batch) -> dict[str, float]:
        """Characters, one at least of each text."""
        assert batch.targets is not None
        return {"loss": float((batch.targets != BLANK).sum(1).clamp(min=1).sum())}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed -log p(text); texts that are longer than their recordings allow teach nothing."""
        assert batch.targets is not None
        log_probs, frames = self.log_probs(network, batch)
        nats = ctc_nats(log_probs, frames, batch.targets)
        return (Term("loss", nats.masked_fill(nats.isinf(), 0).sum()),)

    def log_probs(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B T K) in float32 or better, and the frames of each row."""
        logits, frames = network(*batch.inputs)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return torch.log_softmax(exact, dim=-1), frames

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Errors of the best path in characters and words, how many there are, and -log p(text)."""
        return self._measured(network, batch, best_path)

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """The same of the beam's text."""
        return self._measured(network, batch, self.decode)

    def _measured(self, network: nn.Module, batch: Batch, decode: Decode) -> dict[str, Tensor]:
        assert batch.targets is not None
        log_probs, frames = self.log_probs(network, batch)
        answers = [written(text, self.target) for text in decode(log_probs, frames)]
        truths = [written(text, self.target) for text in batch.targets.tolist()]
        counts = torch.tensor([_errors(answer, truth) for answer, truth in zip(answers, truths, strict=True)])
        nats = ctc_nats(log_probs, frames, _known(batch.targets)).double()
        return dict(zip(COLUMNS, (*counts.unbind(1), nats), strict=True))

    def decode(self, log_probs: Tensor, frames: Tensor) -> Sequence[Classes]:
        """The likeliest text of each row that the beam finds."""
        if self.config.beam == 1:
            return best_path(log_probs, frames)
        rows = log_probs.cpu().numpy()
        found = (
            beam_search(row[:length], self.config.beam, LEAST)
            for row, length in zip(rows, frames.tolist(), strict=True)
        )
        return [hypotheses[0].text for hypotheses in found]

    def score(self, rows: Rows) -> dict[str, float]:
        """cer and wer (edits per true character and word), exact (share of texts without an error), and nats."""
        scores = transcript_scores(*(rows[name] for name in COLUMNS))
        return {name: float(score) for name, score in scores.items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        return transcript_scorer(*(rows[name] for name in COLUMNS))

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Classes of characters, as they are."""
        return targets

    def outputs(self) -> list[str]:
        """The blank and the characters."""
        return ["(blank)", *self.target.characters]

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "prediction" (the text) and "probability" (the network's, that exactly this text is said)."""
        log_probs, frames = self.log_probs(network, batch)
        texts = self.decode(log_probs, frames)
        classes = padded([torch.tensor(text, dtype=torch.int64).numpy() for text in texts]).to(frames.device)
        nats = ctc_nats(log_probs, frames, classes).tolist()
        return {
            "prediction": [written(text, self.target) for text in texts],
            "probability": [math.exp(-nat) for nat in nats],
        }


def _errors(answer: str, truth: str) -> tuple[int, int, int, int]:
    """Edits and length in characters, then in words."""
    words = answer.split(), truth.split()
    return edit_distance(answer, truth), len(truth), edit_distance(*words), len(words[1])


def _known(targets: Tensor) -> Tensor:
    """The texts without characters that no output stands for."""
    if not bool((targets < 0).any()):
        return targets
    return padded([row[row > 0] for row in targets.cpu().numpy()]).to(targets.device)
