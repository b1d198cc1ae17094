"""Verbs that learn and are judged: fit, look, resume, evaluate, predict."""

from __future__ import annotations

from typing import Annotated

import typer

from chainrule.cli.shared import (
    Count,
    Debug,
    Horizon,
    Json,
    Number,
    RunFolder,
    Second,
    Set,
    Show,
    Word,
    between,
    load_api,
    print_json,
    read_settings,
    show_notes,
)

app = typer.Typer()


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
    api = load_api()
    with Show(as_json) as show:
        run = api.fit(
            source, source2, target=target, task=task, model=model, horizon=horizon, epochs=epochs, lr=lr, seed=seed,
            batch_size=batch_size, valid=valid, test=test, group=group, folds=folds, weights=weights,
            time_limit=time_limit, device=device, precision=precision, out=out, recipe=recipe,
            set=read_settings(settings), watch=show.report, tell=show.line,
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
    seen = load_api().look(source, source2, target=target, task=task, horizon=horizon, set=read_settings(settings))
    if as_json:
        print_json(seen.as_dict())
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
    chosen = read_settings(settings) | ({"data.accept_data_change": True} if accept_data_change else {})
    with Show(as_json) as show:
        resumed = load_api().resume(run, epochs=epochs, set=chosen, watch=show.report, tell=show.line)
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
    trained = load_api().load(run)
    scores = trained.evaluate(source if source2 is None else [source, source2], views)
    show_notes(trained)
    if as_json:
        print_json(scores)
        return
    typer.echo(f"{scores['rows']} rows" + (f", mean of {views} views" if views > 1 else ""))
    for name, value in scores["metrics"].items():
        typer.echo(f"  {name:28} {value:.4g}{between(scores['interval'].get(name))}")


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
    trained = load_api().load(run)
    answers = trained.predict(inputs or None, out, horizon=horizon)
    show_notes(trained)
    if out:
        typer.echo(f"{len(answers)} answers in {out}", err=as_json)
    if as_json:
        print_json(answers.to_dicts())
    elif not out:
        typer.echo(answers.write_csv(), nl=False)
