"""Going on with a text: token by token from the state that the network stands in, nothing is computed twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from chainrule.data.corpus.schema import CorpusSchema
from chainrule.data.order import generator_of
from chainrule.data.tokens import BEGIN, END, PAD, UNKNOWN
from chainrule.errors import InputError
from chainrule.functional.sampling import Sampling, next_token
from chainrule.nn.carried import Carried, Runs, State
from chainrule.session import Session
from chainrule.tasks.language import Language
from chainrule.train.run import Run

LENGTH = 400  # tokens of a text that runs on, where none are asked for
DOCUMENT = 1000  # tokens after which a document that does not end is left
SHOWN, SHOWN_DOCUMENTS = 200, 8  # tokens, or documents, of a sample while the network learns
SHOWN_AS = Sampling(temperature=0.8)
BROKEN = "\ufffd"  # what the first bytes of an unfinished character are decoded to
MOST_BYTES = 4  # of a character
NEVER = [PAD, UNKNOWN, BEGIN]  # tokens that are no text


def generate(
    session: Session, prompt: str = "", *, length: int = 0, how: Sampling | None = None, seed: int = 0, number: int = 0,
    stop: Iterable[str] = (),
) -> Iterator[str]:  # fmt: skip
    """Pieces of text as they are written, each of whole characters; the prompt is not repeated.

    Args:
        length: tokens to write; 0: 400, or of a document up to its end.
        seed: with ``number`` (of the text, where several are asked for) decides every draw.
        stop: texts before which it ends.

    Raises:
        InputError: the run is no language model, a negative length, or characters that the network does not know.
    """
    network, schema = runner(session), session.schema
    assert isinstance(schema, CorpusSchema)
    if length < 0:
        raise InputError(f"length is a number of tokens, or 0 for the usual one, got {length}")
    ids = prompt_ids(prompt, schema)
    drawn = tokens(session, network, ids, length or usual_length(schema), how or Sampling(), seed, number)
    return until(decoded(drawn, schema), tuple(text for text in stop if text))


def usual_length(schema: CorpusSchema) -> int:
    """Tokens to write at most where none are asked for."""
    return DOCUMENT if schema.documents else LENGTH


def runner(session: Session) -> Runs:
    """The network that goes on from a state.

    Raises:
        InputError: this is no language model.
    """
    network = session.module.network
    if session.task.name == "reconstruct":
        raise InputError("this run goes on with no text, it builds rows; in Python, draw gives fresh ones")
    if not isinstance(session.task, Language) or not isinstance(network, Carried):
        raise InputError(
            f"generate is for language models and autoencoders, this run learned to {session.task.name} from "
            f"{session.kind.NAME} data; train one with: chainrule fit TEXT.txt --model lstm, or: chainrule fit SOURCE "
            "--task reconstruct --model vae"
        )
    return cast(Runs, network.network)


def prompt_ids(prompt: str, schema: CorpusSchema) -> list[int]:
    """What the network reads before it writes: where a text begins, and the prompt.

    Raises:
        InputError: characters that the vocabulary does not have.
    """
    if not prompt and not schema.documents:
        begins = [token for token in schema.tokenizer.encode("\n") if token != UNKNOWN]  # a running text begins once
        return begins or [END]
    ids = schema.tokenizer.encode(prompt)
    if UNKNOWN in ids:
        known = schema.tokenizer.tokens
        strange = ", ".join(repr(character) for character in sorted(set(prompt) - set(known)))
        raise InputError(
            f"the prompt holds {strange}, which the network never saw; it knows {len(known) - len(NEVER) - 1} "
            f"characters: {''.join(known[END + 1 :])[:100]!r}"
        )
    return [END, *ids] if schema.documents or not ids else ids


def tokens(
    session: Session, network: Runs, ids: list[int], length: int, how: Sampling, seed: int, number: int
) -> Iterator[int]:
    """Up to ``length`` tokens: the prompt goes through the network once, then one token at a time."""
    generator = generator_of(seed, number)
    device, ends = session.arithmetic.device, session.schema.documents
    never = torch.tensor(NEVER if ends else [*NEVER, END])
    seen = torch.zeros(len(session.schema.tokenizer), dtype=torch.bool)
    seen[[token for token in ids if token != END]] = True
    state: State | None = None
    step = torch.tensor([ids], device=device)
    for _ in range(length):
        logits, state = _run(session, network, step, state)
        token = next_token(logits.index_fill(0, never, -torch.inf), seen, how, generator)
        if token == END:
            return
        yield token
        seen[token] = True
        step = torch.tensor([[token]], device=device)


def _run(session: Session, network: Runs, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Logits (V,) after the last of the ids, on the CPU in float32, and the state there, in evaluation mode."""
    training = session.module.training
    session.module.eval()
    try:
        with torch.inference_mode():
            logits, state = network.run(ids, state)
    finally:
        session.module.train(training)
    return logits[0, -1].float().cpu(), state


def decoded(ids: Iterable[int], schema: CorpusSchema) -> Iterator[str]:
    """The text of tokens, in pieces of whole characters: of a piece of bytes the rest is awaited."""
    waiting: list[int] = []
    for token in ids:
        waiting.append(token)
        text = schema.tokenizer.decode(waiting)
        unfinished = schema.tokenizer.scheme == "bpe" and text.endswith(BROKEN) and len(waiting) < MOST_BYTES
        if text and not unfinished:
            waiting = []
            yield text
    if waiting and (text := schema.tokenizer.decode(waiting)):
        yield text


def until(pieces: Iterable[str], stops: tuple[str, ...]) -> Iterator[str]:
    """The pieces up to the first of the stops, which itself is left out; what may begin one is held back."""
    held = ""
    for piece in pieces:
        held += piece
        places = [place for stop in stops if (place := held.find(stop)) >= 0]
        if places:
            if min(places):
                yield held[: min(places)]
            return
        back = max((_begun(held, stop) for stop in stops), default=0)
        if len(held) > back:
            yield held[: len(held) - back]
            held = held[len(held) - back :]
    if held:
        yield held


def _begun(text: str, stop: str) -> int:
    """How many of the text's last characters are the beginning of ``stop``."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def sample(session: Session) -> str:
    """What the network writes of its own accord: a stretch of running text, or a few documents.

    Draws come from a generator of their own and no state is carried: training goes on as if nothing had happened.
    """
    count, length = (SHOWN_DOCUMENTS, 0) if session.schema.documents else (1, SHOWN)
    texts = ["".join(generate(session, length=length, how=SHOWN_AS, number=number)) for number in range(count)]
    return "\n".join(texts).strip("\n")


def write_sample(session: Session, run: Run, step: int) -> str:
    """A sample of what the network writes after this step: into samples/ of the run, and back for the terminal."""
    text = sample(session)
    folder = Path(run.path) / "samples"
    folder.mkdir(exist_ok=True)
    (folder / f"step-{step:08d}.txt").write_text(text + "\n", encoding="utf-8")
    return text
