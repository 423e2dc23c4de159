"""``quickchange score`` from outside: both protocols, refusals, missing parts, and the folders it uses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

import tiny
from quickchange.cli import main
from quickchange.commands import score as command
from quickchange.commands.loading import MODEL_VARIABLE, PARSER_VARIABLE, model_folder, parser_folder
from quickchange.engine.studio import Studio
from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import WEIGHTS_VARIABLE


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (WEIGHTS_VARIABLE, PARSER_VARIABLE, MODEL_VARIABLE, "QUICKCHANGE_VLM_URL", "QUICKCHANGE_QALIGN_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """A model's and a parser's folder (nothing useful in either), and a bench of two samples."""
    (tmp_path / "model").mkdir()
    (tmp_path / "parser").mkdir()
    (tmp_path / "parser" / "config.json").write_text("{}")
    samples = tmp_path / "hgc" / "samples"
    samples.mkdir(parents=True)
    rows = []
    for i in range(2):
        for kind in ("src", "cloth"):
            Image.new("RGB", (tiny.WIDTH, tiny.HEIGHT), (90 * i, 120, 60)).save(samples / f"{i}_{kind}.png")
        caption = json.dumps({"caption": {"en_short": "she waves"}})
        rows.append([f"samples/{i}_src.png", f"samples/{i}_cloth.png", caption])
    with (tmp_path / "hgc" / "meta_data.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["src_image", "cloth_image", "prompt"], *rows])
    weights = tmp_path / "model" / "transformer" / "weights.safetensors"
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(b"only its digest is taken")
    return {name: str(tmp_path / name) for name in ("model", "parser", "hgc", "out", "nothing")}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that were loaded: all of them are the tiny one."""
    found: list[Path] = []

    def load(model: Path, device: str, threads: int | None) -> Studio:
        found.append(model)
        return tiny.studio()

    monkeypatch.setattr(command, "open_studio", load)
    return found


def test_the_papers_metrics_are_printed_and_written(
    places: dict[str, str], loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paper = ["score", "--hgc-bench", places["hgc"], "--model", places["model"], "--out", places["out"]]
    assert main([*paper, "--judges", "amplitude,musiq", "--samples", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    out = Path(places["out"])
    assert printed == (out / "hgc.md").read_text()
    assert "**this run**" in printed
    assert "1 of 240 samples" in printed
    assert "missing: musiq: weights not found" in printed
    record = json.loads((out / "hgc.json").read_text())
    assert record["metrics"]["amplitude"]["n"] == 1
    assert WEIGHTS_VARIABLE in record["missing"]["musiq"]
    assert loaded == [Path(places["model"])]


def test_json_is_all_that_is_printed(
    places: dict[str, str], loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paper = ["score", "--hgc-bench", places["hgc"], "--model", places["model"], "--out", places["out"]]
    assert main([*paper, "--judges", "amplitude", "--samples", "1", "--device", "cpu", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["samples"]) == 1
    assert record["complete"] is False
    assert (record["model"], len(record["weights"]), record["device"]) == ("model", 12, "cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--parser", "{nothing}"], "no parser at"),
        (["--variants", "full,sideways"], "--variants names sideways"),
        (["--drift", "20"], "at least two windows"),
        (["--judges", "musiq"], "--judges goes only with --hgc-bench"),
        (["--samples", "2"], "--samples goes only with --hgc-bench"),
        (["--difficulty", "hard"], "invalid choice"),
        ([], "cannot be used"),
        (["--hgc-bench", "{hgc}", "--quick"], "--quick does not go with --hgc-bench"),
        (["--hgc-bench", "{hgc}", "--drift", "0"], "--drift does not go with --hgc-bench"),
        (["--hgc-bench", "{hgc}", "--samples", "0"], "--samples is 0"),
        (["--hgc-bench", "{hgc}", "--judges", "lpips"], "lpips"),
        (["--hgc-bench", "{hgc}", "--judges", ","], "--judges names none"),
        (["--hgc-bench", "{nothing}"], "neither meta_data.csv nor manifest.json"),
        (["--hgc-bench", "{hgc}", "--judges", "musiq"], "no judge can work: musiq: weights not found at"),
        (["--hgc-bench", "{hgc}", "--judges", "vlm"], "set QUICKCHANGE_VLM_URL"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_a_model_is_loaded(
    places: dict[str, str],
    loaded: list[Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = ["score", "--model", places["model"], "--out", places["out"]]
    if not {"--hgc-bench", "--parser"} & set(arguments):
        given += ["--parser", places["parser"]]
    assert main([*given, "--device", "cpu", *(text.format(**places) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert loaded == []


def test_folders_are_given_or_of_the_environment_or_bundled(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_folder(None).parts[-2:] == ("models", "mini")
    model, parser = Path(places["model"]), Path(places["parser"])
    monkeypatch.setenv(MODEL_VARIABLE, str(model))
    monkeypatch.setenv(PARSER_VARIABLE, str(parser))
    assert (model_folder(None), parser_folder(None)) == (model, parser)
    monkeypatch.setenv(PARSER_VARIABLE, places["nothing"])
    assert parser_folder(parser) == parser
    with pytest.raises(InputError, match=r"--parser or \$QUICKCHANGE_PARSER"):
        parser_folder(None)
    with pytest.raises(InputError, match=r"--model or \$QUICKCHANGE_MODEL"):
        model_folder(Path(places["nothing"]))
