"""A page of pictures side by side: what was asked for, and what is most like it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from chainrule.evaluate import charts
from chainrule.evaluate.report import Picture


def render_alike(title: str, asked: Sequence[Picture], found: Sequence[Picture], notes: Sequence[str] = ()) -> str:
    """The page. Every word from the data is escaped, and its own policy forbids scripts and requests.

    Example:
        >>> import numpy as np
        >>> "b.png" in render_alike("Like a.png", [], [Picture(image=np.zeros((8, 8, 3), np.uint8), caption="b.png")])
        True
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("chainrule.evaluate").joinpath("templates/alike.html").read_text("utf-8"))
    rows = [[(charts.png(picture.image), picture.caption) for picture in row] for row in (asked, found)]
    return template.render(title=title, asked=rows[0], found=rows[1], notes=notes)
