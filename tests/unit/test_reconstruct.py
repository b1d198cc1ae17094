"""Reconstruction as a task: what rows pay, draws, how strange rows are, scores by hand, a network of one's own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

import chainrule
from chainrule.data.samples import Batch
from chainrule.data.schema import InputTarget
from chainrule.errors import InputError
from chainrule.evaluate.intervals import interval
from chainrule.functional.metrics import average_precision, ranking, roc_auc
from chainrule.models.autoencoder import Autoencoder, AutoencoderConfig
from chainrule.models.vae import VAE, VAEConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.costs import costs_of
from chainrule.tasks.reconstruct import Reconstruct, ReconstructConfig, anomaly_scores
from chainrule.tasks.task import At

NUMBERS = InputTarget(form="numbers", names=("a", "b", "c = x", "c = y"), columns=("a", "b", "c", "c"))
PIXELS = InputTarget(form="pixels", mean=(0.5,), std=(0.25,))


class Plain(nn.Module):
    """A front that hands inputs on."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return inputs


def task(target: InputTarget = NUMBERS, **config: Any) -> Reconstruct:
    return Reconstruct(ReconstructConfig(**config), target)


def module(made: Reconstruct, network: nn.Module) -> Fronted:
    torch.manual_seed(1)
    return Fronted(Plain(), made.wrap(network, None)).eval()


def rows(shape: tuple[int, ...] = (4,), count: int = 6, labels: bool = False, first: int = 0) -> Batch:
    inputs = torch.randn(count, *shape, generator=torch.Generator().manual_seed(2))
    return Batch((inputs,), torch.arange(count) % 3 if labels else None, torch.arange(first, first + count))


def vae(shape: tuple[int, ...] = (4,)) -> VAE:
    torch.manual_seed(3)
    return VAE(VAEConfig(shape=shape, code=2, widths=(8,)))


def plain(shape: tuple[int, ...] = (4,)) -> Autoencoder:
    torch.manual_seed(3)
    return Autoencoder(AutoencoderConfig(shape=shape, code=2, widths=(8,)))


# what rows pay


def test_the_loss_is_what_rows_pay_weighed_and_warmed_up() -> None:
    made = task(beta=2.0, warmup=0.5)
    network = module(made, vae())
    batch = rows()
    costs = network(*batch.inputs)
    for step, weight in ((0, 2 / 50), (24, 1.0), (49, 2.0), (99, 2.0)):
        terms = {term.name: term for term in made.loss(network, batch, At(step, 100, torch.Generator()))}
        assert set(terms) == {"reconstruction", "kl"}
        assert terms["kl"].weight == pytest.approx(weight)
        torch.testing.assert_close(terms["reconstruction"].total, costs[:, 0].sum())
        torch.testing.assert_close(terms["kl"].total, costs[:, 1].sum())
    assert set(made.counts(batch)) == {"reconstruction", "kl", "penalties"}
    assert [term.name for term in task(beta=0.0).loss(network, batch, At(0, 1, torch.Generator()))] == [
        "reconstruction"
    ]


def test_draws_depend_on_the_place_and_scores_do_not() -> None:
    made = task()
    network = module(made, vae())
    found, again, moved = (made.measure(network, rows(first=first)) for first in (0, 0, 100))
    assert torch.equal(found["reconstruction_nats"], again["reconstruction_nats"])
    assert not torch.equal(found["reconstruction_nats"], moved["reconstruction_nats"])
    for name in ("score", "mse", "kl_nats"):
        assert torch.equal(found[name], moved[name])


def test_scores_of_costs_by_hand() -> None:
    made = task(beta=3.0)
    measured = {
        "reconstruction_nats": np.array([4.0, 6.0]), "kl_nats": np.array([1.0, 3.0]), "mse": np.array([0.5, 1.0]),
        "elements": np.array([4.0, 2.0]), "score": np.array([2.0, 2.0]),
    }  # fmt: skip
    found = made.score(measured)
    assert found == {
        "mse": pytest.approx(4 / 6), "nats": 7, "loss": 11, "reconstruction_nats": 5, "kl_nats": 2, "elbo": -7
    }  # fmt: skip
    weighed = made.scorer(measured)(np.array([[2, 0], [1, 1]]))
    assert weighed["nats"].tolist() == [5, 7]
    assert weighed["mse"].tolist() == pytest.approx([0.5, 4 / 6])
    assert made.score({"score": np.array([1.0, 2.0])}) == {}  # what is not measured is left out


# how strange rows are


def test_grey_pixels_are_dear_but_not_strange() -> None:
    class Exact(Autoencoder):
        """Builds every picture exactly."""

        def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
            pixels = (inputs[0] * 0.25 + 0.5).clamp(1e-4, 1 - 1e-4)
            return torch.logit(pixels), pixels.new_zeros(len(pixels), 0)

    made = task(PIXELS)
    network = module(made, Exact(AutoencoderConfig(shape=(1, 8, 8), layout="dense", widths=(4,))))
    grey = torch.zeros(1, 1, 8, 8)
    found = made.measure(network, Batch((torch.cat((grey, grey + 1.999)),), None, torch.arange(2)))
    assert found["reconstruction_nats"][0] == pytest.approx(64 * math.log(2), rel=1e-6)
    assert found["reconstruction_nats"][1] < 1
    assert found["score"].tolist() == pytest.approx([0, 0], abs=1e-5)


def test_the_score_is_the_misfit_in_usual_units_and_the_distance_of_the_code() -> None:
    made = task()
    network, batch = module(made, plain()), rows()
    coder = costs_of(network).network
    with torch.no_grad():
        built, codes = coder(*batch.inputs), coder.encode(*batch.inputs).double()
        squares = ((built - batch.inputs[0]) ** 2).double()
        first = made.measure(network, batch)["score"]
        torch.testing.assert_close(first, squares.mean(1))  # before anything is settled
        usual, mean, precision = (0.5, 1.0, 2.0, 4.0), (0.1, -0.2), ((2.0, 0.5), (0.5, 1.0))
        settled = task(replace(NUMBERS, usual=usual, code_mean=mean, code_precision=precision))
        away = codes - torch.tensor(mean, dtype=torch.float64)
        far = (away @ torch.tensor(precision, dtype=torch.float64) * away).sum(1) / 2
        expected = (squares / torch.tensor(usual, dtype=torch.float64)).mean(1) + far
        torch.testing.assert_close(settled.measure(network, batch)["score"], expected)


def test_what_is_usual_is_counted_by_column() -> None:
    made = task(InputTarget(form="numbers", names=("a", "b"), window=3))
    network = module(made, plain((3, 2)))
    inputs = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    known = torch.ones(5, 3, 2)
    known[:, 0, 1] = 0
    with torch.no_grad():
        found = made.usual(network, Batch((inputs, known), None, torch.arange(5)))
        squares = (costs_of(network).network(inputs) - inputs).double() ** 2 * known
    assert found["known"].tolist() == [[3, 2]] * 5
    torch.testing.assert_close(found["misfits"], squares.sum(1))
    assert found["codes"].shape == (5, 2)


def test_tokens_are_strange_by_what_each_costs() -> None:
    target = InputTarget(form="tokens", vocab_size=9)

    class Sure(nn.Module):
        """Always says token 1 with the share p, all others alike."""

        penalties: tuple[str, ...] = ()
        code_size = 1

        def encode(self, *inputs: Tensor) -> Tensor:
            return inputs[0][:, :1].float()

        def decode(self, code: Tensor) -> Tensor:
            return code

        def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
            logits = torch.zeros(*inputs[0].shape, 9)
            logits[..., 1] = math.log(8)  # p = 1/2, others 1/16
            return logits, logits.new_zeros(len(logits), 0)

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.coded(inputs)[0]

    made = task(target)
    network = module(made, Sure())
    tokens = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [2, 1, 0, 0]])
    found = made.measure(network, Batch((tokens, torch.tensor([4, 2, 2])), None, torch.arange(3)))
    half, rare = math.log(2), math.log(16)
    assert found["score"].tolist() == pytest.approx([half, half, (half + rare) / 2])
    assert found["elements"].tolist() == [4, 2, 2]
    scores = made.score({name: values.numpy() for name, values in found.items()})
    assert scores["token_accuracy"] == pytest.approx(7 / 8)
    assert scores["nats_per_token"] == pytest.approx((7 * half + rare) / 8)


def test_anomalies_are_scored_where_it_is_known_what_is_normal() -> None:
    settled = replace(NUMBERS, label="state", classes=("ok",), normal=True, threshold=3.0)
    made = task(settled)
    network = module(made, plain())
    found = made.measure(network, rows(labels=True))
    assert found["strange"].tolist() == [False, True, True] * 2
    assert "strange" not in task(replace(settled, normal=False)).measure(network, rows(labels=True))
    assert "labels" not in made.measure(network, rows())

    measured = {"score": np.array([1.0, 2.0, 4.0, 5.0, 3.0]), "strange": np.array([0, 0, 0, 1, 1], dtype=bool)}
    points = ranking(measured["score"], measured["strange"]).curve()
    assert made.score(measured) == {
        "roc_auc": pytest.approx(float(roc_auc(points))), "average_precision": float(average_precision(points)),
        "detected": 1.0, "false_alarms": pytest.approx(1 / 3),
    }  # fmt: skip
    assert made.score(measured)["roc_auc"] == pytest.approx(5 / 6)
    draws = made.scorer(measured)(np.array([[1, 1, 0, 1, 1], [1, 1, 1, 0, 1]]))
    assert draws["roc_auc"].tolist() == pytest.approx([1.0, 2 / 3])
    assert draws["false_alarms"].tolist() == pytest.approx([0, 1 / 3])
    assert made.score({name: values[:3] for name, values in measured.items()}) == {}
    assert made.headline == ("roc_auc", "max")


def test_shares_of_anomalies_rest_on_as_many_rows_as_there_are_of_their_sort() -> None:
    made = task(replace(NUMBERS, label="state", classes=("ok",), normal=True, threshold=3.0))
    strange = np.arange(60) < 4
    measured = {"score": np.where(strange, 5.0, 1.0) + np.arange(60) / 1000, "strange": strange}
    bounds = interval(made.score, measured, prepare=made.scorer)
    assert bounds["detected"] == bounds["roc_auc"] == pytest.approx((0.025 ** (1 / 4), 1.0))
    assert bounds["false_alarms"] == pytest.approx((0.0, 1 - 0.025 ** (1 / 56)))


@torch.no_grad()
def test_answers_name_the_column_that_misses_most() -> None:
    made = task(replace(NUMBERS, usual=(1.0, 1.0, 0.01, 0.01), threshold=1e9))

    class Nothing(Autoencoder):
        """Builds zeros."""

        def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(inputs[0]), inputs[0].new_zeros(len(inputs[0]), 0)

    network = module(made, Nothing(AutoencoderConfig(shape=(4,), code=1)))
    inputs = torch.tensor([[3.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]])
    found = made.predict(network, Batch((inputs,), None, torch.arange(3)))
    assert found["most"][:2] == ["a", "c"]
    assert found["share"] == pytest.approx([0.9, 5 / 6, 0.0])
    assert found["anomaly"] == [False, False, False]
    assert found["mse"] == pytest.approx([10 / 4, 1.05 / 4, 0.0])
    assert "most" not in task(PIXELS).predict(
        module(task(PIXELS), plain((1, 8, 8))), Batch((torch.zeros(1, 1, 8, 8),), None, torch.arange(1))
    )
    assert "anomaly" not in task().predict(network, Batch((inputs,), None, torch.arange(3)))


def test_pieces_are_rows_of_their_own_that_are_averaged() -> None:
    made = task(InputTarget(form="numbers"))
    coder = made.wrap(plain(), None)
    network = Fronted(Plain(), coder, pieces=True).eval()
    inputs = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    found = made.measure(network, Batch((inputs,), None, torch.arange(3)))
    alone = made.measure(Fronted(Plain(), coder).eval(), Batch((inputs.flatten(0, 1),), None, torch.arange(6)))
    for name in ("mse", "score", "reconstruction_nats"):
        torch.testing.assert_close(found[name], alone[name].view(3, 2).mean(1))


def test_anomaly_scores_are_the_measured_ones() -> None:
    assert anomaly_scores({"score": np.array([1, 2])}).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "wrong", [{"likelihood": "gausian"}, {"beta": -1.0}, {"warmup": 2.0}, {"false_alarms": 0.0}, {"false_alarms": 1.0}]
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"task.{next(iter(wrong))}"):
        ReconstructConfig(**wrong)


# a network of one's own


class Own(nn.Module):
    """Three numbers in, one in the code."""

    penalties: tuple[str, ...] = ()
    code_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(3, 1), nn.Linear(1, 3)

    def encode(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.down(inputs[0])
        return code

    def decode(self, code: Tensor) -> Tensor:
        built: Tensor = self.up(code)
        return built

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        built = self.decode(self.encode(*inputs))
        return built, built.new_zeros(len(built), 0)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.coded(inputs)[0]


def test_a_network_of_ones_own_is_trained_and_one_without_a_code_refused(tmp_path: Path) -> None:
    line = (
        np.random.default_rng(0).normal(size=(200, 1)) * [1, 2, 3] + np.random.default_rng(1).normal(size=(200, 3)) / 9
    )
    frame = pl.DataFrame(line, schema=["a", "b", "c"])
    quick = {"train.epochs": 20, "optimizer.learning_rate": 3e-2, "train.precision": "float32", "train.compile": "off"}
    run = chainrule.fit(frame, task="reconstruct", model=Own(), out=tmp_path / "run", set=quick)
    assert run.metrics["test"]["mse"] < 0.1
    with pytest.raises(InputError, match="needs encode"):
        chainrule.fit(frame, task="reconstruct", model=nn.Linear(3, 3), out=tmp_path / "none", set=quick)
