"""What autoencoders pay for their codes, and vectors replaced by the nearest of a codebook.

Source: gaussian_kl: Kingma, Welling 2013, arXiv:1312.6114, appendix B; absolute_sum: Goodfellow, Bengio, Courville
    2016, Deep Learning, section 14.2.1; nearest, straight_through, codebook_costs: van den Oord, Vinyals, Kavukcuoglu
    2017, arXiv:1711.00937, equations 1 to 3.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


def gaussian_kl(mean: Float[Tensor, "B D"], log_var: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """KL(N(mean, exp(log_var)) || N(0, 1)) = sum_d (mu_d^2 + sigma_d^2 - 1 - ln sigma_d^2) / 2, in nats a row.

    Example:
        >>> gaussian_kl(torch.tensor([[2.0]]), torch.zeros(1, 1)).item()
        2.0
    """
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)


def absolute_sum(code: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """sum_d |h_d|: minus the logarithm of a Laplace prior over codes, up to a constant.

    Example:
        >>> absolute_sum(torch.tensor([[1.0, 0.0, -2.0]])).item()
        3.0
    """
    return code.abs().sum(-1)


def nearest(z: Float[Tensor, "B N D"], codebook: Float[Tensor, "K D"]) -> Int[Tensor, "B N"]:
    """argmin_k ||z - e_k|| (eq. 1); of equally near entries the first. In full precision, also under autocast.

    Example:
        >>> nearest(torch.tensor([[[0.9], [0.2]]]), torch.tensor([[0.0], [1.0]])).tolist()
        [[1, 0]]
    """
    places = z.detach().flatten(0, 1).to(codebook.dtype)
    return torch.cdist(places, codebook.detach()).argmin(-1).view(z.shape[:2])


def straight_through(z: Float[Tensor, "B N D"], entries: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """The entries going forward; going backward their gradient is handed to z as it is (section 3.2).

    Example:
        >>> z = torch.tensor([[[0.9]]], requires_grad=True)
        >>> entries = straight_through(z, torch.tensor([[[1.0]]]))
        >>> (3 * entries).sum().backward()
        >>> entries.item(), z.grad.item()
        (1.0, 3.0)
    """
    return entries.detach() + (z - z.detach())


def codebook_costs(
    z: Float[Tensor, "B N D"], entries: Float[Tensor, "B N D"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """||sg[z] - e||^2, which moves entries, and ||z - sg[e]||^2, which holds z to them (eq. 3), means over N places.

    Example:
        >>> codebook, commitment = codebook_costs(torch.tensor([[[0.5], [1.0]]]), torch.tensor([[[1.0], [1.0]]]))
        >>> codebook.item(), commitment.item()
        (0.125, 0.125)
    """
    codebook = (z.detach() - entries).square().sum(-1).mean(-1)
    commitment = (z - entries.detach()).square().sum(-1).mean(-1)
    return codebook, commitment


def codebook_perplexity(indices: NDArray[np.int64]) -> float:
    """exp(-sum_k p_k ln p_k), p_k the share of places where entry k stands: so many entries equally often.

    Example:
        >>> round(codebook_perplexity(np.array([[0, 1], [3, 3]])), 3)
        2.828
    """
    counts = np.bincount(indices.ravel())
    shares = counts[counts > 0] / indices.size
    return float(np.exp(-(shares * np.log(shares)).sum()))
