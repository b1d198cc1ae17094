"""Microseconds a step of an MLP 64-128-10, batch 100, Adam: ours through the whole loop, raw torch, scikit-learn."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.loop_overhead import Plain
from chainrule.data.samples import TensorSamples
from chainrule.data.schema import ClassTarget
from chainrule.models.mlp import MLP, MLPConfig
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.config import TrainConfig
from chainrule.train.loop import Plan, train
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig
from chainrule.train.run import Run

ROWS, BATCH, EPOCHS = 10_000, 100, 10
STEPS = EPOCHS * ROWS // BATCH


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random rows with a learnable answer."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 64)).astype(np.float32)
    return x, x[:, :10].argmax(1)


def ours(x: np.ndarray, y: np.ndarray) -> float:
    """Seconds of all steps through fit's own loop, guard on, on one thread as fit chooses for steps this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples = TensorSamples((torch.from_numpy(x),), torch.from_numpy(y), [str(i) for i in range(ROWS)])
    valid = TensorSamples((torch.from_numpy(x[:10]),), torch.from_numpy(y[:10]), [str(i) for i in range(10)])
    names = tuple(str(k) for k in range(10))
    task = Classify(ClassifyConfig(), ClassTarget(name="y", classes=names, counts=(1,) * 10))
    network = Fronted(Plain(), MLP(MLPConfig(in_features=64, num_classes=10, hidden=(128,))))
    plan = Plan(
        train=TrainConfig(steps=STEPS, epochs=EPOCHS, batch_size=BATCH, eval_every=10**9),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
        schedule=ScheduleConfig(),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run")
        started = time.perf_counter()
        for report in train(task, network, (samples, valid), plan, run, Arithmetic(torch.device("cpu"))):
            if report.step == STEPS - 1:  # the last step also evaluates and saves
                seconds = time.perf_counter() - started
        run.close()
    torch.set_num_threads(threads)
    return seconds


def raw_torch(x: np.ndarray, y: np.ndarray) -> float:
    """Seconds of all steps of the loop that everybody writes."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    return time.perf_counter() - started


def scikit_learn(x: np.ndarray, y: np.ndarray) -> float:
    """Seconds of all steps of MLPClassifier."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((128,), batch_size=BATCH, max_iter=EPOCHS, tol=0, n_iter_no_change=EPOCHS + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        model.fit(x, y)
    return time.perf_counter() - started


def main() -> None:
    """Print microseconds a step and ratios, medians of five rounds in turn."""
    x, y = data()
    peers = {"ours": ours, "raw torch": raw_torch, "scikit-learn": scikit_learn}
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(6):
        for name, run in peers.items():
            times[name].append(run(x, y) / STEPS)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    print(", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in medians.items()))
    print(f"ours / scikit-learn: {medians['ours'] / medians['scikit-learn']:.2f} (goal <= 0.6, beyond it 0.4)")
    print(f"ours / raw torch: {medians['ours'] / medians['raw torch']:.2f}")
