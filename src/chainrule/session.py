"""One network with its data's front and its task, in the arithmetic that the recipe records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chainrule.data.kind import DataKind
from chainrule.data.labels import encode_targets
from chainrule.data.order import seed_of
from chainrule.data.samples import Batch, ClassedSamples, Records, Samples, TensorSamples, joined
from chainrule.data.schema import ClassTarget, EmbeddingTarget, InputTarget, SentenceTarget, Target, TokensTarget
from chainrule.data.series.window_samples import WindowSamples
from chainrule.data.versions import version_settings
from chainrule.errors import InputError
from chainrule.models.catalog import Entry, serving, variant
from chainrule.models.weights import Weights, load_weights
from chainrule.nn.fronted import Fronted
from chainrule.recipe import CUSTOM, Recipe, Settings, build_recipe, construct, find_entry, part_of
from chainrule.tasks.costs import costs_of
from chainrule.tasks.embed import Embed, EmbedConfig
from chainrule.tasks.moments import Moments, MomentSums
from chainrule.tasks.segment import Segment
from chainrule.tasks.table import find_task, task_of
from chainrule.tasks.task import Embeds, Rows, Task
from chainrule.tasks.verify import comparing_within
from chainrule.tasks.whole import Answer
from chainrule.train.arithmetic import Arithmetic, find_device
from chainrule.train.config import TrainConfig
from chainrule.train.loop import Augment
from chainrule.train.measure import measure, portions

DIMS = {"signal": 1, "image": 2, "clip": 3}  # axes that a window of the network moves over
SETTLED = (
    "threshold",
    "moment_threshold",
    "usual",
    "code_mean",
    "code_precision",
    "stretch",
    "false_alarms",
    "false_accept",
    "false_reject",
    "people",
    "photos",
)  # fields of targets that are settled when training is over, by the valid split; what is usual by the train split
ALTERED = 0xA17  # stream of the fixed versions that rows are compared with
BLENDS = ("augment.mixup", "augment.cutmix")
LARGE_BATCH = 256  # rows of which each is told from all others
PREDICT_ROWS = 1024  # rows that go through the network at once outside training


class Session:
    """A built network and everything needed to run it on records."""

    def __init__(self, kind: DataKind, schema: Any, recipe: Recipe, network: nn.Module | None = None) -> None:
        self.kind = kind
        self.schema = schema
        self.recipe = recipe
        config = recipe.train
        self.task = self._task(schema.target)
        torch.manual_seed(config.seed)
        self.takes = kind.GIVES[0]  # the form of input that the front gives the network
        if network is None:
            entry = find_entry(recipe.model_name)
            self.takes = form_of(kind, entry, getattr(recipe.model, "dims", None))
            network = entry.build(recipe.model)
        front = kind.front(schema, self.takes)
        pieces = kind.pieces(schema, self.takes) > 1
        self.module = Fronted(front, self.task.wrap(network, schema), pieces=pieces)
        self.settle(config)

    def settle(self, config: TrainConfig) -> None:
        """Take over resolved training settings: threads, precision, memory format, compilation."""
        self.recipe = dataclasses.replace(self.recipe, train=config)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.arithmetic = Arithmetic(find_device(config.device), config.precision, config.channels_last)
        self.arithmetic.place(self.module)
        if config.compile == "on":
            self.module.compile()

    def answer_by(self, **settled: Any) -> None:
        """Answer by what was chosen on the validation split, such as a threshold; the schema remembers it."""
        target = dataclasses.replace(self.schema.target, **settled)
        self.schema = dataclasses.replace(self.schema, target=target)
        self.task = self._task(target)

    def _task(self, target: Target | None) -> Task:
        """The recipe's task, which may need to see rows of this kind of data in another version."""
        task = build_task(self.recipe, target)
        if isinstance(task, Embed):
            task.altered = self.altered
        return task

    def altered(self, batch: Batch) -> Batch:
        """The rows as augmentation changes them, drawn from the first of them alone; in float32 whatever runs."""
        device = self.arithmetic.device
        generator = torch.Generator(device).manual_seed(seed_of(self.recipe.train.seed, ALTERED, int(batch.ids[0])))
        with torch.autocast(device.type, enabled=False):
            return self.kind.augment(batch, generator, self.recipe.augment)

    def unsettle(self) -> None:
        """Forget what was chosen on the validation split, as when the run began."""
        fields = dataclasses.fields(self.schema.target)
        self.answer_by(**{field.name: field.default for field in fields if field.name in SETTLED})

    def augment(self) -> Augment | None:
        """The kind's augmentation with the recipe's settings; None where it changes nothing.

        Where a row is learned to be like itself, the batch comes in two versions: all rows, then all again.

        Raises:
            InputError: rows are to be blended that are compared with each other.
        """
        config = self.recipe.augment
        if config is None:
            return None

        def once(batch: Batch, generator: torch.Generator) -> Batch:
            return self.kind.augment(batch, generator, config)

        comparing = comparing_within(self.task)
        if comparing is None:
            return once
        blended = [name for name in BLENDS if getattr(config, name.partition(".")[2], 0.0)]
        if blended:
            raise InputError(
                f"{' and '.join(blended)} would blend rows that {comparing.loss_name} compares with each other; leave "
                "it out, or take task.loss=arcface"
            )
        if not comparing.by_versions:
            return once
        return lambda batch, generator: joined(once(batch, generator), once(batch, generator))

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put weights in, by name.

        Raises:
            InputError: names or shapes differ from what the recipe builds.
        """
        try:
            self.module.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(f"model.safetensors does not fit the run's recipe: {error}") from error

    def load_foreign(self, file: str | Path | Weights) -> str:
        """Start from a reference implementation's weights; gives in one line what was taken.

        Raises:
            InputError: the file is no state dict of this architecture; every difference is named.
        """
        name = self.recipe.model_name
        return load_weights(self.module.network, file, None if name == CUSTOM else find_entry(name).rename).text

    def check_outputs(self, samples: Samples) -> None:
        """Call a person's own module on two rows, before anything is written.

        Raises:
            InputError: it fails on such a batch, gives outputs of another shape, or has nothing to train.
        """
        target = self.schema.target
        widths = {len(self.task.outputs())}
        if isinstance(target, InputTarget):  # what rows pay is looked at, not what is built
            widths = {1 + len(costs_of(self.module).network.penalties)}
        widths |= {1} if isinstance(target, ClassTarget) and len(target.classes) == 2 else set()
        rows = torch.arange(min(2, len(samples)))
        batch = self.arithmetic.place_batch(samples.batch(rows, torch.Generator().manual_seed(0)))
        size = () if batch.targets is None else batch.targets.shape[1:]  # of a row's answers: a map, or nothing
        self.module.eval()
        with torch.no_grad():
            inputs = self.module.front(*batch.inputs)
            came = " and ".join(str(tuple(x.shape)) for x in inputs)
            try:
                outputs = self.module.network(*inputs)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise InputError(f"your module fails on a batch of shape {came}: {error}") from error
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        last = isinstance(target, TokensTarget | SentenceTarget)  # logits of a token stand behind its place
        known = [(len(batch), *size, k) if last else (len(batch), k, *size) for k in sorted(widths, reverse=True)]
        if shape not in known:
            wanted = " or ".join(map(str, known))
            raise InputError(
                f"your module gives {shape} for a batch of shape {came}, expected logits of shape {wanted}"
            )
        if not any(parameter.requires_grad for parameter in self.module.parameters()):
            raise InputError("your module has no weights to train")

    def encode(self, records: Records) -> Samples:
        """Records as tensors on the session's device."""
        samples = self.kind.encode(records, self.schema)
        return samples.to(self.arithmetic.device) if isinstance(samples, TensorSamples) else samples

    def encode_parts(self, parts: Mapping[str, Records]) -> dict[str, Samples]:
        """Every split as tensors.

        Raises:
            InputError: a split does not fit the schema; names the split.
        """
        samples = {}
        for part, records in parts.items():
            try:
                samples[part] = self.encode(records)
                if part == "train":
                    samples[part] = self._arranged(samples[part], records)
            except InputError as error:
                raise InputError(f"{part}: {error}") from error
        return samples

    def _arranged(self, samples: Samples, records: Records) -> Samples:
        """Rows that are compared within a batch come several of a class at once."""
        comparing = comparing_within(self.task)
        if comparing is None or comparing.by_versions:
            return samples
        classes = encode_targets(records.labels, self.schema.target)
        assert classes is not None
        return ClassedSamples(samples, classes)

    def measure(self, samples: Samples, views: int = 1) -> Rows:
        """The task's measured rows for the final scores; of pixels, by the mean of so many mirrored views."""
        look = partial(self.task.examine, views=views)
        return measure(look, self.module, samples, PREDICT_ROWS, self.arithmetic)

    def answers(self, samples: Samples, views: int = 1) -> Iterator[Answer]:
        """The classes of the pixels of each image, on the CPU, one image after the other."""
        assert isinstance(self.task, Segment)
        self.module.eval()
        for rows in portions(samples, PREDICT_ROWS):
            with torch.inference_mode(), self.arithmetic.autocast():
                batch = self.arithmetic.place_batch(samples.batch(rows))
                found = list(self.task.answers(self.module, batch, views))
            yield from (Answer(answer.classes.cpu(), answer.shares.cpu()) for answer in found)

    def moments(self, samples: WindowSamples) -> Moments:
        """How strange each moment of a series is, and what was expected: the means over the windows that hold it."""
        target = self.schema.target
        found = MomentSums(len(samples.records.panel), target.usual or (1.0,) * len(target.names))
        self.module.eval()
        with torch.inference_mode(), self.arithmetic.autocast():
            for rows in portions(samples, PREDICT_ROWS):
                batch = self.arithmetic.place_batch(samples.batch(rows))
                found.add(self.module, batch, samples.begins[rows])
        return found.means()

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """(N, D) the place of each row among all others.

        Raises:
            InputError: the task gives rows no places.
        """
        task = self.task
        if not isinstance(task, Embeds):
            raise InputError(
                f"this run learned to {task.name}, which gives no embeddings; train with --task embed, verify or "
                "reconstruct"
            )

        def look(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
            return {"places": task.embed(network, batch).float()}

        rows = measure(look, self.module, samples, PREDICT_ROWS, self.arithmetic)
        return np.asarray(rows["places"], dtype=np.float32)

    def predict(self, samples: Samples) -> dict[str, list[Any]]:
        """The task's answers, one list entry per record and column."""
        self.module.eval()
        columns: dict[str, list[Any]] = {}
        with torch.inference_mode(), self.arithmetic.autocast():
            for rows in portions(samples, PREDICT_ROWS):
                batch = samples.batch(rows)
                for name, values in self.task.predict(self.module, self.arithmetic.place_batch(batch)).items():
                    columns.setdefault(name, []).extend(values)
        return columns


def build_task(recipe: Recipe, target: Target | None) -> Task:
    """The task that the recipe names, for the schema's target.

    Raises:
        InputError: the target is of the other sort.
    """
    if target is not None and task_of(target) == recipe.task_name:
        task: Task = find_task(recipe.task_name).build(recipe.task, target)
        return task
    found = "nothing" if target is None else f"{target.name!r} ({target.kind})"
    raise InputError(f"task {recipe.task_name} does not fit the target {found}; leave --task out to have it chosen")


def outputs_of(target: Target, entry: Entry, settings: Settings) -> int:
    """Output columns of the network: one for each output of the task, and what the entry says for two classes."""
    two = isinstance(target, ClassTarget) and len(target.classes) == 2
    task = find_task(task_of(target))
    config = construct(task.config, part_of(settings, "task"), "task")
    return entry.binary_logits if two else len(task.build(config, target).outputs())


def form_of(kind: DataKind, entry: Entry, dims: Any) -> str:
    """The form of input that a network of this entry gets from this kind of data: by ``dims``, or the kind's usual one.

    Raises:
        InputError: the kind cannot give what model.dims asks for.
    """
    forms = [form for form in kind.GIVES if form in entry.takes]
    if dims is None or not set(forms) & set(DIMS):
        return forms[0]
    known = {str(DIMS[form]): form for form in forms}
    if str(dims) not in known:
        raise InputError(f"model.dims is {dims}; this model sees {kind.NAME} data with model.dims={' or '.join(known)}")
    return known[str(dims)]


def resolve_recipe(kind: DataKind, schema: Any, model: str, rows: int, settings: Settings) -> Recipe:
    """The recipe of a new run: the entry's own training settings for this many rows, then what the user set.

    Raises:
        InputError: an unknown setting, a size that only the data may decide, or a model that does not serve this data.
    """
    task = task_of(schema.target)
    model = variant(model, kind.NAME, task)
    fixed = {"model.name": model, "task.name": task}
    if model == CUSTOM:
        return build_recipe({**settings, **fixed})
    entry = find_entry(model)
    if kind.NAME not in entry.kinds or task not in entry.tasks:
        fitting = serving(kind.NAME, task)
        raise InputError(f"model {model!r} does not serve {task} on {kind.NAME} data; these do: {', '.join(fitting)}")
    fields = {field.name for field in dataclasses.fields(entry.config)}
    usual_dims = kind.usual_settings(schema, kind.GIVES[0], rows).get("model.dims")
    takes = form_of(kind, entry, settings.get("model.dims", usual_dims))
    sizes = {
        "num_classes": outputs_of(schema.target, entry, settings),
        **kind.sizes(schema, takes),
        "dims": DIMS.get(takes),
    }
    columns = sizes.get("num_numbers", 0) + len(sizes.get("cardinalities", ()))
    sizes = {f"model.{name}": value for name, value in sizes.items() if name in fields}
    for name in settings:
        if name in sizes and name != "model.dims":
            raise InputError(f"{name} comes from the data ({sizes[name]}) and cannot be set")
    own = {f"model.{name}": value for name, value in entry.settings.items()}
    training = {**entry.training(rows, columns), **kind.usual_settings(schema, takes, rows)}
    training |= _likeness_settings(kind, schema, settings, rows, training)
    return build_recipe({**training, **own, **sizes, **settings, **fixed})


def _likeness_settings(kind: DataKind, schema: Any, settings: Settings, rows: int, training: Settings) -> Settings:
    """What learning by comparison asks for: no blends; without labels strong augmentation, large batches, long runs."""
    if not isinstance(schema.target, EmbeddingTarget):
        return {}
    task = find_task("embed").build(construct(EmbedConfig, part_of(settings, "task"), "task"), schema.target)
    known = {f"augment.{field.name}" for field in dataclasses.fields(kind.AUGMENT)} if kind.AUGMENT else set()
    blends = {name: 0.0 for name in BLENDS if name in known and task.unit == "batch"}
    if not task.by_versions:
        return blends
    size = max(int(training["train.batch_size"]), LARGE_BATCH if rows >= 4 * LARGE_BATCH else 0)
    return {**blends, **version_settings(kind.NAME, schema), "train.batch_size": size}
