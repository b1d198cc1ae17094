"""What tests ask of a network that gives logits for every pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from chainrule.nn.convolution import BATCH_NORMS

EXACT = 1e-10  # float64: dozens of layers, each reordering sums by some 1e-16


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def objective(logits: Tensor) -> Tensor:
    """A mean of the logits, each with a random factor of its own: its gradient forgets no pixel."""
    factors = torch.randn(logits.shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(2))
    return (logits * factors).mean() * 100


def answers(network: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and the gradient of each parameter that has one."""
    network.zero_grad()
    logits = network(image)
    objective(logits).backward()
    return logits.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_equal(
    theirs: nn.Module, ours: nn.Module, rename: Callable[[str], str], image: Tensor, tolerance: float = EXACT
) -> None:
    """Outputs, every gradient and the running statistics, in evaluation and in training."""
    for training in (False, True):
        logits_a, grads_a = answers(theirs.train(training), image)
        logits_b, grads_b = answers(ours.train(training), image)
        assert float(logits_a.std()) > 1e-3, "a comparison of nothing"
        torch.testing.assert_close(logits_b, logits_a, rtol=tolerance, atol=tolerance)
        expected = {rename(name): grad for name, grad in grads_a.items()}
        assert grads_b.keys() == expected.keys() == dict(ours.named_parameters()).keys()
        assert all(bool(grad.any()) for grad in expected.values()), "a comparison of nothing"
        torch.testing.assert_close(grads_b, expected, rtol=tolerance, atol=tolerance)
    statistics = {rename(name): x for name, x in theirs.named_buffers()}
    torch.testing.assert_close(dict(ours.named_buffers()), statistics, rtol=tolerance, atol=tolerance)


def assert_equal_step(
    theirs: nn.Module, ours: nn.Module, rename: Callable[[str], str], image: Tensor,
    optimizer: type[torch.optim.Optimizer],
) -> None:  # fmt: skip
    """All parameters after one step in training mode."""
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for network in (theirs, ours):
        stepper = optimizer(network.train().parameters(), lr=0.01)  # type: ignore[call-arg]
        answers(network, image)
        stepper.step()
    # AdamW divides by the gradient's own size, so a gradient of 1e-9 turns 1e-16 of rounding into 1e-9 of step
    atol = 1e-8 if optimizer is torch.optim.AdamW else EXACT
    expected = {rename(name): p for name, p in theirs.named_parameters()}
    torch.testing.assert_close(dict(ours.named_parameters()), expected, rtol=EXACT, atol=atol)
    assert all(not torch.equal(before[name], p) for name, p in ours.named_parameters())


def all_positive(network: Any) -> Any:
    """The network with positive weights and nothing added: what an input touches, and only that, becomes positive."""
    for module in network.double().eval().modules():
        if isinstance(module, BATCH_NORMS):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
        elif isinstance(getattr(module, "weight", None), Tensor):
            nn.init.uniform_(module.weight, 0.5 / module.weight[0].numel(), 1 / module.weight[0].numel())
        if isinstance(getattr(module, "bias", None), Tensor):
            nn.init.zeros_(module.bias)
    return network


def furthest_touched(network: Any, across: int, side: int) -> int:
    """How far from a pixel with a value, of an image that is zero elsewhere, the logits change; from every place."""
    all_positive(network)
    furthest = 0
    for place in range(side // 2, side // 2 + network.multiples[-1]):
        image = torch.zeros(1, 1, *(across,) * (len(network.multiples) - 1), side, dtype=torch.float64)
        image[..., place] = 1.0  # small enough for ReLU6
        with torch.no_grad():
            touched = (network(image) > 0).flatten(0, -2).any(dim=0).nonzero().flatten()
        assert int(touched.min()) > 0, "the image is too small"
        assert int(touched.max()) < side - 1, "the image is too small"
        furthest = max(furthest, place - int(touched.min()), int(touched.max()) - place)
    return furthest
