"""Shows how well rewards follow true error, on worn frames of held-out seeds.

    python -m experiments.quality_reward.judge --record benchmarks/rewards-quality.json --plot docs/rewards-quality.png

Worn frames have a known truth: synthetic wear, codec round trips, and chunks generated from the true past in 4, 2 and
1 steps (no reward saw 1 step in training). Free streams have none; of them, scores by depth are reported. Writes a
record, a plot and a contact sheet from worst to best, and logs a table for the model card. Needs the extra dev.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from experiments.quality_reward.agreement import Scored, agreement, by_depth, named
from experiments.quality_reward.degraded import (
    WornFrames,
    in_batches,
    next_chunks,
    round_trips,
    streams,
    synthetic,
    true_frames,
)
from experiments.quality_reward.stage import as_images, error_of
from quickchange.engine.components import Components
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.record import commit, weights_digest
from quickchange.files import atomic_path, write_json_atomic
from quickchange.train.rewards import DetailReward, QualityReward, Reward
from quickchange.world import Clip, Renderer, render_clip, sample_spec

log = logging.getLogger("judge")
TIMES = (2, 10, 18, 26, 32)
STEPS = (4, 2, 1)
GENERATED = "next chunk"
BATCH = 8
GROUPS = {"true": "true", "codec": "codec", "next chunk, 4 steps": "next chunk, 4 steps",
          "next chunk, 2 steps": "next chunk, 2 steps", "next chunk, 1 steps": "next chunk, 1 step"}  # fmt: skip
COLOURS = {"true": "#222222", "codec": "#2a6f97", "next chunk, 4 steps": "#5b8c5a", "next chunk, 2 steps": "#b08d2c",
           "next chunk, 1 step": "#c0563b", "synthetic wear": "#bbbbbb"}  # fmt: skip


def render(seeds: Sequence[int], width: int, height: int) -> list[Clip]:
    """Clips as the training data has them."""
    renderer = Renderer(width, height, supersampling=2.0)
    bar = tqdm(seeds, desc="render held-out clips", unit="clip")
    return [render_clip(renderer, sample_spec(seed, "easy"), frames=33, fps=24) for seed in bar]


def make_frames(clips: list[Clip], components: Components, chunks: int) -> tuple[list[WornFrames], WornFrames]:
    """Every family with a truth, and free streams of ``chunks`` chunks."""

    def batched(make: Callable[..., WornFrames], *options: Any) -> WornFrames:
        return in_batches(clips, lambda some, i: make(some, components, *options, i), BATCH)

    jobs: list[Callable[[], list[WornFrames]]] = [
        lambda: [true_frames(clips, TIMES), *synthetic(clips, TIMES, np.random.default_rng(1))],
        lambda: [in_batches(clips, lambda some, _: round_trips(some, components, TIMES), BATCH)],
        *(partial(lambda n: [batched(next_chunks, n)], steps) for steps in STEPS),
        lambda: [batched(streams, chunks)],
    ]
    made = [family for job in tqdm(jobs, desc="wear frames", unit="family") for family in job()]
    return made[:-1], made[-1]


def scores_of(reward: Reward, worn: WornFrames, references: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A reward's score of every frame, [N]."""
    parts = [slice(i, i + 64) for i in range(0, len(worn), 64)]
    scores = [reward(as_images(worn.frames[p])[:, :, None], as_images(references[worn.clip[p]]))[:, 0] for p in parts]
    return torch.cat(scores).double().numpy()


def judge(scored: Scored, deep: WornFrames, deep_score: np.ndarray) -> dict[str, Any]:  # type: ignore[type-arg]
    """A reward's figures, streams included."""
    found = agreement(scored, GENERATED)
    found["stream_score_by_chunk"] = [named(figure) for figure in by_depth(deep_score, deep.clip, deep.depth)]
    return found


def table(record: Mapping[str, Any]) -> str:
    """Markdown of every correlation, a column per reward."""
    rewards = record["rewards"]

    def cells(get: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> str:
        shown = []
        for found in rewards.values():
            x = get(found)
            shown.append("-" if x["value"] is None else f"{x['value']:.2f} ({x['low']:.2f} to {x['high']:.2f})")
        return " | ".join(shown)

    names = {
        "overall": "all frames",
        "within_clips": "inside each clip, mean of clips",
        "generated": "generated chunks",
        "generated_within_clips": "generated chunks, inside each clip",
    }
    rows = [(title, cells(lambda r, k=key: r[k])) for key, title in names.items()]  # type: ignore[misc]
    first = next(iter(rewards.values()))
    for name, family in first["families"].items():
        if family["follows"]["value"] is not None:
            title = f"{GROUPS.get(name, name)} (mean error {family['error']:.3f})"
            rows.append((title, cells(lambda r, n=name: r["families"][n]["follows"])))  # type: ignore[misc]
    lines = [f"| frames | {' | '.join(rewards)} |", "|---" * (1 + len(rewards)) + "|"]
    return "\n".join([*lines, *(f"| {title} | {row} |" for title, row in rows)])


def draw(record: Mapping[str, Any], scored: Mapping[str, Scored], out: Path) -> None:
    """Score over error, correlations per family, scores by depth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = ("quality", "detail")
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.6))
    for axis, name in zip(axes[0], shown, strict=True):
        part = scored[name]
        group = np.array([GROUPS.get(family, "synthetic wear") for family in part.family])
        for label, colour in reversed(COLOURS.items()):
            at = group == label
            axis.scatter(part.error[at], -part.score[at], s=7, alpha=0.55, color=colour, label=label, linewidths=0)
        value = record["rewards"][name]["overall"]["value"]
        axis.set(title=f"{name}: Spearman {value:.2f} over all frames")
        axis.set(xlabel="true error", ylabel=f"minus {name} score")
        axis.set_ylim(top=1.05 * np.percentile(-part.score, 99.8))
    ends = [0, max(scored["quality"].error.max(), 0.1)]
    axes[0, 0].plot(ends, ends, color="#999999", linewidth=1, linestyle="--")
    axes[0, 1].legend(fontsize=7, markerscale=2)
    families = [n for n, f in record["rewards"]["quality"]["families"].items() if f["follows"]["value"] is not None]
    for shift, name, colour in ((0.17, "quality", "#2a6f97"), (-0.17, "detail", "#c0563b")):
        for place, family in enumerate(families):
            x = record["rewards"][name]["families"][family]["follows"]
            at, label = len(families) - place + shift, name if not place else None
            axes[1, 0].barh(at, x["value"], 0.32, color=colour, label=label, alpha=0.8)
            axes[1, 0].plot([x["low"], x["high"]], [at, at], color="#222222", linewidth=1.1)
    axes[1, 0].set_yticks(range(len(families), 0, -1), [GROUPS.get(f, f) for f in families], fontsize=8)
    axes[1, 0].set(title="Spearman per family", xlim=(min(0, axes[1, 0].get_xlim()[0]), 1))
    axes[1, 0].legend(fontsize=7, loc="lower right")
    curve = record["rewards"]["quality"]["stream_score_by_chunk"]
    depth = np.arange(1, len(curve) + 1)
    axes[1, 1].plot(depth, [x["value"] for x in curve], marker="o", markersize=3, color="#2a6f97")
    axes[1, 1].fill_between(depth, [x["low"] for x in curve], [x["high"] for x in curve], color="#2a6f97", alpha=0.2)
    axes[1, 1].set(title="free streams: mean quality score", xlabel="chunk", ylabel="quality score")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    figure.tight_layout()
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)


def sheet(worn: list[WornFrames], scored: Scored, out: Path, rows: int = 6, columns: int = 10) -> None:
    """Frames from worst to best score, evenly spaced in rank, each above its truth; score and true error below."""
    frames, truth = (np.concatenate([getattr(family, name) for family in worn]) for name in ("frames", "truth"))
    order = scored.score.argsort()
    picks = order[np.linspace(0, len(order) - 1, rows * columns).round().astype(int)]
    height, width = frames.shape[1:3]
    line = 26
    picture = Image.new("RGB", (width * columns, (2 * height + line) * rows), "white")
    write = ImageDraw.Draw(picture)
    for place, i in enumerate(picks):
        x, y = place % columns * width, place // columns * (2 * height + line)
        picture.paste(Image.fromarray(np.concatenate([frames[i], truth[i]])), (x, y))
        name = str(scored.family[i]).removeprefix(GENERATED + ", ")
        write.text((x + 2, y + 2 * height), f"{scored.score[i]:.3f} / {scored.error[i]:.3f}\n{name}", "black")
    with atomic_path(out) as temporary:
        picture.save(temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="held-out seeds")
    parser.add_argument("--chunks", type=int, default=10, help="of free streams; training had 7")
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="whose wear is judged")
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

    worn, deep = make_frames(clips, components, args.chunks)
    references = np.stack([clip.reference for clip in clips])
    # Rounded, so that a true frame's error is 0 and not what float32 leaves of it; + 0.0 turns -0 into 0.
    error = np.concatenate([error_of(family) for family in worn]).astype(np.float64).round(5) + 0.0
    clip = np.concatenate([family.clip for family in worn])
    names = np.concatenate([[family.family] * len(family) for family in worn])
    blank = Scored(np.zeros(len(error)), error, clip, names)
    scored = {
        name: replace(blank, score=np.concatenate([scores_of(reward, family, references) for family in worn]))
        for name, reward in rewards.items()
    }
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "model": {"name": args.model.name, "weights": weights_digest(args.model / "transformer")},
        "quality_weights": weights_digest(args.weights),
        "settings": {
            "seeds": seeds, "difficulty": "easy", "frames": 33, "size": [stream.width, stream.height],
            "frame_times": list(TIMES), "stream_chunks": args.chunks, "judged_frames": len(error),
            "intervals": "95 %, clips resampled", "correlation": "Spearman of score and minus true error",
        },
        "rewards": {name: judge(part, deep, scores_of(rewards[name], deep, references))
                    for name, part in scored.items()},
    }  # fmt: skip
    write_json_atomic(args.record, record)
    draw(record, scored, args.plot)
    sheet(worn, scored["quality"], args.sheet)
    log.info("%s", table(record))


if __name__ == "__main__":
    main()
