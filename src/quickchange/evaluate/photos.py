"""How well real garment photos arrive on a generated person: colours and pattern. Separate from the scorecard.

No model has seen these in training: the world's garments are rendered, these are photographed on beds and floors. No
ground truth shows a photographed garment on a generated person. The worn garment is therefore compared with the cut-out
that the model was given, at the model's own resolution. Protocol (version 1): for every photo, ``people`` held-out
people each wear their clip's garment for two chunks and switch live to the photo. The two chunks after that are
measured:

* ``colour``: CIEDE2000 between the three dominant colours of the cut-out and those of the worn region, each to its
  nearest, in both directions; mean over frames. Light and shade on the person count as error. Lower is better.
* ``nearest``: whether the worn palette is nearer to this photo's than to every other photo's; share of people. nan
  where there is only one photo.
* ``detail``: the overlap of the amounts of detail (regions.py) in cut-out and worn region, 0 to 1. Higher is better.
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
from quickchange.media.images import PlacedGarment, cut_out, load_image
from quickchange.world import Clip, Renderer, render_clip, sample_spec

PROTOCOL = 1
BEFORE, AFTER = 2, 2
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
DARK = 128  # below which a pixel is not canvas: at least half covered by black


@dataclass(frozen=True)
class PhotoResult:
    """One photo on one person.

    Attributes:
        photo: its name.
        seed: of the person.
        colour: CIEDE2000, see the module header.
        nearest: 0 or 1; nan where there is only one photo.
        detail: 0 to 1.
    """

    photo: str
    seed: int
    colour: float
    nearest: float
    detail: float


@dataclass(frozen=True, eq=False)
class Garment:
    """A photo in the form that the model is given.

    Attributes:
        name: of the file, without its ending.
        shown: u8[H, W, 3], the cut-out on the canvas.
        colours: its palette.
        amounts: f32, its amounts of detail, see ``regions.detail``.
    """

    name: str
    shown: NDArray[np.uint8]
    colours: Palette
    amounts: NDArray[np.float32]


def photo_paths(folder: Path, prefixes: Sequence[str] = ()) -> list[Path]:
    """The pictures of a folder, sorted by name.

    Args:
        folder: of photos.
        prefixes: keep only names that begin with one of these; all for none.

    Raises:
        InputError: no picture is left.
    """
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in ENDINGS) if folder.is_dir() else []
    chosen = [p for p in found if not prefixes or p.name.startswith(tuple(prefixes))]
    if not chosen:
        named = f" whose name begins with {' or '.join(prefixes)}" if prefixes else ""
        raise InputError(f"{folder} has no picture ({', '.join(ENDINGS)}){named}")
    return chosen


def cloth(picture: NDArray[np.uint8]) -> Mask:
    """The mask bool[H, W] where something dark lies on a white canvas u8[H, W, 3]."""
    return np.asarray((picture < DARK).any(2))


def prepare(studio: Studio, path: Path) -> Garment:
    """Cut a photo out and place it on the canvas, as ``Session.wear`` does.

    Raises:
        InputError: the photo cannot be read, or nothing is left of it.
    """
    rgb, alpha = cut_out(load_image(path))
    shown = studio.place_garment(rgb, alpha)
    # The same cut-out in black: where the garment is, however white it may be.
    lab, region = to_lab(shown), inner(cloth(studio.place_garment(np.zeros_like(rgb), alpha)))
    if not region.any():
        raise InputError(f"{path}: nothing is left of the garment after cutting it out")
    return Garment(path.stem, shown, palette(lab[region]), detail(lab, region))


def score(garment: Garment, others: Sequence[Garment], shot: Shot, seed: int) -> PhotoResult:
    """Measure the frames after the switch.

    Args:
        garment: the photo that is worn.
        others: all photos.
        shot: frames after the switch and their reading.
        seed: of the person.
    """
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
    """Frames u8[T, H, W, 3] after a live switch from the clip's garment to the photo."""
    prompt, seed = clip.prompt.dynamic, clip.spec.seed
    with studio.open(clip.reference, PlacedGarment(clip.garment), prompt, seed) as session:
        for _ in range(BEFORE):
            next(session)
        session.wear(PlacedGarment(garment.shown))
        return np.concatenate([next(session).frames for _ in range(AFTER)])


def run(
    studio: Studio, read: Reader, photos: Sequence[Path], out: Path, about: Mapping[str, Any], people: int = 4
) -> str:
    """Run the protocol and write ``photos.json``, ``photos.md`` and ``photos.png``.

    The picture has a column per photo: the cut-out, then the last frame of every person.

    Args:
        studio: with the model.
        read: the parser's reader.
        photos: paths.
        out: folder; made where it is missing.
        about: how the record was made, see ``record.provenance``.
        people: held-out people per photo.

    Returns:
        The table.
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
            results.append(score(garment, garments, Shot(frames, read(frames)), clip.spec.seed))
            column.append(frames[-1])
        columns.append(np.concatenate(column))
    record = {**about, "protocol": PROTOCOL, "seeds": seeds, "results": [asdict(result) for result in results]}
    write_json_atomic(out / "photos.json", record)
    text = table(results)
    write_text_atomic(out / "photos.md", text)
    _save(np.concatenate(columns, 1), out / "photos.png")
    return text


def table(results: Sequence[PhotoResult]) -> str:
    """A Markdown table with one line per kind of photo and one for all.

    The kind is the name up to its last dash. Figures are means over photos with 95 % intervals. A photo counts with the
    mean over its people.
    """
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
