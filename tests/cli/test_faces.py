"""verify, enrol and identify, as typed and from Python: answers, refusals, and what is stored of whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.portraits import album, portrait, save

import chainrule
from chainrule.cli import run
from chainrule.errors import InputError
from chainrule.people import ENROLLED, MODEL
from chainrule.train.checkpoint import read_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> chainrule.TrainedRun:
    """A small network that saw eight of twelve drawn people."""
    folder = tmp_path_factory.mktemp("faces")
    return chainrule.fit(
        album(folder / "album", 12, 4), task="verify", epochs=12, out=folder / "run",
        set={"model.widths": (8, 8, 16, 32), "data.image_size": 32, "train.compile": "off", "train.threads": 1,
             "train.precision": "float32", "augment.rotate": 0, "augment.scale": 0},
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, str]:
    """New photos of new people, and of no face."""
    made = {f"{name}{photo}": portrait(100 + person, photo) for person, name in enumerate("abcd") for photo in range(8)}
    made["noise"] = np.random.default_rng(0).integers(0, 255, (120, 100, 1), dtype=np.uint8)
    made["pair"] = np.concatenate((portrait(100), portrait(101)), axis=1)
    return {name: str(save(tmp_path / f"{name}.png", pixels)) for name, pixels in made.items()}


@pytest.fixture(autouse=True)
def nobody_enrolled(trained: chainrule.TrainedRun) -> None:
    (trained.path / ENROLLED).unlink(missing_ok=True)


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_run_tells_people_apart(trained: chainrule.TrainedRun) -> None:
    metrics = trained.metrics
    assert metrics["task"] == "verify"
    assert metrics["test"]["eer"] < 0.25
    assert metrics["test"]["identification"] > 0.5
    assert metrics["baseline"]["name"] in ("pixels", "eigenfaces")
    target = trained.session.schema.target
    assert target.people == 2
    assert target.false_accept <= 0.01
    assert "chainrule verify" in trained.lines()[-1]


def test_verify_says_the_error_rates_of_its_threshold(
    trained: chainrule.TrainedRun, photos: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = typed(capsys, "verify", trained.path, photos["a0"], photos["a0"])
    assert code == 0
    assert out.startswith("same  likeness 1\n")
    assert "fitted to 2 validation people with 8 photos" in out
    assert "(false accept)" in out
    assert "(false reject)" in out
    code, out, _ = typed(capsys, "verify", trained.path, photos["a0"], photos["b0"], "--json")
    answer = json.loads(out)
    assert (code, answer["same"], answer["basis"]["own"]) == (0, False, False)
    assert answer["likeness"] < answer["basis"]["threshold"]
    assert trained.verify(portrait(100, 0), photos["b0"]).likeness == pytest.approx(answer["likeness"], abs=1e-6)


@pytest.mark.parametrize("bad", ["noise", "pair", "absent"])
@pytest.mark.parametrize("verb", ["verify", "enrol", "identify"])
def test_no_face_or_several_is_a_refusal_never_a_score(
    verb: str, bad: str, trained: chainrule.TrainedRun, photos: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    trained.enrol("bob", photos["b0"])
    photo = photos.get(bad, "absent.png")
    words = {"verify": (photos["a0"], photo), "enrol": ("ann", photos["a0"], photo), "identify": (photo,)}[verb]
    code, out, err = typed(capsys, verb, trained.path, *words)
    assert (code, out) == (2, "")
    assert ("face" if bad != "absent" else "there is no photo") in err
    assert list(trained.enrolled().photos) == ["bob"]


def test_people_are_enrolled_found_and_erased(
    trained: chainrule.TrainedRun, photos: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = typed(capsys, "identify", trained.path, photos["a0"])
    assert code == 2
    assert "nobody is enrolled" in err
    assert "chainrule enrol" in err
    assert typed(capsys, "enrol", trained.path)[1] == "nobody is enrolled\n"
    assert typed(capsys, "enrol", trained.path, "Ann Lee", photos["a0"], photos["a1"])[0] == 0
    code, out, _ = typed(capsys, "identify", trained.path, photos["a0"])
    assert (code, out.split("  ")[0]) == (0, "Ann Lee")
    assert "the only enrolled person" in out
    trained.enrol("bob", [photos["b0"]])
    out = typed(capsys, "identify", trained.path, photos["b0"], "--json")[1]
    found = json.loads(out)
    assert (found["name"], found["nearest"], found["next"], found["enrolled"]) == ("bob", "bob", "Ann Lee", 2)
    assert found["likeness"] > found["next_likeness"]
    lines = typed(capsys, "enrol", trained.path)[1].splitlines()
    assert lines[:2] == ["Ann Lee  2 photos", "bob  1 photo"]
    assert "erased" in typed(capsys, "enrol", trained.path, "Ann Lee", "--forget")[2]
    assert set(read_tensors(trained.path / ENROLLED)) == {"bob", MODEL}
    assert b"Ann Lee" not in (trained.path / ENROLLED).read_bytes()
    trained.forget("bob")
    assert not (trained.path / ENROLLED).exists()
    code, _, err = typed(capsys, "enrol", trained.path, "bob", "--forget")
    assert code == 2
    assert "'bob' is not enrolled" in err


def test_only_embeddings_are_kept(trained: chainrule.TrainedRun, photos: dict[str, str]) -> None:
    trained.enrol("ann", [photos["a0"], photos["a1"]])
    stored = read_tensors(trained.path / ENROLLED)
    assert set(stored) == {"ann", MODEL}
    assert stored["ann"].shape[0] == 2
    assert np.allclose(stored["ann"].norm(dim=1), 1, atol=1e-5)
    assert [path.name for path in (trained.path / "index").iterdir()] == [Path(ENROLLED).name]


def test_unknown_faces_are_unknown(trained: chainrule.TrainedRun, photos: dict[str, str]) -> None:
    trained.enrol("ann", photos["a0"])
    found = trained.identify(photos["c0"])
    assert (found.name, found.nearest) == ("", "ann")
    assert found.lines()[0].startswith("unknown  nearest ann")


def test_one_person_under_two_names_is_a_conflict(
    trained: chainrule.TrainedRun, photos: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    trained.enrol("ann", photos["a0"])
    code, _, err = typed(capsys, "enrol", trained.path, "eve", photos["c0"], photos["a0"])
    assert code == 2
    assert "photo 2 of 'eve' looks like 'ann', who is enrolled" in err
    assert list(trained.enrolled().photos) == ["ann"]
    assert "photo 1 is enrolled already" in trained.enrol("ann", photos["a0"]).notes[0]
    assert trained.enrolled().photos == {"ann": 1}


def test_the_threshold_is_fitted_to_enough_enrolled_people(
    trained: chainrule.TrainedRun, photos: dict[str, str]
) -> None:
    for name in "abc":
        few = trained.enrol(name, [photos[f"{name}{photo}"] for photo in range(2)])
    assert (few.basis.own, few.measured is None) == (False, False)  # 12 pairs of two people cannot tell 1 %
    assert any("too few pairs" in line for line in few.lines())
    for name in "abc":
        many = trained.enrol(name, [photos[f"{name}{photo}"] for photo in range(2, 8)])
    assert many.basis.own
    assert (many.basis.people, many.basis.photos) == (3, 24)
    assert many.basis.false_accept <= 0.01
    assert "fitted to 3 enrolled people with 24 photos" in trained.verify(photos["a0"], photos["a1"]).lines()[1]


def test_words_that_cannot_be_are_refused(
    trained: chainrule.TrainedRun, photos: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("--forget",),
        ("ann",),
        ("ann", photos["a0"], "--forget"),
        ("", photos["a0"]),
        (" ann", photos["a0"]),
    ):
        assert typed(capsys, "enrol", trained.path, *words)[0] == 2, words
    trained.enrol("ann", photos["a0"])
    with pytest.raises(InputError, match="looks at one photo, got 2; give them one by one"):
        trained.identify(album(Path(photos["a0"]).parent / "two", 2, 1))


def test_people_of_other_weights_are_not_compared(
    trained: chainrule.TrainedRun, photos: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.enrol("ann", photos["a0"])
    monkeypatch.setattr("chainrule.people._weights_digest", lambda run: bytes(32))
    with pytest.raises(InputError, match="enrolled with other weights"):
        trained.identify(photos["a0"])
    trained.forget("ann")


def test_other_runs_know_nobody(tmp_path: Path) -> None:
    run = chainrule.fit("xor", epochs=1, out=tmp_path / "xor")
    with pytest.raises(InputError, match="learned to classify, which knows nobody"):
        run.verify("a.png", "b.png")
    with pytest.raises(InputError, match="learned to classify"):
        run.identify("a.png")
