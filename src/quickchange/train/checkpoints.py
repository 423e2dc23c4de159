"""Checkpoints: one safetensors file per saved step, complete or absent, readable by any number of processes.

``checkpoint-000500.safetensors`` holds live weights, averaged weights and optimiser state; its metadata holds the
step, the stage and the recipe. Random numbers and data order are functions of (seed, step), so nothing else is needed
to continue with the same bits.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from quickchange.errors import CheckpointError
from quickchange.files import save_safetensors_atomic
from quickchange.train import distributed
from quickchange.train.optim import pack_optimizers, unpack_optimizers
from quickchange.train.stage import Stage

# Changing these does not make another experiment of a run: how long, how often, and in how many pieces.
HARMLESS = frozenset(
    f"stage.{name}"
    for name in ("steps", "sample_every", "save_every", "log_every", "keep", "accumulate", "checkpointing")
)


def metadata(path: Path) -> dict[str, str]:
    """The values stored beside the tensors: ``step``, ``stage`` and ``recipe`` (JSON)."""
    with safe_open(path, "pt") as opened:
        return dict(opened.metadata())


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a stage's folder, oldest step first."""
    numbered = ((re.fullmatch(r"checkpoint-(\d+)\.safetensors", p.name), p) for p in folder.glob("checkpoint-*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]


def latest(folder: Path) -> Path | None:
    """The checkpoint of the greatest step, if there is one."""
    return next(iter(reversed(checkpoints(folder))), None)


def recorded_recipe(path: Path) -> dict[str, Any]:
    """The recipe that a checkpoint was made with.

    Raises:
        CheckpointError: the file records no recipe.
    """
    text = metadata(path).get("recipe")
    if text is None:
        raise CheckpointError(f"{path} records no recipe; it is no checkpoint of this version: start over with --fresh")
    recipe: dict[str, Any] = json.loads(text)
    return recipe


def _flat(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else key).items()}
    return {name: value}


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Differences between two recipes that matter, as ``name: old -> new``.

    A setting that only one of them has counts if it is an option of the stage; others came with a newer version.
    """
    a, b = (_flat(json.loads(json.dumps(recipe)), "") for recipe in (before, now))
    names = [n for n in sorted(a.keys() | b.keys()) if (n in a and n in b) or n.startswith("stage.options.")]
    differ = [n for n in names if a.get(n) != b.get(n) and n not in HARMLESS]
    return [f"{n}: {a.get(n, 'absent')} -> {b.get(n, 'absent')}" for n in differ]


def save_checkpoint(stage: Stage, step: int, folder: Path) -> Path:
    """Writes the stage after ``step`` steps, then deletes all but the newest ``keep`` checkpoints.

    With several processes all must call it; the first one writes.
    """
    path = folder / f"checkpoint-{step:06d}.safetensors"
    first = distributed.rank() == 0
    tensors: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        whole = distributed.full(value)
        if first:  # cloned: tied weights (UMT5 embeddings) share memory, which safetensors refuses
            tensors[name] = whole.to("cpu", copy=True)

    for name, module in (stage.trained | stage.kept).items():
        for key, value in module.state_dict().items():
            add(f"live.{name}.{key}", value)
    for key, value in stage.average.weights.items():
        add(f"average.{key}", value)
    for key, value in pack_optimizers(stage.all_optimizers()).items():
        add(key, value)
    if first:
        recipe = json.dumps(stage.recipe)
        save_safetensors_atomic(tensors, path, {"step": str(step), "stage": stage.name, "recipe": recipe})
        for old in checkpoints(folder)[: -stage.config.keep]:
            old.unlink()
    distributed.barrier()
    return path


def _restore(held: Tensor, tensors: safe_open, name: str, path: Path) -> None:
    stored = tensors.get_slice(name).get_shape() if name in tensors.keys() else None  # noqa: SIM118
    if stored != list(held.shape):
        raise CheckpointError(
            f"{path} holds {name} as {stored}; expected {list(held.shape)}: the recipe's sizes are others; "
            "take them back, or start over with --fresh"
        )
    distributed.local(held).copy_(distributed.local(distributed.like(tensors.get_tensor(name), held)))


def load_checkpoint(stage: Stage, path: Path) -> int:
    """Restores a stage; returns the number of steps done.

    Raises:
        CheckpointError: the file belongs to another stage, or to another recipe; names what changed.
    """
    about = metadata(path)
    if about.get("stage") != stage.name:
        raise CheckpointError(f"{path} is a checkpoint of stage {about.get('stage')!r}; expected {stage.name!r}")
    recipe = recorded_recipe(path)
    changed = changes(recipe, stage.recipe)
    if changed:
        raise CheckpointError(
            f"{path} was made with another recipe ({'; '.join(changed)}); take these back, or start over with --fresh"
        )
    with safe_open(path, "pt") as tensors, torch.no_grad():
        for name, module in (stage.trained | stage.kept).items():
            for key, held in module.state_dict().items():
                _restore(held, tensors, f"live.{name}.{key}", path)
        for key, held in stage.average.weights.items():
            _restore(held, tensors, f"average.{key}", path)
        unpack_optimizers(stage.all_optimizers(), tensors)
    return int(about["step"])
