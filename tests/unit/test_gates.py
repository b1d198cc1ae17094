"""Truth tables: what is recognised, the contract of a data kind, and what networks can and cannot learn on them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from chainrule.data import gates
from chainrule.data.config import DataConfig
from chainrule.data.known import TRUTH_TABLES
from chainrule.data.sources import Source
from chainrule.errors import InputError
from chainrule.functional.losses import binary_cross_entropy_sum
from chainrule.models.mlp import MLP, MLPConfig
from chainrule.models.perceptron import Perceptron, PerceptronConfig


def source(name: str) -> Source:
    return Source(name=name, original=name)


def prepared(name: str) -> tuple[gates.GateRecords, gates.GateSchema, torch.Tensor, torch.Tensor]:
    records = gates.read(source(name), DataConfig())["train"]
    schema = gates.learn_schema(records, DataConfig())
    batch = gates.encode(records, schema).batch(torch.arange(4))
    assert batch.targets is not None
    return records, schema, batch.inputs[0], batch.targets


@pytest.mark.parametrize("name", gates.GATES)
def test_rows(name: str) -> None:
    records, schema, x, y = prepared(name)
    rule = {"or": lambda a, b: a or b, "and": lambda a, b: a and b, "nand": lambda a, b: not (a and b)}
    truth = rule.get(name, lambda a, b: a != b)
    assert [[int(truth(*row))] for row in x.int().tolist()] == y[:, None].tolist()
    assert x.dtype == torch.float32
    assert schema.target.counts == (int((y == 0).sum()), int((y == 1).sum()))
    assert gates.show(records, 1).values == {"x_1": "0", "x_2": "1", name: str(y[1].item())}
    assert gates.front(schema, "vector")(x)[0] is x
    assert gates.sizes(schema, "vector") == {"in_features": 2}


def test_recognises_the_names_only(tmp_path: Path) -> None:
    assert "4 rows" in (gates.recognises(source("xor")) or "")
    assert gates.recognises(source("XOR"))
    assert gates.recognises(source("iris")) is None
    assert gates.recognises(Source(name="xor", original="xor", path=tmp_path)) is None
    assert gates.recognises(Source(name="xor", original="", value=([[0, 1]], [1]))) is None


def test_every_known_name_has_a_table() -> None:
    assert set(TRUTH_TABLES) == set(gates.GATES)


def test_the_same_rows_are_every_split() -> None:
    parts = gates.read(source("and"), DataConfig())
    assert list(parts) == ["train", "valid", "test"]
    assert parts["train"] is parts["valid"] is parts["test"]


def test_schema_round_trip() -> None:
    schema = prepared("xor")[1]
    data = json.loads(json.dumps(asdict(schema)))
    assert gates.load_schema(data) == schema
    with pytest.raises(InputError, match="clases"):
        gates.load_schema({**data, "target": {**data["target"], "clases": []}})
    with pytest.raises(InputError, match="gate"):
        gates.load_schema({**data, "gate": "xor"})


def test_fingerprints_and_hashes_tell_content_apart() -> None:
    first, again, other = (prepared(name)[0] for name in ("xor", "xor", "or"))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.fingerprint() != first.select(np.array([1, 0, 2, 3])).fingerprint()
    assert len(set(first.hashes().tolist())) == 4
    assert first.hashes().tolist() == other.hashes().tolist()


@pytest.mark.parametrize(
    "inputs",
    [
        ["0,1", "1 1"],
        [[0, 1], (1, 1)],
        [{"x_2": 1, "x_1": 0}, {"x_1": 1, "x_2": 1}],
        [np.array([[0, 1], [1, 1]])],
        [pl.DataFrame({"x_2": [1, 1], "x_1": [0, 1]})],
    ],
)
def test_inputs_to_predict(inputs: list[object]) -> None:
    schema = prepared("xor")[1]
    records = gates.read_inputs(inputs, schema)
    samples = gates.encode(records, schema)
    assert samples.inputs[0].tolist() == [[0, 1], [1, 1]]
    assert samples.targets is None
    assert list(records.ids) == ["0, 1", "1, 1"]


@pytest.mark.parametrize("wrong", ["0", "0,1,1", "a,b", [0, float("nan")], 3, None, {"x_1": 1}])
def test_wrong_inputs_say_how_to_fix(wrong: object) -> None:
    with pytest.raises(InputError, match=r"0,1|x_2"):
        gates.read_inputs([wrong], prepared("xor")[1])


def test_settings_without_effect_are_refused() -> None:
    for setting in ({"task": "regress"}, {"target": "x_1"}, {"group": "x"}, {"time": "x"}, {"drop": ("x_1",)}):
        with pytest.raises(InputError, match="leave"):
            gates.read(source("xor"), DataConfig(**setting))
    with pytest.raises(InputError, match="did you mean 'xor'"):
        gates.read(source("xorr"), DataConfig())
    with pytest.raises(InputError, match="perceptron or mlp"):
        gates.front(prepared("xor")[1], "image")


def test_unknown_answers_list_the_known_ones() -> None:
    records, schema, _, _ = prepared("xor")
    odd = gates.GateRecords("xor", records.ids, records.inputs, np.array(["0", "1", "2", "0"]))
    with pytest.raises(InputError, match="0 or 1"):
        gates.encode(odd, schema)


def right_answers(name: str, network: torch.nn.Module) -> int:
    """Rows of four a network answers after full-batch gradient descent."""
    _, _, x, y = prepared(name)
    for _ in range(1500):
        network.zero_grad()
        (binary_cross_entropy_sum(network(x), y) / 4).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.5 * parameter.grad
    return int(((network(x)[:, 0] > 0).long() == y).sum())


@pytest.mark.parametrize("name", gates.GATES)
def test_who_separates_what(name: str) -> None:
    straight = Perceptron(PerceptronConfig(in_features=2, num_classes=1))
    linear = MLP(MLPConfig(in_features=2, num_classes=1, hidden=8, activation="identity"))
    curved = MLP(MLPConfig(in_features=2, num_classes=1, hidden=8, activation="tanh"))
    assert right_answers(name, curved) == 4
    for network in (straight, linear):
        assert right_answers(name, network) <= 3 if name == "xor" else right_answers(name, network) == 4
