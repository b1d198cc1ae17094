"""Windows of one long row of tokens: streams to learn from, and windows in which every token is scored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Arrangement, Batch
from chainrule.data.tokens import PAD

Ids = NDArray[Any]  # uint16 or int32


class WindowIds(Sequence[str]):
    """Names of windows, made when asked for."""

    def __init__(self, windows: range, window: int) -> None:
        self.windows, self.window = windows, window

    def __len__(self) -> int:
        return len(self.windows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> WindowIds: ...
    def __getitem__(self, place: int | slice) -> str | WindowIds:
        if isinstance(place, slice):
            return WindowIds(self.windows[place], self.window)
        return f"tokens from {self.windows[place] * self.window + 1:,}"


class CorpusSamples:
    """Row r holds the tokens r T to r T + T - 1 (the answers), each seen with those before it.

    With a generator, as training asks: the windows themselves, (ids (B T), rows (B,)); window r + 1 goes on where r
    ended. Without one every row comes as two windows of T tokens, each scored on the half that has the other half or
    more before it, the mask being False on the rest: (ids (2B T), rows (2B,), characters and bytes scored (2B 2)).
    So each token is scored once, and all but the first T / 2 have at least T / 2 before them.

    Args:
        tokens: the first is seen and never answered.
        sizes: (V 2) the characters and bytes that each token stands for.
    """

    arrangement: Arrangement = "streams"

    def __init__(self, tokens: Ids, window: int, sizes: NDArray[np.int64]) -> None:
        self.window, self.sizes = window, sizes
        self.num_tokens = len(tokens) - 1  # that are answered
        count = max(1, -(-self.num_tokens // window))
        self.tokens = np.full(count * window + 1, PAD, dtype=tokens.dtype)
        self.tokens[: len(tokens)] = tokens
        self.ids = WindowIds(range(count), window)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The logits of each row: they, not the ids, fill memory."""
        return np.full(len(self), 2 * self.window * len(self.sizes), dtype=np.int64)

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The windows of these rows."""
        chosen = rows.cpu().numpy()
        if generator is not None:
            return self._streams(rows, chosen)
        half = self.window // 2
        begins = np.stack((chosen * self.window, chosen * self.window + half), axis=1).reshape(-1)
        ends = np.stack((begins[::2] + half, (chosen + 1) * self.window), axis=1).reshape(-1)
        places = np.maximum(0, ends - self.window)[:, None] + np.arange(self.window)
        keep = (places >= begins[:, None]) & (places < np.minimum(ends, self.num_tokens)[:, None])
        targets = self.tokens[places + 1].astype(np.int64)
        scored = (self.sizes[targets] * keep[..., None]).sum(axis=1)
        twice = rows.cpu().repeat_interleave(2)
        inputs = (self._seen(places), twice, torch.from_numpy(scored))
        return Batch(inputs, torch.from_numpy(targets), twice, torch.from_numpy(keep))

    def _streams(self, rows: Tensor, chosen: NDArray[np.int64]) -> Batch:
        places = chosen[:, None] * self.window + np.arange(self.window)
        targets = torch.from_numpy(self.tokens[places + 1].astype(np.int64))
        whole = (int(chosen.max()) + 1) * self.window <= self.num_tokens
        mask = None if whole else torch.from_numpy(places < self.num_tokens)
        return Batch((self._seen(places), rows.cpu()), targets, rows.cpu(), mask)

    def _seen(self, places: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.tokens[places].astype(np.int64))


class StreamFront(nn.Module):
    """What the network is called with: the ids and the rows."""

    def forward(self, ids: Tensor, rows: Tensor, scored: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Leave out the sizes, which only scores need."""
        return ids, rows
