"""Texts to continue: what is one, how it is divided, what a window holds, what counting n-grams scores."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.texts import names, story

from chainrule.data import corpus
from chainrule.data.config import DataConfig
from chainrule.data.corpus import CorpusRecords, CorpusSamples, CorpusSchema
from chainrule.data.sources import open_source
from chainrule.data.split import split
from chainrule.data.tokens import END, SPECIALS, UNKNOWN
from chainrule.evaluate.text_ngrams import KneserNey, text_baselines
from chainrule.prepare import prepare
from chainrule.recognise import recognise


def read(source: Any, **options: Any) -> CorpusRecords:
    return corpus.read(open_source(source), DataConfig(**options))["all"]


def learned(records: CorpusRecords, **options: Any) -> CorpusSchema:
    return corpus.learn_schema(records, DataConfig(**options))


def encoded(text: str, window: int, records: CorpusRecords | None = None) -> tuple[CorpusSamples, CorpusSchema]:
    records = records or read(text)
    schema = learned(records, window=window)
    return corpus.encode(records, schema), schema


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text(story())
    return tmp_path / "story.txt"


def test_what_runs_on_and_what_is_documents(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(names())
    (tmp_path / "story.txt.gz").write_bytes(gzip.compress(story().encode()))
    for name, reason in (("names.txt", "each a document"), ("story.txt.gz", "running text")):
        found = recognise(open_source(tmp_path / name))
        assert found.kind.NAME == "corpus"
        assert reason in found.reason
    assert not read(story()).documents
    assert read(names()).documents
    assert not read(names().replace("\n", "\n\n")).documents  # blank lines stand between paragraphs


def test_text_in_python_is_a_source() -> None:
    assert recognise(open_source(story())).reason == "a running text"
    assert recognise(open_source(names())).reason == "a text, each line a document"
    texts = [story(20, seed) for seed in range(9)]
    found = recognise(open_source(texts))
    assert (found.kind.NAME, found.reason) == ("corpus", "9 texts, each a document")
    assert [read(texts).text(row) for row in range(9)] == [text.strip() for text in texts]


def test_a_folder_of_text_files(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(story(10, number))
    records = read(tmp_path)
    assert records.joined() == "\n\n".join(story(10, number).strip() for number in range(4))
    assert any("one running text" in finding.text for finding in corpus.findings(records))
    for number in range(4, 40):
        (tmp_path / f"{number}.txt").write_text(story(10, number))
    records = read(tmp_path)
    assert records.documents
    assert (len(records), records.ids[0]) == (40, "0.txt")


def test_files_named_train_valid_and_test_are_the_parts(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "valid", "test")):
        (tmp_path / f"{name}.txt").write_text(story(100, seed))
    prepared = prepare(tmp_path, DataConfig())
    assert [part.joined() for part in prepared.parts.values()] == [story(100, seed) for seed in range(3)]


def test_a_part_of_the_other_form_is_cut_anew() -> None:
    records = read(names())
    schema = learned(records)
    other = read(names(50, 1).replace("\n", "\n\n"))
    assert not other.documents
    assert [*corpus.aligned(other, schema).texts()] == names(50, 1).split()


def test_running_text_is_divided_by_its_order(file: Path) -> None:
    prepared = prepare(file, DataConfig(valid_share=0.1, test_share=0.2))
    text = story()
    parts = [part.joined() for part in prepared.parts.values()]
    assert "".join(parts) == text
    assert [round(len(part) / len(text), 2) for part in parts] == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_documents_are_divided_at_random_and_stay_whole() -> None:
    records = read(names())
    cut = split(records, DataConfig())
    parts = [records.select(rows).texts() for rows in (cut.train, cut.valid, cut.test)]
    assert sorted(itertools.chain(*parts)) == sorted(names().split())
    assert parts[0] != names().split()[: len(parts[0])]


def test_short_documents_recur_by_nature_and_long_ones_are_copies() -> None:
    short = read(names(40) + names(40))
    assert len(set(short.hashes().tolist())) == 80
    assert any("repeat another one" in finding.text for finding in corpus.findings(short))
    long = read([story(20, seed) for seed in (0, 1, 0)])
    hashes = long.hashes()
    assert hashes[0] == hashes[2] != hashes[1]


def test_training_windows_follow_each_other() -> None:
    text = story()
    samples, schema = encoded(text, 16)
    batch = samples.batch(torch.arange(len(samples)), torch.Generator())
    ids, rows = batch.inputs
    assert batch.targets is not None
    assert batch.mask is not None
    assert torch.equal(rows, torch.arange(len(samples)))
    assert schema.tokenizer.decode(batch.targets[batch.mask].tolist()) == text
    assert torch.equal(ids.flatten()[1:], batch.targets.flatten()[:-1])
    assert ids[0, 0] == END
    assert samples.batch(torch.tensor([0, 3]), torch.Generator()).mask is None  # nothing is filled up there


@pytest.mark.parametrize("window", [2, 15, 16, 64])
@pytest.mark.parametrize("length", [200, 256, 257])
def test_every_token_is_scored_once_and_sees_half_a_window(window: int, length: int) -> None:
    text = story()[:length]
    samples, schema = encoded(text, window)
    window = samples.window
    batch = samples.batch(torch.arange(len(samples)))
    assert batch.targets is not None
    assert batch.mask is not None
    ids, _, sizes = batch.inputs
    assert ids.shape == (2 * len(samples), window)
    assert schema.tokenizer.decode(batch.targets[batch.mask].tolist()) == text
    assert int(batch.mask.sum()) == samples.num_tokens == length
    assert sizes[:, 0].tolist() == batch.mask.sum(1).tolist()
    first = batch.mask.float().argmax(1)  # tokens seen before the first that is scored, less itself
    scored = batch.mask.any(1)
    assert (first[scored][1:] >= window // 2).all()
    place = batch.ids * window  # the text around a row is its own
    assert torch.equal(batch.ids, torch.arange(len(samples)).repeat_interleave(2))
    assert (ids[1::2][:, 0] == torch.from_numpy(samples.tokens[place[::2].numpy()].astype(np.int64))).all()


def test_documents_are_packed_in_one_shuffled_order_with_ends() -> None:
    records = read(names())
    samples, schema = encoded("", 32, records)
    again = corpus.encode(records, schema)
    assert np.array_equal(samples.tokens, again.tokens)
    stream = samples.tokens[: samples.num_tokens + 1].tolist()
    assert stream[0] == stream[-1] == END
    ends = [place for place, token in enumerate(stream) if token == END]
    found = [schema.tokenizer.decode(stream[a + 1 : b]) for a, b in itertools.pairwise(ends)]
    assert found != records.texts()
    assert sorted(found) == sorted(records.texts())
    assert schema.tokens == len(stream) - 1


def test_characters_and_bytes_are_counted_beyond_ascii() -> None:
    text = (story(60) + "naïve café — 世界 😀\n") * 4
    for scheme in ("characters", "bpe"):
        records = read(text)
        schema = learned(records, tokenizer=scheme, vocab_size=300 if scheme == "bpe" else 0)
        samples = corpus.encode(records, schema)
        sums = samples.batch(torch.arange(len(samples))).inputs[2].sum(0).tolist()
        assert sums == [len(text), len(text.encode())], scheme


def test_the_vocabulary_is_of_the_train_split_and_unknown_characters_are_counted() -> None:
    schema = learned(read(story()))
    other = read(story(60, 1) + "Ω and ЖЖ\n")
    (finding,) = corpus.mismatches(other, schema)
    assert finding.text.startswith("3 characters, 2 different")
    assert finding.where[0] == "'Ж'"
    assert int((corpus.encode(other, schema).tokens == UNKNOWN).sum()) == 3
    assert corpus.mismatches(read(story(60, 2)), schema) == []


def test_many_different_characters_are_cut_into_pieces_of_bytes() -> None:
    text = "".join(chr(0x4E00 + number) + ("\n" if number % 50 == 0 else "") for number in range(700)) * 3
    schema = learned(read(text))
    assert schema.tokenizer.scheme == "bpe"
    assert any("701 different characters" in note for note in schema.notes)
    assert learned(read(text), tokenizer="characters").tokenizer.scheme == "characters"


def test_a_schema_comes_back_from_json() -> None:
    schema = learned(read(story()), tokenizer="bpe", vocab_size=300)
    assert corpus.load_schema(json.loads(json.dumps(dataclasses.asdict(schema)))) == schema


def test_the_window_is_the_users_or_found_and_never_the_whole_text() -> None:
    assert learned(read(story(4000))).window == 128
    assert learned(read(story(4000)), window=50).window == 50
    assert learned(read(story(20))).window == len(story(20)) // 8


def test_usual_epochs_fall_with_the_text() -> None:
    schema = learned(read(story()))
    many, few = (dataclasses.replace(schema, tokens=tokens) for tokens in (1_000_000, 100_000_000))
    assert corpus.usual_settings(schema, "stream", 0) == {"train.batch_size": 16, "train.epochs": 250}  # of 4 steps
    some = dataclasses.replace(schema, tokens=160_000)
    assert corpus.usual_settings(some, "stream", 0) == {"train.batch_size": 16, "train.epochs": 50}
    assert corpus.usual_settings(many, "stream", 0) == {"train.batch_size": 16, "train.epochs": 16}
    assert corpus.usual_settings(few, "stream", 0) == {"train.batch_size": 64, "train.epochs": 1}


def brute_force(train: list[int], order: int, vocab: int) -> Any:
    """The equation of Kneser and Ney over dicts, token by token."""
    raw: dict[int, Counter[tuple[int, ...]]] = {}
    raw[order] = Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))
    for size in range(order - 1, 0, -1):
        raw[size] = Counter(gram[1:] for gram in raw[size + 1])
    discounts, after = {}, defaultdict(list)
    for size, counts in raw.items():
        once, twice = (sum(count == number for count in counts.values()) for number in (1, 2))
        discounts[size] = once / (once + 2 * twice) if once else 0.1
        for gram, count in counts.items():
            after[gram[:-1], size].append(count)

    def p(context: tuple[int, ...], token: int) -> float:
        size = len(context) + 1
        lower = p(context[1:], token) if context else 1 / vocab
        followed = after.get((context, size))
        if not followed:
            return lower
        left = max(raw[size][(*context, token)] - discounts[size], 0)
        return (left + discounts[size] * len(followed) * lower) / sum(followed)

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngrams_follow_their_equation_and_sum_to_one(order: int) -> None:
    random = np.random.default_rng(0)
    train, test = random.integers(0, 4, 300), random.integers(0, 5, 60)
    model, expected = KneserNey(train, order, 5), brute_force(train.tolist(), order, 5)
    found = model.probabilities(test)
    for place in range(1, len(test)):
        context = tuple(test[max(0, place - order + 1) : place].tolist())
        assert found[place - 1] == pytest.approx(expected(context, int(test[place])), rel=1e-12)
    for start in (test[:6], test[20:27]):
        every = [float(model.probabilities(np.append(start, token))[-1]) for token in range(5)]
        assert sum(every) == pytest.approx(1, abs=1e-12)


def test_ngrams_know_a_text_better_than_single_tokens() -> None:
    records = read(story())
    schema = learned(records)
    train, test = (corpus.encode(read(story(400, seed)), schema) for seed in (0, 1))

    def score(rows: dict[str, Any]) -> dict[str, float]:
        assert rows["tokens"].sum() == rows["characters"].sum() == test.num_tokens
        return {"nats": rows["nats"].sum() / rows["tokens"].sum()}

    single, pairs = text_baselines(train, test, score)
    assert (single["name"], pairs["name"]) == ("single tokens", "5-grams, Kneser-Ney")
    assert pairs["nats"] < 0.6 < 2 < single["nats"] < np.log(len(schema.tokenizer) - len(SPECIALS))


def test_a_large_vocabulary_gets_shorter_ngrams() -> None:
    samples = CorpusSamples(np.arange(500, dtype=np.int32) % 60_000, 16, np.ones((60_000, 2), np.int64))
    names_of = [entry["name"] for entry in text_baselines(samples, samples, lambda rows: {})]
    assert names_of == ["single tokens", "3-grams, Kneser-Ney"]


def test_records_show_themselves() -> None:
    records, whole = read(story(900)), story(900)
    assert records.ids[0] == "characters 1 to 128"
    assert list(records.ids[1:3]) == [records.ids[1], records.ids[2]]
    assert corpus.show(records, 1).values["text"] == whole[128:256]
    named = read(names())
    assert named.ids[4] == "line 5"
    assert read(whole).fingerprint() == records.fingerprint() != read(story(900, 1)).fingerprint()
    assert corpus.encode(records, learned(records)).ids[0].startswith("tokens from 1")
