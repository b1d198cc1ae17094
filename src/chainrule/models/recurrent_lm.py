"""A recurrent language model: a vector for each token, recurrent layers, and the odds of the next token.

Source: Mikolov, Karafiat, Burget, Cernocky, Khudanpur 2010, "Recurrent neural network based language model" (rnn_lm);
    Cho et al. 2014, arXiv:1406.1078 (gru_lm's cell); Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329, section 3
    (lstm_lm: layers, and dropout on what goes up, not on what goes on in time). Tied weights: Press, Wolf 2017,
    arXiv:1608.05859. One mask for all moments ("locked"): Gal, Ghahramani 2016, arXiv:1512.05287, section 4; Merity,
    Keskar, Socher 2017, arXiv:1708.02182, section 4.1.
Reference: torch.nn.Embedding, RNN, GRU or LSTM, and Linear, compared in tests/parity/test_recurrent_lm.py.
Differs: layers start as nn/recurrent.py says, not by a uniform distribution.

Letters: B streams, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.recurrent import Recurrent, check_recurrent

State = tuple[Tensor, ...]  # each (layers, B, size)


@dataclass(frozen=True, kw_only=True)
class RecurrentLMConfig:
    """Sizes of a recurrent language model."""

    vocab_size: int
    cell: str = "lstm"  # rnn, gru or lstm
    embedding: int = 0  # numbers of a token's vector; 0: as many as hidden units
    hidden: int = 256
    layers: int = 2
    dropout: float = 0.2  # on the vectors, between layers and before the head
    locked: bool = False  # before and after the layers, one draw for all tokens of a window
    tied: bool = False  # the head's weights are the tokens' vectors

    def __post_init__(self) -> None:
        check_recurrent(self.cell, self.hidden, self.layers, self.dropout)
        if self.vocab_size < 2 or self.embedding < 0:
            raise InputError(
                f"a language model needs 2 tokens or more and model.embedding of 0 (as model.hidden) or more, got "
                f"{self.vocab_size} and {self.embedding}"
            )

    @property
    def width(self) -> int:
        """Numbers of a token's vector."""
        return self.embedding or self.hidden


def dropout(x: Float[Tensor, "B T D"], share: float, training: bool, *, locked: bool = False) -> Float[Tensor, "B T D"]:
    """Zero a share of the numbers in training; ``locked``: the same ones at every moment of a row."""
    if not locked:
        return F.dropout(x, share, training)
    return x * F.dropout(torch.ones_like(x[:, :1]), share, training)


class RecurrentLM(nn.Module):
    """Logits of the token after each one, and a state to go on from.

    Example:
        >>> network = RecurrentLM(RecurrentLMConfig(vocab_size=30, hidden=16)).eval()
        >>> logits, state = network.run(torch.zeros(2, 5, dtype=torch.int64))
        >>> network.run(torch.ones(2, 1, dtype=torch.int64), state)[0].shape
        torch.Size([2, 1, 30])
    """

    def __init__(self, config: RecurrentLMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.recurrent = Recurrent(
            config.cell, config.width, config.hidden, layers=config.layers, dropout=config.dropout
        )
        projected = config.tied and config.width != config.hidden
        self.projection = nn.Linear(config.hidden, config.width) if projected else nn.Identity()
        self.head = nn.Linear(config.width if config.tied else config.hidden, config.vocab_size)
        if config.tied:
            self.head.weight = self.embedding.weight
            nn.init.normal_(self.embedding.weight, std=config.width**-0.5)  # as rows of a head: logits of size 1
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the next tokens, from the start of a text."""
        return self.run(ids)[0]

    def run(self, ids: Int[Tensor, "B T"], state: State | None = None) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits of the next tokens, and the state after the last one; ``state`` None begins a text."""
        x, state = self.recurrent(self._dropped(self.embedding(ids)), None, state)
        return self.head(self.projection(self._dropped(x))), state

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training, locked=self.config.locked)


def reference_name(name: str) -> str:
    """A tensor's name in a module of ``embedding``, ``rnn`` and ``head`` -> its name in ``RecurrentLM``."""
    return name.replace("rnn.", "recurrent.fused.")
