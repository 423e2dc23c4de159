"""Writes the table of the stages' options into docs/training.md."""

from __future__ import annotations

from pathlib import Path

from quickchange.files import write_text_atomic
from quickchange.train.options import options_table

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"

if __name__ == "__main__":
    text = GUIDE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    write_text_atomic(GUIDE, before + BEGIN + options_table() + END + rest.partition(END)[2])
