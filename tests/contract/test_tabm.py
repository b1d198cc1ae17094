"""What every network promises, for TabM: gradients, evaluation mode, saving, empty halves of a table."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from chainrule.errors import InputError
from chainrule.models.tabm import TabM, TabMConfig, training_settings
from chainrule.train.config import TrainConfig
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig

SIZES = {"members": 4, "width": 16, "num_layers": 2, "number_size": 5}
CONFIGS = {
    "mixed": TabMConfig(num_numbers=3, num_bins=6, cardinalities=(5, 40), num_classes=3, dropout=0.2, **SIZES),
    "numbers only": TabMConfig(num_numbers=2, num_bins=1, cardinalities=(), num_classes=1, **SIZES),
    "categories only": TabMConfig(num_numbers=0, num_bins=0, cardinalities=(3,), num_classes=2, **SIZES),
}


def inputs(config: TabMConfig, rows: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    codes = [torch.randint(codes, (rows, 1)) for codes in config.cardinalities]
    return (
        torch.randn(rows, config.num_numbers),
        torch.rand(rows, config.num_numbers, config.num_bins),
        torch.cat([torch.empty(rows, 0, dtype=torch.int64), *codes], 1),
    )


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest) -> TabM:
    torch.manual_seed(0)
    return TabM(CONFIGS[request.param])


def test_members_answer_in_training_and_the_ensemble_in_evaluation(network: TabM) -> None:
    config = network.config
    assert network.train()(*inputs(config)).shape == (9, 4, config.num_classes)
    assert network.eval()(*inputs(config)).shape == (9, config.num_classes)


def test_members_differ_from_the_start(network: TabM) -> None:
    members = network.train()(*inputs(network.config))
    assert members.std(dim=1).min() > 1e-3


def test_every_parameter_gets_a_finite_gradient(network: TabM) -> None:
    network.train()(*inputs(network.config, 200)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_evaluation_is_deterministic_and_rows_are_independent(network: TabM) -> None:
    network.eval()
    batch = inputs(network.config)
    whole = network(*batch)
    assert torch.equal(whole, network(*batch))
    one = network(*[x[4:5] for x in batch])
    torch.testing.assert_close(whole[4:5], one, atol=1e-6, rtol=1e-5)  # float32, other blocking of the sums


def test_classes_are_log_probabilities_of_the_mean_member_and_numbers_the_mean() -> None:
    torch.manual_seed(0)
    for config in CONFIGS.values():
        network, batch = TabM(config).eval(), inputs(config)
        members = network.head(network.features(*batch))
        if config.num_classes == 1:
            torch.testing.assert_close(network(*batch), members.mean(1))
        else:
            torch.testing.assert_close(network(*batch).exp(), members.softmax(-1).mean(1))
            torch.testing.assert_close(network(*batch).exp().sum(1), torch.ones(9))


def test_logits_far_out_stay_finite() -> None:
    network = TabM(CONFIGS["mixed"]).eval()
    with torch.no_grad():
        network.head.weight.mul_(1e4)
    assert network(*inputs(network.config)).isfinite().all()


def test_padding_beyond_a_numbers_own_bins_changes_nothing() -> None:
    torch.manual_seed(0)
    network = TabM(CONFIGS["mixed"]).train()
    numbers, encoded, codes = inputs(network.config)
    encoded[:, 1, 2:] = 0
    network(numbers, encoded, codes).sum().backward()
    assert network.numbers.bins.grad is not None
    assert (network.numbers.bins.grad[1, 2:] == 0).all()
    assert (network.numbers.bins.grad[1, :2] != 0).any()


def test_an_unseen_and_a_missing_category_have_rows_of_their_own() -> None:
    network = TabM(CONFIGS["categories only"]).eval()
    answers = network(torch.empty(3, 0), torch.empty(3, 0, 0), torch.arange(3).unsqueeze(1))
    assert len(answers.unique(dim=0)) == 3


def test_an_embedding_starts_as_large_as_a_number_does() -> None:
    torch.manual_seed(0)
    weight = TabM(CONFIGS["mixed"]).categories[1].weight.detach()  # 40 codes, 16 numbers each
    assert weight.abs().max() <= 16**-0.5
    assert float(weight.std()) == pytest.approx((16 * 3) ** -0.5, rel=0.1)


def test_state_dict_goes_round(network: TabM) -> None:
    other = TabM(network.config)
    other.load_state_dict(network.state_dict())
    batch = inputs(network.config)
    assert torch.equal(network.eval()(*batch), other.eval()(*batch))


def test_bfloat16_runs_and_stays_near(network: TabM) -> None:
    network.eval()
    batch = inputs(network.config)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(*batch)
    torch.testing.assert_close(low.float(), network(*batch), atol=0.1, rtol=0.1)  # 8 bits of mantissa


def test_exports(network: TabM) -> None:
    network.eval()
    batch = inputs(network.config)
    exported = torch.export.export(network, batch)
    torch.testing.assert_close(exported.module()(*batch), network(*batch))


def test_parameter_count_is_the_stated_one() -> None:
    config = TabMConfig(
        num_numbers=3, num_bins=6, cardinalities=(5,), num_classes=2, members=4, width=16, num_layers=2, number_size=5
    )
    columns = 3 * 5 + 4  # a category of 5 codes is embedded in 5 // 2 + 2 numbers
    expected = 3 * 5 * (2 + 6) + 5 * 4 + 4 * columns + (columns * 16 + 16) + (16 * 16 + 16) + 4 * (16 * 2 + 2)
    assert sum(p.numel() for p in TabM(config).parameters()) == expected


def test_at_first_the_encoding_is_silent_and_the_loss_is_near_ln_k() -> None:
    torch.manual_seed(0)
    config = TabMConfig(num_numbers=3, num_bins=6, cardinalities=(5,), num_classes=4)
    network = TabM(config).eval()
    numbers, encoded, codes = inputs(config, 200)
    answers = network(numbers, encoded, codes)
    assert torch.equal(answers, network(numbers, torch.zeros_like(encoded), codes))
    loss = torch.nn.functional.cross_entropy(answers.detach(), torch.arange(200) % 4)
    assert float(loss) == pytest.approx(math.log(4), abs=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_numbers": 0, "cardinalities": ()}, "at least one input column"),
        ({"num_bins": 0}, r"model\.num_bins must be at least 1, got 0"),
        ({"width": 0}, r"model\.width must be at least 1, got 0"),
        ({"members": -1}, r"model\.members must be at least 1, got -1"),
        ({"dropout": 1.0}, r"model\.dropout must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], words: str) -> None:
    fields = {"num_numbers": 2, "num_bins": 4, "cardinalities": (3,), "num_classes": 2}
    with pytest.raises(InputError, match=words):
        TabMConfig(**(fields | change))


def test_settings_grow_with_the_table_and_fit_the_configs() -> None:
    many = [training_settings(rows, 10) for rows in (1, 100, 1_000, 20_000, 1_000_000, 100_000_000)]
    assert [s["train.batch_size"] for s in many] == [32, 32, 32, 128, 256, 256]
    assert [s["train.epochs"] for s in many] == [40, 40, 40, 20, 3, 2]
    assert training_settings(1_000, 200)["model.number_size"] == 2
    for settings in many:
        model = {name.removeprefix("model."): value for name, value in settings.items() if name.startswith("model.")}
        TabMConfig(num_numbers=2, num_bins=4, cardinalities=(), num_classes=2, **model)
        optimizer = {name: settings[f"optimizer.{name}"] for name in ("name", "learning_rate", "weight_decay")}
        OptimizerConfig(**optimizer)
        ScheduleConfig(name=settings["schedule.name"], warmup=settings["schedule.warmup"])
        TrainConfig(**{name.removeprefix("train."): value for name, value in settings.items() if name[:5] == "train"})
