"""The page's types of the protocol are those that the script writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from quickchange.serve.protocol.messages import schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page_types() -> ModuleType:
    spec = importlib.util.spec_from_file_location("page_types", ROOT / "scripts" / "page_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_types_are_those_of_the_protocol(page_types: ModuleType) -> None:
    written = page_types.TYPES.read_text(encoding="utf-8")
    assert written == page_types.declarations(schema()), "run python scripts/page_types.py"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "integer", "minimum": 0}, "number"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": "array", "items": {"enum": ["a", "b"], "type": "string"}}, '("a" | "b")[]'),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}, "[number, boolean]"),
        ({"$ref": "#/$defs/Video"}, "Video"),
        ({"const": "ack", "type": "string"}, '"ack"'),
    ],
)
def test_schemas_become_types(page_types: ModuleType, given: dict[str, object], expected: str) -> None:
    assert page_types.type_of(given) == expected


def test_an_unknown_schema_is_refused(page_types: ModuleType) -> None:
    with pytest.raises(ValueError, match="no TypeScript type"):
        page_types.type_of({"type": "object", "additionalProperties": True})


def test_only_what_the_page_sends_may_leave_out_defaults(page_types: ModuleType) -> None:
    text = page_types.declarations(schema())
    opened, welcome = (text.split(f"interface {name} {{")[1].split("}")[0] for name in ("Open", "Welcome"))
    assert "seed?: number | null;" in opened
    assert "  seed: number | null;" in welcome
