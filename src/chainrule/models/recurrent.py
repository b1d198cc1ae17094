"""A recurrent classifier: tokens or frames through recurrent layers, their outputs pooled over a row's own steps.

Source: Elman 1990 (rnn), Cho et al. 2014 (gru), Hochreiter, Schmidhuber 1997 (lstm), see functional/recurrent.py; both
    directions: Schuster, Paliwal 1997, doi:10.1109/78.650093; the largest value over time: Conneau et al. 2017,
    arXiv:1705.02364, section 3.2.2; attention: Yang et al. 2016, doi:10.18653/v1/N16-1174, equations 5 to 7;
    word dropout: Iyyer et al. 2015, doi:10.3115/v1/P15-1162, section 2.3.
Reference: torch.nn.Embedding, RNN, GRU or LSTM on packed rows, and Linear, compared in
    tests/parity/test_recurrent_classifier.py.
Differs: layers start as nn/recurrent.py says; a left out word is read as an unknown one.

Letters: B rows, T steps, F numbers of a frame, D width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.functional.recurrent import State
from chainrule.nn.recurrent import Recurrent, check_recurrent

PAD = 0  # the token that fills a row up
POOLINGS = ("last", "mean", "max", "attention")
START = 0.1  # tokens' vectors begin as N(0, 0.1^2)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Sizes of a recurrent classifier. The data says which form it reads: its vocabulary, or the size of its frames."""

    num_classes: int  # outputs; 1 for a number
    vocab_size: int = 0  # kinds of tokens; 0: steps are frames
    in_features: int = 0  # numbers of a frame; 0: steps are tokens
    cell: str = "lstm"  # rnn, gru or lstm
    embedding: int = 128  # numbers of a token's vector
    hidden: int = 128  # of each direction
    layers: int = 1
    bidirectional: bool = True
    projection: int = 0  # of an lstm: numbers that a step hands on; 0: as hidden
    pooling: str = "max"  # over a row's steps: last, mean, max or attention
    dropout: float = 0.5  # on tokens' vectors, between layers and before the head

    def __post_init__(self) -> None:
        check_recurrent(self.cell, self.hidden, self.layers, self.dropout, self.projection)
        if (self.vocab_size > 0) == (self.in_features > 0) or min(self.vocab_size, self.in_features) < 0:
            raise InputError(
                f"a recurrent classifier reads tokens (model.vocab_size) or frames (model.in_features), one of both; "
                f"got {self.vocab_size} and {self.in_features}"
            )
        if min(self.num_classes, self.embedding) < 1:
            raise InputError(
                f"model.num_classes and model.embedding must be at least 1, got {self.num_classes} and {self.embedding}"
            )
        if self.pooling not in POOLINGS:
            raise InputError(f"model.pooling is {self.pooling!r}; {nearest(self.pooling, POOLINGS)}")


class TokenEmbedding(nn.Module):
    """A vector for each token, with dropout of single numbers; padding is zero."""

    def __init__(self, vocab_size: int, size: int, *, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, size, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.table.weight, std=START)
        with torch.no_grad():
            self.table.weight[PAD] = 0

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors."""
        vectors: Tensor = self.dropout(self.table(ids))
        return vectors


class AttentionPool(nn.Module):
    """The mean of the steps, weighted by softmax(v . tanh(W h + b)) over the steps that are there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, h: Float[Tensor, "B T D"], keep: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """One vector for each row."""
        scores = self.score(torch.tanh(self.key(h)))[..., 0].masked_fill(~keep, -torch.inf)
        return (torch.softmax(scores, -1)[..., None] * h).sum(1)


class RecurrentClassifier(nn.Module):
    """Logits of each row.

    Example:
        >>> network = RecurrentClassifier(RecurrentConfig(vocab_size=30, num_classes=2))
        >>> network(torch.ones(3, 7, dtype=torch.int64), torch.tensor([7, 4, 1])).shape
        torch.Size([3, 2])
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.embedding = (
            TokenEmbedding(config.vocab_size, config.embedding, dropout=config.dropout)
            if config.vocab_size
            else nn.Identity()
        )
        self.recurrent = Recurrent(
            config.cell, config.embedding if config.vocab_size else config.in_features, config.hidden,
            layers=config.layers, bidirectional=config.bidirectional, dropout=config.dropout,
            projection=config.projection,
        )  # fmt: skip
        width = self.recurrent.out_features
        self.attention = AttentionPool(width) if config.pooling == "attention" else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)

    def features(
        self, x: Int[Tensor, "B T"] | Float[Tensor, "B T F"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B D"]:
        """The embedding of each row; ``lengths`` None: all rows are T steps long."""
        outputs, state = cast(tuple[Tensor, State], self.recurrent(self.embedding(x), lengths))
        return self.pooled(outputs, state, lengths)

    def pooled(self, outputs: Float[Tensor, "B T D"], state: State, lengths: Tensor | None) -> Float[Tensor, "B D"]:
        """One vector for each row, of its own steps."""
        if self.pooling == "last":  # of each direction its own last step: backwards that is the first one
            return state[0][-self.recurrent.directions :].transpose(0, 1).flatten(1)
        keep = steps_of(outputs, lengths)
        if self.pooling == "mean":  # outputs are 0 beyond a row's length
            return outputs.sum(1) / keep.sum(1, keepdim=True)
        if self.pooling == "max":
            return (outputs if lengths is None else outputs.masked_fill(~keep[..., None], -torch.inf)).amax(1)
        attended: Tensor = self.attention(outputs, keep)
        return attended

    def forward(
        self, x: Int[Tensor, "B T"] | Float[Tensor, "B T F"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B K"]:
        """Logits per class, or numbers."""
        logits: Tensor = self.head(self.dropout(self.features(x, lengths)))
        return logits


def steps_of(x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"] | None) -> Bool[Tensor, "B T"]:
    """True where a row has a step."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def reference_name(name: str) -> str:
    """A tensor's name in a module of ``embedding``, ``rnn`` and ``head`` -> its name in ``RecurrentClassifier``."""
    return name.replace("embedding.", "embedding.table.").replace("rnn.", "recurrent.fused.")
