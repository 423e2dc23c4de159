"""Writes the page's types of the stream protocol from docs/protocol.schema.json.

python scripts/page_types.py

The page's scripts are JavaScript with JSDoc types. Their types of all messages come from this file and are never edited
by hand, so that a change of the protocol shows as a type error in the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quickchange.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "docs" / "protocol.schema.json"
TYPES = ROOT / "src" / "quickchange" / "serve" / "page" / "js" / "net" / "protocol.d.ts"
HEADER = "// Written by scripts/page_types.py from docs/protocol.schema.json. Do not edit.\n"
WIDTH = 120  # characters of a line


def type_of(schema: dict[str, Any]) -> str:
    """The TypeScript type of a JSON schema.

    Raises:
        ValueError: the schema uses a keyword that has no translation here.
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(type_of(member) for member in schema[union])
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(type_of(item) for item in schema['prefixItems'])}]"
    if kind == "array":
        item = type_of(schema["items"])
        return f"({item})[]" if " | " in item else f"{item}[]"
    if kind in ("integer", "number"):
        return "number"
    if kind in ("string", "boolean", "null"):
        return str(kind)
    raise ValueError(f"no TypeScript type for the schema {json.dumps(schema)}; add it to scripts/page_types.py")


def comment(text: str, indent: str = "") -> str:
    """A JSDoc comment, on one line where it fits."""
    words = " ".join(text.split()).replace("*/", "* /").split(" ")
    line = f"{indent}/** {' '.join(words)} */\n"
    if len(line) <= WIDTH + 1:
        return line
    lines, current = [], f"{indent} *"
    for word in words:
        if len(current) + 1 + len(word) > WIDTH:
            lines.append(current)
            current = f"{indent} *"
        current += f" {word}"
    return "\n".join([f"{indent}/**", *lines, current, f"{indent} */"]) + "\n"


def interface(name: str, schema: dict[str, Any], *, sent: bool) -> str:
    """The declaration of a message.

    Args:
        name: of the message.
        schema: JSON schema of an object.
        sent: whether the page sends it. Then fields with a default may be left out. The server fills in every field of
            what it says, so there they are always present; only ``type`` is never optional.
    """
    required = set(schema.get("required", ()))
    fields = []
    for field, description in schema["properties"].items():
        optional = "?" if sent and field not in required and field != "type" else ""
        note = comment(description["description"], "  ") if "description" in description else ""
        fields.append(f"{note}  {field}{optional}: {type_of(description)};\n")
    return f"{comment(schema.get('description', ''))}export interface {name} {{\n{''.join(fields)}}}\n"


def references(schema: Any) -> set[str]:
    """The names of all definitions that a schema refers to directly."""
    if isinstance(schema, list):
        return set().union(*map(references, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = {str(schema["$ref"]).rsplit("/", 1)[-1]} if "$ref" in schema else set()
    return own.union(*(references(value) for value in schema.values()))


def reachable(name: str, definitions: dict[str, Any]) -> set[str]:
    """The names of all definitions that ``name`` needs, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += references(definitions[current])
    return found


def declarations(schema: dict[str, Any]) -> str:
    """The whole file: one declaration for every definition of the protocol's schema."""
    definitions = schema["$defs"]
    sent = reachable("fromViewer", definitions)
    parts = [HEADER]
    for name, definition in definitions.items():
        if "properties" in definition:
            parts.append(interface(name, definition, sent=name in sent))
        else:
            title = name[0].upper() + name[1:]
            note = comment(definition["description"]) if "description" in definition else ""
            members = definition.get("oneOf")
            body = "\n  | " + "\n  | ".join(map(type_of, members)) if members else f" {type_of(definition)}"
            parts.append(f"{note}export type {title} ={body};\n")
    return "\n".join(parts)


if __name__ == "__main__":
    with atomic_path(TYPES) as path:
        path.write_text(declarations(json.loads(SCHEMA.read_text(encoding="utf-8"))), encoding="utf-8")
