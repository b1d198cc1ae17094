"""Mixup and cutmix: what is blended, by which shares, and what tasks make of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.toy import CPU, Plain, network, plan, samples, task
from torch import Tensor, nn

import chainrule
from chainrule.data.mixing import beta, mix
from chainrule.data.samples import Batch, Mixed
from chainrule.data.schema import ClassTarget, NumberTarget
from chainrule.errors import InputError
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.tasks.regress import Regress, RegressConfig
from chainrule.tasks.task import At, Task
from chainrule.train.gradients import accumulate
from chainrule.train.loop import train
from chainrule.train.run import Run

SHAPES = [(6, 3, 16, 20), (6, 4, 3, 8, 16, 20)]
AT = At(0, 1, torch.Generator())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(*shape: int, dtype: torch.dtype = torch.uint8) -> Batch:
    """Row i holds nothing but 10 i."""
    rows = torch.arange(shape[0])
    x = (10 * rows).to(dtype).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return Batch((x,), rows % 3, rows)


def mixed_of(batch: Batch) -> Mixed:
    assert batch.mixed is not None
    return batch.mixed


# what is blended


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*SHAPES, (6, 50), (6, 1, 50)])
def test_mixup_blends_by_the_share_it_tells(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    batch = numbered(*shape, dtype=dtype)
    found = mix(batch, generator(), mixup=1.0)
    share, own = mixed_of(found).share, 10.0 * torch.arange(6)
    expected = share * own + (1 - share) * own.roll(1)
    expected = expected if dtype.is_floating_point else expected.round()
    assert found.inputs[0].dtype == dtype
    spread = expected.to(dtype).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    torch.testing.assert_close(found.inputs[0], spread, rtol=1e-5, atol=0)
    assert torch.equal(mixed_of(found).targets, torch.tensor([2, 0, 1, 2, 0, 1]))
    assert found.targets is batch.targets


@pytest.mark.parametrize("shape", SHAPES)
def test_cutmix_tells_the_exact_area_it_kept(shape: tuple[int, ...]) -> None:
    for seed in range(20):
        found = mix(numbered(*shape), generator(seed), cutmix=1.0)
        image = found.inputs[0].flatten(1, -3)
        for row in range(6):
            own = image[row] == 10 * row
            assert (image[row][~own] == 10 * ((row - 1) % 6)).all()
            assert mixed_of(found).share[row] == own[0].float().mean()
            assert (own == own[0]).all()  # one box through all channels and frames
            cut = (~own[0]).nonzero()
            if len(cut):
                sides = cut.amax(0) - cut.amin(0) + 1
                assert len(cut) == sides.prod()  # a rectangle without gaps


def test_boxes_are_large_where_little_is_kept() -> None:
    """A box that the edge does not cut has 1 - share of the area, so on average less than half is cut at alpha 1."""
    share = torch.cat([mixed_of(mix(numbered(6, 1, 32, 32), generator(s), cutmix=1.0)).share for s in range(200)])
    assert 0.5 < share.mean() < 0.75
    assert share.min() < 0.1
    assert share.max() > 0.98


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 8.0])
def test_shares_are_drawn_from_beta(alpha: float) -> None:
    share = beta(50_000, generator(), alpha)
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(share.mean()) == pytest.approx(0.5, abs=5 * math.sqrt(variance / 50_000))
    assert float(share.var()) == pytest.approx(variance, rel=0.03)
    assert ((share >= 0) & (share <= 1)).all()


def test_where_both_are_on_each_batch_draws_one() -> None:
    kinds = set()
    for seed in range(30):
        found = mix(numbered(6, 3, 12, 12), generator(seed), mixup=1.0, cutmix=1.0)
        image, share = found.inputs[0].float(), mixed_of(found).share
        flat = (image.flatten(1) == image[:, :1, 0, 0]).all(1)
        kinds.add("mixup" if flat.all() else "cutmix")
        kept = image[1:].mean((1, 2, 3)) - 10 * torch.arange(5)  # 10 x share
        torch.testing.assert_close(kept / 10, share[1:], rtol=0, atol=0.06)  # whole levels
    assert kinds == {"mixup", "cutmix"}


def test_only_the_generator_draws() -> None:
    before = torch.get_rng_state()
    one, same, other = (mix(samples_batch(), generator(seed), mixup=0.4) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.inputs[0], same.inputs[0])
    assert not torch.equal(one.inputs[0], other.inputs[0])
    assert mix(one, generator()) is one


def samples_batch(rows: int = 8) -> Batch:
    return samples().batch(torch.arange(rows))


@pytest.mark.parametrize("alpha", [-1.0, 0.001, 101.0, float("nan"), float("inf")])
def test_other_alphas_are_refused(alpha: float) -> None:
    from chainrule.data.image.augment import AugmentConfig

    for name in ("mixup", "cutmix"):
        with pytest.raises(InputError, match=rf"augment\.{name} is the alpha"):
            AugmentConfig(**{name: alpha})  # type: ignore[arg-type]


# what tasks make of it: two rows, every number by hand

SHARE = (0.7, 0.25)
OWN, PARTNER = (0, 2), (2, 1)
LOGITS = ((0.5, -1.0, 2.0), (0.0, 1.5, -0.5))


class Given(nn.Module):
    """Answers with its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def blended(logits: Any, own: Any, partner: Any) -> Batch:
    mixed = Mixed(torch.tensor(partner), torch.tensor(SHARE))
    return Batch((torch.tensor(logits),), torch.tensor(own), torch.arange(2), None, mixed)


def classify(classes: int, **config: Any) -> Classify:
    counts = (6, 3, 1)[:classes]
    return Classify(ClassifyConfig(**config), ClassTarget(name="y", classes=("a", "b", "c")[:classes], counts=counts))


def total(judged: Task, batch: Batch) -> float:
    (term,) = judged.loss(Given(), batch, AT)
    return float(term.total)


def log_probs(logits: tuple[float, ...]) -> list[float]:
    norm = math.log(sum(math.exp(z) for z in logits))
    return [z - norm for z in logits]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_cross_entropy_of_blended_rows(weight: str, smoothing: float) -> None:
    weights = [10 / (3 * count) for count in (6, 3, 1)] if weight == "balanced" else [1.0] * 3

    def loss(logits: tuple[float, ...], target: int) -> float:
        wanted = [(1 - smoothing) * (k == target) + smoothing / 3 for k in range(3)]
        return -sum(w * q * p for w, q, p in zip(weights, wanted, log_probs(logits), strict=True))

    rows = zip(SHARE, LOGITS, OWN, PARTNER, strict=True)
    expected = sum(share * loss(z, own) + (1 - share) * loss(z, partner) for share, z, own, partner in rows)
    judged, batch = classify(3, class_weight=weight, label_smoothing=smoothing), blended(LOGITS, OWN, PARTNER)
    assert total(judged, batch) == pytest.approx(expected, rel=1e-5)
    pairs = zip(SHARE, OWN, PARTNER, strict=True)
    count = sum(share * weights[own] + (1 - share) * weights[partner] for share, own, partner in pairs)
    assert judged.counts(batch)["loss"] == pytest.approx(count)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_one_logit_of_blended_rows(weight: str, smoothing: float) -> None:
    weights = [9 / (2 * count) for count in (6, 3)] if weight == "balanced" else [1.0] * 2

    def loss(z: float, target: int) -> float:
        p, wanted = 1 / (1 + math.exp(-z)), (1 - smoothing) * target + smoothing / 2
        return -weights[1] * wanted * math.log(p) - weights[0] * (1 - wanted) * math.log(1 - p)

    rows = zip(SHARE, (0.8, -1.2), (0, 1), (1, 1), strict=True)
    expected = sum(share * loss(z, own) + (1 - share) * loss(z, partner) for share, z, own, partner in rows)
    judged = classify(2, class_weight=weight, label_smoothing=smoothing)
    assert total(judged, blended([[0.8], [-1.2]], (0, 1), (1, 1))) == pytest.approx(expected, rel=1e-5)


def test_squared_errors_of_blended_rows() -> None:
    def loss(logits: tuple[float, ...], target: int) -> float:
        return sum((math.exp(p) - (k == target)) ** 2 for k, p in enumerate(log_probs(logits))) / 3

    rows = zip(SHARE, LOGITS, OWN, PARTNER, strict=True)
    expected = sum(share * loss(z, own) + (1 - share) * loss(z, partner) for share, z, own, partner in rows)
    assert total(classify(3, loss="mse"), blended(LOGITS, OWN, PARTNER)) == pytest.approx(expected, rel=1e-5)
    number = Regress(RegressConfig(), NumberTarget(name="y", mean=2.0, std=4.0))
    batch = blended([[0.5], [-1.0]], (10.0, 2.0), (-2.0, 6.0))  # in standard units 2, 0 and -1, 1
    expected = 0.7 * 1.5**2 + 0.3 * 1.5**2 + 0.25 * 1.0**2 + 0.75 * 2.0**2
    assert total(number, batch) == pytest.approx(expected)
    assert number.counts(batch) == {"loss": 2.0}


def test_whole_shares_are_the_plain_loss() -> None:
    for judged in (classify(3, class_weight="balanced", label_smoothing=0.1), classify(3, loss="mse")):
        plain = Batch((torch.tensor(LOGITS),), torch.tensor(OWN), torch.arange(2))
        own = Batch(*(plain.inputs, plain.targets, plain.ids, None, Mixed(torch.tensor(PARTNER), torch.ones(2))))
        assert total(judged, own) == pytest.approx(total(judged, plain), rel=1e-6)
        assert judged.counts(own) == pytest.approx(judged.counts(plain))
        assert torch.equal(*(judged.measure(Given(), batch)["targets"] for batch in (own, plain)))


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_micro_batches_of_a_blended_batch_add_up(weight: str, micro_batch: int) -> None:
    judged = task(class_weight=weight)
    gradients = []
    for size in (0, micro_batch):
        net = network("plain")
        accumulate(judged, net, mix(samples_batch(), generator(4), mixup=0.4), AT, size, CPU)
        gradients.append([p.grad for p in net.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)  # float32 sums in another order


def test_a_training_with_blends_is_the_same_in_micro_batches(tmp_path: Path) -> None:
    finals = []
    for size in (0, 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "recipe.json").write_text("{}")
        run, net = Run.open(folder), network("plain")
        obeyed, data = plan(batch_size=8, micro_batch=size), (samples(), samples())
        steps = train(task(), net, data, obeyed, run, CPU, lambda batch, draws: mix(batch, draws, mixup=0.4))
        assert len(list(steps)) == 30
        run.close()
        finals.append(net.state_dict())
    for name, tensor in finals[0].items():
        torch.testing.assert_close(finals[1][name], tensor, rtol=1e-3, atol=1e-4)  # over 30 Adam steps


def test_equal_shares_of_two_classes_are_learned() -> None:
    """The best answer to rows that are half of each class is a half for each: the loss ends at ln 2."""
    logits = nn.Parameter(torch.zeros(3))
    net = Fronted(Plain(), nn.Sequential(nn.Identity()))
    net.network = _Constant(logits)
    batch = Batch((torch.zeros(2, 6),), torch.tensor([0, 1]), torch.arange(2))
    batch = Batch(batch.inputs, batch.targets, batch.ids, None, Mixed(torch.tensor([1, 0]), torch.tensor([0.5, 0.5])))
    optimizer = torch.optim.LBFGS([logits], lr=1, max_iter=100)

    def closure() -> float:
        optimizer.zero_grad()
        return float(accumulate(task(), net, batch, AT, 0, CPU))

    optimizer.step(closure)
    assert closure() == pytest.approx(math.log(2), abs=1e-3)


class _Constant(nn.Module):
    def __init__(self, logits: nn.Parameter) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 3)


def test_balanced_weights_raise_balanced_accuracy_of_rare_classes(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    y = draws.choice(3, 1500, p=[0.9, 0.06, 0.04])
    X = draws.normal(size=(1500, 6)) + 1.1 * np.eye(6)[y]
    scores = {}
    for weight in ("none", "balanced"):
        run = chainrule.fit(
            (X, y), model="mlp", epochs=12, out=tmp_path / weight, set={"task.class_weight": weight}, seed=0
        )
        scores[weight] = run.metrics["test"]["balanced_accuracy"]
    assert scores["balanced"] > scores["none"] + 0.1
    page = (tmp_path / "balanced" / "report.html").read_text()
    assert "accuracy alone misleads" in page
    assert "Rare classes weighed as much" in page
