"""Change the garment from another thread while the stream runs, as a user interface does.

python examples/live_switch.py --chunks 8
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import quickchange as qc
from quickchange.errors import QuickchangeError

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "src" / "quickchange" / "assets" / "demo"


def main(argv: Sequence[str] | None = None) -> None:
    """Stream, and switch once halfway."""
    parser = argparse.ArgumentParser(description="Change the garment while the stream runs.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "mini", help="model directory")
    parser.add_argument("--person", type=Path, default=DEMO / "person.png", help="picture of the person")
    parser.add_argument("--garment", type=Path, default=DEMO / "garment_1.png", help="picture of the first garment")
    parser.add_argument("--next", type=Path, default=DEMO / "garment_2.png", help="picture of the second garment")
    parser.add_argument("--chunks", type=int, default=8, help="length of the stream, in chunks")
    args = parser.parse_args(argv)
    if args.chunks < 2:
        parser.error(f"--chunks is {args.chunks}; expected 2 or more")
    try:
        studio = qc.Studio.from_pretrained(args.model)
        garment = studio.prepare_garment(args.next)  # encoded now, so that the click costs nothing
        with studio.open(args.person, args.garment) as session:
            for number, chunk in enumerate(islice(session, args.chunks)):
                print(  # noqa: T201
                    f"chunk {number}: {len(chunk.frames)} frames from {chunk.start}, "
                    f"segment {chunk.segment}, obeys {chunk.obeys}"
                )
                if number == args.chunks // 2 - 1:
                    click = threading.Thread(target=session.wear, args=(garment,))
                    click.start()
                    click.join()  # so that this program prints the same each time
    except QuickchangeError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
