"""A training from prepared data to a finished run folder: start or continue it, iterate it, finish it."""

from __future__ import annotations

import copy
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chainrule.data.config import DataConfig
from chainrule.data.samples import Samples
from chainrule.data.schema import describe_target
from chainrule.data.sources import is_named, is_pair
from chainrule.drawing import keep_statistics
from chainrule.errors import InputError
from chainrule.finetuning import fine_tuning
from chainrule.generating import write_sample
from chainrule.indexing import keep_index
from chainrule.prepare import Prepared, absolute, prepare, prepare_again
from chainrule.recipe import CUSTOM, Recipe, Settings, build_recipe, data_config, find_entry, load_recipe
from chainrule.recognise import default_model, find_kind
from chainrule.reconstructions import write_rebuilt
from chainrule.reporting import AUGMENTED, augmented_rows, why_not_xor, write_augmented, write_report
from chainrule.scoring import baseline_line, fit_baselines, write_scores
from chainrule.session import Session, resolve_recipe
from chainrule.sizing import scale_of
from chainrule.tasks.costs import costs_of
from chainrule.tasks.reconstruct import Reconstruct
from chainrule.train.loop import Batches, Plan, smallest_tail, train
from chainrule.train.probe import probe
from chainrule.train.report import Report
from chainrule.train.run import Run
from chainrule.usage import uses

TOLD_FINDINGS = 8  # lines of the audit that fit tells; look tells all
LOGGED_STEPS = 2000  # step lines in a run's events.jsonl; every evaluation has a line of its own
RESUMABLE = (  # what resume may change; everything else would make it another run
    "train.epochs", "train.steps", "train.time_limit", "train.save_every", "train.patience", "train.retries",
    "train.device", "train.threads", "train.precision", "train.channels_last", "train.compile", "train.micro_batch",
    "data.accept_data_change",
)  # fmt: skip
SAMPLED: dict[str, Callable[[Session, Run, int, Prepared], str]] = {  # tasks whose network shows what it can at each
    "language": lambda session, run, step, prepared: write_sample(session, run, step),  # evaluation, in samples/
    "reconstruct": write_rebuilt,
}
KEPT: dict[str, Callable[[Run, Session, Prepared], None]] = {  # what later verbs find in index/
    "embed": keep_index,
    "reconstruct": keep_statistics,
}
CLEAN = "clean"  # in a run's folder, the run that was trained without the anomalies of data.polluted
HARMLESS = ("train.time_limit", "train.save_every", "train.retries")  # these leave the weights as planned


class Training:
    """One run in the making: a for-loop over it trains, ``finish`` scores it and writes what is left to write."""

    def __init__(
        self, run: Run, prepared: Prepared, session: Session, samples: dict[str, Samples], notes: list[str]
    ) -> None:
        self.run, self.prepared, self.session, self.samples = run, prepared, session, samples
        self.notes = notes  # what a person must hear before the first step
        self.began = time.perf_counter()

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.session.recipe

    def per_epoch(self) -> int:
        """Iterations of one epoch."""
        return _per_epoch(self.session, self.samples["train"])

    @cached_property
    def baselines(self) -> list[dict[str, Any]]:
        """What trivial and classical models score on the test split."""
        built_again = isinstance(self.session.task, Reconstruct)
        size = costs_of(self.session.module).network.code_size if built_again else 0
        return fit_baselines(self.prepared.kind, self.prepared.schema, self.session.task, self.samples, size)

    def lines(self) -> Iterator[str]:
        """What a person hears before the first step: what it is, what is wrong with it, what baselines score."""
        config = self.recipe.train
        yield self.prepared.recognised_line()
        yield (
            f"learning    {describe_target(self.session.schema.target)} by {self.recipe.model_name} in "
            f"{config.epochs} epochs x {self.per_epoch()} iterations = {config.steps} steps "
            "(change: --target, --task, --model, --epochs)"
        )
        yield from self.prepared.decided_lines()
        yield self.prepared.divided_line()
        yield from self.prepared.findings_lines(TOLD_FINDINGS)
        yield from self.notes
        if (self.run.path / AUGMENTED).is_file():
            yield f"augmented   {self.run.path / AUGMENTED}: training samples as the network sees them"
        yield baseline_line(self.baselines, self.session.task.headline[0])

    def __iter__(self) -> Iterator[Report]:
        """Train; each report is logged before it is handed on."""
        session = self.session
        every = max(1, self.recipe.train.steps // LOGGED_STEPS)
        data = self.samples["train"], self.samples["valid"]
        plan = plan_of(self.recipe)
        for report in train(session.task, session.module, data, plan, self.run, session.arithmetic, session.augment()):
            if report.valid is not None and session.task.name in SAMPLED:
                told = SAMPLED[session.task.name](session, self.run, report.step, self.prepared)
                report.notes += [told] if told else []
            if report.valid is not None or report.step % every == 0:
                self.run.log(_event(report))
            yield report

    def finish(self) -> dict[str, Any]:
        """Score the best weights, write metrics.json and report.html; gives the metrics."""
        self.session.load(self.run.load_best())
        metrics, rows = write_scores(
            self.run, self.session, self.prepared, self.samples, self.baselines, self.per_epoch(), self.began
        )
        if (self.run.path / CLEAN / "metrics.json").is_file():
            twin = Run.open(self.run.path / CLEAN).read("metrics.json")
            metrics["clean"] = {name: twin[name] for name in ("test", "interval")}
            self.run.write("metrics.json", metrics)
        if self.session.task.name in KEPT:
            KEPT[self.session.task.name](self.run, self.session, self.prepared)
        used = uses(self.run.path, self.session.task.name, self.prepared.kind.NAME)
        write_report(self.run, self.session, self.prepared, metrics, rows, used)
        if metrics["test"].get("accuracy", 1.0) < 1.0 and (remark := why_not_xor(self.session)):
            self.run.write("metrics.json", metrics | {"remark": remark})
        return metrics


def start_training(
    source: Any, settings: Settings, model: str | nn.Module | None, out: Path | None, weights: str | Path | None = None,
    fold: tuple[int, int] | None = None,
) -> Training:  # fmt: skip
    """A new run: data read, audited and divided, recipe resolved and written; nothing trained yet.

    Raises:
        InputError: the data, a setting, the weights or the folder is not usable; nothing is left behind.
    """
    settings, named = _without_names(settings)
    prepared = prepare(source, data_config(settings), fold=fold)
    network = model if isinstance(model, nn.Module) else None
    name = CUSTOM if isinstance(model, nn.Module) else model or named
    start = None
    if weights:
        start = fine_tuning(weights, name, prepared, settings, lambda config: prepare(source, config, fold=fold))
    if start is not None:
        name, prepared, settings = start.model, start.prepared, start.settings
    name = name or default_model(prepared.kind, prepared.schema)
    scales = () if name == CUSTOM else find_entry(name).scales
    sized = not any(setting in settings for scale in scales for setting in scale)
    recipe = _recipe_of(prepared, name, {**scales[0], **settings} if scales and sized else settings)
    session = Session(prepared.kind, prepared.schema, recipe, network)
    notes = [] if start is None else [f"weights     {session.load_foreign(start.weights)}", *start.notes]
    samples = session.encode_parts(prepared.parts)
    if scales and sized:
        scale, why = scale_of(find_entry(name), recipe, session, samples["train"])
        session = Session(prepared.kind, prepared.schema, _recipe_of(prepared, name, {**scale, **settings}))
        notes.append(why)
    if network is not None:
        session.check_outputs(samples["train"])
    if recipe.train.micro_batch and session.task.unit == "batch":
        raise InputError(f"train.micro_batch divides a batch, which {session.task.name} sees whole; leave it out")
    pictures = augmented_rows(session, prepared.parts["train"])
    timings = _settle(session, samples)
    run = Run.create(out or free_folder(prepared.name))
    run.write("data.json", _data_record(prepared, source))
    run.write("environment.json", _environment(session, timings))
    run.write("schema.json", asdict(prepared.schema))
    run.write("recipe.json", session.recipe.to_json())
    write_augmented(run, pictures)
    return Training(run, prepared, session, samples, notes)


def fresh_session(source: Any, settings: Settings, model: str | None) -> tuple[Session, Prepared]:
    """A network that has not learned anything, with its data; no run folder is made.

    Raises:
        InputError: the data or a setting is not usable.
    """
    settings, named = _without_names(settings)
    model = model or named or "mlp"
    prepared = prepare(source, data_config(settings))
    return Session(prepared.kind, prepared.schema, _recipe_of(prepared, model, settings)), prepared


def _recipe_of(prepared: Prepared, model: str, settings: Settings) -> Recipe:
    """The recipe of a new network on this data, with what was found out about the data."""
    found = {f"data.{field}": value for field, value in asdict(prepared.config).items()}
    return resolve_recipe(prepared.kind, prepared.schema, model, len(prepared.parts["train"]), settings | found)


def resume_training(path: Path, source: Any, settings: Settings, network: nn.Module | None = None) -> Training:
    """The run in ``path``, ready to go on from its newest checkpoint, bit-exactly unless a setting forbids it.

    ``source`` is needed where the data was handed over in memory, ``network`` where the model was.

    Raises:
        InputError: the data changed, a setting may not change, another process writes.
    """
    run = Run.open(path)
    recipe, notes = _changed(load_recipe(run.read("recipe.json")), settings)
    if recipe.model_name == CUSTOM and network is None:
        raise InputError("this run trains your own module; call chainrule.resume(run, model=...) with the same module")
    saved = run.read("data.json")
    if source is None and saved["source"] is None:
        raise InputError("this run was made from data in memory; call chainrule.resume(run, data) with the same data")
    schema = find_kind(saved["kind"]).load_schema(run.read("schema.json"))
    prepared = prepare_again(saved, recipe.data, schema, source)
    _check_fingerprint(saved, prepared, recipe.data)
    session = Session(prepared.kind, prepared.schema, recipe, network)
    samples = session.encode_parts(prepared.parts)
    session.unsettle()  # thresholds are chosen anew at the end
    if network is not None:
        session.check_outputs(samples["train"])
    if "train.epochs" in settings:
        steps = recipe.train.epochs * _per_epoch(session, samples["train"])
        notes.append(f"steps: {recipe.train.steps} -> {steps}; the learning rate follows the new plan")
        session.settle(replace(recipe.train, steps=steps))
    if not any((path / "checkpoints").glob("step-*")):
        notes.append("this run has no checkpoint: it starts from its first step")
    run.lock()
    if settings:
        run.write("recipe.json", session.recipe.to_json())
    return Training(run, prepared, session, samples, notes)


def check_folds(source: Any, settings: Settings, k: int) -> None:
    """Divide the data in K folds, so that what forbids it is said before anything is trained.

    Raises:
        InputError: the data cannot be divided in K folds.
    """
    prepare(source, data_config(_without_names(settings)[0]), fold=(0, k))


def cross_validate(
    source: Any, settings: Settings, model: str | nn.Module | None, k: int, run: Path, tell: Callable[[str], None],
    weights: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train and score K more times in ``run``/folds, each on its own test fold; the summary joins metrics.json.

    Raises:
        InputError: the data cannot be divided in K folds.
    """
    scores: list[Mapping[str, float]] = []
    for number in range(k):
        fresh = copy.deepcopy(model)  # a person's own module must not bring along what another fold taught it
        training = start_training(source, settings, fresh, run / "folds" / str(number), weights, fold=(number, k))
        with closing(training.run):
            for _ in training:
                pass
            scores.append(training.finish()["test"])
        metric, _ = training.session.task.headline
        tell(f"fold {number + 1}/{k}: {metric} {scores[-1][metric]:.4g}")
    names = [name for name in scores[0] if all(name in score for score in scores)]
    columns = {name: [score[name] for score in scores] for name in names}
    summary = {
        "k": k,
        "mean": {name: statistics.mean(values) for name, values in columns.items()},
        "std": {name: statistics.stdev(values) for name, values in columns.items()},
        "values": columns,
    }
    folder = Run.open(run)
    folder.write("metrics.json", {**folder.read("metrics.json"), "folds": summary})
    return summary


def train_clean(
    training: Training, source: Any, settings: Settings, model: str | nn.Module | None, tell: Callable[[str], None],
    weights: str | Path | None = None,
) -> None:  # fmt: skip
    """Train once more in ``run``/clean without the anomalies of data.polluted, and score it on the same test rows.

    The scores join metrics.json and the report of the run.
    """
    path, test = training.run.path, training.prepared.parts["test"]
    clean = {**settings, "data.polluted": 0.0}
    twin = start_training(source, clean, copy.deepcopy(model), path / CLEAN, weights)
    twin.prepared.parts["test"], twin.samples["test"] = test, twin.session.encode(test)
    with closing(twin.run):
        for _ in twin:
            pass
        metric, _ = twin.session.task.headline
        tell(f"clean       {metric} {twin.finish()['test'][metric]:.4g}, trained without anomalies")
    training.finish()


def _without_names(settings: Settings) -> tuple[Settings, str]:
    """The settings with task.name as data.task, and the model.name among them, which a whole recipe has."""
    rest = {name: value for name, value in settings.items() if name not in ("model.name", "task.name")}
    if settings.get("task.name") and not rest.get("data.task"):
        rest["data.task"] = settings["task.name"]
    return rest, settings.get("model.name", "")


def free_folder(name: str) -> Path:
    """runs/NAME, or the first of runs/NAME-2, NAME-3, ... that is not taken."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    path, number = Path("runs") / safe, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{safe}-{number}"
    return path


def plan_of(recipe: Recipe) -> Plan:
    """What the loop obeys."""
    return Plan(train=recipe.train, optimizer=recipe.optimizer, schedule=recipe.schedule)


def _per_epoch(session: Session, samples: Samples) -> int:
    tail = smallest_tail(session.module)
    return Batches(samples, session.recipe.train, tail, session.arithmetic, None).per_epoch


def _settle(session: Session, samples: Mapping[str, Samples]) -> dict[str, float]:
    """Resolve by timed steps what the recipe leaves to the machine; gives what was timed."""
    data, device = (samples["train"], samples["valid"]), session.arithmetic.device
    probed = probe(session.task, session.module, data, plan_of(session.recipe), device, session.augment())
    epochs = -(-probed.config.steps // _per_epoch(session, samples["train"]))
    session.settle(replace(probed.config, epochs=epochs))
    return probed.timings


def _environment(session: Session, timings: Mapping[str, float]) -> dict[str, Any]:
    """On what the run was made."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "device": str(session.arithmetic.device),
        "threads": session.recipe.train.threads,
        "seconds_per_step": dict(timings),
    }


def _data_record(prepared: Prepared, source: Any) -> dict[str, Any]:
    """Where the data came from, what it is, how it was divided, what the audit found."""
    return {
        "source": _saved_source(source),
        "name": prepared.name,
        "kind": prepared.kind.NAME,
        "recognised": prepared.recognised,
        "divided": prepared.divided,
        "fold": prepared.fold,
        "rows": {name: len(records) for name, records in prepared.parts.items()},
        "fingerprint": prepared.fingerprint,
        "findings": [asdict(finding) for finding in prepared.findings],
    }


def _saved_source(source: Any) -> Any:
    """The path, name or two paths of a source as JSON has them; None for data in memory."""
    if is_pair(source):
        return [absolute(part) for part in source]
    return absolute(source) if is_named(source) else None


def _changed(recipe: Recipe, settings: Settings) -> tuple[Recipe, list[str]]:
    """The recipe with what resume may change, and a line for each change that says whether exactness holds."""
    saved, notes = recipe.settings(), []
    for name, value in settings.items():
        if name not in RESUMABLE:
            raise InputError(f"resume cannot change {name}; it may change {', '.join(RESUMABLE)}. Start anew with fit")
        exact = "exact" if name in HARMLESS else "no longer bit-equal to the planned run"
        notes.append(f"{name}: {saved[name]} -> {value} ({exact})")
    return build_recipe(saved | settings), notes


def _check_fingerprint(saved: Mapping[str, Any], prepared: Prepared, config: DataConfig) -> None:
    if saved["fingerprint"] == prepared.fingerprint or config.accept_data_change:
        return
    rows = {name: len(records) for name, records in prepared.parts.items()}
    raise InputError(
        f"the data changed since this run began: it had {saved['rows']} rows, now {rows}, or other values in them. "
        "Put the old data back, start a new run with fit, or go on with --accept-data-change (no longer exact)"
    )


def _event(report: Report) -> dict[str, Any]:
    event: dict[str, Any] = {
        "step": report.step,
        "epoch": report.epoch,
        "loss": report.loss,
        "grad_norm": report.grad_norm,
        "learning_rate": report.learning_rate,
    }
    if report.valid is not None:
        event |= {"valid": report.valid, "best": report.best}
    return event | ({"notes": report.notes} if report.notes else {})
