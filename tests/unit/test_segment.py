"""Segmentation: losses that add up, images of any size, tiles that equal the whole image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import IGNORE, MaskTarget
from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG
from chainrule.nn.fronted import Fronted
from chainrule.tasks import whole
from chainrule.tasks.segment import Segment, SegmentConfig, real_sizes
from chainrule.tasks.task import At
from chainrule.tasks.whole import Whole, in_tiles
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.gradients import accumulate

TWO = MaskTarget(classes=("background", "object"), levels=((0,), (255,)), pixels=(900, 100), background=0)
THREE = MaskTarget(classes=("sky", "road", "car"), levels=((0,), (1,), (2,)), pixels=(100, 800, 100))


class Scaled(nn.Module):
    """A front: bytes to -0.5..0.5."""

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (image.to(torch.get_default_dtype()) / 255 - 0.5,)


def built(task: Segment, name: str = "unet", **settings: Any) -> Fronted:
    torch.manual_seed(0)
    config = CATALOG[name].config(
        **{"in_channels": 1, "num_classes": len(task.target.classes), "widths": (4, 8, 12), **settings}
    )
    return Fronted(Scaled(), task.wrap(CATALOG[name].build(config), None))


def shaken(network: nn.Module) -> nn.Module:
    """Weights and statistics as after training, so that answers vary from pixel to pixel."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
    return network


def batch_of(size: tuple[int, ...] = (16, 24), rows: int = 3, classes: int = 2, ignored: float = 0.1) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (rows, 1, *size), generator=generator, dtype=torch.uint8)
    targets = torch.randint(0, classes, (rows, *size), generator=generator, dtype=torch.uint8)
    targets[torch.rand(targets.shape, generator=generator) < ignored] = IGNORE
    return Batch((image,), targets, torch.arange(rows), torch.ones_like(targets, dtype=torch.bool))


AT = At(0, 1, torch.Generator())


def loss_of(task: Segment, network: Fronted, batch: Batch) -> float:
    counts = task.counts(batch)
    return float(
        sum(term.weight * float(term.total.detach()) / counts[term.name] for term in task.loss(network, batch, AT))
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy_dice", "dice", "focal", "boundary"])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_micro_batches_add_up_to_the_batch(loss: str, class_weight: str) -> None:
    if loss == "dice" and class_weight == "balanced":
        return
    task = Segment(SegmentConfig(loss=loss, class_weight=class_weight), TWO)
    network = built(task, batch_norm=False).double()  # batch norm sees micro-batches, the stated exception
    batch, found = batch_of(rows=5), []
    torch.set_default_dtype(torch.float64)
    try:
        for micro_batch in (0, 2):
            network.zero_grad()
            loss_value = accumulate(task, network, batch, AT, micro_batch, Arithmetic(torch.device("cpu")))
            found.append((loss_value, [p.grad.clone() for p in network.parameters() if p.grad is not None]))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)  # float64 sums in another order


def test_the_loss_starts_at_ln_k_and_dice_at_its_known_value() -> None:
    task = Segment(SegmentConfig(loss="cross_entropy"), THREE)
    network = built(task)
    network.network.network.head.weight.data.zero_()
    assert loss_of(task, network, batch_of(classes=3)) == pytest.approx(math.log(3), rel=1e-6)


def test_balanced_pixels_weigh_as_the_train_split_says() -> None:
    task = Segment(SegmentConfig(class_weight="balanced"), TWO)
    assert task.weights is not None
    assert task.weights.tolist() == pytest.approx([1000 / 1800, 5.0])
    rare = MaskTarget(classes=("a", "b"), levels=((0,), (1,)), pixels=(10**6, 1), background=0)
    weights = Segment(SegmentConfig(class_weight="balanced"), rare).weights
    assert weights is not None
    assert float(weights.max()) == 10


def test_boundary_weights_change_the_loss_only_where_there_is_a_gap() -> None:
    targets = torch.zeros((1, 16, 16), dtype=torch.uint8)
    targets[0, 4:12, 3:7] = 1
    targets[0, 4:12, 9:13] = 1
    batch = Batch((torch.zeros((1, 1, 16, 16), dtype=torch.uint8),), targets, torch.arange(1))
    plain, near = (Segment(SegmentConfig(loss=loss), TWO) for loss in ("cross_entropy", "boundary"))
    network = built(plain)
    assert loss_of(near, network, batch) > 1.5 * loss_of(plain, network, batch)
    lone = targets.clone()
    lone[0, :, 8:] = 0
    alone = Batch(batch.inputs, lone, batch.ids)
    assert loss_of(near, network, alone) == pytest.approx(loss_of(plain, network, alone), rel=1e-6)
    with pytest.raises(InputError, match="background"):
        Segment(SegmentConfig(loss="boundary"), THREE)


def test_deep_supervision_is_the_mean_of_the_heads() -> None:
    task = Segment(SegmentConfig(), TWO)
    network = built(task, "unetpp", deep_supervision=True)
    batch = batch_of()
    terms = task.loss(network, batch, AT)
    heads = network.network.branches(*network.front(*batch.inputs))
    assert len(heads) == 2
    assert len(terms) == 2 * len(heads)
    assert sum(term.weight for term in terms if term.name == "rows") == pytest.approx(1)
    assert batch.targets is not None
    expected = sum(F.cross_entropy(logits, batch.targets.long(), ignore_index=IGNORE) for logits in heads) / len(heads)
    found = sum(term.weight * term.total for term in terms if term.name == "pixels") / task.counts(batch)["pixels"]
    torch.testing.assert_close(found, expected)


def test_one_batch_is_learned_by_heart() -> None:
    task = Segment(SegmentConfig(), TWO)
    network = built(task, widths=(8, 16))
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    batch = Batch((image,), (image[:, 0] > 128).to(torch.uint8), torch.arange(2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        counts = task.counts(batch)
        loss = torch.stack([term.total / counts[term.name] for term in task.loss(network, batch, AT)]).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.1
    scores = task.score({name: rows.numpy() for name, rows in task.measure(network.eval(), batch).items()})
    assert scores["dice"] > 0.97


def images(*sizes: tuple[int, int]) -> Batch:
    """Rows of several sizes, filled up to the largest."""
    generator = torch.Generator().manual_seed(2)
    H, W = (max(size[axis] for size in sizes) for axis in (0, 1))
    image = torch.randint(0, 256, (len(sizes), 1, H, W), generator=generator, dtype=torch.uint8)
    mask = torch.zeros((len(sizes), H, W), dtype=torch.bool)
    for row, (h, w) in enumerate(sizes):
        mask[row, :h, :w] = True
    return Batch((image,), None, torch.arange(len(sizes)), mask)


def test_an_answer_does_not_depend_on_other_rows_and_has_the_image_s_size() -> None:
    task = Segment(SegmentConfig(), TWO)
    network = shaken(built(task)).eval()
    batch = images((10, 33), (17, 20), (17, 20), (1, 1), (9, 40))
    assert real_sizes(batch) == [(10, 33), (17, 20), (17, 20), (1, 1), (9, 40)]
    with torch.no_grad():
        together = list(task.answers(network, batch))
        for row, answer in enumerate(together):
            h, w = real_sizes(batch)[row]
            assert answer.classes.shape == (h, w)
            alone = Batch((batch.inputs[0][row : row + 1, :, :h, :w],), None, torch.arange(1))
            (again,) = task.answers(network, alone)
            assert torch.equal(again.classes, answer.classes)


@pytest.mark.parametrize("settings", [{}, {"padding": "valid", "batch_norm": False}, {"widths": (4, 6, 8, 10)}])
def test_tiles_equal_the_whole_image(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whole.HALOS, 2, 1000)  # the whole margin, whatever it is
    task = Segment(SegmentConfig(), TWO)
    torch.set_default_dtype(torch.float64)
    try:
        network = shaken(built(task, **settings)).double().eval()
        image = torch.randint(0, 256, (1, 131, 190), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)

        def shares(x: Tensor) -> Tensor:
            seen.append(x.shape[2:].numel())
            return torch.softmax(network(x), 1)

        with torch.no_grad():
            seen: list[int] = []
            expected = shares(image[None])[0]
            found = in_tiles(shares, image, network.network.network, core=32, blend=8)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(seen) > 10
    assert max(seen[1:]) < seen[0]
    share, classes = expected.max(0)
    certain = (share - 0.5).abs() > 1e-9  # a share of a half may fall either way by rounding
    assert torch.equal(found.classes[certain], classes[certain].to(torch.uint8))
    assert (found.shares.int() - (255 * share).round().int()).abs().max() <= 1
    assert 0.02 < float(classes.double().mean()) < 0.98, "a comparison of nothing"


def test_a_halo_that_is_too_small_is_seen() -> None:
    """The test above can fail: without context tiles answer differently."""
    task = Segment(SegmentConfig(), TWO)
    network = shaken(built(task)).eval()
    image = torch.randint(0, 256, (1, 96, 96), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)

    def shares(x: Tensor) -> Tensor:
        return torch.softmax(network(x), 1)

    network.network.network.margin = 0
    with torch.no_grad():
        found = in_tiles(shares, image, network.network.network, core=16, blend=0)
        expected = shares(image[None])[0].max(0).values
    assert (found.shares.float() - 255 * expected).abs().max() > 2


def test_large_images_go_through_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MOST_PIXELS", 40 * 40)
    monkeypatch.setitem(whole.CORES, 2, 32)
    task = Segment(SegmentConfig(), TWO)
    network = shaken(built(task)).eval()
    batch = images((300, 70), (8, 8))
    most = 0

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal most
        most = max(most, inputs[0].shape[2:].numel())

    network.register_forward_pre_hook(watch)
    with torch.no_grad():
        found = list(task.answers(network, batch))
    assert [tuple(answer.classes.shape) for answer in found] == [(300, 70), (8, 8)]
    assert most < 300 * 70 / 2


def test_views_are_the_mean_of_mirrored_images() -> None:
    task = Segment(SegmentConfig(), TWO)
    network = shaken(built(task)).eval()
    batch = images((16, 16))
    with torch.no_grad():
        seen = [
            torch.softmax(network(batch.inputs[0].flip(axes)), 1).flip(axes) for axes in ((), (-1,), (-2,), (-2, -1))
        ]
        expected = torch.stack(seen).mean(0)[0].max(0)
        (found,) = task.answers(network, batch, views=4)
    assert torch.equal(found.classes.long(), expected.indices)
    with pytest.raises(InputError, match="1 to 4"):
        list(task.answers(network, batch, views=5))


def test_measured_rows_and_answers_in_words() -> None:
    class Given(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.stack((-image[:, 0], image[:, 0]), 1)  # bright pixels are objects

    task = Segment(SegmentConfig(), TWO)
    network = Fronted(Scaled(), task.wrap(Given(), None))
    image = torch.zeros((2, 1, 4, 6), dtype=torch.uint8)
    image[0, 0, :2] = 255
    targets = torch.zeros((2, 4, 6), dtype=torch.uint8)
    targets[0, :3, :3] = 1
    targets[0, 3, 5] = IGNORE
    batch = Batch((image,), targets, torch.arange(2))
    rows = {name: values.numpy() for name, values in task.measure(network.eval(), batch).items()}
    assert rows["hits"].tolist() == [[8, 6], [24, 0]]
    assert rows["answered"].tolist() == [[11, 12], [24, 0]]
    assert rows["support"].tolist() == [[14, 9], [24, 0]]
    assert rows["present"].tolist() == [True, False]
    scores = task.score(rows)
    assert scores["dice"] == pytest.approx(2 * 6 / (12 + 9))
    assert scores["clean_kept"] == scores["found"] == 1
    drawn = task.scorer(rows)(np.array([[1, 1], [2, 0]]))
    assert drawn["dice"].tolist() == pytest.approx([2 * 6 / 21] * 2)
    assert task.predict(network, batch) == {
        "prediction": ["object", "background"], "share(background)": [0.5, 1.0], "share(object)": [0.5, 0.0]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "dise"}, "did you mean 'dice'"), ({"monitor": "rmse"}, "task.monitor"), ({"gamma": -1}, "gamma"),
        ({"boundary_px": 0}, "boundary_px"), ({"loss": "dice", "class_weight": "balanced"}, "class_weight"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SegmentConfig(**settings)


def test_a_person_s_own_network_is_filled_up_to_multiples_of_32() -> None:
    class Own(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            assert all(side % 32 == 0 for side in image.shape[2:])
            return image.repeat(1, 2, 1, 1)

    assert Whole(Own())(torch.zeros(1, 1, 33, 5)).shape == (1, 2, 33, 5)
