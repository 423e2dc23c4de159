"""The names that users may import, and what an import costs."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import quickchange

PACKAGES = sorted(info.name for info in pkgutil.walk_packages(quickchange.__path__, "quickchange.") if info.ispkg)


def test_the_public_names() -> None:
    assert sorted(quickchange.__all__) == ["Chunk", "ConditionImage", "Session", "Studio"]
    for name in quickchange.__all__:
        assert getattr(quickchange, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Studios'"):
        quickchange.Studios  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), exported


@pytest.mark.parametrize("name", ["quickchange", "quickchange.cli"])
def test_an_import_loads_no_heavy_library(name: str) -> None:
    code = (
        f"import sys, {name}; print(*sorted({{'torch', 'numpy', 'transformers', 'cv2', 'fastapi'}} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
