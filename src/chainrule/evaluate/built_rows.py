"""Rows that a network built, as a person sees them, by what they are: pictures, columns, windows of series, texts.

Each class shows rows beside the true ones, in steps, or alone (a section of the report each), and saves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import InputError
from chainrule.evaluate.charts import Series, line_chart, number
from chainrule.evaluate.report import Picture, Section
from chainrule.evaluate.sheet import sheet

if TYPE_CHECKING:
    import polars

STRIP = 8  # pictures beside each other
MOST_ON_SHEET = 1024
MOST_COLUMNS = 24  # of a table's rows that are shown
MOST_LINES = 3  # columns of a series that are drawn
FEW = 4  # rows of a table, windows or texts that are shown where pictures would be eight


class BuiltRows(Protocol):
    """Rows of one sort."""

    NOUN: ClassVar[str]  # what they are: "pictures"

    @property
    def values(self) -> Any:
        """The rows as data: an array, a DataFrame or a list."""

    def written(self) -> str:
        """The rows as text; "" where they have none."""

    def listed(self) -> list[Any]:
        """The rows as JSON has them; none where they are too much for it."""

    def compared(self, title: str, truth: Self, ids: Sequence[str]) -> Section:
        """Each row beside the true one."""

    def stepped(self, title: str, steps: int) -> Section:
        """Rows that lead from one to another, ``steps`` each."""

    def alone(self, title: str) -> Section:
        """The rows by themselves."""

    def save(self, path: Path) -> None:
        """Write the rows to a file."""


@dataclass(frozen=True)
class Pictures:
    """Pictures (N, H, W, C) uint8."""

    NOUN: ClassVar[str] = "pictures"
    values: NDArray[np.uint8]

    def written(self) -> str:
        """Pictures have no text."""
        return ""

    def listed(self) -> list[Any]:
        """Pictures are in their file."""
        return []

    def compared(self, title: str, truth: Self, ids: Sequence[str]) -> Section:
        """The true pictures in one strip, those built below."""
        strips: list[list[Picture]] = []
        for rows in _parts(range(len(ids)), STRIP):
            strips.append(_strip(truth, rows, [ids[row] for row in rows]))
            strips.append(_strip(self, rows, ["built again"] * len(rows)))
        return Section(title=title, pictures=strips)

    def stepped(self, title: str, steps: int) -> Section:
        """A strip for each way."""
        return Section(title=title, pictures=[_strip(self, rows) for rows in _parts(range(len(self.values)), steps)])

    def alone(self, title: str) -> Section:
        """Strips of eight."""
        return self.stepped(title, STRIP)

    def coloured(self) -> list[NDArray[np.uint8]]:
        """Each as (H, W, 3)."""
        return list(np.repeat(self.values, 3, axis=3) if self.values.shape[3] == 1 else self.values)

    def save(self, path: Path) -> None:
        """One PNG, about as many pictures wide as high.

        Raises:
            InputError: there are more than fit on a sheet.
        """
        if len(self.values) > MOST_ON_SHEET:
            raise InputError(
                f"a sheet holds {MOST_ON_SHEET:,} pictures, got {len(self.values):,}; ask for fewer, or take arrays in "
                "Python: chainrule.load(RUN).draw(number)"
            )
        width = max(1, round(len(self.values) ** 0.5))
        path.write_bytes(sheet(_parts(self.coloured(), width)))


@dataclass(frozen=True)
class Columns:
    """Rows of a table."""

    NOUN: ClassVar[str] = "rows"
    values: polars.DataFrame

    def written(self) -> str:
        """CSV."""
        return self.values.write_csv()

    def listed(self) -> list[Any]:
        """A dictionary for each row."""
        return self.values.to_dicts()

    def compared(self, title: str, truth: Self, ids: Sequence[str]) -> Section:
        """The columns below each other, of each row its value and the one built."""
        head = ["column", *(word for name in ids[:FEW] for word in (name, "built again"))]
        table = [head]
        for name in self.values.columns[:MOST_COLUMNS]:
            true, built = truth.values[name].to_list(), self.values[name].to_list()
            table.append([name, *(_cell(value) for row in range(len(head) // 2) for value in (true[row], built[row]))])
        return Section(title=title, table=table, text=self._more())

    def stepped(self, title: str, steps: int) -> Section:
        """The columns below each other, the steps beside each other; the first way alone."""
        head = ["column", *(f"step {step + 1}" for step in range(steps))]
        return Section(title=title, table=self._table(head, steps), text=self._more())

    def alone(self, title: str) -> Section:
        """The columns below each other, the rows beside each other."""
        count = min(STRIP, len(self.values))
        head = ["column", *(f"row {row + 1}" for row in range(count))]
        return Section(title=title, table=self._table(head, count), text=self._more())

    def _table(self, head: list[str], count: int) -> list[list[str]]:
        names = self.values.columns[:MOST_COLUMNS]
        return [head, *([name, *map(_cell, self.values[name].head(count).to_list())] for name in names)]

    def _more(self) -> str:
        left = len(self.values.columns) - MOST_COLUMNS
        return f"The first {MOST_COLUMNS} columns; {left} more are not shown." if left > 0 else ""

    def save(self, path: Path) -> None:
        """A CSV."""
        self.values.write_csv(path)


@dataclass(frozen=True)
class Windows:
    """Windows (N, T, C) of series, in their own units."""

    NOUN: ClassVar[str] = "windows"
    array: NDArray[np.float64]
    names: tuple[str, ...]

    def written(self) -> str:
        """CSV."""
        return self.values.write_csv()

    def listed(self) -> list[Any]:
        """A dictionary for each step."""
        return self.values.to_dicts()

    @property
    def values(self) -> polars.DataFrame:
        """A row for each step: "window", "step" and the columns, to a millionth of their spread."""
        import polars

        N, T, C = self.array.shape
        places = {"window": np.repeat(np.arange(N), T), "step": np.tile(np.arange(T), N)}
        columns = zip(self.names, self.array.reshape(N * T, C).T, strict=True)
        return polars.DataFrame({**places, **{name: _rounded(values) for name, values in columns}})

    def compared(self, title: str, truth: Self, ids: Sequence[str]) -> Section:
        """A chart of each column of a few windows."""
        charts = []
        for row in range(min(FEW, len(ids))):
            for place, name in enumerate(self.names[:MOST_LINES]):
                lines = [
                    _line("true", truth.array[row, :, place]),
                    _line("built again", self.array[row, :, place], dashed=True),
                ]
                charts.append(line_chart(f"{name}, {ids[row]}", lines, "step", name))
        return Section(title=title, svg="".join(charts))

    def stepped(self, title: str, steps: int) -> Section:
        """A chart of the first column for each way."""
        charts = [
            line_chart(
                f"{self.names[0]}, way {place + 1}",
                [_line(f"{step + 1}", window[:, 0]) for step, window in enumerate(part)],
                "step",
                self.names[0],
            )
            for place, part in enumerate(_parts(self.array, steps))
        ]
        return Section(title=title, svg="".join(charts))

    def alone(self, title: str) -> Section:
        """A chart of each column, with a line for each of a few windows."""
        charts = []
        for place, name in enumerate(self.names[:MOST_LINES]):
            lines = [_line(f"{row + 1}", window[:, place]) for row, window in enumerate(self.array[:FEW])]
            charts.append(line_chart(name, lines, "step", name))
        return Section(title=title, svg="".join(charts))

    def save(self, path: Path) -> None:
        """A CSV."""
        self.values.write_csv(path)


@dataclass(frozen=True)
class Texts:
    """Texts."""

    NOUN: ClassVar[str] = "texts"
    values: list[str]

    def written(self) -> str:
        """A line for each text."""
        return "".join(f"{text}\n" for text in self.values)

    def listed(self) -> list[Any]:
        """The texts."""
        return self.values

    def compared(self, title: str, truth: Self, ids: Sequence[str]) -> Section:
        """Each text, and below it what was built."""
        pairs = zip(ids[:STRIP], truth.values, self.values, strict=False)
        return Section(title=title, text="\n\n".join(f"{name}\n{true}\n→ {built}" for name, true, built in pairs))

    def stepped(self, title: str, steps: int) -> Section:
        """The steps below each other."""
        return Section(title=title, text="\n\n".join("\n".join(part) for part in _parts(self.values, steps)))

    def alone(self, title: str) -> Section:
        """The texts below each other."""
        return Section(title=title, text="\n".join(self.values[:STRIP]))

    def save(self, path: Path) -> None:
        """A line for each text."""
        path.write_text(self.written(), encoding="utf-8")


def _strip(pictures: Pictures, rows: Sequence[int], captions: Sequence[str] = ()) -> list[Picture]:
    images, named = pictures.coloured(), captions or [""] * len(rows)
    return [Picture(image=images[row], caption=name) for row, name in zip(rows, named, strict=True)]


def _parts(rows: Any, size: int) -> list[Any]:
    """``size`` rows at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _line(name: str, values: NDArray[np.float64], dashed: bool = False) -> Series:
    return Series(name=name, x=np.arange(len(values)), y=values, dashed=dashed)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    rounded: NDArray[np.float64] = values.round(6 - int(np.floor(np.log10(spread)))) if spread > 0 else values
    return rounded


def _cell(value: Any) -> str:
    if value is None:
        return "missing"
    return number(round(value, 12)) if isinstance(value, float) else str(value)
