"""Going on with a text: nothing is computed twice, pieces are whole characters, seeds and stops decide."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.texts import names, story
from torch import Tensor

from chainrule.data.tokens import BEGIN, END, PAD, UNKNOWN
from chainrule.errors import InputError
from chainrule.fitting import fresh_session, start_training
from chainrule.functional.sampling import Sampling
from chainrule.generating import decoded, generate, prompt_ids, runner, tokens, until, write_sample
from chainrule.models.recurrent_lm import RecurrentLM
from chainrule.session import Session

GREEDY = Sampling(temperature=0)
SMALL: dict[str, Any] = {"model.hidden": 16, "model.layers": 1}


def session(source: str, model: str = "lstm_lm", **settings: Any) -> Session:
    """An untrained network of this text."""
    return fresh_session(source, {**SMALL, **settings}, model)[0]


def asked(
    found: Session, prompt: str, length: int, how: Sampling = GREEDY, seed: int = 0, number: int = 0
) -> list[int]:
    return list(tokens(found, runner(found), prompt_ids(prompt, found.schema), length, how, seed, number))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the ids that the network is run on."""
    seen: list[tuple[int, ...]] = []
    original = RecurrentLM.run

    def counted(self: RecurrentLM, ids: Tensor, state: Any = None) -> Any:
        seen.append(tuple(ids.shape))
        return original(self, ids, state)

    monkeypatch.setattr(RecurrentLM, "run", counted)
    return seen


@pytest.mark.parametrize("length", [1, 10, 300])
def test_the_prompt_is_read_once_and_then_one_token_at_a_time(length: int, steps: list[tuple[int, ...]]) -> None:
    found = session(story())
    steps.clear()
    assert len(asked(found, "the cat sees", length)) == length
    assert steps == [(1, 12)] + [(1, 1)] * (length - 1)  # as many tokens as are written, however long the text is


@pytest.mark.parametrize("model", ["rnn_lm", "gru_lm", "lstm_lm"])
def test_token_by_token_is_what_the_whole_text_gives(model: str) -> None:
    found = session(story(), model, **{"model.layers": 2})
    written = asked(found, "a dog", 40)
    read = prompt_ids("a dog", found.schema)
    network = found.module.network.network.eval()
    for place in range(40):
        with torch.no_grad():
            logits = network(torch.tensor([read + written[:place]]))[0, -1]
        logits[[PAD, UNKNOWN, BEGIN, END]] = -torch.inf
        assert written[place] == int(logits.argmax())


def test_equal_seeds_write_equally_and_others_do_not() -> None:
    found = session(story())
    first = asked(found, "", 60, Sampling(), seed=1)
    assert asked(found, "", 60, Sampling(), seed=1) == first
    assert asked(found, "", 60, Sampling(), seed=2) != first
    assert asked(found, "", 60, Sampling(), seed=1, number=1) != first


def test_what_is_no_text_is_never_written() -> None:
    for source in (story(), names()):
        written = asked(session(source), "", 400, Sampling(temperature=5.0))
        assert not {PAD, UNKNOWN, BEGIN, END} & set(written)


def test_documents_end_by_themselves_and_running_text_does_not() -> None:
    found = session(names())
    network = found.module.network.network
    with torch.no_grad():
        network.head.bias[END] = 50.0
    assert asked(found, "", 100) == []
    assert "".join(generate(found, "ba", length=9)) == ""
    running = session(story())
    with torch.no_grad():
        running.module.network.network.head.bias[END] = 50.0
    assert len("".join(generate(running, length=30))) == 30


def test_generating_leaves_training_as_it_was(tmp_path: Path) -> None:
    """Weights after a training in which samples are written, and in which none are."""
    found = []
    for writes in (False, True):
        settings = {**SMALL, "train.steps": 6, "train.batch_size": 4, "data.window": 16, "train.threads": 1}
        training = start_training(story(), settings, "lstm_lm", tmp_path / str(writes))
        with closing(training.run):
            for report in training:
                if writes:
                    text = write_sample(training.session, training.run, report.step)
                    assert training.session.module.training
        found.append({name: x.clone() for name, x in training.session.module.state_dict().items()})
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
    assert (tmp_path / "True/samples/step-00000006.txt").read_text() == text + "\n"
    assert len(text) > 100


def test_an_unknown_character_of_the_prompt_is_named() -> None:
    with pytest.raises(InputError, match=r"the prompt holds 'Z', 'é', which the network never saw"):
        generate(session(story()), "the Zé cat")
    with pytest.raises(InputError, match="length"):
        generate(session(story()), length=-1)


def test_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"for language models and autoencoders, this run learned to classify"):
        generate(fresh_session("xor", {}, "mlp")[0])


def test_pieces_of_bytes_are_shown_as_whole_characters() -> None:
    text = (story(100) + "世界 😀 naïve\n") * 3
    found = session(text, **{"data.tokenizer": "bpe", "data.vocab_size": 270})
    tokenizer = found.schema.tokenizer
    wanted = "世界 😀 naïve 😀😀"
    ids = tokenizer.encode(wanted)
    pieces = list(decoded(ids, found.schema))
    assert "".join(pieces) == wanted
    assert all("\ufffd" not in piece for piece in pieces)
    assert len(pieces) > 8  # streamed, not held back to the end
    broken = tokenizer.encode("😀")[:-1]
    assert "".join(decoded([*broken, *tokenizer.encode("abcdef")], found.schema)).endswith("abcdef")
    assert "".join(decoded(broken, found.schema))  # what never becomes a character is shown at the end


def test_a_sign_of_broken_text_that_is_a_character_is_not_awaited() -> None:
    found = session("\ufffd b\n" + story())
    assert list(decoded(found.schema.tokenizer.encode("a\ufffdb"), found.schema)) == ["a", "\ufffd", "b"]


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["ab", "cd"], (), "abcd"), (["ab", "cd"], ("c",), "ab"), (["ab", "cd"], ("bc",), "a"), (["ab"], ("ab",), ""),
        (["a", "b", "x"], ("bc",), "abx"), (["a", "b"], ("bc",), "ab"), (["aab"], ("b", "aa"), ""),
        (["a", "a", "a", "b"], ("aab",), "a"),
    ],
)  # fmt: skip
def test_a_stop_ends_the_text_before_itself(pieces: list[str], stops: tuple[str, ...], expected: str) -> None:
    endless = itertools.chain(pieces, itertools.repeat("z", 3 if not expected.endswith(pieces[-1]) else 0))
    assert "".join(until(endless, stops)) == expected


def test_nothing_is_held_back_longer_than_a_stop_may_begin() -> None:
    def feed() -> Iterator[str]:
        yield from ("x", "\n")
        raise AssertionError("asked for more than was shown")

    pieces = until(feed(), ("\n\n",))
    assert next(pieces) == "x"


def test_generate_stops_and_streams() -> None:
    found = session(story())
    whole = "".join(generate(found, "the", length=80, seed=3))
    stop = whole[40:43]
    assert "".join(generate(found, "the", length=80, seed=3, stop=[stop])) == whole[: whole.index(stop)]
    stream = generate(found, "the", length=80, seed=3)
    assert next(stream) == whole[0]
