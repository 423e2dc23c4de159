"""The command line from outside: exit codes, one line for each wrong input, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image

from fakes import FakeSession, FakeStudio
from quickchange.cli import main
from quickchange.commands import generate as command


class Bench:
    """A folder with good inputs, and a studio that counts how often it was opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded = 0
        (folder / "model").mkdir()
        (folder / "out").mkdir()
        for name in ("R.png", "A.png", "B.jpg"):
            Image.new("RGB", (64, 96), "white").save(folder / name)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *more: str, without: str = "") -> int:
        given = {
            "--reference": self.path("R.png"),
            "--garment": self.path("A.png"),
            "--prompt": "she turns",
            "--seconds": "1.5",
            "--out": self.path("out/v.mp4"),
            "--model": self.path("model"),
        }
        arguments = [part for option, value in given.items() if option != without for part in (option, value)]
        return main(["generate", *arguments, "--no-cutout", *more])  # of two, argparse takes the last

    def written(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "out").iterdir())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)

    def open_studio(*_: Any) -> FakeStudio:
        made.loaded += 1
        return FakeStudio()

    monkeypatch.setattr(command, "open_studio", open_studio)
    return made


def test_generate_writes_video_sheet_and_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("--switch", f"0.5:{bench.path('B.jpg')}", "--json") == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert set(summary) == {
        *("fps", "fps_with_mp4", "first_frame_ms", "switches", "frames", "seconds", "width", "height"),
        *("seed", "model", "threads", "out", "sheet"),
    }
    assert [set(switch) for switch in summary["switches"]] == [{"at", "obeyed_frame", "ms"}]
    assert (summary["switches"][0]["at"], summary["switches"][0]["obeyed_frame"]) == (0.5, 21)
    assert (summary["frames"], summary["seconds"], summary["seed"], summary["threads"]) == (
        36,
        1.5,
        7,
        torch.get_num_threads(),
    )
    assert "36/36" in printed.err  # the progress bar
    assert bench.written() == ["v.mp4", "v_sheet.png"]
    with av.open(bench.path("out/v.mp4")) as container:
        assert container.streams.video[0].frames == 36


def test_generate_describes_what_it_did(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("--switch", f"0.5:{bench.path('B.jpg')}", "--no-sheet") == 0
    assert "switch asked at 0.50 s: obeyed from frame 21" in capsys.readouterr().out
    assert bench.written() == ["v.mp4"]


def test_a_switch_too_late_for_a_chunk_is_said(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("--switch", f"1.45:{bench.path('B.jpg')}") == 0
    assert "warning: the switch at 1.45 s" in capsys.readouterr().err


def test_demo_needs_no_file(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    for name in ("person", "garment_1", "garment_2", "garment_3"):
        Image.new("RGB", (64, 96), "white").save(bundled / f"{name}.png")
    monkeypatch.setattr(command, "demo_folder", lambda: bundled)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert main(["generate", "--demo", "--no-cutout", "--json", "--model", bench.path("model")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [switch["at"] for switch in summary["switches"]] == [2.0, 4.0]
    assert all(switch["obeyed_frame"] is not None for switch in summary["switches"])
    assert sorted(path.name for path in (work / "out").iterdir()) == ["demo.mp4", "demo_sheet.png"]


@pytest.fixture(scope="module")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.png").write_text("not an image")
    Image.new("RGB", (64, 96)).save(folder / "whole.png")
    (folder / "half.png").write_bytes((folder / "whole.png").read_bytes()[:60])
    Image.new("1", (1, 1)).save(folder / "tiny.png")
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    Image.new("1", (20000, 20)).save(folder / "wide.png")
    return folder


WRONG = {
    "missing reference": ["--reference", "{here}/none.png"],
    "missing garment": ["--garment", "{here}/none.png"],
    "missing switch image": ["--switch", "0.5:{here}/none.png"],
    "not an image": ["--garment", "{bad}/text.png"],
    "cut off image": ["--garment", "{bad}/half.png"],
    "folder as image": ["--garment", "{here}"],
    "1x1": ["--garment", "{bad}/tiny.png"],
    "20,000 px square": ["--reference", "{bad}/huge.png"],
    "20,000 px wide": ["--switch", "0.5:{bad}/wide.png"],
    "switch beyond the end": ["--switch", "1.5:{here}/A.png"],
    "switch far beyond the end": ["--switch", "99:{here}/A.png"],
    "two at one time": ["--switch", "1:{here}/A.png", "--switch", "1.0:{here}/B.jpg"],
    "negative time": ["--switch", "-1:{here}/A.png"],
    "switch at the start": ["--switch", "0:{here}/A.png"],
    "NaN time": ["--switch", "nan:{here}/A.png"],
    "no time": ["--switch", "{here}/A.png"],
    "empty prompt": ["--prompt", ""],
    "blank prompt": ["--prompt", " \n "],
    "no seconds": ["--seconds", "0"],
    "negative seconds": ["--seconds=-3"],
    "NaN seconds": ["--seconds", "nan"],
    "endless": ["--seconds", "inf"],
    "seconds in words": ["--seconds", "six"],
    "negative seed": ["--seed=-1"],
    "other format": ["--out", "{here}/out/v.avi"],
    "no extension": ["--out", "{here}/out/v"],
    "no such folder": ["--out", "{here}/nowhere/v.mp4"],
    "out is a folder": ["--out", "{here}/folder.mp4"],
    "sheet is an input": ["--garment", "{here}/v_sheet.png", "--out", "{here}/v.mp4"],
    "no model": ["--model", "{here}/nowhere"],
    "no threads": ["--threads", "0"],
    "no scale": ["--scale", "0"],
    "unknown option": ["--frobnicate"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_one_line_and_leaves_nothing(
    bench: Bench, bad_images: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (bench.folder / "folder.mp4").mkdir()
    Image.new("RGB", (64, 96)).save(bench.folder / "v_sheet.png")
    before = sorted(bench.folder.rglob("*"))
    assert bench.run(*(part.format(here=bench.folder, bad=bad_images) for part in arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("quickchange: error: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    assert sorted(bench.folder.rglob("*")) == before
    assert bench.loaded == 0  # all of it is found before a model is loaded


@pytest.mark.parametrize("option", ["--reference", "--garment", "--prompt", "--out"])
def test_what_is_missing_is_named(bench: Bench, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert bench.run(without=option) == 2
    assert f"{option} is missing" in capsys.readouterr().err


def test_interrupting_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeSession, "interrupt_at", 2)
    assert bench.run() == 130
    assert bench.written() == []
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["world", "render", "--out", "x", "--size", "big"],
        ["world", "render", "--out", "x", "--count", "0"],
        ["world", "render", "--out", "x", "--size", "4x4"],
        ["world", "render"],
        ["train", "vae", "--config", "none.toml", "--data", ".", "--run", "r"],
        ["train", "nonsense", "--config", "c", "--data", "d", "--run", "r"],
        ["nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_other_commands_refuse_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("quickchange: error: ")
    assert error.count("\n") == 1


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from quickchange.cli import make_parser; make_parser().format_help();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'av', 'transformers', 'moderngl', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
