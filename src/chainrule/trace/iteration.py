"""Open one iteration: forward, loss, backward, update."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.functional.losses import LOSSES
from chainrule.functional.optimizers import OPTIMIZERS
from chainrule.models.mlp import MLP
from chainrule.models.perceptron import Perceptron
from chainrule.nn.fronted import Fronted
from chainrule.trace import dense, layers, recurrent
from chainrule.trace.notation import number
from chainrule.trace.tree import Iteration

LOSS_NAMES = ("cross_entropy", "mse")


def open_iteration(
    network: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    targets: Tensor,
    *,
    loss: str = "",
    optimizer: str = "sgd",
    learning_rate: float = 0.01,
    input_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
    symbols: bool = False,
) -> Iteration:
    """One iteration of ``network`` on one batch, which it leaves as it was.

    A perceptron or an MLP is opened number by number, without dropout; any other network layer by layer in training
    mode. ``loss`` is "cross_entropy" or "mse"; "" takes the first for class indices and the second for numbers, which
    have to come in the units the network learns. ``symbols`` adds the derivation with SymPy.

    Raises:
        InputError: an unknown loss or optimizer, a batch that does not fit or is not finite, SymPy absent or the
            network too large for it.

    Example:
        >>> from chainrule.models.perceptron import PerceptronConfig
        >>> gate = Perceptron(PerceptronConfig(in_features=2, num_classes=1))
        >>> opened = open_iteration(gate, torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
        >>> opened.loss_after < opened.loss_before
        True
    """
    batch = (inputs,) if isinstance(inputs, Tensor) else inputs
    if isinstance(network, Fronted):  # it fills what is missing
        batch, network = network.front(*batch), network.network
    _validate(batch, targets, loss, optimizer, learning_rate)
    chosen = _choose_loss(network, batch, targets, loss)
    facts = (
        ("rows in the batch", str(len(targets))), ("loss", chosen.replace("_", " ")), ("optimizer", optimizer),
        ("learning rate", number(learning_rate)), ("parameters", str(sum(p.numel() for p in network.parameters()))),
    )  # fmt: skip
    if isinstance(network, MLP | Perceptron):
        computed = dense.compute(network, batch[0], targets, chosen, optimizer, learning_rate)
        sections = list(dense.sections(computed, input_names, target_names))
        checks = dense.check(computed, network)
        if symbols:
            from chainrule.trace.symbols import derive

            section, check = derive(computed)
            sections.append(section)
            checks = (*checks, check)
        sizes = "-".join(map(str, computed.names.sizes))
        activation = f", {computed.activation}" if computed.names.depth > 1 else ""
        title = f"One iteration of {type(network).__name__} {sizes}{activation}"
        return Iteration(title, facts, tuple(sections), checks, computed.loss_before, computed.loss_after)
    if symbols:
        raise InputError(f"the derivation in symbols is for perceptron and mlp, not {type(network).__name__}")
    opened = layers.compute(network, batch, targets, chosen, optimizer, learning_rate)
    rule = f"{OPTIMIZERS[optimizer].formula}, lr = {number(learning_rate)}"
    checks = layers.check(opened, learning_rate) if optimizer == "sgd" else ()
    title = f"One iteration of {type(network).__name__}, layer by layer"
    sections = list(layers.sections(opened, rule))
    if recurrent.has_recurrent(network):
        rows = len(targets)
        steps = recurrent.open_recurrent(network, batch, lambda out: LOSSES[chosen].total(out, targets) / rows)
        sections += recurrent.sections(steps)
        checks = (*checks, recurrent.check(steps))
    return Iteration(title, facts, tuple(sections), checks, opened.loss_before, opened.loss_after)


def _validate(batch: tuple[Tensor, ...], targets: Tensor, loss: str, optimizer: str, learning_rate: float) -> None:
    if loss not in ("", *LOSS_NAMES):
        raise InputError(f"loss is {loss!r}; {nearest(loss, LOSS_NAMES)}")
    if optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer is {optimizer!r}; {nearest(optimizer, tuple(OPTIMIZERS))}")
    if not learning_rate > 0:
        raise InputError(f"the learning rate must be above 0, got {learning_rate}")
    lengths = {len(targets), *(len(x) for x in batch)}
    if len(lengths) > 1 or not len(targets):
        raise InputError(f"inputs and targets need the same number of rows, at least one; got {sorted(lengths)}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*batch, targets)):
        raise InputError("the batch has NaN or infinite numbers, which no formula can follow; clean or impute them")


def _choose_loss(network: nn.Module, batch: tuple[Tensor, ...], targets: Tensor, loss: str) -> str:
    if targets.dtype != torch.int64:
        if loss == "cross_entropy":
            raise InputError("cross-entropy needs class indices, the targets are numbers; use mse")
        return "squared_error"
    if loss == "mse":
        return "probability_error"
    with torch.no_grad():
        outputs = _outputs(network, batch)
    return "binary_cross_entropy" if outputs == 1 else "cross_entropy"


def _outputs(network: nn.Module, batch: tuple[Tensor, ...]) -> int:
    """Outputs per row, asked of a copy so that nothing in the network moves."""
    logits = copy.deepcopy(network).eval()(*batch)
    if not isinstance(logits, Tensor):
        raise InputError("trace opens networks with one answer for each row; this one answers for every frame of it")
    return logits.shape[-1]
