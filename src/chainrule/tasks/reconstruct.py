"""Reconstruction: the input itself, built again from a short code. Needs no labels.

What a row pays is counted in nats: minus the log-likelihood of its input given what was built, and what the network
pays for its code. Of a variational autoencoder the sum is the negative evidence lower bound.

How strange a row is, is another question: grey pixels are dear however well they are built. Its score is how far it is
from what is built of its mean code, in units of what is usual, and how far that code is from those of the train split.

Source: Kingma, Welling 2013, arXiv:1312.6114, equation 3; beta: Higgins et al. 2017, beta-VAE (ICLR), equation 4; KL
    warm-up: Bowman et al. 2015, arXiv:1511.06349, section 3.1; the score: functional/anomaly.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chainrule.data.samples import Batch
from chainrule.data.schema import InputTarget
from chainrule.errors import InputError, nearest
from chainrule.functional.anomaly import distance, mean_of, share_of
from chainrule.functional.coding import codebook_perplexity
from chainrule.functional.draws import normal_of
from chainrule.functional.metrics import Scorer, Weights, average_precision, ranking, roc_auc
from chainrule.nn.coding import Coder, Quantised
from chainrule.tasks.costs import Costs, costs_of, of_rows, seen_by
from chainrule.tasks.task import At, Headline, Loss, Rows, Term

LIKELIHOODS = ("auto", "bernoulli", "gaussian")
KL = "kl"  # the penalty that beta and the warm-up weigh
UNPAID = ("mse", "elements", "score", "tokens", "labels", "strange", "block", "indices")  # measured, but no costs
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
        built, penalties = coder.coded(seen)
        drawn = built
        if KL in coder.penalties:
            draw = normal_of(batch.ids, coder.code_size).to(seen[0].device)
            drawn, _ = coder.coded(seen, draw.repeat_interleave(pieces, 0))
        known = costs.known(seen)
        misfits = self._by_column(costs.misfits(seen, built)) / self._of(self.target.usual or (1.0,), seen[0])
        rows = {
            "reconstruction_nats": costs.nats(seen, drawn).flatten(1).double().sum(1),
            "mse": costs.squares(seen, built).flatten(1).double().sum(1) / known.clamp(min=1),
            "elements": known,
            "score": misfits.sum(1) / known.clamp(min=1),
        }
        for place, name in enumerate(coder.penalties):
            rows[f"{name}_nats" if name == KL else name] = penalties[:, place].double()
        rows = {name: of_rows(values, len(batch)) for name, values in rows.items()}
        if self.target.code_mean:
            mean, precision = (self._of(x, seen[0]) for x in (self.target.code_mean, self.target.code_precision))
            rows["score"] = rows["score"] + distance(self.embed(network, batch).double(), mean, precision)
        if self.target.form == "tokens":
            rows["tokens"] = rows["elements"]
        if isinstance(coder, Quantised):
            rows["indices"] = coder.indices(*seen).view(len(batch), -1)
        return rows | self.labels(batch)

    def labels(self, batch: Batch) -> dict[str, Tensor]:
        """The class of each row, where there are labels, and where it is said what is normal whether it is not."""
        if batch.targets is None:
            return {}
        strange = {"strange": batch.targets >= len(self.target.classes)} if self.target.normal else {}
        return {"labels": batch.targets, **strange}

    def _by_column(self, misfits: Tensor) -> Float[Tensor, "B F"]:
        """The sum over each column that has a name, otherwise over all."""
        columns = misfits.shape[-1] if self.target.names else 1
        moments: Tensor = misfits.double().reshape(len(misfits), -1, columns).sum(1)
        return moments

    def _of(self, values: Any, like: Tensor) -> Tensor:
        """Settled numbers as a tensor."""
        return torch.tensor(values, dtype=torch.float64, device=like.device)

    def usual(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the score is measured by: of each row its code, and by column its misfit and how many are known."""
        seen, costs = seen_by(network, batch), costs_of(network)
        misfits = costs.misfits(seen, costs.network.coded(seen)[0])
        rows = {"misfits": misfits, "known": costs.mask(seen)}
        found = {name: of_rows(self._by_column(values), len(batch)) for name, values in rows.items()}
        return {**found, "codes": self.embed(network, batch).double()}

    def examine(self, network: nn.Module, batch: Batch, views: int) -> dict[str, Tensor]:
        """As ``measure``."""
        return self.measure(network, batch)

    def score(self, rows: Rows) -> dict[str, float]:
        """mse (of tokens token_accuracy and nats_per_token), nats (of a VAE minus the elbo), what they are made of;
        roc_auc, ... where anomalies are known. What is not measured is left out.
        """
        return {name: float(value) for name, value in self.scorer(rows)(None).items()}

    def scorer(self, rows: Rows) -> Scorer:
        """The scores as a function of weights per row."""
        built, found = self._of_costs(rows), self._of_anomalies(rows)

        def scores(weights: Weights = None) -> dict[str, Any]:
            return {**built(weights), **found(weights)}

        return scores

    def _of_costs(self, rows: Rows) -> Scorer:
        """How well rows are built, and what they pay."""
        paid = {name: values for name, values in rows.items() if name not in UNPAID}
        nats = nats_of(rows)
        weighed = nats + sum(values * (self.config.beta - 1) for name, values in paid.items() if name == f"{KL}_nats")
        weighed = weighed + sum(values for name, values in paid.items() if not name.endswith("_nats"))

        def scores(weights: Weights = None) -> dict[str, Any]:
            found: dict[str, Any] = {}
            if "mse" in rows:
                elements = rows["elements"] if weights is None else weights * rows["elements"]
                missed = (elements * rows["mse"]).sum(-1) / elements.sum(-1)
                found |= {"token_accuracy": 1 - missed} if self.target.form == "tokens" else {"mse": missed}
            if "reconstruction_nats" in rows:
                found |= {"nats": mean_of(nats, weights), "loss": mean_of(weighed, weights)}
            found |= {name: mean_of(values, weights) for name, values in paid.items()}
            if "tokens" in rows:
                per_row = mean_of(rows["reconstruction_nats"], weights)
                found["nats_per_token"] = per_row / mean_of(rows["tokens"], weights)
            if "indices" in rows and weights is None:
                found["codebook_perplexity"] = codebook_perplexity(rows["indices"])
            if f"{KL}_nats" in paid:
                found["elbo"] = -found["nats"]
            return found

        return scores

    def _of_anomalies(self, rows: Rows) -> Scorer:
        """How well anomalies are told from normal rows, where both are known."""
        if "strange" not in rows or len(np.unique(rows["strange"])) < 2:
            return no_scores
        score, strange = anomaly_scores(rows), rows["strange"].astype(bool)
        ranked = ranking(score, strange)

        def scores(weights: Weights = None) -> dict[str, Any]:
            points = ranked.curve(weights)
            found = {"roc_auc": roc_auc(points), "average_precision": average_precision(points)}
            if self.target.threshold:
                called = score >= self.target.threshold
                found["detected"] = share_of(called, strange, weights)
                found["false_alarms"] = share_of(called, ~strange, weights)
            return found

        return scores

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
        """Columns "score", "mse" (of tokens "token_accuracy") and, once the threshold is settled, "anomaly".

        Of tables also "most", the column that is furthest from what was built, and its "share" of all misfits.
        """
        measured = self.measure(network, batch)
        rows = {name: values.cpu().numpy() for name, values in measured.items()}
        scores = anomaly_scores(rows)
        missed = ("token_accuracy", 1 - rows["mse"]) if self.target.form == "tokens" else ("mse", rows["mse"])
        answers: dict[str, list[Any]] = {"score": scores.tolist(), missed[0]: missed[1].tolist()}
        if self.target.threshold:
            answers["anomaly"] = (scores >= self.target.threshold).tolist()
        return answers | (self._most(network, batch) if self.target.columns else {})

    def _most(self, network: nn.Module, batch: Batch) -> dict[str, list[Any]]:
        names = list(dict.fromkeys(self.target.columns))
        misfits = self.misfits(network, batch)
        place = torch.tensor([names.index(name) for name in self.target.columns], device=misfits.device)
        sums = misfits.new_zeros(len(misfits), len(names)).index_add_(1, place, misfits)
        most = sums.argmax(1)
        share = sums.amax(1) / sums.sum(1).clamp(min=torch.finfo(sums.dtype).tiny)
        return {"most": [names[column] for column in most.tolist()], "share": share.tolist()}

    def misfits(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B F"]:
        """How far each column with a name is from what was built, in units of what is usual for it."""
        seen, costs = seen_by(network, batch), costs_of(network)
        misfits = self._by_column(costs.misfits(seen, costs.network.coded(seen)[0]))
        return of_rows(misfits / self._of(self.target.usual or (1.0,), seen[0]), len(batch))


def nats_of(rows: Rows) -> NDArray[np.float64]:
    """(N,) what each row pays."""
    return np.asarray(sum(values for name, values in rows.items() if name.endswith("_nats")))


def anomaly_scores(rows: Rows) -> NDArray[np.float64]:
    """(N,) how strange each row is: 2 is usual, 1 for what is built and 1 for the code it is built from."""
    return np.asarray(rows["score"], dtype=np.float64)


def no_scores(weights: Weights = None) -> dict[str, Any]:
    """No scores."""
    return {}
