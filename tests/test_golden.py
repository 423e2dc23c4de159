"""Frames and training steps of tiny random models are those on record: see golden.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import golden

RECORD = json.loads(golden.FILE.read_text(encoding="utf-8"))
SAME_MACHINE = RECORD["where"] == golden.where()


def same(name: str, found: dict[str, Any], expected: dict[str, Any], rtol: float, atol: float) -> None:
    np.testing.assert_allclose(found["coarse"], expected["coarse"], rtol, atol, err_msg=name)
    if SAME_MACHINE:
        assert found["digest"] == expected["digest"], f"{name} differs in its last digits"


def test_streams_of_every_variant_and_control_are_those_on_record() -> None:
    with golden.one_thread():
        found = golden.streams()
    assert found.keys() == RECORD["streams"].keys()
    for name, frames in found.items():
        same(name, frames, RECORD["streams"][name], rtol=0, atol=1.0)


def test_one_step_of_every_stage_is_that_on_record() -> None:
    with golden.one_thread():
        found = golden.steps()
    assert found.keys() == RECORD["steps"].keys()
    for name, step in found.items():
        same(name, step, RECORD["steps"][name], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not SAME_MACHINE, reason="another CPU or torch rounds differently, and JPEG hides by how much")
def test_a_served_stream_is_that_on_record() -> None:
    with golden.one_thread():
        found = golden.served()
    nothing = golden.digest(np.zeros(0, np.uint8))
    shown = [(one, two) for one, two in zip(found, RECORD["served"], strict=True) if one != nothing]
    assert len(shown) > golden.SERVED / 2
    assert all(one == two for one, two in shown)
