"""What the verbs share: the options that several have, and how results are shown."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chainrule.progress import Progress
    from chainrule.train.report import Report

Word, Count, Number = str | None, int | None, float | None  # None: not typed
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="part.name=value", help="Any setting, repeatable.")]
Name = Annotated[Word, typer.Argument(metavar="NAME", help="One of them.")]
Second = Annotated[Word, typer.Argument(metavar="SOURCE2", help="The translations of SOURCE, line by line.")]
Horizon = Annotated[Count, typer.Option(metavar="N", help="Steps of a series to forecast.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


def load_api() -> Any:
    import chainrule.api

    gc.freeze()  # what was imported lives on; from here on garbage is collected again
    gc.enable()
    return chainrule.api


def check_place(out: str | None) -> None:
    """Refuse a file that cannot be written before anything is computed for it."""
    from chainrule.predicting import check_file

    if out:
        check_file(out)


def read_settings(texts: list[str] | None) -> dict[str, Any]:
    from chainrule.recipe import parse_setting

    return dict(parse_setting(text) for text in texts or [])


class Show:
    """Progress and results for a person: on standard error beside JSON, otherwise on standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.progress: Progress | None = None

    def __enter__(self) -> Show:
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
            print_json({"run": str(run.path), **run.metrics})
            return
        for text in run.lines():
            typer.echo(text)


def show_notes(trained: Any) -> None:
    for note in trained.notes:
        typer.echo(f"note: {note}", err=True)


def between(bounds: list[float] | None) -> str:
    return f"  (95 % between {bounds[0]:.4g} and {bounds[1]:.4g})" if bounds else ""


def show_table(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        values = list(row.values())
        typer.echo(f"{values[0]:16} " + " · ".join(str(value) for value in values[1:] if value))


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n")
