"""A small classification problem and a network for the loop's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chainrule.data.samples import TensorSamples
from chainrule.data.schema import ClassTarget
from chainrule.nn.fronted import Fronted
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.train.arithmetic import Arithmetic
from chainrule.train.config import TrainConfig
from chainrule.train.loop import Plan, train
from chainrule.train.optimizer import OptimizerConfig, ScheduleConfig
from chainrule.train.report import Report
from chainrule.train.run import Run

CPU = Arithmetic(torch.device("cpu"))


class Plain(nn.Module):
    """A front that changes nothing."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x,)


def samples(rows: int = 70, features: int = 6, classes: int = 3) -> TensorSamples:
    """Three classes, nearly linear."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(rows, features, generator=generator)
    noise = 0.3 * torch.randn(rows, classes, generator=generator)
    return TensorSamples((x,), (x[:, :classes] + noise).argmax(1), [f"row {i}" for i in range(rows)])


def network(kind: str = "dropout") -> Fronted:
    """Small networks that use what a checkpoint has to carry: dropout's draws, batch norm's buffers."""
    torch.manual_seed(7)
    middle: dict[str, nn.Module] = {"dropout": nn.Dropout(0.3), "norm": nn.BatchNorm1d(16), "plain": nn.Identity()}
    if kind == "image":
        body = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    else:
        body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), middle[kind], nn.Linear(16, 3))
    return Fronted(Plain(), body)


def task(**config: Any) -> Classify:
    """Classification of the three classes."""
    return Classify(ClassifyConfig(**config), ClassTarget(name="y", classes=("a", "b", "c"), counts=(24, 23, 23)))


def plan(optimizer: str = "adamw", learning_rate: float = 0.01, **config: Any) -> Plan:
    """Three epochs of ten steps unless said otherwise."""
    settings = {"epochs": 3, "steps": 30, "batch_size": 7, "save_every": 4} | config
    return Plan(
        train=TrainConfig(**settings),
        optimizer=OptimizerConfig(name=optimizer, learning_rate=learning_rate, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine"),
    )


def fit(
    folder: Path, net: nn.Module, obeyed: Plan, stop_after: int = 0, data: TensorSamples | None = None
) -> list[Report]:
    """Train in a new or an old run folder; leaves the loop after ``stop_after`` steps of the whole run."""
    (folder / "recipe.json").parent.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text("{}")
    run = Run.open(folder)
    reports = []
    data = data or samples()
    for report in train(task(), net, (data, data), obeyed, run, CPU):
        reports.append(report)
        if report.step == stop_after:
            break
    run.close()
    return reports


def weights(net: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a network holds."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two networks hold the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
