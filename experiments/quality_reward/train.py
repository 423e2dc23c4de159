"""Train the learned quality reward on degraded frames of a model.

    python -m experiments.quality_reward.train --data FOLDER_OF_SHARDS

writes models/quality. ``measure.py`` measures how well it follows true error. Needs the extra train.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from experiments.quality_reward.degraded import in_batches, next_chunks, round_trips, streams, synthetic, true_frames
from experiments.quality_reward.stage import QualityData, QualityStage, gather
from quickchange.data.latents import ClipDataset
from quickchange.engine.components import Components
from quickchange.train.config import StageConfig
from quickchange.train.loop import train
from quickchange.train.rewards.quality import QualityConfig, QualityScorer

log = logging.getLogger("quality")
CHUNKS = 7
TIMES = (4, 17, 30)


def make_data(folder: Path, components: Components, count: int) -> QualityData:
    """Degraded frames of the first ``count`` training clips.

    All clips are degraded synthetically and by the codec. Of the clips, 2/5 are continued from their true past in four
    denoising steps, 1/5 in two, and 2/5 are streamed freely.

    Args:
        folder: of training shards.
        components: with the transformer in float32.
        count: clips.
    """
    clips = list(islice(ClipDataset(folder), count))
    part = len(clips) * 2 // 5
    known = [
        true_frames(clips, TIMES),
        in_batches(clips, lambda some, _: round_trips(some, components, TIMES)),
        *synthetic(clips, TIMES, np.random.default_rng(0)),
        in_batches(clips[:part], lambda some, i: next_chunks(some, components, 4, i)),
    ]
    few = in_batches(clips[part : part + part // 2], lambda some, i: next_chunks(some, components, 2, i))
    deep = in_batches(clips[-part:], lambda some, i: streams(some, components, CHUNKS, i))
    known.append(replace(few, clip=few.clip + part))
    deep = replace(deep, clip=deep.clip + len(clips) - part)
    references = np.stack([clip.reference for clip in clips])
    return gather(references, known, deep, known[1].frames[:: len(TIMES)])


def main() -> None:
    """Make the data and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training shards, 96x128")
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="whose degradations are learned")
    parser.add_argument("--run", type=Path, default=Path("runs/quality"), help="checkpoint, curves")
    parser.add_argument("--out", type=Path, default=Path("models/quality"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=320)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    components = Components.from_pretrained(args.model)
    components.transformer.float().eval().requires_grad_(False)
    start = time.monotonic()
    data = make_data(args.data, components, args.clips)
    log.info("%d frames with a truth, %d of streams", len(data.frames), len(data.deep))
    made = time.monotonic()
    torch.manual_seed(0)
    config = StageConfig(
        steps=args.steps, batch=64, learning_rate=2e-3, decay=0.6, ema=0.99, save_every=200, sample_every=args.steps
    )
    train(QualityStage(QualityScorer(QualityConfig()), data, config, args.out), args.run, fresh=True)
    log.info("frames made in %.0f s, trained in %.0f s", made - start, time.monotonic() - made)


if __name__ == "__main__":
    main()
