"""Telling people apart: scores of pairs, thresholds, identification, the task and its baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn

from chainrule.data.samples import Batch, TensorSamples
from chainrule.data.schema import IdentityTarget
from chainrule.errors import InputError
from chainrule.evaluate.face_baselines import eigenfaces, face_baselines
from chainrule.evaluate.intervals import interval
from chainrule.functional.metrics import ranking
from chainrule.functional.verification import (
    Pairs,
    at_threshold,
    equal_error_rate,
    identified,
    operating_point,
    pairs_of,
    verification_scorer,
)
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At
from chainrule.tasks.verify import Verify, VerifyConfig, comparing_within


def crowd(people: int = 8, photos: int = 5, spread: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings about a direction for each person."""
    generator = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), photos)
    return generator.normal(size=(people, 16))[who] + spread * generator.normal(size=(len(who), 16)), who


def pairs(likeness: list[float], same: list[bool]) -> Pairs:
    rows = np.arange(len(likeness))
    return Pairs(rows, rows, np.array(same), np.array(likeness))


def test_rates_equal_those_of_the_roc_curve() -> None:
    for seed in range(5):
        places, who = crowd(seed=seed, spread=1.5)
        found = pairs_of(places, who)
        accepted, taken, _ = roc_curve(found.same, found.likeness, drop_intermediate=False)
        grid = np.linspace(0, 1, 200_001)  # where the straight lines of the curve meet 1 - x
        expected = grid[np.abs(np.interp(grid, accepted, taken) - (1 - grid)).argmin()]
        scores = verification_scorer(places, who)()
        assert scores["eer"] == pytest.approx(expected, abs=1e-5)  # the grid's step
        assert scores["roc_auc"] == pytest.approx(roc_auc_score(found.same, found.likeness), abs=1e-12)
        assert scores["true_accept_at_1"] == pytest.approx(taken[accepted <= 0.01 + 1e-12].max(), abs=1e-12)


def test_equal_error_rate_by_hand() -> None:
    def rate(likeness: list[float], same: list[bool]) -> float:
        return float(equal_error_rate(ranking(np.array(likeness), np.array(same)).curve()))

    assert rate([0.9, 0.8, 0.2, 0.1], [True, True, False, False]) == 0
    assert rate([0.1, 0.2, 0.8, 0.9], [True, True, False, False]) == 1
    assert rate([0.5, 0.5, 0.5, 0.5], [True, True, False, False]) == 0.5  # all alike: half-way along one line
    # from (FAR 0, FRR 1/2) one pair of two people leads to (1/2, 1/2)
    assert rate([0.9, 0.8, 0.7, 0.1], [True, False, True, False]) == 0.5
    # same at .9, .6, .5; others at .7, .3, .2: at .6 FAR 1/3 and FRR 1/3
    assert rate([0.9, 0.6, 0.5, 0.7, 0.3, 0.2], [True, True, True, False, False, False]) == pytest.approx(1 / 3)
    assert np.isnan(rate([0.9, 0.8], [True, True]))


def test_decidability_by_hand() -> None:
    scores = verification_scorer(np.array([[1.0, 0], [1, 0], [0, 1], [1, 1]]), np.array([0, 0, 1, 1]))()
    same, other = np.array([1, 0.5**0.5]), np.array([0, 0.5**0.5, 0, 0.5**0.5])
    expected = (same.mean() - other.mean()) / ((same.var() + other.var()) / 2) ** 0.5
    assert scores["decidability"] == pytest.approx(expected)


def test_a_threshold_lies_where_the_share_of_false_accepts_is_kept() -> None:
    found = pairs([0.9, 0.8, 0.6, 0.7, 0.3, 0.2, 0.1], [True, True, True, False, False, False, False])
    none, quarter = operating_point(found, 0.0), operating_point(found, 0.25)
    assert (none.threshold, none.false_accept, none.false_reject) == (0.75, 0.0, pytest.approx(1 / 3))
    assert (quarter.threshold, quarter.false_accept, quarter.false_reject) == (0.45, 0.25, 0.0)
    assert operating_point(found, 0.24).threshold == 0.75  # one of four is more than asked
    assert at_threshold(found, 0.7).false_accept == 0.25  # a likeness at the threshold counts
    hopeless = operating_point(pairs([0.9, 0.5], [False, True]), 0.0)
    assert hopeless.threshold > 0.9
    assert (hopeless.false_accept, hopeless.false_reject) == (0.0, 1.0)
    places, who = crowd(spread=2.0)
    for share in (0.0, 0.01, 0.1, 0.5):
        point = operating_point(pairs_of(places, who), share)
        assert point.false_accept <= share
        assert point == at_threshold(pairs_of(places, who), point.threshold)


def test_pairs_of_many_rows_are_drawn_and_tell_the_same() -> None:
    places, who = crowd(60, 6, 1.0)
    every, some = pairs_of(places, who), pairs_of(places, who, most=4000)
    assert len(every.same) == 360 * 359 // 2
    assert every.same.sum() == 60 * 15 == some.same.sum()
    assert (~some.same).sum() == 4000
    assert (who[some.first] == who[some.second]).tolist() == some.same.tolist()
    assert not (some.first == some.second).any()
    few = pairs_of(places, who, most=500)
    assert few.same.sum() == 500
    rates = [float(equal_error_rate(found.ranked().curve())) for found in (every, some)]
    assert rates[0] == pytest.approx(rates[1], abs=0.01)  # sqrt(.1 * .9 / 4000) = .005
    assert np.array_equal(pairs_of(places, who, most=500).first, few.first)


def test_identification_by_hand() -> None:
    places = np.array([[1.0, 0], [0.9, 0.1], [0, 1], [1, 0.2]])
    who = np.array([0, 0, 1, 1])
    found = identified(places, who, draws=400)
    # rows 0 and 2 are always most like their own; row 3 never is; row 1 is more like row 3 than like row 0
    assert (found[0], found[2], found[3]) == (1, 1, 0)
    assert found[1] == pytest.approx(0.5, abs=0.1)  # row 3 or row 2 stands in the gallery: 4 standard errors of 200
    assert np.isnan(identified(places, np.array([0, 0, 1, 2]))[2])  # nobody else's photo can be right
    assert np.array_equal(identified(places, who, seed=1), identified(places, who, seed=1), equal_nan=True)
    perfect, people = crowd(6, 4, 0.0)
    assert (identified(perfect, people) == 1).all()


def test_a_person_drawn_twice_is_two_people_who_never_meet() -> None:
    places, who = crowd(4, 3, 1.2)
    scores = verification_scorer(places, who)
    weights = np.repeat(np.array([2, 1, 0, 1]), 3)
    twice = np.concatenate((places[:3], places[:3], places[3:6], places[9:]))
    named = np.repeat(np.arange(4), 3)
    found = pairs_of(twice, named)
    apart = ~((found.first < 3) & (found.second >= 3) & (found.second < 6))  # both copies of the first person
    kept = Pairs(found.first[apart], found.second[apart], found.same[apart], found.likeness[apart])
    expected = float(equal_error_rate(kept.ranked().curve()))
    assert scores(weights)["eer"] == pytest.approx(expected)
    both = scores(np.stack((weights, np.ones(12, np.int64))))
    assert both["eer"].tolist() == pytest.approx([expected, scores()["eer"]])


def test_intervals_draw_people() -> None:
    task = Verify(VerifyConfig(), IdentityTarget(classes=("a",), counts=(1,)))
    places, who = crowd(10, 6, 1.5)
    rows = {"embeddings": places, "targets": who}
    bounds = interval(task.score, rows, who, prepare=task.scorer)
    for name, value in task.score(rows).items():
        low, high = bounds[name]
        assert low <= value <= high, name
    perfect, people = crowd(10, 6, 0.0)
    low, high = interval(task.score, {"embeddings": perfect, "targets": people}, people, prepare=task.scorer)["eer"]
    assert low == 0 < high  # ten people without an error are no proof that there are none


def embedder(config: VerifyConfig, people: int = 3) -> tuple[Verify, Fronted, Batch]:
    names = tuple("abcdefgh"[:people])
    task = Verify(config, IdentityTarget(classes=names, counts=(4,) * people))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, config.dims))
    module = Fronted(Scaled(), task.wrap(network, None))
    images = torch.randint(0, 256, (4 * people, 1, 6, 6), dtype=torch.uint8)
    batch = Batch((images,), torch.arange(people).repeat_interleave(4), torch.arange(4 * people))
    return task, module, batch


class Scaled(nn.Module):
    """Levels from -1 to 1."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (image.float() / 127.5 - 1,)


def test_a_photo_and_its_mirror_image_stand_in_one_place() -> None:
    task, module, batch = embedder(VerifyConfig(dims=8))
    mirrored = Batch((batch.inputs[0].flip(-1),), batch.targets, batch.ids)
    places = task.embed(module, batch)
    assert torch.allclose(places, task.embed(module, mirrored), atol=1e-6)
    assert torch.allclose(places.norm(dim=1), torch.ones(12), atol=1e-6)


@pytest.mark.parametrize("loss", ["arcface", "triplet", "contrastive"])
def test_one_batch_is_learned(loss: str) -> None:
    task, module, batch = embedder(VerifyConfig(dims=8, loss=loss))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        (term,) = task.loss(module, batch, At(step, 60, torch.Generator()))
        (term.total / task.counts(batch)[term.name]).backward()
        optimizer.step()
        losses.append(float(term.total.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert (comparing_within(task) is None) == (loss == "arcface")
    rows = {name: values.detach().numpy() for name, values in task.places.measure(module, batch).items()}
    assert task.score(rows)["eer"] < 0.05


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"loss": "arc"}, {"false_accept": 1.0}, {"dims": 1}, {"scale": 0.0}, {"loss": "nt_xent"}):
        with pytest.raises(InputError, match=r"task\."):
            VerifyConfig(**wrong)


def test_eigenfaces_equal_whitened_components() -> None:
    generator = np.random.default_rng(0)
    known, asked = generator.normal(size=(40, 12)) * np.arange(1, 13), generator.normal(size=(5, 12))
    expected = PCA(6, whiten=True).fit(known).transform(asked)
    assert np.allclose(np.abs(eigenfaces(known, asked, 6)), np.abs(expected), atol=1e-10)  # directions have no sign
    flat = np.repeat(generator.normal(size=(2, 12)), 10, axis=0)
    assert eigenfaces(flat, asked).shape == (5, 1)  # photos that differ in one direction


def test_baselines_know_plain_faces_again() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (6, 1, 8, 8), generator=generator)
    images = (faces.repeat_interleave(4, 0) + torch.randint(-20, 21, (24, 1, 8, 8), generator=generator)).clamp(0, 255)
    people = torch.arange(6).repeat_interleave(4)
    split = [TensorSamples((images[rows].to(torch.uint8),), people[rows], [str(i) for i in range(12)])
             for rows in (slice(12), slice(12, 24))]  # fmt: skip
    task = Verify(VerifyConfig(), IdentityTarget(classes=("0", "1", "2"), counts=(4, 4, 4)))
    entries = face_baselines(*split, lambda batch: batch.inputs[0].float().flatten(1).numpy(), task.score)
    assert [entry["name"] for entry in entries] == ["pixels", "eigenfaces"]
    assert all(entry["eer"] == 0 and entry["identification"] == 1 for entry in entries[:1])
    assert entries[1]["roc_auc"] > 0.5
