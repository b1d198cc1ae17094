"""The command line: verbs only. Each parses words, calls ``api`` and shows what came back."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.errors import InputError, NonFiniteError, Stopped

if TYPE_CHECKING:
    from chainrule.progress import Progress
    from chainrule.train.report import Report

app = typer.Typer(
    name="chainrule", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="From a person's data to a trained, proven, explained and usable neural network.",
)  # fmt: skip

Word, Count, Number = str | None, int | None, float | None  # None: not typed
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="part.name=value", help="Any setting, repeatable.")]
Name = Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")]
Second = Annotated[Word, typer.Argument(metavar="SOURCE2", help="The translations of SOURCE, line by line.")]
Horizon = Annotated[Count, typer.Option(metavar="N", help="Steps of a series to forecast.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """From a person's data to a trained, proven, explained and usable neural network."""
    if version:
        import chainrule

        typer.echo(chainrule.__version__)
        raise typer.Exit


@app.command(short_help="Train a network on SOURCE and judge it.")
def fit(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, folder or name of a known data set.")],
    source2: Second = None,
    target: Annotated[Word, typer.Option(help="Column to learn: its name, or index (-1 the last).")] = None,
    task: Annotated[Word, typer.Option(help="What to learn; found from the data.")] = None,
    model: Annotated[Word, typer.Option(help="See chainrule models; chosen by the data.")] = None,
    epochs: Annotated[Count, typer.Option(help="Passes over the train split.")] = None,
    batch_size: Annotated[Count, typer.Option(help="Rows of one optimizer step.")] = None,
    lr: Annotated[Number, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[Count, typer.Option(help="Of weights, order and draws; the split has data.split_seed.")] = None,
    valid: Annotated[Word, typer.Option(metavar="SOURCE", help="Validation data of its own.")] = None,
    test: Annotated[Word, typer.Option(metavar="SOURCE", help="Test data of its own.")] = None,
    horizon: Horizon = None,
    group: Annotated[Word, typer.Option(metavar="COL|PATTERN", help="What may not be divided between splits.")] = None,
    folds: Annotated[Count, typer.Option(help="Cross-validate as well, over this many folds.")] = None,
    weights: Annotated[
        Word, typer.Option(metavar="FILE", help="Start from a reference implementation's weights.")
    ] = None,
    time_limit: Annotated[Word, typer.Option(help="Of training with its validation: 90s, 10m, 1h.")] = None,
    device: Annotated[Word, typer.Option(help="cpu, cuda, mps or auto.")] = None,
    precision: Annotated[Word, typer.Option(help="float32, bfloat16 or auto (timed).")] = None,
    out: Annotated[Word, typer.Option(metavar="DIR", help="The run folder, absent or empty.")] = None,
    recipe: Annotated[
        Word, typer.Option(metavar="NAME|FILE", help="Settings by name (speed), or from a recipe.json.")
    ] = None,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network on SOURCE and judge it on held-out data."""
    api = _api()
    with _Show(as_json) as show:
        run = api.fit(
            source, source2, target=target, task=task, model=model, horizon=horizon, epochs=epochs, lr=lr, seed=seed,
            batch_size=batch_size, valid=valid, test=test, group=group, folds=folds, weights=weights,
            time_limit=time_limit, device=device, precision=precision, out=out, recipe=recipe, set=_settings(settings),
            watch=show.report, tell=show.line,
        )  # fmt: skip
    show.finished(run)


@app.command(short_help="What SOURCE is, and what a baseline scores.")
def look(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, folder or name of a known data set.")],
    source2: Second = None,
    target: Annotated[Word, typer.Option(help="Column to learn.")] = None,
    task: Annotated[Word, typer.Option(help="What to learn; found from the data.")] = None,
    horizon: Horizon = None,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What SOURCE is, what is wrong with it, what a baseline scores; trains nothing."""
    seen = _api().look(source, source2, target=target, task=task, horizon=horizon, set=_settings(settings))
    if as_json:
        _print_json(seen.as_dict())
    else:
        for line in seen.lines():
            typer.echo(line)


@app.command(short_help="Continue RUN exactly where it stopped.")
def resume(
    run: RunFolder,
    epochs: Annotated[Count, typer.Option(help="A new number of epochs in all.")] = None,
    accept_data_change: Annotated[
        bool, typer.Option("--accept-data-change", help="Go on although the data changed.")
    ] = False,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Continue RUN from its newest whole checkpoint, exactly as if it had never stopped."""
    chosen = _settings(settings) | ({"data.accept_data_change": True} if accept_data_change else {})
    with _Show(as_json) as show:
        resumed = _api().resume(run, epochs=epochs, set=chosen, watch=show.report, tell=show.line)
    show.finished(resumed)


@app.command(short_help="Score RUN on its test split or on SOURCE.")
def evaluate(
    run: RunFolder,
    source: Annotated[Word, typer.Argument(metavar="SOURCE", help="Labelled data.")] = None,
    source2: Second = None,
    views: Annotated[int, typer.Option(metavar="N", help="Average over N augmented views of each sample.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score RUN on its own test split, or on SOURCE, with 95 % intervals."""
    trained = _api().load(run)
    scores = trained.evaluate(source if source2 is None else [source, source2], views)
    _notes(trained)
    if as_json:
        _print_json(scores)
        return
    typer.echo(f"{scores['rows']} rows" + (f", mean of {views} views" if views > 1 else ""))
    for name, value in scores["metrics"].items():
        typer.echo(f"  {name:28} {value:.4g}{_between(scores['interval'].get(name))}")


@app.command()
def predict(
    run: RunFolder,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="Files, folders, or values; of a series none is needed.")
    ] = None,
    horizon: Horizon = None,
    out: Annotated[
        Word, typer.Option(metavar="FILE|FOLDER", help="Write CSV here instead of showing it; masks into a folder.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answers of RUN for new input."""
    trained = _api().load(run)
    answers = trained.predict(inputs or None, out, horizon=horizon)
    _notes(trained)
    if out:
        typer.echo(f"{len(answers)} answers in {out}", err=as_json)
    if as_json:
        _print_json(answers.to_dicts())
    elif not out:
        typer.echo(answers.write_csv(), nl=False)


@app.command(short_help="Go on with a text.")
def generate(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What the text begins with.")] = "",
    number: Annotated[int, typer.Option("-n", metavar="N", help="So many texts.")] = 1,
    length: Annotated[int, typer.Option(metavar="TOKENS", help="At most so long; 0: as usual for these texts.")] = 0,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest; above 1: more even.")] = 1.0,
    top_k: Annotated[int, typer.Option(metavar="K", help="Draw from the K likeliest; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Draw from the likeliest that have this share.")] = 1.0,
    repetition: Annotated[float, typer.Option(help="Factor by which tokens lose that came before.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a text, as RUN learned to; shown while it is written."""
    if number < 1:
        raise InputError(f"-n is a number of texts from 1, got {number}")
    trained, texts = _api().load(run), list[str]()
    for place in range(number):
        pieces = trained.generate(
            prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p, repetition=repetition, seed=seed,
            number=place, stop=stop or (),
        )  # fmt: skip
        written = prompt if as_json else ""
        sys.stdout.write("" if as_json else prompt)
        for piece in pieces:
            if as_json:
                written += piece
            else:
                sys.stdout.write(piece)
                sys.stdout.flush()
        sys.stdout.write("" if as_json else "\n")
        texts.append(written)
    if as_json:
        _print_json({"texts": texts})


@app.command(short_help="What the answers of RUN depend on.")
def explain(
    run: RunFolder,
    source: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="A labelled table; or files and folders.")
    ] = None,
    out: Annotated[Word, typer.Option(metavar="FILE", help="Write the page here, not to RUN/explain.html.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What RUN's answers depend on, with a check that the explanation depends on the trained weights."""
    _check_place(out)
    trained = _api().load(run)
    explained = trained.explain(source or None)
    _notes(trained)
    page = Path(out) if out else trained.path / "explain.html"
    explained.save(page)
    if as_json:
        _print_json({**explained.as_dict(), "page": str(page)})
    else:
        typer.echo(f"{explained.text()}\n\npage: {page}")


@app.command(short_help="Open one iteration, number by number.")
def trace(
    source: Annotated[str, typer.Argument(metavar="SOURCE|RUN", help="Data for a fresh network, or a run folder.")],
    target: Annotated[Word, typer.Option(help="Column to learn.")] = None,
    model: Annotated[Word, typer.Option(help="mlp unless named.")] = None,
    lr: Annotated[float, typer.Option(help="Learning rate of the update.")] = 0.01,
    symbols: Annotated[bool, typer.Option("--symbols", help="Derive dL/dw in symbols as well.")] = False,
    out: Annotated[Word, typer.Option(metavar="FILE", help="Write the page here as well.")] = None,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Open one iteration: every number of forward, loss, backward and update, checked against autograd."""
    _check_place(out)
    opened = _api().trace(source, target=target, model=model, lr=lr, symbols=symbols, set=_settings(settings))
    if out:
        Path(out).write_text(opened.page(), encoding="utf-8")
    if as_json:
        _print_json(opened.as_dict())
    else:
        typer.echo(opened.text())


@app.command(short_help="The architectures there are.")
def models(
    name: Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")] = None,
    out: Annotated[Word, typer.Option(metavar="FILE", help="Draw it here, as SVG.")] = None,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The architectures there are, or one of them: paper, layers, parameters, work, what it was verified against."""
    _check_place(out)
    if name is None:
        if out:
            raise InputError("--out draws one architecture; name it: chainrule models NAME --out FILE")
        _table(_api().models(set=_settings(settings)), as_json)
        return
    seen = _api().describe(name, _settings(settings))
    if out:
        Path(out).write_text(seen.svg(), encoding="utf-8")
    if as_json:
        _print_json([seen.as_dict()])
    else:
        typer.echo(seen.text())


@app.command()
def datasets(
    name: Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The data sets known by name."""
    _table(_api().datasets(name), as_json)


def run(arguments: list[str]) -> int:
    """Run one command line; gives the exit code."""
    debug = "--debug" in arguments
    try:
        app(args=arguments, standalone_mode=True)
    except InputError as error:
        return _fail(error, 2, debug)
    except NonFiniteError as error:
        return _fail(error, 3, debug)
    except Stopped as error:
        return _fail(error, 128 + error.signum, debug)
    except KeyboardInterrupt as error:
        return _fail(error, 130, debug)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(
            InputError(f"a file cannot be read or written ({error}); mend its rights, or name another"), 2, debug
        )
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def _fail(error: BaseException, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"chainrule: {error or 'interrupted'}", err=True)
    return code


def _api() -> Any:
    import chainrule.api

    gc.freeze()  # what was imported lives on; from here on garbage is collected again
    gc.enable()
    return chainrule.api


def _check_place(out: str | None) -> None:
    """Refuse a file that cannot be written before anything is computed for it."""
    from chainrule.predicting import check_file

    if out:
        check_file(out)


def _settings(texts: list[str] | None) -> dict[str, Any]:
    from chainrule.recipe import parse_setting

    return dict(parse_setting(text) for text in texts or [])


class _Show:
    """Progress and results for a person: on standard error beside JSON, otherwise on standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.progress: Progress | None = None

    def __enter__(self) -> _Show:
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress is not None:
            self.progress.close()

    def line(self, text: str) -> None:
        """One line, below the progress so far."""
        if self.progress is not None:
            self.progress.close()
        typer.echo(text, err=self.as_json)

    def report(self, report: Report) -> None:
        """One iteration."""
        if self.progress is None:
            from chainrule.progress import Progress

            self.progress = Progress(sys.stderr)
        self.progress(report)

    def finished(self, run: Any) -> None:
        """The scores of a run, and where everything is."""
        if self.as_json:
            _print_json({"run": str(run.path), **run.metrics})
            return
        for text in run.lines():
            typer.echo(text)


def _notes(trained: Any) -> None:
    for note in trained.notes:
        typer.echo(f"note: {note}", err=True)


def _between(bounds: list[float] | None) -> str:
    return f"  (95 % between {bounds[0]:.4g} and {bounds[1]:.4g})" if bounds else ""


def _table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        values = list(row.values())
        typer.echo(f"{values[0]:16} " + " · ".join(str(value) for value in values[1:] if value))


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n")
