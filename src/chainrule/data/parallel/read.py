"""Where parallel text comes from: two files, a folder of files named after splits and languages, tables, Python."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from chainrule.data import delimited
from chainrule.data.archive import is_junk
from chainrule.data.bilingual import sentence_columns
from chainrule.data.config import DataConfig
from chainrule.data.kind import Finding
from chainrule.data.parallel.lines import check_counts, pair_store, read_lines
from chainrule.data.parallel.records import PairStore, ParallelRecords
from chainrule.data.sources import Source, split_word
from chainrule.data.table import frames
from chainrule.data.tokens import mended
from chainrule.errors import InputError, nearest

ENGLISH = "en"  # what is translated into where nobody says otherwise
SIDES = {"src": 0, "source": 0, "tgt": 1, "trg": 1, "target": 1, "ref": 1}  # names of languages that say their role
LANGUAGE = re.compile(rf"[a-z]{{2}}([-_][A-Za-z]{{2,4}})?|{'|'.join(SIDES)}")  # an ending that is a language
NO_LANGUAGE = {"gz", "md", "py", "js", "ts", "db", "sh", "pt", "pl", "rs", "cc", "hs", "so", "bz", "xz"}  # "pl", too
TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}

ACCEPTED = (
    "expected two text files (fit train.de train.en), a folder with a file for each split and language (train.de, "
    "train.en, val.de, val.en), a table with two columns of sentences, or in Python a list of pairs"
)
Files = dict[str, dict[str, Path]]  # of each language by the name before it


def recognises(source: Source) -> str | None:
    """Why this source is parallel text, in words, or None."""
    if source.path is None:
        frame = _pairs_frame(source.value)
        return sentence_columns(frame) if frame is not None else None
    if source.second is not None:
        return f"two text files, {source.path.name} and {source.second.name}"
    if source.path.is_dir():
        files = _language_files(source.path)
        languages = sorted({language for held in files.values() for language in held})
        return f"text files in {', '.join(languages)} for {', '.join(files)}" if files else None
    if delimited.suffix(source.path) not in TABLES:
        return None
    try:
        frame = read_table(source.path, DataConfig())[0]
    except InputError:
        return None
    return sentence_columns(frame)


def read(source: Source, options: DataConfig) -> dict[str, ParallelRecords]:
    """The records: {"all": ...}, or the splits that a folder's files name.

    Raises:
        InputError: no parallel text, files of unequal length, or a language or column that is not there.
    """
    for name in ("group", "time"):
        if getattr(options, name):
            raise InputError(f"data.{name} is for tables and media; pairs of sentences have none, leave it out")
    if source.second is not None:
        assert source.path is not None
        stores = {"all": _two_files((source.path, source.second), options)}
    elif source.path is not None and source.path.is_dir():
        stores = _folder(source.path, options)
    elif source.path is not None and delimited.suffix(source.path) in TABLES:
        frame, notes = read_table(source.path, options)
        stores = {"all": _columns(frame, options, source.name, notes)}
    else:
        table = None if source.path is not None else _pairs_frame(source.value)
        if table is None:
            alone = source.path is not None and source.path.is_file()
            hint = "one text file holds one language only; " if alone else ""
            raise InputError(f"{source.original or 'this data'} is no parallel text: {hint}{ACCEPTED}")
        stores = {"all": _columns(table, options, source.name, [], word="pair")}
    return {part: ParallelRecords.of(store) for part, store in stores.items()}


def _two_files(paths: tuple[Path, Path], options: DataConfig) -> PairStore:
    """In the order they were given in, unless --target names the language of the first."""
    if all(delimited.suffix(path) in TABLES for path in paths):
        raise InputError(
            f"{paths[0].name} and {paths[1].name} are tables, not text files with a sentence a line; give one as "
            "SOURCE, and data of its own to validate or test on with --valid or --test"
        )
    names = file_names(paths)
    if options.target and options.target == names[0] != names[1]:
        paths, names = paths[::-1], names[::-1]
    return _aligned(paths, names)


def file_names(paths: Sequence[Path]) -> tuple[str, str]:
    """What the two sides are called: their languages, or the files' names.

    Example:
        >>> file_names([Path("train.de.gz"), Path("train.en.gz")]), file_names([Path("a.txt"), Path("b.txt")])
        (('de', 'en'), ('a', 'b'))
    """
    bare = [_bare(path) for path in paths]
    languages = [name.rpartition(".")[2] for name in bare]
    if all(LANGUAGE.fullmatch(language) for language in languages) and len(set(languages)) == 2:
        return languages[0], languages[1]
    return (bare[0], bare[1]) if bare[0] != bare[1] else ("source", "target")


def _aligned(paths: Sequence[Path], names: tuple[str, str], notes: Sequence[Finding] = ()) -> PairStore:
    (sources, first), (targets, second) = (read_lines(path) for path in paths)
    check_counts(sources, targets, (paths[0].name, paths[1].name))
    return pair_store(sources, targets, names, [*notes, *first, *second])


def _bare(path: Path) -> str:
    """The file's name without .gz and .txt: train.de for train.de.txt.gz."""
    name = path.name
    for ending in (".gz", ".txt"):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return name


def _language_files(folder: Path) -> Files:
    """The files that come in two languages or more, by what stands before the language."""
    found: Files = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        stem, _, language = _bare(path).rpartition(".")
        known = LANGUAGE.fullmatch(language) and (language not in NO_LANGUAGE or language == "pl")
        if stem and known and path.is_file() and not is_junk(path.name):
            found[stem][language] = path
    return {stem: held for stem, held in found.items() if len(held) >= 2}


def _folder(folder: Path, options: DataConfig) -> dict[str, PairStore]:
    files = _language_files(folder)
    if not files:
        raise InputError(f"{folder} holds no text in two languages under one name; {ACCEPTED}")
    stems, notes = _splits(files)
    usable = set.intersection(*(set(files[stem]) for stem in stems.values()))
    names, more = _direction(sorted(usable), options)
    stores = {}
    for part, stem in stems.items():
        paths = [files[stem][name] for name in names]
        stores[part] = _aligned(paths, names, [*notes, *more] if part in ("train", "all") else ())
    return stores


def _splits(files: Files) -> tuple[dict[str, str], list[Finding]]:
    """The file name of each split, the first where several could be it."""
    stems: dict[str, str] = {}
    left = []
    for stem in files:
        word = split_word(stem)
        if word and word not in stems:
            stems[word] = stem
        else:
            left.append(stem)
    if "train" not in stems:
        if len(files) > 1:
            raise InputError(
                f"which of {', '.join(files)} is to be learned? Name the files of one train, or give two of them: "
                f"chainrule fit FILE.de FILE.en"
            )
        stems, left = {"all": next(iter(files))}, []
    return stems, [Finding("note", f"{', '.join(left)}: not used")] if left else []


def _direction(languages: Sequence[str], options: DataConfig) -> tuple[tuple[str, str], list[Finding]]:
    """What is translated and into what, as asked or by rule; and a word about it where nobody said it."""
    for role, name in (("--target", options.target), ("data.source", options.source)):
        if name and name not in languages:
            raise InputError(f"{role}: there is no text in {name!r}; {nearest(name, list(languages))}")
    if len(languages) < 2:
        raise InputError(f"the splits have {', '.join(languages) or 'no language'} in common; expected two languages")
    if options.target and options.target == options.source:
        raise InputError(f"--target and data.source are both {options.target!r}; name two languages")
    free = [name for name in languages if name not in (options.source, options.target)]
    usual = [name for name in free if name == ENGLISH or SIDES.get(name) == 1]
    target = options.target or (usual or free[-1:])[0]
    source = options.source or next(name for name in languages if name != target)
    if options.target and (options.source or len(languages) == 2):
        return (source, target), []
    choice = f"text in {', '.join(languages)}: {source} is translated into {target} (change: --target, data.source)"
    return (source, target), [Finding("note", choice)]


def read_table(path: Path, options: DataConfig) -> tuple[pl.DataFrame, list[Finding]]:
    """The table as text, whatever its cells look like."""
    ending = delimited.suffix(path)
    if ending in (".jsonl", ".ndjson"):
        return frames.read_json_lines(path), []
    if ending == ".parquet":
        return frames.read_parquet(path), []
    if ending == ".tsv" and (frame := _tabbed(path, {options.target, options.source})) is not None:
        return frame
    layout = delimited.sniff(path, {options.target, options.source} - {""})
    if layout is None:
        raise InputError(f"{path.name} is no table: no delimiter divides its lines into equally many fields")
    return delimited.read_delimited(path, layout, frozenset(layout.names)), []


def _tabbed(path: Path, known: set[str]) -> tuple[pl.DataFrame, list[Finding]] | None:
    """A TSV whose every line has equally many tabs: quotes are then text, as in files of sentences; None otherwise."""
    lines, notes = read_lines(path)
    rows = [line.split("\t") for line in lines if line]
    width = len(rows[0])
    if width < 2 or any(len(row) != width for row in rows):
        return None
    first = [cell.strip() for cell in rows[0]]
    named = len(set(first)) == width and (
        any(cell in known for cell in first if cell) or all(" " not in cell and len(cell) <= 20 for cell in first)
    )
    names = first if named else [f"column {place + 1}" for place in range(width)]
    return pl.DataFrame(rows[1:] if named else rows, schema=dict.fromkeys(names, pl.String), orient="row"), notes


def _pairs_frame(value: Any) -> pl.DataFrame | None:
    """Two columns of text from a frame, a dict of columns, a list of pairs or two lists; None for anything else."""
    if isinstance(value, pl.DataFrame) or type(value).__module__.startswith("pandas"):
        return frames.to_frame(value)
    if isinstance(value, Mapping):
        return frames.to_frame(value) if len(value) == 2 and all(map(_are_texts, value.values())) else None
    if isinstance(value, tuple) and len(value) == 2 and all(map(_are_texts, value)):
        return pl.DataFrame({"source": [*map(mended, value[0])], "target": [*map(mended, value[1])]})
    if isinstance(value, list) and value and all(_are_texts(pair) and len(pair) == 2 for pair in value):
        return pl.DataFrame({"source": [mended(one) for one, _ in value], "target": [mended(two) for _, two in value]})
    return None


def _are_texts(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(v, str) for v in values)


def _columns(
    frame: pl.DataFrame, options: DataConfig, name: str, notes: Sequence[Finding], word: str = "row"
) -> PairStore:
    """The pairs of two columns of a table."""
    names = [column for column in frame.columns if column not in options.drop]
    texts = [column for column in names if frame[column].dtype == pl.String]
    target = _named(options.target, names, name, "--target")
    source = _named(options.source, names, name, "data.source")
    if not (target and source) and len(texts) != 2:
        shown = ", ".join(map(repr, names[:20]))
        raise InputError(
            f"which two columns of {name} hold the sentences? There are {len(texts)} columns of text among {shown}; "
            f"say it with --target COLUMN and --set data.source=COLUMN"
        )
    ordered = sorted(texts, key=lambda column: SIDES.get(column.lower(), 0))
    target = target or next(column for column in reversed(ordered) if column != source)
    source = source or next(column for column in ordered if column != target)
    if source == target:
        raise InputError(f"--target and data.source are both {target!r}; name two columns")
    sides = [
        [" ".join((cell or "").split()) for cell in frame[column].cast(pl.String).to_list()]
        for column in (source, target)
    ]
    chosen = Finding("note", f"{source!r} is translated into {target!r} (change: --target, data.source)")
    store = pair_store(sides[0], sides[1], (source, target), notes, word)
    return store if options.target else replace(store, notes=(chosen, *store.notes))


def _named(wanted: str, names: Sequence[str], source: str, role: str) -> str:
    """The column of this name or at this place; "" where none is asked for."""
    if not wanted or wanted in names:
        return wanted
    if wanted.lstrip("-").isdigit() and -len(names) <= int(wanted) < len(names):
        return names[int(wanted)]
    raise InputError(f"{role}: {source} has no column {wanted!r}; {nearest(wanted, list(names))}")
