"""The words of a text beside the tokens that a network sees, so that a word can be hidden and shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from chainrule.data.tokens import Tokenizer, word_spans

MOST_SPANS = 200  # of a text; a longer one is looked at in pieces of several words


@dataclass(frozen=True, slots=True)
class Span:
    """A word as it is written, and the tokens it became."""

    before: str  # what stands between it and the span before
    text: str
    first: int
    last: int  # the token after its last one


def spans_of(tokenizer: Tokenizer, text: str, max_tokens: int) -> list[Span]:
    """The spans of the first ``max_tokens`` tokens, joined to at most 200.

    Example:
        >>> from chainrule.data.tokens import learn_tokenizer
        >>> [(s.text, s.first, s.last) for s in spans_of(learn_tokenizer(["ab c"], "characters"), "ab c", 10)]
        [('ab', 0, 2), ('c', 3, 4)]
    """
    found = [span for span in _each(tokenizer, text) if span.last <= max_tokens]
    size = ceil(len(found) / MOST_SPANS) or 1
    return [_joined(found[start : start + size]) for start in range(0, len(found), size)]


def _each(tokenizer: Tokenizer, text: str) -> Iterator[Span]:
    seen = tokenizer.ready(text)
    shown = text if len(text) == len(seen) else seen  # letters that are two when small
    if tokenizer.scheme == "bpe":
        yield from _of_pieces(tokenizer, seen)
        return
    end = 0
    for number, (start, stop) in enumerate(word_spans(seen)):
        tokens = (number, number + 1) if tokenizer.scheme == "words" else (start, stop)
        yield Span(shown[end:start], shown[start:stop], *tokens)
        end = stop


def _of_pieces(tokenizer: Tokenizer, text: str) -> Iterator[Span]:
    """Pieces of bytes from one that begins with a space up to the next such."""
    ids = tokenizer.encode(text)
    starts = [place for place, i in enumerate(ids) if place == 0 or tokenizer.tokens[i].startswith("Ġ")]
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        written = tokenizer.decode(ids[start:stop])
        word = written.lstrip()
        yield Span(written[: len(written) - len(word)], word, start, stop)


def _joined(spans: list[Span]) -> Span:
    text = spans[0].text + "".join(span.before + span.text for span in spans[1:])
    return Span(spans[0].before, text, spans[0].first, spans[-1].last)
