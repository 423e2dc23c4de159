"""Attention mass: measuring leaves the stream unchanged, and shares lie only on visible tokens."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from quickchange.engine.session import Session
from quickchange.evaluate.plots import attention_plot
from quickchange.evaluate.switching.attention import (
    GROUPS,
    MOMENTS,
    AttentionMass,
    Look,
    attention_record,
    attention_tables,
    watch_attention,
)

LAYERS, PASSES = 2, 3  # the tiny model's; two denoising steps and the pass at t = 0


def opened(variant: str = "full") -> Session:
    return tiny.studio().open(tiny.image(0), tiny.garment(1), "", 3, variant=variant)


def share(watching: AttentionMass, group: str) -> float:
    return float(watching.mass.mean((0, 1))[GROUPS.index(group)])


def test_watching_changes_nothing() -> None:
    with opened() as plain, opened() as watched, watch_attention(watched):
        for _ in range(2):
            np.testing.assert_allclose(next(plain).frames.astype(int), next(watched).frames.astype(int), atol=1)


def test_shares_sum_to_one_and_the_first_chunk_has_no_history() -> None:
    with opened() as session, watch_attention(session) as watching:
        next(session)
        assert watching.mass.shape == (PASSES, LAYERS, len(GROUPS))
        np.testing.assert_allclose(watching.mass.sum(-1), 1, atol=1e-6)
        assert watching.seen == (1, 1, 0, 3)
        assert share(watching, "history") == 0
        assert min(share(watching, name) for name in ("reference", "garment", "itself")) > 0
        next(session)
        assert watching.seen == (1, 1, 3, 3)
        assert share(watching, "history") > 0


def test_a_full_switch_leaves_no_history_to_look_at_and_a_refresh_does() -> None:
    for variant, looked_at in (("full", False), ("refresh", True)):
        with opened(variant) as session, watch_attention(session) as watching:
            next(session)
            session.wear(tiny.garment(2))
            next(session)
            assert (share(watching, "history") > 0) is looked_at


def test_what_a_switch_recomputes_is_not_taken_for_the_chunk_after_it() -> None:
    with opened("recache") as session, watch_attention(session) as watching:
        next(session)
        next(session)
        session.wear(tiny.garment(2))
        next(session)
        assert watching.seen == (1, 1, 6, 3)
        assert len(watching.mass) == PASSES


def test_without_a_chunk_there_is_no_mass() -> None:
    with opened() as session, watch_attention(session) as watching:
        with pytest.raises(ValueError, match="no chunk"):
            _ = watching.mass
        with pytest.raises(ValueError, match="no chunk"):
            _ = watching.seen


def test_the_record_averages_over_seeds_and_keeps_layers() -> None:
    shares = np.full((len(MOMENTS), LAYERS, len(GROUPS)), 0.25)
    other = shares + np.array([0.0, 0.0, 0.1, -0.1])
    record = attention_record({"refresh": [Look(shares, ((1, 1, 6, 3),) * 3), Look(other, ((1, 1, 6, 3),) * 3)]})
    found = record["refresh"]["first after"]
    assert found["n"] == 2
    assert found["share"]["history"] == pytest.approx([0.3, 0.25, 0.35])
    assert found["by_layer"][1] == pytest.approx([0.25, 0.25, 0.3, 0.2])
    text = attention_tables(record)
    assert "| refresh | first after | 1 + 1 + 6 + 3 | 25.0 (25.0-25.0) | 25.0 (25.0-25.0) | 30.0 (25.0-35.0) |" in text
    assert "| refresh | first after | 30 | 30 |" in text
    assert attention_plot(record).startswith(b"\x89PNG")
