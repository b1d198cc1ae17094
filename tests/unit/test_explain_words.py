"""Explaining texts: words and their tokens, occlusion by hand, gradients that sum up, any network, long texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.sentences import reviews
from torch import Tensor, nn

from chainrule.data import text
from chainrule.data.config import DataConfig
from chainrule.data.schema import ClassTarget, NumberTarget
from chainrule.data.sources import open_source
from chainrule.data.tokens import LEAST_BPE, UNKNOWN, learn_tokenizer
from chainrule.errors import InputError
from chainrule.explain.marks import marked
from chainrule.explain.spans import MOST_SPANS, Span, spans_of
from chainrule.explain.words import explain_words, margin_of
from chainrule.models.bag_of_embeddings import BagOfEmbeddings, BagOfEmbeddingsConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.table import plain_task

TEXTS, LABELS = reviews(40)


class Counts(nn.Module):
    """Logits from how often each token comes: no table of vectors."""

    def __init__(self, size: int, outputs: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(size, outputs, generator=torch.Generator().manual_seed(0)))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        there = (torch.arange(ids.shape[1]) < lengths[:, None]).float()
        counts = torch.zeros(len(ids), len(self.weights)).scatter_add(1, ids, there)
        return counts @ self.weights


def prepared(labels: Any = LABELS, **options: Any) -> tuple[Any, Any, Any]:
    config = DataConfig(**options)
    records = text.read(open_source((TEXTS, labels)), config)["all"]
    schema = text.learn_schema(records, config)
    return schema, plain_task(schema.target), text.encode(records, schema)


def fronted(network: nn.Module) -> Fronted:
    return Fronted(text.front(None, "tokens"), network)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["words", "bpe", "characters"])
def test_spans_hold_the_text_and_its_tokens(scheme: str) -> None:
    written = "It's  naïve, isn't\nit? (שלום 👩‍👧 x2)"
    tokenizer = learn_tokenizer([written], scheme, LEAST_BPE + 20 if scheme == "bpe" else 0, lower=True)
    spans = spans_of(tokenizer, written, 1000)
    shown = "".join(span.before + span.text for span in spans)
    assert shown in (written, written.lower())
    ids = tokenizer.encode(written)
    for span in spans:
        own = tokenizer.decode(ids[span.first : span.last]).strip()
        assert own == span.text.lower()
    cut = spans_of(tokenizer, written, 4)
    assert max(span.last for span in cut) <= 4


def test_long_texts_are_looked_at_in_pieces() -> None:
    tokenizer = learn_tokenizer(["a b"], "words")
    spans = spans_of(tokenizer, "a b " * 500, 10_000)
    assert len(spans) <= MOST_SPANS
    assert [span.first for span in spans[1:]] == [span.last for span in spans[:-1]]
    assert spans[-1].last == 1000


def test_occlusion_is_the_fall_of_the_log_odds() -> None:
    schema, task, samples = prepared()
    network = Counts(len(schema.tokenizer), 2)
    found = explain_words(fronted(network), task, schema, samples)
    answer, spans, values = found.answers[0], found.spans[0], found.methods[0].values[0]
    ids = schema.tokenizer.encode(samples.texts[answer.row])
    effect = (network.weights[:, answer.output] - network.weights[:, 1 - answer.output]).detach()
    expected = [float(effect[ids[span.first]] - effect[UNKNOWN]) for span in spans]
    assert values == pytest.approx(expected, abs=1e-5)  # sums of float32
    assert [method.name for method in found.methods] == ["occlusion"]
    assert "need one vector for each token" in found.notes[1]


def test_gradients_sum_up_and_agree_with_occlusion_where_nothing_is_bent() -> None:
    schema, task, samples = prepared()
    network = BagOfEmbeddings(BagOfEmbeddingsConfig(vocab_size=len(schema.tokenizer), num_classes=2))
    found = explain_words(fronted(network), task, schema, samples)
    occlusion, gradients = found.methods
    assert gradients.gap is not None
    assert gradients.gap < 1e-4
    for one, other in zip(occlusion.values, gradients.values, strict=True):
        assert one == pytest.approx(other, abs=1e-4)  # a mean of vectors is linear


def test_numbers_are_explained_in_their_units() -> None:
    schema, task, samples = prepared([float(place) + 0.5 for place in range(40)])
    assert isinstance(schema.target, NumberTarget)
    found = explain_words(fronted(Counts(len(schema.tokenizer), 1)), task, schema, samples)
    assert found.unit == "number"
    assert {word.answer for word in found.top} == {"a larger label"}


def test_log_odds_of_one_two_and_three_outputs() -> None:
    target = ClassTarget(name="y", classes=("a", "b"), counts=(1, 1))
    first, second = torch.tensor([0]), torch.tensor([1])

    def of(logits: list[float], output: Tensor) -> float:
        return float(margin_of(target)(lambda: torch.tensor([logits]), (), output))  # type: ignore[arg-type]

    assert of([2.0], second) == 2
    assert of([2.0], first) == -2
    assert of([1.0, 3.0], second) == 2
    shares = torch.softmax(torch.tensor([1.0, 3.0, 0.0]), 0)
    assert of([1.0, 3.0, 0.0], second) == pytest.approx(float(torch.logit(shares[1])), abs=1e-5)


def test_words_are_escaped_and_coloured() -> None:
    page = marked([Span("", "<b>", 0, 1), Span(" & ", "fine", 1, 2), Span(" ", "so", 2, 3)], [-1.0, 2.0, 0.0])
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert " &amp; " in page
    assert page.count("background:rgba(240,190,20,0.75)") == 1
    assert page.count("background:rgba(60,120,240,0.38)") == 1


def test_nothing_to_explain_is_refused() -> None:
    schema, task, samples = prepared()
    samples.ids = []
    with pytest.raises(InputError, match="no texts to explain"):
        explain_words(fronted(Counts(len(schema.tokenizer), 2)), task, schema, samples)
