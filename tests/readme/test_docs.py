"""The pages under docs/: links lead somewhere, everything that is built has its place, Python blocks run."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import chainrule
from chainrule.cli import app, run
from chainrule.fitting import RESUMABLE
from chainrule.models.catalog import CATALOG
from chainrule.recipe import FIXED
from chainrule.recognise import KINDS, find_kind
from chainrule.tasks.table import TASKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
KIND_PAGES = {
    "gates": "truth-tables.md",
    "table": "tables.md",
    "text": "text.md",
    "image": "images.md",
    "mask": "masks.md",
    "audio": "sound.md",
    "video": "video.md",
    "series": "series.md",
    "parallel": "translation.md",
    "corpus": "corpus.md",
}
PYTHON = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
UNTOLD: set[str] = set()  # settings that no one sets by hand


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings have."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (fragment and fragment not in anchors(there)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:tests|benchmarks|[a-z]+)/[\w/]+\.py)`", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not any((base / name).is_file() for base in (ROOT, ROOT / "src/chainrule"))]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT], ids=title)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in PYTHON.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, title(page), "exec"), names)


def test_every_page_is_reached_from_the_index() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)\s]+)\)", text("README.md"))}
    unlinked = [title(page) for page in DOCS.rglob("*.md") if page.resolve() not in linked and page.name != "README.md"]
    assert unlinked == []


def test_every_network_has_a_page_and_a_row() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "models").glob("*.md"))
    shown = text("data-to-network.md")
    assert [name for name in CATALOG if not re.search(rf"\b{name}\b", pages)] == []
    families = {re.match(r"[a-z]+", name)[0] for name in CATALOG}  # type: ignore[index]
    assert [name for name in families if not re.search(rf"\b{name}", shown)] == []


def test_every_kind_has_a_page_and_a_row() -> None:
    assert set(KIND_PAGES) == set(KINDS)
    shown = text("data-to-network.md").partition("## Not built yet")[0]
    for kind, page in KIND_PAGES.items():
        assert (DOCS / page).is_file()
        assert f"`{kind}`" in shown
        assert f"({page})" in shown


def test_every_verb_and_option_is_on_the_command_line_page() -> None:
    page = text("command-line.md")
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"`{verb} " in page, verb
        options = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
        assert [name for name in options if f"`{name}" not in page] == [], verb


def test_every_setting_is_on_the_command_line_page() -> None:
    augments = [("augment", kind.AUGMENT) for kind in map(find_kind, KINDS) if kind.AUGMENT is not None]
    parts = [*FIXED.items(), *(("task", entry.config) for entry in TASKS.values()), *augments]
    known = {f"{part}.{field.name}" for part, config in parts for field in dataclasses.fields(config)}
    told = set(re.findall(r"`((?:data|augment|task|optimizer|schedule|train)\.\w+)`", text("command-line.md")))
    assert told == known - UNTOLD


def test_every_public_name_is_on_the_python_page() -> None:
    page = text("python.md")
    assert [name for name in chainrule.__all__ if not re.search(rf"`{name}[(`]", page)] == []


def test_what_resume_may_change_is_told() -> None:
    page = text("exact-resume.md").partition("## What may change on resume")[2].partition("## Exceptions")[0]
    assert set(re.findall(r"`((?:data|train)\.\w+)`", page)) == set(RESUMABLE)


def test_the_run_folder_holds_what_its_page_says(tmp_path: Path) -> None:
    page, out = text("run-folder.md"), tmp_path / "run"
    words = ["fit", "iris", "--model", "mlp", "--epochs", "2", "--folds", "2", "--set", "train.average=0.9"]
    assert run([*words, "--out", str(out)]) == 0
    names = {path.name for path in out.rglob("*") if path.is_file() and "folds" not in path.parts}
    assert [name for name in names if f"`{name}`" not in page] == []
    for name in ("metrics.json", "data.json"):
        keys = json.loads((out / name).read_text())
        assert [key for key in keys if f"`{key}`" not in page] == [], name
    metrics = json.loads((out / "metrics.json").read_text())
    assert [key for key in metrics["folds"] if f"`{key}`" not in page] == []
    assert [key for key in metrics["test"] if f"`{key}`" not in page] == []
    *_, state = sorted((out / "checkpoints").glob("*/state.json"))
    counters = [key for key in json.loads(state.read_text()) if "seconds" not in key]
    assert [key for key in counters if f"`{key}`" not in page] == []
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [key for event in events for key in event if f"`{key}`" not in page] == []
