"""Our loop beside twenty lines of raw torch with the same sum-and-count arithmetic: ResNet-18, 32x32, batch 64.

Time: steps of the two alternate in one process. Memory: peak resident size of two fresh processes. Weights: compared
bit for bit.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.order import order, seed_of
from chainrule.data.samples import TensorSamples
from chainrule.data.schema import ClassTarget
from chainrule.models.resnet import ResNet, ResNetConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.config import TrainConfig
from chainrule.train.loop import Plan, train
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig
from chainrule.train.run import Run

STEPS, BATCH, ROWS = 12, 64, 256


class Plain(nn.Module):
    """A front that changes nothing."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x,)


def problem() -> tuple[Tensor, Tensor, Fronted]:
    """Images, labels and a network, always the same."""
    torch.manual_seed(0)
    x, y = torch.randn(ROWS, 3, 32, 32), torch.randint(10, (ROWS,))
    return x, y, Fronted(Plain(), ResNet(ResNetConfig(in_channels=3, num_classes=10, image_size=(32, 32))))


def raw_torch(network: nn.Module, x: Tensor, y: Tensor) -> Iterator[float]:
    """The loop that everybody writes."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    network.train()
    for step in range(STEPS):
        epoch, place = divmod(step, ROWS // BATCH)
        rows = order(ROWS, BATCH, 0, epoch)[place]
        torch.manual_seed(seed_of(0, step))
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x[rows]), y[rows], reduction="sum") / len(rows)
        loss.backward()
        optimizer.step()
        yield loss.item()


def ours(network: nn.Module, x: Tensor, y: Tensor, folder: str) -> Iterator[float]:
    """chainrule's loop with report, guard, order and saves by the clock."""
    samples = TensorSamples((x,), y, [str(i) for i in range(len(x))])
    valid = TensorSamples((x[:1],), y[:1], ["0"])
    names = tuple(str(k) for k in range(10))
    task = Classify(ClassifyConfig(), ClassTarget(name="y", classes=names, counts=(1,) * 10))
    plan = Plan(
        train=TrainConfig(steps=STEPS, epochs=STEPS, batch_size=BATCH, eval_every=10**9),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3),
        schedule=ScheduleConfig(),
    )
    run = Run.create(Path(folder) / "run")
    for report in train(task, network, (samples, valid), plan, run, Arithmetic(torch.device("cpu"))):
        yield report.loss
    run.close()


def peak_mib(which: str) -> float:
    """Peak resident memory of a fresh process that runs one of the two loops."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.loop_overhead", which], check=True, capture_output=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the ratios."""
    x, y, a = problem()
    b = problem()[2]
    times: dict[str, list[float]] = {"ours": [], "raw": []}
    with tempfile.TemporaryDirectory() as folder:
        loops = {"ours": ours(a, x, y, folder), "raw": raw_torch(b, x, y)}
        for step in range(STEPS):
            for name in ("ours", "raw") if step % 2 else ("raw", "ours"):
                started = time.perf_counter()
                next(loops[name])
                times[name].append(time.perf_counter() - started)
        same = all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        for loop in loops.values():
            list(loop)
    pairs = [mine / theirs for mine, theirs in zip(times["ours"][2:-1], times["raw"][2:-1], strict=True)]
    print(f"weights equal bit for bit: {same}")
    medians = {name: statistics.median(seconds[2:-1]) for name, seconds in times.items()}
    print(f"seconds a step: ours {medians['ours']:.3f}, raw {medians['raw']:.3f}")
    print(f"time ratio ours / raw: {statistics.median(pairs):.3f} (must be <= 1.02)")
    memory = {name: peak_mib(name) for name in ("ours", "raw")}
    print(f"peak memory ratio: {memory['ours'] / memory['raw']:.3f} of {memory['raw']:.0f} MiB (must be <= 1.05)")


def alone(which: str) -> None:
    """One loop in this process; prints the peak in MiB."""
    x, y, network = problem()
    with tempfile.TemporaryDirectory() as folder:
        for _ in ours(network, x, y, folder) if which == "ours" else raw_torch(network, x, y):
            pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    alone(sys.argv[1])
