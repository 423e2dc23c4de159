"""A model directory: precisions, settings, and what loading leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from quickchange.engine.components import Components, StreamConfig
from quickchange.engine.studio import Studio
from quickchange.errors import ModelError, ModelNotFoundError
from quickchange.model.transformer import WanTransformer


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose transformer is stored in float16, as the bundled one is."""
    folder = tmp_path_factory.mktemp("model")
    tiny.components().save_pretrained(folder, torch.float16)
    return folder


def dtypes(model: WanTransformer) -> dict[str, torch.dtype]:
    return {name: weight.dtype for name, weight in model.named_parameters()}


def test_components_load_in_float32_whatever_is_stored(stored: Path) -> None:
    components = Components.from_pretrained(stored)
    assert set(dtypes(components.transformer).values()) == {torch.float32}
    rollout = components.open_rollout()
    rollout.say(components.transformer.embed_text(components.prompts.encode(["she waves"]).hidden_BTE))
    latent = torch.randn(1, 4, 1, 2, 3)
    rollout.conditions(latent, latent)
    assert rollout.chunk(torch.Generator().manual_seed(1)).dtype == torch.float32


def test_modulation_norms_and_time_keep_float32(tmp_path: Path) -> None:
    exact = tiny.components()
    exact.save_pretrained(tmp_path)
    for model in (
        Components.from_pretrained(tmp_path, torch.bfloat16).transformer,
        Studio(exact, dtype=torch.bfloat16).components.transformer,
    ):
        kept = {name for name, dtype in dtypes(model).items() if dtype == torch.float32}
        assert kept == {name for name in dtypes(model) if WanTransformer.needs_float32(name)}
        assert {"scale_shift_table", "blocks.0.scale_shift_table", "blocks.1.norm2.weight"} <= kept
        assert "condition_embedder.time_embedder.linear_1.weight" in kept
        weights = exact.transformer.state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items() if name in kept)


def test_a_studio_leaves_the_components_it_is_given_alone() -> None:
    components = tiny.components()
    before = dtypes(components.transformer)
    studio = Studio(components, dtype=torch.bfloat16)
    assert dtypes(components.transformer) == before
    assert studio.components.codec is not components.codec


def test_what_needs_no_conversion_is_shared() -> None:
    components = tiny.components()
    copy = components.to("cpu")
    for mine, theirs in (
        (components.transformer, copy.transformer),
        (components.prompts.module, copy.prompts.module),
    ):
        pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
        assert all(one.data_ptr() == two.data_ptr() for one, two in pairs)


def test_the_stream_settings_choose_positions_and_time_labels(tmp_path: Path) -> None:
    components = tiny.components()
    settings = {"timesteps": (1000.0, 500.0), "time_labels": (1000.0, 624.0), "positions": "segment"}
    components.stream = StreamConfig(width=tiny.WIDTH, height=tiny.HEIGHT, window=11, **settings)  # type: ignore[arg-type]
    components.save_pretrained(tmp_path)
    stream = Components.from_pretrained(tmp_path).stream
    assert stream == components.stream
    schedule = stream.schedule()
    assert schedule.time_labels == (1000.0, 624.0)
    assert schedule.levels == pytest.approx((1, 5 / 6))
    assert components.open_rollout().cache.config.positions == "segment"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fpz": 24}, "unknown settings fpz; expected some of width"),
        ({"positions": "absolute"}, "positions is 'absolute'; expected one of auto, segment, window"),
        ({"time_labels": [1000]}, r"labels are \(1000,\); expected one in \[0, 1000\] for each of 4"),
        ({"window": 0}, "window is 0; expected 1 to 4096"),
    ],
)
def test_bad_stream_settings_are_named(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    tiny.components().save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps({**values, "stream": settings}))
    with pytest.raises(ModelError, match=message):
        Components.from_pretrained(tmp_path)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"model_index\.json not found; expected a model directory"):
        Components.from_pretrained(tmp_path)
    tiny.components().save_pretrained(tmp_path)
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="diffusion_pytorch_model"):
        Components.from_pretrained(tmp_path)


def test_a_damaged_model_is_one_clear_error(tmp_path: Path) -> None:
    tiny.studio().save_pretrained(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"text_dim": 8', '"text_dim": 9'))
    with pytest.raises(ModelError, match="text"):
        Studio.from_pretrained(tmp_path)
    config.write_text("{")
    with pytest.raises(ModelError, match="JSON"):
        Studio.from_pretrained(tmp_path)
    config.write_text(whole)
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="Safetensor"):
        Studio.from_pretrained(tmp_path)


def test_loading_a_network_imports_no_reference_implementations(stored: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from quickchange.engine.components import load_transformer; "
        f"load_transformer(Path({str(stored / 'transformer')!r})); "
        "print('torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
