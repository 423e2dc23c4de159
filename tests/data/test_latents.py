"""Shards as torch sees them: the split, and workers that share the work."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from quickchange.data.latents import ClipDataset, load_clips
from quickchange.world import render_shards
from quickchange.world.split import held_out

FIRST = next(seed for seed in range(1000) if held_out(seed + 1))  # three seeds, the second of them held out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    render_shards(out, FIRST, 3, size=(32, 48), frames=5, processes=1, clips_per_shard=1, supersampling=1.0, quiet=True)
    return out


def seeds(dataset: ClipDataset, workers: int = 0) -> list[int]:
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=list)
    return sorted(clip.spec.seed for batch in loader for clip in batch)


def test_splits_share_no_seed_and_lose_none(folder: Path) -> None:
    training, held = seeds(ClipDataset(folder)), seeds(ClipDataset(folder, "held-out"))
    assert held == [FIRST + 1]
    assert sorted(training + held) == [FIRST, FIRST + 1, FIRST + 2]


def test_workers_read_every_clip_once(folder: Path) -> None:
    assert seeds(ClipDataset(folder), workers=2) == [FIRST, FIRST + 2]


def test_clips_in_memory_are_the_training_split(folder: Path) -> None:
    clips = load_clips(folder)
    assert clips.seeds == [FIRST, FIRST + 2]
    assert clips.video.shape == (2, 5, 48, 32, 3)
    assert clips.ids.shape == (2, 5, 48, 32)
    assert clips.reference.shape == clips.garment.shape == (2, 48, 32, 3)


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="world render"):
        load_clips(tmp_path)
