"""Text with delimiters: finds delimiter, header, encoding and decimal sign, then reads with Polars.

What Polars cannot read (spaces before quotes, lone carriage returns, columns set apart by spaces) is read row by row
with Python's csv module; ragged rows are refused with their numbers.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

import polars as pl

from chainrule.errors import InputError

MISSING = ("", "?", "NA", "N/A", "n/a", "na", "NaN", "nan", "NAN", "NULL", "null", "Null", "#N/A")
ALWAYS = {".csv", ".tsv", ".tab", ".psv"}
PERHAPS = {".txt", ".data", ".dat", ".test", ".train"}

HEAD_BYTES = 1 << 18
FEW_LINES, LONG_LINES = 10, 1 << 23  # in the first bytes of a file, and bytes that are looked at where there are fewer
csv.field_size_limit(1 << 26)  # a cell may hold a book; the module's own limit is 128 KB
HEAD_ROWS = 500
WORDS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'", " ": "spaces"}
ROW_NAME = "row name"  # a first column that the header leaves out, as R writes it
WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
NUMBER_COMMA = re.compile(r"[+-]?(0|[1-9]\d*)(,\d+)?")
NOT_PLAIN = re.compile(r"[,;|\t] +\"|\r[^\n]")  # a space before a quote, a carriage return alone


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a delimited file is written."""

    delimiter: str
    columns: int
    names: tuple[str, ...]  # the header's names, or "column 1", ... where there is none
    header: bool
    encoding: str
    decimal_comma: bool
    plain: bool = True  # Polars can read it
    skip: int = 0  # non-empty lines above the table
    types: tuple[str, ...]  # "whole", "number" or "text" of each column, from the first rows
    notes: tuple[str, ...] = ()

    def words(self) -> str:
        """The layout as a person would say it."""
        header = "with a header" if self.header else "no header"
        if self.columns == 1:
            return f"one column, {header}"
        return f"{WORDS[self.delimiter]} between {self.columns} columns, {header}"


def suffix(path: Path) -> str:
    """The file name's ending in small letters, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _open(path: Path) -> IO[bytes]:
    packed = path.name.lower().endswith(".gz")
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def read_bytes(path: Path, size: int = -1) -> bytes:
    """The (unpacked) content, or its first ``size`` bytes. Raises InputError for a damaged .gz."""
    try:
        with _open(path) as file:
            return file.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path.name}: the compressed file is damaged ({error}); fetch or write it again") from None


def read_head(path: Path) -> bytes:
    """The first bytes of a file: enough for several lines, however long they are."""
    head = read_bytes(path, HEAD_BYTES)
    return read_bytes(path, LONG_LINES) if len(head) == HEAD_BYTES and head.count(b"\n") < FEW_LINES else head


def sniff(path: Path, names: Collection[str] = (), headless: bool = False) -> Layout | None:
    """The layout of a delimited text file, or None where this is no table.

    Args:
        names: known column names; a first row that holds one of them is the header.
        headless: the file is known to have no header.
    """
    head = read_head(path)
    if not head.strip():
        return None
    encoding = encoding_of(head)
    if encoding is None:
        return None
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    whole_file = len(head) not in (HEAD_BYTES, LONG_LINES)
    tried = {d: _head_rows(text, d, whole_file) for d in WORDS}
    delimiter = max(tried, key=lambda d: _fit(tried[d], d))
    rows = tried[delimiter]
    if _fit(rows, delimiter)[0] <= 0:
        delimiter, rows = ",", tried[","]
    certain = suffix(path) in ALWAYS
    if not rows or (not certain and not _convincing(rows, delimiter)):
        return None
    columns = Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]
    rows, skip = _without_preamble(rows, columns)
    first = [cell.strip() for cell in rows[0]]
    body = [[cell.strip() for cell in row] for row in rows[1:] if len(row) == columns]
    commas = delimiter != "," and _decimal_commas(body or [first])
    header = not headless and (
        not set(names).isdisjoint(first) or _short_header(rows) or is_header(first, body, commas)
    )
    plain = not skip and delimiter != " " and text[0] not in "\r\n" and not NOT_PLAIN.search(text)
    layout = _layout(first, body, delimiter, encoding, header, commas)
    notes = (f"the first {skip} lines are no part of the table and were passed over",) if skip else ()
    return replace(layout, plain=plain, skip=skip, notes=(*notes, *layout.notes))


def encoding_of(head: bytes) -> str | None:
    """The text encoding of a file's first bytes; None for binary content."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def _head_rows(text: str, delimiter: str, whole_file: bool) -> list[list[str]]:
    rows = []
    try:
        for row in _split(io.StringIO(text, newline=""), delimiter):
            if row:
                rows.append(row)
            if len(rows) > HEAD_ROWS:
                return rows
    except csv.Error:
        return rows[:-1]
    return rows if whole_file else rows[:-1]


def _split(lines: io.TextIOBase, delimiter: str) -> Iterator[list[str]]:
    """Rows of fields; an empty list for an empty line."""
    if delimiter == " ":
        tidy = (" ".join(line.split()) for line in lines)
        yield from csv.reader(tidy, delimiter=" ", skipinitialspace=True)
    else:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t")


def _fit(rows: list[list[str]], delimiter: str) -> tuple[float, bool, float, int]:
    """How well a delimiter fits: share of rows with the usual number of fields, whether the first row, where names may
    stand, has as many (decimal commas divide every row but that one), share of numbers, number of fields.
    """
    if not rows:
        return 0.0, False, 0.0, 0
    fields, count = Counter(map(len, rows)).most_common(1)[0]
    share = round(count / len(rows), 2)
    cells = [cell.strip() for row in rows[:50] for cell in row]
    numbers = sum(bool(NUMBER.fullmatch(c) or NUMBER_COMMA.fullmatch(c)) for c in cells) / max(len(cells), 1)
    if fields < 2 or (delimiter == " " and (share < 1 or numbers < 0.5)):
        return 0.0, False, 0.0, fields
    return share, len(rows[0]) == fields, numbers, fields


def _convincing(rows: list[list[str]], delimiter: str) -> bool:
    """Whether a file whose name does not promise a table holds one."""
    share, _, numbers, fields = _fit(rows, delimiter)
    cells = [cell for row in rows[:50] for cell in row]
    short = sum(map(len, cells)) / len(cells) < 40
    return len(rows) >= 3 and fields >= 2 and share >= 0.95 and short and (delimiter in "\t;|" or numbers >= 0.2)


def _without_preamble(rows: list[list[str]], columns: int) -> tuple[list[list[str]], int]:
    """The rows from the first that is wide enough to be the table's, and how many stood above it."""
    skip = int(rows[0][0].startswith("sep="))  # Excel's hint
    while skip < len(rows) and len(rows[skip]) < columns - (skip == 0 and columns > 2):
        skip += 1
    return rows[skip:], skip


def _short_header(rows: list[list[str]]) -> bool:
    """Whether the first row has one field less than all others, as R writes row names."""
    return len(rows) > 2 and {len(row) for row in rows[1:]} == {len(rows[0]) + 1}


def _layout(
    first: list[str], body: list[list[str]], delimiter: str, encoding: str, header: bool, commas: bool
) -> Layout:
    columns = len(body[0]) if body else len(first)
    notes: list[str] = []
    names = tuple(f"column {i + 1}" for i in range(columns))
    if header:
        if len(first) == columns - 1:
            first = [ROW_NAME, *first] if any(row[-1] for row in body) else [*first, ""]
            notes.append("the header has one name less than the rows have fields")
        names = _unique_names(first[:columns] + [""] * (columns - len(first)), notes)
    cells = body if header else [first, *body]
    types = tuple(_type([row[i] for row in cells if i < len(row)], commas) for i in range(columns))
    if encoding in ("cp1252", "utf-16"):
        notes.append(f"the text is not UTF-8; it was read as {'Windows-1252' if encoding == 'cp1252' else 'UTF-16'}")
    if commas:
        notes.append("',' was read as the decimal sign")
    return Layout(
        delimiter=delimiter, columns=columns, names=names, header=header, encoding=encoding,
        decimal_comma=commas, types=types, notes=tuple(notes),
    )  # fmt: skip


def _unique_names(names: list[str], notes: list[str]) -> tuple[str, ...]:
    """Column names without gaps and repetitions; what had to change goes to ``notes``."""
    unique: list[str] = []
    for i, name in enumerate(names):
        base = name or f"column {i + 1}"
        new, n = base, 2
        while new in unique or (new != base and new in names):
            new, n = f"{base} ({n})", n + 1
        if name and new != name:
            notes.append(f"the column name {name!r} stands more than once; the column in place {i + 1} is now {new!r}")
        unique.append(new)
    return tuple(unique)


def is_header(first: list[str], body: list[list[str]], commas: bool = False) -> bool:
    """Whether a first row holds names: words above numbers, or words that never come again below.

    Every column votes, as in csv.Sniffer.has_header: a word above numbers for, a number above numbers or a
    value that comes again below against.
    """
    if not body:
        return not any(_type([cell], commas) != "text" for cell in first if cell not in MISSING)
    if len(set(first)) < len(first) - first.count("") and all(
        cell in MISSING or _number(cell, commas) for cell in first
    ):
        return False
    votes = 0.0
    for i, cell in enumerate(first):
        below = [row[i] for row in body if row[i] not in MISSING]
        if not below or cell in MISSING:
            continue
        if sum(_number(value, commas) for value in below) >= 0.9 * len(below):
            votes += -1 if _number(cell, commas) else 1
        elif cell in below:
            votes -= 1
        elif len(set(below)) <= max(1, len(below) // 2):
            votes += 0.5
    return votes > 0 or (
        votes == 0 and len(set(first)) == len(first) and all(re.match(r"[^\W\d]\w*$", c) for c in first)
    )


def _number(cell: str, commas: bool) -> bool:
    return bool((NUMBER_COMMA if commas else NUMBER).fullmatch(cell))


def _decimal_commas(body: list[list[str]]) -> bool:
    cells = [cell for row in body for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+", cell)) for cell in cells)
    return commas > sum(bool(re.fullmatch(r"[+-]?(\d+|\d{1,3}(,\d{3})+)\.\d+", cell)) for cell in cells)


def _type(cells: list[str], commas: bool) -> str:
    known = [cell for cell in cells if cell not in MISSING]
    if known and all(WHOLE.fullmatch(cell) for cell in known):
        return "whole"
    return "number" if known and all(_number(cell, commas) for cell in known) else "text"


def read_delimited(path: Path, layout: Layout, texts: Set[str] = frozenset()) -> pl.DataFrame:
    """The file as a frame: number columns typed, all others as text, missing cells null, empty lines as empty rows.

    Args:
        texts: columns to keep as text whatever they look like.

    Raises:
        InputError: rows with too few or too many fields, named by number; no data rows.
    """
    frame = _read_polars(path, layout, texts) if layout.plain else None
    if frame is None or _may_have_short_rows(path, layout, frame):
        _refuse_ragged(path, layout)
    if frame is None:
        frame = _read_python(path, layout)
    if not len(frame):
        raise InputError(f"{path.name} has a header but no rows; expected at least one row of data")
    return frame


def _read_polars(path: Path, layout: Layout, texts: Set[str]) -> pl.DataFrame | None:
    """The frame by Polars; None where it cannot read the file."""
    kinds: dict[str, type[pl.DataType]] = {"whole": pl.Int64, "number": pl.Float64, "text": pl.String}
    typed = [pl.String if name in texts else kinds[t] for name, t in zip(layout.names, layout.types, strict=True)]
    simple = layout.encoding.startswith("utf-8") and not path.name.lower().endswith(".gz")
    content = b"" if simple else _recode(read_bytes(path), layout.encoding)
    for types in (typed, [pl.String] * layout.columns):
        try:
            return pl.read_csv(
                path if simple else io.BytesIO(content), separator=layout.delimiter, has_header=False,
                skip_rows=int(layout.header), new_columns=list(layout.names), schema_overrides=types,
                null_values=list(MISSING), decimal_comma=layout.decimal_comma, infer_schema=False,
            )  # fmt: skip
        except pl.exceptions.NoDataError:
            return pl.DataFrame(schema=list(layout.names))
        except pl.exceptions.PolarsError:
            continue
    return None


def _recode(content: bytes, encoding: str) -> bytes:
    return content if encoding.startswith("utf-8") else _text(content, encoding).encode()


def _text(content: bytes, encoding: str) -> str:
    """The decoded text; a file that stops being UTF-8 somewhere is read as Windows-1252, or as Latin-1."""
    for name in (encoding, "cp1252"):
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _may_have_short_rows(path: Path, layout: Layout, frame: pl.DataFrame) -> bool:
    """Whether some row may have too few fields; Polars fills such a row with nulls without a word."""
    if layout.columns == 1 or not len(frame) or not frame.to_series(-1).null_count():
        return False
    empty_rows = int(frame.select(pl.all_horizontal(pl.all().is_null())).to_series().sum())
    delimiters = 0
    with _open(path) as file:
        while chunk := file.read(1 << 24):
            if b'"' in chunk or layout.encoding == "utf-16":
                return True  # only the row by row reader can tell
            delimiters += chunk.count(layout.delimiter.encode())
    full_rows = len(frame) + int(layout.header) - empty_rows
    return not 0 <= delimiters - full_rows * (layout.columns - 1) <= empty_rows * (layout.columns - 1)


def _body(lines: io.TextIOBase, layout: Layout) -> Iterator[list[str]]:
    """The rows below the header; an empty list for an empty line."""
    rows = _split(lines, layout.delimiter)
    for _ in range(layout.skip + layout.header):
        while not next(rows):
            pass
    return rows


def _refuse_ragged(path: Path, layout: Layout) -> None:
    """Raises InputError with the numbers of rows that have too few or too many fields."""
    ragged, number = [], 0
    try:
        with io.TextIOWrapper(_open(path), layout.encoding, errors="replace", newline="") as lines:
            for number, row in enumerate(_body(lines, layout), 1):
                if row and len(row) != layout.columns:
                    ragged.append((number, len(row)))
    except csv.Error as error:
        raise InputError(f"{path.name}, after row {number}: {error}; is a quote left open there?") from None
    if not ragged:
        return
    shown = ", ".join(f"row {row} has {fields}" for row, fields in ragged[:5])
    more = f" and {len(ragged) - 5} more rows" if len(ragged) > 5 else ""
    raise InputError(
        f"{path.name}: {len(ragged)} ragged {'row' if len(ragged) == 1 else 'rows'}: {shown}{more}, where "
        f"{layout.columns} fields were expected ({WORDS[layout.delimiter]} between them; rows are counted from the "
        f"first row of data). Put quotes around values that contain the delimiter, or mend or remove these rows"
    )


def as_written(path: Path, layout: Layout, name: str) -> pl.Series:
    """The cells of one column as they stand there, without spaces around them: "null" is a word, "007" three digits."""
    place, empty = layout.names.index(name), [""] * layout.columns
    rows = _body(io.StringIO(_text(read_bytes(path), layout.encoding), newline=""), layout)
    return pl.Series(name, [(row or empty)[place].strip() for row in rows], dtype=pl.String)


def _read_python(path: Path, layout: Layout) -> pl.DataFrame:
    """The same frame, all text, with Python's csv module."""
    missing = set(MISSING)
    empty = [""] * layout.columns
    columns: list[list[str | None]] = [[] for _ in range(layout.columns)]
    for row in _body(io.StringIO(_text(read_bytes(path), layout.encoding), newline=""), layout):
        for column, cell in zip(columns, row or empty, strict=True):
            column.append(None if (cell := cell.strip()) in missing else cell)
    return pl.DataFrame([pl.Series(n, cells, dtype=pl.String) for n, cells in zip(layout.names, columns, strict=True)])
