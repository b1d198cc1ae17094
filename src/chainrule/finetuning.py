"""Fine-tuning: what a file of weights asks of the data, the network and the learning rates.

A network that starts from weights has to see what these were trained on: pictures with as many channels, normalised by
the same numbers, large enough for its first layers. All of that becomes settings of the recipe, so that every other
verb repeats it; the user's own settings replace them.

Source: Howard, Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", arXiv:1801.06146,
    section 3.2, for rates that fall with the distance from the head (train/stages.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from chainrule.data.config import DataConfig
from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG, Entry, published_sizes
from chainrule.models.weights import Weights, fits, open_weights
from chainrule.nn.convolution import SMALL_CLIP_PX, SMALL_IMAGE_PX
from chainrule.nn.pixelwise import ENCODERS, RESNET_WIDTH, RESNETS
from chainrule.prepare import Prepared
from chainrule.recipe import CUSTOM, Settings, construct, data_config, data_sizes, find_entry, part_of, read_settings
from chainrule.recognise import default_model
from chainrule.session import DIMS, form_of
from chainrule.train.optimizer import OptimizerConfig

PICTURES = (
    "image",
    "video",
    "mask",
)  # kinds whose schema follows data.channels, data.mean, data.std and data.image_size
ENLARGED = {"image": (SMALL_IMAGE_PX, 128), "clip": (SMALL_CLIP_PX, 64)}  # sides up to the first become the second
SLOWER = 0.3  # of the rate that training from scratch starts with
LAYER_DECAY = 0.7  # of the rate, for each stage further from the head


@dataclass(frozen=True)
class FineTuning:
    """Weights to start from, with the data and the settings that suit them."""

    weights: Weights
    model: str
    prepared: Prepared
    settings: Settings  # the user's, and beneath them what the weights ask for
    notes: tuple[str, ...]  # each choice in a line


def fine_tuning(
    file: str | Path, model: str, prepared: Prepared, settings: Settings, read_again: Callable[[DataConfig], Prepared]
) -> FineTuning:
    """Start from ``file``: a reference's state dict, a run's model.safetensors, or the folder of that run.

    Where ``model`` is empty it is that of the run, or the published network that the tensors fit. A network for pixels
    may start from a classifier, which becomes its encoder. ``read_again`` gives the data as it is with other settings.

    Raises:
        InputError: the file is not readable, or holds the published weights of another model, or of another encoder.
    """
    path = Path(file) / "model.safetensors" if Path(file).is_dir() else Path(file)
    weights = open_weights(path)
    recipe = path.parent / "recipe.json"
    run = read_settings(recipe) if weights.front and recipe.is_file() else {}
    usual = model or default_model(prepared.kind, prepared.schema)
    part = as_encoder(weights, run, usual, settings)
    model, (asked, notes) = (usual, part) if part else as_whole(weights, run, model, prepared, settings)
    return FineTuning(
        weights, model, _seen_anew(prepared, asked, read_again), {**asked, **settings},
        tuple(f"weights     {note}" for note in notes),
    )  # fmt: skip


def as_whole(
    weights: Weights, run: Settings, model: str, prepared: Prepared, settings: Settings
) -> tuple[str, tuple[Settings, list[str]]]:
    """The model that the weights are of, what they ask for, and why.

    Raises:
        InputError: they are of another model than the one that was named.
    """
    model = model or run.get("model.name", "")
    if model != CUSTOM and not run:
        model = recognised_model(weights, model, settings)
    model = model or default_model(prepared.kind, prepared.schema)
    if run and run.get("model.name") != model:
        raise InputError(
            f"{weights.file.parent} is a run of {run.get('model.name')}, not of {model}; leave --model out"
        )
    asked, reasons = ({}, []) if model == CUSTOM else _asked(find_entry(model), weights, run, prepared, settings)
    asked = _without(asked, *settings)
    notes = [text for name, text in reasons if name in asked]
    rates = _without(slower_rates(model, len(prepared.parts["train"])), *settings)
    notes += [f"learned layers move less: {_shown(rates)}, for each stage further from the head"] if rates else []
    return model, ({**rates, **asked}, notes)


def as_encoder(weights: Weights, run: Settings, model: str, settings: Settings) -> tuple[Settings, list[str]] | None:
    """What a classifier's weights ask for as the encoder of ``model``, and why; None where they are none, or its own.

    The decoder starts fresh, so its rate stays that of training from scratch.

    Raises:
        InputError: model.encoder is another network.
    """
    if model == CUSTOM or not has_encoder(model):
        return None
    classifier = run.get("model.name", "") or recognised_model(weights, "", {})
    if not classifier or classifier == CUSTOM or has_encoder(classifier):
        return None
    if classifier not in ENCODERS:
        known = ", ".join(ENCODERS[1:])
        raise InputError(f"{weights.file} holds the weights of {classifier}; {model} takes those of its own or {known}")
    wanted = {"model.encoder": classifier}
    if classifier in RESNETS and run.get("model.width", RESNET_WIDTH) != RESNET_WIDTH:
        wanted["model.encoder_width"] = run["model.width"]
    if any(str(settings.get(name, "")) != str(value) for name, value in wanted.items()):
        words = " ".join(f"--set {name}={value}" for name, value in wanted.items())
        raise InputError(f"{weights.file} holds the weights of {classifier}, an encoder for {model}: add {words}")
    if run.get("model.stem") == "small":
        raise InputError(
            f"{weights.file} is of a run on small images, whose first layers no encoder has; train it again with "
            "--set model.stem=imagenet"
        )
    asked, note = published_levels(find_entry(classifier), weights) if not weights.front else run_levels(weights)
    if str(settings.get("data.channels", asked.get("data.channels"))) != str(asked.get("data.channels")):
        asked, note = {}, ""
    rates = _without({"optimizer.layer_decay": LAYER_DECAY}, *settings)
    notes = [note] if note else []
    notes += [f"learned layers move less: {_shown(rates)}, for each stage further from the head"] if rates else []
    return {**rates, **_without(asked, *settings)}, notes


def has_encoder(model: str) -> bool:
    """Whether a model of the catalog takes another one as its encoder."""
    return "encoder" in {field.name for field in fields(find_entry(model).config)}


def recognised_model(weights: Weights, model: str, settings: Settings) -> str:
    """The model that published weights are of, first the one that was named; the name where they are of none.

    Raises:
        InputError: they are of others only.
    """
    if model and published_config(find_entry(model), weights, part_of(settings, "model")) is not None:
        return model
    others = [name for name, entry in CATALOG.items() if published_config(entry, weights, {}) is not None]
    if model and others and model not in others:
        raise InputError(
            f"{weights.file} holds the weights of {others[0]}, not of {model}; say --model {others[0]}, or leave it out"
        )
    return model or (others or [""])[0]


def published_config(entry: Entry, weights: Weights, sizes: Settings) -> Any:
    """The config of the published network, with these sizes replaced, where the weights fit it; otherwise None."""
    dims = 3 if any(x.ndim == 5 for x in weights.tensors.values()) else 2
    if not entry.expects or (dims == 3 and "clip" not in entry.expects):
        return None
    config = construct(entry.config, {**published_sizes(entry, dims), **_without(sizes, "dims")}, "model")
    with torch.device("meta"):
        network = entry.build(config)
    return config if fits(network, weights, entry.rename) else None


def slower_rates(model: str, rows: int) -> Settings:
    """The learning rate of the head, and the factor on it for each stage further away."""
    usual = {} if model == CUSTOM else find_entry(model).training(rows, 1)
    rate = float(usual.get("optimizer.learning_rate", OptimizerConfig().learning_rate))
    return {"optimizer.learning_rate": float(f"{SLOWER * rate:.3g}"), "optimizer.layer_decay": LAYER_DECAY}


def _asked(
    entry: Entry, weights: Weights, run: Settings, prepared: Prepared, settings: Settings
) -> tuple[Settings, list[tuple[str, str]]]:
    """The settings of data and network that suit the weights, and why: (a setting, a line for a person)."""
    form = form_of(prepared.kind, entry, settings.get("model.dims"))
    pictures = prepared.kind.NAME in PICTURES and form in ("image", "clip")
    if run or weights.front:
        return _as_in_run(entry, weights, run, pictures)
    config = published_config(entry, weights, part_of(settings, "model"))
    if config is None:
        return {}, []
    dims = DIMS.get(form, 2)
    sizes = {**published_sizes(entry, dims), **_without(part_of(settings, "model"), "dims")}
    asked = {f"model.{name}": value for name, value in asdict(construct(entry.config, sizes, "model")).items()}
    asked = _without(asked, *(f"model.{name}" for name in ("dims", "image_size", *data_sizes(entry))))
    notes = [("model.stem", f"the first layers are the paper's: model.stem={asked.get('model.stem')}")]
    if not pictures:
        return asked, notes
    if str(settings.get("data.channels", 3)) == "3":
        levels, note = published_levels(entry, weights)
        asked |= levels
        notes.append(("data.mean", note))
    small_px, enlarged_px = ENLARGED[form]
    if max(prepared.schema.size_px) <= small_px and not {"model.stem", "model.pools"} & settings.keys():
        asked["data.image_size"] = enlarged_px
        height, width = prepared.schema.size_px
        notes.append(("data.image_size", f"{height} x {width} pixels are enlarged: data.image_size={enlarged_px}"))
    return asked, notes


def _as_in_run(entry: Entry, weights: Weights, run: Settings, pictures: bool) -> tuple[Settings, list[tuple[str, str]]]:
    """The network's own settings and how it saw pictures, from a run of ours."""
    asked = {name: value for name, value in run.items() if name.startswith("model.")}
    asked = _without(asked, "model.name", "model.dims", "model.image_size", *(f"model.{x}" for x in data_sizes(entry)))
    notes = []
    if pictures:
        levels, note = run_levels(weights)
        asked |= levels
        notes.append(("data.mean", note))
    size = run.get("model.image_size")
    if pictures and size:
        asked["data.image_size"] = max(size)
        notes.append(("data.image_size", f"as large as in that run: data.image_size={max(size)}"))
    return asked, notes


def published_levels(entry: Entry, weights: Weights) -> tuple[Settings, str]:
    """How the reference saw pictures, and a line that says so."""
    levels = entry.expects["clip" if any(x.ndim == 5 for x in weights.tensors.values()) else "image"]
    asked = {"data.channels": len(levels.mean), "data.mean": levels.mean, "data.std": levels.std}
    return asked, "pictures are shown as the reference saw them: " + _shown(asked)


def run_levels(weights: Weights) -> tuple[Settings, str]:
    """How a run of ours saw pictures, and a line that says so; nothing of a run on sound."""
    if not {"scale", "shift"} <= weights.front.keys():
        return {}, ""
    std = 1 / (255 * weights.front["scale"].double().flatten())
    mean = -weights.front["shift"].double().flatten() * std
    asked: Settings = {"data.channels": len(mean)}
    asked |= {f"data.{name}": tuple(round(x, 6) for x in y.tolist()) for name, y in (("mean", mean), ("std", std))}
    return asked, "pictures are shown as that run saw them: " + _shown(asked)


def _seen_anew(prepared: Prepared, asked: Settings, read_again: Callable[[DataConfig], Prepared]) -> Prepared:
    """The data with a schema that follows the settings asked for; read anew where files may be kept at another size."""
    changed = part_of(asked, "data")
    if not changed:
        return prepared
    config = data_config({f"data.{name}": value for name, value in {**asdict(prepared.config), **changed}.items()})
    if "image_size" in changed:
        return read_again(config)
    schema = prepared.kind.learn_schema(prepared.parts["train"], config)
    return replace(prepared, config=config, schema=schema)


def _shown(settings: Settings) -> str:
    def text(value: Any) -> str:
        return ",".join(f"{x:g}" for x in value) if isinstance(value, tuple) else f"{value:g}"

    return " ".join(f"{name}={text(value)}" for name, value in settings.items())


def _without(settings: Settings, *names: str) -> Settings:
    return {name: value for name, value in settings.items() if name not in names}
