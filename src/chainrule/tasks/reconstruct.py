"""Reconstruction: the input itself, built again from a short code. Needs no labels.

What a row pays is counted in nats: minus the log-likelihood of its input given what was built, and what the network
pays for its code. Of a variational autoencoder the sum is the negative evidence lower bound.

Source: Kingma, Welling 2013, arXiv:1312.6114, equation 3; beta: Higgins et al. 2017, beta-VAE (ICLR), equation 4; KL
    warm-up: Bowman et al. 2015, arXiv:1511.06349, section 3.1; one learned spread for all numbers: Rybkin, Daniilidis,
    Levine 2020, arXiv:2006.13202.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import InputTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.coding import codebook_perplexity
from chainrule.functional.draws import normal_of
from chainrule.functional.metrics import Scorer, Weights, average_precision, ranking, roc_auc
from chainrule.nn.coding import Coder, Quantised
from chainrule.tasks.task import At, Headline, Loss, Rows, Term

LIKELIHOODS = ("auto", "bernoulli", "gaussian")
KL = "kl"  # the penalty that beta and the warm-up weigh
LEAST_LOG_STD = -5.0
UNPAID = ("mse", "elements", "labels", "block", "indices")  # measured rows that are no costs
VALUES = 2**24  # logits of tokens that are measured at once


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """How inputs are built again, and what is called an anomaly."""

    likelihood: str = "auto"  # of pixels: bernoulli (auto) or gaussian; numbers are gaussian, tokens one of many
    beta: float = 1.0  # weight of the KL divergence of a variational autoencoder
    warmup: float = 0.1  # share of the steps over which that weight rises from 0
    false_alarms: float = 0.05  # share of normal rows that the threshold of anomalies calls so

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            raise InputError(f"task.likelihood is {self.likelihood!r}; {nearest(self.likelihood, LIKELIHOODS)}")
        if self.beta < 0 or not 0 <= self.warmup <= 1:
            raise InputError(f"task.beta is 0 or more and task.warmup a share, got {self.beta} and {self.warmup}")
        if not 0 < self.false_alarms < 1:
            raise InputError(f"task.false_alarms is a share between 0 and 1, got {self.false_alarms}")


class Costs(nn.Module):
    """An autoencoder with what its rows pay, in nats.

    ``network`` sees inputs as the front gives them. The first is built again; beside numbers a second one, of the same
    shape, says where they are known (1) or not (0); beside tokens it says how many there are.
    """

    def __init__(self, network: Coder, target: InputTarget, likelihood: str) -> None:
        super().__init__()
        self.network = network
        self.form = target.form
        self.bernoulli = target.form == "pixels" and likelihood != "gaussian"
        self.mean: Tensor
        self.std: Tensor
        channels = (-1, 1, 1) if target.form == "pixels" else (-1,)
        self.register_buffer("mean", torch.tensor(target.mean or (0.0,)).view(channels), persistent=False)
        self.register_buffer("std", torch.tensor(target.std or (1.0,)).view(channels), persistent=False)
        if target.form == "numbers" or (target.form == "pixels" and not self.bernoulli):
            self.log_std = nn.Parameter(torch.zeros(()))  # of what is left over, one for all numbers

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B costs"]:
        """What each row pays: for its reconstruction, then each penalty of the network."""
        outputs, penalties = self.network.coded(inputs)
        return torch.cat((self.nats(inputs, outputs).flatten(1).sum(1, keepdim=True), penalties), 1)

    def truth(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """What outputs are compared with: pixels from 0 to 1, numbers in standard units, tokens."""
        seen = inputs[0]
        if self.form != "pixels":
            return seen
        H_W = seen.shape[-2:] if seen.ndim > 2 else None
        if H_W is None:  # a flattened image
            seen = seen.view(len(seen), len(self.mean), -1, 1)
        pixels = (seen * self.std + self.mean).clamp(0, 1)
        return pixels if H_W is not None else pixels.flatten(1)

    def built(self, outputs: Tensor) -> Tensor:
        """Outputs as they are compared: shares of white for pixels, numbers as they are, the likeliest tokens."""
        if self.form == "tokens":
            return outputs.argmax(-1)
        return outputs.sigmoid() if self.bernoulli else outputs

    def nats(self, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """Minus the log-likelihood of each number, pixel or token; 0 where it is not known."""
        truth = self.truth(inputs)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if self.form == "tokens":
            nats = F.cross_entropy(outputs.transpose(1, 2), truth, reduction="none")
            places = torch.arange(truth.shape[1], device=truth.device)
            return nats * (places < inputs[1][:, None])
        if self.bernoulli:
            return F.binary_cross_entropy_with_logits(outputs, truth.to(outputs.dtype), reduction="none")
        log_std = self.log_std.clamp(min=LEAST_LOG_STD)
        nats = 0.5 * ((truth - outputs) * (-log_std).exp()) ** 2 + log_std + 0.5 * math.log(2 * math.pi)
        return nats if len(inputs) == 1 else nats * inputs[1]

    def squares(self, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """The squared error of each number or pixel; of tokens 1 where another one is likelier; 0 where not known."""
        truth, built = self.truth(inputs), self.built(outputs)
        if self.form == "tokens":
            places = torch.arange(truth.shape[1], device=truth.device)
            return ((truth != built) & (places < inputs[1][:, None])).float()
        squares = (truth - built) ** 2
        return squares if len(inputs) == 1 else squares * inputs[1]

    def known(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """(B,) numbers, pixels or tokens of each row that are known."""
        if self.form == "tokens":
            return inputs[1].float()
        if len(inputs) > 1:
            return inputs[1].flatten(1).sum(1).float()
        return torch.full((len(inputs[0]),), float(inputs[0][0].numel()), device=inputs[0].device)


class Reconstruct:
    """What is built from a row's code against the row itself."""

    name = "reconstruct"
    unit: Literal["row", "group", "batch"] = "row"
    headline: Headline = ("mse", "min")
    monitor: Headline = ("loss", "min")

    def __init__(self, config: ReconstructConfig, target: InputTarget) -> None:
        self.config = config
        self.target = target
        if target.form == "tokens":
            self.headline = ("token_accuracy", "max")
        if target.normal:
            self.headline = ("roc_auc", "max")

    def wrap(self, network: nn.Module, schema: Any) -> nn.Module:
        """The autoencoder with what its rows pay.

        Raises:
            InputError: it has no code.
        """
        if not isinstance(network, Coder):
            raise InputError(
                "a network that builds its input again needs encode(*inputs), which gives a code (B D), decode(code), "
                "coded(inputs, draw), penalties and code_size, as nn/coding.py has them; see chainrule models vae"
            )
        return Costs(network, self.target, self.config.likelihood)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Rows."""
        return {"reconstruction": float(len(batch)), "penalties": float(len(batch)), KL: float(len(batch))}

    def loss(self, network: nn.Module, batch: Batch, at: At) -> Loss:
        """Nats of the reconstruction, of the code (by beta, warmed up), and other penalties of the network."""
        costs = network(*batch.inputs)
        names = costs_of(network).network.penalties
        terms = [Term("reconstruction", costs[:, 0].sum())]
        for place, name in enumerate(names, 1):
            weight = self.config.beta * self.warmed(at) if name == KL else 1.0
            if weight:
                terms.append(Term(KL if name == KL else "penalties", costs[:, place].sum(), weight))
        return tuple(terms)

    def warmed(self, at: At) -> float:
        """The share of beta at this step."""
        steps = self.config.warmup * at.steps
        return 1.0 if steps < 1 else min(1.0, (at.step + 1) / steps)

    def measure(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each row its nats, what they are made of, the mean squared error, and its class where it has one.

        What a network draws is a function of the row's place alone, so that scores are the same every time.
        """
        places = batch.inputs[0][0].numel() * self.target.vocab_size  # logits of a row of tokens
        parts = [self._measured(network, part) for part in batch.split(max(1, VALUES // places if places else VALUES))]
        rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        if self.target.window:  # neighbours overlap: intervals draw whole blocks of windows
            rows["block"] = batch.ids // self.target.window
        return rows

    def _measured(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        seen, costs = seen_by(network, batch), costs_of(network)
        coder, pieces = costs.network, len(seen[0]) // len(batch)
        draw = normal_of(batch.ids, coder.code_size).to(seen[0].device) if KL in coder.penalties else None
        outputs, penalties = coder.coded(seen, None if draw is None else draw.repeat_interleave(pieces, 0))
        nats = costs.nats(seen, outputs).flatten(1).double().sum(1)
        rows = {
            "reconstruction_nats": nats,
            "mse": costs.squares(seen, outputs).flatten(1).double().sum(1) / costs.known(seen).clamp(min=1),
            "elements": costs.known(seen),
        }
        for place, name in enumerate(coder.penalties):
            rows[f"{name}_nats" if name == KL else name] = penalties[:, place].double()
        rows = {name: of_rows(values, len(batch)) for name, values in rows.items()}
        if isinstance(coder, Quantised):
            rows["indices"] = coder.indices(*seen).view(len(batch), -1)
        return rows if batch.targets is None else rows | {"labels": batch.targets}

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """mse (of tokens token_accuracy and nats_per_token), nats (of a VAE minus the elbo), what they are made of;
        roc_auc, ... where anomalies are known.
        """
        return {name: float(value) for name, value in self.scorer(rows)(None).items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        paid = {name: values for name, values in rows.items() if name not in UNPAID}
        nats = anomaly_scores(rows)
        weighed = nats + sum(values * (self.config.beta - 1) for name, values in paid.items() if name == f"{KL}_nats")
        weighed = weighed + sum(values for name, values in paid.items() if not name.endswith("_nats"))
        strange = self.strange(rows)
        ranked = None if strange is None or strange.all() or not strange.any() else ranking(nats, strange)

        def scores(weights: Weights = None) -> dict[str, Any]:
            elements = rows["elements"] if weights is None else weights * rows["elements"]
            missed = (elements * rows["mse"]).sum(-1) / elements.sum(-1)
            found = {
                **({"token_accuracy": 1 - missed} if self.target.form == "tokens" else {"mse": missed}),
                "nats": mean_of(nats, weights),
                "loss": mean_of(weighed, weights),
                **{name: mean_of(values, weights) for name, values in paid.items()},
            }
            if self.target.form == "tokens":
                found["nats_per_token"] = mean_of(rows["reconstruction_nats"], weights) / mean_of(
                    rows["elements"], weights
                )
            if "indices" in rows and weights is None:
                found["codebook_perplexity"] = codebook_perplexity(rows["indices"])
            if f"{KL}_nats" in paid:
                found["elbo"] = -found["nats"]
            if ranked is not None and strange is not None:
                points = ranked.curve(weights)
                found |= {"roc_auc": roc_auc(points), "average_precision": average_precision(points)}
                if self.target.threshold:
                    called = nats >= self.target.threshold
                    found["detected"] = share_of(called, strange, weights)
                    found["false_alarms"] = share_of(called, ~strange, weights)
            return found

        return scores

    def strange(self, rows: Rows) -> NDArray[np.bool_] | None:
        """Which rows are anomalies; None where nobody knows."""
        if not self.target.normal or "labels" not in rows:
            return None
        return np.asarray(rows["labels"] >= len(self.target.classes))

    def embed(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B D"]:
        """The codes."""
        return of_rows(costs_of(network).network.encode(*seen_by(network, batch)), len(batch))

    def learned_targets(self, targets: Tensor) -> Tensor:
        """Labels, which are not learned."""
        return targets

    def outputs(self) -> list[str]:
        """None: an autoencoder's outputs are its inputs."""
        return []

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        """Columns "score" (nats), "mse" (of tokens "token_accuracy") and, once the threshold is settled, "anomaly"."""
        measured = self.measure(network, batch)
        rows = {name: values.cpu().numpy() for name, values in measured.items()}
        scores = anomaly_scores(rows)
        missed = ("token_accuracy", 1 - rows["mse"]) if self.target.form == "tokens" else ("mse", rows["mse"])
        answers: dict[str, list[Any]] = {"score": scores.tolist(), missed[0]: missed[1].tolist()}
        return answers | ({"anomaly": (scores >= self.target.threshold).tolist()} if self.target.threshold else {})


def seen_by(network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """What the network is called with; of rows that are seen in pieces each piece is a row of its own."""
    front = network.front
    assert isinstance(front, nn.Module)
    inputs: tuple[Tensor, ...] = front(*batch.inputs)
    return tuple(x.flatten(0, 1) for x in inputs) if network.pieces else inputs


def of_rows(values: Tensor, rows: int) -> Tensor:
    """(rows, ...) what was found of rows, or the mean over the pieces of each."""
    return values if len(values) == rows else values.unflatten(0, (rows, -1)).mean(1)


def costs_of(network: nn.Module) -> Costs:
    """The autoencoder with its costs, behind the front."""
    costs = network.network
    assert isinstance(costs, Costs)
    return costs


def anomaly_scores(rows: Rows) -> NDArray[np.float64]:
    """(N,) nats of each row: the less likely, the higher."""
    return np.asarray(sum(values for name, values in rows.items() if name.endswith("_nats")))


def mean_of(values: NDArray[Any], weights: Weights) -> Any:
    """The mean of values (N,) by weights (..., N)."""
    return values.mean() if weights is None else (weights @ values) / weights.sum(-1)


def share_of(called: NDArray[np.bool_], among: NDArray[np.bool_], weights: Weights) -> Any:
    """The share of rows that are called, among some."""
    kept = among.astype(np.float64) if weights is None else weights * among
    return (kept * called).sum(-1) / kept.sum(-1)
