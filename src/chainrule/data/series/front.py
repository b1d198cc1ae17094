"""The front of series: every column of a window becomes a row of its own, with what is known beside it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chainrule.data.series.schema import SeriesSchema


class SeriesFront(nn.Module):
    """From windows of C columns to B x C rows: (rows window F) with the column's own value first, (rows horizon K).

    F is the value, whether it is known, the columns known up to now, and what is known ahead; K what is known ahead.
    """

    owners: Tensor

    def __init__(self, schema: SeriesSchema) -> None:
        super().__init__()
        self.horizon = schema.target.horizon
        self.register_buffer("owners", torch.tensor(schema.owners), persistent=False)

    def forward(
        self, values: Float[Tensor, "B T C"], past: Float[Tensor, "B T S P"], ahead: Float[Tensor, "B T_and_H S K"],
        known: Float[Tensor, "B T C"],
    ) -> tuple[Float[Tensor, "rows T F"], Float[Tensor, "rows H K"]]:  # fmt: skip
        """The rows of the first window come first."""
        T = values.shape[1]
        beside = ahead[:, :, self.owners]  # (B, T + H, C, K)
        own = torch.stack((values, known), -1)  # (B, T, C, 2)
        seen = torch.cat((own, past[:, :, self.owners], beside[:, :T]), -1)
        return seen.transpose(1, 2).flatten(0, 1), beside[:, T:].transpose(1, 2).flatten(0, 1)


def feature_names(schema: SeriesSchema) -> list[str]:
    """A name for each of the F features."""
    return ["value", "is known", *schema.past_names, *schema.future_names()]
