"""Live progress of a training: a bar on a terminal, a line now and then elsewhere. A plain callable around the loop."""

from __future__ import annotations

import time
from typing import IO, Any

from chainrule.train.report import Report

REDRAW_S = 0.1  # between two looks at the loss, which waits for the device
LINE_S = 5.0  # between two lines where there is no terminal


class Progress:
    """Called with every report; shows the epoch, the iteration, the loss and the last validation scores."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.shown = 0.0
        self.valid = ""
        self.unshown: Report | None = None  # the newest report where it was not drawn
        self.bar: Any = None
        self.row: Any = None

    def __call__(self, report: Report) -> None:
        """Take in one report; draws only when it is time to."""
        for note in report.notes:
            self.stream.write(note + "\n")
        if report.valid is not None:
            self.valid = " · ".join(f"{name} {report.valid[name]:.4g}" for name in list(report.valid)[:2])
        last = report.step == report.steps
        now = time.monotonic()
        self.unshown = report
        if last or now - self.shown >= (REDRAW_S if self.terminal else LINE_S):
            self.shown = now
            self._show(report)

    def close(self) -> None:
        """Show where the training ended, and leave the terminal as it was."""
        if self.unshown is not None:
            self._show(self.unshown)
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show(self, report: Report) -> None:
        self.unshown = None
        text = f"{report} · loss {report.loss:.4g}" + (f" · valid {self.valid}" if self.valid else "")
        if self.terminal:
            self._draw(report, text)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()

    def _draw(self, report: Report, text: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if self.bar is None:
            columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(file=self.stream), transient=True)
            self.bar.start()
            self.row = self.bar.add_task(text, total=report.steps)
        self.bar.update(self.row, completed=report.step, description=text)
