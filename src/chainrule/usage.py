"""What a person types to use a finished run, by what it learned."""

from __future__ import annotations

from pathlib import Path

from chainrule.explaining import explainer

USES = {  # by task, where it is not `predict RUN INPUT`
    "language": ("generate", "--prompt TEXT"), "segment": ("predict", "INPUT --out FOLDER"),
    "forecast": ("predict", "--horizon N"), "verify": ("verify", "A B"),
    "embed": ("search", "INPUT"),
}  # fmt: skip
MORE = {  # other verbs, by task
    "reconstruct": (("generate", "-n 64"), ("search", "INPUT")), "embed": (("feed", "--liked INPUT"),),
    "verify": (("enrol", "NAME PHOTO"), ("identify", "PHOTO")),
}  # fmt: skip


def uses(path: Path, task: str, kind: str) -> dict[str, str]:
    """The commands by verb: the one that answers first, others, and explain where it serves the run.

    Example:
        >>> uses(Path("runs/prices"), "forecast", "series")
        {'predict': 'chainrule predict runs/prices --horizon N'}
    """
    verb, words = USES.get(task, ("predict", "INPUT"))
    explain = {"explain": f"chainrule explain {path}"} if explainer(task, kind) else {}
    more = {other: f"chainrule {other} {path} {rest}" for other, rest in MORE.get(task, ())}
    return {verb: f"chainrule {verb} {path} {words}", **more, **explain}
