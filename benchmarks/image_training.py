"""Training speed of the image networks, images a second, all variants interleaved in one run.

    python benchmarks/image_training.py [--seconds 5] [--rounds 3] [--batch-size 64] [--threads 2]

Every round times each variant once, and the median is shown, so that a slow moment of the machine touches all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from chainrule.models.resnet import ResNet, ResNetConfig
from chainrule.models.resnet9 import ResNet9, ResNet9Config
from chainrule.models.resnet_cifar import ResNetCifar, ResNetCifarConfig

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet18": (lambda: ResNet(ResNetConfig(in_channels=3, num_classes=10, image_size=(32, 32))), (3, 32, 32)),
    "resnet20": (lambda: ResNetCifar(ResNetCifarConfig(in_channels=1, num_classes=10)), (1, 28, 28)),
    "resnet9": (lambda: ResNet9(ResNet9Config(in_channels=1, num_classes=10)), (1, 28, 28)),
}


@dataclass(frozen=True)
class Variant:
    """A network in one arithmetic and memory format."""

    network: str
    bfloat16: bool
    channels_last: bool

    @property
    def name(self) -> str:
        """As shown."""
        precision = "bfloat16" if self.bfloat16 else "float32"
        return f"{self.network} {precision}{' channels-last' if self.channels_last else ''}"


def step_of(variant: Variant, batch_size: int) -> Callable[[], None]:
    """One training step of the variant on random data."""
    build, shape = NETWORKS[variant.network]
    torch.manual_seed(0)
    memory_format = torch.channels_last if variant.channels_last else torch.contiguous_format
    network = build().train().to(memory_format=memory_format)
    image = torch.randn(batch_size, *shape).to(memory_format=memory_format)
    targets = torch.randint(10, (batch_size,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=variant.bfloat16):
            logits = network(image)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()

    return step


def rate(step: Callable[[], None], seconds: float) -> float:
    """Steps a second."""
    step()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)


def main() -> None:
    """Time all variants and print images a second and the ratio to float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    formats = [(False, False), (False, True), (True, True)]
    steps = {
        variant: step_of(variant, options.batch_size)
        for variant in (Variant(name, *setting) for name in NETWORKS for setting in formats)
    }
    rates: dict[Variant, list[float]] = {variant: [] for variant in steps}
    for _ in range(options.rounds):
        for variant, step in steps.items():
            rates[variant].append(rate(step, options.seconds) * options.batch_size)
    print(f"{torch.get_num_threads()} threads, batch {options.batch_size}, torch {torch.__version__}")
    for variant, values in rates.items():
        base = median(rates[Variant(variant.network, False, False)])
        print(f"{variant.name:34} {median(values):8.0f} images/s {median(values) / base:5.2f} x float32")


if __name__ == "__main__":
    main()
