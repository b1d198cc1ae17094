"""Text as numbers: words, pieces of bytes (BPE) or characters, learned from texts, stored as plain tuples.

Source: Sennrich, Haddow, Birch 2016, arXiv:1508.07909, algorithm 1 (byte pair encoding); Radford et al. 2019 (GPT-2),
section 2.2 (over bytes, so nothing is unknown). Learning and applying the merges runs in the package tokenizers.
Differs: unpaired surrogates, which are no text, become the sign U+FFFD before anything else happens.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice, pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError

Scheme = Literal["words", "bpe", "characters"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
LEAST_BPE = len(SPECIALS) + 256  # the specials and every byte
LONG_RUN = re.compile(r"\S{200}|\s{200}")
TEXTS_AT_ONCE = 1000  # that go through the package tokenizers together, so that its answers do not fill memory


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """What turns text into ids and back. ``tokens`` are in the order of their ids, the four specials first.

    bpe is lossless: decoding what was encoded gives the text back, whatever it holds (lower-cased where ``lower`` is
    set). characters give every known character back. words give the words back, one space between them.

    Example:
        >>> tokenizer = learn_tokenizer(["a dog isn't a cat."], "words")
        >>> tokenizer.encode("A dog isn't a bird.")
        [1, 7, 8, 5, 1, 4]
        >>> tokenizer.decode([5, 7])
        'a dog'
    """

    scheme: Scheme
    tokens: tuple[str, ...]
    merges: tuple[str, ...] = ()  # bpe: two tokens with a space between, in the order in which they are merged
    lower: bool = False

    def __post_init__(self) -> None:
        if self.tokens[: len(SPECIALS)] != SPECIALS:
            raise InputError(f"a tokenizer's first tokens are {', '.join(SPECIALS)}, got {self.tokens[:4]}")
        known = set(self.tokens)
        if len(known) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise InputError(f"a tokenizer's tokens differ, but {twice!r} stands there twice")
        if self.scheme == "characters":
            wrong = next((token for token in self.tokens[len(SPECIALS) :] if len(token) != 1), None)
            if wrong is not None:
                raise InputError(f"a tokenizer of characters has tokens of one character, got {wrong!r}")
        if self.scheme != "bpe":
            if self.merges:
                raise InputError(f"only a bpe tokenizer has merges, this one is of {self.scheme}")
            return
        absent = set(_bytes_as_letters()) - known
        if absent:
            raise InputError(f"a bpe tokenizer has a token for each byte, {len(absent)} of 256 are absent")
        for merge in self.merges:
            left, _, right = merge.partition(" ")
            if not {left, right, left + right} <= known:
                raise InputError(f"the merge {merge!r} does not join two tokens of the tokenizer to a third one")

    def __len__(self) -> int:
        """The number of tokens, specials included."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without begin and end; what is unknown becomes ``UNKNOWN``."""
        return [int(i) for i in self.encode_all([text])[0]]

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of many texts."""
        ready = map(self.ready, texts)
        if self.scheme == "words":
            ids = self._ids
            return [np.array([ids.get(word, UNKNOWN) for word in words_of(text)], np.int32) for text in ready]
        if self.scheme == "characters":
            return [self._of_code_point[np.minimum(code_points(text), self._last)] for text in ready]
        encoded: list[NDArray[np.int32]] = []
        while part := list(islice(ready, TEXTS_AT_ONCE)):
            encoded += [np.array(one.ids, np.int32) for one in self._engine.encode_batch_fast(part)]
        return encoded

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; specials are left out, bytes of bpe that are no UTF-8 become U+FFFD."""
        kept = [self.tokens[i] for i in ids if i >= len(SPECIALS)]
        if self.scheme == "words":
            return " ".join(kept)
        if self.scheme == "characters":
            return "".join(kept)
        bytes_of = _letters_as_bytes()
        return bytes(bytes_of[letter] for token in kept for letter in token).decode(errors="replace")

    def sizes(self) -> NDArray[np.int64]:
        """(V, 2): how many characters begin in each token, and its bytes; the end of a text counts as a line's end."""
        sizes = np.zeros((len(self), 2), np.int64)
        sizes[[UNKNOWN, END]] = 1
        for i, token in enumerate(self.tokens[len(SPECIALS) :], len(SPECIALS)):
            if self.scheme == "bpe":
                held = [_letters_as_bytes()[letter] for letter in token]
                sizes[i] = sum(byte & 0xC0 != 0x80 for byte in held), len(held)  # 10xxxxxx goes on with a character
            else:
                sizes[i] = len(token), len(token.encode())
        return sizes

    def ready(self, text: str) -> str:
        """The text as it is cut into tokens: without halves of characters, in small letters where asked."""
        return _ready(text, self.lower)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens) if i >= len(SPECIALS)}

    @property
    def _last(self) -> int:
        """The place in ``_of_code_point`` that stands for all characters beyond the known ones."""
        return len(self._of_code_point) - 1

    @cached_property
    def _of_code_point(self) -> NDArray[np.int32]:
        """The id of each code point up to the largest known one, and ``UNKNOWN`` at the end."""
        ids = np.full(max((ord(c) for c in self.tokens[len(SPECIALS) :]), default=0) + 2, UNKNOWN, np.int32)
        for i, character in enumerate(self.tokens[len(SPECIALS) :], len(SPECIALS)):
            ids[ord(character)] = i
        return ids

    @cached_property
    def _engine(self) -> Any:
        tokenizers = _tokenizers()
        merges = [tuple(merge.split(" ")) for merge in self.merges]
        engine = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=self._ids, merges=merges))
        engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return engine

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is cached is made anew."""
        return {"scheme": self.scheme, "tokens": self.tokens, "merges": self.merges, "lower": self.lower}


def learn_tokenizer(texts: Iterable[str], scheme: str, size: int = 0, lower: bool = False, least: int = 1) -> Tokenizer:
    """A tokenizer of at most ``size`` tokens, the four specials included; equal texts give equal tokenizers.

    Args:
        texts: Of the train split only.
        scheme: words, bpe or characters.
        size: 0 keeps all words or characters; the most frequent are kept otherwise. bpe needs at least 260.
        lower: Whether capital letters are read as small ones.
        least: How often a word or character must come to be known.

    Raises:
        InputError: an unknown scheme, or a size that leaves no room.
    """
    if scheme not in SCHEMES:
        raise InputError(f"data.tokenizer must be {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}, got {scheme!r}")
    fewest = LEAST_BPE if scheme == "bpe" else len(SPECIALS) + 1
    if (size or scheme == "bpe") and size < fewest:
        raise InputError(f"data.vocab_size must be {fewest} or more for {scheme}, got {size}")
    ready = (_ready(text, lower) for text in texts)
    if scheme == "bpe":
        return _learn_bpe(ready, size, lower)
    counts: Counter[str] = Counter()
    for text in ready:
        counts.update(words_of(text) if scheme == "words" else text)
    often = sorted((t for t, n in counts.items() if n >= least), key=lambda t: (-counts[t], t))
    kept = sorted(often[: size - len(SPECIALS)] if size else often)
    return Tokenizer(scheme="words" if scheme == "words" else "characters", tokens=(*SPECIALS, *kept), lower=lower)


def _learn_bpe(texts: Iterator[str], size: int, lower: bool) -> Tokenizer:
    import json

    tokenizers = _tokenizers()
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, special_tokens=list(SPECIALS),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    engine.train_from_iterator((piece for text in texts for piece in _short_runs(text)), trainer)
    model = json.loads(engine.to_str())["model"]
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return Tokenizer(scheme="bpe", tokens=tuple(tokens), merges=merges, lower=lower)


def _short_runs(text: str) -> Iterator[str]:
    """The text, cut where a run without spaces, or of spaces alone, gets long: learning is quadratic in its length."""
    cuts = [0, *(run.end() for run in LONG_RUN.finditer(text)), len(text)]
    return (text[start:end] for start, end in pairwise(cuts))


def words_of(text: str) -> list[str]:
    """The words of a text: letters with the apostrophes inside, numbers, and each other sign alone.

    Example:
        >>> words_of("It isn't 3.50 (yet)!")
        ['It', "isn't", '3.50', '(', 'yet', ')', '!']
    """
    return _word_pattern().findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of ``words_of`` begin and end."""
    return [found.span() for found in _word_pattern().finditer(text)]


@cache
def _word_pattern() -> re.Pattern[str]:
    """Letters carry their accents and vowel signs, which Unicode counts as marks and Python's \\w leaves out."""
    places = (*range(0x300, 0x1E00), *range(0x20D0, 0x2100), *range(0xA600, 0xAC00))
    marks = "".join(chr(place) for place in places if unicodedata.category(chr(place)).startswith("M"))
    letter = rf"(?:[^\W\d_][{marks}\u200c\u200d]*)"
    return re.compile(rf"{letter}+(?:['’]{letter}+)*|\d+(?:[.,]\d+)*|\S")


def code_points(text: str) -> NDArray[np.uint32]:
    """The numbers of the characters."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def mended(text: str) -> str:
    """The text with U+FFFD for halves of characters (unpaired surrogates), which no encoding can write."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _ready(text: str, lower: bool) -> str:
    return mended(text).lower() if lower else mended(text)


@cache
def _bytes_as_letters() -> tuple[str, ...]:
    """The printable letter that stands for each byte in bpe's tokens, as in GPT-2: itself where it is printable."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in plain else next(others)) for byte in range(256))


@cache
def _letters_as_bytes() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(_bytes_as_letters())}


def _tokenizers() -> Any:
    """The package tokenizers."""
    try:
        import tokenizers
    except ImportError as error:
        raise InputError("bpe needs the package tokenizers; install it with: pip install tokenizers") from error
    return tokenizers
