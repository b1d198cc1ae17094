"""How large a network is worth building here: the largest of an architecture's sizes whose training fits into the time.

One step of the smallest size is timed; what a larger one costs follows from its operations. What was chosen becomes a
setting of the recipe, so that the run can be repeated on another machine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from chainrule.data.samples import Samples
from chainrule.models.catalog import Entry
from chainrule.recipe import Recipe, part_of
from chainrule.session import Session
from chainrule.tasks.task import At
from chainrule.train.arithmetic import Arithmetic, available_threads, find_device

USUAL_S = 900.0  # of training that a person is taken to wait where no limit is given
SPENT = 0.8  # of the time on steps; the rest on validation
ROWS = 2  # of the step that is timed
STEPS = 3
DEARER = 0.85  # a network with n times the operations takes n to this power as long: wide layers run more evenly


def scale_of(entry: Entry, recipe: Recipe, session: Session, samples: Samples) -> tuple[Mapping[str, Any], str]:
    """The settings of the largest size that fits into the time, and a line that says why.

    Args:
        session: with the smallest size.
    """
    device = find_device(recipe.train.device)
    seconds = step_seconds(session, samples, device) / ROWS  # of a row, in the smallest size
    rows = recipe.train.epochs * len(samples)
    limit = SPENT * (recipe.train.time_limit or USUAL_S)
    smallest = operations(session.module.network, samples)
    chosen, cost = entry.scales[0], seconds
    for scale in entry.scales[1:]:
        config = replace(recipe.model, **part_of(dict(scale), "model"))
        with torch.device("meta"):
            network = session.task.wrap(entry.build(config), session.schema)
        dearer = seconds * (operations(network, samples) / smallest) ** DEARER
        if dearer * rows > limit:
            break
        chosen, cost = scale, dearer
    sizes = " ".join(f"{name}={_text(value)}" for name, value in chosen.items())
    why = f"about {1 / cost:.3g} images a second here, {rows:,} are seen in {recipe.train.epochs} epochs"
    return chosen, f"decided     {sizes}: {why}"


def step_seconds(session: Session, samples: Samples, device: torch.device) -> float:
    """Seconds of forward and backward on a few rows, by a copy of the network."""
    if device.type == "cpu":
        torch.set_num_threads(session.recipe.train.threads or available_threads())
    arithmetic = Arithmetic(device)
    network = arithmetic.place(copy.deepcopy(session.module)).train()
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(ROWS) % len(samples)
    batch = arithmetic.place_batch(samples.batch(rows, generator))
    taken = []
    with torch.random.fork_rng(devices=[]):
        for step in range(STEPS):
            started = time.perf_counter()
            terms = session.task.loss(network, batch, At(step, STEPS, generator))
            torch.autograd.backward(torch.stack([term.total * term.weight for term in terms]).sum())
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    return min(taken)


def operations(network: nn.Module, samples: Samples) -> int:
    """Of one training row's forward pass; on the meta device, so nothing is computed."""
    from torch.utils.flop_counter import FlopCounterMode

    row = samples.batch(torch.zeros(1, dtype=torch.int64), torch.Generator().manual_seed(0)).inputs[0]
    network = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(row.shape, device="meta"))
    return max(1, int(counter.get_total_flops()))


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
