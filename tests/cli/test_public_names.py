"""What people type and import is frozen: these lists only grow."""

from __future__ import annotations

import dataclasses

import typer

import chainrule
from chainrule.cli import app
from chainrule.models.catalog import CATALOG
from chainrule.recipe import FIXED

VERBS = {
    "fit": "source source2 target task model horizon epochs batch_size lr seed valid test group folds weights "
    "time_limit device precision out recipe settings as_json debug",
    "look": "source source2 horizon target task settings as_json debug",
    "resume": "run epochs accept_data_change settings as_json debug",
    "evaluate": "run source source2 views as_json debug",
    "predict": "run inputs horizon out as_json debug",
    "explain": "run source as_json debug",
    "trace": "source target model lr symbols out settings as_json debug",
    "generate": "run prompt number length temperature top_k top_p repetition stop of seed out as_json debug",
    "search": "run one k out as_json debug",
    "feed": "run more liked k out as_json debug",
    "index": "run sources as_json debug",
    "verify": "run first second as_json debug",
    "enrol": "run name photos forget as_json debug",
    "identify": "run photo as_json debug",
    "models": "name out settings as_json debug",
    "datasets": "name as_json debug",
}
NAMES = (
    "InputError NonFiniteError TrainedRun create_model datasets describe fit load load_model look models resume trace"
)
EVERYDAY = (
    "data.split_seed optimizer.name optimizer.learning_rate optimizer.weight_decay schedule.name schedule.warmup "
    "train.epochs train.steps train.batch_size train.micro_batch train.seed train.precision train.compile "
    "train.save_every train.eval_every train.patience train.average"
)
MODELS = (
    "perceptron mlp tabm resnet9 resnet20 resnet32 resnet44 resnet56 resnet110 resnet18 resnet34 resnet50 resnet101 "
    "resnet152 alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn mobilenet_v1 mobilenet_v2 "
    "mobilenet_v3_small mobilenet_v3_large"
)


def test_verbs_and_their_options_stay() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb, options in VERBS.items():
        assert set(options.split()) <= {parameter.name for parameter in commands[verb].params}, verb


def test_public_names_stay() -> None:
    assert set(NAMES.split()) <= set(chainrule.__all__)
    for name in chainrule.__all__:
        assert getattr(chainrule, name) is not None


def test_everyday_settings_stay() -> None:
    known = {f"{part}.{field.name}" for part, config in FIXED.items() for field in dataclasses.fields(config)}
    assert set(EVERYDAY.split()) <= known


def test_models_stay() -> None:
    assert set(MODELS.split()) <= set(CATALOG)
