"""The errors a person meets: what came, what was expected, how to fix it."""


class InputError(ValueError):
    """Bad input or usage. The command line shows its one message and leaves with exit code 2."""


class MissingTargetError(InputError):
    """The source lacks the column to learn; a test file without answers is no mistake, only nothing to score on."""


class NonFiniteError(ArithmeticError):
    """Training met a loss or a gradient that is not a number; exit code 3, the last good model is kept."""


class Stopped(Exception):
    """A signal asked the run to stop; everything is saved. ``signum`` gives the exit code 128 + signum."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """A hint for a misspelt name: the nearest known ones, or all of them where there are few."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "known: " + ", ".join(known)
