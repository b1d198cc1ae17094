"""Language modelling: the next token of a text, at every place.

Source: cross-entropy of softmax(logits), Bengio, Ducharme, Vincent, Jauvin 2003, JMLR 3, equation 1 and section 2;
perplexity: Jelinek, Mercer, Bahl, Baker 1977, doi:10.1121/1.2016299; label smoothing: Szegedy et al. 2015,
arXiv:1512.00567, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import TokensTarget
from chainrule.errors import InputError
from chainrule.functional.metrics import Scorer
from chainrule.nn.carried import Carried, Runs
from chainrule.tasks.task import At, Headline, Loss, Rows, Term

MEASURED = ("nats", "tokens", "characters", "bytes")
SIZES = 2  # the input that says how many characters and bytes a window's scored tokens are (data/corpus/samples.py)


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """How the next token is learned."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"task.label_smoothing is a share from 0 to below 1, got {self.label_smoothing}")


class Language:
    """Logits (B T V) against the tokens that come next (B T); the mask is False where a token is only context."""

    name = "language"
    unit: Literal["row", "group", "batch"] = "batch"  # the state of every row goes on to the next batch
    headline: Headline = ("nats", "min")
    monitor: Headline = ("nats", "min")

    def __init__(self, config: LanguageConfig, target: TokensTarget) -> None:
        self.config = config
        self.target = target

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The network with its state carried from window to window in training.

        Raises:
            InputError: it cannot go on from a state.
        """
        if not isinstance(network, Runs):
            raise InputError(
                "a network that goes on with a text needs the method run(ids, state), which gives logits (B T V) and "
                "the state after the last token; state is None at the start"
            )
        return Carried(network)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Tokens that are answered."""
        assert batch.targets is not None
        return {"loss": float(batch.targets.numel() if batch.mask is None else batch.mask.sum())}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Summed cross-entropy in nats."""
        logits, targets = _kept(network(*batch.inputs), batch)
        smoothing = self.config.label_smoothing
        return (Term("loss", F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)),)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each window the nats, tokens, characters and bytes that were answered, each (B,)."""
        logits = network(*batch.inputs)
        assert batch.targets is not None
        nats = F.cross_entropy(_exact(logits).transpose(1, 2), batch.targets, reduction="none")
        keep = torch.ones_like(batch.targets, dtype=torch.bool) if batch.mask is None else batch.mask
        characters, held = batch.inputs[SIZES].unbind(1)
        rows = ((nats * keep).double().sum(1), keep.sum(1), characters, held)
        return dict(zip(MEASURED, rows, strict=True))

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """nats and perplexity of a token, bits_per_char, bits_per_byte."""
        return {name: float(value) for name, value in self.scorer(rows)(None).items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per window."""
        table = np.stack([rows[name].astype(np.float64) for name in MEASURED])  # (4, N)

        def scores(weights: Any) -> dict[str, Any]:
            sums = table.sum(1) if weights is None else weights @ table.T
            nats, tokens, characters, held = (sums[..., place] for place in range(len(MEASURED)))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                each, bits = nats / tokens, nats / np.log(2)
                perplexity = np.exp(each)
                return {
                    "nats": each, "perplexity": perplexity, "bits_per_char": bits / characters,
                    "bits_per_byte": bits / held,
                }  # fmt: skip

        return scores

    def outputs(self) -> list[str]:
        """The tokens' numbers: what they stand for is the tokenizer's to say."""
        return [f"token {number}" for number in range(self.target.vocab_size)]

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Tokens, as they are."""
        return targets

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "nats" and "tokens" of each window."""
        measured = self.measure(network, batch)
        return {name: measured[name].cpu().tolist() for name in MEASURED[:2]}


def _kept(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N V) logits and (N,) tokens where the mask says so."""
    targets = batch.targets
    assert targets is not None
    if batch.mask is None:
        return _exact(logits).flatten(0, 1), targets.flatten()
    return _exact(logits[batch.mask]), targets[batch.mask]


def _exact(logits: Tensor) -> Tensor:
    """Logits in float32 or better, whatever the network computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
