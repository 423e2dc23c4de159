"""Renders the bundled demo inputs: a person and three garments of held-out seeds, 384x512.

python scripts/demo_inputs.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from quickchange.media import save_png_atomic
from quickchange.world import Renderer, render_clip, sample_spec

PERSON = 200047
GARMENTS = {1: (200020, "garment"), 2: (200028, "garment_b"), 3: (200312, "garment")}


def main(folder: Path) -> None:
    renderer = Renderer(384, 512)
    folder.mkdir(parents=True, exist_ok=True)
    person = render_clip(renderer, sample_spec(PERSON, "easy"), frames=1, fps=24)
    save_png_atomic(Image.fromarray(person.reference), folder / "person.png")
    for number, (seed, name) in GARMENTS.items():
        clip = render_clip(renderer, sample_spec(seed, "easy"), frames=1, fps=24, both=True)
        save_png_atomic(Image.fromarray(getattr(clip, name)), folder / f"garment_{number}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("src/quickchange/assets/demo"))
