"""Contact sheet of the generated world: per seed the reference, the product shot, frames and the labels of the last.

python scripts/world_sheet.py sheet.png --seed 0 --count 12 --difficulty full --size 96 160
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from quickchange.files import atomic_path
from quickchange.world import Renderer, render_clip, sample_spec

# Colours of the labels: background, skin, hair, upper, lower, skirt, shoes, eyes.
PALETTE = np.array([(0, 0, 0), (240, 190, 160), (90, 50, 20), (220, 40, 40), (40, 80, 220), (40, 180, 80),
                    (200, 200, 40), (255, 255, 255)], np.uint8)  # fmt: skip


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="picture to write (.png or .jpg)")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=12, help="number of seeds")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--difficulty", nargs="+", default=["easy"], choices=["easy", "full"], help="one row block each"
    )
    parser.add_argument("--frames", type=int, default=3, help="frames per clip, spread over 4 seconds")
    parser.add_argument("--columns", type=int, default=2, help="clips side by side")
    options = parser.parse_args()

    width, height = options.size
    renderer = Renderer(width, height, supersampling=2.0)
    clips = []
    for difficulty in options.difficulty:
        for seed in range(options.seed, options.seed + options.count):
            clip = render_clip(renderer, sample_spec(seed, difficulty), options.frames, fps=options.frames / 4)
            clips.append(np.concatenate([clip.reference, clip.garment, *clip.frames, PALETTE[clip.ids[-1]]], 1))
    blank = [np.full_like(clips[0], 255)] * (-len(clips) % options.columns)
    clips += blank
    rows = [np.concatenate(clips[i : i + options.columns], 1) for i in range(0, len(clips), options.columns)]
    with atomic_path(options.out) as path:
        Image.fromarray(np.concatenate(rows)).save(path, quality=85)


if __name__ == "__main__":
    main()
