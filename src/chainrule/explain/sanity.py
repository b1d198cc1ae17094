"""Does an explanation depend on what the network learned? It must change when the weights are drawn anew."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from chainrule.data.order import generator_of

MOST_ALIKE = 0.7  # rank correlation from which an explanation is said to ignore the weights
_ROWS = 256  # rows whose ranks are compared


@dataclass(frozen=True, slots=True)
class Sanity:
    """How alike the explanations of the trained network and of random ones are."""

    correlation: float  # Spearman over columns or cells, mean over rows and redraws; NaN where nothing can be ranked
    redraws: int

    @property
    def passed(self) -> bool:
        """Whether the explanation changed with the weights."""
        return self.correlation < MOST_ALIKE

    def text(self) -> str:
        """The verdict in one line."""
        if math.isnan(self.correlation):
            return "weights randomised: no verdict, the explanation ranks nothing"
        verdict = (
            "the explanation depends on what was learned"
            if self.passed
            else ("THE EXPLANATION HARDLY CHANGES: do not trust it")
        )
        return f"weights randomised {self.redraws} times: rank correlation {self.correlation:+.2f}; {verdict}"


def sanity_check(network: nn.Module, explain: Callable[[nn.Module], Tensor], seed: int, redraws: int = 5) -> Sanity:
    """Compare ``explain(network)`` (B, columns) with that of copies whose parameters are all drawn anew.

    Every parameter tensor becomes normal noise of its own root mean square, so that scales stay and only what was
    learned goes. Buffers (normalisation of the data) are kept.

    Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, arXiv:1810.03292, section 3 (parameter randomisation).
    Differs: all layers at once instead of one after another; several redraws, averaged.
    """
    learned = explain(network)[:_ROWS]
    found = []
    for redraw in range(redraws):
        random = copy.deepcopy(network)
        generator = generator_of(seed, redraw)
        with torch.no_grad():
            for parameter in random.parameters():
                size = parameter.float().square().mean().sqrt().cpu()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
        found.append(rank_correlation(learned, explain(random)[:_ROWS]))
    values = torch.tensor(found)
    return Sanity(float(values.nanmean()), redraws)


@torch.no_grad()
def renew_batch_norm(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Set the running statistics of batch norm to those of ``inputs``, at least two rows.

    Those of the trained weights would shift the values of random ones out of the range in which layers react.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [(module.momentum, module.training) for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the mean over all batches since the reset
        module.train()
    network(*inputs)
    for module, (momentum, training) in zip(norms, kept, strict=True):
        module.momentum = momentum
        module.train(training)


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation of each row (B, columns), averaged over the rows in which both vary; NaN without any."""
    ranks = [torch.stack([_ranks(row) for row in values.double()]) for values in (first, second)]
    centred = [values - values.mean(1, keepdim=True) for values in ranks]
    length = centred[0].norm(dim=1) * centred[1].norm(dim=1)
    varied = length > 0
    return float(((centred[0] * centred[1]).sum(1)[varied] / length[varied]).mean())


def _ranks(row: Tensor) -> Tensor:
    """Ranks, equal values sharing their mean."""
    below = (row[:, None] > row).sum(1)
    equal = (row[:, None] == row).sum(1)
    return below + (equal - 1) / 2
