"""Run a task over samples without learning: measured rows for the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from chainrule.data.samples import Batch, Samples
from chainrule.tasks.task import Rows
from chainrule.train.arithmetic import Arithmetic, is_out_of_memory

Look = Callable[[nn.Module, Batch], dict[str, Tensor]]

VALUES = 2**24  # of inputs that go through the network at once; what it computes from them is tens of times as much


def portions(samples: Samples, most: int) -> Iterator[Tensor]:
    """All rows in order, as many together as may go through the network at once.

    At most ``most``; fewer where a row is a large image, a clip or a long sound, all counted as the longest of them.

    Example:
        >>> from chainrule.data.samples import TensorSamples
        >>> samples = TensorSamples((torch.zeros(12, 3, 1024, 1024),), None, tuple("abcdefghijkl"))
        >>> [len(rows) for rows in portions(samples, 256)]
        [5, 5, 2]
    """
    lengths = samples.lengths
    if lengths is None:
        values = sum(x.numel() for x in samples.batch(torch.arange(min(1, len(samples)))).inputs)
        size = max(1, min(most, VALUES // max(1, values)))
        yield from torch.split(torch.arange(len(samples)), size) if len(samples) else ()
        return
    start, longest = 0, 0
    for row, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if row > start and (row - start == most or (row - start + 1) * longest > VALUES):
            yield torch.arange(start, row)
            start, longest = row, length
    if len(samples):
        yield torch.arange(start, len(samples))


def measure(look: Look, network: nn.Module, samples: Samples, batch_size: int, arithmetic: Arithmetic) -> Rows:
    """The rows that a task's ``measure`` gives for all samples, in order, in evaluation mode.

    Out of memory shrinks only the batch at hand.
    """
    was_training = network.training
    network.eval()
    pieces: list[dict[str, Tensor]] = []
    most = batch_size
    try:
        with torch.inference_mode(), arithmetic.autocast():
            for portion in portions(samples, batch_size):
                left = portion
                while len(left):
                    try:
                        batch = arithmetic.place_batch(samples.batch(left[:most]))
                        pieces.append({name: rows.cpu() for name, rows in look(network, batch).items()})
                    except (RuntimeError, MemoryError) as error:
                        if not is_out_of_memory(error) or min(most, len(left)) == 1:
                            raise
                        most = max(1, min(most, len(left)) // 2)
                        continue
                    left = left[most:]
    finally:
        network.train(was_training)
    names = pieces[0] if pieces else {}
    return {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in names}
