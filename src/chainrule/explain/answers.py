"""What a network answers to samples, and which of them are worth an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch, Samples
from chainrule.tasks.classify import Classify
from chainrule.tasks.regress import Regress
from chainrule.tasks.task import Task

MEASURED_ROWS = 500  # among which the ones to explain are chosen
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample's answer."""

    row: int  # of the samples
    id: str
    output: int  # the class, or 0 for a number
    text: str  # the class's name, or the number
    share: float | None  # of the class; None for a number
    truth: str  # "" where it is not known
    off: float  # how far from the truth: 0 or the share of a wrong class; the distance of a number; 0 where unknown

    @property
    def right(self) -> bool | None:
        """Whether the class is the true one; None for numbers and where the truth is not known."""
        return None if self.share is None or not self.truth else self.off == 0


@torch.inference_mode()
def answers_of(module: nn.Module, task: Task, samples: Samples, rows: Tensor, device: torch.device) -> list[Answer]:
    """The answers to these rows, in float32."""
    assert isinstance(task, Classify | Regress)
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        batch = samples.batch(part).to(device)
        ids = [samples.ids[row] for row in part.tolist()]
        answered = _classes(module, task, batch) if isinstance(task, Classify) else _numbers(module, task, batch)
        found += [Answer(row, id, *rest) for row, id, rest in zip(part.tolist(), ids, answered, strict=True)]
    return found


def _classes(module: nn.Module, task: Classify, batch: Batch) -> list[tuple[int, str, float, str, float]]:
    names = task.target.classes
    probabilities = task.probabilities(module, batch).cpu()
    chosen = task.decide(probabilities)
    shares = probabilities.gather(1, chosen[:, None])[:, 0].tolist()
    truths = [None] * len(batch) if batch.targets is None else batch.targets.tolist()
    return [
        (k, names[k], share, "" if truth is None else names[truth], 0.0 if truth in (None, k) else share)
        for k, share, truth in zip(chosen.tolist(), shares, truths, strict=True)
    ]


def _numbers(module: nn.Module, task: Regress, batch: Batch) -> list[tuple[int, str, None, str, float]]:
    numbers = task.numbers(module, batch).tolist()
    truths = [None] * len(batch) if batch.targets is None else batch.targets.double().tolist()
    return [
        (0, f"{number:.4g}", None, *(("", 0.0) if truth is None else (f"{truth:.4g}", abs(number - truth))))
        for number, truth in zip(numbers, truths, strict=True)
    ]


def worth_explaining(answers: Sequence[Answer], count: int) -> list[Answer]:
    """The most confident mistakes, then right answers, of different classes first; of numbers the largest and smallest
    errors.
    """
    by_error = sorted(answers, key=lambda answer: -answer.off)
    if answers and answers[0].share is None:
        worst = by_error[: (count + 1) // 2]
        return worst + by_error[len(worst) :][::-1][: count - len(worst)]
    wrong = [answer for answer in by_error if answer.off > 0]
    surest = sorted((answer for answer in answers if answer.off == 0), key=lambda answer: -(answer.share or 0.0))
    of_class = {answer.output: answer for answer in reversed(surest)}  # the surest one of each
    right = sorted(surest, key=lambda answer: answer is not of_class[answer.output])
    wrong = wrong[: max(count // 2, count - len(right))]
    return wrong + right[: count - len(wrong)]


def spread(length: int, most: int) -> Tensor:
    """Up to ``most`` rows, evenly over all."""
    return torch.linspace(0, length - 1, min(length, most)).round().long()
