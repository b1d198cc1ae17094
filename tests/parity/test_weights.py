"""Foreign weights: every accepted format gives the same network, every broken or hostile file is refused."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests import networks
from tests.peers import torchvision
from torch import Tensor, nn

import chainrule
from chainrule.errors import InputError
from chainrule.finetuning import recognised_model
from chainrule.models.catalog import CATALOG
from chainrule.models.resnet import ResNet, ResNetConfig
from chainrule.models.weights import Weights, load_weights, open_weights, read_tensors


def small(num_classes: int = 4, in_channels: int = 3, seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    sizes = {"blocks": (1, 1), "width": 4, "image_size": (16, 16)}
    return ResNet(ResNetConfig(in_channels=in_channels, num_classes=num_classes, **sizes)).eval()  # type: ignore[arg-type]


def unchanged(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in network.state_dict().items()}


def save(tensors: dict[str, Any], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file, _use_new_zipfile_serialization=file.suffix != ".bin")
    return file


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_every_format_gives_the_same_outputs(tmp_path: Path, suffix: str) -> None:
    source, network = small(seed=1), small(seed=2)
    image = torch.randn(2, 3, 16, 16)
    assert not torch.equal(network(image), source(image))
    report = load_weights(network, save(dict(source.state_dict()), tmp_path / f"w{suffix}"))
    assert torch.equal(network(image), source(image))
    assert set(report.loaded) == set(source.state_dict())
    assert report.fresh == ()
    assert report.text == f"{len(source.state_dict())} tensors from w{suffix}"


@pytest.mark.peers
def test_a_torchvision_file_gives_torchvisions_outputs(tmp_path: Path) -> None:
    theirs = torchvision().models.resnet18(num_classes=6).eval()
    network = ResNet(ResNetConfig(in_channels=3, num_classes=6)).eval()
    load_weights(network, save(theirs.state_dict(), tmp_path / "resnet18.pth"))
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(image), theirs(image), rtol=1e-5, atol=1e-5)


def test_names_are_changed_by_the_given_function(tmp_path: Path) -> None:
    source, network = small(seed=1), small(seed=2)
    file = save({f"module.{name}": x for name, x in source.state_dict().items()}, tmp_path / "w.pth")
    load_weights(network, file, rename=lambda name: name.removeprefix("module."))
    assert unchanged(network, copied(source))
    with pytest.raises(InputError, match="two tensors for one name"):
        load_weights(network, file, rename=lambda name: "fc.weight")


def test_a_head_for_other_classes_starts_fresh_and_is_said(tmp_path: Path) -> None:
    source, network = small(num_classes=7, seed=1), small(num_classes=4, seed=2)
    head = network.fc.weight.clone()
    report = load_weights(network, save(dict(source.state_dict()), tmp_path / "w.safetensors"))
    assert report.fresh == ("fc.weight", "fc.bias")
    assert "fc starts fresh, as the file has 7 outputs and the network 4" in report.text
    assert torch.equal(network.fc.weight, head)
    assert torch.equal(network.conv1.weight, source.conv1.weight)


def test_missing_extra_and_misshapen_tensors_are_all_named_and_nothing_changes(tmp_path: Path) -> None:
    tensors = dict(small(in_channels=1, seed=1).state_dict())
    tensors["surplus"] = tensors.pop("bn1.weight")
    tensors["fc.bias"] = tensors["fc.bias"].long()
    network = small(seed=2)
    before = copied(network)
    with pytest.raises(InputError) as caught:
        load_weights(network, save(tensors, tmp_path / "w.pth"))
    for part in (
        "1 missing (bn1.weight)",
        "1 extra (surplus)",
        "1 of another shape (conv1.weight (4, 1, 3, 3) for (4, 3, 3, 3))",
        "1 of another kind (fc.bias torch.int64 for torch.float32)",
    ):
        assert part in str(caught.value)
    assert unchanged(network, before)


def test_a_head_of_other_inputs_is_an_error(tmp_path: Path) -> None:
    tensors = dict(small(seed=1).state_dict())
    tensors["fc.weight"] = torch.zeros(7, 9)
    with pytest.raises(InputError, match=r"fc\.weight \(7, 9\) for \(4, 8\)"):
        load_weights(small(), save(tensors, tmp_path / "w.pth"))


def test_counters_that_old_files_lack_are_not_needed(tmp_path: Path) -> None:
    source, network = small(seed=1), small(seed=2)
    tensors = {name: x for name, x in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(network, save(tensors, tmp_path / "w.pth"))
    assert torch.equal(network.fc.weight, source.fc.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    tensors = dict(small(seed=1).state_dict())
    tensors["fc.bias"] = torch.tensor([0.0, value, 0.0, 0.0])
    network = small(seed=2)
    before = copied(network)
    with pytest.raises(InputError, match=r"not finite \(fc\.bias\)"):
        load_weights(network, save(tensors, tmp_path / "w.pth"))
    assert unchanged(network, before)


class Malicious:
    """A pickle that writes a file when it is opened."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, suffix: str, zipped: bool) -> None:
    proof, file = tmp_path / "owned", tmp_path / f"w{suffix}"
    content = {"conv1.weight": torch.zeros(2), "fc.weight": Malicious(proof)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    network = small()
    before = copied(network)
    with pytest.raises(InputError, match="refused: it holds more than tensors"):
        load_weights(network, file)
    assert not proof.exists()
    assert unchanged(network, before)
    torch.load(file, weights_only=False)
    assert proof.exists(), "the file was harmless, so this test proved nothing"


def test_a_bare_malicious_pickle_does_not_run(tmp_path: Path) -> None:
    proof, file = tmp_path / "owned", tmp_path / "w.pth"
    file.write_bytes(pickle.dumps(Malicious(proof)))
    with pytest.raises(InputError):
        read_tensors(file)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list"),
        ({"state_dict": OrderedDict(a=torch.zeros(2)), "epoch": 3}, r'epoch\); save content\["state_dict"\] alone'),
        ({"a": torch.zeros(2), 3: torch.zeros(2)}, r"more than named tensors \(3\)"),
        ({"a": torch.zeros(2, 2).to_sparse()}, r"more than named tensors \(a\)"),
        ({"a": torch.zeros(2), "lr": 0.1}, r"more than named tensors \(lr\); save the state dict alone"),
    ],
)
def test_more_than_named_tensors_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = save({"a": torch.arange(40.0), "b": torch.ones(3, 3)}, tmp_path / f"whole{suffix}").read_bytes()
    file = tmp_path / f"cut{suffix}"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut"):
            read_tensors(file)


@pytest.mark.parametrize("size", [2**63, 2**40, 10**9, 90_000_000])
def test_an_absurd_safetensors_header_is_refused(tmp_path: Path, size: int) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", size) + b'{"a":1}')
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_tensors(file)


def test_a_safetensors_header_that_points_outside_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + b"1234")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_tensors(file)


def test_zips_folders_other_kinds_and_absent_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("../escape.txt", "x")
    (tmp_path / "text.pth").write_text("no weights at all")
    (tmp_path / "weights.h5").write_bytes(b"x")
    for name, message in {
        "photos.pt": "photos.pt",
        "text.pth": "text.pth",
        "weights.h5": r"ends in '\.h5'; expected \.safetensors",
        "absent.pth": "does not exist",
        ".": "does not exist",
    }.items():
        with pytest.raises(InputError, match=message):
            read_tensors(tmp_path / name)
    assert not (tmp_path.parent / "escape.txt").exists()


PUBLISHED = {  # our name -> torchvision's, or timm's for the first MobileNet
    "alexnet": "alexnet", "vgg11": "vgg11", "vgg11_bn": "vgg11_bn", "resnet18": "resnet18", "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2", "mobilenet_v3_small": "mobilenet_v3_small",
    "mobilenet_v3_large": "mobilenet_v3_large", "mobilenet_v1": "mobilenetv1_100",
}  # fmt: skip


def reference(name: str) -> nn.Module:
    """The reference's network for 1000 classes, with random weights and statistics as after training."""
    vision = torchvision()
    torch.manual_seed(0)
    if name.startswith("mobilenetv1"):
        theirs = pytest.importorskip("timm").create_model(name)
    else:
        theirs = getattr(vision.models, name)()
    return networks.shake(theirs, torch.float64).eval()


HEAVY = ("vgg11", "vgg11_bn")  # a gigabyte each in float64


def created(name: str, file: Path, **sizes: Any) -> nn.Module:
    """Our network from the file, in float64 and evaluation mode."""
    torch.set_default_dtype(torch.float64)
    try:
        return chainrule.create_model(name, weights=file, **sizes).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def random_image() -> Tensor:
    return torch.randn(2, 3, 80, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.peers
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.prove] * (n in HEAVY)) for n in PUBLISHED])
def test_published_files_give_the_references_outputs(name: str, tmp_path: Path) -> None:
    theirs = reference(PUBLISHED[name])
    file = save(dict(theirs.state_dict()), tmp_path / ("w.safetensors" if "v" in name else "w.pth"))
    ours = created(name, file, in_channels=3, num_classes=1000)
    with torch.no_grad():
        torch.testing.assert_close(ours(random_image()), theirs(random_image()), rtol=1e-10, atol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_other_classes_and_grey_pictures(name: str, tmp_path: Path) -> None:
    theirs = reference(PUBLISHED[name])
    file = save(theirs.state_dict(), tmp_path / "w.pth")
    whole, seven = (created(name, file, in_channels=3, num_classes=classes) for classes in (1000, 7))
    grey = created(name, file, in_channels=1, num_classes=1000)
    image = random_image()
    with torch.no_grad():
        assert seven(image).shape == (2, 7)
        assert torch.equal(seven.features(image), whole.features(image))  # type: ignore[operator]
        shown = image[:, :1].expand(-1, 3, -1, -1)
        torch.testing.assert_close(grey(image[:, :1]), theirs(shown), rtol=1e-10, atol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if entry.expects])
def test_every_published_state_dict_fits_by_name_and_shape(name: str) -> None:
    theirs_name = {"mobilenet_v1": "mobilenetv1_100"}.get(name, name)
    vision = torchvision()
    with torch.device("meta"):
        theirs = (
            pytest.importorskip("timm").create_model(theirs_name)
            if name == "mobilenet_v1"
            else getattr(vision.models, theirs_name)()
        )
    weights = Weights(Path("w.pth"), dict(theirs.state_dict()), {})
    assert recognised_model(weights, "", {}) == name


@pytest.mark.peers
def test_r3d_18_loads_under_its_own_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = networks.shake(torchvision().models.video.r3d_18(), torch.float64).eval()
    file = save(theirs.state_dict(), tmp_path / "r3d_18.pth")
    ours = created("resnet18", file, in_channels=3, num_classes=400, dims=3, image_size=(16, 112, 112))
    clip = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip), rtol=1e-10, atol=1e-10)
    assert recognised_model(open_weights(file), "", {}) == "resnet18"


def test_windows_over_images_become_windows_over_clips(tmp_path: Path) -> None:
    """Carreira and Zisserman 2017: inside a clip of equal frames each layer gives what it gave on the frame."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"blocks": (1, 1), "width": 4, "num_classes": 5, "in_channels": 3}
    images = networks.shake(ResNet(ResNetConfig(**sizes)), torch.float32)
    clips = ResNet(ResNetConfig(**sizes, dims=3, image_size=(16, 112, 112)))
    report = load_weights(clips, save(dict(images.state_dict()), tmp_path / "w.safetensors"))
    assert "6 windows over images are repeated along time" in report.text
    image = torch.randn(2, 3, 32, 32)
    frames = clips.conv1(image[:, :, None].expand(-1, -1, 5, -1, -1))
    torch.testing.assert_close(frames[:, :, 2], images.conv1(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network."])
def test_what_wrappers_put_before_names_is_left_away(tmp_path: Path, prefix: str) -> None:
    source, network = small(seed=1), small(seed=2)
    file = save({f"{prefix}{name}": x for name, x in source.state_dict().items()}, tmp_path / "w.pth")
    load_weights(network, file)
    assert unchanged(network, copied(source))


def test_a_runs_front_is_kept_apart(tmp_path: Path) -> None:
    tensors = {f"network.{name}": x for name, x in small(seed=1).state_dict().items()}
    tensors["front.scale"] = torch.full((3, 1, 1), 0.5)
    file = save(tensors, tmp_path / "model.safetensors")
    assert set(open_weights(file).front) == {"scale"}
    network = small(seed=2)
    assert "1 of the run's front left out" in load_weights(network, file).text
    assert unchanged(network, copied(small(seed=1)))


def test_a_first_layer_of_three_channels_is_summed_for_one_and_never_otherwise(tmp_path: Path) -> None:
    file = save(dict(small(seed=1).state_dict()), tmp_path / "w.pth")
    grey = small(in_channels=1, seed=2)
    assert "conv1.weight is summed over its 3 input channels" in load_weights(grey, file).text
    torch.testing.assert_close(grey.conv1.weight, small(seed=1).conv1.weight.sum(1, keepdim=True))
    with pytest.raises(InputError, match="another shape"):
        load_weights(small(in_channels=2), file)
