"""Tokenizers: the rule of words, the merges of BPE by hand, what is kept, and what is refused."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from chainrule.data.tokens import (
    BEGIN,
    END,
    LEAST_BPE,
    PAD,
    SPECIALS,
    UNKNOWN,
    Tokenizer,
    learn_tokenizer,
    words_of,
)
from chainrule.errors import InputError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't O'Brien's, 'tis rock’n’roll", ["It", "isn't", "O'Brien's", ",", "'", "tis", "rock’n’roll"]),
        ("3.50 1,000,000 2nd v2.", ["3.50", "1,000,000", "2", "nd", "v", "2", "."]),
        ("a_b well-made <br />", ["a", "_", "b", "well", "-", "made", "<", "br", "/", ">"]),
        ("cafe\u0301 हिन्दी שָׁלוֹם", ["cafe\u0301", "हिन्दी", "שָׁלוֹם"]),
        ("👍🏽!?", ["👍", "🏽", "!", "?"]),
        (" \n\t", []),
    ],
)
def test_words_are_letters_numbers_and_single_signs(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_the_first_four_ids_are_the_specials_and_the_rest_is_in_order() -> None:
    assert (PAD, UNKNOWN, BEGIN, END) == (0, 1, 2, 3)
    tokenizer = learn_tokenizer(["b a", "a c"], "words")
    assert tokenizer.tokens == (*SPECIALS, "a", "b", "c")
    assert tokenizer.encode("c d a") == [6, UNKNOWN, 4]
    assert tokenizer.decode([BEGIN, 6, UNKNOWN, 4, END, PAD]) == "c a"
    assert len(tokenizer) == 7


def test_the_most_frequent_are_kept_and_rare_ones_left_out() -> None:
    texts = ["a a a b b c", "d"]
    assert learn_tokenizer(texts, "words", 6).tokens[4:] == ("a", "b")
    assert learn_tokenizer(texts, "words", least=2).tokens[4:] == ("a", "b")
    assert learn_tokenizer(["xxyyz"], "characters", 6).tokens[4:] == ("x", "y")


def test_small_letters_where_asked() -> None:
    for scheme, size in (("words", 0), ("characters", 0), ("bpe", LEAST_BPE)):
        tokenizer = learn_tokenizer(["A Dog", "a dog"], scheme, size, lower=True)
        assert tokenizer.encode("A DOG") == tokenizer.encode("a dog")
        assert tokenizer.decode(tokenizer.encode("A DOG")) == "a dog"
        other = learn_tokenizer(["A Dog", "a dog"], scheme, size)
        assert other.encode("A Dog") != other.encode("a dog")


def test_bpe_merges_what_stands_together_most_often() -> None:
    """Of the words hug 10, pug 5, hugs 5: "u g" 20 times, then "h ug" 15 times."""
    tokenizer = learn_tokenizer(["hug"] * 10 + ["pug"] * 5 + ["hugs"] * 5, "bpe", LEAST_BPE + 2)
    assert tokenizer.merges == ("u g", "h ug")
    assert [tokenizer.tokens[i] for i in tokenizer.encode("hugs pug")] == ["hug", "s", "Ġ", "p", "ug"]


def test_bytes_that_are_no_text_are_decoded_with_a_sign() -> None:
    tokenizer = learn_tokenizer(["x"], "bpe", LEAST_BPE)
    first, *_ = tokenizer.encode("é")  # half of its two bytes
    assert tokenizer.decode([first]) == "\ufffd"


def test_a_very_long_run_is_learned_and_encoded_in_time() -> None:
    """The learner of merges is quadratic in the length of a run; a line of a million signs took over nine minutes."""
    line = "xy" * 500_000
    tokenizer = learn_tokenizer([line, " " * 100_000], "bpe", 300)
    ids = tokenizer.encode(line)
    assert len(ids) < len(line) / 8
    assert tokenizer.decode(ids) == line
    assert len(learn_tokenizer([line], "words").encode(line)) == 1
    assert len(learn_tokenizer([line], "characters").encode(line)) == len(line)


def test_many_texts_are_int32_arrays() -> None:
    for scheme in ("words", "characters", "bpe"):
        encoded = learn_tokenizer(["a b"], scheme, 300 if scheme == "bpe" else 0).encode_all(["a", ""] * 1500)
        assert {ids.dtype for ids in encoded} == {np.dtype(np.int32)}
        assert [len(ids) for ids in encoded[:2]] == [1, 0]
        assert len(encoded) == 3000


def test_equal_texts_give_equal_tokenizers_in_every_process() -> None:
    code = (
        "from chainrule.data.tokens import learn_tokenizer as l; import hashlib; "
        "print(hashlib.sha256(repr(l(['the cat sat on the mat', 'that hat'] * 3, 'bpe', 290)).encode()).hexdigest())"
    )
    answers = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(answers) == 1


def test_copies_hold_the_fields_alone() -> None:
    tokenizer = learn_tokenizer(["a b a b"], "bpe", 262)
    tokenizer.encode("a")
    assert copy.deepcopy(tokenizer) == tokenizer == pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
    assert copy.deepcopy(tokenizer).encode("a b") == tokenizer.encode("a b")
    assert replace(tokenizer, lower=True).encode("A") == tokenizer.encode("a")


@pytest.mark.parametrize(
    ("scheme", "size", "message"),
    [
        ("sentences", 0, "must be words, bpe or characters, got 'sentences'"),
        ("bpe", 100, "260 or more for bpe, got 100"),
        ("words", 4, "5 or more for words, got 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(scheme: str, size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn_tokenizer(["a"], scheme, size)


def test_a_broken_tokenizer_is_refused() -> None:
    bpe = learn_tokenizer(["aa aa"], "bpe", 262)
    for broken, message in (
        ({"tokens": ("a", "b")}, "first tokens are <pad>"),
        ({"tokens": (*bpe.tokens, "a")}, "'a' stands there twice"),
        ({"tokens": (*SPECIALS, "a"), "merges": ()}, "255 of 256 are absent"),
        ({"merges": ("a b",)}, "'a b' does not join"),
        ({"merges": ("ab",)}, "'ab' does not join"),
        ({"scheme": "words"}, "only a bpe tokenizer has merges"),
        ({"scheme": "characters", "tokens": (*SPECIALS, "ab"), "merges": ()}, "one character, got 'ab'"),
    ):
        with pytest.raises(InputError, match=message):
            Tokenizer(**{"scheme": "bpe", "tokens": bpe.tokens, "merges": bpe.merges} | broken)
