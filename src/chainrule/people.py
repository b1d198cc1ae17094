"""Who is on a photo: two photos compared, people enrolled in a run, and one of them found again.

Of an enrolled person only embeddings are kept, in RUN/index/people.safetensors, under the person's name; no photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chainrule.data.schema import IdentityTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.verification import Operating, Pairs, at_threshold, operating_point, pairs_of
from chainrule.opened import OpenRun, listed
from chainrule.tasks.verify import Verify
from chainrule.train.checkpoint import read_tensors, replace_tensors

ENROLLED = "index/people.safetensors"
MODEL = ""  # the name in that file under which the digest of the network's weights stands; no person is called so
SAME_PHOTO = 0.99999  # a likeness that only one photo has with itself
OWN_PEOPLE = 3  # enrolled with two photos or more, from which on their own errors are measured
LONGEST_NAME = 100

Places = NDArray[np.float32]  # (photos, D)


@dataclass(frozen=True, kw_only=True)
class Basis:
    """From which likeness on two photos are of one person, and on whom that was measured."""

    threshold: float
    false_accept: float  # share of their pairs of two people that reach it
    false_reject: float  # share of their pairs of one person that do not
    people: int
    photos: int
    own: bool  # the people enrolled in this run; otherwise those of its validation split

    def text(self) -> str:
        """In words."""
        whom = "enrolled people" if self.own else "validation people"
        return (
            f"threshold {self.threshold:.4g}, fitted to {self.people} {whom} with {self.photos} photos: "
            f"{self.false_accept:.2%} of pairs of two people are taken for one (false accept), "
            f"{self.false_reject:.2%} of pairs of one person are not (false reject)"
        )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Whether two photos show one person."""

    same: bool
    likeness: float  # the cosine of both embeddings, from -1 to 1
    basis: Basis

    def lines(self) -> list[str]:
        """In a few lines for a person."""
        return [f"{'same' if self.same else 'different'}  likeness {self.likeness:.4g}", self.basis.text()]

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Identified:
    """Who of the enrolled people is on a photo."""

    name: str  # "": none of them
    nearest: str  # who is most like it, known or not
    likeness: float  # mean cosine with that person's photos
    next: str  # who comes second; "" where one person is enrolled
    next_likeness: float
    enrolled: int
    basis: Basis

    def lines(self) -> list[str]:
        """In a few lines for a person."""
        second = f", next {self.next} {self.next_likeness:.4g}" if self.next else ""
        among = f"among {self.enrolled} enrolled people" if self.enrolled > 1 else "the only enrolled person"
        return [
            f"{self.name or 'unknown'}  nearest {self.nearest} {self.likeness:.4g}{second}, {among}", self.basis.text()
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """Who is enrolled, and how well these people are told apart."""

    photos: dict[str, int]  # of each person
    basis: Basis
    measured: Operating | None  # what the threshold does to the enrolled photos; None where they are too few
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """In a few lines for a person."""
        if not self.photos:
            return ["nobody is enrolled"]
        lines = [f"{name}  {count} {'photo' if count == 1 else 'photos'}" for name, count in self.photos.items()]
        lines += [self.basis.text()]
        if self.measured is not None and not self.basis.own:
            lines.append(
                f"on the enrolled photos: false accept {self.measured.false_accept:.2%}, false reject "
                f"{self.measured.false_reject:.2%}; too few pairs of two people to fit a threshold to them"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def verify(run: OpenRun, first: Any, second: Any) -> Verified:
    """Whether two photos show one person.

    Raises:
        InputError: a photo cannot be read, shows no face or several, or the run did not learn to verify.
    """
    places = _places(run, [first, second])
    if len(places) != 2:
        raise InputError(f"verify compares two photos, got {len(places)}; of several photos enrol a person")
    basis, likeness = basis_of(run), float(places[0] @ places[1])
    return Verified(same=likeness >= basis.threshold, likeness=likeness, basis=basis)


def identify(run: OpenRun, photo: Any) -> Identified:
    """Who of the enrolled people is on a photo, or none of them.

    Raises:
        InputError: nobody is enrolled, or as ``verify``.
    """
    task_of(run)
    people = enrolled(run)
    if not people:
        raise InputError(f"nobody is enrolled in {run.path}; enrol people with: chainrule enrol {run.path} NAME PHOTO")
    places = _places(run, [photo])
    if len(places) != 1:
        raise InputError(f"identify looks at one photo, got {len(places)}; give them one by one")
    basis, ranked = basis_of(run), _ranked(people, places[0])
    (name, likeness), *others = ranked
    second, second_likeness = others[0] if others else ("", float("nan"))
    return Identified(
        name=name if likeness >= basis.threshold else "", nearest=name, likeness=likeness, next=second,
        next_likeness=second_likeness if others else 0.0, enrolled=len(people), basis=basis,
    )  # fmt: skip


def enrol(run: OpenRun, name: str, photos: Any) -> Enrolment:
    """Remember a person by the embeddings of some photos, in addition to what is known of that person.

    Raises:
        InputError: a photo cannot be used, it looks like somebody else who is enrolled, or the name is none.
    """
    _check_name(name)
    places = _places(run, listed(photos))
    with _writing(run):
        people = enrolled(run)
        threshold = basis_of(run).threshold
        _refuse_others(people, name, places, threshold)
        known, notes = people.get(name, places[:0]), []
        for number, place in enumerate(places, 1):
            if len(known) and float((known @ place).max()) >= SAME_PHOTO:
                notes.append(f"photo {number} is enrolled already and is passed over")
                continue
            if len(known) and float((known @ place).mean()) < threshold:
                notes.append(f"photo {number} is unlike the others of {name} (likeness {(known @ place).mean():.4g})")
            known = np.concatenate((known, place[None]))
        _write(run, {**people, name: known})
    return enrolment(run, tuple(notes))


def forget(run: OpenRun, name: str) -> Enrolment:
    """Erase an enrolled person.

    Raises:
        InputError: nobody of that name is enrolled.
    """
    task_of(run)
    with _writing(run):
        people = enrolled(run, checked=False)
        if name not in people:
            known = nearest(name, tuple(people)) if people else "nobody is"
            raise InputError(f"{name!r} is not enrolled in {run.path}; {known}")
        del people[name]
        _write(run, people)
    return enrolment(run, (f"{name} is erased from {run.path / ENROLLED}",))


def enrolment(run: OpenRun, notes: tuple[str, ...] = ()) -> Enrolment:
    """Who is enrolled, from which likeness on they are known, and how often that errs."""
    people, basis = enrolled(run), basis_of(run)
    pairs = _own_pairs(people)
    measured = None if pairs is None else at_threshold(pairs, basis.threshold)
    return Enrolment(
        photos={name: len(places) for name, places in people.items()}, basis=basis, measured=measured, notes=notes
    )


def basis_of(run: OpenRun) -> Basis:
    """The threshold of the enrolled people where they are enough to fit one to; otherwise of the validation people.

    Enough are three with two photos or more each and so many pairs of two people that the share of false accepts that
    is asked for can be told from none.

    Raises:
        InputError: training has not come so far that there is a threshold.
    """
    task, target = task_of(run), run.schema.target
    assert isinstance(target, IdentityTarget)
    if not target.people:
        raise InputError(f"{run.path} is not finished, so it has no threshold: chainrule resume {run.path}")
    people, share = enrolled(run), task.config.false_accept
    pairs = _own_pairs(people)
    if pairs is not None and share * int((~pairs.same).sum()) >= 1:
        fitted = operating_point(pairs, share)
        kept = [places for places in people.values() if len(places) > 1]
        return Basis(**asdict(fitted), people=len(kept), photos=sum(map(len, kept)), own=True)
    return Basis(
        threshold=target.threshold, false_accept=target.false_accept, false_reject=target.false_reject,
        people=target.people, photos=target.photos, own=False,
    )  # fmt: skip


def task_of(run: OpenRun) -> Verify:
    """The run's task.

    Raises:
        InputError: it learned something else.
    """
    task = run.session.task
    if not isinstance(task, Verify):
        raise InputError(
            f"{run.path} learned to {task.name}, which knows nobody; people are told apart by a run of: chainrule fit "
            "PHOTOS --task verify"
        )
    return task


def enrolled(run: OpenRun, checked: bool = True) -> dict[str, Places]:
    """The embeddings of each enrolled person.

    Raises:
        InputError: the file is damaged; or, where ``checked``, the network was trained on since.
    """
    path = run.path / ENROLLED
    if not path.is_file():
        return {}
    found = {name: values.numpy() for name, values in read_tensors(path).items()}
    if checked and found.get(MODEL, np.zeros(0)).tobytes() != _weights_digest(run):
        raise InputError(
            f"the people of {run.path} were enrolled with other weights than it has now; erase each with --forget and "
            "enrol them again"
        )
    return {name: places for name, places in sorted(found.items()) if name != MODEL}


def _places(run: OpenRun, photos: Sequence[Any]) -> Places:
    """The embedding of each photo, of unit length."""
    task_of(run)
    if not photos:
        raise InputError("no photo was given")
    return run.session.embed(run.session.encode(run.inputs(list(photos))))


def _ranked(people: Mapping[str, Places], place: Places) -> list[tuple[str, float]]:
    """Every person with the mean likeness of a photo and that person's, the most alike first."""
    likeness = {name: float((places @ place).mean()) for name, places in people.items()}
    return sorted(likeness.items(), key=lambda one: -one[1])


def _refuse_others(people: Mapping[str, Places], name: str, places: Places, threshold: float) -> None:
    others = {other: known for other, known in people.items() if other != name}
    for number, place in enumerate(places, 1):
        if not others:
            return
        other, likeness = _ranked(others, place)[0]
        if likeness >= threshold:
            raise InputError(
                f"photo {number} of {name!r} looks like {other!r}, who is enrolled: likeness {likeness:.4g}, one "
                f"person from {threshold:.4g} on; nothing was stored. Give other photos, or erase {other!r}: --forget"
            )


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"{name!r} is no name; give up to {LONGEST_NAME} characters without spaces at the ends")
    if name == "__metadata__":
        raise InputError("__metadata__ is taken by the file's format; give another name")


def _own_pairs(people: Mapping[str, Places]) -> Pairs | None:
    """Pairs of enrolled photos, of people with two or more; None where these people are too few."""
    kept = [places for places in people.values() if len(places) > 1]
    if len(kept) < OWN_PEOPLE:
        return None
    return pairs_of(np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(places) for places in kept]))


@contextmanager
def _writing(run: OpenRun) -> Iterator[None]:
    """As the one process that writes to the run."""
    run.folder.lock()
    try:
        yield
    finally:
        run.folder.close()


def _write(run: OpenRun, people: Mapping[str, Places]) -> None:
    """The file of enrolled people, replaced as a whole."""
    path = run.path / ENROLLED
    if not people:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(places)) for name, places in people.items()}
    digest = torch.frombuffer(bytearray(_weights_digest(run)), dtype=torch.uint8)
    replace_tensors(path, {**tensors, MODEL: digest})


def _weights_digest(run: OpenRun) -> bytes:
    with Path(run.path / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
