"""A missing or damaged model, parser or codec is one line that names it, in every command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import tiny
from quickchange.cli import main
from quickchange.commands import loading
from quickchange.parsing.network import ParserConfig, PersonParser

WEIGHTS = "diffusion_pytorch_model.safetensors"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "transformer cut off": ("transformer", lambda model: cut(model / "transformer" / WEIGHTS)),
    "no weights": ("transformer", lambda model: (model / "transformer" / WEIGHTS).unlink()),
    "config is no JSON": ("transformer", lambda model: (model / "transformer" / "config.json").write_text("{")),
    "config is a list": ("transformer", lambda model: (model / "transformer" / "config.json").write_text("[]")),
    "wrong size": (
        "transformer",
        lambda model: (model / "transformer" / "config.json").write_text('{"num_layers": 2}'),
    ),
    "no index": ("model_index.json", lambda model: (model / "model_index.json").unlink()),
    "index is no JSON": ("model_index.json", lambda model: (model / "model_index.json").write_bytes(b"\xff\xfe")),
    "no heads": (
        "num_attention_heads is 0",
        lambda model: (model / "transformer" / "config.json").write_text('{"num_attention_heads": 0}'),
    ),
    "codec gone": ("vae", lambda model: shutil.rmtree(model / "vae")),
    "codec cut off": ("vae", lambda model: cut(model / "vae" / WEIGHTS)),
    "text encoder gone": ("text_encoder", lambda model: shutil.rmtree(model / "text_encoder")),
    "text encoder cut off": ("text_encoder", lambda model: cut(model / "text_encoder" / "model.safetensors")),
    "tokenizer is no JSON": ("tokenizer", lambda model: (model / "tokenizer" / "tokenizer.json").write_text("{")),
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A tiny model, a tiny parser, a picture and a folder of garments."""
    found = {name: tmp_path / name for name in ("model", "parser", "garments", "out")}
    tiny.components().save_pretrained(found["model"])
    torch.manual_seed(0)
    PersonParser(ParserConfig(widths=(8, 12, 16, 16), attribute_width=16)).save_pretrained(found["parser"])
    found["garments"].mkdir()
    found["picture"] = found["garments"] / "top-1.png"
    Image.new("RGB", (40, 40), "red").save(found["picture"])
    return found


COMMANDS = {
    "generate": "generate --demo --out {out}.mp4 --model {model}",
    "score": "score --quick --model {model} --parser {parser} --out {out}",
    "bench ablate": "bench ablate --seeds 1 --model {model} --out {out}",
    "bench photos": "bench photos {garments} --model {model} --parser {parser} --out {out}",
}


def fails(command: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    assert main(command.format(**places).split()) == 2
    error = capsys.readouterr().err.removeprefix("loading model ...\n")
    assert error.startswith("quickchange: error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_says_what_is_damaged(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    cut(places["model"] / "transformer" / WEIGHTS)
    assert f"{places['model']} cannot be used: " in fails(command, places, capsys)


@pytest.mark.parametrize(("part", "damage"), DAMAGES.values(), ids=DAMAGES.keys())
def test_every_damage_is_one_line(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], part: str, damage: Callable[[Path], object]
) -> None:
    damage(places["model"])
    line = fails(COMMANDS["generate"], places, capsys)
    assert f"{places['model']} cannot be used: " in line
    assert part in line.split("cannot be used: ")[1]
    assert len(line) < 1000


@pytest.mark.parametrize(
    "command", [COMMANDS["score"], COMMANDS["bench photos"], "bench parser --parser {parser} --model {model}"]
)
@pytest.mark.parametrize("file", ["config.json", "parser.safetensors"])
def test_a_damaged_parser_is_one_line(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], command: str, file: str
) -> None:
    weights = next(places["parser"].glob("*.safetensors"))
    cut(places["parser"] / file if file == "config.json" else weights)
    assert f"{places['parser']} cannot be used: " in fails(command, places, capsys)


def test_a_damaged_codec_is_one_line(places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    cut(places["model"] / "vae" / WEIGHTS)
    line = fails("bench parser --parser {parser} --model {model}", places, capsys)
    assert f"{places['model']} cannot be used: " in line


@pytest.mark.parametrize("command", [*COMMANDS.values(), "serve --model {model}", "bench parser --model {model}"])
def test_a_missing_folder_is_named_with_what_to_do(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    shutil.rmtree(places["model"])
    assert f"no model directory at {places['model']}; give one with --model" in fails(command, places, capsys)


def test_threads_are_set_or_follow_the_machine(places: dict[str, Path]) -> None:
    before = torch.get_num_threads()
    try:
        assert loading.open_studio(places["model"], "cpu", 1).threads is None
        assert torch.get_num_threads() == 1
        assert loading.open_studio(places["model"], "cpu", most=1).threads is not None
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("stage", ["vae", "sft"])
@pytest.mark.parametrize("damage", ["cut", "gone", "config"])
def test_a_damaged_start_of_training_is_one_line(
    places: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    damage: str,
) -> None:
    vae = places["model"] / "vae"
    if damage == "cut":
        cut(vae / WEIGHTS)
    elif damage == "gone":
        shutil.rmtree(vae)
    else:
        (vae / "config.json").write_text("{")
    monkeypatch.setattr("quickchange.train.stages.vae.load_pixels", lambda *_: None)
    recipe = Path(__file__).parents[1] / "configs" / "tiny.toml"
    command = (
        f"train {stage} --config {recipe} --data {{garments}} --run {{out}} --init {{model}} --device cpu --threads 1"
    )
    assert str(vae) in fails(command, places, capsys)
