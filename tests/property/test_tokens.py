"""What holds for tokenizers of any texts: round trips, the order of ids, and the same answer however texts are put."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule.data.schema import from_json
from chainrule.data.tokens import LEAST_BPE, SCHEMES, SPECIALS, UNKNOWN, Tokenizer, learn_tokenizer, words_of

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)  # every character that is no lone surrogate
BPE = learn_tokenizer(["the cat and the dog", "Übung  macht\nden Meister", "🎉🎉🎉 العربية"], "bpe", LEAST_BPE + 30)
SEVERE = "\0 \t\r\n\u202bשלום עולם\u202c 👩‍👩‍👧 <pad><unk> \ufffd\U0010ffff é"


@given(TEXT)
@example(SEVERE)
@example("")
@settings(deadline=None)
def test_bpe_gives_every_text_back(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text
    assert all(i >= len(SPECIALS) for i in BPE.encode(text))


@given(st.lists(TEXT, min_size=1, max_size=5))
@example([SEVERE])
@settings(deadline=None)
def test_characters_give_every_known_text_back(texts: list[str]) -> None:
    tokenizer = learn_tokenizer(texts, "characters")
    for text, ids in zip(texts, tokenizer.encode_all(texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert len(ids) == len(text)
        assert UNKNOWN not in ids


@given(TEXT, TEXT)
def test_unknown_characters_are_counted_one_by_one(known: str, text: str) -> None:
    ids = learn_tokenizer([known], "characters").encode(text)
    assert ids.count(UNKNOWN) == sum(character not in known for character in text)


@given(TEXT)
@example(SEVERE)
def test_words_leave_nothing_but_spaces_out(text: str) -> None:
    words = words_of(text)
    assert "".join(words) == "".join(text.split())
    assert words_of(" ".join(words)) == words


@given(TEXT, TEXT)
def test_two_texts_apart_are_the_words_of_both(left: str, right: str) -> None:
    assert words_of(f"{left} {right}") == words_of(left) + words_of(right)


@given(st.lists(TEXT, min_size=1, max_size=5), st.sampled_from(SCHEMES), st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_tokenizer_survives_json_and_the_order_of_its_texts(texts: list[str], scheme: str, lower: bool) -> None:
    size = LEAST_BPE + 10 if scheme == "bpe" else 0
    tokenizer = learn_tokenizer(texts, scheme, size, lower=lower)
    assert from_json(Tokenizer, json.loads(json.dumps(asdict(tokenizer)))) == tokenizer
    if scheme != "bpe":
        assert learn_tokenizer(texts[::-1], scheme, size, lower=lower) == tokenizer
    together = tokenizer.encode_all([*texts, ""])
    assert len(together.pop()) == 0
    assert all(np.array_equal(ids, tokenizer.encode(text)) for ids, text in zip(together, texts, strict=True))


@given(st.text(max_size=20))  # lone surrogates among them
@settings(deadline=None)
def test_half_characters_are_replaced(text: str) -> None:
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert BPE.decode(BPE.encode(text)) == clean
    assert learn_tokenizer([text], "characters").decode(learn_tokenizer([text], "characters").encode(text)) == clean
