"""Renders the bundled pictures that are missing, 384x512, from held-out seeds.

They are the demo's inputs, and people and garments of the studio page. Pictures that are there stay, although a later
revision of the world would pose them anew.

python scripts/demo_inputs.py [ASSETS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from quickchange.files import write_json_atomic
from quickchange.media.video import save_png_atomic
from quickchange.world import Renderer, render_clip, sample_spec

# id: name, seed, file
PEOPLE = {
    "ash": ("Ash", 200047, "demo/person.png"),
    "imani": ("Imani", 200302, "studio/imani.png"),
    "robin": ("Robin", 200521, "studio/robin.png"),
    "maya": ("Maya", 200880, "studio/maya.png"),
}
# id: name, seed, which garment of the clip, file. Those that the bundled model wears well, and that differ plainly.
GARMENTS = {
    "yellow-tee": ("Yellow tee", 200020, "garment", "demo/garment_1.png"),
    "sky-stripes": ("Sky stripes, long sleeves", 200028, "garment_b", "demo/garment_2.png"),
    "pink-stripes": ("Pink and navy stripes", 200312, "garment", "demo/garment_3.png"),
    "red-tank": ("Red tank top", 201177, "garment", "studio/red-tank.png"),
    "star-tee": ("Teal tee with a star", 200147, "garment_b", "studio/star-tee.png"),
    "green-hoops": ("Green hoops", 200923, "garment", "studio/green-hoops.png"),
    "violet-tee": ("Violet tee", 200612, "garment", "studio/violet-tee.png"),
    "blue-tee": ("Blue tee", 203590, "garment_b", "studio/blue-tee.png"),
    "magenta-tee": ("Magenta tee", 203310, "garment", "studio/magenta-tee.png"),
}


def main(assets: Path) -> None:
    """Render into ``assets``."""
    renderer = Renderer(384, 512)
    for folder in ("demo", "studio"):
        (assets / folder).mkdir(parents=True, exist_ok=True)
    for _, seed, file in PEOPLE.values():
        if (assets / file).exists():
            continue
        clip = render_clip(renderer, sample_spec(seed, "easy"), frames=1, fps=24)
        save_png_atomic(Image.fromarray(clip.reference), assets / file)
    for _, seed, which, file in GARMENTS.values():
        if (assets / file).exists():
            continue
        clip = render_clip(renderer, sample_spec(seed, "easy"), frames=1, fps=24, both=True)
        save_png_atomic(Image.fromarray(getattr(clip, which)), assets / file)
    catalogue = {
        "people": [{"id": key, "name": name, "file": file} for key, (name, _, file) in PEOPLE.items()],
        "garments": [
            {"id": key, "name": name, "kind": "top", "file": file} for key, (name, _, _, file) in GARMENTS.items()
        ],
    }
    write_json_atomic(assets / "studio" / "catalogue.json", catalogue)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("src/quickchange/assets"))
