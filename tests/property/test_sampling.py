"""Rules of drawing over any logits: the kept set is the smallest, the likeliest stays, order does not matter."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from chainrule.functional.sampling import Sampling, keep_top_k, keep_top_p, next_token, repelled

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40).map(torch.tensor)
SHARES = st.floats(1e-6, 1, exclude_max=True)


@given(LOGITS, SHARES)
def test_top_p_is_the_smallest_set_of_the_likeliest_that_reaches_p(logits: torch.Tensor, p: float) -> None:
    shares = logits.double().softmax(0)
    kept = keep_top_p(logits, p) > -torch.inf
    assert float(shares[kept].sum()) >= p - 1e-12
    assert float(shares[kept].sum() - shares[kept].min()) < p + 1e-12  # without the least likely it is too little
    if not kept.all():
        assert float(shares[kept].min()) >= float(shares[~kept].max())


@given(LOGITS, st.integers(1, 50))
def test_top_k_keeps_k_and_none_likelier_is_left_out(logits: torch.Tensor, k: int) -> None:
    kept = keep_top_k(logits, k) > -torch.inf
    assert int(kept.sum()) == min(k, len(logits))
    if not kept.all():
        assert float(logits[kept].min()) >= float(logits[~kept].max())


@given(LOGITS, st.floats(1, 10), st.data())
def test_the_penalty_never_helps_what_was_seen(logits: torch.Tensor, penalty: float, data: st.DataObject) -> None:
    seen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits))))
    changed = repelled(logits, seen, penalty)
    assert (changed[seen] <= logits[seen]).all()
    assert torch.equal(changed[~seen], logits[~seen])


@given(LOGITS, SHARES, st.integers(0, 9), st.floats(0, 3), st.integers(0, 1000))
def test_a_draw_is_one_of_the_kept_tokens(
    logits: torch.Tensor, p: float, k: int, temperature: float, seed: int
) -> None:
    how = Sampling(temperature=temperature, top_k=k, top_p=p)
    nothing = torch.zeros(len(logits), dtype=torch.bool)
    token = next_token(logits, nothing, how, torch.Generator().manual_seed(seed))
    if temperature == 0:
        assert logits[token] == logits.max()
    elif k:
        assert keep_top_k(logits, k)[token] > -torch.inf
