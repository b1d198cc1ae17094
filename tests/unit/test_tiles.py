"""Axes cut into tiles: every pixel counts once in all, and what is seen keeps in step with the whole."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.functional.tiles import mirror, mirrored_places, windows


@settings(deadline=None)  # the smallest cores make a thousand tiles
@given(
    st.integers(1, 1500), st.integers(1, 600), st.integers(0, 120), st.integers(0, 40), st.sampled_from([1, 2, 16, 32])
)
def test_weights_add_up_to_one_and_what_counts_is_seen(
    size: int, core: int, halo: int, blend: int, multiple: int
) -> None:
    total = torch.zeros(size)
    for window in windows(size, core, halo, blend, multiple):
        total[window.counts] += window.weights()
        seen, counts = window.seen, window.counts
        assert seen.start % multiple == 0
        assert seen.stop == size or (seen.stop - seen.start) % multiple == 0
        assert seen.start <= max(0, counts.start - halo)
        assert seen.stop >= min(size, counts.stop + halo)
        assert len(window.weights()) == window.inner.stop - window.inner.start
    torch.testing.assert_close(total, torch.ones(size), rtol=0, atol=1e-6)  # sums of two float32 shares


def test_a_tile_never_sees_more_than_its_core_blend_halo_and_a_multiple() -> None:
    for window in windows(10_000, 512, 112, 16, 16):
        assert window.seen.stop - window.seen.start <= 512 + 2 * (112 + 16) + 2 * 16 + 16


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_mirroring_is_that_of_numpy_however_far(size: int, before: int, after: int) -> None:
    import numpy as np

    places = mirrored_places(size, before, after, torch.device("cpu"))
    assert places.tolist() == np.pad(np.arange(size), (before, after), mode="reflect").tolist()


def test_an_image_is_mirrored_at_both_axes() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    expected = torch.nn.functional.pad(image, (2, 1, 1, 0), mode="reflect")
    assert torch.equal(mirror(image, ((1, 0), (2, 1))), expected)
    assert mirror(image, ((0, 0), (0, 0))) is image
