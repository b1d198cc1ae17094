"""From encoded columns to what a network is called with; saved with the network, so that predictions repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.data.table.columns import CategoryColumn, NumberColumn

MAX_ONE_HOT = 64  # categories of one column that get an input of their own


def _row(values: Sequence[float]) -> Tensor:
    limit = torch.finfo(torch.float32).max
    return torch.tensor(values, dtype=torch.float64).clamp(-limit, limit).float()


class VectorFront(nn.Module):
    """One vector per row: standardised numbers, missing flags, one-hot categories.

    A column that was seen missing gets the train split's median there, and a 0/1 flag; any other gets the mean.
    Categories beyond the 64 most frequent of a column share one input with unseen ones.
    """

    bias: Tensor
    scale: Tensor
    fill: Tensor
    flagged: Tensor
    starts: Tensor
    places: Tensor

    def __init__(self, numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn]) -> None:
        super().__init__()
        scales = [1 / n.std if n.std > 0 else 0.0 for n in numbers]
        pairs = list(zip(numbers, scales, strict=True))
        self.register_buffer("bias", _row([(n.offset - (n.median if n.missing else n.mean)) * s for n, s in pairs]))
        self.register_buffer("scale", _row(scales))
        self.register_buffer("fill", _row([(n.median - n.mean) * s * n.missing for n, s in pairs]))
        self.register_buffer("flagged", torch.tensor([i for i, n in enumerate(numbers) if n.missing], dtype=torch.long))
        starts: list[int] = []
        places: list[int] = []  # of each code: where its 1 goes, -1 nowhere
        width = 0
        for column in categories:
            starts.append(len(places))
            kept = [width + i for i in range(min(len(column.categories), MAX_ONE_HOT))]
            width += len(kept)
            missing, width = (width, width + 1) if column.missing else (-1, width)
            other = -1
            if len(column.categories) > MAX_ONE_HOT:
                other, width = width, width + 1
            places += [other, missing, *kept, *[other] * (len(column.categories) - len(kept))]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.long))
        self.register_buffer("places", torch.tensor([width if p < 0 else p for p in places], dtype=torch.long))
        self.width = width
        self.has_flags, self.has_categories = bool(len(self.flagged)), bool(categories)
        self.in_features = len(numbers) + len(self.flagged) + width

    def forward(self, numbers: Float[Tensor, "B F"], codes: Int[Tensor, "B G"]) -> tuple[Float[Tensor, "B in"]]:
        """The vector, in a tuple, as the network is called with it."""
        z = torch.addcmul(self.bias, numbers, self.scale).nan_to_num_(0.0)
        parts = [z]
        if self.has_flags:
            z.add_(self.fill)
            parts.append(numbers.index_select(1, self.flagged).isnan().to(z.dtype))
        if self.has_categories:
            places = self.places[codes.long() + self.starts]
            one_hot = z.new_zeros(len(z), self.width + 1).scatter_(1, places, 1.0)
            parts.append(one_hot[:, : self.width])
        return (torch.cat(parts, 1) if len(parts) > 1 else z,)


class ColumnsFront(nn.Module):
    """Numbers, their piecewise-linear encoding, and category codes.

    Source: encoding: Gorishniy, Rubachev, Babenko 2022, arXiv:2203.05556, eq. 1, bins from train quantiles; scaling:
    Holzmüller, Grinsztajn, Steinwart 2024, arXiv:2407.04491, robust scale and smooth clip: z = (x - median) / IQR,
    z / sqrt(1 + (z / 3)^2).
    Differs: the first and last bin are clipped to [0, 1] too, so that values beyond the train split's range stay
    bounded. A number that was seen missing adds a code of its own: 1 present, 2 missing.
    """

    center: Tensor
    scale: Tensor
    lower: Tensor
    slope: Tensor
    flagged: Tensor

    def __init__(self, numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn]) -> None:
        super().__init__()
        self.num_numbers = len(numbers)
        self.num_bins = max((max(1, len(n.edges) - 1) for n in numbers), default=0)
        flagged = [i for i, n in enumerate(numbers) if n.missing]
        self.cardinalities = (*(len(c.categories) + 2 for c in categories), *(3 for _ in flagged))
        self.register_buffer("center", _row([n.median - n.offset for n in numbers]))
        self.register_buffer("scale", _row([1 / _spread(n) if _spread(n) > 0 else 0.0 for n in numbers]))
        lower = torch.zeros(self.num_numbers, self.num_bins)
        slope = torch.zeros(self.num_numbers, self.num_bins)
        for i, n in enumerate(numbers):
            edges = torch.tensor(n.edges, dtype=torch.float64) - n.offset
            lower[i, : len(edges) - 1] = edges[:-1].float()
            slope[i, : len(edges) - 1] = (1 / edges.diff()).float()
        self.register_buffer("lower", lower)
        self.register_buffer("slope", slope.clamp_(max=torch.finfo(torch.float32).max))
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.long))
        self.has_flags, self.has_categories = bool(flagged), bool(categories)

    def forward(
        self, numbers: Float[Tensor, "B F"], codes: Int[Tensor, "B G"]
    ) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B F bins"], Int[Tensor, "B G"]]:
        """Scaled numbers, their encoding and the codes; missing numbers are 0 in both. Training hides a few codes."""
        z = ((numbers - self.center) * self.scale).nan_to_num_(0.0)
        z = z / torch.hypot(z / 3, z.new_ones(()))
        known = numbers.nan_to_num(torch.finfo(numbers.dtype).min)  # below every bin, so that its encoding is 0
        encoded = (known.unsqueeze(-1) - self.lower).mul_(self.slope).clamp_(0, 1)
        codes = codes.long()
        if self.has_flags:
            codes = torch.cat((codes, numbers.index_select(1, self.flagged).isnan().long() + 1), 1)
        return z, encoded, codes


def _spread(column: NumberColumn) -> float:
    """The interquartile range, or half the range where more than half of the rows are equal."""
    return column.upper_quartile - column.lower_quartile or (column.high - column.low) / 2


def build_front(numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn], takes: str) -> nn.Module:
    """The front for a network that takes "vector" or "columns"."""
    fronts: dict[str, Any] = {"vector": VectorFront, "columns": ColumnsFront}
    front: nn.Module = fronts[takes](numbers, categories)
    return front


def vector_columns(numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn]) -> list[str]:
    """The source's column that each place of the vector is from."""
    columns = [n.source for n in numbers] + [n.source for n in numbers if n.missing]
    for column in categories:
        places = min(len(column.categories), MAX_ONE_HOT) + column.missing + (len(column.categories) > MAX_ONE_HOT)
        columns += [column.name] * places
    return columns


def vector_names(numbers: Sequence[NumberColumn], categories: Sequence[CategoryColumn]) -> list[str]:
    """The name of each place of the vector."""
    names = [n.name for n in numbers] + [f"{n.name} is missing" for n in numbers if n.missing]
    for column in categories:
        names += [f"{column.name} = {category}" for category in column.categories[:MAX_ONE_HOT]]
        names += [f"{column.name} is missing"] * column.missing
        names += [f"{column.name} = another"] * (len(column.categories) > MAX_ONE_HOT)
    return names
