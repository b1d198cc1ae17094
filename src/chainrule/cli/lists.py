"""Verbs that list what there is: models, datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chainrule.cli.shared import Debug, Json, Set, Word, check_place, load_api, print_json, read_settings, show_table
from chainrule.errors import InputError

app = typer.Typer()


@app.command(short_help="The architectures there are.")
def models(
    name: Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")] = None,
    out: Annotated[Word, typer.Option(metavar="FILE", help="Draw it here, as SVG.")] = None,
    settings: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The architectures there are, or one of them: paper, layers, parameters, work, what it was verified against."""
    check_place(out)
    if name is None:
        if out:
            raise InputError("--out draws one architecture; name it: chainrule models NAME --out FILE")
        show_table(load_api().models(set=read_settings(settings)), as_json)
        return
    seen = load_api().describe(name, read_settings(settings))
    if out:
        Path(out).write_text(seen.svg(), encoding="utf-8")
    if as_json:
        print_json([seen.as_dict()])
    else:
        typer.echo(seen.text())


@app.command()
def datasets(
    name: Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The data sets known by name."""
    show_table(load_api().datasets(name), as_json)
