"""Watch a running server without a screen, and change the garment. Start one with `quickchange serve`.

python examples/headless_viewer.py --url http://127.0.0.1:8000 --person anna --garments red-tee red-tank
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from quickchange.serve.catalogue import load_catalogue
from quickchange.serve.client import RefusedError, connect
from quickchange.serve.protocol.messages import Open


async def watch(url: str, token: str | None, person: str, garments: Sequence[str], seconds: float) -> None:
    """Wear each garment for a while; print what comes."""
    async with connect(url, token=token) as viewer:
        await viewer.send(Open(person=person, garment=garments[0]))
        for number, garment in enumerate(garments):
            sequence = await viewer.wear(garment) if number else 0
            frames = [frame async for frame in viewer.frames(seconds)]
            size = sum(len(frame.data) for frame in frames)
            print(f"{garment} (control {sequence}): {len(frames)} frames, {size} bytes")  # noqa: T201


def main(argv: Sequence[str] | None = None) -> None:
    """Connect and watch."""
    catalogue = load_catalogue()
    people, garments = [i.id for i in catalogue.people], [i.id for i in catalogue.garments]
    parser = argparse.ArgumentParser(description="Watch a running server without a screen.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server")
    parser.add_argument("--token", help="bearer token, if the server asks for one")
    parser.add_argument("--person", default=people[0], choices=people)
    parser.add_argument("--garments", nargs="+", default=garments[:2], choices=garments, help="worn one by one")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each garment")
    args = parser.parse_args(argv)
    try:
        asyncio.run(watch(args.url, args.token, args.person, args.garments, args.seconds))
    except RefusedError as error:
        parser.error(f"the server refuses: {error}")
    except (OSError, TimeoutError) as error:
        parser.error(f"no answer from {args.url} ({error}); start a server with: quickchange serve")


if __name__ == "__main__":
    main()
