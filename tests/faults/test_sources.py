"""Row 9 of faults.md and the mistakes people make when they name a source."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from chainrule.data import archive
from chainrule.data.sources import dataset, open_source, path_of, path_or_text
from chainrule.errors import InputError


def zip_of(path: Path, *names: str, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../escape.csv", "points outside"),
        ("a/../../escape.csv", "points outside"),
        ("..\\escape.csv", "points outside"),
        ("__MACOSX/../../escape.csv", "points outside"),
        ("/tmp/escape.csv", "absolute"),
        ("C:\\escape.csv", "absolute"),
    ],
)
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "deep").mkdir()
    bad = zip_of(tmp_path / "deep" / "b.zip", "ok.csv", name)
    with pytest.raises(InputError, match=reason):
        open_source(bad)
    assert not list(tmp_path.rglob("escape.csv"))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    bad = zip_of(tmp_path / "b.zip", "link.csv", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(InputError, match="is a link"):
        open_source(bad)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of(tmp_path / "b.zip", "rows.csv").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        open_source(tmp_path / "b.zip")


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.csv", bytes(1001))
    with pytest.raises(InputError, match="the limits are"):
        open_source(tmp_path / "b.zip")


def test_a_zip_that_states_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.csv", bytes(100_000))
    content = path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        open_source(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"no zip at all"])
def test_a_broken_zip_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        open_source(tmp_path / "b.zip")


def test_an_empty_file_or_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match="0 bytes"):
        open_source(tmp_path / "a.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        open_source(tmp_path / "folder")


def test_several_tables_are_listed_and_one_is_asked_for(tmp_path: Path) -> None:
    for name in ("day.csv", "hour.csv.gz"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(InputError, match=r"several data files \(day.csv, hour.csv.gz\); give the path of one"):
        open_source(tmp_path)


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("x_train.csv", "y_train.csv", "x_test.csv"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(InputError, match=r"x_train.csv and y_train.csv are both called train"):
        open_source(tmp_path)


def test_a_misspelt_path_or_name_gets_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "titanic.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"did you mean '.*titanic.csv'"):
        open_source(tmp_path / "titanik.csv")
    with pytest.raises(InputError, match="did you mean 'breast-cancer'"):
        open_source("brest-cancer")
    with pytest.raises(InputError, match="did you mean 'iris'"):
        dataset("irsi")
    with pytest.raises(InputError, match="no folder"):
        open_source(tmp_path / "absent" / "a.csv")
    with pytest.raises(InputError, match="is an address"):
        open_source("https://example.org/a.csv")
    with pytest.raises(InputError, match="neither a file or folder here nor a known"):
        open_source("qqqqqqqqq")
    with pytest.raises(InputError, match="no source"):
        open_source(None)


@pytest.mark.parametrize("text", ["", "  ", "~nobody's film", "good film " * 60, "a\0b", "two\nlines"])
def test_a_text_is_no_path_however_odd_it_looks(text: str) -> None:
    assert path_of(text) is None
    assert path_or_text(text) is None


def test_a_name_of_a_file_that_is_not_there_is_no_text(tmp_path: Path) -> None:
    for name in ("nothing.txt", "./new.de", tmp_path / "none"):
        with pytest.raises(InputError, match="there is no file"):
            path_or_text(name)
    with pytest.raises(InputError, match="does not exist"):
        open_source("~nobody/reviews.csv")
