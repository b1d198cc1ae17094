"""The pages of the architectures: their numbers are those of the built networks, their figures are what is drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chainrule
from chainrule.models.catalog import CATALOG

PAGES = sorted((Path(__file__).parents[2] / "docs/models").glob("*.md"))
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
FIGURES = sorted((Path(__file__).parents[2] / "docs/models").glob("*.svg"))


@pytest.mark.parametrize("name", list(CATALOG))
def test_the_networks_parameters_stand_on_its_page(name: str) -> None:
    page = max((page for page in TEXTS if name.startswith(page)), key=len)  # unetpp has a page of its own beside unet's
    parameters = f"{chainrule.describe(name).parameters:,}"
    assert re.search(rf"(?<![\d,]){parameters}(?!\d|,\d)", TEXTS[page]), parameters


@pytest.mark.parametrize("page", list(TEXTS))
def test_every_page_says_what_a_reader_asks(page: str) -> None:
    text = TEXTS[page]
    assert re.search(r"!\[.+\]\(\w+\.svg\)", text), "a figure"
    for what in (r"tests/parity/test_\w+\.py", "(?i)equation|= sum", "(?i)source|paper", "(?i)parameters"):
        assert re.search(what, text), what


@pytest.mark.parametrize("figure", FIGURES, ids=lambda path: path.stem)
def test_every_figure_is_up_to_date(figure: Path) -> None:
    assert figure.read_text(encoding="utf-8") == chainrule.describe(figure.stem).svg(), (
        f"draw it again: chainrule models {figure.stem} --out docs/models/{figure.name}"
    )
