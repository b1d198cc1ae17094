"""Verbs that make something new: generate."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chainrule.cli.shared import Debug, Json, RunFolder, load_api, print_json
from chainrule.errors import InputError

app = typer.Typer()


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
    trained, texts = load_api().load(run), list[str]()
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
        print_json({"texts": texts})
