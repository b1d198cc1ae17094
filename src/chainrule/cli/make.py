"""Verbs that make something new: generate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule.cli.shared import Count, Debug, Json, RunFolder, Word, check_place, load_api, print_json
from chainrule.errors import InputError

app = typer.Typer()
TEXTS, ROWS = 1, 64  # that are made where no number is given
SHEET = "samples/generated.png"


@app.command(short_help="Go on with a text; draw new rows.")
def generate(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What the text begins with.")] = "",
    number: Annotated[Count, typer.Option("-n", metavar="N", help="So many texts (1), or new rows (64).")] = None,
    length: Annotated[int, typer.Option(metavar="TOKENS", help="At most so long; 0: as usual for these texts.")] = 0,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest; above 1: more even.")] = 1.0,
    top_k: Annotated[int, typer.Option(metavar="K", help="Draw from the K likeliest; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Draw from the likeliest that have this share.")] = 1.0,
    repetition: Annotated[float, typer.Option(help="Factor by which tokens lose that came before.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this; repeatable.")] = None,
    of: Annotated[str, typer.Option("--class", metavar="NAME", help="Of new rows: only such ones.")] = "",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[
        Word, typer.Option(metavar="FILE", help="Of new rows: write them here, pictures as one PNG.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a text, as RUN learned to, shown while it is written; or draw new rows from an autoencoder.

    Texts have --prompt, --length, --temperature, --top-k, --top-p, --repetition and --stop; rows --class and --out.
    """
    check_place(out)
    trained = load_api().load(run)
    how = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition": repetition}
    usual = {"length": 0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition": 1.0}
    if trained.task == "reconstruct":
        if prompt or stop or how != usual:
            raise InputError("an autoencoder draws rows: give -n, --class, --seed and --out, the others are for texts")
        _draw(trained, ROWS if number is None else number, of, seed, out, as_json)
        return
    if of or out:
        raise InputError(f"--class and --out are for rows of an autoencoder, {run} is none; leave them out")
    _write_on(trained, TEXTS if number is None else number, as_json, prompt, stop=stop or (), seed=seed, **how)


def _draw(trained: Any, number: int, of: str, seed: int, out: str | None, as_json: bool) -> None:
    """New rows: pictures into a file, others into one or onto standard output."""
    rows = trained.drawn(number, of=of, seed=seed)
    text = rows.written()
    place = Path(out) if out else None if text else trained.path / SHEET
    if place:
        if not out:
            place.parent.mkdir(exist_ok=True)
        rows.save(place)
        typer.echo(f"{number} {rows.NOUN} in {place}", err=as_json)
    if as_json:
        listed = {rows.NOUN: rows.listed()} if text else {}
        print_json({"number": number, **({"file": str(place)} if place else {}), **listed})
    elif not place:
        typer.echo(text, nl=False)


def _write_on(trained: Any, number: int, as_json: bool, prompt: str, **how: Any) -> None:
    """Texts, shown while they are written."""
    if number < 1:
        raise InputError(f"-n is a number of texts from 1, got {number}")
    texts = list[str]()
    for place in range(number):
        written = prompt if as_json else ""
        sys.stdout.write("" if as_json else prompt)
        for piece in trained.generate(prompt, number=place, **how):
            if as_json:
                written += piece
            else:
                sys.stdout.write(piece)
                sys.stdout.flush()
        sys.stdout.write("" if as_json else "\n")
        texts.append(written)
    if as_json:
        print_json({"texts": texts})
