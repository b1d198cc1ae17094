"""One contract for every autoencoder of the catalog: what is built, what rows pay, what a code is."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG
from chainrule.nn.coders import Form
from chainrule.nn.coding import Coder

NAMES = ("autoencoder", "denoising", "sparse", "vae", "vq_vae")
SHAPES: dict[str, dict[str, Any]] = {
    "table": {"shape": (9,)},
    "window": {"shape": (6, 2)},
    "small picture": {"shape": (1, 10, 8), "widths": (16,)},
    "picture": {"shape": (3, 18, 15), "layout": "convolutional", "widths": (8, 12)},
}
PARAMETERS = {  # of the published sizes, summed by hand on the pages of docs/models
    "autoencoder": 2_837_314, "denoising": 19_146_784, "sparse": 1_168_024, "vae": 815_824, "vq_vae": 1_391_939,
}  # fmt: skip
ROWS = 6


def build(name: str, **sizes: Any) -> Any:
    torch.manual_seed(0)
    return CATALOG[name].build(CATALOG[name].config(**sizes))


def rows_of(shape: tuple[int, ...], rows: int = ROWS) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(1))


EVERY = pytest.mark.parametrize("name", NAMES)
EACH = pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)


@EVERY
@EACH
def test_builds_rows_and_gives_every_parameter_a_finite_gradient(name: str, sizes: dict[str, Any]) -> None:
    network, rows = build(name, **sizes).train(), rows_of(sizes["shape"])
    assert isinstance(network, Coder)
    built, paid = network.coded((rows,))
    assert built.shape == rows.shape
    assert paid.shape == (ROWS, len(network.penalties))
    assert (paid >= 0).all()
    ((built - rows).square().sum() + paid.sum()).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0 or "bias" in parameter_name, parameter_name


@EVERY
@EACH
def test_evaluation_is_deterministic_and_rows_are_alone(name: str, sizes: dict[str, Any]) -> None:
    network, rows = build(name, **sizes).eval(), rows_of(sizes["shape"])
    with torch.no_grad():
        code, (built, paid) = network.encode(rows), network.coded((rows,))
        assert code.shape == (ROWS, network.code_size)
        assert torch.equal(code, network.encode(rows))
        assert torch.equal(built, network(rows))
        torch.testing.assert_close(network.decode(code), built, rtol=1e-5, atol=1e-6)
        alone = [network.coded((rows[row : row + 1],)) for row in range(ROWS)]
    torch.testing.assert_close(torch.cat([one[0] for one in alone]), built, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([one[1] for one in alone]), paid, rtol=1e-4, atol=1e-5)


@EVERY
def test_micro_batches_pay_what_the_batch_pays(name: str) -> None:
    network, rows = build(name, shape=(9,)).eval(), rows_of((9,), 8)  # batch norm sees the batch in training
    draw = torch.randn(8, network.code_size)
    whole = network.coded((rows,), draw)[1].sum(0)
    parts = torch.stack([network.coded((x,), d)[1].sum(0) for x, d in zip(rows.split(3), draw.split(3), strict=True)])
    torch.testing.assert_close(parts.sum(0), whole)


@EVERY
def test_training_draws_from_torchs_generator_alone(name: str) -> None:
    network, rows = build(name, shape=(9,)).train(), rows_of((9,))
    built = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        built.append(network(rows))
    assert torch.equal(built[0], built[1])
    assert torch.equal(built[0], built[2]) == (name not in ("denoising", "vae"))


@EVERY
@EACH
def test_the_state_dict_round_trips(name: str, sizes: dict[str, Any]) -> None:
    network, rows = build(name, **sizes).train(), rows_of(sizes["shape"])
    network(rows)  # moves the buffers
    other = copy.deepcopy(network).eval()
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(network.eval().state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(network(rows), other(rows))


@EVERY
@EACH
def test_runs_under_bfloat16(name: str, sizes: dict[str, Any]) -> None:
    network, rows = build(name, **sizes).train(), rows_of(sizes["shape"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        built, paid = network.coded((rows,))
    (built.float().sum() + paid.float().sum()).backward()
    assert built.isfinite().all()
    assert paid.isfinite().all()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@EVERY
def test_is_captured_whole_by_the_compiler(name: str) -> None:
    sizes = SHAPES["picture" if name == "vq_vae" else "table"]
    network, rows = build(name, **sizes).eval(), rows_of(sizes["shape"])
    compiled = torch.compile(network.coded, fullgraph=True, backend="eager")  # its graph, no kernels
    with torch.no_grad():
        built, paid = compiled((rows,), None)
        torch.testing.assert_close(built, network(rows))
    assert paid.shape == (ROWS, len(network.penalties))


@EVERY
@pytest.mark.parametrize("sizes", [SHAPES["table"], SHAPES["picture"]], ids=["table", "picture"])
def test_learns_one_batch(name: str, sizes: dict[str, Any]) -> None:
    network, shape = build(name, **sizes).train(), sizes["shape"]
    rows = torch.linspace(-2, 2, 4).view(4, *[1] * len(shape)).expand(4, *shape)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    errors = []
    for _ in range(60):
        built, paid = network.coded((rows,))
        missed = (built - rows).square().mean()
        (missed + 0.01 * paid.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(float(missed.detach()))
    assert sum(errors[-5:]) / 5 < 0.3 * errors[0]


@EVERY
def test_the_published_number_of_parameters(name: str) -> None:
    entry = CATALOG[name]
    with torch.device("meta"):
        network = entry.build(entry.config(**entry.published))
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@EVERY
@pytest.mark.parametrize("sizes", [{"shape": ()}, {"shape": (3, 0)}, {"shape": (4,), "layout": "convolutional"},
                                   {"shape": (4,), "widths": (0,)}])  # fmt: skip
def test_refuses_sizes_that_make_no_sense(name: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"model\.(shape|layout|widths)"):
        CATALOG[name].config(**sizes)


@pytest.mark.parametrize(("name", "sizes"), [
    ("autoencoder", {"code": -1}), ("vae", {"code": -1}), ("sparse", {"weight": 0.0}), ("denoising", {"level": 0.0}),
    ("denoising", {"level": 1.0}), ("denoising", {"level": -0.1, "noise": "gaussian"}), ("vq_vae", {"codes": 0}),
    ("vq_vae", {"places": -1}), ("vq_vae", {"commitment": -0.1}),
])  # fmt: skip
def test_refuses_settings_that_make_no_sense(name: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"model.{next(iter(sizes))}"):
        CATALOG[name].config(shape=(4,), **sizes)


@pytest.mark.parametrize(("shape", "widths", "code"), [
    ((4,), (16, 8), 1), ((30,), (60, 30), 7), ((64,), (128, 64), 16), ((500,), (512, 256), 32),
    ((1, 8, 8), (128, 64), 32), ((1, 28, 28), (1024, 512), 32), ((3, 32, 32), (32, 64, 128), 32),
    ((1, 112, 92), (32, 64, 128, 256), 32), ((3, 128, 128), (32, 64, 128, 256, 256), 32), ((96, 7), (1024, 512), 32),
])  # fmt: skip
def test_usual_sizes_grow_with_the_row(shape: tuple[int, ...], widths: tuple[int, ...], code: int) -> None:
    form = Form(shape=shape)
    assert form.usual_widths == widths
    assert form.code_size == code
    if form.convolutional:
        assert max(form.sides[-1]) <= 7


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 33, 50), (1, 112, 92), (2, 128, 128)])
def test_pictures_of_any_size_come_back_in_their_size(shape: tuple[int, ...]) -> None:
    with torch.no_grad():
        for name in NAMES:
            assert build(name, shape=shape).eval()(torch.zeros(1, *shape)).shape == (1, *shape)


def test_the_codebook_is_used_and_the_codes_are_its_entries() -> None:
    network, rows = build("vq_vae", shape=(1, 16, 12)).train(), rows_of((1, 16, 12), 64)
    network(rows)
    indices = network.indices(rows)
    assert indices.shape == (64, 4 * 3)
    assert len(indices.unique()) > 50  # of 512, by 768 places: few entries are far from all z
    code = network.encode(rows).view(64, 12, 16)
    assert torch.equal(code, network.codebook[indices])
    near = (code + 1e-3 * torch.randn_like(code)).flatten(1)
    assert torch.equal(network.eval().decode(near), network.decode(code.flatten(1)))


def test_configs_are_frozen() -> None:
    for name in NAMES:
        config = CATALOG[name].config(shape=(4,))
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.shape = (5,)
