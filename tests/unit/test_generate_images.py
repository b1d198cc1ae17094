"""Fresh rows of autoencoders: where their codes come from, what decides them, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.shapes import CLASSES, shapes

import chainrule
from chainrule.drawing import CodeStatistics, drawn_codes, kept_statistics, look_at_codes
from chainrule.errors import InputError
from chainrule.models.catalog import CATALOG
from chainrule.trained import TrainedRun

SMALL = {"train.threads": 1, "model.code": 4}


def fitted(folder: Path, model: str, source: object = None, epochs: int = 20, **settings: object) -> TrainedRun:
    source = shapes() if source is None else source
    chosen = {**SMALL, **settings}
    return chainrule.fit(source, task="reconstruct", model=model, epochs=epochs, set=chosen, out=folder / model)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return fitted(tmp_path_factory.mktemp("vae"), "vae")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """An autoencoder whose data lies in a file."""
    folder = tmp_path_factory.mktemp("plain")
    x, y = shapes()
    np.savez(folder / "shapes.npz", x_train=x, y_train=y)
    return fitted(folder, "autoencoder", folder / "shapes.npz")


def test_pictures_are_drawn_and_the_seed_decides_them(vae: TrainedRun) -> None:
    found = vae.draw(10)
    assert found.shape == (10, 12, 12, 1)
    assert found.dtype == np.uint8
    assert np.array_equal(vae.draw(4), found[:4])  # however many are asked for
    assert not np.array_equal(vae.draw(10, seed=1), found)
    assert np.abs(np.diff(found.astype(int), axis=0)).max(axis=(1, 2, 3)).min() > 50  # none is like another


def test_codes_of_a_variational_autoencoder_come_from_its_prior(vae: TrainedRun) -> None:
    codes = drawn_codes(vae.session, None, 4000)
    assert codes.shape == (4000, 4)
    assert codes.mean(0).abs().max() < 0.1
    assert (codes.T.cov() - torch.eye(4)).abs().max() < 0.1


def test_codes_of_others_are_spread_like_those_of_the_train_split(plain: TrainedRun) -> None:
    statistics = look_at_codes(plain.session, plain.prepared().parts["train"])
    true = plain.session.embed(plain.session.encode(plain.prepared().parts["train"]))
    codes = drawn_codes(plain.session, statistics, 20_000).numpy()
    scale = true.std(0)
    np.testing.assert_allclose(codes.mean(0) / scale, true.mean(0) / scale, atol=0.05)
    outer = np.outer(scale, scale)
    np.testing.assert_allclose(np.cov(codes.T) / outer, np.cov(true.T) / outer, atol=0.1)


def kind_of(picture: np.ndarray) -> str:
    """Which of the shapes a picture is most like."""
    x, y = shapes(600, seed=9)
    return str(y[np.abs(x.astype(int) - picture[..., 0].astype(int)).mean((1, 2)).argmin()])


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_drawn(name: str, vae: TrainedRun, plain: TrainedRun) -> None:
    for run in (vae, plain):
        kinds = [kind_of(picture) for picture in run.draw(24, of=name)]
        assert kinds.count(name) >= 16


def test_no_data_is_needed(plain: TrainedRun, tmp_path: Path) -> None:
    """What was written down about the codes is enough, in another place, where the data is not."""
    shutil.copytree(plain.path, tmp_path / "copy")
    (tmp_path / "copy/data.json").unlink()
    copy = chainrule.load(tmp_path / "copy")
    assert np.array_equal(copy.draw(6, of="frame"), plain.draw(6, of="frame"))
    said = json.loads((tmp_path / "copy/index/codes.json").read_text())
    assert said["names"] == ["", *sorted(CLASSES)]
    assert said["rows"][0] == sum(said["rows"][1:])


def test_where_nothing_is_written_down_the_data_is_looked_at(plain: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(plain.path, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/index")
    assert np.array_equal(chainrule.load(tmp_path / "copy").draw(6), plain.draw(6))
    saved = json.loads((tmp_path / "copy/data.json").read_text())
    (tmp_path / "copy/data.json").write_text(json.dumps(saved | {"source": str(tmp_path / "gone.npz")}))
    with pytest.raises(InputError, match=r"nothing is written down about the codes of .* and its data cannot be read"):
        chainrule.load(tmp_path / "copy").draw(6)


def test_what_was_written_down_about_other_weights_is_not_used(plain: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(plain.path, tmp_path / "copy")
    run = chainrule.load(tmp_path / "copy").opened.folder
    assert kept_statistics(run) is not None
    with (tmp_path / "copy/model.safetensors").open("ab") as file:
        file.write(b" ")
    assert kept_statistics(run) is None


def test_a_variational_autoencoder_that_never_finished_draws(vae: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(vae.path, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/index")
    assert np.array_equal(chainrule.load(tmp_path / "copy").draw(3), vae.draw(3))


def test_drawing_leaves_no_trace(vae: TrainedRun) -> None:
    state, seed = vae.session.module.state_dict(), torch.random.get_rng_state()
    before = {name: value.clone() for name, value in state.items()}
    modes: list[bool] = []
    hook = vae.session.module.network.network.decoder.register_forward_pre_hook(lambda m, _: modes.append(m.training))
    vae.session.module.train()
    vae.draw(3)
    hook.remove()
    assert modes == [False]
    assert vae.session.module.training
    assert torch.equal(torch.random.get_rng_state(), seed)
    assert all(torch.equal(before[name], value) for name, value in state.items())


def test_bad_wishes_are_refused(vae: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no class 'cross'; known: frame, lying, standing"):
        vae.draw(3, of="cross")
    for number in (0, -2):
        with pytest.raises(InputError, match=f"the number of rows to draw is 1 or more, got {number}"):
            vae.draw(number)
    with pytest.raises(InputError, match="the seed is a whole number from 0"):
        vae.draw(3, seed=-1)
    with pytest.raises(InputError, match="draw gives fresh ones"):
        vae.generate("")
    classifier = chainrule.fit("xor", epochs=1, out=tmp_path / "xor")
    with pytest.raises(InputError, match=r"this run learned to classify .* --task reconstruct --model vae"):
        classifier.draw()


def test_without_labels_there_is_no_class(tmp_path: Path) -> None:
    run = fitted(tmp_path, "vae", shapes(60)[0], epochs=1)
    assert run.draw(2).shape == (2, 12, 12, 1)
    with pytest.raises(InputError, match="trained without labels, so there is no class 'frame'"):
        run.draw(2, of="frame")


def test_a_class_of_a_single_row_is_drawn_and_one_without_rows_is_not(vae: TrainedRun) -> None:
    """A single row has no spread of its own: only its own code is known."""
    statistics = CodeStatistics(
        names=("", "frame"), rows=(1, 1), mean=torch.ones(2, 4), factor=torch.zeros(2, 4, 4)
    )  # fmt: skip
    assert (drawn_codes(vae.session, statistics, 3, "frame") == 1).all()
    with pytest.raises(InputError, match="no row of 'lying'"):
        drawn_codes(vae.session, statistics, 3, "lying")


@pytest.mark.parametrize(
    "model", [name for name, e in CATALOG.items() if "reconstruct" in e.tasks and "image" in e.kinds]
)
def test_every_autoencoder_of_pictures_draws(model: str, tmp_path: Path) -> None:
    settings = {"train.threads": 1, **({} if model == "vq_vae" else {"model.code": 4})}
    run = chainrule.fit(shapes(60), task="reconstruct", model=model, epochs=1, set=settings, out=tmp_path / "run")
    assert run.draw(3).shape == (3, 12, 12, 1)
    assert run.draw(3, of="frame").shape == (3, 12, 12, 1)


def test_drawn_codes_are_made_of_entries_where_codes_are(tmp_path: Path) -> None:
    """Of a VQ-VAE what is drawn is replaced by the nearest entries of its codebook."""
    run = chainrule.fit(
        shapes(60), task="reconstruct", model="vq_vae", epochs=1, set={"train.threads": 1}, out=tmp_path / "run"
    )
    network = run.session.module.network.network.eval()
    entries = network.codebook[torch.randint(len(network.codebook), (2, network.places))]
    with torch.inference_mode():
        near = network.decode((entries + 1e-4).flatten(1))
        assert torch.equal(network.decode(entries.flatten(1)), near)
