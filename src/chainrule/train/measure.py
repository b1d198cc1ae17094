"""Run a task over samples without learning: measured rows for the scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chainrule.data.samples import Samples
from chainrule.tasks.task import Rows, Task
from chainrule.train.arithmetic import Arithmetic, is_out_of_memory

VALUES = 2**24  # of inputs that go through the network at once; what it computes from them is tens of times as much


def rows_at_once(samples: Samples, most: int) -> int:
    """How many rows may go through the network together: fewer where a row is a large image, a clip or a long sound.

    Example:
        >>> from chainrule.data.samples import TensorSamples
        >>> rows_at_once(TensorSamples((torch.zeros(2, 3, 1024, 1024),), None, ("a", "b")), 256)
        5
    """
    if not len(samples):
        return most
    values = sum(x.numel() for x in samples.batch(torch.zeros(1, dtype=torch.int64)).inputs)
    return max(1, min(most, VALUES // max(1, values)))


def measure(task: Task, network: nn.Module, samples: Samples, batch_size: int, arithmetic: Arithmetic) -> Rows:
    """The task's measured rows for all samples, in order, in evaluation mode.

    Out of memory shrinks only the batch at hand.
    """
    was_training = network.training
    network.eval()
    pieces: list[dict[str, Tensor]] = []
    start, batch_size = 0, rows_at_once(samples, batch_size)
    try:
        with torch.inference_mode(), arithmetic.autocast():
            while start < len(samples):
                rows = torch.arange(start, min(start + batch_size, len(samples)))
                try:
                    batch = arithmetic.place_batch(samples.batch(rows))
                    pieces.append({name: rows.cpu() for name, rows in task.measure(network, batch).items()})
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or batch_size == 1:
                        raise
                    batch_size = max(1, batch_size // 2)
                    continue
                start += len(rows)
    finally:
        network.train(was_training)
    names = pieces[0] if pieces else {}
    return {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in names}
