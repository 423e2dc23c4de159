"""The command line over the real engine, and the model and inputs that ship with it."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image

import tiny
from quickchange.cli import main
from quickchange.engine.components import Components
from quickchange.media.images import load_image


def test_generate_streams_a_switch_through_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.studio().save_pretrained(tmp_path / "model")
    for number in range(3):
        Image.fromarray(tiny.image(number, 48, 40)).save(tmp_path / f"{number}.png")
    inputs = ["--reference", f"{tmp_path}/0.png", "--garment", f"{tmp_path}/1.png", "--switch", f"0.5:{tmp_path}/2.png"]
    out = tmp_path / "v.mp4"
    options = ["--prompt", "she waves", "--seconds", "1", "--model", f"{tmp_path}/model", "--no-cutout", "--json"]
    assert main(["generate", *inputs, *options, "--out", str(out)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames"] == 24
    assert [s["obeyed_frame"] for s in summary["switches"]] == [21]  # borders lie at frames 9 and 21; 0.5 s is 12
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24


def test_a_damaged_model_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.studio().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "vae" / "config.json").write_text("[")
    out = tmp_path / "v.mp4"
    assert main(["generate", "--demo", "--model", f"{tmp_path}/model", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("quickchange: error:")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.mp4"))


def test_the_bundled_model_and_inputs_are_whole() -> None:
    root = Path(__file__).parents[1]
    parts = Components.from_pretrained(root / "models" / "mini")
    assert (parts.stream.width, parts.stream.height) == (96, 128)
    assert sum(p.stat().st_size for p in (root / "models" / "mini").rglob("*.safetensors")) < 40e6
    for name in ("person", "garment_1", "garment_2", "garment_3"):
        image = load_image(root / "src" / "quickchange" / "assets" / "demo" / f"{name}.png")
        assert image.shape == (512, 384, 3)
