"""Every metric on ground truth and on an input with a known fault, both with exact readings.

The faults are those of metrics/faults.py. No model and no parser network is needed. ``quickchange bench metrics``
writes docs/scorecard-metrics.md with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.scorecard.cases import case_of, motion_clip, switch_case
from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS, Metric, Shot, SwitchCase
from quickchange.evaluate.scorecard.metrics.faults import BAD, BAD_SWITCHES, Scene
from quickchange.evaluate.scorecard.metrics.prompt import possible_motions, possible_tracks
from quickchange.evaluate.statistics import Estimate, bootstrap
from quickchange.parsing.truth import reading_of, reference_reading
from quickchange.world import Clip, Renderer, render_clip, sample_spec

GLANCE = 12  # frames of another person: metrics that tell people apart look at few


@dataclass(frozen=True)
class Settings:
    """The extent of a calibration. Lengths are in frames; the defaults are those of the scorecard's switch streams.

    Attributes:
        seeds: held-out seeds.
        before: frames before the switch.
        after: frames after it.
        first_chunk: frames of the first chunk after it.
        fps: frames per second.

    Raises:
        ValueError: a number is out of range.
    """

    seeds: int = 16
    before: int = 33
    after: int = 21
    first_chunk: int = 9
    fps: float = 24.0

    def __post_init__(self) -> None:
        if self.seeds < 1 or min(self.before, self.after) < self.first_chunk or self.first_chunk < 1:
            raise ValueError(f"{self}; expected at least 1 seed, and lengths of at least a first chunk")


@dataclass(frozen=True, eq=False)
class Sample:
    """A seed's ground truth as a stream from a pose of rest, and as a switch in the middle of it."""

    scene: Scene
    switch: SwitchCase


@dataclass(frozen=True)
class Finding:
    """A metric over all seeds, on ground truth and on its fault."""

    metric: Metric[Any]
    truth: Estimate
    bad: Estimate


def shots_of(clip: Clip) -> tuple[Shot, Shot, Shot]:
    """Reference, frames in garment A and frames in garment B, with exact readings.

    Raises:
        ValueError: the clip was rendered in one garment.
    """
    if clip.frames_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered in one garment; render it with both=True")
    reference = Shot(clip.reference[None], reference_reading(clip))
    return reference, Shot(clip.frames, reading_of(clip)), Shot(clip.frames_b, reading_of(clip, second=True))


def render_sample(renderer: Renderer, seed: int, turn: int, settings: Settings) -> Sample:
    """Render a seed under prompt number ``turn`` of the world, and shots that differ from it in one thing.

    The other person is the next seed's, with their hair, lower garment, wall and light, in the same garment and motion.
    The other motion is half the list of prompts away.

    Args:
        renderer: at the wanted size.
        seed: held-out.
        turn: number of the seed, which chooses the prompt.
        settings: lengths.
    """
    frames, fps = settings.before + settings.after, settings.fps
    spec = sample_spec(seed)
    options = possible_motions(spec)
    asked = turn % len(options)
    chosen = options[asked]
    reference, worn_a, worn_b = shots_of(render_clip(renderer, chosen, frames=frames, fps=fps, both=True))
    same = {name: getattr(chosen, name) for name in ("motion", "garment_a", "garment_reference")}
    stranger = replace(sample_spec(seed + 1), **same)
    other_person, _ = motion_clip(renderer, stranger, min(frames, GLANCE), fps)
    other_motion, _ = motion_clip(renderer, options[(asked + len(options) // 2) % len(options)], frames, fps)
    tracks = possible_tracks(options, asked, frames, fps, (renderer.width, renderer.height))
    scene = Scene(case_of(chosen, worn_a, reference, motion=tracks), worn_b, other_person, other_motion)
    at = settings.before
    switch = switch_case(chosen, worn_a[:at], worn_b[at:], worn_a, worn_b, settings.first_chunk)
    return Sample(scene, switch)


def samples(renderer: Renderer, settings: Settings, quiet: bool = False) -> Iterator[Sample]:
    """Yield the samples of the held-out seeds.

    Args:
        renderer: at the wanted size.
        settings: the extent.
        quiet: leave out the progress bar on stderr.
    """
    seeds = held_out_seeds(settings.seeds)
    for turn, seed in enumerate(tqdm(seeds, desc="metrics", unit="seed", disable=quiet)):
        yield render_sample(renderer, seed, turn, settings)


def calibrate(found: Iterable[Sample]) -> list[Finding]:
    """Every metric's figure on ground truth and on its bad input."""
    everything: list[Metric[Any]] = [*METRICS, *SWITCH_METRICS]
    pairs: dict[str, list[tuple[float, float]]] = {metric.name: [] for metric in everything}
    for sample in found:
        case = sample.scene.case
        # Several metrics have one fault in common and share what was found out about its stream.
        faulty = {name: case.showing(make(sample.scene)) for name, make in BAD.items()}
        for metric in METRICS:
            pairs[metric.name].append((metric.measure(case), metric.measure(faulty[metric.bad])))
        for rule in SWITCH_METRICS:
            bad = BAD_SWITCHES[rule.bad](sample.switch)
            pairs[rule.name].append((rule.measure(sample.switch), rule.measure(bad)))
    return [
        Finding(metric, *(bootstrap([pair[side] for pair in pairs[metric.name]], metric.pool) for side in (0, 1)))
        for metric in everything
    ]


def as_markdown(findings: Sequence[Finding], settings: Settings, size: tuple[int, int]) -> str:
    """Two tables, of streams and of switches; ``size`` is width and height of the pictures."""
    lines = [
        "# What every metric says of ground truth and of a known fault",
        "",
        f"Written by `quickchange bench metrics --seeds {settings.seeds}`: {settings.seeds} held-out seeds of the "
        f"easy world, {size[0]}x{size[1]} pixels, {settings.before + settings.after} frames at "
        f"{settings.fps:g} per second, switch after {settings.before}, exact readings. Means over seeds, or medians "
        "where marked \\*; in parentheses the bootstrap 95 % interval. scorecard.md says what the faults are.",
    ]
    tables: tuple[tuple[str, Callable[[Metric[Any]], bool]], ...] = (
        ("Streams", lambda metric: metric not in SWITCH_METRICS),
        ("Switches", lambda metric: metric in SWITCH_METRICS),
    )
    for title, belongs in tables:
        lines += ["", f"## {title}", "", "| metric | formula | range | better | ground truth | fault | with it |"]
        lines.append("|---|---|---|---|---|---|---|")
        for finding in findings:
            if belongs(finding.metric):
                lines.append(_row(finding))
    return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    metric = finding.metric
    star = r"\*" if metric.pool == "median" else ""
    cells = (
        f"`{metric.name}`{star}",
        metric.formula.replace("|", "\\|"),
        metric.span,
        metric.better,
        _cell(finding.truth, metric.digits),
        metric.bad,
        _cell(finding.bad, metric.digits),
    )
    return "| " + " | ".join(cells) + " |"


def _cell(figure: Estimate, digits: int) -> str:
    """``0.912 (0.880-0.940)``; without the interval where it has no width at this precision."""
    value, low, high = (f"{number:.{digits}f}" for number in figure)
    return value if low == high else f"{value} ({low}-{high})"
