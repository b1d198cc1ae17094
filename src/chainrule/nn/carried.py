"""A recurrent network whose state goes from one window of a text to the next: truncated backpropagation through time.

The gradient stops at the window's first token, the state does not.

Source: Williams, Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", doi:10.1162/neco.1990.2.4.490.
"""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

State = tuple[Tensor, ...]  # each (layers, B, size)


@runtime_checkable
class Runs(Protocol):
    """A network that goes on from where it stood."""

    def run(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the next tokens, and the state after the last one; None: from the start."""


class Carried(nn.Module):
    """``network.run`` on windows; in training row r goes on from the state that row r - 1 ended with.

    In evaluation every row starts afresh. What is carried is no weight: a checkpoint saves it beside them.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.rows: Tensor | None = None  # (B,) whose state is carried
        self.state: State = ()

    def forward(self, ids: Int[Tensor, "B T"], rows: Int[Tensor, " B"]) -> Float[Tensor, "B T V"]:
        """Logits of the next tokens.

        Args:
            rows: the windows' numbers; window r + 1 goes on where window r ended.
        """
        network = cast(Runs, self.network)
        if not self.training:
            return network.run(ids, None)[0]
        logits, state = network.run(ids, self._before(rows))
        self.rows, self.state = rows, tuple(x.detach() for x in state)
        return logits

    def _before(self, rows: Tensor) -> State | None:
        """The state that each row begins with: that of the row before it where it is carried, otherwise zero."""
        if self.rows is None:
            return None
        matches = rows[:, None] - 1 == self.rows[None, :]  # (B, carried)
        place, found = matches.int().argmax(1), matches.any(1)
        return tuple(torch.where(found[:, None], x.index_select(1, place), 0.0) for x in self.state)

    def carry(self) -> dict[str, Tensor]:
        """What is carried, by name; empty before the first step."""
        if self.rows is None:
            return {}
        return {"rows": self.rows, **{str(place): x for place, x in enumerate(self.state)}}

    def go_on(self, carry: dict[str, Tensor]) -> None:
        """Take over what ``carry`` gave."""
        self.rows = carry.get("rows")
        self.state = tuple(carry[str(place)] for place in range(len(carry) - 1))
