"""Convolutions whose windows are longer than their maps, in bfloat16 on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.convolution import Conv1d, Conv2d, Conv3d, convolution
from chainrule.train.arithmetic import Arithmetic

SHORT = {1: (4,), 2: (1, 1), 3: (2, 4, 4)}  # for windows of 9, 3x3 and 3x3x3


def weight_gradient(layer: nn.Module, x: Tensor, bfloat16: bool) -> Tensor:
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype))
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.grad is not None
    return layer.weight.grad.clone()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_gradients_are_right_on_maps_shorter_than_the_window(dims: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = convolution(dims, 64, 64, 3, stride)  # type: ignore[arg-type]
    x = torch.randn(4, 64, *SHORT[dims])
    exact = weight_gradient(layer, x, bfloat16=False)
    for _ in range(3):  # torch's own differ from call to call
        near = weight_gradient(layer, x, bfloat16=True)
        assert float((near - exact).norm() / exact.norm()) < 0.02  # bfloat16 has 8 bits: 0.4 % a product


@pytest.mark.parametrize(("ours", "torchs", "size"), [
    (Conv1d, nn.Conv1d, (4,)), (Conv2d, nn.Conv2d, (9, 9)), (Conv3d, nn.Conv3d, (2, 5, 5)),
])  # fmt: skip
def test_float32_is_torchs_own(ours: type[nn.Module], torchs: type[nn.Module], size: tuple[int, ...]) -> None:
    mine, theirs = (
        ours(3, 5, 9 if len(size) == 1 else 3, padding=1),
        torchs(3, 5, 9 if len(size) == 1 else 3, padding=1),
    )
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 3, *(side + 6 for side in size))
    assert torch.equal(mine(x), theirs(x))


def test_a_persons_own_convolution_is_refused_there() -> None:
    own = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1))
    Arithmetic(torch.device("cpu"), "bfloat16").place(own)
    own(torch.zeros(1, 4, 4, 8, 8))
    with pytest.raises(InputError, match="no right gradient in bfloat16 on a CPU"):
        own(torch.zeros(1, 4, 2, 8, 8))


def test_channels_last_serves_kernels_of_images_and_of_clips() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv3d(4, 8, 3), nn.Conv1d(4, 8, 3))
    Arithmetic(torch.device("cpu"), channels_last="on").place(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_deep_kernels_may_stay_channels_first() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Conv2d(3, 512, 3, padding=1), Conv2d(512, 512, 3, padding=1))
    x, formats = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last), []
    plain = network(x)
    Arithmetic(torch.device("cpu"), channels_last="shallow").place(network)
    network[1].register_forward_hook(lambda _, __, y: formats.append(y.is_contiguous()))
    torch.testing.assert_close(network(x), plain)
    assert formats == [True]
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
    Arithmetic(torch.device("cpu"), channels_last="on").place(network)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last)
