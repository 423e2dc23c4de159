"""Stream a model on held-out seeds, read the frames with the parser and measure them.

Protocol (version 1). Per held-out seed and switch variant, a stream starts from the clip's reference in garment A and
changes to B after ``before`` chunks. Quality is measured on the stream of the first variant: its part in A against the
truth in A (all metrics), its part in B against the truth in B (garment, preserved regions, identity, paired). A seed's
figure is the mean of both. A second stream per seed measures whether the prompt is followed. It starts from a pose of
rest, under a prompt that cycles through all prompts of the world. ``drift_seeds`` long streams are measured in windows.
The same parser reads frames of streams and of ground truth, so its errors are on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from quickchange.engine.studio import Studio
from quickchange.evaluate.protocol import CHUNKS_AFTER, CHUNKS_BEFORE, held_out_seeds, segment_length, stream_switch
from quickchange.evaluate.scorecard.cases import Round, case_of, render_at_rest, render_round, renderer_for, switch_case
from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS, Case, Metric, Shot
from quickchange.evaluate.types import Frames
from quickchange.media.images import PlacedGarment
from quickchange.parsing.reading import Reading
from quickchange.world import ClipSpec
from quickchange.world.spec import Difficulty

PROTOCOL = 1
VARIANTS = ("full", "refresh", "refresh+withdraw", "recache")
TRUTH = "truth"  # the row of a switch as the world draws it
ABOUT_PROMPTS = ("prompt", "prompt_first")
ABOUT_BOTH = ("garment_", "preserve", "identity", "psnr", "ssim")  # beginnings of names; measured in both garments
DRIFTING = ("garment_high", "garment_low", "preserve", "identity", "smoothness", "sharpness", "amplitude_ratio")
PICTURED = 4  # seeds in contact sheets

Reader = Callable[[Frames], Reading]


@dataclass(frozen=True)
class Settings:
    """The extent of a run; see the module header.

    Attributes:
        seeds: held-out seeds, at least 1.
        variants: of the switch, at least one; quality is measured on the first.
        difficulty: of the world.
        before: chunks before the switch.
        after: chunks after it.
        prompted: chunks of the prompt's stream.
        drift: frames of the long streams; 0 leaves them out.
        drift_seeds: number of long streams.
        windows: of each long stream.
        window: frames in a window.

    Raises:
        ValueError: a number is out of range.
    """

    seeds: int = 32
    variants: tuple[str, ...] = VARIANTS
    difficulty: Difficulty = "easy"
    before: int = CHUNKS_BEFORE
    after: int = CHUNKS_AFTER
    prompted: int = 5
    drift: int = 1000
    drift_seeds: int = 8
    windows: int = 6
    window: int = 48

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.variants:
            raise ValueError(f"seeds is {self.seeds} and variants {self.variants}; expected at least one of each")
        for name in ("before", "after", "prompted", "drift_seeds", "windows", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.drift and self.drift < 2 * self.window:
            raise ValueError(f"drift is {self.drift} frames; expected 0 or at least two windows, {2 * self.window}")


QUICK = Settings(seeds=2, before=2, after=2, prompted=4, drift=144, drift_seeds=1, windows=2, window=33)
Row = dict[str, float]


@dataclass(eq=False)
class Rows:
    """The measurements, one row of figures for each seed.

    Attributes:
        quality: by seed.
        switches: by variant and seed, ``TRUTH`` included.
        drift: by seed, one row per window.
        starts: number of each window's first frame.
        speeds: frames per second of the long streams.
        sheets: (title, picture u8[H, W, 3]) pairs of contact sheets.
    """

    quality: dict[int, Row] = field(default_factory=dict)
    switches: dict[str, dict[int, Row]] = field(default_factory=dict)
    drift: dict[int, list[Row]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    sheets: list[tuple[str, Frames]] = field(default_factory=list)


def run(studio: Studio, read: Reader, settings: Settings, quiet: bool = False) -> Rows:
    """Stream and measure everything.

    Args:
        studio: with the model.
        read: the parser's reader.
        settings: the extent.
        quiet: leave out the progress bar on stderr.
    """
    rows = Rows()
    seeds = held_out_seeds(settings.seeds)
    long_ones = seeds[: settings.drift_seeds] if settings.drift else []
    steps = len(seeds) * (2 + len(settings.variants)) + len(long_ones) * settings.windows
    with tqdm(total=steps, desc="score", unit="step", disable=quiet) as bar:
        for turn, seed in enumerate(seeds):
            _Seed(studio, read, settings, rows, seed, turn, bar).run(seed in long_ones)
    return rows


@dataclass(eq=False)
class _Seed:
    """All streams of one seed."""

    studio: Studio
    read: Reader
    settings: Settings
    rows: Rows
    seed: int
    turn: int
    bar: tqdm[None]

    def run(self, long: bool) -> None:
        studio, settings = self.studio, self.settings
        before, after = (segment_length(studio, chunks) for chunks in (settings.before, settings.after))
        renderer = renderer_for(studio.width, studio.height)
        truth = render_round(renderer, self.seed, settings.difficulty, studio.fps, before, after)
        clip = truth.clip
        everything = self._shot(np.concatenate([clip.reference[None], clip.frames]))
        reference, old, new = everything[:1], everything[1 : 1 + before], everything[1 + before :]
        self.bar.update()
        pictured = self.turn < PICTURED
        sheet = [_strip(truth, old.frames, new.frames)] if pictured else []
        self._switch(TRUTH, clip.spec, old, new, old, new)
        shown: Shot | None = None
        for variant in settings.variants:
            first, second = stream_switch(studio, clip, variant, settings.before, settings.after)
            # Until the switch all variants are the same stream.
            if shown is None or not np.array_equal(first, shown.frames):
                shown = self._shot(first)
            changed = self._shot(second)
            self._switch(variant, clip.spec, shown, changed, old, new)
            if variant == settings.variants[0]:
                self._quality(clip.spec, reference, shown, changed, old, new)
            if pictured:
                sheet.append(_strip(truth, first, second))
            self.bar.update()
        if pictured:
            title = f"seed {self.seed}: truth, " + ", ".join(settings.variants)
            self.rows.sheets.append((title, np.concatenate(sheet)))
        self._prompt(clip.spec)
        self.bar.update()
        if long:
            self._drift(truth, case_of(clip.spec, old, reference))

    def _shot(self, frames: Frames) -> Shot:
        return Shot(frames, self.read(frames))

    def _switch(self, variant: str, spec: ClipSpec, before: Shot, after: Shot, old: Shot, new: Shot) -> None:
        case = switch_case(spec, before, after, old, new, segment_length(self.studio, 1))
        self.rows.switches.setdefault(variant, {})[self.seed] = measured(SWITCH_METRICS, case)

    def _quality(self, spec: ClipSpec, reference: Shot, shown: Shot, changed: Shot, old: Shot, new: Shot) -> None:
        first = measured(_about(METRICS, prompts=False), case_of(spec, old, reference).showing(shown))
        both = [metric for metric in METRICS if metric.name.startswith(ABOUT_BOTH)]
        second = measured(both, case_of(spec, new, reference, second=True).showing(changed))
        row = self.rows.quality.setdefault(self.seed, {})
        for name, value in first.items():
            row[name] = mean_of([value, second.get(name, float("nan"))])

    def _prompt(self, spec: ClipSpec) -> None:
        studio = self.studio
        start = render_at_rest(renderer_for(studio.width, studio.height), spec, self.turn, studio.fps)
        with studio.open(start.reference, PlacedGarment(start.garment), start.words, self.seed) as session:
            frames = np.concatenate([chunk.frames for chunk in islice(session, self.settings.prompted)])
        shot = self._shot(frames)
        case = case_of(spec, shot, shot[:1], motion=start.tracks(len(frames), studio.fps))
        self.rows.quality.setdefault(self.seed, {}).update(measured(_about(METRICS, prompts=True), case))

    def _drift(self, truth: Round, case: Case) -> None:
        """Measure a long stream in garment A, in windows spread evenly over it."""
        settings, clip = self.settings, truth.clip
        starts = np.linspace(0, settings.drift - settings.window, settings.windows).round().astype(int)
        self.rows.starts = [int(start) for start in starts]
        kept: list[Frames] = []
        seconds, counted, made = 0.0, 0, 0
        with self.studio.open(clip.reference, PlacedGarment(clip.garment), clip.prompt.dynamic, self.seed) as session:
            while made < settings.drift:
                begun = time.perf_counter()
                frames = next(session).frames
                if made:  # the first chunk pays for whatever is done once
                    seconds, counted = seconds + time.perf_counter() - begun, counted + len(frames)
                made += len(frames)
                kept.append(frames)
        self.rows.speeds.append(counted / seconds)
        stream = np.concatenate(kept)[: settings.drift]
        metrics = [metric for metric in METRICS if metric.name in DRIFTING]
        windows = self.rows.drift.setdefault(self.seed, [])
        for start in starts:
            shot = self._shot(stream[start : start + settings.window])
            windows.append(measured(metrics, case.showing(shot)))
            self.bar.update()
        picks = np.linspace(0, len(stream) - 1, 11).round().astype(int)
        if self.turn < PICTURED:
            strip = np.concatenate([clip.reference, *stream[picks]], 1)
            self.rows.sheets.append((f"seed {self.seed}: reference, then frames {', '.join(map(str, picks))}", strip))


def measured(metrics: Sequence[Metric[Any]], case: Any) -> Row:
    """Figures of all metrics for a case, by name."""
    return {metric.name: float(metric.measure(case)) for metric in metrics}


def mean_of(values: Sequence[float]) -> float:
    """Mean of the finite values; nan where none is finite."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _about(metrics: Sequence[Metric[Case]], prompts: bool) -> list[Metric[Case]]:
    return [metric for metric in metrics if (metric.name in ABOUT_PROMPTS) == prompts]


def _strip(truth: Round, before: Frames, after: Frames) -> Frames:
    """A row of a contact sheet: reference, garment A, three frames, garment B, four frames."""
    clip = truth.clip
    if clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered without its second garment")
    picks = after[[0, min(4, len(after) - 1), len(after) // 2, -1]]
    return np.concatenate([clip.reference, clip.garment, *before[[0, len(before) // 2, -1]], clip.garment_b, *picks], 1)


def with_options(quick: bool, **given: object) -> Settings:
    """The quick or the full protocol, with the options that are given (not None) in place of its own."""
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(QUICK if quick else Settings(), **chosen)  # type: ignore[arg-type]
