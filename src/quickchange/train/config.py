"""A training recipe as data: one TOML file, one frozen dataclass per table."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quickchange.components import StreamConfig
from quickchange.model.codec import LightCodecConfig
from quickchange.model.transformer import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The tiny UMT5 encoder and its tokenizer."""

    dim: int = 128
    layers: int = 2
    heads: int = 4
    vocab: int = 512
    max_tokens: int = 48


# What single stages know, see their docstrings. One list, so that a misspelt name is not silently without effect.
OPTIONS = frozenset(
    [
        *("frames", "noise"),
        *("drop", "static_share", "worn_share", "reference_noise"),
        *("copies", "history_noise", "own_history", "few_step_share"),
        *("critic_rate", "critic_ratio", "guidance", "tau"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One training stage. Rates are peak values; the schedule is warm-up, constant, linear decay.

    Attributes:
        steps: optimiser steps. decay: last part of ``steps`` over which the rate falls to zero, in [0, 1].
        batch: clips per step. learning_rate: of AdamW. muon: rate of Muon on the blocks' matrices; 0 for AdamW only.
        ema: decay of the averaged weights, reached gradually.
        sample_every, save_every: steps between sample sheets and checkpoints.
        options: settings that only this stage knows.
    """

    steps: int
    batch: int
    learning_rate: float
    muon: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 20
    decay: float = 0.5
    ema: float = 0.993
    seed: int = 0
    sample_every: int = 200
    save_every: int = 100
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "sample_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.learning_rate <= 0 or self.muon < 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, muon {self.muon}; expected positive rates")
        unknown = sorted(set(self.options) - OPTIONS)
        if unknown:
            raise ValueError(
                f"unknown settings {unknown}; expected some of {sorted(OPTIONS)} or of a stage's own fields"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole file. ``transformer.in_channels`` etc. follow the codec; see ``read_recipe``."""

    stream: StreamConfig
    codec: LightCodecConfig
    transformer: TransformerConfig
    text: TextConfig
    stages: dict[str, StageConfig]


def _build(kind: Any, table: dict[str, Any], where: str) -> Any:
    names = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(table) - names)
    if unknown:
        raise ValueError(f"[{where}] has unknown keys {unknown}; expected some of {sorted(names)}")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    except TypeError as error:
        raise ValueError(f"[{where}] {error}") from error


def read_recipe(path: Path | str) -> Recipe:
    """Reads a recipe.

    Raises:
        ValueError: not TOML, an unknown or missing table or key, or a value out of range; names it.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    for name in ("stream", "codec", "transformer", "text"):
        if name not in tables:
            raise ValueError(f"{path} has no [{name}] table")
    codec = _build(LightCodecConfig, tables["codec"], "codec")
    stream = _build(StreamConfig, tables["stream"], "stream")
    text = _build(TextConfig, tables["text"], "text")
    size = {
        "in_channels": codec.latent_channels,
        "out_channels": codec.latent_channels,
        "text_dim": text.dim,
    }
    transformer = _build(TransformerConfig, {**tables["transformer"], **size}, "transformer")
    shared = {f.name for f in dataclasses.fields(StageConfig)}
    stages = {}
    for name, table in tables.get("stages", {}).items():
        known = {k: v for k, v in table.items() if k in shared}
        options = {k: v for k, v in table.items() if k not in shared}
        stages[name] = _build(StageConfig, {**known, "options": options}, f"stages.{name}")
    return Recipe(
        stream=stream,
        codec=codec,
        transformer=transformer,
        text=text,
        stages=stages,
    )
