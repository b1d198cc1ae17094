"""Draws by a row's place: standard normal, the same in any company, unlike between rows, places and seeds."""

from __future__ import annotations

import torch

from chainrule.functional.draws import normal_of


def test_draws_are_standard_normal_and_uncorrelated() -> None:
    draws = normal_of(torch.arange(50_000), 4).double()  # 200,000: means +- 0.0045 at two sigma of one number
    assert draws.isfinite().all()
    assert float(draws.mean(0).abs().max()) < 0.015
    assert float((draws.std(0) - 1).abs().max()) < 0.012
    assert abs(float((draws**4).mean()) - 3) < 0.06
    assert float((draws.abs() < 0.6745).double().mean() - 0.5) < 0.005  # half of them within the quartiles
    correlations = torch.corrcoef(draws.T) - torch.eye(4)
    assert float(correlations.abs().max()) < 0.015
    neighbours = torch.corrcoef(torch.stack((draws[1:].flatten(), draws[:-1].flatten())))
    assert abs(float(neighbours[0, 1])) < 0.008


def test_a_draw_depends_on_the_row_alone() -> None:
    rows = torch.tensor([5, 0, 2**40, 17])
    together = normal_of(rows, 3)
    assert torch.equal(together, torch.cat([normal_of(row[None], 3) for row in rows]))
    assert torch.equal(together, normal_of(rows.flip(0), 3).flip(0))
    assert len(together.unique()) == 12


def test_other_seeds_give_other_draws() -> None:
    first, second = (normal_of(torch.arange(10_000), 2, seed).double() for seed in (0, 1))
    assert abs(float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])) < 0.03
