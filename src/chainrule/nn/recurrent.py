"""Stacks of recurrent layers by torch's fused kernels, over padded rows of any length.

The equations stand in ``functional/recurrent.py``; the two are held equal by tests/parity/test_recurrent.py.

Rows of unequal length are padded at their end. On a graphics card they are packed. On a processor torch packs only into
kernels that take three times as long, so there the dense kernels run over the padding too, and nothing of it remains:
forwards a row's outputs cannot depend on what comes later; backwards each row is reversed within its own length first;
and an lstm reads one more input that is 1 on padding and holds its cell there (forget gate 1, input gate 0).

Source: init: Saxe, McClelland, Ganguli 2014, arXiv:1312.6120 (orthogonal U: a product of many of them neither grows nor
    shrinks); Glorot, Bengio 2010 (uniform W); Jozefowicz, Zaremba, Sutskever 2015, section 2.2 (forget bias 1: at first
    the cell remembers).
Reference: torch.nn.RNN, GRU and LSTM, whose parameters are ours with "fused." before their names.
Differs: initial weights, see above; torch draws all of them from one uniform distribution.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chainrule.errors import InputError, nearest
from chainrule.functional.recurrent import CELLS, State, Weights

CellName = Literal["rnn", "gru", "lstm"]
FUSED: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
HOLD = 1e4  # added to a gate's sum: its sigmoid is then exactly 0 or 1 in every precision


class Recurrent(nn.Module):
    """Layers of one cell over (B T F), in one direction or both; ``out_features`` numbers a step.

    ``dropout`` falls on the outputs between layers. ``projection`` makes the h of an lstm so long (0: as ``hidden``).

    Example:
        >>> outputs, (h, c) = Recurrent("lstm", 3, 8, layers=2)(torch.zeros(5, 7, 3), torch.tensor([7, 2, 1, 4, 7]))
        >>> outputs.shape, h.shape
        (torch.Size([5, 7, 8]), torch.Size([2, 5, 8]))
    """

    def __init__(
        self, cell: str, in_features: int, hidden: int, *, layers: int = 1, bidirectional: bool = False,
        dropout: float = 0.0, projection: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_recurrent(cell, hidden, layers, dropout, projection)
        between = dropout if layers > 1 else 0.0
        projected = {"proj_size": projection} if projection else {}
        self.fused = FUSED[cell](
            in_features, hidden, layers, batch_first=True, dropout=between, bidirectional=bidirectional, **projected
        )
        self.cell, self.layers, self.directions, self.dropout = cell, layers, 2 if bidirectional else 1, between
        self.out_features = self.directions * (projection or hidden)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal U and Glorot's W for each gate, forget bias 1, other biases 0."""
        gates = CELLS[self.cell].gates
        for name, tensor in self.fused.named_parameters():
            if name.startswith("weight_hr"):
                nn.init.orthogonal_(tensor)
            elif name.startswith("weight_hh"):
                for gate in tensor.chunk(len(gates)):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight"):
                for gate in tensor.chunk(len(gates)):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(tensor)
                if self.cell == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(tensor.chunk(len(gates))[gates.index("forget")])

    def weights(self, layer: int, direction: int = 0) -> Weights:
        """The parameters of one layer in one direction, 1 being backwards."""
        end = f"l{layer}{'_reverse' if direction else ''}"
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", *(["weight_hr"] if self.fused.proj_size else [])]
        return Weights(*(getattr(self.fused, f"{name}_{end}") for name in names))

    def all_weights(self) -> list[list[Weights]]:
        """By layer and direction, as ``functional.recurrent.recurrent_slowly`` takes them."""
        return [[self.weights(layer, d) for d in range(self.directions)] for layer in range(self.layers)]

    def forward(
        self, x: Float[Tensor, "B T F"], lengths: Int[Tensor, " B"] | None = None, state: State | None = None
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """Outputs, 0 beyond a row's length, and each row's state after its own last step.

        A state is (h,), of an lstm (h, c), each (layers x directions, B, size); None begins with zeros.

        Raises:
            InputError: a length below 1 or above T.
        """
        if lengths is None or x.is_meta:  # where there are shapes alone, every row is whole
            return self._run_fused(x, state)
        if not x.is_cpu:
            explained = torch.is_grad_enabled() and not self.training  # cuDNN derives nothing in evaluation mode
            with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not explained):
                return self._packed(x, lengths, state)
        shortest, longest = (int(end) for end in lengths.aminmax())
        if shortest < 1 or longest > x.shape[1]:
            raise InputError(f"rows have 1 to {x.shape[1]} steps, got lengths from {shortest} to {longest}")
        return self._run_fused(x, state) if shortest == x.shape[1] else self._padded(x, lengths, state)

    def _run_fused(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        with _quiet(bool(self.fused.proj_size)):
            outputs, end = self.fused(x, state if state is None or self.cell == "lstm" else state[0])
        return outputs, end if self.cell == "lstm" else (end,)

    def _packed(self, x: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, end = self.fused(packed, state if state is None or self.cell == "lstm" else state[0])
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return padded, end if self.cell == "lstm" else (end,)

    def _padded(self, x: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        B, T, _ = x.shape
        steps = torch.arange(T)
        padding = (steps >= lengths[:, None])[..., None]  # (B, T, 1)
        mirrored = torch.where(padding[..., 0], steps, lengths[:, None] - 1 - steps)
        backwards = (mirrored + T * torch.arange(B)[:, None]).flatten()  # within each row, of all rows in a row
        last = lengths - 1 + T * torch.arange(B)
        ends: list[State] = []
        for layer in range(self.layers):
            x = F.dropout(x, self.dropout, self.training and layer > 0)
            outputs = []
            for direction in range(self.directions):
                begin = None if state is None else tuple(tensor[len(ends)] for tensor in state)
                row = _ordered(x, backwards) if direction else x
                output, end = run_layer(self.cell, self.weights(layer, direction), row, padding, begin)
                ends.append((output.flatten(0, 1).index_select(0, last), *end[1:]))
                outputs.append(_ordered(output, backwards) if direction else output)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return x.masked_fill(padding, 0), tuple(torch.stack(tensors) for tensors in zip(*ends, strict=True))


def run_layer(
    cell: str, weights: Weights, x: Tensor, padding: Tensor | None = None, state: State | None = None
) -> tuple[Float[Tensor, "B T D"], State]:
    """One layer in one direction by torch's kernel: outputs, and the state after step T.

    Where ``padding`` (B T 1) is True, an lstm holds its c; its h and the outputs mean nothing there.
    """
    tensors = weights.tensors
    gates, B = len(CELLS[cell].gates), x.shape[0]
    if state is None:
        sizes = (weights.hidden.shape[1], weights.hidden.shape[0] // gates)
        state = tuple(x.new_zeros(B, size) for size in sizes[: len(CELLS[cell].state)])
    begin = [tensor[None] for tensor in state]
    if cell != "lstm":
        kernel = torch.gru if cell == "gru" else torch.rnn_tanh
        outputs, h = kernel(x, begin[0], tensors, True, 1, 0.0, False, False, True)
        return outputs, (h[0],)
    if padding is not None:
        hold = x.new_tensor([-HOLD, HOLD, 0, 0]).repeat_interleave(weights.input.shape[0] // gates)
        tensors[0] = torch.cat((weights.input, hold[:, None].to(weights.input.dtype)), 1)
        x = torch.cat((x.masked_fill(padding, 0), padding.to(x.dtype)), -1)
    with _quiet(weights.projection is not None):
        outputs, h, c = torch.lstm(x, begin, tensors, True, 1, 0.0, torch.is_grad_enabled(), False, True)
    return outputs, (h[0], c[0])


@contextmanager
def _quiet(projected: bool) -> Iterator[None]:
    """Leaves out torch's word that oneDNN has no kernel with projection, so that torch's own is used."""
    if not projected:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        yield


def _ordered(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, places).view_as(x)


def check_recurrent(cell: str, hidden: int, layers: int, dropout: float, projection: int = 0) -> None:
    """Raise InputError unless these sizes make a stack of recurrent layers."""
    if cell not in CELLS:
        raise InputError(f"model.cell is {cell!r}; {nearest(cell, tuple(CELLS))}")
    if hidden < 1 or layers < 1:
        raise InputError(f"model.hidden and model.layers must be at least 1, got {hidden} and {layers}")
    if not 0 <= dropout < 1:
        raise InputError(f"model.dropout is a share from 0 to below 1, got {dropout}")
    if projection and (cell != "lstm" or not 0 < projection < hidden):
        raise InputError(f"model.projection is for an lstm and below model.hidden={hidden}, got {projection} ({cell})")


def reference_name(name: str) -> str:
    """A tensor's name in torch.nn.RNN, GRU or LSTM -> its name in ``Recurrent``."""
    return f"fused.{name}"
