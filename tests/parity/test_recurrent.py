"""Cells, layers and stacks against torch.nn.RNN, GRU and LSTM; the slow twin against the fast one; padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chainrule.errors import InputError
from chainrule.functional.recurrent import CELLS, Weights, recurrent_slowly
from chainrule.nn.recurrent import FUSED, Recurrent, reference_name

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64; sums of some dozens of products in another order
LENGTHS = torch.tensor([6, 1, 9, 4, 9])
STACKS: list[dict[str, Any]] = [
    {}, {"layers": 3}, {"bidirectional": True}, {"layers": 2, "bidirectional": True, "dropout": 0.5},
]  # fmt: skip
CASES = [(cell, stack) for cell in CELLS for stack in STACKS]
CASES += [("lstm", {**stack, "projection": 3}) for stack in STACKS]


def pair(cell: str, stack: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[Recurrent, nn.RNNBase]:
    """Our stack with exactly the weights of torch's, which none is 0 or 1 by luck; both in evaluation mode."""
    torch.manual_seed(0)
    options = {"proj_size": stack["projection"]} if "projection" in stack else {}
    theirs = FUSED[cell](
        4, 7, stack.get("layers", 1), batch_first=True, dropout=stack.get("dropout", 0.0),
        bidirectional=stack.get("bidirectional", False), **options,
    )  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.6)
    ours = Recurrent(cell, 4, 7, **stack)
    ours.load_state_dict({reference_name(name): tensor for name, tensor in theirs.state_dict().items()}, strict=True)
    return ours.to(dtype).eval(), theirs.to(dtype).eval()


def begin(cell: str, recurrent: Recurrent, rows: int) -> tuple[Tensor, ...]:
    fused = recurrent.fused
    sizes = (fused.proj_size or fused.hidden_size, fused.hidden_size)[: len(CELLS[cell].state)]
    return tuple(torch.randn(recurrent.layers * recurrent.directions, rows, size).double() for size in sizes)


def as_tuple(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def derivatives(run: Any, network: nn.Module, x: Tensor, state: Any) -> dict[str, Tensor]:
    """Outputs, last states and every gradient of a random direction in them."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    state = None if state is None else tuple(tensor.clone().requires_grad_() for tensor in state)
    outputs, end = run(x, state)
    found = {"outputs": outputs, **{f"end{i}": tensor for i, tensor in enumerate(as_tuple(end))}}
    torch.manual_seed(5)
    directions = [torch.randn(tensor.shape, dtype=torch.float64).to(tensor) for tensor in found.values()]
    torch.autograd.backward(list(found.values()), directions)
    found |= {"dx": x.grad, **{f"dbegin{i}": tensor.grad for i, tensor in enumerate(state or ())}}  # type: ignore[dict-item]
    found |= {f"d{name.removeprefix('fused.')}": p.grad for name, p in network.named_parameters()}  # type: ignore[misc]
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def torch_state(cell: str, state: Any) -> Any:
    return state if state is None or cell == "lstm" else state[0]


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize(("cell", "stack"), CASES)
def test_stacks(cell: str, stack: dict[str, Any], carried: bool) -> None:
    ours, theirs = pair(cell, stack)
    x = torch.randn(5, 9, 4).double()
    state = begin(cell, ours, 5) if carried else None
    a = derivatives(lambda x, s: ours(x, None, s), ours, x, state)
    b = derivatives(lambda x, s: theirs(x, torch_state(cell, s)), theirs, x, state)
    assert float(b["outputs"].std()) > 0.05, "a comparison of nothing"
    torch.testing.assert_close(a, b, **EXACT)
    slow = derivatives(lambda x, s: recurrent_slowly(cell, ours.all_weights(), x, None, s), ours, x, state)
    torch.testing.assert_close(slow, b, **EXACT)


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize(("cell", "stack"), CASES)
def test_packed_is_padded_is_one_at_a_time_is_slow(cell: str, stack: dict[str, Any], carried: bool) -> None:
    ours, theirs = pair(cell, stack)
    x = torch.randn(5, 9, 4).double()
    state = begin(cell, ours, 5) if carried else None

    def packed(x: Tensor, state: Any) -> Any:
        rows = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        outputs, end = theirs(rows, torch_state(cell, state))
        return pad_packed_sequence(outputs, batch_first=True, total_length=9)[0], end

    def alone(x: Tensor, state: Any) -> Any:
        parts = []
        for row, length in enumerate(LENGTHS.tolist()):
            own = None if state is None else tuple(tensor[:, row : row + 1] for tensor in state)
            outputs, end = ours(x[row : row + 1, :length], None, own)
            parts.append((nn.functional.pad(outputs, (0, 0, 0, 9 - length)), *end))
        outputs, *end = zip(*parts, strict=True)
        return torch.cat(outputs), tuple(torch.cat(tensors, 1) for tensors in end)

    expected = derivatives(packed, theirs, x, state)
    ways: dict[str, tuple[Any, nn.Module]] = {
        "padded": (lambda x, s: ours(x, LENGTHS, s), ours),
        "alone": (alone, ours),
        "slow": (lambda x, s: recurrent_slowly(cell, ours.all_weights(), x, LENGTHS, s), ours),
        "as on a graphics card": (lambda x, s: ours._packed(x, LENGTHS, s), ours),
    }
    for way, (run, network) in ways.items():
        torch.testing.assert_close(
            derivatives(run, network, x, state), expected, **EXACT, msg=lambda m, w=way: f"{w}: {m}"
        )


@pytest.mark.parametrize(("cell", "stack"), CASES)
def test_padding_is_never_seen(cell: str, stack: dict[str, Any]) -> None:
    ours, _ = pair(cell, stack)
    x = torch.randn(5, 9, 4).double()
    padding = torch.arange(9) >= LENGTHS[:, None]
    noise = torch.where(padding[..., None], 1e6 * torch.randn_like(x), x)
    a, b = (derivatives(lambda x, s: ours(x, LENGTHS, s), ours, inputs, None) for inputs in (x, noise))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert not a["outputs"][padding].any()
    assert not a["dx"][padding].any()


@pytest.mark.parametrize(("cell", "stack"), CASES)
def test_float32_by_its_own_kernel(cell: str, stack: dict[str, Any]) -> None:
    """float32 takes another kernel (oneDNN's) for an lstm; 1e-5 is some 100 roundings of 6e-8."""
    ours, _ = pair(cell, stack, torch.float32)
    exact, _ = pair(cell, stack)
    x = torch.randn(5, 9, 4)
    for lengths in (None, LENGTHS):
        a = derivatives(lambda x, s, lengths=lengths: ours(x, lengths, s), ours, x, None)
        b = derivatives(lambda x, s, lengths=lengths: exact(x, lengths, s), exact, x.double(), None)
        for name in b:
            torch.testing.assert_close(a[name].double(), b[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", list(CELLS))
def test_one_step_of_the_cell(cell: str) -> None:
    """Against torch's own single cells, which share no kernel with the stacks."""
    torch.manual_seed(1)
    theirs = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell](3, 6).double()
    weights = Weights(theirs.weight_ih, theirs.weight_hh, theirs.bias_ih, theirs.bias_hh)
    x, state = torch.randn(4, 3).double(), tuple(torch.randn(len(CELLS[cell].state), 4, 6).double())
    step = CELLS[cell].step(x, state, weights)
    torch.testing.assert_close(step.state, as_tuple(theirs(x, torch_state(cell, state))), **EXACT)
    assert tuple(step.gates) == CELLS[cell].gates


@pytest.mark.parametrize("cell", list(CELLS))
def test_a_training_step(cell: str) -> None:
    ours, theirs = pair(cell, {"layers": 2})
    x = torch.randn(5, 9, 4).double()
    for network in (ours.train(), theirs.train()):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network(x)[0].square().sum().backward()
        optimizer.step()
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(mine[reference_name(name)], parameter, **EXACT)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_dropout_falls_between_layers_in_training_alone(lengths: Tensor | None) -> None:
    torch.manual_seed(0)
    network, x = Recurrent("gru", 4, 7, layers=2, dropout=0.5), torch.randn(5, 9, 4)
    drawn = [network.train()(x, lengths)[0] for _ in range(2)]
    assert not torch.equal(*drawn)
    assert float((drawn[0] == 0).double().mean()) < 0.5  # what is handed on is whole
    calm = [network.eval()(x, lengths)[0] for _ in range(2)]
    assert torch.equal(*calm)


@pytest.mark.parametrize("cell", list(CELLS))
def test_bfloat16(cell: str) -> None:
    network, x = Recurrent(cell, 4, 8, layers=2, bidirectional=True), torch.randn(5, 9, 4)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, end = network(nn.functional.linear(x, torch.eye(4)), LENGTHS)
    sum(tensor.float().square().sum() for tensor in (outputs, *end)).backward()  # type: ignore[union-attr]
    exact = network(x, LENGTHS)[0]
    torch.testing.assert_close(outputs.float(), exact, rtol=0.05, atol=0.02)  # bfloat16 has 8 bits
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_how_it_starts() -> None:
    network = Recurrent("lstm", 4, 6, layers=2, bidirectional=True)
    for weights in (weights for layer in network.all_weights() for weights in layer):
        for gate in weights.hidden.detach().chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-5)
        assert (weights.input_bias + weights.hidden_bias).tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"cell": "lsmt"}, "lstm"), ({"hidden": 0}, "at least 1"), ({"layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout"), ({"cell": "gru", "projection": 2}, "projection"), ({"projection": 8}, "below"),
    ],
)  # fmt: skip
def test_wrong_settings_say_how_to_fix(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Recurrent(**{"cell": "lstm", "in_features": 3, "hidden": 8, **settings})


@pytest.mark.parametrize("lengths", [[0, 3], [3, 10]])
def test_wrong_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(InputError, match="1 to 9 steps"):
        Recurrent("gru", 4, 7)(torch.zeros(2, 9, 4), torch.tensor(lengths))
