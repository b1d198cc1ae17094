"""What codes cost: gradients against finite differences, in the functions and through whole networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from chainrule.functional.coding import absolute_sum, codebook_costs, gaussian_kl, nearest, straight_through
from chainrule.models.autoencoder import Autoencoder, AutoencoderConfig
from chainrule.models.sparse import Sparse, SparseConfig
from chainrule.models.vae import VAE, VAEConfig
from chainrule.models.vq_vae import VQVAE, VQVAEConfig

B, N, D, K = 3, 2, 4, 5


def numbers(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=grad)


def test_the_kl_divergence() -> None:
    assert gradcheck(gaussian_kl, (numbers(B, D), numbers(B, D)))


def test_the_absolute_sum() -> None:
    code = numbers(B, D, grad=False)
    assert gradcheck(absolute_sum, ((code + 0.1 * code.sign()).requires_grad_(),))  # away from the corner at 0


def test_each_side_of_the_codebook_costs_moves_its_own() -> None:
    z, entries = numbers(B, N, D), numbers(B, N, D)
    assert gradcheck(lambda e: codebook_costs(z.detach(), e)[0], (entries,))
    assert gradcheck(lambda x: codebook_costs(x, entries.detach())[1], (z,))
    codebook, commitment = codebook_costs(z, entries)
    assert torch.equal(codebook, commitment)
    assert torch.autograd.grad(codebook.sum(), z, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(commitment.sum(), entries, allow_unused=True) == (None,)


def test_straight_through_hands_z_the_gradient_that_the_entries_have() -> None:
    z, codebook, weights = numbers(B, N, D), numbers(K, D), numbers(N, D, grad=False)

    def loss(code: Tensor) -> Tensor:
        return ((weights * code).sum((1, 2)) ** 3).sum()

    entries = codebook[nearest(z, codebook)].detach()
    assert torch.equal(straight_through(z, entries), entries)
    grad, of_codebook = torch.autograd.grad(
        loss(straight_through(z, codebook[nearest(z, codebook)])), (z, codebook), allow_unused=True
    )
    assert of_codebook is None
    step = 1e-6
    for place in range(entries.numel()):
        moved = torch.zeros(entries.numel(), dtype=torch.float64).index_fill(0, torch.tensor(place), step)
        higher, lower = (loss(entries + sign * moved.view_as(entries)) for sign in (1, -1))
        torch.testing.assert_close(grad.flatten()[place], (higher - lower) / (2 * step), rtol=1e-6, atol=1e-6)


NETWORKS: dict[str, Any] = {
    "autoencoder": lambda shape, widths: Autoencoder(AutoencoderConfig(shape=shape, code=3, widths=widths)),
    "sparse": lambda shape, widths: Sparse(SparseConfig(shape=shape, code=3, widths=widths)),
    "vae": lambda shape, widths: VAE(VAEConfig(shape=shape, code=3, widths=widths)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5, 4)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_through_whole_networks(name: str, shape: tuple[int, ...], training: bool) -> None:
    network: nn.Module = NETWORKS[name](shape, (4,)).double().train(training)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.7)
    inputs, draw = numbers(B, *shape, grad=False), numbers(B, 3, grad=False)
    state = dict(network.named_parameters())

    class Paid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self) -> tuple[Tensor, ...]:
            return self.network.coded((inputs,), draw)  # type: ignore[operator,no-any-return]

    def paid(*parameters: Tensor) -> tuple[Tensor, ...]:
        given = {f"network.{key}": value for key, value in zip(state, parameters, strict=True)}
        built, costs = functional_call(Paid(), given)
        return (built, costs) if costs.numel() else (built,)

    assert gradcheck(paid, tuple(p.detach().clone().requires_grad_() for p in state.values()))


def test_a_codebook_learns_from_its_own_cost_alone() -> None:
    network = VQVAE(VQVAEConfig(shape=(5,), places=2, codes=4, code_dim=3, widths=(4,))).double()
    built, costs = network.coded((numbers(B, 5, grad=False),))
    assert torch.autograd.grad(built.sum(), network.codebook, allow_unused=True, retain_graph=True) == (None,)
    (grad,) = torch.autograd.grad(costs.sum(), network.codebook)
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0
