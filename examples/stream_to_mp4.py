"""Write a stream to an MP4: one person, one garment.

python examples/stream_to_mp4.py --seconds 3 --out out/stream.mp4
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import quickchange as qc
from quickchange.errors import QuickchangeError
from quickchange.media.video import Mp4Writer, default_scale

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "src" / "quickchange" / "assets" / "demo"


def main(argv: Sequence[str] | None = None) -> None:
    """Generate and write."""
    parser = argparse.ArgumentParser(description="Write a stream to an MP4.")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "mini", help="model directory")
    parser.add_argument("--person", type=Path, default=DEMO / "person.png", help="picture of the person")
    parser.add_argument("--garment", type=Path, default=DEMO / "garment_1.png", help="picture of the garment")
    parser.add_argument("--prompt", default="she turns to the left", help="what happens")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the video")
    parser.add_argument("--out", type=Path, default=Path("out/stream.mp4"), help="file to write")
    args = parser.parse_args(argv)
    if not 0 < args.seconds <= 600:
        parser.error(f"--seconds is {args.seconds}; expected more than 0, at most 600")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        studio = qc.Studio.from_pretrained(args.model)
        left = max(1, round(args.seconds * studio.fps))
        scale = default_scale(studio.height)
        with (
            studio.open(args.person, args.garment, args.prompt) as session,
            Mp4Writer(args.out, studio.width, studio.height, studio.fps, scale=scale) as video,
        ):
            for chunk in session:
                video.write(chunk.frames[:left])
                left -= len(chunk.frames)
                if left <= 0:
                    break
    except QuickchangeError as error:
        parser.error(str(error))
    print(f"wrote {args.out}")  # noqa: T201


if __name__ == "__main__":
    main()
