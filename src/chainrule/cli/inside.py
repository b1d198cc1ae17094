"""Verbs that look inside a network: explain, trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chainrule.cli.shared import (
    Debug,
    Json,
    RunFolder,
    Set,
    Word,
    check_place,
    load_api,
    print_json,
    read_settings,
    show_notes,
)

app = typer.Typer()


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
    check_place(out)
    trained = load_api().load(run)
    explained = trained.explain(source or None)
    show_notes(trained)
    page = Path(out) if out else trained.path / "explain.html"
    explained.save(page)
    if as_json:
        print_json({**explained.as_dict(), "page": str(page)})
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
    check_place(out)
    opened = load_api().trace(source, target=target, model=model, lr=lr, symbols=symbols, set=read_settings(settings))
    if out:
        Path(out).write_text(opened.page(), encoding="utf-8")
    if as_json:
        print_json(opened.as_dict())
    else:
        typer.echo(opened.text())
