"""Sources of training data for a recipe: shards of the generated world, or a folder of real triplets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from quickchange.data.buckets import Size, make_buckets
from quickchange.data.latents import Clips, Latents, encode_shards, load_clips, shard_paths
from quickchange.data.triplets import TripletFolder, encode_triplets, is_triplet_folder, triplet_clips
from quickchange.files import write_json_atomic
from quickchange.model.codec import Codec
from quickchange.train.config import Recipe

SKIPPED = "skipped.json"


def holds_triplets(data: Path) -> bool:
    """Whether ``data`` is a folder of triplets and not of shards."""
    return next(data.rglob("shard-*.tar"), None) is None and is_triplet_folder(data)


def open_triplets(recipe: Recipe, data: Path, spatial: int, *, one_size: bool = False) -> TripletFolder:
    """The triplets of a folder at the recipe's sizes.

    ``spatial``: pixels per latent cell; ``one_size``: the stream's only, as a transformer with a fixed grid and the
    codec's training need it.
    """
    stream, rows_columns = recipe.stream, recipe.transformer.patch_size[1:]
    buckets: tuple[Size, ...] = (Size(stream.width, stream.height),)
    if recipe.triplets.buckets and recipe.transformer.grid is None and not one_size:
        step = spatial * rows_columns[1], spatial * rows_columns[0]
        buckets = make_buckets(stream.width, stream.height, step)
    return TripletFolder(data, buckets, stream.fps, recipe.triplets.frames, stream.garment_box)


def load_pixels(recipe: Recipe, data: Path) -> Clips:
    """Load the codec's training clips. FileNotFoundError or ValueError where there is nothing to train on."""
    if holds_triplets(data):
        return triplet_clips(open_triplets(recipe, data, recipe.codec.spatial, one_size=True))
    return load_clips(data)


def files_origin(recipe: Recipe, data: Path, spatial: int) -> str:
    """Names the files that training reads, with their sizes."""
    if holds_triplets(data):
        return open_triplets(recipe, data, spatial).origin()
    return json.dumps([(str(path.relative_to(data)), path.stat().st_size) for path in shard_paths(data)])


def data_origin(recipe: Recipe, data: Path, codec: Codec, weights: Path) -> str:
    """Names the codec's weights and the files that latents are made from."""
    files = files_origin(recipe, data, codec.spatial)
    return hashlib.sha256(weights.read_bytes() + files.encode()).hexdigest()


def encode_data(recipe: Recipe, data: Path, codec: Codec, device: torch.device, report: Path) -> list[Latents]:
    """Latents of all clips, by size. Of triplets, the samples left out and why are written to ``report``/skipped.json.

    Raises:
        FileNotFoundError: neither shards nor triplets in ``data``. ValueError: no usable clip in them.
    """
    if not holds_triplets(data):
        return [encode_shards(data, codec, device)]
    folder = open_triplets(recipe, data, codec.spatial)
    try:
        return encode_triplets(folder, codec, device)
    finally:
        write_json_atomic(report / SKIPPED, {problem.name: problem.reason for problem in folder.problems})
