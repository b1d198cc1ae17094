"""What a person types becomes the right path, parts or value."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import known
from chainrule.data.known import KnownSet, RemoteFile
from chainrule.data.sources import Source, dataset, datasets, open_source, split_word
from chainrule.errors import InputError


def write(path: Path, text: str = "a,b\n1,2\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_keeps_its_path_and_gives_its_name(tmp_path: Path) -> None:
    file = write(tmp_path / "My data (1).csv.gz")
    source = open_source(str(file))
    assert (source.path, source.name, source.original, dict(source.parts)) == (file, "My-data-1", str(file), {})


def test_a_file_called_train_is_named_after_its_folder(tmp_path: Path) -> None:
    assert open_source(write(tmp_path / "titanic" / "train.csv")).name == "titanic"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write(tmp_path / "a.csv")
    assert open_source("~/a.csv").path == file


@pytest.mark.parametrize("gate", ["or", "and", "nand", "xor"])
def test_truth_tables_are_names_without_path_or_value(gate: str) -> None:
    assert open_source(gate) == Source(name=gate, original=gate)


def test_data_in_memory_is_kept_as_it_is() -> None:
    value = (np.zeros((3, 2)), np.zeros(3))
    source = open_source(value)
    assert source.value is value
    assert (source.name, source.original, source.path) == ("data", "", None)


def test_an_opened_source_is_given_back() -> None:
    source = Source(name="a", original="a")
    assert open_source(source) is source


def test_packaged_tables_have_named_columns_and_class_names() -> None:
    frame = open_source("breast_cancer").value
    assert frame.shape == (569, 31)
    assert frame.columns[0] == "mean radius"
    assert frame["target"].value_counts(sort=True).rows() == [("benign", 357), ("malignant", 212)]
    assert set(open_source("iris").value["target"]) == {"setosa", "versicolor", "virginica"}
    assert open_source("diabetes").value["target"].dtype.is_float()
    assert open_source("diabetes").value["age"].max() == 79  # years, not standardised


def test_packaged_digits_are_8_bit_images() -> None:
    images, labels = open_source("digits").value
    assert (images.shape, images.dtype, int(images.max()), len(labels)) == ((1797, 8, 8), np.uint8, 255, 1797)


def test_the_only_data_file_of_a_folder_is_taken_and_side_files_are_not(tmp_path: Path) -> None:
    table = write(tmp_path / "set" / "values.csv")
    for name in ("README.md", "Readme.txt", "LICENSE", "values.names", "classes.txt", "notes.json", ".DS_Store"):
        write(tmp_path / "set" / name)
    source = open_source(tmp_path / "set")
    assert (source.path, source.name) == (table, "set")


def test_text_counts_only_where_there_is_no_table(tmp_path: Path) -> None:
    text = write(tmp_path / "a" / "input.txt")
    assert open_source(tmp_path / "a").path == text
    table = write(tmp_path / "a" / "values.tsv")
    assert open_source(tmp_path / "a").path == table


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("adult-train.csv.gz", "adult-test.csv.gz"), {"train": 0, "test": 1}),
        (("train.tsv", "dev.tsv", "test.tsv"), {"train": 0, "valid": 1, "test": 2}),
        (("x_training.csv", "x_validation.csv"), {"train": 0, "valid": 1}),
        (("Train.jsonl", "VAL.jsonl"), {"train": 0, "valid": 1}),
    ],
)
def test_files_named_after_splits_are_the_parts(
    tmp_path: Path, files: tuple[str, ...], expected: dict[str, int]
) -> None:
    for name in (*files, "leftover.csv"):
        write(tmp_path / name)
    source = open_source(tmp_path)
    assert {word: part.path for word, part in source.parts.items()} == {
        word: tmp_path / files[place] for word, place in expected.items()
    }
    assert next(iter(source.parts)) == "train"
    assert source.notes == ("leftover.csv: not used",)


def test_folders_named_after_splits_are_the_parts_even_with_one_class(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        write(tmp_path / "pets" / name)
    source = open_source(tmp_path / "pets")
    assert source.parts["test"].path == tmp_path / "pets" / "test"  # not test/cat, which would lose the class
    assert source.parts["train"].name == "pets"


def test_a_part_may_be_a_folder_that_holds_a_table(tmp_path: Path) -> None:
    write(tmp_path / "train" / "rows.csv")
    write(tmp_path / "test" / "rows.csv")
    assert open_source(tmp_path).parts["test"].path == tmp_path / "test" / "rows.csv"


@pytest.mark.parametrize(
    ("name", "word"),
    [("train", "train"), ("my-dev_set", "valid"), ("constraint", ""), ("test7600", ""), ("train_test", "")],
)
def test_split_words_are_whole_words(name: str, word: str) -> None:
    assert split_word(name) == word


def test_idx_files_stay_a_folder(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        write(tmp_path / name)
    source = open_source(tmp_path)
    assert source.path == tmp_path
    assert not source.parts


def test_an_only_child_folder_is_entered(tmp_path: Path) -> None:
    table = write(tmp_path / "a" / "b" / "c" / "rows.csv")
    write(tmp_path / "a" / "__MACOSX" / "._rows.csv")
    assert open_source(tmp_path / "a").path == table


def test_a_zip_is_unpacked_once_without_junk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name in ("pets/cat/1.png", "pets/dog/2.png", "__MACOSX/pets/cat/._1.png", "pets/.DS_Store"):
            archive.writestr(name, "x")
    source = open_source(tmp_path / "pets.zip")
    assert source.path is not None
    assert source.name == "pets"
    assert sorted(path.name for path in source.path.rglob("*")) == ["1.png", "2.png", "cat", "dog"]
    assert open_source(tmp_path / "pets.zip").path == source.path


def test_a_folder_that_holds_one_zip_is_that_zip(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "inner.zip", "w") as archive:
        archive.writestr("rows.csv", "a\n1\n")
    source = open_source(tmp_path / "set")
    assert source.path is not None
    assert (source.path.name, source.name) == ("rows.csv", "set")


def test_a_path_wins_over_a_known_name_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "iris" / "mine.csv")
    source = open_source("iris")
    assert source.path == Path("iris/mine.csv")
    assert "not used" in source.notes[0]


def test_names_are_looked_up_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    file = write(tmp_path / "my_own-set" / "rows.csv")
    source = open_source("my-own_set")
    assert (source.path, source.name) == (file, "my-own-set")
    assert "my-own-set" in {entry.name for entry in datasets()}


def test_every_known_set_states_where_it_comes_from() -> None:
    for entry in known.KNOWN.values():
        assert dataset(entry.name) == entry
        assert entry.what
        assert entry.home
        for file in entry.files:
            assert file.url.startswith("https://")
            assert len(bytes.fromhex(file.sha256)) == 32
    assert dataset("Breast_Cancer").home == "scikit-learn"


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address on this machine that serves the folder ``served``."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(Silent, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def known_set(monkeypatch: pytest.MonkeyPatch, address: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    file = RemoteFile(name="rows.csv", url=address + "rows.csv", sha256=digest)
    monkeypatch.setitem(known.KNOWN, "tiny", KnownSet(name="tiny", what="a test", home=address, files=(file,)))


def test_a_known_set_is_downloaded_once(tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served" / "rows.csv").write_bytes(b"a,b\n1,2\n")
    known_set(monkeypatch, home, b"a,b\n1,2\n")
    source = open_source("tiny")
    assert source.path == tmp_path / "cache" / "tiny" / "rows.csv"
    assert source.path.read_bytes() == b"a,b\n1,2\n"
    (tmp_path / "served" / "rows.csv").unlink()
    assert open_source("tiny").path == source.path


def test_a_download_with_another_checksum_leaves_nothing(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "rows.csv").write_bytes(b"something else")
    known_set(monkeypatch, home, b"a,b\n1,2\n")
    with pytest.raises(InputError, match=r"sha256 .* expected .* removed"):
        open_source("tiny")
    assert list((tmp_path / "cache" / "tiny").iterdir()) == []


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9/"])  # a file that is not there; nobody listens
def test_without_network_the_error_says_which_file_to_put_where(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    known_set(monkeypatch, address or home, b"a,b\n1,2\n")
    with pytest.raises(
        InputError, match=r"Put rows.csv \(sha256 .*\) into .*cache/tiny, or into \$CHAINRULE_DATA/tiny"
    ):
        open_source("tiny")
    assert list((tmp_path / "cache" / "tiny").iterdir()) == []
