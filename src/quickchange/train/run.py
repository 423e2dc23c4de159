"""Stages by name: what each needs, where its result goes.

A run folder holds ``vae/ sft/ tf/ dmd/`` (checkpoints, curves, sheets), ``latents.safetensors`` and, after each stage,
``model/``: the components as they stand, a directory a Studio can open. ``teacher/`` keeps the teacher's network.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from quickchange.components import Components, load_transformer
from quickchange.model.codec import LightCodec
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import WanTransformer
from quickchange.train.config import Recipe, read_recipe
from quickchange.train.data import (
    Latents,
    encode_clips,
    latents_origin,
    load_clips,
    load_latents,
    save_latents,
    shard_paths,
)
from quickchange.train.dmd import DmdStage
from quickchange.train.initial import initialise_small
from quickchange.train.loop import Stage, train
from quickchange.train.sft import TeacherStage
from quickchange.train.teacher_forcing import TeacherForcingStage
from quickchange.train.vae import CodecStage, start_from_components

log = logging.getLogger(__name__)
STAGES = ("vae", "sft", "tf", "dmd")
LATENTS = "latents.safetensors"


def run(
    stage: str,
    recipe_path: Path,
    data: Path,
    folder: Path,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    fresh: bool = False,
) -> bool:
    """Trains one stage, resuming where it stopped.

    Args:
        stage: one of ``STAGES``. recipe_path: TOML recipe. data: folder of shards. folder: run folder.
        device: torch device. minutes: stop and checkpoint after this time. fresh: ignore an earlier checkpoint.

    Returns:
        Whether the stage is finished.

    Raises:
        ValueError: unknown stage or bad recipe. FileNotFoundError: an earlier stage's result or the data is missing.
    """
    if stage not in STAGES:
        raise ValueError(f"stage is {stage!r}; expected one of {', '.join(STAGES)}")
    recipe = read_recipe(recipe_path)
    if stage not in recipe.stages:
        raise ValueError(f"{recipe_path} has no [stages.{stage}] table")
    torch.manual_seed(recipe.stages[stage].seed)
    built = {"vae": _codec_stage, "sft": _teacher_stage, "tf": _forcing_stage, "dmd": _dmd_stage}[stage]
    folder.mkdir(parents=True, exist_ok=True)
    return train(built(recipe, data, folder, torch.device(device)), folder / stage, minutes=minutes, fresh=fresh)


def _codec_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device) -> Stage:
    codec, clips = LightCodec(recipe.codec), load_clips(data)
    start_from_components(codec, clips)
    return CodecStage(
        codec.to(device), clips, recipe.stages["vae"], device, lambda: codec.save_pretrained(folder / "codec")
    )


def _latents(recipe: Recipe, data: Path, folder: Path, device: torch.device) -> tuple[LightCodec, Latents]:
    """The trained codec and the encoded clips; encodes them anew when codec or shards are others than the file's."""
    source = folder / "codec" / "diffusion_pytorch_model.safetensors"
    if not source.is_file():
        raise FileNotFoundError(f"{source} not found; run `quickchange train vae` with the same --run first")
    codec, path = LightCodec.from_pretrained(folder / "codec").to(device), folder / LATENTS
    origin = _origin(source, data)
    if not path.is_file() or latents_origin(path) != origin:
        save_latents(encode_clips(load_clips(data), codec, device), path, origin)
    return codec, load_latents(path)


def _origin(codec: Path, data: Path) -> str:
    """Names the codec's weights and the shards that latents were made from."""
    shards = [(str(path.relative_to(data)), path.stat().st_size) for path in shard_paths(data)]
    digest = hashlib.sha256(codec.read_bytes() + json.dumps(shards).encode())
    return digest.hexdigest()


def _exporter(components: Components, *targets: Path) -> Callable[[], None]:
    def export() -> None:
        for target in targets:
            components.save_pretrained(target)

    return export


def _stored(folder: Path, stage: str, recipe: Recipe, codec: LightCodec, device: torch.device) -> Components:
    """Components as an earlier stage exported them, under the recipe's present stream settings."""
    root = folder / stage / "model"
    if not root.is_dir():
        raise FileNotFoundError(f"{root} not found; finish `quickchange train {stage}` with the same --run first")
    stored = Components.from_pretrained(root)
    transformer = stored.transformer.float().to(device).train().requires_grad_(True)
    stored.prompts.to(device)
    stored.prompts.module.requires_grad_(True)
    return Components(stream=recipe.stream, transformer=transformer, codec=codec, prompts=stored.prompts)


def _teacher_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device) -> Stage:
    codec, latents = _latents(recipe, data, folder, device)
    config = replace(recipe.transformer, channel_std=latents.channel_std())
    model = WanTransformer(config)
    initialise_small(model)
    t = recipe.text
    corpus = [text for pair in latents.prompts for text in pair]
    prompts = PromptEncoder.create(
        corpus, dim=t.dim, layers=t.layers, heads=t.heads, vocab=t.vocab, max_tokens=t.max_tokens
    )
    components = Components(stream=recipe.stream, transformer=model.to(device), codec=codec, prompts=prompts.to(device))
    return TeacherStage(
        components, latents, recipe.stages["sft"], device, _exporter(components, folder / "sft" / "model")
    )


def _forcing_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device) -> Stage:
    codec, latents = _latents(recipe, data, folder, device)
    components = _stored(folder, "sft", recipe, codec, device)
    export = _exporter(components, folder / "tf" / "model", folder / "model")
    return TeacherForcingStage(components, latents, recipe.stages["tf"], device, export)


def _dmd_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device) -> Stage:
    codec, latents = _latents(recipe, data, folder, device)
    components = _stored(folder, "tf", recipe, codec, device)
    teacher = load_transformer(folder / "sft" / "model" / "transformer").float().to(device)
    export = _exporter(components, folder / "dmd" / "model", folder / "model")
    return DmdStage(components, teacher, latents, recipe.stages["dmd"], device, export)
