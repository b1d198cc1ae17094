"""The state that goes from one window of a text to the next, and the order of rows that makes it meaningful."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from chainrule.data.order import arranged, by_length, generator_of, order, streams
from chainrule.data.samples import TensorSamples
from chainrule.nn.carried import Carried, State
from chainrule.train.gradients import Buffers


class Sum(nn.Module):
    """Its state is the sum of everything seen: what a row begins with is visible."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def run(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        before = torch.zeros(1, len(ids), 1) if state is None else state[0]
        after = before + self.weight * ids.sum(1)[None, :, None]
        return after[0, :, None], (after,)


def windows(*rows: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([[row, 1] for row in rows]), torch.tensor(rows)


def test_a_row_goes_on_where_the_row_before_it_ended() -> None:
    carried = Carried(Sum()).train()
    carried(*windows(0, 4))
    assert carried(*windows(5, 1)).flatten().tolist() == [4 + 1 + 5 + 1, 0 + 1 + 1 + 1]
    assert carried(*windows(3, 6)).flatten().tolist() == [3 + 1, 11 + 6 + 1], "row 3 follows nothing that is carried"


def test_evaluation_starts_afresh_and_leaves_the_carry_alone() -> None:
    carried = Carried(Sum()).train()
    carried(*windows(0))
    assert carried.eval()(*windows(1)).item() == 2
    assert carried.train()(*windows(1)).item() == 3


def test_the_gradient_stops_at_the_window() -> None:
    carried = Carried(Sum()).train()
    carried(*windows(7))
    carried(*windows(8)).sum().backward()
    (gradient,) = (p.grad for p in carried.parameters())
    assert gradient is not None
    assert gradient.item() == 9


def test_a_refused_step_leaves_no_trace_in_what_is_carried() -> None:
    carried = Carried(Sum()).train()
    buffers = Buffers(carried)
    carried(*windows(0, 4))
    for bad in (None, torch.tensor(True)):
        buffers.keep()
        carried(*windows(1, 5))
        buffers.put_back(bad)
        assert carried.carry()["rows"].tolist() == [0, 4]
        assert carried.carry()["0"].flatten().tolist() == [1, 5]
    buffers.keep()
    carried(*windows(1, 5))
    buffers.put_back(torch.tensor(False))
    assert carried.carry()["rows"].tolist() == [1, 5]


def test_the_carry_survives_being_saved() -> None:
    first, second = Carried(Sum()).train(), Carried(Sum()).train()
    assert first.carry() == {}
    first(*windows(0, 4))
    second.go_on(first.carry())
    assert torch.equal(first(*windows(1, 5)), second(*windows(1, 5)))


def test_streams_are_windows_side_by_side() -> None:
    batches = streams(10, 3)
    assert [rows.tolist() for rows in batches] == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    assert sorted(torch.cat(streams(101, 8)).tolist()) == list(range(101))
    assert [rows.tolist() for rows in streams(2, 8)] == [[0, 1]]


def test_rows_of_similar_length_stand_together_and_none_is_lost() -> None:
    lengths = torch.from_numpy(np.random.default_rng(0).integers(1, 100, 1003))
    batches = order(1003, 8, seed=0, epoch=0)
    found = by_length(batches, lengths, generator_of(0, 0, 1))
    assert sorted(torch.cat(found).tolist()) == list(range(1003))
    assert [len(rows) for rows in found] == [len(rows) for rows in batches]

    def filled(all_rows: list[Tensor]) -> int:
        return sum(len(rows) * int(lengths[rows].max()) for rows in all_rows)

    assert filled(found) < 1.1 * int(lengths.sum()) < filled(batches)


def test_samples_say_how_they_are_arranged() -> None:
    samples = TensorSamples((torch.arange(10.0)[:, None],), None, [str(i) for i in range(10)])
    assert torch.equal(torch.cat(arranged(samples, 4, 0, 0)), torch.cat(order(10, 4, 0, 0)))
    samples.arrangement = "streams"
    assert torch.equal(torch.cat(arranged(samples, 4, 0, 0)), torch.cat(streams(10, 4)))
    samples.arrangement = "by_length"
    samples.lengths = np.arange(10)[::-1].copy()
    batches = arranged(samples, 4, 0, 0)
    assert sorted(torch.cat(batches).tolist()) == list(range(10))
    assert all((rows.diff() < 0).all() for rows in batches), "shorter rows, which are the later ones here, first"
