"""Training data for human parsing: labelled frames from rendered shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from quickchange.data.latents import ClipDataset, to_float
from quickchange.media.pixels import to_uint8
from quickchange.model.codec import Codec
from quickchange.parsing.reading import ATTRIBUTES, attribute_classes, upper_worn
from quickchange.world.clip import Clip
from quickchange.world.spec import GarmentSpec

WINDOW = 13  # frames that the codec encodes and decodes together


@dataclass(frozen=True)
class Frames:
    """Labelled frames.

    Attributes:
        frames: uint8 [N, H, W, 3].
        ids: labels, uint8 [N, H, W].
        keypoints: float32 [N, 17, 3]: x and y in pixels, visibility 0..2.
        attributes: int64 [N, 6], class indices in the order of ``ATTRIBUTES``.
    """

    frames: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    attributes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)


@torch.no_grad()
def through_codec(
    frames: NDArray[np.uint8], codec: Codec, noise: float, generator: torch.Generator
) -> NDArray[np.uint8]:
    """Encode and decode frames, with noise on the latents.

    The noise stands for the errors of a transformer's latents.

    Args:
        frames: uint8 [T, H, W, 3], T = 1 + 4 n.
        codec: on the CPU.
        noise: standard deviation of the noise, relative to that of the latents.
        generator: of the noise.

    Returns:
        uint8 [T, H, W, 3].
    """
    latents = codec.encode(to_float(frames)[None])
    latents = latents + noise * latents.std() * torch.randn(latents.shape, generator=generator)
    return to_uint8(codec.decode(latents, codec.new_state())[0]).permute(1, 2, 3, 0).cpu().numpy()


def _classes(garment: GarmentSpec) -> list[int]:
    classes = attribute_classes(garment)
    return [classes[name] for name in ATTRIBUTES]


def pick_frames(clip: Clip, count: int, codec: Codec | None, noise: float, seed: int) -> Frames:
    """Pick random frames of a clip, and add its reference.

    Args:
        clip: to pick from.
        count: number of frames, without the reference.
        codec: encodes and decodes half of the frames, which then come from one window of 13; None for no such frames.
        noise: greatest noise on the latents, see ``through_codec``.
        seed: of the choice, together with the clip's seed.

    Returns:
        ``count + 1`` frames, the reference last.
    """
    rng = np.random.default_rng([seed, clip.spec.seed])
    picks = rng.choice(len(clip.frames), count, replace=len(clip.frames) < count)
    frames = clip.frames[picks]
    if codec is not None and len(clip.frames) >= WINDOW:
        start, half = int(rng.integers(0, len(clip.frames) - WINDOW + 1)), count // 2
        picks[:half] = start + rng.choice(WINDOW, half, replace=half > WINDOW)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        coded = through_codec(clip.frames[start : start + WINDOW], codec, noise * float(rng.random()), generator)
        frames[:half] = coded[picks[:half] - start]
    spec = clip.spec
    worn, before = (_classes(upper_worn(spec, garment)) for garment in (spec.garment_a, spec.garment_reference))
    return Frames(
        frames=np.concatenate([frames, clip.reference[None]]),
        ids=np.concatenate([clip.ids[picks], clip.reference_ids[None]]),
        keypoints=np.concatenate([clip.keypoints[picks], clip.keypoints[:1]]),
        attributes=np.array([worn] * count + [before], np.int64),
    )


def load_frames(folder: Path, count: int = 8, codec: Codec | None = None, noise: float = 0.3, seed: int = 0) -> Frames:
    """Load ``count + 1`` frames of every clip of a folder's training split. At 96x128 a frame takes 50 kB.

    Args:
        folder: with the shards.
        count: see ``pick_frames``.
        codec: see ``pick_frames``.
        noise: see ``pick_frames``.
        seed: see ``pick_frames``.

    Raises:
        FileNotFoundError: no shard in ``folder``.
        ValueError: no clip of the training split in the shards.
    """
    clips = tqdm(ClipDataset(folder), desc="read frames", unit="clip")
    parts = [pick_frames(clip, count, codec, noise, seed) for clip in clips]
    if not parts:
        raise ValueError(f"the shards in {folder} hold no clip of the training split; render more seeds")
    names = ("frames", "ids", "keypoints", "attributes")
    return Frames(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
