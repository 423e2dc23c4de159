"""The flow-matching path and the few-step schedule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickchange.model import flow

level = st.floats(0.01, 1.0)


@given(level, st.floats(0.1, 20.0))
def test_warp_keeps_the_ends_and_the_order(s: float, shift: float) -> None:
    assert flow.warp(0.0, shift) == 0
    assert flow.warp(1.0, shift) == pytest.approx(1)
    assert 0 < flow.warp(s, shift) <= 1 + 1e-9
    assert flow.warp(s / 2, shift) < flow.warp(s, shift)


@given(level)
def test_a_perfect_velocity_gives_the_clean_sample_back(s: float) -> None:
    x0, noise = torch.randn(2, 3, 4, dtype=torch.float64).unbind()
    x = flow.add_noise(x0, noise, torch.tensor(s, dtype=torch.float64))
    torch.testing.assert_close(flow.to_x0(x, flow.velocity(x0, noise), s), x0)


def test_paper_schedule() -> None:
    """1000, 750, 500, 250 under shift 5: 1, 15/16, 5/6, 5/8."""
    assert flow.FewStepSchedule().levels == pytest.approx((1, 15 / 16, 5 / 6, 5 / 8))


@pytest.mark.parametrize("steps", [(), (0.0,), (1001.0,), (250.0, 500.0), (500.0, 500.0)])
def test_bad_steps_are_named(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="timesteps"):
        flow.FewStepSchedule(steps)


def test_bad_shift_is_named() -> None:
    with pytest.raises(ValueError, match="shift"):
        flow.FewStepSchedule(shift=0.0)
