from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quickchange.world import read_shard, render_clip, render_shards, sample_spec
from quickchange.world.render import Renderer
from quickchange.world.shards import decode_video, encode_video

SETTINGS = {"size": (32, 48), "frames": 2, "clips_per_shard": 2, "supersampling": 1.0, "quiet": True}


def test_video_codec_is_lossless() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    labels = rng.integers(0, 8, (3, 32, 48), dtype=np.uint8)
    assert np.array_equal(decode_video(encode_video(colour, 24), grey=False), colour)
    assert np.array_equal(decode_video(encode_video(labels, 24), grey=True), labels)


def test_write_resume_and_read(tmp_path: Path) -> None:
    shards = render_shards(tmp_path, 7, 3, processes=1, both=True, **SETTINGS)  # type: ignore[arg-type]
    assert [path.name for path in shards] == ["shard-000000.tar", "shard-000001.tar"]
    clips = [clip for path in shards for clip in read_shard(path)]
    assert [clip.spec for clip in clips] == [sample_spec(seed) for seed in (7, 8, 9)]

    expected = render_clip(Renderer(32, 48, 1.0), sample_spec(8), frames=2, both=True)
    for name in ("frames", "ids", "reference", "reference_ids", "garment", "keypoints", "frames_b", "ids_b"):
        assert np.array_equal(getattr(clips[1], name), getattr(expected, name)), name
    assert clips[1].prompt == expected.prompt
    assert clips[1].fps == 24

    bytes_before = shards[1].read_bytes()
    shards[0].unlink()
    (tmp_path / ".shard-000000.killed.tar").write_bytes(b"left over")
    render_shards(tmp_path, 7, 3, processes=1, both=True, **SETTINGS)  # type: ignore[arg-type]
    assert shards[0].exists()
    assert shards[1].read_bytes() == bytes_before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.json", "shard-000000.tar", "shard-000001.tar"]

    grown = render_shards(tmp_path, 7, 4, processes=1, both=True, **SETTINGS)  # type: ignore[arg-type]
    assert [clip.spec.seed for path in grown for clip in read_shard(path)] == [7, 8, 9, 10]

    with pytest.raises(ValueError, match="asked for"):
        render_shards(tmp_path, 8, 3, processes=1, both=True, **SETTINGS)  # type: ignore[arg-type]


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    import io
    import tarfile

    path = tmp_path / "shard-000000.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("00000001.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    with pytest.raises(ValueError, match="incomplete"):
        list(read_shard(path))
