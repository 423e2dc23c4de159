"""How well the parser reads frames of held-out seeds: as rendered, and after the codec.

Protocol (version 1). For every seed an "easy" clip of 33 frames is rendered. Every fourth frame is read twice: as
rendered, and after the bundled model's codec has encoded and decoded the whole clip. Figures are per seed, then
averaged over seeds with bootstrap 95 % intervals:

* ``iou``: of each label, over its pixels in all frames of the seed together, |A and B| / |A or B|, in [0, 1]; 1 is
best.
  Seeds that neither show nor read the label do not count.
* ``pck``: share of truly visible keypoints that are read at most 0.1 torso heights away (the middle of the shoulders to
  the middle of the hips, about 4.5 pixels at 96x128); ``pck_silhouette``: 0.1 silhouette heights; 1 is best.
* ``distance``: mean distance of visible keypoints in pixels; 0 is best.
* ``visible``: share of keypoints whose visibility is read right (at a threshold of 0.5).
* ``attributes``: share of frames whose most probable class is right; ``clip_attributes``: the same for probabilities
  averaged over the clip's frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.statistics import bootstrap
from quickchange.files import atomic_path, write_json_atomic
from quickchange.model.codec import Codec
from quickchange.parsing.network import PersonParser
from quickchange.parsing.reading import ATTRIBUTES, KEYPOINTS, LABELS, Reading, overlay
from quickchange.parsing.truth import reading_of
from quickchange.world import Clip, Renderer, render_clip, sample_spec

PROTOCOL = 1
LENGTH, EVERY = 33, 4
NEAR = 0.1
Scores = dict[str, dict[str, float]]


def recoded(frames: NDArray[np.uint8], codec: Codec) -> NDArray[np.uint8]:
    """Encode and decode frames u8[1 + 4 n, H, W, 3]."""
    x = torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2))).float().div(127.5).sub(1)[None]
    with torch.no_grad():
        y = codec.decode(codec.encode(x), codec.new_state())[0]
    return ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()


def label_iou(read: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
    """IoU, in [0, 1], of every label that occurs in either of two id maps u8[T, H, W]."""
    found = {}
    for index, name in enumerate(LABELS):
        a, b = read == index, truth == index
        either = int((a | b).sum())
        if either:
            found[name] = float((a & b).sum() / either)
    return found


def keypoint_scores(read: Reading, truth: Reading) -> Scores:
    """``pck``, ``pck_silhouette`` and ``distance`` of visible keypoints, and ``visible`` of all.

    Returns:
        By measure, one figure per keypoint and one for ``all``.
    """
    seen = truth.keypoints[..., 2] > 0.5
    distance = np.linalg.norm(read.keypoints[..., :2] - truth.keypoints[..., :2], axis=2)
    middle = truth.keypoints[:, 5:13, :2]  # left and right in turn: shoulders, elbows, wrists, hips
    torso = np.linalg.norm(middle[:, 0:2].mean(1) - middle[:, 6:8].mean(1), axis=1)[:, None]
    rows = (truth.ids != 0).any(2)
    silhouette = rows.shape[1] - rows.argmax(1) - rows[:, ::-1].argmax(1)
    values = {
        "pck": distance <= NEAR * torso,
        "pck_silhouette": distance <= NEAR * silhouette[:, None],
        "distance": distance,
    }
    scores: Scores = {name: {} for name in (*values, "visible")}
    right = (read.keypoints[..., 2] > 0.5) == seen
    picks: list[tuple[slice, str]] = [(slice(i, i + 1), name) for i, name in enumerate(KEYPOINTS)]
    for index, point in [*picks, (slice(None), "all")]:
        scores["visible"][point] = float(right[:, index].mean())
        if seen[:, index].any():
            for name, value in values.items():
                scores[name][point] = float(value[:, index][seen[:, index]].mean())
    return scores


def score(read: Reading, truth: Reading) -> Scores:
    """All measures of one seed, by measure and name; see the module header."""
    scores = {"iou": label_iou(read.ids, truth.ids), **keypoint_scores(read, truth)}
    truths = {name: truth.attributes[name].argmax(1) for name in ATTRIBUTES}
    scores["attributes"] = {
        name: float((read.attributes[name].argmax(1) == truths[name]).mean()) for name in ATTRIBUTES
    }
    told = read.summary()
    scores["clip_attributes"] = {name: float(told[name] == truth.summary()[name]) for name in ATTRIBUTES}
    return scores


def mean_interval(values: Sequence[float]) -> dict[str, float]:
    """Mean with its bootstrap 95 % interval, and the number of seeds, as plain data."""
    mean, low, high = (round(value, 4) for value in bootstrap(values, "mean"))
    return {"mean": mean, "low": low, "high": high, "n": len(values)}


def summarise(results: Sequence[Scores]) -> dict[str, dict[str, dict[str, float]]]:
    """Summarise the scores of many seeds as ``{measure: {name: {mean, low, high, n}}}``."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for measure in results[0]:
        names = list(dict.fromkeys(n for result in results for n in result[measure]))
        table[measure] = {
            name: mean_interval([result[measure][name] for result in results if name in result[measure]])
            for name in names
        }
    return table


def clips(seeds: Sequence[int], width: int, height: int) -> Iterator[Clip]:
    """Render the protocol's clips."""
    renderer = Renderer(width, height)
    for seed in seeds:
        yield render_clip(renderer, sample_spec(seed, "easy"), frames=LENGTH, fps=24)


def measure(
    parser: PersonParser, codec: Codec, out: Path, count: int = 64, width: int = 96, height: int = 128
) -> dict[str, object]:
    """Run the protocol and write ``accuracy.json`` and ``overlays.png``.

    Args:
        parser: to measure.
        codec: whose output is read too.
        out: folder.
        count: held-out seeds.
        width: of the frames, pixels.
        height: of the frames, pixels.

    Returns:
        The content of ``accuracy.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    seeds = held_out_seeds(count)
    results: dict[str, list[Scores]] = {"rendered": [], "codec": []}
    pictures: list[NDArray[np.uint8]] = []
    for clip in tqdm(clips(seeds, width, height), total=count, desc="parser", unit="seed"):
        truth = reading_of(clip)[::EVERY]
        versions = {"rendered": clip.frames[::EVERY], "codec": recoded(clip.frames, codec)[::EVERY]}
        for name, frames in versions.items():
            results[name].append(score(parser.read(frames), truth))
        if len(pictures) < 6:
            pictures.append(_row(parser, versions, truth))
    record: dict[str, object] = {
        "protocol": PROTOCOL, "size": [width, height], "difficulty": "easy", "seeds": seeds,
        "frames_per_seed": len(range(0, LENGTH, EVERY)), **{name: summarise(each) for name, each in results.items()},
    }  # fmt: skip
    write_json_atomic(out / "accuracy.json", record)
    with atomic_path(out / "overlays.png") as temporary:
        Image.fromarray(np.concatenate(pictures, 0)).save(temporary)
    return record


def _row(parser: PersonParser, versions: dict[str, NDArray[np.uint8]], truth: Reading) -> NDArray[np.uint8]:
    """Two frames: as rendered, the truth, the reading of it, and that after the codec."""
    row = []
    for t in (slice(0, 1), slice(4, 5)):
        rendered, coded = versions["rendered"][t], versions["codec"][t]
        row += [rendered[0].repeat(3, 0).repeat(3, 1), overlay(rendered, truth[t])[0]]
        row += [overlay(frames, parser.read(frames))[0] for frames in (rendered, coded)]
    return np.concatenate(row, 1)


def table(record: dict[str, object]) -> str:
    """The most important figures as Markdown."""
    lines = ["| | rendered | after the codec |", "|---|---|---|"]
    first, second = record["rendered"], record["codec"]
    if not isinstance(first, dict) or not isinstance(second, dict):
        raise ValueError("record holds no figures; give what `measure` returned")
    points, kinds = ["all"], list(ATTRIBUTES)
    wanted = [("iou", list(LABELS)), ("pck", points), ("pck_silhouette", points), ("distance", points),
              ("visible", points), ("attributes", kinds), ("clip_attributes", kinds)]  # fmt: skip
    for measure_name, names in wanted:
        for name in names:
            if name in first[measure_name]:
                cells = [part[measure_name][name] for part in (first, second)]
                shown = " | ".join(f"{c['mean']:.3f} ({c['low']:.3f}-{c['high']:.3f})" for c in cells)
                lines.append(f"| {measure_name} {name} | {shown} |")
    return "\n".join(lines) + "\n"
