"""Explain a network on texts: which words its answers come from, and whether to believe that.

Two methods, each as what a word adds to the log-odds of the answer (to the number, where one is learned):

- occlusion: how far it falls when the word is read as an unknown one. Training hides words in the same way, so such
  texts are nothing new to the network. Source: Zeiler, Fergus 2014, arXiv:1311.2901, section 4.
- integrated gradients over the words' vectors, from a text of unknown words to the text. Source: Sundararajan, Taly,
  Yan 2017, arXiv:1703.01365; section 5 for texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chainrule.data.schema import LabelsTarget, NumberTarget, Target
from chainrule.data.text.samples import TextSamples
from chainrule.data.text.schema import TextSchema
from chainrule.data.tokens import UNKNOWN
from chainrule.errors import InputError
from chainrule.explain.answers import MEASURED_ROWS, Answer, answers_of, spread, worth_explaining
from chainrule.explain.bars import bars_text
from chainrule.explain.gradients import TOLERANCE, integrated_gradients
from chainrule.explain.marks import words_page
from chainrule.explain.sanity import Sanity, sanity_check
from chainrule.explain.spans import Span, spans_of
from chainrule.nn.fronted import Fronted
from chainrule.tasks.multilabel import BETWEEN, Multilabel
from chainrule.tasks.task import Task

EXPLAINED = 10  # texts that are shown
COUNTED = 200  # texts whose words are added up
TOP, FEWEST = 8, 2  # words of a class that are named, and the places that one must stand at
ROWS_AT_ONCE = 64
STEPS, SANITY_STEPS = 64, 16  # of integrated gradients; the latter where only ranks are compared

Margin = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]  # network, inputs, outputs -> (B,) log-odds


@dataclass(frozen=True)
class WordMethod:
    """One way to explain, and whether it can be believed."""

    name: str  # occlusion, integrated_gradients
    title: str
    values: tuple[tuple[float, ...], ...]  # of each text, of each of its words
    sanity: Sanity
    gap: float | None = None  # of integrated gradients: what the sums miss of the difference of outputs

    def lines(self) -> list[str]:
        """For a terminal."""
        if self.gap is None:
            return [self.title, f"  {self.sanity.text()}"]
        meet = "meet" if self.gap <= TOLERANCE else "MISS"
        return [self.title, f"  {self.sanity.text()}", f"  the sums {meet} the difference of outputs: {self.gap:.2%}"]


@dataclass(frozen=True)
class TopWord:
    """A word that speaks for an answer wherever it stands."""

    answer: str
    word: str
    effect: float  # mean over its places in texts with this answer
    places: int  # where it stands


@dataclass(frozen=True)
class WordsExplanation:
    """What each word of some texts adds to the answer, and the words that do so most often."""

    answers: tuple[Answer, ...]
    spans: tuple[tuple[Span, ...], ...]
    methods: tuple[WordMethod, ...]
    top: tuple[TopWord, ...]
    notes: tuple[str, ...]
    unit: str  # of the values

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        samples = [
            {
                "id": answer.id, "answer": answer.text, "share": answer.share, "truth": answer.truth or None,
                "right": answer.right,
                "words": [
                    {"text": span.text, **{method.name: method.values[row][place] for method in self.methods}}
                    for place, span in enumerate(self.spans[row])
                ],
            }
            for row, answer in enumerate(self.answers)
        ]  # fmt: skip
        return {
            "samples": samples,
            "top": [asdict(word) for word in self.top],
            "unit": self.unit,
            "methods": {
                m.name: {"sanity": {**asdict(m.sanity), "passed": m.sanity.passed}}
                | ({} if m.gap is None else {"gap": m.gap, "complete": m.gap <= TOLERANCE})
                for m in self.methods
            },
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [*self.notes]
        for method in self.methods:
            lines += ["", *method.lines()]
        for name in dict.fromkeys(word.answer for word in self.top):
            words = [word for word in self.top if word.answer == name]
            what = f"added to its {self.unit}, mean over the places they stand at"
            lines += ["", f"words that speak for {name} ({what})"]
            lines.append(bars_text([f"{w.word} ({w.places})" for w in words], [w.effect for w in words]))
        for row, answer in enumerate(self.answers):
            strongest = sorted(zip(self.methods[0].values[row], self.spans[row], strict=True), key=lambda v: -abs(v[0]))
            told = ", ".join(f"{span.text} {value:+.2g}" for value, span in strongest[:5])
            lines += ["", f"{answer.id}: {answer.text}{_wrong(answer)}", f"  {told}"]
        return "\n".join(lines)

    def page(self) -> str:
        """One HTML file that needs nothing else."""
        methods = [{"heading": m.title, "lines": m.lines()[1:], "trusted": m.sanity.passed, "values": m.values}
                   for m in self.methods]  # fmt: skip
        return words_page(self.answers, self.spans, methods, self.top, self.notes)

    def save(self, path: str | Path) -> None:
        """Write the page."""
        Path(path).write_text(self.page(), encoding="utf-8")


def _wrong(answer: Answer) -> str:
    return f" (truth {answer.truth})" if answer.right is False else ""


def explain_words(
    module: Fronted, task: Task, schema: TextSchema, samples: TextSamples, seed: int = 0
) -> WordsExplanation:
    """Explain ``module`` on the texts that tell most: confident mistakes and right answers.

    Raises:
        InputError: there are no texts, or Captum is not installed.
    """
    if not len(samples):
        raise InputError("there are no texts to explain")
    assert schema.target is not None
    module = Fronted(module.front, module.network).eval()  # as it is, not compiled
    device = next(module.parameters()).device
    rows = spread(len(samples), MEASURED_ROWS)
    every = _labelled(module, task, samples, rows, device) if isinstance(task, Multilabel) else answers_of(
        module, task, samples, rows, device
    )  # fmt: skip
    few = spread(len(every), EXPLAINED).tolist()
    answers = worth_explaining(every, EXPLAINED) if every[0].truth else [every[place] for place in few]
    looker = _Looker(samples, schema, device, margin_of(schema.target))
    spans = [looker.spans(answer) for answer in answers]
    hidden = WordMethod(
        "occlusion", "Occlusion: how far the answer falls when a word is read as an unknown one",
        looker.all(module, answers, spans, _occluded),
        sanity_check(module, looker.ranked(answers, spans, _occluded), seed, redraws=3),
    )  # fmt: skip
    methods, notes = [hidden], [_told(answers, len(samples))]
    if _table(module, samples, device) is None:
        notes.append("integrated gradients need one vector for each token; this network reads tokens in another way")
    else:
        methods.append(_smooth(module, looker, answers, spans, seed))
    top = looker.top(module, [every[place] for place in spread(len(every), COUNTED).tolist()], schema.target)
    unit = "number" if isinstance(schema.target, NumberTarget) else "log-odds"
    return WordsExplanation(tuple(answers), tuple(map(tuple, spans)), tuple(methods), top, tuple(notes), unit)


def _smooth(
    module: Fronted, looker: _Looker, answers: Sequence[Answer], spans: Sequence[list[Span]], seed: int
) -> WordMethod:
    gaps: list[tuple[float, float]] = []

    def precise(network: nn.Module, one: _Text, margin: Margin) -> Tensor:
        return _integrated(network, one, margin, STEPS, gaps)

    def coarse(network: nn.Module, one: _Text, margin: Margin) -> Tensor:
        return _integrated(network, one, margin, SANITY_STEPS, [])

    values = looker.all(module, answers, spans, precise)
    missed, size = (np.sqrt(np.mean(np.square(part))) for part in zip(*gaps, strict=True))
    return WordMethod(
        "integrated_gradients", "Integrated gradients: what the words' vectors add, from a text of unknown words on",
        values, sanity_check(module, looker.ranked(answers, spans, coarse), seed, redraws=3),
        float(missed / max(size, 1e-6)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Text:
    """One text as the network sees it."""

    inputs: tuple[Tensor, ...]  # ids (1 T), lengths (1,)
    spans: list[Span]
    output: Tensor  # (1,)


Look = Callable[[nn.Module, _Text, Margin], Tensor]  # what each span adds


class _Looker:
    """Looks at texts one by one."""

    def __init__(self, samples: TextSamples, schema: TextSchema, device: torch.device, margin: Margin) -> None:
        self.samples, self.schema, self.device, self.margin = samples, schema, device, margin

    def spans(self, answer: Answer) -> list[Span]:
        """The words of the answer's text."""
        return spans_of(self.schema.tokenizer, self.samples.texts[answer.row], self.schema.max_tokens)

    def look(self, network: nn.Module, answer: Answer, spans: list[Span], look: Look) -> Tensor:
        """What each span adds."""
        batch = self.samples.batch(torch.tensor([answer.row])).to(self.device)
        one = _Text(batch.inputs, spans, torch.tensor([answer.output], device=self.device))
        return look(network, one, self.margin) if spans else torch.zeros(0)

    def all(
        self, network: nn.Module, answers: Sequence[Answer], spans: Sequence[list[Span]], look: Look
    ) -> tuple[tuple[float, ...], ...]:
        """The same of several texts."""
        found = (self.look(network, answer, own, look) for answer, own in zip(answers, spans, strict=True))
        return tuple(tuple(values.tolist()) for values in found)

    def ranked(
        self, answers: Sequence[Answer], spans: Sequence[list[Span]], look: Look
    ) -> Callable[[nn.Module], Tensor]:
        """For the sanity check: the words of all texts in one row."""
        return lambda network: torch.tensor([sum(self.all(network, answers, spans, look), ())])

    def top(self, network: nn.Module, answers: Sequence[Answer], target: Target) -> tuple[TopWord, ...]:
        """The words that add most on average to an answer, by answer."""
        effects: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for answer in answers:
            spans = self.spans(answer)
            name = _answer_name(answer, target)
            for span, value in zip(spans, self.look(network, answer, spans, _occluded).tolist(), strict=True):
                effects[name][self.schema.tokenizer.ready(span.text)].append(value)
        found = []
        for name, words in sorted(effects.items()):
            often = [(word, values) for word, values in words.items() if len(values) >= FEWEST]
            often.sort(key=lambda one: (-float(np.mean(one[1])), one[0]))
            found += [TopWord(name, word, float(np.mean(v)), len(v)) for word, v in often[:TOP] if np.mean(v) > 0]
        return tuple(found)


def _answer_name(answer: Answer, target: Target) -> str:
    if isinstance(target, NumberTarget):
        return f"a larger {target.name}"
    return target.classes[answer.output] if isinstance(target, LabelsTarget) else answer.text


def margin_of(target: Target) -> Margin:
    """What a word adds to: the log-odds of an answer, or a number in its own units."""

    def margin(network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        logits: Tensor = network(*inputs).float()
        if isinstance(target, NumberTarget):
            return logits[:, 0] * target.std
        chosen = output.expand(len(logits))[:, None]
        if isinstance(target, LabelsTarget):
            return logits.gather(1, chosen)[:, 0]
        if logits.shape[1] == 1:
            return logits[:, 0] * (2 * chosen[:, 0] - 1)
        others = logits.scatter(1, chosen, -torch.inf)
        return logits.gather(1, chosen)[:, 0] - torch.logsumexp(others, 1)

    return margin


@torch.no_grad()
def _occluded(network: nn.Module, one: _Text, margin: Margin) -> Tensor:
    ids, lengths = one.inputs
    hidden = ids.repeat(len(one.spans) + 1, 1)
    for row, span in enumerate(one.spans):
        hidden[row, span.first : span.last] = UNKNOWN
    found = [
        margin(network, (part, lengths.expand(len(part))), one.output) for part in torch.split(hidden, ROWS_AT_ONCE)
    ]
    *without, whole = torch.cat(found).cpu().unbind()
    return whole - torch.stack(without)


def _integrated(network: nn.Module, one: _Text, margin: Margin, steps: int, gaps: list[tuple[float, float]]) -> Tensor:
    """Of each span the sum over its tokens' vectors; gaps get the difference that the sums miss, and that itself."""
    ids, lengths = one.inputs
    table = _find(network)
    assert table is not None
    start, end = table(torch.full_like(ids, UNKNOWN)).detach(), table(ids).detach()

    def of_vectors(vectors: Tensor) -> Tensor:
        hook = table.register_forward_hook(lambda *_: vectors)
        try:
            rows = ids.expand(len(vectors), -1), lengths.expand(len(vectors))
            return margin(network, rows, one.output)
        finally:
            hook.remove()

    found = integrated_gradients(
        of_vectors, (end,), (start,), 0, most_steps=steps, rows_at_once=ROWS_AT_ONCE
    )  # fmt: skip
    values = found.values[0][0].sum(-1).cpu()
    gaps.append((float(values.sum() - found.difference[0]), float(found.difference[0])))
    return torch.stack([values[span.first : span.last].sum() for span in one.spans])


def _find(network: nn.Module) -> nn.Embedding | None:
    tables = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    return tables[0] if len(tables) == 1 else None


@torch.no_grad()
def _table(module: nn.Module, samples: TextSamples, device: torch.device) -> nn.Embedding | None:
    """The one table that gives each token of a text its vector; None where there is no such."""
    table = _find(module)
    if table is None:
        return None
    shapes: list[torch.Size] = []
    hook = table.register_forward_hook(lambda _, inputs, output: shapes.append(inputs[0].shape))
    inputs = samples.batch(torch.zeros(1, dtype=torch.int64)).to(device).inputs
    module(*inputs)
    hook.remove()
    return table if shapes == [inputs[0].shape] else None


@torch.inference_mode()
def _labelled(
    module: nn.Module, task: Multilabel, samples: TextSamples, rows: Tensor, device: torch.device
) -> list[Answer]:
    """Of each text its likeliest label, beside all that are answered."""
    found, classes = [], task.target.classes
    for part in torch.split(rows, ROWS_AT_ONCE):
        batch = samples.batch(part).to(device)
        shares, outputs = task.probabilities(module, batch).cpu().max(1)
        said = task.predict(module, batch)["prediction"]
        for row, share, k, text in zip(part.tolist(), shares.tolist(), outputs.tolist(), said, strict=True):
            own = None if samples.targets is None else samples.targets[row] > 0.5
            truth = "" if own is None else BETWEEN.join(c for c, there in zip(classes, own, strict=True) if there)
            off = share if own is not None and not own[k] else 0.0
            found.append(Answer(row, samples.ids[row], k, text or f"none, likeliest {classes[k]}", share, truth, off))
    return found


def _told(answers: Sequence[Answer], samples: int) -> str:
    wrong = sum(answer.right is False for answer in answers)
    order = "the most telling ones first" if answers[0].truth else "their truth is not known"
    said = f"{len(answers)} of {samples:,} texts explained, {order}"
    return said + (f"; {wrong} answered wrongly" if wrong else "")
