"""Verbs that find what resembles: search, feed, index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule.cli.shared import Debug, Json, RunFolder, Word, check_place, load_api, print_json, show_notes

app = typer.Typer()

Items = Annotated[int, typer.Option("-k", metavar="N", help="So many items.")]
Out = Annotated[Word, typer.Option(metavar="FILE", help="Write a page of pictures (.html) or a table (.csv) as well.")]


@app.command(short_help="What is most like INPUT.")
def search(
    run: RunFolder,
    one: Annotated[str, typer.Argument(metavar="INPUT", help="A file, a value, or the name of an item of the index.")],
    k: Items = 10,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The items of RUN's index that are most like INPUT, by the embeddings that it learned."""
    check_place(out)
    trained = load_api().load(run)
    found = trained.search(one, k, out)
    _show(trained, found, out, as_json)


@app.command(short_help="Items like those a person liked.")
def feed(
    run: RunFolder,
    more: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="Further ones that are liked.")] = None,
    liked: Annotated[list[str] | None, typer.Option(metavar="INPUT", help="What a person liked; repeatable.")] = None,
    k: Items = 10,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Items like those a person liked; each of them brings its nearest in turn."""
    check_place(out)
    trained = load_api().load(run)
    found = trained.feed([*(liked or []), *(more or [])], k, out)
    _show(trained, found, out, as_json)


@app.command(short_help="Make the index that search looks in.")
def index(
    run: RunFolder,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE", help="Other collections; RUN's own data if not given.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make RUN's index anew, over other collections or its own data."""
    trained = load_api().load(run)
    made = trained.index(sources or None)
    show_notes(trained)
    seen = {"index": str(made.folder), "items": len(made), "dims": made.dims, "metric": made.manifest.metric}
    if as_json:
        print_json({**seen, "search": made.how, "bytes": made.size})
    else:
        typer.echo(f"{len(made):,} items of {made.dims} numbers ({made.size:,} bytes) in {made.folder}")
        typer.echo(f"likeness: {made.likeness}; {made.how} search")


def _show(trained: Any, found: Any, out: str | None, as_json: bool) -> None:
    show_notes(trained)
    if as_json:
        print_json(found.to_dicts())
    else:
        typer.echo(found.write_csv(), nl=False)
    if out:
        typer.echo(f"{Path(out)} written", err=True)
