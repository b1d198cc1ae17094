"""Unpacking a zip that may come from anywhere."""

from __future__ import annotations

import atexit
import shutil
import stat
import tempfile
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

from chainrule.errors import InputError

MAX_UNPACKED_BYTES = 32 * 2**30
MAX_ENTRIES = 5_000_000
JUNK_NAMES = (
    "thumbs.db", "desktop.ini", "__macosx",
    "_background_noise_",  # of Speech Commands: to be mixed with the words, none of them
)  # fmt: skip


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is left behind by an operating system, or holds no data to learn."""
    return name.startswith(".") or name.lower() in JUNK_NAMES


def unpack(path: Path) -> Path:
    """The temporary folder that holds the zip's content until the process ends; a second call gives the same one.

    Entries that an operating system leaves behind (``__MACOSX``, dot files) are left out.

    Raises:
        InputError: the zip is broken, encrypted, too large, or has an entry that would land outside the folder.
    """
    state = path.stat()
    return _unpack(path.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _unpack(path: Path, mtime_ns: int, size: int) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive.infolist())
            entries = [entry for entry in archive.infolist() if not any(map(is_junk, _entry_path(entry).parts))]
            folder = Path(tempfile.mkdtemp(prefix="chainrule-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for entry in entries:
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}); make the zip anew or give its unpacked folder"
        ) from None
    return folder


def _entry_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(entry.filename.replace("\\", "/"))


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        reason = _refusal(entry)
        if reason:
            raise InputError(
                f"{path} is refused: its entry {entry.filename!r} {reason}; unpack it yourself if you trust it"
            )
    total = sum(entry.file_size for entry in entries)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    limit = min(MAX_UNPACKED_BYTES, free)
    if total > limit or len(entries) > MAX_ENTRIES:
        raise InputError(
            f"{path} is refused: it unpacks to {len(entries):,} entries of {total / 2**30:,.1f} GiB, the limits are "
            f"{MAX_ENTRIES:,} and {limit / 2**30:,.1f} GiB; unpack it yourself and give the folder"
        )


def _refusal(entry: zipfile.ZipInfo) -> str:
    name = _entry_path(entry)
    if name.is_absolute() or (name.parts and name.parts[0].endswith(":")):
        return "is an absolute path"
    if ".." in name.parts:
        return "points outside the folder"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if entry.flag_bits & 1:
        return "is encrypted"
    return ""
