"""A run folder that can answer: predict, evaluate, explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chainrule.data.mask.augment import MaskAugmentConfig
from chainrule.data.mask.samples import MaskSamples
from chainrule.data.schema import ClassTarget
from chainrule.data.sources import open_source
from chainrule.errors import InputError
from chainrule.evaluate.cases import dice_of_rows, telling_rows
from chainrule.predicting import (
    Given,
    answered,
    areas_of,
    check_file,
    check_folder,
    is_table,
    read_given,
    write_answers,
)
from chainrule.prepare import Prepared, prepare_again, read_for_scoring
from chainrule.recipe import CUSTOM, load_recipe
from chainrule.recognise import find_kind
from chainrule.scoring import judge
from chainrule.session import HEADLINES, Session
from chainrule.tasks.segment import Segment
from chainrule.tasks.task import Rows
from chainrule.train.run import Run

if TYPE_CHECKING:
    import polars

    from chainrule.explain.maps import MapsExplanation
    from chainrule.explain.pixels import PixelsExplanation
    from chainrule.explain.table import TableExplanation

EXPLAINED = ("table", "image", "audio", "video", "mask")  # kinds of data that explain serves


class TrainedRun:
    """A run folder that can answer."""

    def __init__(self, path: str | Path, model: nn.Module | None = None) -> None:
        self.path = Path(path)
        self._run = Run.open(self.path)
        self._model = model  # a person's own module, which a run folder cannot hold
        self.notes: list[str] = []  # what the last predict or evaluate noticed: columns ignored, words unseen
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.path)!r})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores in metrics.json.

        Raises:
            InputError: the run is not finished.
        """
        if not (self.path / "metrics.json").is_file():
            raise InputError(f"{self.path} is not finished; continue it with: chainrule resume {self.path}")
        metrics: dict[str, Any] = self._run.read("metrics.json")
        return metrics

    @property
    def session(self) -> Session:
        """The network with its best weights, its schema and its task."""
        if self._session is None:
            schema = self._run.read("schema.json")
            kind = find_kind(schema["kind"])
            recipe = load_recipe(self._run.read("recipe.json"))
            if recipe.model_name == CUSTOM and self._model is None:
                raise InputError(
                    f"{self.path} trains a module of your own; use chainrule.load({str(self.path)!r}, model=...)"
                )
            session = Session(kind, kind.load_schema(schema), recipe, self._model)
            session.load(self._run.load_best())
            self._session = session
        return self._session

    def predict(self, inputs: Any, out: str | Path | None = None) -> polars.DataFrame:
        """Answers for new input: a path or several, a DataFrame, an array; no target is needed.

        Columns are "id", "prediction" and, for classes, "probability" and one share per class; of masks the share of
        pixels of each class and the number of connected "regions". A run that is still training answers with its best
        weights so far.

        Args:
            out: a CSV file that gets them as well; of masks also a folder, which gets every mask, an overlay, the areas
                and the regions.

        Raises:
            InputError: the input does not fit the schema; names what is missing. ``out`` cannot be written to.
        """
        import polars

        session = self.session
        if isinstance(session.task, Segment):
            return self._predict_masks(inputs, out)
        if out:
            check_file(out)
        records = session.kind.read_inputs(_listed(inputs), session.schema)
        samples = session.encode(records)
        self._notice(records)
        answers = polars.DataFrame({"id": list(records.ids), **session.predict(samples)})
        if out:
            answers.write_csv(out)
        return answers

    def _predict_masks(self, inputs: Any, out: str | Path | None) -> polars.DataFrame:
        if out:
            check_file(out) if is_table(out) else check_folder(out)
        given = self._given(inputs)
        if out and not is_table(out):
            check_folder(out, [name for part in given for name in part.names])
            return write_answers(self.session, given, Path(out))
        areas = areas_of(self.session, given)
        if out:
            areas.write_csv(out)
        return areas

    def masks(self, inputs: Any) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Of each image its id, the class of every pixel, and that class's share (255 for 1), one image at a time.

        Arrays have the image's own size, (H, W), or (D, H, W) of a volume.

        Raises:
            InputError: the run does not answer for pixels, or the input cannot be read.
        """
        if not isinstance(self.session.task, Segment):
            raise InputError(f"{self.path} answers for whole rows, not for pixels; use predict")
        given = self._given(inputs)
        found = answered(self.session, given)
        return ((one.id, one.answer.classes.numpy(), one.answer.shares.numpy()) for one in found)

    def _given(self, inputs: Any) -> list[Given]:
        given = read_given(self.session, _listed(inputs))
        self._notice(*(part.records for part in given))
        return given

    def evaluate(self, source: Any = None, views: int = 1) -> dict[str, Any]:
        """Metrics with 95 % intervals on the run's own test split, or on another labelled source.

        With ``views`` the answers are means over the samples as they are and views - 1 augmented versions of them.

        Raises:
            InputError: the data changed, has no target, has classes that the run does not know, or has no other view.
        """
        own = self.prepared() if source is None else None
        records = own.parts["test"] if own else self._read(source)
        session = self.session
        samples = session.encode(records)
        self._notice(records)
        _, judged = judge(session, samples, records.groups, views)
        if own and records is own.parts["train"]:
            judged["interval"] = {}  # as in metrics.json: a truth table is its own test set
        return {"rows": len(records), "views": views, **judged}

    def lines(self) -> list[str]:
        """The scores in a few lines for a person."""
        metrics = self.metrics
        name, _ = HEADLINES[metrics["task"]]
        low_high = metrics["interval"].get(name)
        between = f" (95 % between {low_high[0]:.4g} and {low_high[1]:.4g})" if low_high else ""
        test = {key: value for key, value in metrics["test"].items() if key != name}
        lines = [
            f"test        {name} {metrics['test'][name]:.4g}{between} on {metrics['rows']['test']:,} rows",
            "            " + " · ".join(f"{key} {value:.4g}" for key, value in test.items()),
        ]
        if len(metrics.get("classes", ())) > 1:
            each = " · ".join(f"{key} {scores['dice']:.4g}" for key, scores in metrics["classes"].items())
            lines.append(f"classes     dice {each}")
        lines += [f"why         {metrics['remark']}"] if "remark" in metrics else []
        if "folds" in metrics:
            folds = metrics["folds"]
            mean, spread = folds["mean"][name], folds["std"][name]
            lines.append(f"folds       {name} {mean:.4g} +- {spread:.4g} over {folds['k']} folds")
        baseline = metrics["baseline"]
        if baseline:
            lines.append(f"baseline    {baseline['name']} {name} {baseline[name]:.4g}")
        lines.append(f"run         {self.path} (open {self.path}/report.html)")
        explain = "explain · " if self._run.read("schema.json")["kind"] in EXPLAINED else ""
        folder = " --out FOLDER" if metrics["task"] == Segment.name else ""
        lines.append(f"next        chainrule predict {self.path} INPUT{folder} · evaluate · {explain}resume --epochs N")
        return lines

    def explain(self, source: Any = None) -> TableExplanation | MapsExplanation | PixelsExplanation:
        """What the run's answers depend on: columns of a table; places in images, sound and video. Of masks, where the
        network is unsure and where it errs.

        Looks at samples of the run's test split. ``source`` is another labelled table; or files, folders or arrays, for
        which no label is needed.

        Raises:
            InputError: the data has nothing to explain, changed, or cannot be read, or Captum is not installed.
        """
        session = self.session
        if session.kind.NAME not in EXPLAINED:
            raise InputError(
                f"explain serves {', '.join(EXPLAINED)} data, this run learned from {session.kind.NAME} data; "
                f"every number of it is shown by: chainrule trace {self.path}"
            )
        if session.kind.NAME == "mask":
            return self._explain_pixels(source)
        return self._explain_table(source) if session.kind.NAME == "table" else self._explain_maps(source)

    def _explain_pixels(self, source: Any) -> PixelsExplanation:
        from chainrule.explain.pixels import explain_pixels

        session, task = self.session, self.session.task
        assert isinstance(task, Segment)
        records = self.prepared().parts["test"] if source is None else self._masked(source)
        foreground = task.target.foreground

        def choose(rows: Rows) -> tuple[NDArray[np.float64], list[tuple[str, list[int]]]]:
            dice = dice_of_rows(rows, foreground)
            return dice, telling_rows(dice)

        config = session.recipe.augment
        upside_down = isinstance(config, MaskAugmentConfig) and (config.flip == "both" or config.turn)
        samples = session.encode(records)
        assert isinstance(samples, MaskSamples)
        return explain_pixels(session.module, task, samples, 4 if upside_down else 2, choose)

    def _masked(self, source: Any) -> Any:
        """Images with their masks where the source has such, otherwise the images."""
        kind = self.session.kind
        one = source[0] if isinstance(source, list | tuple) and len(source) == 1 else source
        if isinstance(one, str | Path) and kind.recognises(open_source(one)):
            records = self._read(one)
        else:
            records = kind.read_inputs(_listed(source), self.session.schema)
        self._notice(records)
        return records

    def _explain_maps(self, source: Any) -> MapsExplanation:
        from chainrule.explain.maps import explain_maps
        from chainrule.explain.partners import partners

        session = self.session
        if source is None:
            records = self.prepared().parts["test"]
            looked_in = [session.recipe.data.test, self._run.read("data.json")["source"]]
        else:
            records = session.kind.read_inputs(_listed(source), session.schema)
            self._notice(records)
            looked_in = list(_listed(source))
        partner = partners(looked_in) if session.kind.NAME == "image" else None
        return explain_maps(
            session.module, session.task, session.kind, session.schema, session.takes, session.encode(records),
            partner=partner,
        )  # fmt: skip

    def _explain_table(self, source: Any) -> TableExplanation:
        from chainrule.explain.table import explain_table

        session = self.session
        if isinstance(source, list | tuple) and len(source) == 1:
            (source,) = source
        own = self.prepared() if source is None else None
        records = own.parts["test"] if own else self._read(source)
        samples = session.encode(records)
        train = session.encode(own.parts["train"]) if own else samples
        return explain_table(session.module, session.task, session.schema, session.takes, samples, train)

    def _notice(self, *every: Any) -> None:
        kind, schema = self.session.kind, self.session.schema
        self.notes = []
        for records in every:
            noticed = [finding for finding in kind.findings(records) if finding.level != "note"]
            self.notes += [finding.text for finding in (*noticed, *kind.mismatches(records, schema))]

    def _read(self, source: Any) -> Any:
        session = self.session
        target = session.schema.target
        classes = target.classes if isinstance(target, ClassTarget) else ()
        return read_for_scoring(source, session.recipe.data, session.kind, classes)

    def prepared(self) -> Prepared:
        """The run's own data, read and divided as it was.

        Raises:
            InputError: it was handed over in memory, or it changed.
        """
        saved = self._run.read("data.json")
        if saved["source"] is None:
            raise InputError("this run was made from data in memory; hand over a source to evaluate on")
        recipe = self.session.recipe
        prepared = prepare_again(saved, recipe.data, self.session.schema)
        if prepared.fingerprint != saved["fingerprint"] and not recipe.data.accept_data_change:
            raise InputError(f"the data of {self.path} changed since it was trained; hand over a source to evaluate on")
        return prepared


def _listed(inputs: Any) -> Sequence[Any]:
    return inputs if isinstance(inputs, list | tuple) else [inputs]
