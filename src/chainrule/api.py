"""One call per verb, over a run folder; the same words as the command line.

Example:
    >>> import chainrule
    >>> run = chainrule.fit("iris", out="runs/iris-example")  # doctest: +SKIP
    >>> run.metrics["test"]["accuracy"]  # doctest: +SKIP
    0.956
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from chainrule.data.config import checked_horizon
from chainrule.data.known import datasets as known_datasets
from chainrule.data.schema import describe_target
from chainrule.data.sources import dataset, is_named
from chainrule.errors import InputError, Stopped
from chainrule.fitting import (
    Training,
    check_folds,
    cross_validate,
    fresh_session,
    resume_training,
    start_training,
    train_clean,
)
from chainrule.models.catalog import CATALOG, published_sizes
from chainrule.prepare import Prepared, prepare
from chainrule.recipe import (
    construct,
    data_config,
    data_sizes,
    find_entry,
    part_of,
    read_settings,
)
from chainrule.scoring import baseline_line, fit_baselines
from chainrule.tasks.table import plain_task
from chainrule.train.report import Report
from chainrule.train.run import stoppable
from chainrule.trained import TrainedRun as TrainedRun

if TYPE_CHECKING:
    from chainrule.models.describe import Description
    from chainrule.trace.tree import Iteration

TRACED_ROWS = 4  # rows of the batch that trace opens
UNTRACED = {  # tasks whose networks are opened by no trace, and why
    **dict.fromkeys(("language", "translate"), "answers for every token"), "reconstruct": "builds its input again",
    **dict.fromkeys(("embed", "verify"), "gives a place among all others"),
}  # fmt: skip
Watch = Callable[[Report], None]  # called with each report; a plain function around the loop, not inside it
Tell = Callable[[str], None]  # called with lines for a person


def fit(
    source: Any, source2: Any = None, *, target: str | int | None = None, task: str | None = None,
    model: str | nn.Module | None = None, horizon: int | None = None,
    epochs: int | None = None, batch_size: int | None = None, lr: float | None = None, seed: int | None = None,
    valid: Any = None, test: Any = None, group: str | None = None, folds: int | None = None,
    weights: str | Path | None = None, time_limit: float | str | None = None, device: str | None = None,
    precision: str | None = None, out: str | Path | None = None, recipe: str | Path | None = None,
    set: Mapping[str, Any] | None = None, watch: Watch | None = None, tell: Tell | None = None,
) -> TrainedRun:  # fmt: skip
    """Train a network on ``source`` (path, known name, DataFrame, ``(X, y)`` or arrays) and judge it honestly.

    ``source2`` is the file of translations beside a file of sentences, line by line. ``horizon`` is how many steps of a
    series are forecast. ``set`` takes any setting by its dotted name. ``time_limit`` is in seconds or like "10m".
    ``watch`` is called with each report, ``tell`` with lines for a person. With ``valid`` or ``test`` in memory, resume
    takes the data as ``{"train": ..., "valid": ..., "test": ...}``.

    Raises:
        InputError: the data or a setting is not usable.
        NonFiniteError: training met numbers that are not finite; the last good weights are kept in the run.
        Stopped: a signal asked to stop; everything is saved.
    """
    if not isinstance(model, str | nn.Module | None):
        raise InputError(
            f"model is {model!r}; give a name (chainrule.models() lists them) or an nn.Module that is built"
        )
    source = source if source2 is None else [source, source2]
    if not all(part is None or is_named(part) for part in (valid, test)):
        parts = {"train": source, "valid": valid, "test": test}
        source = {name: part for name, part in parts.items() if part is not None}
        valid = test = None
    flags = {
        "data.target": target, "data.task": task, "data.valid": valid, "data.test": test, "data.group": group,
        "data.horizon": checked_horizon(horizon),
        "train.epochs": epochs, "train.batch_size": batch_size, "optimizer.learning_rate": lr, "train.seed": seed,
        "train.time_limit": None if time_limit is None else seconds(time_limit), "train.device": device,
        "train.precision": precision,
    }  # fmt: skip
    settings = read_settings(recipe) if recipe else {}
    if epochs is not None:
        settings.pop("train.steps", None)  # a run's recipe holds both; what was typed decides
    settings |= given(flags)
    settings |= dict(set or {})
    say = tell or _quiet
    untrained = copy.deepcopy(model)
    if folds is not None:
        check_folds(source, settings, folds)
    training = start_training(source, settings, model, None if out is None else Path(out), weights)
    for line in training.lines():
        say(line)
    run = _train(training, watch, say, model)
    if training.prepared.config.polluted:
        train_clean(training, source, settings, untrained, say, weights)
    if folds is not None:
        cross_validate(source, settings, untrained, folds, run.path, say, weights)
    return run


@dataclasses.dataclass(frozen=True)
class Looked:
    """What ``look`` found."""

    prepared: Prepared
    baselines: list[dict[str, Any]]

    def lines(self) -> list[str]:
        """In a few lines for a person; notes of the audit are told as well."""
        seen = self.prepared
        target = f"target      {describe_target(seen.schema.target)}"
        metric, _ = plain_task(seen.schema.target).headline
        head = [seen.recognised_line(), target, *seen.decided_lines(), seen.divided_line()]
        return [*head, *seen.findings_lines(), baseline_line(self.baselines, metric)]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**self.prepared.summary(), "baselines": self.baselines}


def look(
    source: Any, source2: Any = None, *, target: str | int | None = None, task: str | None = None,
    horizon: int | None = None, set: Mapping[str, Any] | None = None,
) -> Looked:  # fmt: skip
    """What a source is, what is wrong with it, how it would be divided and what a baseline scores; trains nothing."""
    source = source if source2 is None else [source, source2]
    flags = {"data.target": target, "data.task": task, "data.horizon": checked_horizon(horizon)}
    settings = given(flags) | dict(set or {})
    unknown = [name for name in settings if not name.startswith("data.")]
    if unknown:
        raise InputError(f"look trains nothing, so {', '.join(unknown)} has no effect; only data.* can be set")
    seen = prepare(source, data_config(settings))
    samples = {name: seen.kind.encode(records, seen.schema) for name, records in seen.parts.items()}
    return Looked(seen, fit_baselines(seen.kind, seen.schema, plain_task(seen.schema.target), samples))


def resume(
    run: str | Path, data: Any = None, *, epochs: int | None = None, model: nn.Module | None = None,
    set: Mapping[str, Any] | None = None, watch: Watch | None = None, tell: Tell | None = None,
) -> TrainedRun:  # fmt: skip
    """Continue a run from its newest whole checkpoint, as if it had never stopped.

    Raises:
        InputError: the data changed, a setting may not change, or every checkpoint is damaged.
    """
    settings = dict(set or {}) | given({"train.epochs": epochs})
    say = tell or _quiet
    training = resume_training(Path(run), data, settings, model)
    for line in training.notes:
        say(line)
    return _train(training, watch, say, model)


def trace(
    source: Any, *, target: str | int | None = None, model: str | None = None, lr: float = 0.01, symbols: bool = False,
    set: Mapping[str, Any] | None = None,
) -> Iteration:  # fmt: skip
    """Open one iteration of a run, or of a fresh network on ``source``: every number, checked against autograd.

    A fresh network is a small MLP unless ``model`` says otherwise; the update is plain SGD unless optimizer.name does.

    Raises:
        InputError: the data or a setting is not usable.
    """
    from chainrule.trace.iteration import open_iteration

    settings = dict(set or {})
    if isinstance(source, str | Path) and (Path(source) / "recipe.json").is_file():
        if settings or target is not None or model:
            raise InputError("a run's network is traced as it is; leave out --target, --model and --set")
        opened = TrainedRun(source)
        session, prepared = opened.session, opened.prepared()
    else:
        settings |= given({"data.target": target})
        small = {} if model or "model.name" in settings else {"model.hidden": 4}
        session, prepared = fresh_session(source, small | settings, model)
    if session.task.name in UNTRACED:
        raise InputError(
            f"trace opens networks with one answer for each row; this one, of the task {session.task.name}, "
            f"{UNTRACED[session.task.name]}"
        )
    samples = session.encode(prepared.parts["train"])
    batch = samples.batch(torch.arange(min(len(samples), TRACED_ROWS)))
    assert batch.targets is not None
    return open_iteration(
        session.module, batch.inputs, session.task.learned_targets(batch.targets),
        loss=settings.get("task.loss", ""), optimizer=settings.get("optimizer.name", "sgd"), learning_rate=lr,
        input_names=session.kind.input_names(session.schema, session.takes), target_names=session.task.outputs(),
        symbols=symbols,
    )  # fmt: skip


def load(run: str | Path, model: nn.Module | None = None) -> TrainedRun:
    """A run folder, ready to predict; a run of your own module needs ``model``, the same module with any weights."""
    return TrainedRun(run, model)


def load_model(folder: str | Path) -> nn.Module:
    """The plain network of a run, in evaluation mode; its output is logits.

    Its input is what the run's front gives (normalised, encoded); ``load(folder).session.module`` has both.
    """
    network: nn.Module = TrainedRun(folder).session.module.network
    return network.eval()


def create_model(name: str, *, weights: str | Path = "", **sizes: Any) -> nn.Module:
    """A network from the catalog with random weights, or with a reference implementation's from ``weights``.

    With other classes than the file has the last layer stays random; with one input channel a first layer of three is
    summed over them.

    Raises:
        InputError: an unknown name, a size that does not fit, or weights that do not.
    """
    entry = find_entry(name)
    known = {field.name for field in dataclasses.fields(entry.config)}
    unknown = [size for size in sizes if size not in known]
    if unknown:
        raise InputError(f"{name} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    required = [size for size in data_sizes(entry) if size not in sizes]
    if required:
        raise InputError(f"{name} needs {', '.join(required)}")
    network = entry.build(construct(entry.config, {**entry.settings, **sizes}, "model"))
    if weights:
        from chainrule.models.weights import load_weights

        load_weights(network, Path(weights), entry.rename)
    return network


def models(name: str | None = None, set: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The catalog, one entry a row; or one entry with its layers, parameters and work, at the sizes in ``set``.

    Raises:
        InputError: there is no such model (the nearest is named), or a size does not fit.
    """
    if name is not None:
        return [describe(name, set).as_dict()]
    if set:
        raise InputError(f"{', '.join(set)} needs the name of a model: chainrule models NAME --set model.dims=3")
    return [
        {"name": name, "data": ", ".join(entry.kinds), "tasks": ", ".join(entry.tasks), "paper": entry.paper,
         "verified against": entry.reference}
        for name, entry in CATALOG.items()
    ]  # fmt: skip


def describe(name: str, set: Mapping[str, Any] | None = None) -> Description:
    """What a network is: paper, reference, layers with their shapes, parameters, multiply-adds, and its drawing.

    The sizes are the paper's where ``set`` (``{"model.image_size": (128, 128)}``) says nothing else.

    Raises:
        InputError: there is no such model, or a size does not fit.

    Example:
        >>> seen = describe("resnet50")
        >>> f"{seen.parameters:,}", seen.layers[-1].shape
        ('25,557,032', (1000,))
    """
    from chainrule.models.describe import describe as described

    settings = dict(set or {})
    others = [setting for setting in settings if not setting.startswith("model.")]
    if others:
        raise InputError(f"{', '.join(others)} changes no network; only model.* can be set here")
    entry, sizes = find_entry(name), part_of(settings, "model")
    dims = str(sizes.get("dims", 2))
    usual = published_sizes(entry, int(dims) if dims in ("1", "3") else 2)
    config = construct(entry.config, usual | sizes, "model")
    return described(name, entry, config, construct(entry.config, usual, "model"))


def datasets(name: str | None = None) -> list[dict[str, Any]]:
    """The data sets known by name, or one of them.

    Raises:
        InputError: there is no such set; names the nearest.
    """
    chosen = known_datasets() if name is None else [dataset(name)]
    return [{"name": known.name, "what": known.what, "home": known.home} for known in chosen]


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that somebody gave; those of data as text, which paths and column numbers become."""
    known = {name: value for name, value in flags.items() if value is not None}
    return {name: str(value) if name.startswith("data.") else value for name, value in known.items()}


def seconds(text: float | str) -> float:
    """A duration in seconds: a number, or text like 90s, 10m, 1.5h.

    Raises:
        InputError: it is none of these.

    Example:
        >>> seconds("10m")
        600.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", str(text))
    if not match:
        raise InputError(f"time limit {text!r} is not a duration; write 90s, 10m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _train(training: Training, watch: Watch | None, say: Tell, model: str | nn.Module | None) -> TrainedRun:
    """The for-loop around the loop: show, then score; a signal stops it with everything saved."""
    run = training.run
    with closing(run):
        report = None
        with stoppable(run):
            for report in training:
                if watch is not None:
                    watch(report)
        for note in run.notes:
            say(note)
        if run.stop_signal:
            raise Stopped(f"stopped and saved; continue with: chainrule resume {run.path}", run.stop_signal)
        if report is None:
            say(f"finished    already, at step {run.counters['step']:,}; train on with --epochs")
        planned, patience = training.recipe.train.steps, training.recipe.train.patience
        if run.counters["step"] < planned:
            why = "the time limit is reached" if run.out_of_time else f"no better value in {patience} evaluations"
            say(f"stopped     after {run.counters['step']:,} of {planned:,} steps: {why}")
        training.finish()
    return TrainedRun(run.path, model if isinstance(model, nn.Module) else None)


def _quiet(line: str) -> None:
    """Say nothing."""
