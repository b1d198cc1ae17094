"""Which columns of a table hold texts: cells of several words that hardly repeat."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from chainrule.data.delimited import HEAD_BYTES, LONG_LINES, Layout, is_header, read_bytes, read_head, sniff, suffix
from chainrule.data.encoding import decode_text
from chainrule.errors import InputError

LOOKED_AT = 500  # rows that decide
WORDS = 5.0  # of a cell on average, from which on a column holds texts
FEW_WORDS = 1.5  # that do where the column's name says so
DISTINCT = 0.5  # share of different cells
MOST_OTHERS = 3  # columns beside the texts, the label and row numbers; a table with more is a table
TEXT_NAMES = frozenset(
    {
        "text", "texts", "sentence", "sentences", "review", "reviews", "comment", "comments", "tweet", "message",
        "document", "content", "body", "question", "utterance", "headline", "title", "description", "summary", "phrase",
    }
)  # fmt: skip
LABEL_NAMES = frozenset(
    {
        "y", "label", "labels", "target", "targets", "class", "classes", "sentiment", "category", "categories",
        "polarity", "intent", "topic", "topics", "tag", "tags", "emotion",
    }
)  # fmt: skip
TABBED = (".tsv", ".tab")
WORD = r"[^\W\d_]{2,}"
SIGN = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # written without spaces
SIGNS_PER_WORD = 2.0


@dataclass(frozen=True)
class Roles:
    """What the columns of a table of texts are."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]  # columns that may be the label, the likeliest first
    words: float  # of a text on average

    def reason(self, columns: int) -> str:
        """In words."""
        named = " and ".join(map(repr, self.texts))
        held = "hold" if len(self.texts) > 1 else "holds"
        return f"column {named} of {columns} {held} texts ({self.words:.0f} words on average)"


@dataclass(frozen=True)
class _Column:
    name: str
    words: float
    characters: int
    distinct: float
    numeric: bool

    @property
    def is_text(self) -> bool:
        least = FEW_WORDS if self.name.strip().lower() in TEXT_NAMES else WORDS
        return not self.numeric and self.words >= least and self.distinct >= DISTINCT

    @property
    def is_number_of_rows(self) -> bool:
        return self.distinct == 1 and (self.numeric or re.search(r"(?i)(^|[^a-z])id$", self.name) is not None)


def roles_of(frame: pl.DataFrame, texts: Collection[str] = (), label: str = "") -> Roles | None:
    """Which columns are texts and which may be the label, from the first rows; None where this is no table of texts.

    That is one without a column of texts, or of a label; or with many other columns, or most of its content in them.

    Args:
        texts, label: columns that are known to be so.
    """
    columns = [_look(frame.head(LOOKED_AT)[name]) for name in frame.columns]
    found = [c for c in columns if (c.name in texts if texts else c.is_text) and c.name != label]
    others = [c for c in columns if c not in found]
    labels = [c.name for c in others if _may_be_label(c)] if not label else [label]
    beside = [c for c in others if not c.is_number_of_rows]
    if not found or not labels or len(beside) > 1 + MOST_OTHERS:
        return None
    written = sum(c.characters for c in found)
    if not texts and 2 * written < sum(c.characters for c in columns):
        return None
    labels.sort(key=lambda name: name.strip().lower() not in LABEL_NAMES)
    return Roles(tuple(c.name for c in found), tuple(labels), sum(c.words for c in found))


def _may_be_label(column: _Column) -> bool:
    named = column.name.strip().lower() in LABEL_NAMES
    return named or (not column.is_number_of_rows and (column.numeric or column.distinct <= DISTINCT))


def _look(series: pl.Series) -> _Column:
    known = series.drop_nulls()
    numeric = known.dtype.is_numeric() or known.dtype == pl.Boolean
    if not numeric and known.dtype != pl.String:
        return _Column(series.name, 0.0, 0, 1.0, False)
    cells = known.cast(pl.String).str.strip_chars() if len(known) else pl.Series(series.name, [], dtype=pl.String)
    cells = cells.filter(cells != "")
    if not len(cells):
        return _Column(series.name, 0.0, 0, 0.0, False)
    numeric = numeric or bool(cells.cast(pl.Float64, strict=False).is_not_null().mean() == 1)
    counts = cells.str.count_matches(WORD) + cells.str.count_matches(SIGN) / SIGNS_PER_WORD
    words = float(counts.mean() or 0)  # type: ignore[arg-type]
    characters = int(cells.str.len_chars().sum())
    return _Column(series.name, words, characters, cells.n_unique() / len(cells), numeric)


def layout_of(path: Path) -> Layout | None:
    """The layout of a delimited file; in a tab-separated one quotes are content unless every cell closes them."""
    if suffix(path) in TABBED:
        text = _head_text(path)
        rows = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()][: LOOKED_AT + 1]
        width = len(rows[0]) if rows else 0
        if width > 1 and not quoted(text) and all(len(row) == width for row in rows):
            header = is_header(rows[0], rows[1:])
            named = header and all(rows[0]) and len(set(rows[0])) == width
            names = tuple(rows[0]) if named else tuple(f"column {i + 1}" for i in range(width))
            return Layout(
                delimiter="\t", columns=width, names=names, header=header, encoding="utf-8", decimal_comma=False,
                types=("text",) * width,
            )  # fmt: skip
    return sniff(path)


def quoted(text: str) -> bool:
    """Whether cells of a tab-separated text that begin with a quote end with one as well: then these are no content."""
    cells = [cell for line in text[:HEAD_BYTES].split("\n")[:LOOKED_AT] for cell in line.rstrip("\r").split("\t")]
    begun = [cell for cell in cells if cell.startswith('"')]
    return bool(begun) and all(len(cell) > 1 and cell.endswith('"') for cell in begun)


def head_of(path: Path) -> pl.DataFrame:
    """The first rows of a delimited file as texts; without columns where it is none."""
    layout = layout_of(path)
    if layout is None or layout.columns < 2:
        return pl.DataFrame()
    text = _head_text(path)
    found: Iterator[list[str]]
    if layout.delimiter == "\t" and not quoted(text):
        found = iter(line.rstrip("\r").split("\t") for line in text.split("\n"))
    else:
        found = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter)
    rows: list[list[str]] = []
    try:
        for row in found:
            if len(row) == layout.columns:
                rows.append(row)
            if len(rows) > LOOKED_AT:
                break
    except csv.Error:
        pass  # a cell that is cut at the end, or longer than the reader takes: the rows before it decide
    return pl.DataFrame(rows[int(layout.header) :], schema=dict.fromkeys(layout.names, pl.String), orient="row")


def _head_text(path: Path) -> str:
    try:
        return decode_text(_whole_lines(read_head(path)), path.name)[0]
    except InputError:
        return ""


def head_of_parquet(path: Path) -> pl.DataFrame:
    """The first rows of a Parquet file; without columns where it cannot be read."""
    packed = path.name.lower().endswith(".gz")
    try:
        return pl.scan_parquet(io.BytesIO(read_bytes(path)) if packed else path).head(LOOKED_AT).collect()
    except pl.exceptions.PolarsError:
        return pl.DataFrame()


def head_of_json_lines(path: Path) -> pl.DataFrame:
    """The first rows of a JSON lines file; without columns where it cannot be read."""
    try:
        return pl.read_ndjson(io.BytesIO(_whole_lines(read_bytes(path, HEAD_BYTES))), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return pl.DataFrame()


def _whole_lines(head: bytes) -> bytes:
    """Without the last, perhaps cut, line."""
    return head[: head.rfind(b"\n") + 1] or head if len(head) in (HEAD_BYTES, LONG_LINES) else head
