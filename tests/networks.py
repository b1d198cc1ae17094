"""What parity and contract tests ask of a classifier of signals, images or clips."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.nn.convolution import BATCH_NORMS, CONVOLUTIONS

EXACT = 1e-10  # float64: dozens of layers, each reordering sums by some 1e-16
CLASSES = 5


def shake(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with batch norms and biases as after training: nothing is 0 or 1 by luck."""
    for module in network.modules():
        if isinstance(module, BATCH_NORMS):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            nn.init.normal_(module.bias, std=0.1)  # type: ignore[arg-type]
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network.to(dtype)


def copied(config: Any, build: Callable[[Any], nn.Module], theirs: nn.Module) -> nn.Module:
    """Our network with exactly the tensors of theirs."""
    with torch.device("meta"):
        ours = build(config)
    dtype = next(theirs.parameters()).dtype
    ours.to_empty(device="cpu").to(dtype).load_state_dict(theirs.state_dict(), strict=True)
    return ours


def gradients(network: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and the gradient of each parameter; dropout draws the same for every network."""
    torch.manual_seed(3)
    network.zero_grad()
    logits = network(image)
    F.cross_entropy(logits, torch.arange(len(image)) % CLASSES).backward()
    return logits.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_equal_in_float64(theirs: nn.Module, ours: nn.Module, image: Tensor) -> None:
    """Outputs, every gradient and the running statistics, in training (with dropout) and evaluation."""
    for training in (False, True):
        logits_a, grads_a = gradients(theirs.train(training), image)
        logits_b, grads_b = gradients(ours.train(training), image)
        assert float(logits_a.std()) > 1e-3, "a comparison of nothing"
        torch.testing.assert_close(logits_b, logits_a, rtol=EXACT, atol=EXACT)
        assert grads_b.keys() == grads_a.keys() == dict(ours.named_parameters()).keys()
        torch.testing.assert_close(grads_b, grads_a, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), rtol=EXACT, atol=EXACT)


def assert_near_in_float32(theirs: nn.Module, ours: nn.Module, image: Tensor) -> None:
    """In evaluation: 1e-5 of the largest logit, 1e-4 of the largest gradient (6e-8 grows over dozens of layers)."""
    logits_a, grads_a = gradients(theirs.eval(), image)
    logits_b, grads_b = gradients(ours.eval(), image)
    torch.testing.assert_close(logits_b, logits_a, rtol=0, atol=1e-5 * float(logits_a.abs().max()))
    for name, grad in grads_a.items():
        torch.testing.assert_close(grads_b[name], grad, rtol=0, atol=1e-4 * float(grad.abs().max()) + 1e-12)


def assert_equal_step(
    theirs: nn.Module, ours: nn.Module, image: Tensor, optimizer: type[torch.optim.Optimizer]
) -> None:
    """All parameters after one step in training mode, float64."""
    before = copy.deepcopy(ours.state_dict())
    for network in (theirs, ours):
        stepper = optimizer(network.train().parameters(), lr=0.01)  # type: ignore[call-arg]
        gradients(network, image)
        stepper.step()
    # AdamW divides by the gradient's own size, so a gradient of 1e-9 turns 1e-16 of rounding into 1e-9 of step
    atol = 1e-8 if optimizer is torch.optim.AdamW else EXACT
    torch.testing.assert_close(dict(ours.named_parameters()), dict(theirs.named_parameters()), rtol=EXACT, atol=atol)
    assert any(not torch.equal(before[name], p) for name, p in ours.named_parameters())


def assert_same_initial_weights(theirs: Callable[[], nn.Module], ours: Callable[[], nn.Module]) -> None:
    """An equal seed gives equal weights, bit for bit."""
    states = []
    for make in (theirs, ours):
        torch.manual_seed(7)
        states.append(make().state_dict())
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


def count_parameters(config: Any, build: Callable[[Any], nn.Module]) -> int:
    """The number of parameters, without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(config).parameters())


def random_input(config: Any, rows: int) -> Tensor:
    """Numbers of the shape that the config is for."""
    return torch.randn(rows, config.in_channels, *config.image_size, generator=torch.Generator().manual_seed(1))


def assert_contract(config: Any, build: Callable[[Any], nn.Module]) -> None:
    """Logits and embedding have their shapes, every parameter a finite gradient, rows are alone in evaluation."""
    torch.manual_seed(0)
    network, batch = build(config), random_input(config, 3)
    logits, grads = gradients(network, batch)
    assert logits.shape == (3, config.num_classes)
    for name, _ in network.named_parameters():
        assert name in grads, name
        assert grads[name].isfinite().all(), name
    network.eval()
    with torch.no_grad():
        whole = network(batch)
        alone = torch.cat([network(row[None]) for row in batch])
        assert network.features(batch).shape[0] == 3  # type: ignore[operator]
        assert network.features(batch).ndim == 2  # type: ignore[operator]
        assert torch.equal(whole, network(batch))
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)  # float32 kernels differ by batch size


def assert_runs_in_bfloat16(config: Any, build: Callable[[Any], nn.Module]) -> None:
    """Autocast gives finite logits and float32 gradients."""
    torch.manual_seed(0)
    network = build(config)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(random_input(config, 2))
    logits.float().square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


def assert_a_still_clip_is_an_image(image_config: Any, clip_config: Any, build: Callable[[Any], nn.Module]) -> None:
    """The 3-D network whose kernels see only their middle frame gives on equal frames what the 2-D one gives.

    The "boring video" of Carreira and Zisserman 2017, arXiv:1705.07750: ties the 3-D network to the 2-D reference.
    """
    torch.manual_seed(0)
    network, clip_network = shake(build(image_config), torch.float64), build(clip_config).double()
    state = dict(network.state_dict())
    for name, module in clip_network.named_modules():
        if isinstance(module, CONVOLUTIONS):
            inflated = torch.zeros_like(module.weight)
            inflated[:, :, inflated.shape[2] // 2] = state[f"{name}.weight"]
            state[f"{name}.weight"] = inflated
    clip_network.load_state_dict(state, strict=True)
    clip = random_input(clip_config, 2).double()[:, :, :1].expand(-1, -1, clip_config.image_size[0], -1, -1)
    with torch.no_grad():
        expected = network.eval()(clip[:, :, 0])
        torch.testing.assert_close(clip_network.eval()(clip), expected, rtol=EXACT, atol=EXACT)


def assert_learns_one_batch(config: Any, build: Callable[[Any], nn.Module], steps: int = 200) -> None:
    """Six random images with random classes are learned by heart."""
    torch.manual_seed(0)
    network, batch = build(config), random_input(config, 6)
    targets = torch.arange(6) % config.num_classes
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = F.cross_entropy(network(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        if last < 0.02:
            return
    pytest.fail(f"the loss is still {last:.3f}")
