"""Clips and streams of trained runs on held-out seeds, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from experiments.evidence.concat import ConcatTeacherStage, ConcatTransformer, concat_velocity
from experiments.evidence.figures import clip_figures, columns_of, stream_figures
from experiments.evidence.runs import CHUNKS, STEPS, Run, Tables
from experiments.quality_reward.degraded import conditioned_rollout
from quickchange.data.latents import to_float
from quickchange.engine.components import Components
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.types import Frames
from quickchange.files import write_json_atomic
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import WanTransformer
from quickchange.train.plots import save_sheet, to_uint8
from quickchange.train.sampling import bidirectional_velocity, sample_teacher
from quickchange.world import Clip, Renderer, render_clip, sample_spec

SEEDS = 64  # held-out
BATCH = 16
FIGURES, SHEET = "figures.json", "sheet.png"  # in a run's folder
SHEET_ROWS = 8


@lru_cache(maxsize=2)
def held_out_clips(width: int, height: int, frames: int) -> tuple[Clip, ...]:
    """Clips of the held-out seeds in one garment, longer than any training clip."""
    renderer = Renderer(width, height)
    seeds = tqdm(held_out_seeds(SEEDS), desc="render held-out clips", unit="clip", leave=False)
    return tuple(render_clip(renderer, sample_spec(seed, "easy"), frames=frames, fps=24) for seed in seeds)


def clips_and_ends(components: Components) -> tuple[tuple[Clip, ...], list[int]]:
    """Held-out clips at a model's size, and the frame before which each chunk of its streams ends."""
    stream, temporal = components.stream, components.codec.temporal
    ends = [1 + temporal * (stream.chunk * (i + 1) - 1) for i in range(CHUNKS)]
    return held_out_clips(stream.width, stream.height, ends[-1]), ends


@torch.no_grad()
def teacher_clips(components: Components, network: WanTransformer, clips: Sequence[Clip], latents: int) -> list[Frames]:
    """Make clips from the conditions of ``clips`` with a bidirectional network.

    Args:
        components: codec and prompt encoder.
        network: the teacher.
        clips: whose conditions are used.
        latents: latent frames per clip.
    """
    made: list[Frames] = []
    codec = components.codec
    for i in range(0, len(clips), BATCH):
        some = clips[i : i + BATCH]
        pair = [codec.encode(to_float(np.stack([x[None] for x in images]))).float()
                for images in ([c.reference for c in some], [c.garment for c in some])]  # fmt: skip
        words = [clip.prompt.dynamic for clip in some]
        velocity = concat_velocity if isinstance(network, ConcatTransformer) else bidirectional_velocity
        pairs = torch.cat(pair, 2)
        x = sample_teacher(network, components, pairs, words, frames=latents, seed=i, velocity=velocity)
        made += [to_uint8(frames) for frames in codec.decode(x, codec.new_state())]
    return made


@torch.no_grad()
def streamed_clips(components: Components, clips: Sequence[Clip]) -> list[Frames]:
    """Stream ``CHUNKS`` chunks from the conditions of ``clips``."""
    made: list[Frames] = []
    for i in range(0, len(clips), BATCH):
        rollout, codec = conditioned_rollout(components, clips[i : i + BATCH]), components.codec
        generator, state = torch.Generator().manual_seed(i), codec.new_state()
        chunks = [codec.decode(rollout.chunk(generator), state) for _ in range(CHUNKS)]
        made += [to_uint8(frames) for frames in torch.cat(chunks, 2)]
    return made


def stream_columns(components: Components, sheet: Path) -> Tables:
    """A column ``chunk-N.figure`` of ``stream_figures`` for every chunk, and ``clip_figures`` of the first; by seed.

    Args:
        components: the student.
        sheet: picture file to write.
    """
    clips, ends = clips_and_ends(components)
    made = streamed_clips(components, clips)
    _sheet(clips, made, sheet)
    rows = [stream_figures(clip, frames, ends) for clip, frames in zip(clips, made, strict=True)]
    chunks = [columns_of([None if row is None else row[i] for row in rows]) for i in range(CHUNKS)]
    found = {f"chunk-{i + 1}.{name}": list(column) for i, chunk in enumerate(chunks) for name, column in chunk.items()}
    first = [clip_figures(clip, frames[: ends[0]]) for clip, frames in zip(clips, made, strict=True)]
    return found | {name: list(column) for name, column in columns_of(first).items()}


def teacher_columns(wanted: Run, folder: Path, sheet: Path) -> Tables:
    """``clip_figures`` as columns over held-out seeds.

    Args:
        wanted: the run.
        folder: of the run.
        sheet: picture file to write.
    """
    if wanted.kind is ConcatTeacherStage:  # not a network for streams, so its directory does not open as one
        components = open_model(folder.parent / "base" / wanted.stage / "model")
        components.prompts = PromptEncoder.from_pretrained(folder / "sft" / "model")
        network: WanTransformer = ConcatTransformer.from_pretrained(folder / "sft" / "model" / "transformer")
    else:
        components = open_model(folder / wanted.stage / "model")
        network = components.transformer
    clips, _ = clips_and_ends(components)
    latents = 3 * components.stream.chunk
    made = teacher_clips(components, network, clips, latents)
    _sheet(clips, made, sheet)
    return {name: list(column) for name, column in columns_of(list(map(clip_figures, clips, made))).items()}


def _sheet(clips: Sequence[Clip], made: Sequence[Frames], path: Path, shown: int = SHEET_ROWS) -> None:
    """Per row: reference, garment, five frames made, five frames of truth."""
    rows = []
    for clip, frames in list(zip(clips, made, strict=True))[:shown]:
        picks = np.linspace(0, len(frames) - 1, 5).round().astype(int)
        rows.append([clip.reference, clip.garment, *frames[picks], *clip.frames[picks]])
    save_sheet(rows, path)


def open_model(folder: Path) -> Components:
    """A model whose transformer is in float32 and frozen."""
    components = Components.from_pretrained(folder)
    components.transformer.float().eval().requires_grad_(False)
    return components


def measure(wanted: Run, folder: Path) -> None:
    """Write a finished run's figures per held-out seed into its folder, unless they are there."""
    sheet = folder / SHEET
    if wanted.shows == "clips":
        _keep(folder / FIGURES, lambda: teacher_columns(wanted, folder, sheet))
    elif wanted.shows == "stream":
        _keep(folder / FIGURES, lambda: stream_columns(open_model(folder / wanted.stage / "model"), sheet))


def measure_steps(model: Components, folder: Path) -> None:
    """Write a student's figures in fewer denoising steps into ``folder``, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, timesteps in STEPS.items():
        fewer = replace(model, stream=replace(model.stream, timesteps=timesteps))
        path = folder / f"steps-{name}.json"
        _keep(path, partial(stream_columns, fewer, path.with_suffix(".png")))


def _keep(path: Path, find: Callable[[], Tables]) -> None:
    if not path.is_file():
        values = {name: [None if np.isnan(x) else round(float(x), 4) for x in row] for name, row in find().items()}
        write_json_atomic(path, values)
