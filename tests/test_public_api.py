"""The names that users may import."""

from __future__ import annotations

import importlib
import pkgutil

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
