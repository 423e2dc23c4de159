r"""Measure how well rewards follow true error, on degraded frames of held-out seeds.

    python -m experiments.quality_reward.measure --record benchmarks/rewards-quality.json \
        --plot docs/rewards-quality.png

The frames have a known truth: synthetic degradations, codec round trips, and chunks generated from the true past in 4,
2 and 1 steps (no reward saw 1 step in training). Free streams have no truth; their scores are reported by depth. Writes
a record, a plot and a contact sheet from worst to best score, and logs a table for the model card. Needs the extra dev.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.quality_reward.agreement import Scored, agreement, by_depth, named
from experiments.quality_reward.degraded import (
    DegradedFrames,
    in_batches,
    next_chunks,
    round_trips,
    streams,
    synthetic,
    true_frames,
)
from experiments.quality_reward.error import error_of
from experiments.quality_reward.report import GENERATED, draw, sheet, table
from experiments.quality_reward.stage import as_images
from quickchange.engine.components import Components
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.record import commit, weights_digest
from quickchange.evaluate.types import Frames
from quickchange.files import write_json_atomic
from quickchange.train.rewards import DetailReward, QualityReward, Reward
from quickchange.world import Clip, Renderer, render_clip, sample_spec

log = logging.getLogger("measure")
FRAMES, FPS = 33, 24  # of clips, as in training data
TIMES = (2, 10, 18, 26, 32)
STEPS = (4, 2, 1)
BATCH = 8


def render(seeds: Sequence[int], width: int, height: int) -> list[Clip]:
    """Render clips with the length and rate of training data."""
    renderer = Renderer(width, height, supersampling=2.0)
    bar = tqdm(seeds, desc="render held-out clips", unit="clip")
    return [render_clip(renderer, sample_spec(seed, "easy"), frames=FRAMES, fps=FPS) for seed in bar]


def make_frames(clips: list[Clip], components: Components, chunks: int) -> tuple[list[DegradedFrames], DegradedFrames]:
    """Make every family with a truth, and free streams of ``chunks`` chunks."""

    def batched(make: Callable[..., DegradedFrames], *options: Any) -> DegradedFrames:
        return in_batches(clips, lambda some, i: make(some, components, *options, i), BATCH)

    jobs: list[Callable[[], list[DegradedFrames]]] = [
        lambda: [true_frames(clips, TIMES), *synthetic(clips, TIMES, np.random.default_rng(1))],
        lambda: [in_batches(clips, lambda some, _: round_trips(some, components, TIMES), BATCH)],
        *(partial(lambda n: [batched(next_chunks, n)], steps) for steps in STEPS),
        lambda: [batched(streams, chunks)],
    ]
    made = [family for job in tqdm(jobs, desc="degrade frames", unit="family") for family in job()]
    return made[:-1], made[-1]


def scores_of(reward: Reward, degraded: DegradedFrames, references: Frames) -> NDArray[np.float64]:
    """A reward's score of every frame, f64[N].

    Args:
        reward: to measure.
        degraded: frames of any family.
        references: u8[clips, H, W, 3].
    """
    parts = (slice(i, i + 64) for i in range(0, len(degraded), 64))
    scores = [
        reward(as_images(degraded.frames[p])[:, :, None], as_images(references[degraded.clip[p]]))[:, 0] for p in parts
    ]
    return np.asarray(torch.cat(scores).double())


def figures_of(scored: Scored, deep: DegradedFrames, deep_score: NDArray[np.float64]) -> dict[str, Any]:
    """A reward's correlations with the true error, and its mean score of free streams by chunk."""
    found = agreement(scored, GENERATED)
    found["stream_score_by_chunk"] = [named(figure) for figure in by_depth(deep_score, deep.clip, deep.depth)]
    return found


def main() -> None:
    """Measure all rewards and write the record, the plot and the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="held-out seeds")
    parser.add_argument("--chunks", type=int, default=10, help="of free streams; training had 7")
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="whose degradations are measured")
    parser.add_argument("--weights", type=Path, default=Path("models/quality"), help="of the quality reward")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="other weights to compare with")
    parser.add_argument("--record", type=Path, default=Path("out/rewards.json"))
    parser.add_argument("--plot", type=Path, default=Path("out/rewards.png"))
    parser.add_argument("--sheet", type=Path, default=Path("out/rewards-sheet.png"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for path in (args.record, args.plot, args.sheet):
        path.parent.mkdir(parents=True, exist_ok=True)

    rewards: dict[str, Reward] = {"quality": QualityReward(args.weights), "detail": DetailReward()}
    rewards |= {str(folder): QualityReward(folder) for folder in args.beside}
    components = Components.from_pretrained(args.model)
    components.transformer.float().eval().requires_grad_(False)
    stream = components.stream
    seeds = held_out_seeds(args.clips)
    clips = render(seeds, stream.width, stream.height)

    known, deep = make_frames(clips, components, args.chunks)
    references = np.stack([clip.reference for clip in clips])
    # Rounded, so that a true frame's error is 0 and not what float32 leaves of it; + 0.0 turns -0 into 0.
    error = np.concatenate([error_of(family) for family in known]).astype(np.float64).round(5) + 0.0
    clip = np.concatenate([family.clip for family in known])
    names = np.concatenate([[family.family] * len(family) for family in known])
    blank = Scored(np.zeros(len(error)), error, clip, names)
    scored = {
        name: replace(blank, score=np.concatenate([scores_of(reward, family, references) for family in known]))
        for name, reward in rewards.items()
    }
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "model": {"name": args.model.name, "weights": weights_digest(args.model / "transformer")},
        "quality_weights": weights_digest(args.weights),
        "settings": {
            "seeds": seeds, "difficulty": "easy", "frames": FRAMES, "size": [stream.width, stream.height],
            "frame_times": list(TIMES), "stream_chunks": args.chunks, "scored_frames": len(error),
            "intervals": "95 %, clips resampled", "correlation": "Spearman of score and minus true error",
        },
        "rewards": {name: figures_of(part, deep, scores_of(rewards[name], deep, references))
                    for name, part in scored.items()},
    }  # fmt: skip
    write_json_atomic(args.record, record)
    draw(record, scored, args.plot)
    sheet(known, scored["quality"], args.sheet)
    log.info("%s", table(record))


if __name__ == "__main__":
    main()
