"""The task of translation: its loss as sums, its rows, decoding in any order, and the explanation of an answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chainrule.data import parallel
from chainrule.data.config import DataConfig
from chainrule.data.parallel.samples import ParallelSamples
from chainrule.data.parallel.schema import ParallelSchema
from chainrule.data.samples import Batch
from chainrule.data.sources import open_source
from chainrule.data.tokens import END, PAD
from chainrule.errors import InputError
from chainrule.evaluate.intervals import interval
from chainrule.evaluate.translation_baselines import dictionary, translation_baselines
from chainrule.explain.alignment import Alignment, AlignmentExplanation, explain_alignment, grid_svg, words_of_tokens
from chainrule.models.seq2seq import Seq2Seq, Seq2SeqConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.task import At, resampled
from chainrule.tasks.translate import Translate, TranslateConfig

sacrebleu = pytest.importorskip("sacrebleu")

WORDS = {"rot": "red", "blau": "blue", "klein": "small", "gross": "large", "Haus": "house", "Hund": "dog"}
AT = At(0, 1, torch.Generator())


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Words in reversed order, in the other language."""
    draw = np.random.default_rng(seed)
    chosen = [draw.choice(list(WORDS), draw.integers(1, 7)).tolist() for _ in range(count)]
    return [(" ".join(words), " ".join(WORDS[word] for word in reversed(words))) for words in chosen]


def made(width: int = 8, **settings: Any) -> tuple[Translate, Fronted, ParallelSamples, ParallelSchema]:
    records = parallel.read(open_source(pairs(40)), DataConfig())["all"]
    schema = parallel.learn_schema(records, DataConfig())
    torch.manual_seed(0)
    sizes: dict[str, Any] = parallel.sizes(schema, "pair") | {"embedding": width, "hidden": width, "dropout": 0.0}
    assert schema.target is not None
    task = Translate(TranslateConfig(**settings), schema.target)
    network = Fronted(parallel.front(schema, "pair"), task.wrap(Seq2Seq(Seq2SeqConfig(**sizes)), schema)).eval()
    return task, network, parallel.encode(records, schema), schema


def whole(samples: ParallelSamples) -> Batch:
    return samples.batch(torch.arange(len(samples)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_a_sum_over_tokens(smoothing: float) -> None:
    task, network, samples, _ = made(label_smoothing=smoothing)
    batch = whole(samples)
    assert batch.targets is not None
    (term,) = task.loss(network, batch, AT)
    logits = network(*batch.inputs)
    expected = F.cross_entropy(
        logits[batch.mask], batch.targets[batch.mask], reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(term.total, expected, rtol=1e-5, atol=1e-5)  # float32, another order of the sum
    parts = list(batch.split(7))
    total = sum(task.loss(network, part, AT)[0].total for part in parts)
    torch.testing.assert_close(total, term.total, rtol=1e-5, atol=1e-5)
    assert sum(task.counts(part)["loss"] for part in parts) == task.counts(batch)["loss"]
    assert task.counts(batch)["loss"] == sum(lengths_of(samples))


def lengths_of(samples: ParallelSamples) -> list[int]:
    assert samples.targets is not None
    lengths: list[int] = samples.targets.lengths.tolist()
    return lengths


def test_measured_nats_are_the_loss_without_smoothing() -> None:
    task, network, samples, _ = made(label_smoothing=0.0)
    batch = whole(samples)
    with torch.no_grad():
        rows = {name: x.numpy() for name, x in task.measure(network, batch).items()}
        (term,) = task.loss(network, batch, AT)
    assert rows["tokens"].tolist() == lengths_of(samples)
    assert rows["nats"].sum() == pytest.approx(float(term.total), rel=1e-6)
    scores = task.score(rows)
    assert scores["nats"] == pytest.approx(float(term.total) / sum(lengths_of(samples)), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(np.exp(scores["nats"]))
    assert set(scores) == {"nats", "perplexity", "accuracy"}


def test_examined_rows_give_sacrebleus_scores_and_those_of_every_draw() -> None:
    task, network, samples, _ = made(beam=2)
    batch = whole(samples)
    with torch.no_grad():
        rows = {name: x.numpy() for name, x in task.examine(network, batch, 1).items()}
        answers = task.predict(network, batch)["prediction"]
    truths = [text for _, text in pairs(40)]
    scores = task.score(rows)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, [truths]).score, abs=1e-9)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, [truths]).score, abs=1e-9)
    weights = np.random.default_rng(1).multinomial(40, [1 / 40] * 40, size=3)
    drawn = task.scorer(rows)(weights)
    for row, times in enumerate(weights):
        again = task.score(resampled(rows, np.repeat(np.arange(40), times)))
        assert again == pytest.approx({name: values[row] for name, values in drawn.items()})
    low, high = interval(task.score, rows, draws=50, prepare=task.scorer)["nats"]
    assert low < scores["nats"] < high


@pytest.mark.parametrize("beams", [1, 3])
def test_a_translation_does_not_depend_on_its_neighbours(beams: int) -> None:
    task, network, samples, _ = made(beam=beams)
    with torch.no_grad():
        together = task.predict(network, whole(samples))["prediction"]
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(3))
        shuffled = task.predict(network, samples.batch(order))["prediction"]
        alone = [task.predict(network, samples.batch(torch.tensor([row])))["prediction"][0] for row in range(5)]
    assert [together[row] for row in order.tolist()] == shuffled
    assert together[:5] == alone


def test_an_empty_sentence_has_an_empty_translation() -> None:
    task, network, _, schema = made()
    samples = parallel.encode(parallel.read_inputs(["", "rot Haus"], schema), schema)
    with torch.no_grad():
        answers = task.predict(network, whole(samples))
    assert answers["prediction"][0] == ""
    assert answers["probability"][0] == 1
    assert 0 < answers["probability"][1] <= 1


def test_a_module_that_cannot_write_is_refused() -> None:
    task, _, _, schema = made()
    with pytest.raises(InputError, match="encode, step and aligned"):
        task.wrap(nn.Linear(2, 2), schema)


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"beam": 0}, {"label_smoothing": 1.0}, {"length_penalty": -1.0}, {"monitor": "bleu"}):
        with pytest.raises(InputError, match=f"task.{next(iter(settings))}"):
            TranslateConfig(**settings)  # type: ignore[arg-type]


def test_a_batch_is_learned_by_heart() -> None:
    task, network, samples, _ = made(32, label_smoothing=0.0, beam=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    batch, training = samples.batch(torch.arange(12)), samples.batch(torch.arange(12), torch.Generator())
    network.train()
    for _ in range(150):
        (term,) = task.loss(network, training, AT)
        optimizer.zero_grad()
        (term.total / task.counts(training)["loss"]).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        assert task.score({k: v.numpy() for k, v in task.measure(network, batch).items()})["nats"] < 0.05
        assert task.predict(network, batch)["prediction"] == [text for _, text in pairs(12)]


def test_baselines_copy_and_look_up() -> None:
    task, _, samples, schema = made()
    copied, looked_up = translation_baselines(samples, samples, schema, task.score)
    assert copied["name"] == "copy of the source"
    truths = [text for _, text in pairs(40)]
    assert copied["bleu"] == pytest.approx(sacrebleu.corpus_bleu([text for text, _ in pairs(40)], [truths]).score)
    assert looked_up["rows"] == 40
    backwards = [" ".join(reversed(text.split())) for text in truths]  # all words are known, in the sentence's order
    assert looked_up["bleu"] == pytest.approx(sacrebleu.corpus_bleu(backwards, [truths]).score)
    assert dictionary([(one.split(), other.split()) for one, other in pairs(40)]) == WORDS


def test_an_alignment_is_told_word_by_word(tmp_path: Path) -> None:
    task, network, samples, _ = made(beam=2)
    found = explain_alignment(network, task, samples)
    assert isinstance(found, AlignmentExplanation)
    assert len(found.sentences) == 8
    for one in found.sentences:
        assert one.shares.shape == (len(one.written), len(one.source))
        np.testing.assert_allclose(one.shares.sum(1), 1, atol=1e-6)  # float32 shares
        assert one.source[-1] == "(end)"
        assert " ".join(one.source[:-1]) == pairs(40)[int(one.id.split()[1]) - 1][0]
    text = found.text()
    assert all(one.id in text for one in found.sentences)
    found.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 8
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg|http-equiv", "", page)
    assert found.as_dict()["sentences"][0]["truth"] == pairs(40)[0][1]


def test_words_from_a_page_are_no_markup() -> None:
    drawn = grid_svg(Alignment("line 1", ("<b>", "(end)"), ("&", "(end)"), np.full((2, 2), 0.5), ""))
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert "&amp; from" in drawn


def test_pieces_of_words_are_put_together() -> None:
    _, _, samples, schema = made()
    batch = samples.batch(torch.tensor([3]))
    words, starts = words_of_tokens(schema.source_tokens, batch.inputs[0][0].tolist())
    assert words == [*pairs(40)[3][0].split(), "(end)"]
    assert starts[0] == 0
    assert int(batch.inputs[0][0][-1]) == END != PAD


def test_pieces_shares_are_joined_to_words() -> None:
    """Those of a read word's pieces are added up, those of a written word's are averaged."""
    task, network, _, _ = made(beam=1)
    records = parallel.read(open_source([("abcd xyz", "uvw pq"), ("abce xyw", "uvq pw")]), DataConfig())["all"]
    schema = parallel.learn_schema(records, DataConfig(vocab_size=262))
    sizes: dict[str, Any] = parallel.sizes(schema, "pair") | {"embedding": 8, "hidden": 8, "dropout": 0.0}
    inner = Seq2Seq(Seq2SeqConfig(**sizes))
    network = Fronted(parallel.front(schema, "pair"), task.wrap(inner, schema))
    samples = parallel.encode(records, schema)
    (one, _) = explain_alignment(network, task, samples).sentences
    batch = samples.batch(torch.tensor([0]))
    source, lengths = batch.inputs[:2]
    with torch.no_grad():
        (written,) = task.write(network, batch)
        given = torch.tensor([[2, *written.tokens[:-1]]])
        shares = inner.aligned(source, lengths, given)[1][0].double().numpy()
    read, first = words_of_tokens(schema.source_tokens, source[0].tolist())
    assert read == ["abcd", "xyz", "(end)"]
    assert len(source[0]) > len(read)
    starts = words_of_tokens(schema.target_tokens, list(written.tokens))[1]
    for row, (start, stop) in enumerate(zip(starts, [*starts[1:], len(shares)], strict=True)):
        for column, (left, right) in enumerate(zip(first, [*first[1:], shares.shape[1]], strict=True)):
            expected = shares[start:stop, left:right].sum() / (stop - start)
            assert one.shares[row, column] == pytest.approx(expected, abs=1e-6)
