"""Where a translation was read from: for every word that was written, the share of each word of the sentence.

Source: the figures of Bahdanau, Cho, Bengio 2014, arXiv:1409.0473, section 5.2.1. Attention says where the network
looked, which need not be why it wrote a word: Jain, Wallace 2019, arXiv:1902.10186.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.parallel.samples import ParallelSamples
from chainrule.data.tokens import BEGIN, END, Tokenizer
from chainrule.errors import InputError
from chainrule.explain.page import render_page, safe
from chainrule.nn.fronted import Fronted
from chainrule.tasks.translate import Translate, Translator

SHOWN = 8  # sentences
MOST_WORDS = 40  # of a sentence that is drawn, on either side
SURE = 0.5  # share from which on a word was read from one place
CELL_PX, LETTER_PX, ROOM_PX = 22, 6.5, 12
STOP = "(end)"


@dataclass(frozen=True)
class Alignment:
    """One sentence, its translation, and where each word of that was read from."""

    id: str
    source: tuple[str, ...]  # words, the end last
    written: tuple[str, ...]
    shares: NDArray[np.float64]  # (written, source), each row's sum is 1
    truth: str  # "" where it is not known

    @property
    def read_from(self) -> list[int]:
        """The place in the sentence that each written word was most read from."""
        return [int(place) for place in self.shares.argmax(1)]


@dataclass(frozen=True)
class AlignmentExplanation:
    """Some sentences with their alignments."""

    sentences: tuple[Alignment, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """For a terminal: under every written word the one that it was most read from."""
        lines = [*self.notes]
        for one in self.sentences:
            below = [one.source[place] for place in one.read_from]
            widths = [max(len(above), len(under)) for above, under in zip(one.written, below, strict=True)]
            lines += ["", f"{one.id}: {' '.join(one.source[:-1])}"]
            for words in (one.written, below):
                padded = [word.ljust(width) for word, width in zip(words, widths, strict=True)]
                lines.append(f"  {'  '.join(padded)}".rstrip())
        return "\n".join(lines)

    def compared(self) -> str:
        """Each sentence, what was written, and the truth."""
        parts = [[one.id, " ".join(one.source[:-1]), " ".join(one.written[:-1]), one.truth] for one in self.sentences]
        return "\n\n".join(
            f"{name}: {source}\n  written  {written}\n  truth    {truth}" for name, source, written, truth in parts
        )

    def drawing(self) -> str:
        """The squares of the sentence of middle length."""
        return grid_svg(sorted(self.sentences, key=lambda one: len(one.source))[len(self.sentences) // 2])

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        sentences = [
            {
                "id": one.id, "source": list(one.source), "written": list(one.written), "truth": one.truth or None,
                "shares": one.shares.round(4).tolist(),
            }
            for one in self.sentences
        ]  # fmt: skip
        return {"sentences": sentences, "notes": list(self.notes)}

    def save(self, path: str | Path) -> None:
        """The page."""
        rows = [
            {
                "answer": {"id": one.id, "text": " ".join(one.written[:-1]), "share": None, "truth": one.truth},
                "panels": [{"title": "darker: more read from here", "svg": safe(grid_svg(one))}], "piece": "",
            }
            for one in self.sentences
        ]  # fmt: skip
        page = render_page("Where each word was read from", self.notes, [], (), rows)
        Path(path).write_text(page, encoding="utf-8")


def explain_alignment(network: nn.Module, task: Translate, samples: ParallelSamples) -> AlignmentExplanation:
    """Translate up to eight sentences, evenly spread over the samples, and say where each word was read from.

    Raises:
        InputError: there is no sentence that can be drawn.
    """
    assert isinstance(network, Fronted)
    translator = network.network
    assert isinstance(translator, Translator)
    lengths = samples.sources.lengths
    fitting = ((lengths > 1) & (lengths <= 2 * MOST_WORDS)).nonzero()[:, 0]
    if not len(fitting):
        raise InputError(f"no sentence can be drawn: all are empty or longer than {2 * MOST_WORDS} tokens")
    rows = fitting[np.unique(np.linspace(0, len(fitting) - 1, SHOWN).round().astype(np.int64))]
    network.eval()
    with torch.inference_mode():
        found = [_aligned(translator, task, samples, row[None]) for row in rows]
    sure = np.concatenate([one.shares.max(1) for one in found]) >= SURE
    notes = (
        f"{len(found)} of {len(samples):,} sentences; {sure.mean():.0%} of the written words were read from one word "
        "for the greater part",
        "the shares say where the network looked, which need not be why it wrote a word",
    )
    return AlignmentExplanation(tuple(found), notes)


def _aligned(translator: Translator, task: Translate, samples: ParallelSamples, row: Tensor) -> Alignment:
    batch = samples.batch(row)
    device = next(translator.parameters()).device
    source, lengths = (x.to(device) for x in batch.inputs[:2])
    (one,) = translator.write(source, lengths, task.config.beam, task.config.length_penalty)
    given = torch.tensor([[BEGIN, *one.tokens[:-1]]], device=device)
    shares = translator.network.aligned(source, lengths, given)[1][0].double().cpu().numpy()
    schema = translator.schema
    read, source_groups = words_of_tokens(schema.source_tokens, source[0].tolist())
    written, groups = words_of_tokens(schema.target_tokens, list(one.tokens))
    by_word = np.add.reduceat(shares, source_groups, axis=1)
    sizes = np.diff([*groups, len(shares)])
    means = np.add.reduceat(by_word, groups, axis=0) / sizes[:, None]
    truth = "" if batch.targets is None else schema.target_tokens.decode(batch.targets[0].tolist()).strip()
    return Alignment(samples.ids[int(row)], tuple(read), tuple(written), means, truth)


def words_of_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[list[str], list[int]]:
    """The words that tokens spell, the end as one of them, and the token that each begins at.

    Example:
        >>> from chainrule.data.tokens import learn_tokenizer
        >>> words = learn_tokenizer(["a dog runs"], "words")
        >>> words_of_tokens(words, [*words.encode("a dog"), END])
        (['a', 'dog', '(end)'], [0, 1, 2])
    """
    starts = [
        place for place, token in enumerate(ids)
        if place == 0 or token == END or tokenizer.scheme == "words" or tokenizer.decode([token])[:1].isspace()
    ]  # fmt: skip
    ends = [*starts[1:], len(ids)]
    words = [
        STOP if ids[start] == END else tokenizer.decode(ids[start:end]).strip() or "?"
        for start, end in zip(starts, ends, strict=True)
    ]
    return words, starts


def grid_svg(one: Alignment) -> str:
    """The shares as squares, the sentence above, the translation at the left; what is too long is cut."""
    source, written = one.source[:MOST_WORDS], one.written[:MOST_WORDS]
    left = max(len(word) for word in written) * LETTER_PX + ROOM_PX
    top = max(len(word) for word in source) * LETTER_PX + ROOM_PX
    parts = []
    for column, word in enumerate(source):
        x = left + (column + 0.65) * CELL_PX
        parts.append(
            f'<text x="{x:.1f}" y="{top - 4:.1f}" transform="rotate(-90 {x:.1f} {top - 4:.1f})">{escape(word)}</text>'
        )
    for row, word in enumerate(written):
        y = top + row * CELL_PX
        parts.append(f'<text x="{left - 4:.1f}" y="{y + 0.65 * CELL_PX:.1f}" text-anchor="end">{escape(word)}</text>')
        for column, looked in enumerate(source):
            share = float(one.shares[row, column])
            parts.append(
                f'<rect x="{left + column * CELL_PX:.1f}" y="{y:.1f}" width="{CELL_PX - 1}" height="{CELL_PX - 1}" '
                f'fill="var(--bar, #2a7ab0)" fill-opacity="{share:.3f}" stroke="var(--line)" stroke-width="0.5">'
                f"<title>{escape(word)} from {escape(looked)}: {share:.1%}</title></rect>"
            )
    width, height = left + len(source) * CELL_PX + 2, top + len(written) * CELL_PX + 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} '
        f'{height:.0f}" font-family="sans-serif" font-size="11" fill="currentColor" role="img" '
        f'style="max-width:100%;height:auto">{"".join(parts)}</svg>'
    )
