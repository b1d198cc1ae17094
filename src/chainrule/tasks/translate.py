"""Translation: the sentence in another language, token by token.

Source: label smoothing as in Vaswani et al. 2017, arXiv:1706.03762, section 5.4; beam search with the length penalty of
Wu et al. 2016, arXiv:1609.08144 (``functional/decoding.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import SentenceTarget
from chainrule.data.tokens import BEGIN, END, PAD, UNKNOWN
from chainrule.errors import InputError, nearest
from chainrule.functional.bleu import bleu, chrf
from chainrule.functional.decoding import State, beam_search, greedy
from chainrule.functional.metrics import Scorer
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At, Headline, Loss, Rows, Term
from chainrule.tasks.text_overlap import bleu_counts, chrf_counts

if TYPE_CHECKING:
    from chainrule.data.parallel.schema import ParallelSchema

MONITORS: dict[str, Literal["min", "max"]] = {"nats": "min", "accuracy": "max"}
MOST_BEAMS = 100
LONGER = 1.5, 10  # a translation has at most so many times the tokens of its sentence, and so many more
TOKENS_AT_ONCE = 2048  # of a batch whose logits are held at once in evaluation, beams counted
NEVER = (PAD, UNKNOWN, BEGIN)  # tokens that no translation holds


@dataclass(frozen=True, kw_only=True)
class TranslateConfig:
    """How sentences are learned and written."""

    label_smoothing: float = 0.1
    beam: int = 5  # beginnings that the final scores and predictions follow; 1: the likeliest token each time
    length_penalty: float = 1.0  # alpha of Wu et al.: 0 prefers short sentences, 1 compares by nats a token
    monitor: str = "nats"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"task.label_smoothing is a share from 0 to below 1, got {self.label_smoothing}")
        if not 1 <= self.beam <= MOST_BEAMS:
            raise InputError(f"task.beam is a number from 1 to {MOST_BEAMS}, got {self.beam}")
        if not 0 <= self.length_penalty <= 5:
            raise InputError(f"task.length_penalty is a number from 0 to 5, got {self.length_penalty}")
        if self.monitor not in MONITORS:
            raise InputError(f"task.monitor is {self.monitor!r}; {nearest(self.monitor, tuple(MONITORS))}")


@runtime_checkable
class Translating(Protocol):
    """A network that reads a sentence once and then gives the next token again and again."""

    def encode(self, source: Tensor, lengths: Tensor) -> State:
        """What decoding starts from, each (B, ...)."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        """Log-probabilities (B V) of the next token, the state after ``tokens`` (B,), and where was looked (B S)."""

    def aligned(self, source: Tensor, lengths: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B T V) and where was looked for each (B T S), all target tokens being known."""


@dataclass(frozen=True, slots=True)
class Written:
    """A translation."""

    text: str
    tokens: tuple[int, ...]  # with its end
    log_prob: float  # of the whole sentence


class Translator(nn.Module):
    """A network with the vocabulary that it writes in."""

    def __init__(self, network: nn.Module, schema: ParallelSchema) -> None:
        super().__init__()
        if not isinstance(network, Translating):
            raise InputError(
                "a network that translates needs the methods encode, step and aligned, see docs/translation.md"
            )
        self.network: Any = network
        self.schema = schema

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Logits (B T V)."""
        logits: Tensor = self.network(source, lengths, target)
        return logits

    def write(self, source: Tensor, lengths: Tensor, beams: int, alpha: float) -> list[Written]:
        """A translation of each sentence; one without tokens has an empty one. Rows do not depend on each other."""
        found = [Written("", (END,), 0.0)] * len(source)
        order = lengths.argsort(stable=True)
        order = order[lengths[order] > 1]  # the end alone is an empty sentence
        for rows in _portions(lengths[order], TOKENS_AT_ONCE // beams):
            chosen = order[rows]
            longest = int(lengths[chosen].max())
            written = self._write(source[chosen, :longest], lengths[chosen], beams, alpha)
            for row, one in zip(chosen.tolist(), written, strict=True):
                found[row] = one
        return found

    def _write(self, source: Tensor, lengths: Tensor, beams: int, alpha: float) -> Iterator[Written]:
        most = (LONGER[0] * lengths).long() + LONGER[1]
        state = self.network.encode(source, lengths)
        if beams == 1:
            decoded = greedy(self._next, state, most, begin=BEGIN, end=END)
        else:
            decoded = beam_search(self._next, state, most, begin=BEGIN, end=END, beams=beams, alpha=alpha)
        for row, length, log_prob in zip(
            *(x.tolist() for x in (decoded.tokens, decoded.lengths, decoded.log_probs)), strict=True
        ):
            yield Written(self.schema.target_tokens.decode(row[:length]).strip(), tuple(row[:length]), log_prob)

    def _next(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        log_probs, state, _ = self.network.step(last, state)
        log_probs = _exact(log_probs).clone()
        log_probs[:, NEVER] = -torch.inf
        return log_probs, state


class Translate:
    """Logits (B T V) of every target token, given the source sentence and the target tokens before it."""

    name = "translate"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("bleu", "max")

    def __init__(self, config: TranslateConfig, target: SentenceTarget) -> None:
        self.config = config
        self.target = target
        self.monitor = (config.monitor, MONITORS[config.monitor])

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network with its vocabulary."""
        return Translator(network, schema)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Target tokens, the ends included."""
        assert batch.mask is not None
        return {"loss": float(batch.mask.sum())}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed cross-entropy in nats."""
        assert batch.targets is not None
        logits = _exact(network(*batch.inputs)).flatten(0, 1)
        smoothing = self.config.label_smoothing
        total = F.cross_entropy(
            logits, batch.targets.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
        )
        return (Term("loss", total),)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each sentence the nats, the tokens, and how many of them were the likeliest, true ones before them."""
        assert batch.targets is not None
        assert batch.mask is not None
        assert isinstance(network, Fronted)
        lengths = batch.mask.sum(1)
        measured = torch.zeros(len(batch), 3, dtype=torch.float64, device=batch.targets.device)
        order = lengths.argsort(stable=True)
        for rows in _portions(lengths[order], TOKENS_AT_ONCE):
            chosen, T = order[rows], int(lengths[order[rows]].max())
            source, sizes, given = network.front(*(x[chosen] for x in batch.inputs))
            logits = _exact(network.network(source[:, : int(sizes.max())], sizes, given[:, :T]))
            targets, keep = batch.targets[chosen, :T], batch.mask[chosen, :T]
            nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            right = logits.argmax(-1) == targets
            measured[chosen] = torch.stack([(x * keep).sum(1).double() for x in (nats, keep, right)], 1)
        return dict(zip(("nats", "tokens", "right"), measured.unbind(1), strict=True))

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``, and of each decoded sentence what BLEU (B 10) and chrF (B 18) are made of."""
        answers = [one.text for one in self.write(network, batch)]
        truths = references_of(batch)
        counts = {"bleu": bleu_counts(answers, truths), "chrf": chrf_counts(answers, truths)}
        return self.measure(network, batch) | {name: torch.from_numpy(rows) for name, rows in counts.items()}

    def write(self, network: nn.Module, batch: Batch) -> list[Written]:
        """The translation of each row."""
        assert isinstance(network, Fronted)
        assert isinstance(network.network, Translator)
        source, lengths = network.front(*batch.inputs)[:2]
        return network.network.write(source, lengths, self.config.beam, self.config.length_penalty)

    def score(self, rows: Rows) -> dict[str, float]:
        """nats and perplexity of a token, accuracy; of decoded sentences bleu, chrf and length_ratio."""
        return {name: float(value) for name, value in self.scorer(rows)(None).items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per sentence."""
        tables = {
            name: rows[name].astype(np.float64) for name in ("nats", "tokens", "right", "bleu", "chrf") if name in rows
        }

        def scores(weights: Any) -> dict[str, Any]:
            sums = {name: table.sum(0) if weights is None else weights @ table for name, table in tables.items()}
            found: dict[str, Any] = {}
            if "bleu" in sums:
                words = sums["bleu"]
                found = {"bleu": bleu(words), "chrf": chrf(sums["chrf"])}
                found["length_ratio"] = words[..., -2] / np.maximum(1, words[..., -1])
            if "nats" in sums:
                nats = sums["nats"] / sums["tokens"]
                with np.errstate(over="ignore"):
                    found |= {"nats": nats, "perplexity": np.exp(nats), "accuracy": sums["right"] / sums["tokens"]}
            return found

        return scores

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Tokens, as they are."""
        return targets

    def outputs(self) -> list[str]:
        """The tokens' numbers: what they stand for is the tokenizer's to say."""
        return [f"token {number}" for number in range(self.target.vocab_size)]

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "prediction" (the translation) and "probability" (the geometric mean of its tokens' shares)."""
        written = self.write(network, batch)
        return {
            "prediction": [one.text for one in written],
            "probability": [math.exp(one.log_prob / len(one.tokens)) for one in written],
        }


def references_of(batch: Batch) -> list[str]:
    """The translations of a batch of ``data/parallel`` in evaluation, as they were read: its last input, UTF-8."""
    return [bytes(row).rstrip(b"\0").decode() for row in batch.inputs[-1].cpu().numpy()]


def _portions(lengths: Tensor, most: int) -> Iterator[slice]:
    """Neighbouring rows of rising lengths, as many as have ``most`` tokens when filled up to their longest, or one."""
    start, sizes = 0, lengths.tolist()
    for row, length in enumerate(sizes):
        if row > start and (row - start + 1) * length > most:
            yield slice(start, row)
            start = row
    if sizes:
        yield slice(start, len(sizes))


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better, whatever the network computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
