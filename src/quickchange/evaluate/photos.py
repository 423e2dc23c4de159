"""How much of real garment photos arrives on the person: colours and pattern, apart from the scorecard.

Nothing here was seen in training: the world's garments are rendered, these are photographed on beds and floors. There
is no ground truth of a photo worn by a generated person, so what is worn is held against the cut-out that the model was
shown, at the model's own resolution. Protocol (version 1): for every photo, ``people`` held-out people each wear their
clip's garment for two chunks, switch live to the photo, and are judged in the two chunks after it.

* ``colour``: CIEDE2000 between the three dominant colours of the cut-out and those of the worn region, each to its
  nearest, both directions; mean over frames. Light and shade on the person are in it. Lower is better.
* ``nearest``: whether the worn palette is nearer to this photo's than to every other photo's; share of people. Says
  nothing where there is one photo only.
* ``detail``: what the amounts of detail (regions.py) of cut-out and worn region share, 0 to 1. Higher is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from quickchange.engine.studio import Studio
from quickchange.errors import InputError
from quickchange.evaluate.colour import to_lab
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.scorecard.metrics.base import Shot
from quickchange.evaluate.scorecard.metrics.garment import NOTHING_WORN, worn_palette
from quickchange.evaluate.scorecard.metrics.regions import Palette, detail, inner, overlap, palette, palette_error
from quickchange.evaluate.scorecard.score import Reader
from quickchange.evaluate.statistics import bootstrap
from quickchange.evaluate.types import Frames, Mask
from quickchange.files import atomic_path, write_json_atomic, write_text_atomic
from quickchange.media.images import cut_out, load_image
from quickchange.world import Clip, Renderer, render_clip, sample_spec

PROTOCOL = 1
BEFORE, AFTER = 2, 2
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
DARK = 128  # below which a pixel is not canvas: at least half covered by black


@dataclass(frozen=True)
class PhotoResult:
    """One photo on one person; see the module header. ``nearest`` is 0 or 1."""

    photo: str
    seed: int
    colour: float
    nearest: float
    detail: float


@dataclass(frozen=True, eq=False)
class Garment:
    """A photo as the model is shown it."""

    name: str
    shown: NDArray[np.uint8]
    colours: Palette
    amounts: NDArray[np.float32]


def photo_paths(folder: Path, prefixes: Sequence[str] = ()) -> list[Path]:
    """The pictures of a folder by name, only those that begin with one of ``prefixes`` if any are given.

    Raises:
        InputError: there is none.
    """
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in ENDINGS) if folder.is_dir() else []
    chosen = [p for p in found if not prefixes or p.name.startswith(tuple(prefixes))]
    if not chosen:
        raise InputError(f"{folder} has no picture ({', '.join(ENDINGS)}) named {', '.join(prefixes) or 'anything'}")
    return chosen


def cloth(picture: NDArray[np.uint8]) -> Mask:
    """Where something dark lies on a white canvas, u8 [H, W, 3] -> bool [H, W]."""
    return np.asarray((picture < DARK).any(2))


def prepare(studio: Studio, path: Path) -> Garment:
    """Cuts a photo out and fits it, as ``Session.wear`` does. InputError where it cannot be read or nothing is left."""
    rgb, alpha = cut_out(load_image(path))
    shown = studio.place_garment(rgb, alpha)
    # The same cut-out in black: where the garment is, however white it may be.
    lab, region = to_lab(shown), inner(cloth(studio.place_garment(np.zeros_like(rgb), alpha)))
    if not region.any():
        raise InputError(f"{path}: nothing is left of the garment after cutting it out")
    return Garment(path.stem, shown, palette(lab[region]), detail(lab, region))


def judge(garment: Garment, others: Sequence[Garment], shot: Shot, seed: int) -> PhotoResult:
    """Scores the frames after the switch."""
    worn = worn_palette(shot)
    if worn is None:
        return PhotoResult(garment.name, seed, NOTHING_WORN, 0.0, 0.0)
    own = palette_error(worn, garment.colours)
    some = shot.sampled
    amounts = np.mean([detail(some.lab[t], mask) for t, mask in enumerate(some.reading.mask("upper"))], 0)
    rest = [palette_error(worn, other.colours) for other in others if other is not garment]
    nearest = float(own < min(rest)) if rest else float("nan")
    return PhotoResult(garment.name, seed, own, nearest, overlap(amounts, garment.amounts))


def stream_photo(studio: Studio, clip: Clip, garment: Garment) -> Frames:
    """Frames after a live switch from the clip's garment to the photo."""
    prompt, seed = clip.prompt.dynamic, clip.spec.seed
    with studio.open(clip.reference, clip.garment, prompt, seed, cutout=False) as session:
        for _ in range(BEFORE):
            next(session)
        session.wear(garment.shown, cutout=False)
        return np.concatenate([next(session).frames for _ in range(AFTER)])


def run(
    studio: Studio, read: Reader, photos: Sequence[Path], out: Path, about: Mapping[str, Any], people: int = 4
) -> str:
    """Runs the protocol; writes ``photos.json``, ``photos.md`` and ``photos.png`` into ``out``; returns the table.

    ``about`` is what the record says of how it was made (provenance.py).
    The picture has a column per photo: the cut-out, then the last frame of every person.
    """
    out.mkdir(parents=True, exist_ok=True)
    garments = [prepare(studio, path) for path in tqdm(photos, desc="cut out", unit="photo")]
    renderer = Renderer(studio.width, studio.height)
    seeds = held_out_seeds(people)
    clips = [render_clip(renderer, sample_spec(seed, "easy"), frames=1, fps=studio.fps) for seed in seeds]
    results, columns = [], []
    for garment in tqdm(garments, desc="photos", unit="photo"):
        column = [garment.shown]
        for clip in clips:
            frames = stream_photo(studio, clip, garment)
            results.append(judge(garment, garments, Shot(frames, read(frames)), clip.spec.seed))
            column.append(frames[-1])
        columns.append(np.concatenate(column))
    record = {**about, "protocol": PROTOCOL, "seeds": seeds, "results": [asdict(result) for result in results]}
    write_json_atomic(out / "photos.json", record)
    text = table(results)
    write_text_atomic(out / "photos.md", text)
    _save(np.concatenate(columns, 1), out / "photos.png")
    return text


def table(results: Sequence[PhotoResult]) -> str:
    """One line per kind of photo (the name up to its last dash), one for all; means with 95 % intervals over photos,
    each of which counts with the mean of its people."""
    kinds = sorted({result.photo.rpartition("-")[0] or result.photo for result in results})
    lines = ["| photos | n | colour | nearest | detail |", "|---|---|---|---|---|"]
    for kind in [*kinds, "all"]:
        own = [r for r in results if kind == "all" or (r.photo.rpartition("-")[0] or r.photo) == kind]
        cells = []
        for name, digits in (("colour", 1), ("nearest", 2), ("detail", 2)):
            by_photo = [
                float(np.mean([getattr(r, name) for r in own if r.photo == photo]))
                for photo in sorted({r.photo for r in own})
            ]
            middle, low, high = bootstrap(by_photo, "mean")
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
        lines.append(f"| {kind} | {len({r.photo for r in own})} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _save(picture: Frames, path: Path) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
