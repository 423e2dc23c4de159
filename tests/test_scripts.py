"""The scripts of the repository: what can be checked of them without running them whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAIN = ROOT / "scripts/train_mini.sh"


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse_and_can_be_started(path: Path) -> None:
    assert call("bash", "-n", path).returncode == 0
    assert path.stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no stage given"),
        (["bake"], "unknown stage bake"),
        (["--speed", "9", "vae"], "unknown option --speed"),
        (["--minutes", "soon", "vae"], "--minutes is soon"),
        (["--config", "none.toml", "vae"], "none.toml is not a file"),
        (["--minutes"], "--minutes needs a value"),
    ],
)
def test_wrong_calls_are_one_line(arguments: list[str], message: str) -> None:
    result = call(TRAIN, *arguments)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert message in result.stderr
