"""What a run is made from: frozen parts that live beside their components, written whole into recipe.json."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.data.config import DataConfig
from chainrule.errors import InputError, nearest
from chainrule.models.catalog import CATALOG, Entry
from chainrule.recognise import find_kind
from chainrule.tasks.table import find_task
from chainrule.train.config import TrainConfig
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig

FORMAT = 1
FIXED: dict[str, type] = {
    "data": DataConfig, "optimizer": OptimizerConfig, "schedule": ScheduleConfig, "train": TrainConfig,
}  # fmt: skip
CUSTOM = "custom"  # the model name of a user's own nn.Module

Settings = dict[str, Any]  # dotted names, "train.epochs": 10

RECIPES: dict[str, Settings] = {
    "speed": {  # CIFAR-10 to 94 % in 24 epochs, seconds on a GPU; D. Page 2018, github.com/davidcpage/cifar10-fast
        "model.name": "resnet9", "model.widths": (64, 128, 256, 512),
        "optimizer.name": "momentum", "optimizer.learning_rate": 0.4, "optimizer.weight_decay": 5e-4,
        "schedule.name": "linear", "schedule.warmup": 0.2,
        "train.batch_size": 512, "train.epochs": 24,
        "train.precision": "bfloat16", "train.channels_last": "on", "train.compile": "on",
        "augment.flip": "yes", "augment.shift": 0.125, "augment.erase": 0.25,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a run, resolved."""

    model_name: str
    model: Any  # the catalog entry's config; None for a user's own module
    task_name: str
    task: Any
    data: DataConfig
    augment: Any  # the data kind's config; None for kinds that are not augmented
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    train: TrainConfig

    def to_json(self) -> dict[str, Any]:
        """Plain values; the model's and task's names stand with their settings."""
        return {
            "format": FORMAT,
            "model": {"name": self.model_name, **_plain(self.model)},
            "task": {"name": self.task_name, **_plain(self.task)},
            "augment": _plain(self.augment),
            **{part: _plain(getattr(self, part)) for part in FIXED},
        }

    def settings(self) -> Settings:
        """Every setting by its dotted name."""
        return settings_of(self.to_json())


def load_recipe(saved: Mapping[str, Any]) -> Recipe:
    """The recipe of a run folder.

    Raises:
        InputError: it comes from a newer version, or holds names this version does not know.
    """
    version = saved.get("format")
    if version != FORMAT:
        raise InputError(f"the recipe has format {version}, this version of chainrule reads {FORMAT}; update chainrule")
    try:
        settings = settings_of(saved)
    except AttributeError as error:
        raise InputError("recipe.json is broken: expected {part: {name: value}}; restore it from the run") from error
    absent = [name for name in ("data.kind", "model.name", "task.name") if name not in settings]
    if absent:
        raise InputError(f"recipe.json is broken: {', '.join(absent)} is missing; restore it from the run")
    return build_recipe(settings)


def build_recipe(settings: Settings) -> Recipe:
    """A recipe from settings that name at least data.kind, model.name and task.name; the rest keeps its defaults.

    Raises:
        InputError: an unknown name (the nearest is named) or a value that does not fit.
    """
    values = dict(settings)
    model_name, task_name = values.pop("model.name"), values.pop("task.name")
    parts: dict[str, type] = {**FIXED, "task": find_task(task_name).config}
    parts |= {} if model_name == CUSTOM else {"model": find_entry(model_name).config}
    augment = find_kind(values["data.kind"]).AUGMENT
    parts |= {} if augment is None else {"augment": augment}
    known = [f"{part}.{field.name}" for part, cls in parts.items() for field in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            where = f"model {model_name}, task {task_name}, {values['data.kind']} data"
            raise InputError(f"unknown setting {name!r} ({where}); {nearest(name, known)}")
    built = {part: construct(cls, part_of(values, part), part) for part, cls in parts.items()}
    built = {"model": None, "augment": None} | built
    return Recipe(model_name=model_name, task_name=task_name, **built)


def data_config(settings: Settings) -> DataConfig:
    """The data room's settings.

    Raises:
        InputError: an unknown name or task, or a value that does not fit.
    """
    config: DataConfig = construct(DataConfig, part_of(settings, "data"), "data")
    if config.task:
        find_task(config.task)
    return config


def part_of(settings: Settings, part: str) -> Settings:
    """The settings of one part, by field name."""
    return {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{part}.")}


def settings_of(saved: Mapping[str, Any]) -> Settings:
    """Dotted settings from ``{part: {name: value}}``."""
    parts = {part: values for part, values in saved.items() if part != "format"}
    return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def construct(cls: type, values: Settings, part: str) -> Any:
    """One config from plain values; text, numbers and lists are brought to the fields' types.

    Raises:
        InputError: a value does not fit its field; names the setting, the value and the type.
    """
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            known = [f"{part}.{field}" for field in hints]
            raise InputError(f"unknown setting '{part}.{name}'; {nearest(f'{part}.{name}', known)}")
    return cls(**{name: _coerce(hints[name], value, f"{part}.{name}") for name, value in values.items()})


def _coerce(kind: Any, value: Any, name: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    if typing.get_origin(kind) is tuple:
        value = _listed(value)
    if typing.get_origin(kind) is typing.Literal:  # the 2 of model.dims=2 comes as text
        value = next((option for option in typing.get_args(kind) if str(option) == value), value)
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        wanted = getattr(kind, "__name__", None) if typing.get_origin(kind) is None else str(kind)
        reason = error.errors()[0]["msg"]
        raise InputError(f"{name} is {value!r}, expected {wanted}: {reason}") from error


def _listed(value: Any) -> Any:
    """64, "64,32" and "[64, 32]" as lists."""
    if isinstance(value, str):
        text = value.strip().strip("()[]").rstrip(",")
        return [part.strip() for part in text.split(",")] if text else []
    return [value] if isinstance(value, int | float) else value


def parse_setting(text: str) -> tuple[str, str]:
    """``train.epochs=3`` as name and value.

    Raises:
        InputError: there is no "=" or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise InputError(f"--set {text!r} is not of the form part.name=value, for example --set train.epochs=3")
    return name.strip(), value.strip()


def read_settings(source: str | Path) -> Settings:
    """Settings of a named recipe, or from a JSON file: a whole recipe.json or some of its parts, without data's sizes.

    Raises:
        InputError: neither a known name nor a readable file.
    """
    path = Path(source)
    if str(source) in RECIPES and not path.exists():
        return dict(RECIPES[str(source)])
    if not path.is_file():
        raise InputError(f"--recipe {str(source)!r} is no file; {nearest(str(source), tuple(RECIPES))}")
    try:
        settings = settings_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"--recipe {path} is not readable JSON of {{part: {{name: value}}}}: {error}") from error
    entry = CATALOG.get(settings.get("model.name", ""))
    sizes = [f"model.{name}" for name in data_sizes(entry)] if entry else []
    return {name: value for name, value in settings.items() if name not in sizes}


def data_sizes(entry: Entry) -> list[str]:
    """The settings of an architecture that only the data decides: the required ones that its size leaves open."""
    return [
        field.name for field in dataclasses.fields(entry.config)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        and field.name not in entry.settings
    ]  # fmt: skip


def _plain(config: Any) -> Settings:
    return {} if config is None else dataclasses.asdict(config)


def find_entry(name: str) -> Entry:
    """The catalog's entry.

    Raises:
        InputError: there is no such model; names the nearest.
    """
    if name not in CATALOG:
        raise InputError(f"unknown model {name!r}; {nearest(name, tuple(CATALOG))}")
    return CATALOG[name]
