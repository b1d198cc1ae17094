"""A proof's row replaces its older one and leaves the page above alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.prove.record import HEADING, record


def test_rows_are_replaced_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "results.md"
    page.write_text("# Results\n\nwritten by hand\n")
    record("kills", "1 of 1", page)
    assert page.read_text() == "# Results\n\nwritten by hand\n"
    monkeypatch.setenv("CHAINRULE_RECORD", "1")
    for name, result in (("kills", "1 of 1"), ("accuracy", "0.9"), ("kills", "2 of 2")):
        record(name, result, page)
    text = page.read_text()
    assert text.startswith("# Results\n\nwritten by hand\n\n" + HEADING)
    assert text.count("| kills |") == 1
    assert "| kills | 2 of 2 |" in text
    assert "| accuracy | 0.9 |" in text
