"""Writes docs/protocol.schema.json, the JSON schema of /v1/stream.

python scripts/protocol_schema.py
"""

from __future__ import annotations

from pathlib import Path

from quickchange.files import write_json_atomic
from quickchange.serve.protocol.messages import schema

if __name__ == "__main__":
    write_json_atomic(Path(__file__).resolve().parents[1] / "docs" / "protocol.schema.json", schema())
