from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickchange.world import ClipSpec, sample_spec
from quickchange.world.colour import lab_difference


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1 << 40), st.sampled_from(["easy", "full"]))
def test_json_round_trip_is_exact(seed: int, difficulty: str) -> None:
    spec = sample_spec(seed, difficulty)  # type: ignore[arg-type]
    assert ClipSpec.from_json(spec.to_json()) == spec
    assert sample_spec(seed, difficulty) == spec  # type: ignore[arg-type]


def test_malformed_json_is_refused() -> None:
    data = json.loads(sample_spec(0).to_json())
    data["camera"]["framing"] = "sideways"
    with pytest.raises(ValueError, match=r"spec\.camera\.framing"):
        ClipSpec.from_json(json.dumps(data))
    del data["camera"]
    with pytest.raises(ValueError, match="camera"):
        ClipSpec.from_json(json.dumps(data))


def test_ciede2000_reference_values() -> None:
    # Sharma, Wu, Dalal 2005, table 1, pairs 1, 7, 14, 17 and 19.
    for first, second, expected in (
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ):
        assert np.isclose(lab_difference(first, second), expected, atol=1e-4)
