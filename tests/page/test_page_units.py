"""The page's scripts on their own: unit tests in Node, and the type check where the compiler is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TESTS = sorted(HERE.glob("*.test.mjs"))
OLDEST = 20  # major version of Node that the tests run with


def node() -> str:
    """The path of Node; skips the test where there is none, or an old one."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not on the PATH: the unit tests of the page need it")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < OLDEST:
        pytest.skip(f"node is {version}; the unit tests of the page need version {OLDEST} or newer")
    return path


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_unit_tests_of_the_page(path: Path) -> None:
    result = subprocess.run([node(), "--test", path], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_scripts_have_no_type_errors() -> None:
    if not (ROOT / "build" / "page" / "node_modules" / ".bin" / "tsc").exists():
        pytest.skip("TypeScript is not installed; scripts/check_page.sh installs it and checks the types")
    script = ROOT / "scripts" / "check_page.sh"
    result = subprocess.run([script], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
