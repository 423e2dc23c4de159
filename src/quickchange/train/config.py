"""A training recipe as data: one TOML file, one frozen dataclass per table."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quickchange.engine.components import StreamConfig
from quickchange.errors import RecipeError
from quickchange.model.codec import LightCodecConfig
from quickchange.model.transformer import TransformerConfig
from quickchange.parsing.network import ParserConfig
from quickchange.train import stage_class
from quickchange.train.options import Options


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The tiny UMT5 encoder and its tokenizer."""

    dim: int = 128
    layers: int = 2
    heads: int = 4
    vocab: int = 512
    max_tokens: int = 48


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One training stage. Rates are peak values; the schedule is warm-up, constant or in steps, linear decay.

    Attributes:
        steps: optimiser steps. decay: last part of ``steps`` over which the rate falls to zero, in [0, 1].
        milestones: (step, factor) pairs in rising order: from that step on, the rate is ``factor`` times its peak.
            The paper's teacher: ``decay = 0``, ``milestones = [[1100, 0.5]]``.
        batch: clips per step, over all processes. accumulate: pieces in which a process computes its share of them.
        checkpointing: forget activations inside blocks and compute them again (memory for time).
        precision: "bf16" (autocast; weights stay float32) or "fp32".
        learning_rate: of AdamW. muon: rate of Muon on the blocks' matrices; 0 for AdamW only.
        clip: greatest norm of a step's gradient; larger ones are scaled down.
        ema: decay of the averaged weights. ema_start: step from which on they are averaged; before it the average is
            the live weights. ema_ramp: reach the decay gradually.
        sample_every, save_every, log_every: steps between sample sheets, checkpoints, readings of the losses.
        keep: newest checkpoints that stay.
        options: settings that only this stage knows: its ``Options``.
    """

    steps: int
    batch: int
    learning_rate: float
    muon: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 20
    decay: float = 0.5
    milestones: tuple[tuple[int, float], ...] = ()
    accumulate: int = 1
    checkpointing: bool = False
    precision: str = "bf16"
    ema: float = 0.993
    ema_start: int = 0
    ema_ramp: bool = True
    clip: float = 1.0
    seed: int = 0
    sample_every: int = 200
    save_every: int = 100
    log_every: int = 10
    keep: int = 2
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "sample_every", "save_every", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.learning_rate <= 0 or self.muon < 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, muon {self.muon}; expected positive rates")
        if not 0 <= self.ema < 1 or self.ema_start < 0:
            raise ValueError(f"ema is {self.ema}, ema_start {self.ema_start}; expected 0 <= ema < 1 and a step")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision is {self.precision!r}; expected 'bf16' or 'fp32'")
        if self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; expected a positive norm, e.g. 1.0")
        self._check_milestones()

    def _check_milestones(self) -> None:
        try:
            pairs = tuple((int(step), float(factor)) for step, factor in self.milestones)
        except (TypeError, ValueError) as error:
            raise ValueError(f"milestones is {self.milestones!r}; expected pairs such as [[1100, 0.5]]") from error
        steps = [step for step, _ in pairs]
        if steps != sorted(set(steps)) or any(step < 1 or factor <= 0 for step, factor in pairs):
            raise ValueError(f"milestones is {list(pairs)}; expected steps of 1 or more, rising, and positive factors")
        object.__setattr__(self, "milestones", pairs)


@dataclass(frozen=True, kw_only=True)
class TripletConfig:
    """Preparation of real triplets as clips (the world's shards come as they are); table [triplets].

    Attributes:
        frames: of a clip at the stream's rate, 1 + 4 n; the latents (1 + n) should be whole chunks.
        buckets: crop to the best of several sizes of about the stream's area; otherwise, and where the transformer
            has a fixed ``grid``, to the stream's size.
    """

    frames: int = 81
    buckets: bool = True


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole file. ``transformer.in_channels`` etc. follow the codec; see ``read_recipe``."""

    stream: StreamConfig
    codec: LightCodecConfig
    transformer: TransformerConfig
    text: TextConfig
    stages: dict[str, StageConfig]
    triplets: TripletConfig = TripletConfig()


def _build(kind: Any, table: dict[str, Any], where: str) -> Any:
    names = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(table) - names)
    if unknown:
        raise RecipeError(f"[{where}] has unknown keys {unknown}; expected some of {sorted(names)}")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"[{where}] {error}") from error


def _tables(path: Path | str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error


def _stages(tables: dict[str, Any]) -> dict[str, StageConfig]:
    shared = {f.name for f in dataclasses.fields(StageConfig)} - {"options"}
    stages = {}
    for name, table in tables.get("stages", {}).items():
        known = {k: v for k, v in table.items() if k in shared}
        kind = stage_class(name).Options
        own = {f.name for f in dataclasses.fields(kind)}
        unknown = sorted(set(table) - shared - own)
        if unknown:
            expected = sorted(shared | own)
            raise RecipeError(f"[stages.{name}] has unknown settings {unknown}; expected some of {expected}")
        try:
            options = kind.from_dict({k: v for k, v in table.items() if k in own})
        except ValueError as error:
            raise RecipeError(f"[stages.{name}] {error}") from error
        stages[name] = _build(StageConfig, {**known, "options": options}, f"stages.{name}")
    return stages


def read_parser_recipe(path: Path | str) -> tuple[ParserConfig, StageConfig]:
    """Reads the recipe of the parser, which shares nothing with the video model: [parser] and [stages.parser].

    Raises:
        RecipeError: as ``read_recipe``.
    """
    tables = _tables(path)
    stages = _stages(tables)
    if "parser" not in stages:
        raise RecipeError(f"{path} has no [stages.parser] table")
    return _build(ParserConfig, tables.get("parser", {}), "parser"), stages["parser"]


def read_recipe(path: Path | str) -> Recipe:
    """Reads a recipe.

    Raises:
        RecipeError: not TOML, an unknown or missing table or key, or a value out of range; names it.
    """
    tables = _tables(path)
    for name in ("stream", "codec", "transformer", "text"):
        if name not in tables:
            raise RecipeError(f"{path} has no [{name}] table")
    codec = _build(LightCodecConfig, tables["codec"], "codec")
    stream = _build(StreamConfig, tables["stream"], "stream")
    text = _build(TextConfig, tables["text"], "text")
    size = {
        "in_channels": codec.latent_channels,
        "out_channels": codec.latent_channels,
        "text_dim": text.dim,
    }
    transformer = _build(TransformerConfig, {**tables["transformer"], **size}, "transformer")
    return Recipe(
        stream=stream,
        codec=codec,
        transformer=transformer,
        text=text,
        stages=_stages(tables),
        triplets=_build(TripletConfig, tables.get("triplets", {}), "triplets"),
    )
