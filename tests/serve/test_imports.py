"""What rooms of the server may load: sessions and the protocol know no web framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
    importlib.import_module(module.name)
print(*(name for name in ("fastapi", "starlette", "uvicorn", "torch") if name in sys.modules))
"""


def loaded_by(room: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOAD, room], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("room", ["protocol", "sessions"])
def test_no_web_framework_is_reachable(room: str) -> None:
    assert not loaded_by(f"quickchange.serve.{room}") - {"torch"}


def test_the_protocol_can_be_spoken_without_torch() -> None:
    assert "torch" not in loaded_by("quickchange.serve.protocol")
