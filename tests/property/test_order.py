"""Every row once an epoch, whatever the sizes; the same (seed, epoch) the same order, others another."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data.order import iterations_per_epoch, order

SEEDS = st.integers(0, 2**63 - 1)


@given(st.integers(1, 400), st.integers(1, 120), SEEDS, st.integers(0, 1000), st.integers(1, 3))
def test_an_epoch_is_a_permutation(num_samples: int, batch_size: int, seed: int, epoch: int, min_tail: int) -> None:
    batches = order(num_samples, batch_size, seed, epoch, min_tail)
    assert len(batches) == iterations_per_epoch(num_samples, batch_size, min_tail)
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(num_samples))
    assert all(len(rows) == batch_size for rows in batches[:-1])
    assert min(len(rows) for rows in batches) >= min(min_tail, num_samples, batch_size)
    assert max(len(rows) for rows in batches) < batch_size + max(min_tail, 2)


@given(SEEDS, SEEDS, st.integers(0, 1000), st.integers(0, 1000))
def test_order_depends_on_seed_and_epoch_alone(seed: int, other_seed: int, epoch: int, other_epoch: int) -> None:
    rows = torch.cat(order(60, 7, seed, epoch))
    other = torch.cat(order(60, 13, other_seed, other_epoch))
    assert torch.equal(rows, other) == ((seed, epoch) == (other_seed, other_epoch))
