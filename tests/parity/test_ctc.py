"""CTC's loss and its gradients against the sum over all paths."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from chainrule.functional.ctc import collapse, ctc_nats

TOLERANCE = 1e-10  # float64, sums of at most 4^6 paths


def sum_over_paths(log_probs: Tensor, text: list[int]) -> Tensor:
    """-log of the sum, over every path that collapses to the text, of the product of its probabilities."""
    T, K = log_probs.shape
    paths = [path for path in product(range(K), repeat=T) if collapse(path) == text]
    each = [torch.stack([log_probs[t, c] for t, c in enumerate(path)]).sum() for path in paths]
    return -torch.logsumexp(torch.stack(each), 0)


@pytest.mark.parametrize(
    ("lengths", "texts"),
    [
        ([5, 3], [[1, 2], [2]]),
        ([4, 5], [[1, 1], [1, 2, 1]]),
        ([5, 1], [[], [1]]),
        ([3, 5], [[2, 2], [1, 1, 2]]),
    ],
)
def test_nats_and_gradients_equal_the_sum_over_all_paths(lengths: list[int], texts: list[list[int]]) -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(sum(lengths)), dtype=torch.float64)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    padded = torch.zeros(2, 3, dtype=torch.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
    nats = ctc_nats(torch.log_softmax(ours, -1), torch.tensor(lengths), padded)
    wanted = torch.stack(
        [sum_over_paths(torch.log_softmax(plain[row, :T], -1), texts[row]) for row, T in enumerate(lengths)]
    )
    torch.testing.assert_close(nats, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    weights = torch.tensor([0.7, 1.3], dtype=torch.float64)
    (nats * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_gradient_is_that_of_finite_differences() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    lengths, texts = torch.tensor([4, 3]), torch.tensor([[1, 1], [2, 0]])
    assert torch.autograd.gradcheck(lambda x: ctc_nats(torch.log_softmax(x, -1), lengths, texts), (logits,))


def test_float32_is_near_float64() -> None:
    logits = torch.randn(2, 60, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    lengths = torch.tensor([60, 47])
    texts = torch.randint(1, 20, (2, 12), generator=torch.Generator().manual_seed(3))
    exact = ctc_nats(torch.log_softmax(logits, -1), lengths, texts)
    single = ctc_nats(torch.log_softmax(logits.float(), -1), lengths, texts)
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)  # 60 additions in float32
