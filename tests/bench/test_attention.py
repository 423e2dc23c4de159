"""Attention mass: a watched stream is the same stream, and shares lie only where queries can look."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from quickchange.bench.attention import GROUPS, watch_attention
from quickchange.session import Session


def opened(variant: str = "full") -> Session:
    return tiny.studio().open(tiny.image(0), tiny.image(1), "", 3, variant=variant, cutout=False)


def test_watching_changes_nothing() -> None:
    with opened() as plain, opened() as watched, watch_attention(watched):
        for _ in range(2):
            np.testing.assert_allclose(next(plain).frames.astype(int), next(watched).frames.astype(int), atol=1)


def test_shares_sum_to_one_and_the_first_chunk_has_no_history() -> None:
    with opened() as session, watch_attention(session) as mass:
        next(session)
        first = dict(zip(GROUPS, mass.mass.tolist(), strict=True))
        assert sum(first.values()) == pytest.approx(1)
        assert first["history"] == 0
        assert min(first["reference"], first["garment"], first["itself"]) > 0
        mass.reset()
        next(session)
        assert mass.mass[GROUPS.index("history")] > 0


def test_a_full_switch_leaves_no_history_to_look_at_and_a_refresh_does() -> None:
    for variant, looked_at in (("full", False), ("refresh", True)):
        with opened(variant) as session, watch_attention(session) as mass:
            next(session)
            session.wear(tiny.image(2), cutout=False)
            mass.reset()
            next(session)
            assert bool(mass.mass[GROUPS.index("history")] > 0) is looked_at


def test_without_a_chunk_there_is_no_mass() -> None:
    with opened() as session, watch_attention(session) as mass, pytest.raises(ValueError, match="no chunk"):
        _ = mass.mass
