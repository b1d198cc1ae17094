"""The command line: verbs only. Each parses words, calls ``api`` and shows what came back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chainrule.cli import faces, inside, learn, lists, make, search
from chainrule.errors import InputError, NonFiniteError, Stopped

app = typer.Typer(
    name="chainrule", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="From a person's data to a trained, proven, explained and usable neural network.",
)  # fmt: skip
for verbs in (learn, make, faces, search, inside, lists):  # in the order of --help
    app.add_typer(verbs.app)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """From a person's data to a trained, proven, explained and usable neural network."""
    if version:
        import chainrule

        typer.echo(chainrule.__version__)
        raise typer.Exit


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
