"""The adding and the copy puzzle learned by each cell, and the gradient that reaches each step, before and after.

    python benchmarks/long_memory.py [--cells rnn,gru,lstm] [--rounds 2000] [--folder docs]

Prints a line for each cell and puzzle, and writes gradients_adding.svg and gradients_copying.svg: the norm of the
loss's gradient with respect to the state at each step, the mean of 32 rows. Every cell gets the same: 64 or 96 units,
Adam at 1e-3, gradients cut to a norm of 1. About half an hour of one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainrule.data.puzzles import adding, copying
from chainrule.evaluate.charts import Series, line_chart
from chainrule.nn.recurrent import Recurrent
from chainrule.trace.recurrent import gradients_over_time

ADDED_STEPS, BLANKS, LENGTH, SYMBOLS = 100, 30, 5, 8
ROWS, SHOWN = 50, 32  # of a training step, of the figure


class Adder(nn.Module):
    """One number from the last state."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell, 2, 64)
        self.head = nn.Linear(64, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The sums (B,)."""
        answer: Tensor = self.head(self.recurrent(frames)[0][:, -1])[:, 0]
        return answer


class Copier(nn.Module):
    """Logits of a token at each step."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS + 2, 16)
        self.recurrent = Recurrent(cell, 16, 96)
        self.head = nn.Linear(96, SYMBOLS + 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, tokens)."""
        logits: Tensor = self.head(self.recurrent(self.embedding(tokens))[0])
        return logits


@dataclass(frozen=True)
class Puzzle:
    """What is drawn, learned and compared."""

    name: str
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
    network: Callable[[str], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]  # mean over the rows
    unit: str
    without_memory: float  # the loss of the best answer that remembers nothing


def copy_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Nats a step."""
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


PUZZLES = (
    Puzzle("adding", lambda rows, g: adding(rows, ADDED_STEPS, g), Adder, F.mse_loss, "squared error", 1 / 6),
    Puzzle(
        "copying", lambda rows, g: copying(rows, BLANKS, g, symbols=SYMBOLS, length=LENGTH), Copier, copy_loss,
        "nats a step", LENGTH * math.log(SYMBOLS) / (BLANKS + 2 * LENGTH),
    ),
)  # fmt: skip


def norms(puzzle: Puzzle, network: nn.Module) -> Tensor:
    """(T,) of 32 rows that training never saw."""
    inputs, answers = puzzle.draw(SHOWN, torch.Generator().manual_seed(9))
    wanted = answers.double() if answers.is_floating_point() else answers
    return gradients_over_time(network, (inputs,), lambda out: SHOWN * puzzle.loss(out, wanted))[0]


def learn(puzzle: Puzzle, cell: str, rounds: int) -> tuple[float, Tensor, Tensor]:
    """The loss of the last 100 steps, and the gradient norms before and after."""
    torch.manual_seed(0)
    network, generator = puzzle.network(cell), torch.Generator().manual_seed(1)
    before, optimizer, losses = norms(puzzle, network), torch.optim.Adam(network.parameters(), lr=1e-3), []
    for _ in range(rounds):
        inputs, answers = puzzle.draw(ROWS, generator)
        loss = puzzle.loss(network(inputs), answers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses[-100:]) / len(losses[-100:]), before, norms(puzzle, network)


def main() -> None:
    """Run what was asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", default="rnn,gru,lstm")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for puzzle in PUZZLES:
        print(f"{puzzle.name}: without memory {puzzle.without_memory:.4f} {puzzle.unit}", flush=True)
        lines = []
        for cell in options.cells.split(","):
            loss, before, after = learn(puzzle, cell, options.rounds)
            ratios = ", ".join(f"{float(n[0] / n[-1]):.1e}" for n in (before, after))
            print(
                f"  {cell}: {loss:.4f}; gradient at the first step / at the last, before and after: {ratios}",
                flush=True,
            )
            steps = range(1, len(before) + 1)
            lines += [
                Series(name=f"{cell}, untrained", x=list(steps), y=before.tolist(), dashed=True),
                Series(name=f"{cell}, {options.rounds:,} steps", x=list(steps), y=after.tolist()),
            ]
        if options.folder:
            title = f"{puzzle.name}: the loss's gradient at each step"
            chart = line_chart(title, lines, "step", "norm of dL / dstate", log_y=True)
            (options.folder / f"gradients_{puzzle.name}.svg").write_text(chart + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
