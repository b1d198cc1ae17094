"""Every rule of drawing a token by hand-computed numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from chainrule.errors import InputError
from chainrule.functional.sampling import Sampling, keep_top_k, keep_top_p, next_token, repelled

NOTHING = torch.zeros(4, dtype=torch.bool)


def shares(*values: float) -> Tensor:
    """Logits of these shares."""
    return torch.tensor(values).log()


def kept(logits: Tensor) -> list[int]:
    return (logits > -math.inf).nonzero()[:, 0].tolist()


def drawn(logits: Tensor, count: int = 4000, **how: Any) -> list[float]:
    """The share of each token among many draws."""
    generator = torch.Generator().manual_seed(0)
    tokens = [next_token(logits, NOTHING[: len(logits)], Sampling(**how), generator) for _ in range(count)]
    return [tokens.count(token) / count for token in range(len(logits))]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.1, [2]),
        (0.4, [2]),
        (0.41, [1, 2]),
        (0.7, [1, 2]),
        (0.75, [0, 1, 2]),
        (0.99, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(p: float, expected: list[int]) -> None:
    logits = shares(0.2, 0.3, 0.4, 0.1)
    logits[2] += 1e-6  # 0.4 and a little: rounding must not decide
    assert kept(keep_top_p(logits, p)) == expected


def test_top_p_of_even_shares_and_of_a_tiny_p_keeps_one_at_least() -> None:
    assert len(kept(keep_top_p(torch.zeros(8), 1e-9))) == 1
    assert len(kept(keep_top_p(torch.zeros(8), 0.5))) == 4
    assert kept(keep_top_p(torch.zeros(8), 0.5)) == [0, 1, 2, 3]  # of equal ones the first


@pytest.mark.parametrize(
    ("k", "expected"), [(0, [0, 1, 2, 3]), (1, [2]), (2, [1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_top_k_keeps_the_k_likeliest(k: int, expected: list[int]) -> None:
    assert kept(keep_top_k(shares(0.2, 0.3, 0.4, 0.1), k)) == expected


def test_top_k_of_equal_logits_keeps_k() -> None:
    assert kept(keep_top_k(torch.zeros(5), 3)) == [0, 1, 2]


def test_the_kept_logits_stay_as_they_are() -> None:
    logits = shares(0.2, 0.3, 0.4, 0.1)
    for changed in (keep_top_k(logits, 2), keep_top_p(logits, 0.6)):
        assert torch.equal(changed[1:3], logits[1:3])


def test_repetition_divides_positive_and_multiplies_negative_logits_of_what_was_seen() -> None:
    logits = torch.tensor([3.0, -3.0, 3.0, -3.0])
    seen = torch.tensor([True, True, False, False])
    assert repelled(logits, seen, 1.5).tolist() == [2.0, -4.5, 3.0, -3.0]
    assert torch.equal(repelled(logits, seen, 1.0), logits)
    assert torch.equal(repelled(logits, NOTHING, 5.0), logits)
    banned = torch.tensor([-math.inf, 1.0, 0.0, 0.0])
    assert repelled(banned, seen, 2.0).tolist() == [-math.inf, 0.5, 0.0, 0.0]


def test_temperature_0_is_the_likeliest() -> None:
    assert drawn(shares(0.2, 0.3, 0.4, 0.1), 50, temperature=0) == [0, 0, 1, 0]
    assert drawn(shares(0.2, 0.3, 0.4, 0.1), 50, temperature=1e-30) == [0, 0, 1, 0]


def test_draws_have_the_networks_shares() -> None:
    for got, wanted in zip(drawn(shares(0.2, 0.3, 0.4, 0.1)), (0.2, 0.3, 0.4, 0.1), strict=True):
        assert abs(got - wanted) < 0.03  # four standard deviations of 4000 draws


def test_temperature_raises_shares_to_a_power() -> None:
    squares = [value**2 / 0.3 for value in (0.2, 0.3, 0.4, 0.1)]  # temperature 1/2: p^2 / sum p^2
    for got, wanted in zip(drawn(shares(0.2, 0.3, 0.4, 0.1), temperature=0.5), squares, strict=True):
        assert abs(got - wanted) < 0.03


def test_the_rules_together_draw_only_what_all_of_them_keep() -> None:
    found = drawn(shares(0.2, 0.3, 0.4, 0.1), temperature=1.0, top_k=3, top_p=0.6)
    assert found[0] == found[3] == 0
    assert abs(found[2] - 0.4 / 0.7) < 0.04


def test_equal_seeds_draw_equally() -> None:
    logits = torch.randn(100, generator=torch.Generator().manual_seed(1))
    once, again = (
        [next_token(logits, torch.zeros(100, dtype=torch.bool), Sampling(), generator) for _ in range(20)]
        for generator in (torch.Generator().manual_seed(4), torch.Generator().manual_seed(4))
    )
    assert once == again
    assert len(set(once)) > 5


@pytest.mark.parametrize(
    "logits", [torch.full((4,), -math.inf), torch.full((4,), math.nan), torch.tensor([0.0, math.nan, 1, 1])]
)
def test_nothing_to_draw_is_said(logits: Tensor) -> None:
    with pytest.raises(InputError, match="no token to draw"):
        next_token(logits, NOTHING, Sampling(), torch.Generator())


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"repetition": 0.5}],
)
def test_settings_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)
