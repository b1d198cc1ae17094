"""TabM: many small networks for a table that share all their large matrices and answer together.

Source: Gorishniy, Kotelnikov, Babenko 2024, arXiv:2410.24210, Sec. 3 (the variant TabM-mini); numbers enter through the
piecewise-linear embedding of Gorishniy, Rubachev, Babenko 2022, arXiv:2203.05556, Sec. 3.2, in the form that
arXiv:2410.24210, App. D gives it (a line plus the encoding, the latter starting at zero).
Reference: tabm 0.0.3, ``TabM(arch_type="tabm-mini")``, and rtdl_num_embeddings 0.0.12,
``PiecewiseLinearEmbeddings(version="B")``, compared in tests/parity/test_tabm.py.
Differs: the encoding itself is computed before the network, where the bins are known, and its padding is zero, wherever
it stands; categories get a learned embedding each instead of a one-hot vector (a wide category would cost a column per
name), code 0 standing for an unseen and code 1 for a missing one; in evaluation mode the members' answers are already
averaged: probabilities for classes, values for a number.
Letters: F numbers or categories of a row, N bins of a number, E members of the ensemble, M size of one column's
embedding, I all embeddings of a row side by side, D width of a hidden layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from chainrule.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TabMConfig:
    """Sizes of a TabM. The first four come from the data."""

    num_numbers: int
    num_bins: int  # of the number with most bins
    cardinalities: tuple[int, ...]  # codes of each category, unseen (0) and missing (1) included
    num_classes: int  # 1: the answer is a number
    members: int = 8
    width: int = 256
    num_layers: int = 2
    number_size: int = 12  # embedding size of a number
    category_size: int = 16  # largest embedding size of a category; one with few codes gets less
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.num_numbers and not self.cardinalities:
            raise InputError("a table needs at least one input column, got no number and no category")
        sizes = {
            name: getattr(self, name)
            for name in ("num_classes", "members", "width", "num_layers", "number_size", "category_size")
        }
        sizes |= {"num_bins": self.num_bins} if self.num_numbers else {}
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"model.{name} must be at least 1, got {size}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")


class NumberEmbedding(nn.Module):
    """Each number as a vector: a line through its value plus a learned mixture of its piecewise-linear encoding."""

    def __init__(self, num_numbers: int, num_bins: int, size: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.empty(num_numbers, size))
        self.offset = nn.Parameter(torch.empty(num_numbers, size))
        self.bins = nn.Parameter(torch.empty(num_numbers, num_bins, size))

    def forward(self, numbers: Float[Tensor, "B F"], encoded: Float[Tensor, "B F N"]) -> Float[Tensor, "B F M"]:
        curve = (encoded.transpose(0, 1) @ self.bins).transpose(0, 1)
        return torch.addcmul(self.offset, self.slope, numbers.unsqueeze(-1)) + curve


class MemberLinear(nn.Module):
    """A linear layer per member, nothing shared."""

    def __init__(self, members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(members, out_features))

    def forward(self, hidden: Float[Tensor, "B E D"]) -> Float[Tensor, "B E K"]:
        return torch.einsum("bed,edk->bek", hidden, self.weight) + self.bias


class TabM(nn.Module):
    """Members that see the same row through scales of their own, one shared MLP, and a head per member.

    Example:
        >>> config = TabMConfig(num_numbers=2, num_bins=4, cardinalities=(5,), num_classes=3)
        >>> network = TabM(config).eval()
        >>> network(torch.zeros(7, 2), torch.zeros(7, 2, 4), torch.ones(7, 1, dtype=torch.int64)).shape
        torch.Size([7, 3])
    """

    def __init__(self, config: TabMConfig) -> None:
        super().__init__()
        self.config = config
        sizes = embedding_sizes(config)
        if config.num_numbers:
            self.numbers = NumberEmbedding(config.num_numbers, config.num_bins, config.number_size)
        self.categories = nn.ModuleList(
            nn.Embedding(codes, size)
            for codes, size in zip(config.cardinalities, sizes[config.num_numbers :], strict=True)
        )
        self.scale = nn.Parameter(torch.empty(config.members, sum(sizes)))
        widths = (sum(sizes), *[config.width] * config.num_layers)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = MemberLinear(config.members, config.width, config.num_classes)
        init(self)

    def embed(
        self, numbers: Float[Tensor, "B F"], encoded: Float[Tensor, "B F N"], codes: Int[Tensor, "B G"]
    ) -> Float[Tensor, "B I"]:
        """All columns of a row as one vector, numbers first."""
        columns = [self.numbers(numbers, encoded).flatten(1)] if self.config.num_numbers else []
        columns += [embedding(codes[:, column]) for column, embedding in enumerate(self.categories)]
        return torch.cat(columns, dim=1)

    def features(
        self, numbers: Float[Tensor, "B F"], encoded: Float[Tensor, "B F N"], codes: Int[Tensor, "B G"]
    ) -> Float[Tensor, "B E D"]:
        """What each member's head reads."""
        hidden = self.embed(numbers, encoded, codes).unsqueeze(1) * self.scale  # (B, E, I)
        for layer in self.layers:
            hidden = F.dropout(F.relu(layer(hidden)), self.config.dropout, self.training)
        return hidden

    def forward(
        self, numbers: Float[Tensor, "B F"], encoded: Float[Tensor, "B F N"], codes: Int[Tensor, "B G"]
    ) -> Float[Tensor, "B *E K"]:
        """Logits of every member in training mode (B E K), of the ensemble in evaluation mode (B K).

        ``numbers`` are in standard units, ``encoded`` their piecewise-linear encoding (zeros beyond a number's own
        bins), ``codes`` the categories, 0 unseen and 1 missing. The loss is the mean of the members' losses: they have
        to err differently, so never average before it.
        """
        logits: Tensor = self.head(self.features(numbers, encoded, codes))
        if self.training:
            return logits
        if self.config.num_classes == 1:
            return logits.mean(1)
        return F.log_softmax(logits, dim=-1).logsumexp(1) - math.log(self.config.members)


def embedding_sizes(config: TabMConfig) -> list[int]:
    """Embedding size of every column, numbers first; a category with few codes needs no more than half of them."""
    categories = [min(config.category_size, codes // 2 + 2) for codes in config.cardinalities]
    return [config.number_size] * config.num_numbers + categories


def init(network: TabM) -> None:
    """Uniform within 1 / sqrt(inputs), as the reference; a member's scale is one normal draw per column."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            uniform(module.in_features, module.weight, module.bias)
        elif isinstance(module, MemberLinear):
            uniform(module.weight.shape[1], module.weight, module.bias)
        elif isinstance(module, nn.Embedding):
            uniform(module.embedding_dim, module.weight)
        elif isinstance(module, NumberEmbedding):
            uniform(module.slope.shape[1], module.slope, module.offset)
            nn.init.zeros_(module.bins)
    with torch.no_grad():
        sizes = embedding_sizes(network.config)
        draws = torch.randn(network.config.members, len(sizes))
        network.scale.copy_(draws.repeat_interleave(torch.tensor(sizes), dim=1, output_size=sum(sizes)))


def uniform(inputs: int, *parameters: Tensor) -> None:
    """Fill with uniform draws within 1 / sqrt(inputs)."""
    for parameter in parameters:
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5)


def training_settings(rows: int, num_columns: int) -> dict[str, str | int | float]:
    """The settings to start from for so many train rows and input columns, by their dotted names.

    Tuned on seven public tables (docs/models/tabm.md): small tables get a small network, many short epochs and a lower
    learning rate; a row of a large table is visited less often, the more rows there are.
    """
    small = rows < 4_000
    epochs = min(max(round(2_800 / math.sqrt(max(rows, 1))), 2), 40)
    batch_size = 2 ** math.floor(math.log2(min(max(rows // 80, 32), 256)))
    return {
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 3e-3 if small else 8e-3,
        "optimizer.weight_decay": 0.03,
        "schedule.name": "cosine",
        "schedule.warmup": 0.02,
        "train.batch_size": batch_size,
        "train.epochs": epochs,
        "train.patience": max(round(0.4 * epochs), 3),
        "train.average": 0.99,
        "train.max_grad_norm": 1.0,
        "model.width": 128 if small else 256,
        "model.number_size": min(max(400 // max(num_columns, 1), 2), 12),
    }


REFERENCE_NAMES = {  # the reference's names -> ours; {} is the number of a layer
    "num_module.linear0.weight": "numbers.slope",
    "num_module.linear0.bias": "numbers.offset",
    "num_module.linear.weight": "numbers.bins",
    "backbone.affine.weight": "scale",
    "backbone.blocks.{}.0.weight": "layers.{}.weight",
    "backbone.blocks.{}.0.bias": "layers.{}.bias",
    "output.weight": "head.weight",
    "output.bias": "head.bias",
}
