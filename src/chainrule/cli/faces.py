"""Verbs about people: verify, enrol, identify."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chainrule.cli.shared import Debug, Json, RunFolder, Word, load_api, print_json, show_notes
from chainrule.errors import InputError

app = typer.Typer()


@app.command(short_help="Whether two photos show one person.")
def verify(
    run: RunFolder,
    first: Annotated[str, typer.Argument(metavar="A", help="A photo of one face.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Whether two photos show one person, with the error rates of the threshold."""
    _show(load_api().load(run), lambda trained: trained.verify(first, second), as_json)


@app.command(short_help="Remember a person, erase one, list all.")
def enrol(
    run: RunFolder,
    name: Annotated[Word, typer.Argument(metavar="NAME", help="Of the person; without it all are listed.")] = None,
    photos: Annotated[list[str] | None, typer.Argument(metavar="PHOTO", help="Photos of that person's face.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Erase the person.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Remember a person in RUN by the embeddings of photos, which are not kept; or erase one; or list who is known."""
    if forget and (name is None or photos):
        raise InputError("--forget erases one person: chainrule enrol RUN NAME --forget")
    if name is not None and not photos and not forget:
        raise InputError(f"give photos of {name!r}, or --forget")

    def act(trained: Any) -> Any:
        if name is None:
            return trained.enrolled()
        return trained.forget(name) if forget else trained.enrol(name, photos)

    _show(load_api().load(run), act, as_json)


@app.command(short_help="Who of the enrolled people is on a photo.")
def identify(
    run: RunFolder,
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A photo of one face.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Who of the people enrolled in RUN is on a photo, or unknown."""
    _show(load_api().load(run), lambda trained: trained.identify(photo), as_json)


def _show(trained: Any, act: Any, as_json: bool) -> None:
    found = act(trained)
    show_notes(trained)
    if as_json:
        print_json(found.as_dict())
        return
    for note in getattr(found, "notes", ()):
        typer.echo(f"note: {note}", err=True)
    for line in found.lines():
        typer.echo(line)
