"""Give a stream its own eviction policy, and print what it lets go.

python examples/own_policy.py --chunks 12
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

import quickchange as qc
from quickchange.cache.policies import Policy
from quickchange.cache.threads import Entry
from quickchange.errors import QuickchangeError

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "src" / "quickchange" / "assets" / "demo"


class MiddleOut(Policy):
    """Drops whole chunks from the middle of history, so that old and new ones stay."""

    def evict(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        """Choose chunks around the middle until enough frames are free."""
        chunks = sorted({entry.chunk for entry in evictable})
        middle = chunks[len(chunks) // 2]
        gone: list[Entry] = []
        for chunk in sorted(chunks, key=lambda chunk: abs(chunk - middle)):
            if len(gone) < needed:
                gone += [entry for entry in evictable if entry.chunk == chunk]
        print(f"leaves: chunks {sorted({entry.chunk for entry in gone})} of {chunks}")  # noqa: T201
        return gone


def main(argv: Sequence[str] | None = None) -> None:
    """Stream under the policy."""
    parser = argparse.ArgumentParser(description="Stream with an eviction policy of your own.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "mini", help="model directory")
    parser.add_argument("--chunks", type=int, default=12, help="length of the stream, in chunks")
    args = parser.parse_args(argv)
    if args.chunks < 1:
        parser.error(f"--chunks is {args.chunks}; expected 1 or more")
    try:
        studio = qc.Studio.from_pretrained(args.model)
        with studio.open(DEMO / "person.png", DEMO / "garment_1.png", policy=MiddleOut()) as session:
            for chunk in islice(session, args.chunks):
                print(f"frames {chunk.start} to {chunk.start + len(chunk.frames) - 1}")  # noqa: T201
    except QuickchangeError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
