"""A bag of embeddings: the words' vectors added up, and a linear layer; the order of words is lost.

Source: Joulin, Grave, Bojanowski, Mikolov 2016, "Bag of tricks for efficient text classification", arXiv:1607.01759
    (fastText): equation 1, section 2.2 (pairs of neighbours, hashed).
Reference: torch.nn.EmbeddingBag (mean) and Linear, compared in tests/parity/test_recurrent_classifier.py.
Differs: full softmax, not the hierarchical one; another hash; the sum may be divided by a lower power of the number of
    vectors, so that a text that says more is answered with more certainty.

Letters: B rows, T tokens, D width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.recurrent import PAD, START, steps_of

FACTORS = 2_654_435_761, 805_459_861  # primes that spread pairs over the buckets, of the first token and the second


@dataclass(frozen=True, kw_only=True)
class BagOfEmbeddingsConfig:
    """Sizes of a bag of embeddings."""

    vocab_size: int
    num_classes: int
    embedding: int = 64
    buckets: int = 0  # vectors that pairs of neighbouring tokens share by a hash; 0: single tokens alone
    power: float = 1.0  # of the number of vectors, by which their sum is divided; 1: the mean
    dropout: float = 0.3  # on that

    def __post_init__(self) -> None:
        for name in ("vocab_size", "num_classes", "embedding"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.buckets < 0:
            raise InputError(f"model.buckets must not be negative, got {self.buckets}")
        if not 0 <= self.power <= 1:
            raise InputError(f"model.power is from 0 (the sum) to 1 (the mean), got {self.power}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is a share from 0 to below 1, got {self.dropout}")


class BagOfEmbeddings(nn.Module):
    """Logits of each row from its tokens' (and pairs') vectors, added up.

    Example:
        >>> network = BagOfEmbeddings(BagOfEmbeddingsConfig(vocab_size=30, num_classes=2, buckets=64))
        >>> network(torch.ones(3, 7, dtype=torch.int64), torch.tensor([7, 4, 1])).shape
        torch.Size([3, 2])
    """

    def __init__(self, config: BagOfEmbeddingsConfig) -> None:
        super().__init__()
        self.vocab_size, self.buckets, self.power = config.vocab_size, config.buckets, config.power
        self.embedding = nn.Embedding(config.vocab_size + config.buckets, config.embedding, padding_idx=PAD)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.embedding, config.num_classes)
        nn.init.normal_(self.embedding.weight, std=START)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0
            self.embedding.weight[config.vocab_size :] = 0  # a pair says nothing but its tokens until it has learned to

    def features(self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D"]:
        """The mean vector, or the sum; ``lengths`` None: all rows are T tokens long."""
        keep = steps_of(ids, lengths)
        ids = torch.where(keep, ids, PAD)
        if self.buckets and ids.shape[1] > 1:
            both = keep[:, 1:]  # where a token has one before it
            mixed = ids[:, :-1] * FACTORS[0] + ids[:, 1:] * FACTORS[1]
            pairs = self.vocab_size + (mixed ^ (mixed >> 17)) % self.buckets
            ids, keep = torch.cat((ids, torch.where(both, pairs, PAD)), 1), torch.cat((keep, both), 1)
        vectors = self.embedding(ids)
        total: Tensor = (vectors * keep[..., None]).sum(1)
        return total / keep.sum(1, keepdim=True).to(total.dtype) ** self.power

    def forward(self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B K"]:
        """Logits per class, or numbers."""
        logits: Tensor = self.head(self.dropout(self.features(ids, lengths)))
        return logits
