"""Data sets known by name: what they are, where they come from, and the checksum of what comes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.errors import InputError

TRUTH_TABLES = ("or", "and", "nand", "xor")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a known set at its home."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set with a name."""

    name: str
    what: str
    home: str  # a package, an address, or the folder it was found in
    files: tuple[RemoteFile, ...] = ()  # what is downloaded; nothing where a package or a folder has it


def _files(address: str, digests: Mapping[str, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name=name, url=address + name, sha256=digest) for name, digest in digests.items())


_RAW = "https://raw.githubusercontent.com/"

KNOWN: dict[str, KnownSet] = {
    entry.name: entry
    for entry in (
        KnownSet(name="or", what="truth table, 4 rows, linearly separable", home="chainrule"),
        KnownSet(name="and", what="truth table, 4 rows, linearly separable", home="chainrule"),
        KnownSet(name="nand", what="truth table, 4 rows, linearly separable", home="chainrule"),
        KnownSet(name="xor", what="truth table, 4 rows, needs a hidden layer", home="chainrule"),
        KnownSet(name="breast-cancer", what="table 569 x 30, malignant or benign", home="scikit-learn"),
        KnownSet(name="iris", what="table 150 x 4, three species", home="scikit-learn"),
        KnownSet(name="wine", what="table 178 x 13, three growers", home="scikit-learn"),
        KnownSet(name="diabetes", what="table 442 x 10, disease progression as a number", home="scikit-learn"),
        KnownSet(name="digits", what="1,797 grey images of 8 x 8 pixels, ten digits", home="scikit-learn"),
        KnownSet(
            name="adult",
            what="table 32,561 + 16,281 x 14, census income above 50K, no header row",
            home="github.com/jbrownlee/Datasets",
            files=_files(
                _RAW + "jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/",
                {
                    "adult-train.csv": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                    "adult-test.csv": "72567b94f5c1a6f8501377dd80f93892c3848ff071cf91ba47e00b0785a28074",
                },
            ),
        ),
        KnownSet(
            name="mnist",
            what="60,000 + 10,000 grey images of 28 x 28 pixels, ten handwritten digits",
            home="storage.googleapis.com/cvdf-datasets/mnist",
            files=_files(
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                {
                    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                },
            ),
        ),
        KnownSet(
            name="fashion-mnist",
            what="60,000 + 10,000 grey images of 28 x 28 pixels, ten pieces of clothing",
            home="github.com/zalandoresearch/fashion-mnist",
            files=_files(
                _RAW + "zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
                {
                    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                },
            ),
        ),
        KnownSet(
            name="names",
            what="text, 32,033 first names, one a line",
            home="github.com/karpathy/makemore",
            files=_files(
                _RAW + "karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/",
                {"names.txt": "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"},
            ),
        ),
        KnownSet(
            name="tinyshakespeare",
            what="text, 1,115,394 characters of Shakespeare",
            home="github.com/karpathy/char-rnn",
            files=_files(
                _RAW + "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/",
                {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
            ),
        ),
    )
}


def canonical(name: str) -> str:
    """The name as the table has it: lower case, ``-`` and ``_`` equal."""
    return name.lower().replace("_", "-")


def cache_folder() -> Path:
    """Where downloads are kept: ``$CHAINRULE_CACHE`` or ``~/.cache/chainrule``."""
    return Path(os.environ.get("CHAINRULE_CACHE") or "~/.cache/chainrule").expanduser()


def local_sets() -> dict[str, Path]:
    """What stands in ``$CHAINRULE_DATA``, by canonical name."""
    root = os.environ.get("CHAINRULE_DATA")
    if not root or not Path(root).expanduser().is_dir():
        return {}
    children = sorted(Path(root).expanduser().iterdir())
    return {canonical(child.name): child for child in children if child.is_dir() and not child.name.startswith(".")}


def datasets() -> list[KnownSet]:
    """Every set that ``fit`` takes by name, those in ``$CHAINRULE_DATA`` included."""
    found = [
        KnownSet(name=name, what="a folder of yours", home=str(path))
        for name, path in local_sets().items()
        if name not in KNOWN
    ]
    return [*KNOWN.values(), *found]


def downloaded(known: KnownSet) -> Path:
    """The cache folder with all files of the set; what is missing is downloaded and checked first.

    Raises:
        InputError: no network, or the file that came is not the one that was expected. Nothing half is left behind.
    """
    folder = cache_folder() / known.name
    for file in known.files:
        if not (folder / file.name).exists():
            _download(file, folder, known.name)
    return folder


def _download(file: RemoteFile, folder: Path, name: str) -> None:
    from http.client import HTTPException

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as scratch:
            partial = Path(scratch) / file.name
            digest = _copy(file.url, partial)
            if digest == file.sha256:
                os.replace(partial, folder / file.name)
    except (OSError, HTTPException) as error:
        raise InputError(
            f"{name!r} is not on this machine and {file.url} cannot be fetched ({error}). "
            f"Put {file.name} (sha256 {file.sha256}) into {folder}, or into $CHAINRULE_DATA/{name}"
        ) from None
    if digest != file.sha256:
        raise InputError(
            f"{file.url} gave a file with sha256 {digest}, expected {file.sha256}; it was removed. "
            f"Get {file.name} elsewhere and put it into {folder}"
        )


def _copy(url: str, target: Path) -> str:
    """Write what the address gives; return its sha256."""
    from urllib.request import urlopen

    digest = hashlib.sha256()
    with target.open("wb") as file, urlopen(url, timeout=30) as reply:
        while block := reply.read(1 << 20):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _packaged_table(load: str, **settings: Any) -> Any:
    """One of scikit-learn's tables as a frame with named columns and the column ``target``, class names as labels."""
    import polars as pl
    from sklearn import datasets as packaged

    bunch = getattr(packaged, load)(**settings)
    frame = pl.DataFrame({str(name): bunch.data[:, i] for i, name in enumerate(bunch.feature_names)})
    names = getattr(bunch, "target_names", None)
    target = bunch.target if names is None else [str(names[label]) for label in bunch.target]
    return frame.with_columns(pl.Series("target", target))


def _packaged_digits() -> Any:
    """The 8 x 8 digits, their grey levels 0 to 16 spread over 0 to 255."""
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target


PACKAGED: dict[str, Callable[[], Any]] = {
    "breast-cancer": lambda: _packaged_table("load_breast_cancer"),
    "iris": lambda: _packaged_table("load_iris"),
    "wine": lambda: _packaged_table("load_wine"),
    "diabetes": lambda: _packaged_table("load_diabetes", scaled=False),
    "digits": _packaged_digits,
}
