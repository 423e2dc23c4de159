"""Training data from rendered shards: pixels to train the codec, latents to train all other networks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from quickchange.files import save_safetensors_atomic
from quickchange.model.codec import Codec
from quickchange.world.clip import Clip
from quickchange.world.shards import read_shard
from quickchange.world.split import held_out

_MIRROR = {"left": "right", "right": "left"}


def mirror_text(text: str) -> str:
    """Exchange the words left and right, for the prompt of a mirrored clip."""
    return re.sub(r"\b(left|right)\b", lambda m: _MIRROR[m.group()], text)


@dataclass(frozen=True)
class Clips:
    """Clips in memory, as pixels.

    Attributes:
        video: uint8 [N, T, H, W, 3].
        ids: labels, uint8 [N, T, H, W].
        reference: uint8 [N, H, W, 3].
        garment: uint8 [N, H, W, 3].
        prompts: (dynamic, static) per clip.
        seeds: of the clips.
    """

    video: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    garment: NDArray[np.uint8]
    prompts: list[tuple[str, str]]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.seeds)


def shard_paths(folder: Path) -> list[Path]:
    """List all shards in and below a folder, sorted; FileNotFoundError if there is none."""
    paths = sorted(folder.rglob("shard-*.tar"))
    if not paths:
        raise FileNotFoundError(f"no shard-*.tar in {folder}; make some with `quickchange world render --out {folder}`")
    return paths


class ClipDataset(IterableDataset[Clip]):
    """A stream of a folder's clips, with at most one shard in memory.

    Each worker of a DataLoader reads its own part of the shards. Use ``collate_fn=list``, because clips are objects and
    not tensors.

    Args:
        folder: with the shards.
        split: "train", or "held-out" for the evaluation seeds (world/split.py).

    Raises:
        FileNotFoundError: no shard in ``folder``.
    """

    def __init__(self, folder: Path, split: Literal["train", "held-out"] = "train") -> None:
        self.paths, self.held_out = shard_paths(folder), split == "held-out"

    def __iter__(self) -> Iterator[Clip]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for path in self.paths[first::step]:
            yield from (clip for clip in read_shard(path) if held_out(clip.spec.seed) is self.held_out)


def load_clips(folder: Path) -> Clips:
    """Read the training split of a folder into memory. A clip of 33 frames at 96x128 takes about 2.4 MB.

    Raises:
        FileNotFoundError: no shard in ``folder``.
        ValueError: no clip of the training split in the shards.
    """
    return _stack(list(tqdm(ClipDataset(folder), desc="read clips", unit="clip")), folder)


def _stack(clips: list[Clip], folder: Path) -> Clips:
    if not clips:
        raise ValueError(f"the shards in {folder} hold no clip of the training split; render more seeds")
    video, ids, reference, garment = (
        np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "ids", "reference", "garment")
    )
    prompts = [(clip.prompt.dynamic, clip.prompt.static) for clip in clips]
    return Clips(video, ids, reference, garment, prompts, [clip.spec.seed for clip in clips])


def to_float(frames: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 [..., T, H, W, 3] to float32 [..., 3, T, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -4))).float().div_(127.5).sub_(1)


@dataclass(frozen=True)
class Latents:
    """Encoded clips. H and W are those of the latents.

    Attributes:
        video: float16 [N, C, F, H, W].
        reference: float16 [N, C, 1, H, W].
        reference_reencoded: float16 [N, C, 1, H, W], the reference decoded and encoded again, as after a live switch.
        garment: float16 [N, C, 1, H, W].
        prompts: (dynamic, static) per clip.
    """

    video: Tensor
    reference: Tensor
    reference_reencoded: Tensor
    garment: Tensor
    prompts: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.video)

    def channel_std(self) -> tuple[float, ...]:
        """Standard deviation of every channel, over every second video."""
        return tuple(self.video[::2].float().std((0, 2, 3, 4)).tolist())


@torch.no_grad()
def encode_clips(clips: Clips, codec: Codec, device: torch.device, batch: int = 16) -> Latents:
    """Encode clips and their mirror images.

    Args:
        clips: N of them.
        codec: on ``device``.
        device: of the codec.
        batch: clips that are encoded at a time.

    Returns:
        Latents of 2 N clips, on the CPU: in turn a batch of clips and its mirror images.
    """
    columns: dict[str, list[Tensor]] = {"video": [], "reference": [], "reference_reencoded": [], "garment": []}
    prompts = []
    bar = tqdm(list(_batches(len(clips), batch)), desc="encode", unit="batch", leave=False)
    for mirrored, start in bar:
        part = slice(start, start + batch)
        video, reference, garment = (
            (x.flip(-1) if mirrored else x).to(device)
            for x in (
                to_float(clips.video[part]),
                to_float(clips.reference[part, None]),
                to_float(clips.garment[part, None]),
            )
        )
        for name, value in encode_columns(codec, video, reference, garment).items():
            columns[name].append(value)
        texts = clips.prompts[part]
        prompts += [(mirror_text(a), mirror_text(b)) for a, b in texts] if mirrored else texts
    return Latents(**{k: torch.cat(v) for k, v in columns.items()}, prompts=prompts)


def encode_shards(folder: Path, codec: Codec, device: torch.device, batch: int = 16) -> Latents:
    """Encode a folder as ``encode_clips(load_clips(folder), ...)`` would, with only one shard in memory at a time.

    Raises:
        FileNotFoundError: no shard in ``folder``.
        ValueError: no clip of the training split in the shards.
    """
    clips = iter(ClipDataset(folder))
    groups = iter(lambda: list(islice(clips, batch)), [])
    first = next(groups, [])
    parts = [encode_clips(_stack(group, folder), codec, device, batch) for group in chain([first], groups)]
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Latents(**columns, prompts=[pair for part in parts for pair in part.prompts])


def encode_columns(
    codec: Codec, video_BCTHW: Tensor, reference_BCTHW: Tensor, garment_BCTHW: Tensor
) -> dict[str, Tensor]:
    """Encode pixels into the tensors of ``Latents``, by name, float16 on the CPU.

    Args:
        codec: on the device of the pixels.
        video_BCTHW: in [-1, 1], T = 1 + 4 n.
        reference_BCTHW: in [-1, 1], T = 1.
        garment_BCTHW: in [-1, 1], T = 1.
    """
    first = codec.encode(reference_BCTHW)
    encoded = {
        "video": codec.encode(video_BCTHW),
        "reference": first,
        "reference_reencoded": codec.encode(codec.decode(first, codec.new_state())),
        "garment": codec.encode(garment_BCTHW),
    }
    return {name: value.half().cpu() for name, value in encoded.items()}


def _batches(count: int, batch: int) -> Iterator[tuple[bool, int]]:
    for start in range(0, count, batch):
        yield False, start
        yield True, start


def save_latents(latents: Latents | Sequence[Latents], path: Path, origin: str = "") -> None:
    """Save groups of latents in one safetensors file.

    Args:
        latents: one group, or several; each group has its own frame size.
        path: of the file.
        origin: description of the source, for ``latents_origin``.
    """
    groups = [latents] if isinstance(latents, Latents) else latents
    tensors = {_key(k, i): getattr(group, k) for i, group in enumerate(groups) for k in _COLUMNS}
    prompts = {_key("prompts", i): json.dumps(group.prompts) for i, group in enumerate(groups)}
    save_safetensors_atomic(tensors, path, {**prompts, "origin": origin})


_COLUMNS = ("video", "reference", "reference_reencoded", "garment")


def _key(name: str, group: int) -> str:
    return f"{name}.{group}"


def latents_origin(path: Path) -> str:
    """Read the ``origin`` that was given to ``save_latents``."""
    with safe_open(path, "pt") as opened:
        return str(opened.metadata().get("origin", ""))


def load_groups(path: Path) -> list[Latents]:
    """Load every group of latents in a file."""
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
        groups: list[Latents] = []
        while _key("prompts", len(groups)) in metadata:
            i = len(groups)
            prompts = [(a, b) for a, b in json.loads(metadata[_key("prompts", i)])]
            groups.append(Latents(**{k: opened.get_tensor(_key(k, i)) for k in _COLUMNS}, prompts=prompts))
    return groups
