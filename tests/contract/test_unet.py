"""What every network that answers for pixels promises, whatever its size and encoder."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.pixelwise import furthest_touched, images
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG, build_unet, build_unetpp
from chainrule.models.unet import UNetConfig
from chainrule.models.unetpp import UNetPlusPlusConfig
from chainrule.nn.pixelwise import ENCODERS
from chainrule.train.stages import stages

NARROW = {"encoder": "resnet18", "encoder_width": 8, "widths": (4, 4, 6, 6, 8)}
CLIPS = {"encoder": "resnet18", "encoder_width": 8, "widths": (4, 4, 6, 6), "dims": 3}
MOBILE = {"encoder": "mobilenet_v2", "widths": (4, 4, 6, 6, 8)}
FAMILY: dict[str, dict[str, Any]] = {
    "plain": {"widths": (4, 6, 8)}, "plain without norm": {"widths": (4, 6, 8), "batch_norm": False},
    "plain signals": {"widths": (4, 6, 8), "dims": 1}, "plain volumes": {"widths": (4, 6, 8), "dims": 3},
    "valid": {"widths": (4, 6, 8), "padding": "valid"}, "resnet": NARROW,
    "resnet50": {**NARROW, "encoder": "resnet50"}, "resnet clips": CLIPS, "mobilenet": MOBILE,
    "++": {"widths": (4, 6, 8)}, "++ supervised": {"widths": (4, 6, 8), "deep_supervision": True},
    "++ volumes": {"widths": (4, 6, 8), "dims": 3}, "++ resnet": NARROW,
    "++ resnet supervised": {**NARROW, "deep_supervision": True}, "++ resnet clips": CLIPS, "++ mobilenet": MOBILE,
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", FAMILY)
NESTED = pytest.mark.parametrize("name", ["++ supervised", "++ resnet supervised"])


def make(name: str, in_channels: int = 1, num_classes: int = 3, **more: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"in_channels": in_channels, "num_classes": num_classes, **FAMILY[name], **more}
    if name.startswith("++"):
        return build_unetpp(UNetPlusPlusConfig(**sizes))
    return build_unet(UNetConfig(**sizes))


def batch_for(network: Any, rows: int = 2, in_channels: int = 1) -> Tensor:
    """Images whose sides differ; the coarsest maps have more than one value, as batch norm needs."""
    sides = [network.input_size(44 if network.border else multiple) for multiple in network.multiples]
    sides[-1] = network.input_size(sides[-1] - 2 * network.border + 1)
    return images(rows, in_channels, *sides, dtype=torch.float32)


@EVERY
def test_logits_have_the_stated_size(name: str) -> None:
    network = make(name, in_channels=2, num_classes=5).eval()
    batch = batch_for(network, in_channels=2)
    with torch.no_grad():
        logits, branches = network(batch), network.branches(batch)
    assert logits.shape == (2, 5, *(network.output_size(side) for side in batch.shape[2:]))
    assert logits.isfinite().all()
    assert all(one.shape == logits.shape for one in branches)
    torch.testing.assert_close(torch.stack(branches).mean(0), logits, rtol=1e-6, atol=1e-7)
    assert network.multiple == max(network.multiples)


@EVERY
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    network = make(name)
    sum((x**2).mean() for x in network.branches(batch_for(network))).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@EVERY
def test_evaluation_is_deterministic_and_rows_are_alone(name: str) -> None:
    network = make(name).eval()
    batch = batch_for(network, rows=3)
    with torch.no_grad():
        whole = network(batch)
        assert torch.equal(whole, network(batch))
        alone = torch.cat([network(row[None]) for row in batch])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=2e-5)  # float32 sums of logits near 1 in another order


@EVERY
def test_a_state_dict_makes_a_second_network_the_same(name: str) -> None:
    first, second = make(name), make(name)
    for parameter in second.parameters():
        nn.init.normal_(parameter)
    batch = batch_for(first)
    first(batch)  # moves the running statistics, which belong to the state
    second.load_state_dict(first.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(first.eval()(batch), second.eval()(batch))


@EVERY
def test_runs_in_bfloat16(name: str) -> None:
    network = make(name)
    with torch.autocast("cpu", torch.bfloat16):
        branches = network.branches(batch_for(network))
    sum(x.float().square().mean() for x in branches).backward()
    assert all(x.isfinite().all() for x in branches)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("name", ["plain", "resnet", "mobilenet", "++", "++ resnet supervised"])
def test_channels_last_changes_nothing(name: str) -> None:
    network = make(name).eval()
    batch = batch_for(network)
    with torch.no_grad():
        expected = network(batch)
        network.to(memory_format=torch.channels_last)
        logits = network(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=2e-5)  # as above
    assert logits.is_contiguous(memory_format=torch.channels_last) or logits.shape[1] == 1


@pytest.mark.parametrize("name", ["plain", "valid", "plain volumes", "resnet", "mobilenet", "++ supervised"])
def test_a_drawing_is_learned_by_heart(name: str) -> None:
    network = make(name)
    batch = batch_for(network)
    targets = images(*network(batch)[:, 0].shape) > 0
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    first = last = 0.0
    for _ in range(40):
        branches = network.train().branches(batch)
        loss = sum(F.cross_entropy(logits, targets.long()) for logits in branches) / len(branches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first or last
    assert first < 3, "logits start with a spread of about 1: the loss is near ln 3, not far above"
    assert last < 0.5 * first


@EVERY
def test_other_sides_are_refused(name: str) -> None:
    network = make(name)
    sides = list(batch_for(network).shape[2:])
    sides[-1] += 1
    with pytest.raises(InputError, match=r"must be (188|44|multiples of)" if name != "valid" else "steps of 4 more"):
        network(torch.zeros(1, 1, *sides))


@EVERY
def test_the_smallest_input_is_the_smallest(name: str) -> None:
    network = make(name).eval()
    for wanted in (1, 5, 30):
        side = network.input_size(wanted)
        assert network.output_size(side) >= wanted
        smaller = side - (4 if name == "valid" else network.multiple)
        assert smaller <= 0 or smaller - 2 * network.border < wanted


def test_the_papers_sides_without_padding() -> None:
    network = build_unet(UNetConfig(in_channels=1, num_classes=2, widths=(1, 1, 1, 1, 1), padding="valid"))
    assert (network.border, network.output_size(572), network.input_size(388)) == (92, 388, 572)
    assert [network.input_size(side) for side in (1, 4, 5, 20, 21)] == [188, 188, 204, 204, 220]
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)
    for side, following in ((571, 572), (573, 588), (20, 188)):
        with pytest.raises(InputError, match=f"steps of 16 more, got {side}; the next is {following}"):
            network.output_size(side)


def test_without_padding_the_middle_is_what_padding_gives() -> None:
    """Far from the border padded windows see no zeros. The first pools without padding begin 2 and 6 pixels inside."""
    network, padded = make("valid").eval(), make("plain").eval()
    padded.load_state_dict(network.state_dict())
    image = images(1, 1, 140, 140, dtype=torch.float32)
    with torch.no_grad():
        middle, whole = network(image), padded(image[..., 2:-2, 2:-2])
    assert (network.border, middle.shape[2]) == (20, 100)
    torch.testing.assert_close(middle[..., 8:-8, 8:-8], whole[..., 26:-26, 26:-26], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "across", "side"),
    [
        ("plain", 4, 64), ("plain signals", 4, 1024), ("plain volumes", 4, 64), ("++ supervised", 4, 64),
        ("resnet", 32, 704), ("resnet50", 32, 704), ("mobilenet", 32, 768), ("++ resnet", 32, 704),
        ("resnet clips", 16, 352),
    ],
)  # fmt: skip
def test_the_margin_is_how_far_an_input_reaches(name: str, across: int, side: int) -> None:
    network = make(name, num_classes=1)
    assert network.margin == furthest_touched(network, across, side)


def test_without_padding_the_margin_is_the_same() -> None:
    assert make("valid").margin == make("plain").margin == 23


@pytest.mark.parametrize("name", ["plain", "++ supervised"])
def test_nothing_outside_the_margin_moves_a_pixel(name: str) -> None:
    network = make(name, widths=(8, 12, 16)).double().eval()
    image = images(1, 1, 64, 64).requires_grad_()
    for place in (28, 30, 33):
        (gradient,) = torch.autograd.grad(network(image)[0, :, place, place].sum(), image)
        seen = gradient[0, 0].nonzero() - place
        assert network.margin / 2 <= int(seen.abs().max()) <= network.margin


@NESTED
def test_a_pruned_network_answers_as_that_branch(name: str) -> None:
    network = make(name).eval()
    batch = batch_for(network)
    with torch.no_grad():
        branches, sizes = network.branches(batch), []
        for level, expected in enumerate(branches, 1):
            small = network.pruned(level)
            torch.testing.assert_close(small(batch), expected, rtol=0, atol=0)
            assert len(small.branches(batch)) == 1
            sizes.append(sum(p.numel() for p in small.parameters()))
            early = make(name, prune=level).eval()
            early.load_state_dict(network.state_dict())
            torch.testing.assert_close(early(batch), expected, rtol=0, atol=0)
            assert len(early.branches(batch)) == len(branches)
    assert sizes == sorted(set(sizes)), "each level adds"
    assert sizes[-1] < sum(p.numel() for p in network.parameters()), "one head instead of all"
    assert network(batch).shape == (*batch.shape[:1], 3, *batch.shape[2:]), "the whole network is as it was"


@NESTED
def test_pruning_computes_no_other_node(name: str) -> None:
    network = make(name, prune=2).eval()
    run: list[str] = []
    for key, node in network.nodes.items():
        node.register_forward_hook(lambda *_, key=key: run.append(key))
    with torch.no_grad():
        network(batch_for(network))
    assert run == ["x_0_1", "x_1_1", "x_0_2"]


def test_a_pruned_plain_network_takes_smaller_sides() -> None:
    network = make("++ supervised")
    assert (network.multiple, network.pruned(1).multiple, network.pruned(1).margin) == (4, 2, 9)


def test_an_encoder_has_no_classifier() -> None:
    for encoder in ENCODERS[1:]:
        with torch.device("meta"):
            network = build_unet(UNetConfig(in_channels=3, num_classes=2, encoder=encoder))
        names = [name for name, _ in network.encoder.named_parameters()]  # type: ignore[attr-defined]
        assert not [name for name in names if name.startswith(("fc", "classifier"))]
        assert len(network.encoder.map_channels) == 6


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("size", [(64, 96), (32, 32), (4, 32, 32), (16, 96, 64)])
def test_maps_of_a_classifier(name: str, size: tuple[int, ...]) -> None:
    entry = CATALOG[name]
    sizes = {"image_size": size, "dims": len(size), "width": 8 if name != "mobilenet_v2" else 0.25}
    torch.manual_seed(0)
    network: Any = entry.build(entry.config(in_channels=2, num_classes=3, **entry.settings, **sizes)).eval()
    image = images(1, 2, *size, dtype=torch.float32)
    with torch.no_grad():
        maps = network.maps(image)
        averages = maps[-1].mean(dim=tuple(range(2, maps[-1].ndim)))
        torch.testing.assert_close(network.features(image), averages)
        for deepest in range(len(maps)):
            part = network.maps(image, deepest)
            assert len(part) == deepest + 1
            assert all(torch.equal(a, b) for a, b in zip(part, maps, strict=False))
    assert maps[0] is image
    assert tuple(x.shape[1] for x in maps) == network.map_channels
    sides = [x.shape[-1] for x in maps]
    halved = [a // b for a, b in itertools.pairwise(sides)]
    assert halved in ([2] * len(halved), [1, *[2] * (len(halved) - 1)]), "the image's size once or twice, then halves"


@pytest.mark.parametrize("name", ["plain", "resnet", "mobilenet", "++ supervised", "++ resnet"])
def test_stages_go_from_the_encoder_to_the_head(name: str) -> None:
    network = make(name)
    names = {id(p): key for key, p in network.named_parameters()}
    parts = [[names[id(p)] for p in stage] for stage in stages(network)]
    assert len(parts) == 6
    assert parts[0][0].startswith("encoder.")
    assert parts[-1][0].startswith("head")
    order = [key for part in parts for key in part]
    assert sorted(order) == sorted(names.values())
    last_encoder = max(place for place, key in enumerate(order) if key.startswith("encoder."))
    first_decoder = min(place for place, key in enumerate(order) if key.startswith(("decoder.", "nodes.")))
    assert last_encoder < first_decoder


@pytest.mark.parametrize("config", [UNetConfig, UNetPlusPlusConfig])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"num_classes": -1}, "num_classes must be at least 1"),
        ({"dims": 4}, r"dims must be 1 \(signals\)"),
        ({"widths": (8,)}, "at least two levels"),
        ({"widths": (8, 0)}, "at least two levels"),
        ({"encoder": "resnet19"}, "did you mean 'resnet18'"),
        ({"encoder": "vgg16"}, "model.encoder is 'vgg16'"),
        ({"encoder": "resnet18", "widths": (8, 8)}, "widths needs 5 numbers"),
        ({"encoder": "resnet18", "dims": 3, "widths": (8,) * 5}, "widths needs 4 numbers"),
        ({"encoder_width": 8}, "encoder_width is for a ResNet .* model.encoder=plain"),
        ({"encoder": "mobilenet_v2", "encoder_width": 8}, "encoder_width is for a ResNet"),
        ({"encoder": "resnet18", "encoder_width": -8}, "encoder_width is for a ResNet"),
    ],
)
def test_impossible_sizes_are_refused(config: type, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**{"in_channels": 3, "num_classes": 2, **change})


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (UNetConfig, {"padding": "full"}, "'same' or 'valid', got 'full'"),
        (UNetConfig, {"padding": "valid", "encoder": "resnet18"}, "padding=valid is for model.encoder=plain"),
        (UNetPlusPlusConfig, {"prune": 2}, "add model.deep_supervision=yes"),
        (UNetPlusPlusConfig, {"prune": 5, "deep_supervision": True}, "1 to 4"),
        (UNetPlusPlusConfig, {"prune": 6, "deep_supervision": True, "encoder": "resnet18"}, "1 to 5"),
    ],
)
def test_options_of_one_of_them_are_checked(config: type, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**{"in_channels": 3, "num_classes": 2, **change})


def test_only_a_supervised_network_is_pruned() -> None:
    with pytest.raises(InputError, match="deep_supervision=yes, got level 1"):
        make("++").pruned(1)
    for level in (0, 3):
        with pytest.raises(InputError, match=f"1 to 2, got level {level}"):
            make("++ supervised").pruned(level)


def test_the_config_shows_what_is_built() -> None:
    sizes = {"in_channels": 3, "num_classes": 2}
    assert UNetConfig(**sizes).widths == (64, 128, 256, 512, 1024)
    assert UNetPlusPlusConfig(**sizes).widths == (32, 64, 128, 256, 512)
    with_encoder = UNetConfig(**sizes, encoder="resnet34")
    assert (with_encoder.widths, with_encoder.encoder_width) == ((16, 32, 64, 128, 256), 64)
    assert UNetConfig(**sizes, encoder="resnet34", dims=3).widths == (16, 32, 64, 128)
    assert UNetConfig(**sizes, encoder="mobilenet_v2", dims=3).encoder_width == 0
