"""Every row once an epoch, whatever the sizes; the same (seed, epoch) the same order, others another."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data.order import arranged, by_class, generator_of, iterations_per_epoch, order
from chainrule.data.samples import ClassedSamples, TensorSamples

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


CLASSES = st.lists(st.integers(0, 12), min_size=1, max_size=300)


@given(CLASSES, st.integers(1, 60), SEEDS, st.integers(0, 1000))
def test_batches_of_classes_are_a_permutation_of_the_same_sizes(
    classes: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    plain = order(len(classes), batch_size, seed, epoch)
    batches = by_class(plain, torch.tensor(classes), generator_of(seed, epoch, 2))
    assert [len(rows) for rows in batches] == [len(rows) for rows in plain]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(len(classes)))


@given(CLASSES, SEEDS)
def test_only_rows_without_another_of_their_class_stand_alone(classes: list[int], seed: int) -> None:
    """In runs: between two batches a run may be cut, so that they are counted in the epoch's one sequence."""
    labels = torch.tensor(classes)
    rows = torch.cat(by_class(order(len(classes), 16, seed, 0), labels, generator_of(seed, 0, 2)))
    runs, counts = torch.unique_consecutive(labels[rows], return_counts=True)
    for label, count in zip(runs.tolist(), counts.tolist(), strict=True):
        assert count >= min(2, classes.count(label))


@given(SEEDS, st.integers(0, 1000), st.integers(0, 1000))
def test_batches_of_classes_depend_on_seed_and_epoch_alone(seed: int, epoch: int, other: int) -> None:
    labels = torch.arange(80) % 9
    samples = ClassedSamples(TensorSamples((labels[:, None],), labels, [str(row) for row in range(80)]), labels)
    first, again = (torch.cat(arranged(samples, 16, seed, epoch)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first, torch.cat(arranged(samples, 16, seed, other))) == (epoch == other)
