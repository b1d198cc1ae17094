"""A run folder that can answer: predict, evaluate, explain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chainrule import people
from chainrule.anomalies import predict_moments
from chainrule.drawing import drawn
from chainrule.errors import InputError
from chainrule.evaluate.built_rows import BuiltRows
from chainrule.explaining import Explanation, explain
from chainrule.forecasting import predict_series
from chainrule.opened import OpenRun, listed
from chainrule.predicting import answered, check_file, predict_masks, read_given
from chainrule.prepare import Prepared
from chainrule.scoring import judge
from chainrule.searching import Searcher
from chainrule.session import Session
from chainrule.tasks.segment import Segment
from chainrule.tasks.table import plain_task
from chainrule.usage import uses

if TYPE_CHECKING:
    import polars

    from chainrule.index import VectorIndex

Predict = Callable[[OpenRun, Any, "str | Path | None", "int | None"], "polars.DataFrame"]
PREDICTORS: dict[tuple[str, str], Predict] = {  # of run, inputs, out, horizon; by task and data kind
    ("forecast", "series"): predict_series,
    ("reconstruct", "series"): predict_moments,
    ("segment", "mask"): predict_masks,
}


class TrainedRun:
    """A run folder that can answer."""

    def __init__(self, path: str | Path, model: nn.Module | None = None) -> None:
        self.opened = OpenRun(path, model)
        self.path = self.opened.path

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.path)!r})"

    @property
    def notes(self) -> list[str]:
        """What the last verb noticed in its data: columns ignored, words unseen."""
        return self.opened.notes

    @property
    def session(self) -> Session:
        """The network with its best weights, its schema and its task."""
        return self.opened.session

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores in metrics.json.

        Raises:
            InputError: the run is not finished.
        """
        if not (self.path / "metrics.json").is_file():
            raise InputError(f"{self.path} is not finished; continue it with: chainrule resume {self.path}")
        metrics: dict[str, Any] = self.opened.folder.read("metrics.json")
        return metrics

    def predict(
        self, inputs: Any = None, out: str | Path | None = None, *, horizon: int | None = None
    ) -> polars.DataFrame:
        """Answers for new input: a path or several, a DataFrame, an array; no target is needed.

        Columns are "id", "prediction" and, for classes, "probability" and one share per class; of masks the share of
        pixels of each class and the number of connected "regions"; of series the times to come. A run that is still
        training answers with its best weights so far.

        Args:
            inputs: may be left out for a series, which is then continued from its end, or judged moment by moment.
            out: a CSV file that gets them as well; of masks also a folder, which gets every mask, an overlay, the areas
                and the regions.
            horizon: of a series, how many steps to go on.

        Raises:
            InputError: the input does not fit the schema; names what is missing. ``out`` cannot be written to.
        """
        special = PREDICTORS.get((self.session.task.name, self.session.kind.NAME))
        if special:
            return special(self.opened, inputs, out, horizon)
        if horizon is not None:
            raise InputError(f"--horizon is for series; {self.path} learned to {self.session.task.name}, leave it out")
        if inputs is None:
            raise InputError("nothing to answer; give files, folders or values")
        return self._answers(inputs, out)

    def _answers(self, inputs: Any, out: str | Path | None) -> polars.DataFrame:
        import polars

        if out:
            check_file(out)
        records = self.opened.inputs(inputs)
        samples = self.session.encode(records)
        answers = polars.DataFrame({"id": list(records.ids), **self.session.predict(samples)})
        if out:
            answers.write_csv(out)
        return answers

    def masks(self, inputs: Any) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Of each image its id, the class of every pixel, and that class's share (255 for 1), one image at a time.

        Arrays have the image's own size, (H, W), or (D, H, W) of a volume.

        Raises:
            InputError: the run does not answer for pixels, or the input cannot be read.
        """
        if not isinstance(self.session.task, Segment):
            raise InputError(f"{self.path} answers for whole rows, not for pixels; use predict")
        given = read_given(self.session, listed(inputs))
        self.opened.notice(*(part.records for part in given))
        found = answered(self.session, given)
        return ((one.id, one.answer.classes.numpy(), one.answer.shares.numpy()) for one in found)

    def evaluate(self, source: Any = None, views: int = 1) -> dict[str, Any]:
        """Metrics with 95 % intervals on the run's own test split, or on another labelled source.

        With ``views`` the answers are means over the samples as they are and views - 1 augmented versions of them.

        Raises:
            InputError: the data changed, has no target, has classes that the run does not know, or has no other view.
        """
        own = self.prepared() if source is None else None
        if own:
            records = own.parts["test"]
            self.opened.notice(records)
        else:
            records = self.opened.labelled(source)
        session = self.session
        _, judged = judge(session, session.encode(records), records.groups, views)
        if own and records is own.parts["train"]:
            judged["interval"] = {}  # as in metrics.json: a truth table is its own test set
        return {"rows": len(records), "views": views, **judged}

    def explain(self, source: Any = None) -> Explanation:
        """What the run's answers depend on: columns of a table; words of a text; places in images, sound and video. Of
        masks, where the network is unsure and where it errs.

        Looks at samples of the run's test split. ``source`` is another labelled table; or files, folders or arrays, for
        which no label is needed.

        Raises:
            InputError: the data has nothing to explain, changed, or cannot be read, or Captum is not installed.
        """
        return explain(self.opened, source)

    def generate(
        self, prompt: str = "", *, length: int = 0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
        repetition: float = 1.0, seed: int = 0, number: int = 0, stop: Iterable[str] = (),
    ) -> Iterator[str]:  # fmt: skip
        """How a text goes on after ``prompt``, in pieces as they are written; the prompt is not repeated.

        Args:
            length: tokens to write; 0: 400, or of a document up to its end.
            temperature, top_k, top_p, repetition: see ``functional.sampling.Sampling``.
            seed: with ``number`` (of the text, where several are wanted) decides every draw.
            stop: texts before which it ends.

        Raises:
            InputError: the run is no language model, or a character of the prompt is unknown to it.

        Example:
            >>> "".join(chainrule.load("runs/shakespeare").generate("ROMEO:", temperature=0.8))  # doctest: +SKIP
        """
        from chainrule.functional.sampling import Sampling
        from chainrule.generating import generate

        how = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition=repetition)
        return generate(self.session, prompt, length=length, how=how, seed=seed, number=number, stop=stop)

    def draw(self, number: int = 64, *, of: str = "", seed: int = 0) -> Any:
        """Fresh rows of an autoencoder, as its kind of data has them: pictures (N, H, W, C) uint8, a DataFrame, texts.

        Codes are drawn from the prior of a variational autoencoder; of others, and of a class, from a normal
        distribution fitted to the codes of the train split.

        Args:
            of: a class, where the data had labels; they need not have been learned.
            seed: decides every draw; the first rows are the same however many are asked for.

        Raises:
            InputError: the run is no autoencoder, or does not know the class.

        Example:
            >>> chainrule.load("runs/fashion_mnist").draw(8, of="Sneaker").shape  # doctest: +SKIP
            (8, 28, 28, 1)
        """
        return self.drawn(number, of=of, seed=seed).values

    def drawn(self, number: int = 64, *, of: str = "", seed: int = 0) -> BuiltRows:
        """As ``draw``, with what shows and saves the rows."""
        return drawn(self.session, self.opened.folder, self.prepared, number, of, seed)

    @property
    def task(self) -> str:
        """What the run learned to do: "classify", "language", "reconstruct", ..."""
        return plain_task(self.opened.schema.target).name

    def verify(self, first: Any, second: Any) -> people.Verified:
        """Whether two photos (paths or arrays) show one person, and how often such an answer errs.

        Raises:
            InputError: a photo cannot be read, shows no face or several, or the run did not learn to verify.
        """
        return people.verify(self.opened, first, second)

    def enrol(self, name: str, photos: Any) -> people.Enrolment:
        """Remember a person by the embeddings of one photo or several; the photos are not kept.

        Raises:
            InputError: a photo cannot be used, or it looks like somebody else who is enrolled.
        """
        return people.enrol(self.opened, name, photos)

    def enrolled(self) -> people.Enrolment:
        """Who is enrolled, and how well these people are told apart."""
        return people.enrolment(self.opened)

    def forget(self, name: str) -> people.Enrolment:
        """Erase an enrolled person.

        Raises:
            InputError: nobody of that name is enrolled.
        """
        return people.forget(self.opened, name)

    def identify(self, photo: Any) -> people.Identified:
        """Who of the enrolled people is on a photo, or none of them.

        Raises:
            InputError: nobody is enrolled, or the photo cannot be used.
        """
        return people.identify(self.opened, photo)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.opened)

    def search(self, one: Any, k: int = 10, out: str | Path | None = None) -> polars.DataFrame:
        """The k items most like one input, the most alike first: columns "id", "likeness" and "label".

        The index is made at the first search: of the run's own data, unless ``index`` made one of another collection.

        Args:
            one: a file, a value, or the name of an item of the index. The same input in the index is left out.
            out: a page of pictures (.html) or a table (.csv) that gets them as well.

        Raises:
            InputError: the run gives no embeddings, the input cannot be read, or the index is damaged.
        """
        if out:
            check_file(out)
        return self._searcher.search(one, k, out)

    def feed(self, liked: Sequence[Any], k: int = 10, out: str | Path | None = None) -> polars.DataFrame:
        """The k items like those that a person liked, as ``search`` gives them, with the "liked" one each is like.

        Each liked one brings its nearest in turn, so that no one taste takes over; none is shown twice.

        Raises:
            InputError: as ``search``.
        """
        if out:
            check_file(out)
        return self._searcher.feed(listed(liked), k, out)

    def index(self, sources: Any = None) -> VectorIndex:
        """The run's index, made anew over other collections (a source, or a list of several), or over its own data.

        Raises:
            InputError: the run gives no embeddings, or there is nothing to read.
        """
        return self._searcher.build(sources)

    def prepared(self) -> Prepared:
        """The run's own data, read and divided as it was.

        Raises:
            InputError: it was handed over in memory, or it changed.
        """
        return self.opened.prepared()

    def lines(self) -> list[str]:
        """The scores in a few lines for a person."""
        metrics = self.metrics
        name, _ = plain_task(self.opened.schema.target).headline
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
        lines += _of_anomalies(metrics, name)
        baseline = metrics["baseline"]
        if baseline:
            lines.append(f"baseline    {baseline['name']} {name} {baseline[name]:.4g}")
        lines.append(f"run         {self.path} (open {self.path}/report.html)")
        first, *more = uses(self.path, metrics["task"], self.opened.schema.kind).items()
        words = [first[1], "evaluate", *(verb for verb, _ in more), "resume --epochs N"]
        lines.append(f"next        {' · '.join(words)}")
        return lines


def _of_anomalies(metrics: Mapping[str, Any], name: str) -> list[str]:
    """From which score a row is called an anomaly, and what anomalies among the rows to learn from cost."""
    lines = []
    if "threshold" in metrics:
        limit = metrics["threshold"]
        low, high = (f"{share:.2g}" for share in limit["interval"])
        few = ", too few for a lower share" if limit["few"] else ""
        lines.append(
            f"threshold   score {limit['score']:.4g}, so that a share of {limit['false_alarms']:.3g} of normal rows is "
            f"called anomalies; by {limit['rows']:,} validation rows{few} it lies between {low} and {high}"
        )
    if "clean" in metrics:
        clean = metrics["clean"]["test"][name]
        lines.append(f"clean       {name} {clean:.4g} without the anomalies among the rows to learn from")
    return lines
