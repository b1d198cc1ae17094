"""Autoencoders equal plain layers written down once more: outputs, what rows pay, all gradients, a step; in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from chainrule.functional.coding import codebook_costs, gaussian_kl, nearest, straight_through
from chainrule.models.autoencoder import Autoencoder, AutoencoderConfig
from chainrule.models.denoising import Denoising, DenoisingConfig
from chainrule.models.sparse import Sparse, SparseConfig
from chainrule.models.vae import VAE, VAEConfig
from chainrule.models.vq_vae import VQVAE, VQVAEConfig

EXACT = 1e-10  # float64: a few hundred sums, each off by 1e-16
ROWS = 6
FORMS: dict[str, dict[str, Any]] = {
    "vector": {"shape": (7,), "widths": (6, 5)},
    "window": {"shape": (4, 3), "widths": (8,)},
    "picture as vector": {"shape": (2, 5, 4), "widths": (9,), "layout": "dense"},
    "odd picture": {"shape": (1, 7, 9), "widths": (3,), "layout": "convolutional"},
    "coloured picture": {"shape": (3, 12, 13), "widths": (4, 5), "layout": "convolutional"},
}
FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
Given = dict[str, Any]


class Coders(nn.Module):
    """What nn/coders.py builds, layer by layer: rows to ``outputs`` numbers, ``code`` numbers to rows."""

    def __init__(self, form: Given, outputs: int, code: int, places: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shape, self.places = form["shape"], places
        self.pictures = len(self.shape) == 3 and form.get("layout") != "dense"
        widths = form["widths"]
        if not self.pictures:
            sizes = (math.prod(self.shape), *widths)
            self.ways_down = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise((*sizes, outputs)))
            self.ways_up = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise((code, *sizes[::-1])))
            return
        channels, self.sides = (self.shape[0], *widths), [self.shape[1:]]
        for _ in widths:
            self.sides.append(tuple((side + 1) // 2 for side in self.sides[-1]))
        coarsest = widths[-1] * math.prod(self.sides[-1])
        self.ways_down = nn.ModuleList()
        for a, b in itertools.pairwise(channels):
            self.ways_down += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b)]
        self.ways_down.append(nn.Conv2d(widths[-1], outputs, 1) if places else nn.Linear(coarsest, outputs))
        stem = nn.Conv2d(code, widths[-1], 3, padding=1) if places else nn.Linear(code, coarsest)
        self.ways_up = nn.ModuleList([stem])
        for a, b in itertools.pairwise(channels[::-1]):
            last = b is channels[0] and len(self.ways_up) == 2 * len(widths) - 1
            self.ways_up.append(nn.ConvTranspose2d(a, b, 3, 2, 1, bias=last))
            if not last:
                self.ways_up.append(nn.BatchNorm2d(b))

    def down(self, x: Tensor) -> Tensor:
        if not self.pictures:
            x = x.reshape(len(x), -1)
            for layer in self.ways_down[:-1]:
                x = F.relu(layer(x))
            return self.ways_down[-1](x)
        for place in range(0, len(self.ways_down) - 1, 2):
            x = F.relu(self.ways_down[place + 1](self.ways_down[place](x)))
        return self.ways_down[-1](x if self.places else x.reshape(len(x), -1))

    def up(self, code: Tensor) -> Tensor:
        x = self.ways_up[0](code)
        if not self.pictures:
            for layer in self.ways_up[1:]:
                x = layer(F.relu(x))
            return x.reshape(len(x), *self.shape)
        x = F.relu(x)
        if not self.places:
            x = x.reshape(len(x), -1, *self.sides[-1])
        for place in range(1, len(self.ways_up), 2):
            level = len(self.sides) - 2 - place // 2
            x = self.ways_up[place](x, output_size=self.sides[level])
            if place + 1 < len(self.ways_up):
                x = F.relu(self.ways_up[place + 1](x))
        return x


def with_parameters(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if not list(one.children()) and list(one.state_dict())]


def paired(ours: Any, plain: Coders) -> list[tuple[nn.Module, nn.Module]]:
    """The layers of both in their order, with equal weights."""
    pairs = []
    for mine, theirs in ((ours.encoder, plain.ways_down), (ours.decoder, plain.ways_up)):
        pairs += list(zip(with_parameters(mine), with_parameters(theirs), strict=True))
    for own, other in pairs:
        if isinstance(other, nn.BatchNorm2d):
            nn.init.uniform_(other.weight, 0.5, 1.5)
            nn.init.normal_(other.bias, std=0.3)
            nn.init.normal_(other.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(other.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        own.load_state_dict(other.state_dict(), strict=True)
    return pairs


Way = Callable[[Tensor], tuple[Tensor, Tensor]]  # rows to what is built and what each row pays


def compared(ours: Any, plain: Coders, theirs: Way, beside: tuple[Tensor | None, ...] = (), **given: Any) -> None:
    """In training and evaluation: outputs, costs, gradients of inputs and weights, moving statistics, a step of SGD."""
    pairs = paired(ours, plain)
    extra = [(p, other) for p, other in zip(ours.parameters(recurse=False), beside, strict=True) if other is not None]
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(ROWS, *plain.shape, dtype=torch.float64, generator=generator)
    for training in (False, True):
        ours.train(training)
        plain.train(training)
        results = []
        for way in (lambda x: ours.coded((x,), **given), theirs):
            x = rows.clone().requires_grad_()
            torch.manual_seed(3)
            built, paid = way(x)
            ((built**2).sum() + (paid * torch.arange(1, paid.shape[1] + 1)).sum()).backward()
            results.append((built, paid, x.grad))
        for mine, other in zip(*results, strict=True):
            torch.testing.assert_close(mine, other, rtol=EXACT, atol=EXACT)
    for own, other in pairs:
        for (name, p), q in zip(own.named_parameters(), other.parameters(), strict=True):
            assert q.grad is not None
            torch.testing.assert_close(p.grad, q.grad, rtol=EXACT, atol=EXACT, msg=name)
        for b, c in zip(own.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(b, c, rtol=EXACT, atol=EXACT)
    for p, q in extra:
        torch.testing.assert_close(p.grad, q.grad, rtol=EXACT, atol=EXACT)
    for network in (ours, plain):
        torch.optim.SGD(network.parameters(), lr=0.01).step()
    for own, other in pairs:
        for p, q in zip(own.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=EXACT, atol=EXACT)


@FORM
def test_autoencoder(form: Given) -> None:
    ours = Autoencoder(AutoencoderConfig(**form, code=3)).double()
    plain = Coders(form, 3, 3).double()
    compared(ours, plain, lambda x: (plain.up(plain.down(x)), x.new_zeros(len(x), 0)))
    x = torch.randn(ROWS, *plain.shape, dtype=torch.float64)
    torch.testing.assert_close(ours.eval().encode(x), plain.eval().down(x), rtol=EXACT, atol=EXACT)
    assert torch.equal(ours(x), ours.decode(ours.encode(x)))


@FORM
@pytest.mark.parametrize("noise", ["masking", "gaussian"])
def test_denoising(form: Given, noise: Any) -> None:
    ours = Denoising(DenoisingConfig(**form, code=3, noise=noise, level=0.4)).double()
    plain = Coders(form, 3, 3).double()

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        spoiled = x
        if plain.training and noise == "masking":
            spoiled = torch.where(torch.rand(x.shape, dtype=x.dtype) < 0.4, 0.0, x)
        elif plain.training:
            spoiled = x + torch.normal(0.0, torch.full(x.shape, 0.4, dtype=x.dtype))
        return plain.up(plain.down(spoiled)), x.new_zeros(len(x), 0)

    compared(ours, plain, theirs)


def test_noise_hides_its_share_in_training_only() -> None:
    network = Denoising(DenoisingConfig(shape=(50, 40), level=0.3))
    rows = torch.randn(100, 50, 40)
    spoiled = network.spoiled(rows)
    assert float((spoiled == 0).float().mean()) == pytest.approx(0.3, abs=0.005)  # 200,000 draws: +- 0.001
    assert torch.equal(spoiled[spoiled != 0], rows[spoiled != 0])
    assert network.eval().spoiled(rows) is rows
    noisy = Denoising(DenoisingConfig(shape=(50, 40), noise="gaussian", level=0.3)).spoiled(rows) - rows
    assert float(noisy.std()) == pytest.approx(0.3, abs=0.005)


@FORM
def test_sparse(form: Given) -> None:
    ours = Sparse(SparseConfig(**form, code=5, weight=0.7)).double()
    plain = Coders(form, 5, 5).double()
    bias = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64).requires_grad_()
    ours.bias.data.copy_(bias.data)
    moving = [torch.rand(5, dtype=torch.float64), 1 + torch.rand(5, dtype=torch.float64)]
    ours.norm.running_mean.copy_(moving[0])
    ours.norm.running_var.copy_(moving[1])

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        z = plain.down(x)
        mean, var = moving
        if plain.training:
            mean, var = z.mean(0), z.var(0, unbiased=False)
        code = (((z - mean) / (var + 1e-5).sqrt()) + bias).clamp(min=0)
        return plain.up(code), 0.7 * code.norm(p=1, dim=1, keepdim=True)

    compared(ours, plain, theirs, (bias,))


@FORM
@pytest.mark.parametrize("drawn", [True, False])
def test_vae(form: Given, drawn: bool) -> None:
    ours = VAE(VAEConfig(**form, code=3)).double()
    plain = Coders(form, 6, 3).double()
    draw = torch.randn(ROWS, 3, dtype=torch.float64) if drawn else None

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = plain.down(x)
        q = Normal(outputs[:, :3], (outputs[:, 3:] / 2).exp())
        free = q.rsample() if plain.training and not drawn else q.mean
        code = q.loc + q.scale * draw if drawn else free
        paid = kl_divergence(q, Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))).sum(1, keepdim=True)
        return plain.up(code), paid

    compared(ours, plain, theirs, draw=draw)


def test_the_kl_divergence_is_torchs() -> None:
    mean, log_var = torch.randn(20, 4, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    q = Normal(mean, (log_var / 2).exp())
    wanted = kl_divergence(q, Normal(torch.zeros(4, dtype=torch.float64), 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_var), wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


class HandOver(torch.autograd.Function):
    """Forward the entries, backward their gradient to z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, entries: Tensor) -> Tensor:
        return entries.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@FORM
@pytest.mark.parametrize("places", [0, 3])
def test_vq_vae(form: Given, places: int) -> None:
    ours = VQVAE(VQVAEConfig(**form, places=places, codes=9, code_dim=2, commitment=0.4)).double()
    grid = ours.grid or ()
    assert bool(grid) == (not places and len(form["shape"]) == 3 and form.get("layout") != "dense")
    N = ours.places
    ours.norm.running_mean.fill_(0.2)
    ours.norm.running_var.fill_(1.7)
    plain = Coders(form, 2 if grid else N * 2, 2 if grid else N * 2, grid).double()
    codebook = ours.codebook.detach().clone().requires_grad_()

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = plain.down(x)
        z = outputs.permute(0, 2, 3, 1).reshape(-1, 2) if grid else outputs.reshape(-1, 2)
        if plain.training:
            z = (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
        else:
            z = (z - 0.2) / math.sqrt(1.7 + 1e-5)
        near = codebook.detach()
        chosen = [min(range(9), key=lambda k: float((near[k] - row).pow(2).sum())) for row in z.detach()]
        entries = codebook[torch.tensor(chosen)]
        moved = ((z.detach() - entries) ** 2).sum(1).reshape(len(x), N).sum(1) / N
        held = ((z - entries.detach()) ** 2).sum(1).reshape(len(x), N).sum(1) / N
        code = HandOver.apply(z, entries)
        code = code.reshape(len(x), *grid, 2).permute(0, 3, 1, 2) if grid else code.reshape(len(x), -1)
        return plain.up(code), torch.stack((moved, 0.4 * held), 1)

    compared(ours, plain, theirs, (codebook,))
    x = torch.randn(ROWS, *plain.shape, dtype=torch.float64)
    assert ours.eval().encode(x).shape == (ROWS, ours.code_size)
    torch.testing.assert_close(ours.decode(ours.encode(x)), ours(x), rtol=EXACT, atol=EXACT)
    assert torch.equal(ours.encode(x).view(ROWS, N, 2), ours.codebook[ours.indices(x)])


def test_straight_through_by_hand() -> None:
    """z = 0.9 and -0.2, entries -1, 0 and 2; the decoder is 3 c_1 - 2 c_2, the loss its square plus both costs.

    Nearest are 0 (0.9 away; 2 is 1.1 away) and 0, so the output is 0, d loss / d output = 2 x 0 = 0. With 1 instead of
    0: 0.9 -> 1 and -0.2 -> -1 (0.8 away; 1 is 1.2 away): output 3 + 2 = 5, gradient 10, so z gets 30 and -20 from it.
    Commitment 0.25 x mean((0.9 - 1)^2, (-0.2 + 1)^2) adds 0.25 x (-0.1, 0.8). Entries get 2 (e - z) / 2 = 0.1 and -0.8.
    """
    z = torch.tensor([[[0.9], [-0.2]]], dtype=torch.float64, requires_grad=True)
    assert nearest(z, torch.tensor([[-1.0], [0.0], [2.0]], dtype=torch.float64)).tolist() == [[1, 1]]
    codebook = torch.tensor([[-1.0], [1.0], [2.5]], dtype=torch.float64, requires_grad=True)
    chosen = nearest(z, codebook)
    assert chosen.tolist() == [[1, 0]]
    entries = codebook[chosen]
    c = straight_through(z, entries).flatten()
    assert c.tolist() == [1.0, -1.0]
    moved, held = codebook_costs(z, entries)
    assert moved.item() == pytest.approx((0.01 + 0.64) / 2)
    ((3 * c[0] - 2 * c[1]) ** 2 + moved + 0.25 * held).sum().backward()
    assert z.grad is not None
    assert codebook.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([30 - 0.025, -20 + 0.2])
    assert codebook.grad.flatten().tolist() == pytest.approx([-0.8, 0.1, 0.0])


def test_the_elbo_by_hand() -> None:
    """One white and one black pixel of logits 0 and ln 3; a code of mean 1 and variance e.

    Nats: ln 2 for the white one, -ln(1/4) = 2 ln 2 for the black one; KL = (1 + e - 1 - 1) / 2.
    """
    logits, pixels = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0])
    nats = F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    paid = gaussian_kl(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    assert float(nats + paid) == pytest.approx(3 * math.log(2) + (math.e - 1) / 2)
