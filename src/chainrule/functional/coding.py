"""What autoencoders pay for their codes.

Source: Kingma, Welling 2013, arXiv:1312.6114, appendix B.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def gaussian_kl(mean: Float[Tensor, "B D"], log_var: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """KL(N(mean, exp(log_var)) || N(0, 1)) = sum_d (mu_d^2 + sigma_d^2 - 1 - ln sigma_d^2) / 2, in nats a row.

    Example:
        >>> import torch
        >>> gaussian_kl(torch.tensor([[2.0]]), torch.zeros(1, 1)).item()
        2.0
    """
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
