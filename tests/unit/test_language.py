"""The task of the next token: known values, masks, sums that add up, scores under weights; the network it trains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.texts import names, story
from torch import Tensor, nn

from chainrule.data import corpus
from chainrule.data.config import DataConfig
from chainrule.data.corpus import CorpusSamples
from chainrule.data.samples import Batch
from chainrule.data.schema import TokensTarget
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.evaluate.intervals import interval
from chainrule.models.recurrent_lm import RecurrentLM, RecurrentLMConfig
from chainrule.nn.carried import Carried
from chainrule.nn.fronted import Fronted
from chainrule.tasks.language import Language, LanguageConfig
from chainrule.tasks.task import At, resampled
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.measure import measure

AT = At(0, 1, torch.Generator())
V = 8


class Fixed(nn.Module):
    """Answers what it is told."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.logits


def task(**settings: Any) -> Language:
    return Language(LanguageConfig(**settings), TokensTarget(vocab_size=V))


def batch(mask: Tensor | None = None, rows: int = 3, length: int = 5) -> Batch:
    targets = torch.randint(V, (rows, length), generator=torch.Generator().manual_seed(0))
    sizes = torch.full((rows, 2), length)
    return Batch((targets, torch.arange(rows), sizes), targets, torch.arange(rows), mask)


def logits() -> Tensor:
    return torch.randn(3, 5, V, generator=torch.Generator().manual_seed(1))


def scored(samples: CorpusSamples, network: nn.Module) -> dict[str, float]:
    rows = measure(task().measure, network, samples, 64, Arithmetic(torch.device("cpu")))
    return task().score(rows)


def test_even_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    (term,) = task().loss(Fixed(torch.zeros(3, 5, V)), batch(), AT)
    assert float(term.total.detach()) == pytest.approx(15 * math.log(V), rel=1e-6)
    assert task().counts(batch()) == {"loss": 15.0}
    measured = task().measure(Fixed(torch.zeros(3, 5, V)), batch())
    scores = task().score({name: x.detach().numpy() for name, x in measured.items()})
    assert scores == pytest.approx({"nats": math.log(V), "perplexity": V, "bits_per_char": 3, "bits_per_byte": 3})


def test_only_kept_tokens_count() -> None:
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 3:], mask[2, 0] = True, True
    (term,) = task().loss(Fixed(logits()), batch(mask), AT)
    given = batch().targets
    assert given is not None
    each = F.cross_entropy(logits().transpose(1, 2), given, reduction="none")
    assert float(term.total.detach()) == pytest.approx(float(each[0, 3] + each[0, 4] + each[2, 0]), rel=1e-6)
    assert task().counts(batch(mask)) == {"loss": 3.0}
    measured = task().measure(Fixed(logits()), batch(mask))
    assert measured["tokens"].tolist() == [2, 0, 1]
    assert float(measured["nats"].detach().sum()) == pytest.approx(float(term.total.detach()), rel=1e-6)


def test_label_smoothing_mixes_in_all_tokens() -> None:
    (plain,) = task().loss(Fixed(logits()), batch(), AT)
    (smooth,) = task(label_smoothing=0.1).loss(Fixed(logits()), batch(), AT)
    every = -logits().log_softmax(-1).mean(-1).sum()
    assert float(smooth.total.detach()) == pytest.approx(
        0.9 * float(plain.total.detach()) + 0.1 * float(every), rel=1e-5
    )
    with pytest.raises(InputError, match=r"task\.label_smoothing"):
        LanguageConfig(label_smoothing=1)


def test_bits_are_of_characters_and_bytes_not_of_tokens() -> None:
    rows = {"nats": [math.log(2) * 12.0], "tokens": [3], "characters": [6], "bytes": [12]}
    scores = task().score({name: np.array(values) for name, values in rows.items()})
    assert scores == pytest.approx({"nats": 4 * math.log(2), "perplexity": 16, "bits_per_char": 2, "bits_per_byte": 1})


def test_scores_under_weights_are_those_of_resampled_rows() -> None:
    random = np.random.default_rng(0)
    rows = {name: random.integers(1, 50, 40) for name in ("nats", "tokens", "characters", "bytes")}
    rows["tokens"][3] = 0  # a window beyond the text's end
    chosen = random.integers(0, 40, (6, 40))
    weights = np.stack([np.bincount(one, minlength=40) for one in chosen])
    together = task().scorer(rows)(weights)
    for place, one in enumerate(chosen):
        expected = task().score(resampled(rows, one))
        assert {name: values[place] for name, values in together.items()} == pytest.approx(expected, rel=1e-12)
    low, high = interval(task().score, rows, prepare=task().scorer)["nats"]
    assert low < task().score(rows)["nats"] < high


def test_micro_batches_add_up_to_the_batch() -> None:
    records = corpus.read(open_source(story()), DataConfig())["all"]
    schema = corpus.learn_schema(records, DataConfig(window=16))
    samples = corpus.encode(records, schema)
    network = RecurrentLM(RecurrentLMConfig(vocab_size=len(schema.tokenizer), hidden=8, dropout=0)).double()
    module = Fronted(corpus.front(schema, "stream"), task().wrap(network, schema))
    last = len(samples) - 1
    whole = samples.batch(torch.tensor([0, 5, 9, last]), torch.Generator())
    gradients = []
    for size in (4, 1):
        module.zero_grad()
        count = sum(task().counts(part)["loss"] for part in whole.split(size))
        for part in whole.split(size):
            module.network.go_on({})
            (term,) = task().loss(module, part, AT)
            (term.total / count).backward()
        gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-9)  # the loss itself is in float32


def test_windows_score_as_the_text_in_one_go_where_context_does_not_matter() -> None:
    """A network of the last token alone: whatever the windows, its loss is that of the whole text."""

    class Bigram(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.table = nn.Embedding(size, size)

        def run(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.table(ids), ()

    records = corpus.read(open_source(names()), DataConfig())["all"]
    schema = corpus.learn_schema(records, DataConfig(window=13))
    samples = corpus.encode(records, schema)
    bigram = Bigram(len(schema.tokenizer))
    stream = torch.from_numpy(samples.tokens[: samples.num_tokens + 1].astype(np.int64))
    with torch.no_grad():
        expected = float(F.cross_entropy(bigram.table(stream[:-1]), stream[1:]))
    found = scored(samples, Fronted(corpus.front(schema, "stream"), Carried(bigram)))
    assert found["nats"] == pytest.approx(expected, rel=1e-5)


def test_a_state_carried_in_training_is_the_text_in_one_go() -> None:
    records = corpus.read(open_source(story()), DataConfig())["all"]
    schema = corpus.learn_schema(records, DataConfig(window=8))
    samples = corpus.encode(records, schema)
    network = RecurrentLM(RecurrentLMConfig(vocab_size=len(schema.tokenizer), hidden=8, dropout=0))
    module = Fronted(corpus.front(schema, "stream"), task().wrap(network, schema)).train()
    parts = [module(*samples.batch(torch.tensor([3 + w, 40 + w]), torch.Generator()).inputs) for w in range(5)]
    stream = torch.from_numpy(samples.tokens.astype(np.int64))
    whole = torch.stack([stream[24:64], stream[320:360]])
    torch.testing.assert_close(torch.cat(parts, 1), network(whole), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(module.eval()(*samples.batch(torch.tensor([7, 44])).inputs)[1::2], parts[4], atol=1e-4)


def test_one_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    records = corpus.read(open_source(story()), DataConfig())["all"]
    schema = corpus.learn_schema(records, DataConfig(window=24))
    samples = corpus.encode(records, schema)
    network = RecurrentLM(RecurrentLMConfig(vocab_size=len(schema.tokenizer), hidden=64, layers=1, dropout=0))
    module = Fronted(corpus.front(schema, "stream"), Carried(network))
    one, optimizer = samples.batch(torch.arange(4), torch.Generator()), torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(120):
        module.network.go_on({})
        (term,) = task().loss(module, one, AT)
        optimizer.zero_grad()
        (term.total / task().counts(one)["loss"]).backward()
        optimizer.step()
    assert float(term.total.detach()) / 96 < 0.1


def test_a_network_of_ones_own_needs_the_method_that_goes_on() -> None:
    with pytest.raises(InputError, match=r"needs the method run\(ids, state\)"):
        task().wrap(nn.Linear(3, 3), None)
