"""Video that is generated live while the viewer changes what the person in it wears.

``Studio`` loads a model directory and opens sessions; the rest of the public names are found in their modules. They
are imported when first used, so that ``import quickchange`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickchange.engine.conditioner import ConditionImage
    from quickchange.engine.session import Chunk, Session
    from quickchange.engine.studio import Studio

__all__ = ["Chunk", "ConditionImage", "Session", "Studio"]

_HOME = {
    "Chunk": "quickchange.engine.session", "Session": "quickchange.engine.session",
    "ConditionImage": "quickchange.engine.conditioner", "Studio": "quickchange.engine.studio",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'quickchange' has no attribute {name!r}")
