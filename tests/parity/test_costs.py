"""What reconstructions cost equals torch.distributions: pixels, numbers and tokens; and what a whole row pays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from chainrule.data.schema import InputTarget
from chainrule.models.autoencoder import Autoencoder, AutoencoderConfig
from chainrule.models.vae import VAE, VAEConfig
from chainrule.tasks.costs import Costs

EXACT = 1e-10
MEAN, STD = (0.3, 0.5), (0.2, 0.4)
PIXELS = InputTarget(form="pixels", mean=MEAN, std=STD)
ROWS = 5


def costs(target: InputTarget, shape: tuple[int, ...], likelihood: str = "auto") -> Any:
    return Costs(Autoencoder(AutoencoderConfig(shape=shape, widths=(4,))), target, likelihood).double()


def seen_of(pixels: Tensor) -> Tensor:
    return (pixels - torch.tensor(MEAN).double().view(-1, 1, 1)) / torch.tensor(STD).double().view(-1, 1, 1)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("flat", [False, True])
def test_pixels_as_shares_of_white(flat: bool) -> None:
    shape = (2 * 3 * 4,) if flat else (2, 3, 4)
    network, logits = costs(PIXELS, shape), double(ROWS, *shape)
    for pixels in (torch.randint(2, (ROWS, 2, 3, 4)).double(), torch.rand(ROWS, 2, 3, 4, dtype=torch.float64)):
        found = network.nats((seen_of(pixels).reshape(ROWS, *shape),), logits)
        wanted = -Bernoulli(logits=logits, validate_args=False).log_prob(pixels.reshape(ROWS, *shape))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)  # means and spreads are float32
    assert float(found.min()) > 0
    assert not [name for name, _ in network.named_parameters() if name == "log_std"]


@pytest.mark.parametrize("std", [1.0, 0.3])
def test_pixels_and_numbers_as_normal(std: float) -> None:
    for target, shape in (
        (PIXELS, (2, 3, 4)),
        (InputTarget(form="numbers"), (6,)),
        (InputTarget(form="numbers"), (4, 3)),
    ):
        network, outputs = costs(target, shape, "gaussian"), double(ROWS, *shape)
        network.log_std.data.fill_(std).log_()
        rows = torch.rand(ROWS, *shape, dtype=torch.float64)
        seen = seen_of(rows) if target is PIXELS else rows
        wanted = -Normal(outputs, std).log_prob(rows)
        torch.testing.assert_close(network.nats((seen,), outputs), wanted, rtol=1e-6, atol=1e-6)
        if target is not PIXELS:
            torch.testing.assert_close(network.nats((seen,), outputs), wanted, rtol=EXACT, atol=EXACT)


def test_the_learned_spread_is_the_best_one() -> None:
    network, rows, outputs = costs(InputTarget(form="numbers"), (6,)), double(50, 6), double(50, 6)
    spread = (rows - outputs).square().mean().sqrt()
    network.log_std.data.copy_(spread.log())
    (grad,) = torch.autograd.grad(network.nats((rows,), outputs).sum(), network.log_std)
    assert abs(float(grad)) < 1e-9  # 300 terms of about 1


def test_what_is_not_known_costs_nothing() -> None:
    network, rows, outputs = costs(InputTarget(form="numbers"), (4, 3)), double(ROWS, 4, 3), double(ROWS, 4, 3)
    known = (torch.rand(ROWS, 4, 3) > 0.4).double()
    found = network.nats((rows, known), outputs)
    torch.testing.assert_close(found, -Normal(outputs, 1.0).log_prob(rows) * known, rtol=EXACT, atol=EXACT)
    other = torch.where(known > 0, rows, 1e3)
    assert torch.equal(network.nats((other, known), outputs), found)
    torch.testing.assert_close(network.squares((rows, known), outputs), (rows - outputs) ** 2 * known)


def test_tokens_within_their_rows() -> None:
    network, lengths = costs(InputTarget(form="tokens", vocab_size=7), (4, 7)), torch.tensor([4, 2, 1, 3, 4])
    tokens, logits = torch.randint(7, (ROWS, 4)), double(ROWS, 4, 7)
    within = torch.arange(4) < lengths[:, None]
    wanted = -Categorical(logits=logits).log_prob(tokens) * within
    torch.testing.assert_close(network.nats((tokens, lengths), logits), wanted, rtol=EXACT, atol=EXACT)


def test_a_row_of_a_vae_pays_minus_its_evidence_lower_bound() -> None:
    network = Costs(VAE(VAEConfig(shape=(2, 3, 4), widths=(8,), code=3)), PIXELS, "auto").double().train()
    pixels = torch.rand(ROWS, 2, 3, 4, dtype=torch.float64)
    seen, coder = seen_of(pixels), network.network
    torch.manual_seed(5)
    paid = network(seen)
    torch.manual_seed(5)
    q = Normal(*(part.double() for part in (coder.posterior(seen)[0], (coder.posterior(seen)[1] / 2).exp())))
    logits = coder.decode(q.rsample())
    reconstruction = -Bernoulli(logits=logits, validate_args=False).log_prob(pixels).sum((1, 2, 3))
    divergence = kl_divergence(q, Normal(torch.zeros(ROWS, 3, dtype=torch.float64), 1.0)).sum(1)
    torch.testing.assert_close(paid, torch.stack((reconstruction, divergence), 1), rtol=1e-6, atol=1e-6)
