"""The paper's switch ablation on exact ground truth: what each variant of a switch does to clothes and pose.

Protocol (version 1). For every held-out seed of the "easy" world a clip is rendered in garment A and, with the same
motion, in garment B. A session starts from the clip's reference in A, streams ``CHUNKS_BEFORE`` chunks, switches to B
and streams ``CHUNKS_AFTER`` more. Measured are:

* colour errors (CIEDE2000) of a region against A and B in ground truth, over one chunk's frames before the switch and
  as many after it. The region is where both garments are worn in every ground-truth frame, eroded. A seed whose region
  is too small is skipped and the next one takes its place;
* ``silhouette_jump``: the share of the silhouette that differs across the switch. Beside it stand the median of the
  same share between neighbouring frames before the switch (``silhouette_step``) and the jump that the change of
  clothes alone makes in ground truth (``true_jump``);
* where attention rests before and after the switch (``attention.py``), in separate streams.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from quickchange.engine.studio import Studio
from quickchange.evaluate.colour import colour_error, erode, silhouette_jump
from quickchange.evaluate.protocol import CHUNKS_AFTER, CHUNKS_BEFORE, held_out_seeds, segment_length, stream_switch
from quickchange.evaluate.statistics import bootstrap, wilson
from quickchange.evaluate.switching.attention import MOMENTS, Look, attention_record, attention_tables, stream_look
from quickchange.evaluate.switching.attention import VARIANTS as WATCHED
from quickchange.evaluate.types import Frames, Mask
from quickchange.files import atomic_path, write_json_atomic, write_text_atomic
from quickchange.world import Clip, Label, Renderer, render_clip, sample_spec

log = logging.getLogger(__name__)
PROTOCOL = 1
VARIANTS = ("refresh", "refresh+withdraw", "full", "recache", "original_reference", "random_reference", "last_latent",
            "full+sink", "refresh+withdraw+sink")  # fmt: skip
SMALLEST_REGION = 60  # pixels
COLUMNS = ("after_to_a", "after_to_b", "silhouette_jump", "jump_over_true")
SHOWN = ("date", "commit", "model", "weights", "device", "dtype", "threads")
PICTURE = {0: "reference", 1: "garment A", 2: "before the switch", 5: "garment B", 6: "after it"}
IN_ALL = ("before_to_a", "before_to_b", "silhouette_step", "true_jump")  # the same whatever the variant


@dataclass(frozen=True)
class Settings:
    """The extent of a run.

    Attributes:
        seeds: number of held-out seeds, at least 1.
        variants: names of ``engine.switch.VARIANTS``, at least one.
        attention_seeds: number of those seeds that are also streamed to measure attention, 0 or more.
        pictured: number of those seeds in the picture.

    Raises:
        ValueError: a number is out of range.
    """

    seeds: int = 64
    variants: tuple[str, ...] = VARIANTS
    attention_seeds: int = 16
    pictured: int = 2

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.variants:
            raise ValueError(f"seeds is {self.seeds} and variants {self.variants}; expected at least one of each")
        if self.attention_seeds < 0:
            raise ValueError(f"attention_seeds is {self.attention_seeds}; expected 0 or more")


@dataclass(frozen=True)
class SwitchResult:
    """One seed, one variant. Colours are CIEDE2000, jumps and steps shares of the silhouette; see the module header."""

    seed: int
    variant: str
    before_to_a: float
    before_to_b: float
    after_to_a: float
    after_to_b: float
    silhouette_jump: float
    silhouette_step: float
    true_jump: float

    @property
    def jump_over_true(self) -> float:
        """The jump beyond that of the clothes; below zero where the clothes do not change."""
        return self.silhouette_jump - self.true_jump

    @property
    def changed(self) -> bool:
        """Whether the region is nearer to garment B than to A after the switch."""
        return self.after_to_b < self.after_to_a


def render_pairs(studio: Studio) -> Iterator[tuple[Clip, Mask]]:
    """Yield clips of held-out seeds at the studio's size in both garments, each with its ``worn_region``; endless."""
    renderer = Renderer(studio.width, studio.height)
    length = segment_length(studio, CHUNKS_BEFORE)
    first = 0
    while True:
        seeds = held_out_seeds(first + 64)
        for seed in seeds[first:]:
            clip = render_clip(renderer, sample_spec(seed, "easy"), frames=length, fps=studio.fps, both=True)
            region = worn_region(clip)
            if region.sum() < SMALLEST_REGION:
                log.info("seed %d: worn region of %d pixels is too small to measure, skipped", seed, region.sum())
                continue
            yield clip, region
        first = len(seeds)


def in_b(clip: Clip) -> tuple[Frames, Frames, Frames]:
    """Frames, ids and product shot of the clip in garment B.

    Raises:
        ValueError: the clip was rendered in one garment.
    """
    if clip.frames_b is None or clip.ids_b is None or clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered in one garment; render it with both=True")
    return clip.frames_b, clip.ids_b, clip.garment_b


def worn_region(clip: Clip) -> Mask:
    """The region bool[H, W] where both garments are worn in every frame, eroded."""
    both = (clip.ids == Label.UPPER) & (in_b(clip)[1] == Label.UPPER)
    return erode(np.asarray(both.all(0)))


def measure(clip: Clip, variant: str, before: Frames, after: Frames, region: Mask, window: int) -> SwitchResult:
    """Score one switch.

    Args:
        clip: in both garments.
        variant: name of a variant.
        before: frames u8[T, H, W, 3] before the switch.
        after: frames u8[T, H, W, 3] after it.
        region: bool[H, W], where colours are compared.
        window: frames on each side of the switch whose colours count.
    """
    frames_b, _, _ = in_b(clip)
    steps = [silhouette_jump(a, b) for a, b in pairwise(before)]
    middle = len(clip.frames) // 2
    return SwitchResult(
        seed=clip.spec.seed,
        variant=variant,
        before_to_a=colour_error(before[-window:], clip.frames, region),
        before_to_b=colour_error(before[-window:], frames_b, region),
        after_to_a=colour_error(after[:window], clip.frames, region),
        after_to_b=colour_error(after[:window], frames_b, region),
        silhouette_jump=silhouette_jump(before[-1], after[0]),
        silhouette_step=float(np.median(steps)),
        true_jump=silhouette_jump(clip.frames[middle], frames_b[middle + 1]),
    )


def ablate(studio: Studio, out: Path, settings: Settings, about: Mapping[str, Any], quiet: bool = False) -> str:
    """Run the protocol and write its record, table and pictures into ``out``.

    The files are ``ablation.json``, ``ablation.md``, ``ablation.jpg`` and, where attention is measured,
    ``attention.png``.

    Args:
        studio: with the model.
        out: folder; made where it is missing.
        settings: the extent of the run.
        about: how the record was made, see ``record.provenance``.
        quiet: leave out the progress bar on stderr.

    Returns:
        The text of ``ablation.md``.
    """
    from quickchange.evaluate.plots import attention_plot, strips_picture

    out.mkdir(parents=True, exist_ok=True)
    results: list[SwitchResult] = []
    looks: dict[str, list[Look]] = {variant: [] for variant in WATCHED}
    strips: list[tuple[str, Frames]] = []
    window = segment_length(studio, 1)
    watched = min(settings.seeds, settings.attention_seeds)
    streams = settings.seeds * len(settings.variants) + watched * len(WATCHED)
    with tqdm(total=streams, desc="ablate", unit="stream", disable=quiet) as bar:
        for turn, (clip, region) in enumerate(islice(render_pairs(studio), settings.seeds)):
            for variant in settings.variants:
                before, after = stream_switch(studio, clip, variant)
                results.append(measure(clip, variant, before, after, region, window))
                if turn < settings.pictured:
                    strips.append((variant, _strip(clip, before, after)))
                bar.update()
            for variant in WATCHED if turn < watched else ():
                looks[variant].append(stream_look(studio, clip, variant))
                bar.update()
    attention = attention_record(looks) if watched else {}
    record = {
        "protocol": PROTOCOL,
        **about,
        "settings": {**asdict(settings), "chunks_before": CHUNKS_BEFORE, "chunks_after": CHUNKS_AFTER},
        "seeds": sorted({result.seed for result in results}),
        "figures": figures(results, settings.variants),
        "attention": attention,
        "results": [_rounded(result) for result in results],
    }
    text = report(record)
    write_json_atomic(out / "ablation.json", record)
    write_text_atomic(out / "ablation.md", text)
    pictures = {"ablation.jpg": strips_picture(strips, PICTURE)} if strips else {}
    if attention:
        pictures["attention.png"] = attention_plot(attention)
    for name, picture in pictures.items():
        with atomic_path(out / name) as temporary:
            temporary.write_bytes(picture)
    return text


def figures(results: Sequence[SwitchResult], variants: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Summarise results by variant, as plain data.

    Returns:
        By variant, ``n``, ``changed`` (a share with its Wilson 95 % interval) and every column (a median with its
        bootstrap 95 % interval), each as [value, low, high].

    Raises:
        ValueError: a variant has no result.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant in variants:
        own = [result for result in results if result.variant == variant]
        if not own:
            raise ValueError(f"no result of variant {variant!r}; measure at least one seed of every variant")
        columns = {name: bootstrap([getattr(result, name) for result in own]) for name in COLUMNS + IN_ALL}
        found[variant] = {
            "n": len(own),
            "changed": [round(value, 4) for value in wilson(sum(result.changed for result in own), len(own))],
            **{name: [round(value, 4) for value in ends] for name, ends in columns.items()},
        }
    return found


def summary(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of ``figures``, one line per variant; below it the columns that are alike for all variants."""
    head = [name.replace("_", " ") for name in COLUMNS]
    lines = ["| variant | n | changed | " + " | ".join(head) + " |", "|---" * (3 + len(head)) + "|"]
    for variant, own in found.items():
        p, low, high = (100 * value for value in own["changed"])
        cells = [_cell(name, own[name]) for name in COLUMNS]
        lines.append(f"| {variant} | {own['n']} | {p:.0f}% ({low:.0f}-{high:.0f}) | " + " | ".join(cells) + " |")
    first = next(iter(found.values()))
    alike = ", ".join(f"{name.replace('_', ' ')} {_cell(name, first[name])}" for name in IN_ALL)
    return "\n".join(lines) + f"\n\nIn all variants: {alike}.\n"


def report(record: Mapping[str, Any]) -> str:
    """The record as Markdown: how it was made, the table of switches, the tables of attention."""
    made = [f"{name} {record[name]}" for name in SHOWN if record.get(name) is not None]
    text = f"Protocol {record['protocol']}, {', '.join(made)}.\n\n" + summary(record["figures"])
    if record["attention"]:
        count = next(iter(record["attention"].values()))[MOMENTS[0]]["n"]
        text += f"\nSelf-attention in per cent, means over {count} seeds; latent frames seen in the same order.\n\n"
        text += attention_tables(record["attention"])
    return text


def _cell(name: str, ends: Sequence[float]) -> str:
    digits = 3 if "silhouette" in name or "jump" in name else 1
    middle, low, high = (f"{value:.{digits}f}" for value in ends)
    return f"{middle} ({low} to {high})" if ends[1] < 0 else f"{middle} ({low}-{high})"


def _rounded(result: SwitchResult) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(result).items()}


def _strip(clip: Clip, before: Frames, after: Frames) -> Frames:
    """A row of the picture: reference, garment A, three frames, garment B, four frames."""
    picks_before = before[[0, len(before) // 2, -1]]
    picks_after = after[[0, 4, len(after) // 2, -1]]
    return np.concatenate([clip.reference, clip.garment, *picks_before, in_b(clip)[2], *picks_after], 1)
