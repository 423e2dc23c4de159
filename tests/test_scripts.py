"""The scripts of the repository: what can be checked of them without running them whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAIN, PARTS = ROOT / "scripts/h200/train_mini.sh", ROOT / "scripts/h200/parts.py"


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def parts(*arguments: object) -> subprocess.CompletedProcess[str]:
    return call(sys.executable, PARTS, *arguments)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folders as training leaves them."""
    folder = tmp_path / "run"
    for name, data in {
        "tf/checkpoint-000010.safetensors": bytes(range(256)) * 700,
        "tf/metrics.jsonl": b'{"step": 1}\n',
        "model/vae/config.json": b"{}",
        "model/empty": b"",
        "latents.safetensors": b"not asked for",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse_and_can_be_started(path: Path) -> None:
    assert call("bash", "-n", path).returncode == 0
    assert path.stat().st_mode & 0o111


def test_parts_bring_back_the_same_bytes(run: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "parts", tmp_path / "back"
    packed = parts("pack", out, run, "tf", "model", "--mib", "0.05")
    assert packed.returncode == 0, packed.stderr
    sizes = [p.stat().st_size for p in sorted(out.glob("part-*"))]
    assert len(sizes) > 3
    assert max(sizes) <= 0.05 * 2**20
    (back / "tf").mkdir(parents=True)
    (back / "tf/metrics.jsonl").write_text("older")
    unpacked = parts("unpack", out, back)
    assert unpacked.returncode == 0, unpacked.stderr
    expected = contents(run)
    expected.pop("latents.safetensors")
    assert contents(back) == expected


def test_parts_fetched_a_few_at_a_time_fit_together(run: Path, tmp_path: Path) -> None:
    whole, gathered = tmp_path / "whole", tmp_path / "gathered"
    parts("pack", whole, run, "tf", "--mib", "0.05")
    count = len(json.loads((whole / "manifest.json").read_text())["parts"])
    gathered.mkdir()
    for first in range(0, count, 2):
        some = tmp_path / f"from-{first}"
        parts("pack", some, run, "tf", "--mib", "0.05", "--only", f"{first}-{first + 1}")
        for path in some.iterdir():
            path.rename(gathered / path.name)
    assert contents(gathered) == contents(whole)


def test_damage_and_gaps_are_named_and_nothing_is_touched(run: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "parts", tmp_path / "back"
    parts("pack", out, run, "tf", "--mib", "0.05")
    good = (out / "part-0001").read_bytes()
    (out / "part-0001").write_bytes(good[:-1] + b"?")
    damaged = parts("unpack", out, back)
    assert (damaged.returncode, "part-0001" in damaged.stderr) == (2, True)
    (out / "part-0001").unlink()
    gap = parts("unpack", out, back)
    assert (gap.returncode, "lacks 1 of" in gap.stderr) == (2, True)
    assert not back.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no stage given"),
        (["bake"], "unknown stage bake"),
        (["--speed", "9", "codec"], "unknown option --speed"),
        (["--minutes", "soon", "codec"], "--minutes is soon"),
        (["--config", "none.toml", "codec"], "none.toml is not a file"),
        (["--minutes"], "--minutes needs a value"),
    ],
)
def test_wrong_calls_are_one_line(arguments: list[str], message: str) -> None:
    result = call(TRAIN, *arguments)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr
