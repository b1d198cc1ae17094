"""Batches and iterations mean what the textbook says, and no release changes their order."""

from __future__ import annotations

import hashlib

import pytest
import torch

from chainrule.data.order import generator_of, iterations_per_epoch, order, seed_of
from chainrule.errors import InputError

# drawn with torch 2.13; a release that draws others must not pass unnoticed
GOLDEN_0_0 = [2, 1, 7, 8, 6, 0, 3, 5, 9, 4]
GOLDEN_0_1 = [1, 9, 7, 5, 2, 0, 8, 3, 6, 4]
GOLDEN_7_0 = [8, 7, 5, 2, 9, 1, 0, 4, 6, 3]
GOLDEN_LARGE = "4bf1b5e1ea4a13e4f78a25ccec5ac811a6e0e7d055e1d1aa78866e9609c070cb"
GOLDEN_SEEDS = [
    8147104208329303767,
    6017775124710473527,
    313702574736366215,
    3395948882924712079,
    632708443614939087,
    8245168133484221968,
]


def test_a_thousand_rows_in_batches_of_a_hundred_are_ten_iterations_an_epoch() -> None:
    assert iterations_per_epoch(1000, 100) == 10
    assert sum(len(order(1000, 100, seed=0, epoch=epoch)) for epoch in range(10)) == 100
    assert [len(rows) for rows in order(1000, 100, seed=0, epoch=0)] == [100] * 10


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "min_tail", "sizes"),
    [
        (1001, 500, 1, [500, 500, 1]),
        (1001, 500, 2, [500, 501]),
        (1002, 500, 2, [500, 500, 2]),
        (1, 500, 2, [1]),
        (3, 500, 2, [3]),
        (3, 1, 2, [1, 1, 1]),
        (0, 10, 1, []),
    ],
)
def test_the_last_batch_is_short_or_joins_the_one_before(
    num_samples: int, batch_size: int, min_tail: int, sizes: list[int]
) -> None:
    assert [len(rows) for rows in order(num_samples, batch_size, 0, 0, min_tail)] == sizes
    assert iterations_per_epoch(num_samples, batch_size, min_tail) == len(sizes)


def test_batches_are_views_of_one_permutation() -> None:
    batches = order(10, 4, seed=3, epoch=2)
    assert len({rows.untyped_storage().data_ptr() for rows in batches}) == 1
    assert all(rows.dtype == torch.int64 for rows in batches)


def test_golden_order() -> None:
    assert torch.cat(order(10, 4, seed=0, epoch=0)).tolist() == GOLDEN_0_0
    assert torch.cat(order(10, 4, seed=0, epoch=1)).tolist() == GOLDEN_0_1
    assert torch.cat(order(10, 4, seed=7, epoch=0)).tolist() == GOLDEN_7_0
    large = torch.cat(order(100_003, 256, seed=1, epoch=2)).numpy().tobytes()
    assert hashlib.sha256(large).hexdigest() == GOLDEN_LARGE


def test_golden_seeds() -> None:
    assert [seed_of(0), seed_of(0, 0), seed_of(0, 1), seed_of(1, 0), seed_of(2**63, 5, 6), seed_of(-1)] == GOLDEN_SEEDS


def test_seeds_are_63_bits_and_apart() -> None:
    seeds = [seed_of(seed, step) for seed in range(100) for step in range(100)]
    assert len({seed & 0xFFFFFFFF for seed in seeds}) >= len(seeds) - 1  # torch's CPU generator reads the low 32 bits
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    order(100, 10, seed=0, epoch=0)
    torch.rand(3, generator=generator_of(0, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch_size must be at least 1, got 0"):
        order(10, 0, seed=0, epoch=0)
