"""The loop all stages share: steps, checkpoints, resume, averaging, pictures.

Randomness is a function of (seed, step) alone, so a resumed run draws what the unbroken one would have drawn, and
nothing of a generator's state needs saving.
"""

from __future__ import annotations

import json
import logging
import math
import time
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from quickchange.files import save_safetensors_atomic, write_text_atomic
from quickchange.train.config import StageConfig
from quickchange.train.optim import (
    Average,
    apply_gradients,
    make_optimizers,
    pack_optimizers,
    rate_factor,
    unpack_optimizers,
)
from quickchange.train.plots import draw_curves

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.safetensors"


class DivergedError(RuntimeError):
    """A loss became NaN or infinite."""


class Stage(ABC):
    """One training stage: owns modules and optimisers, knows how to make one step.

    Attributes:
        trained: modules that are optimised, averaged and checkpointed, by name.
        kept: further modules in the checkpoint, not averaged (a critic).
    """

    name: str

    def __init__(
        self, config: StageConfig, trained: dict[str, nn.Module], kept: dict[str, nn.Module] | None = None
    ) -> None:
        self.config, self.trained, self.kept = config, trained, kept or {}
        self.optimizers = make_optimizers(trained.values(), config)
        self.parameters = [p for module in trained.values() for p in module.parameters() if p.requires_grad]
        self.average = Average(trained, config.ema)

    def all_optimizers(self) -> list[torch.optim.Optimizer]:
        return self.optimizers

    @abstractmethod
    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Forward pass. ``loss`` is differentiated; other scalars are logged."""

    def update(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One optimiser step; returns detached scalars."""
        losses = self.losses(step, generator)
        losses["loss"].backward()
        norm = apply_gradients(self.optimizers, self.parameters, rate_factor(step, self.config))
        return {**{k: v.detach() for k, v in losses.items()}, "gradient_norm": norm.detach()}

    @abstractmethod
    def sample(self, path: Path) -> None:
        """Writes a picture of what the averaged weights do now."""

    @abstractmethod
    def finish(self) -> None:
        """Exports the result; averaged weights are live."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """The step's own source of randomness; also seeds torch's global one."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.Generator().manual_seed((seed * 7_368_787 + step * 2 + 1) % 2**63)


def save_checkpoint(stage: Stage, step: int, path: Path) -> None:
    # Cloned: tied weights (UMT5 embeddings) share memory, which safetensors refuses.
    modules = (stage.trained | stage.kept).items()
    tensors = {f"live.{n}.{k}": v.clone() for n, m in modules for k, v in m.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in stage.average.weights.items()}
    tensors |= pack_optimizers(stage.all_optimizers())
    save_safetensors_atomic(tensors, path, {"step": str(step), "stage": stage.name})


def load_checkpoint(stage: Stage, path: Path) -> int:
    """Restores a stage; returns the number of steps done.

    Raises:
        ValueError: the file belongs to another stage.
    """
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    if metadata.get("stage") != stage.name:
        raise ValueError(f"{path} is a checkpoint of stage {metadata.get('stage')!r}; expected {stage.name!r}")
    tensors = load_file(path)
    for name, module in (stage.trained | stage.kept).items():
        prefix = f"live.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for key, held in stage.average.weights.items():
        held.copy_(tensors[f"average.{key}"])
    unpack_optimizers(stage.all_optimizers(), tensors)
    return int(metadata["step"])


def train(stage: Stage, folder: Path, *, minutes: float | None = None, fresh: bool = False) -> bool:
    """Runs a stage to its end, or until ``minutes`` are over.

    Resumes from ``folder`` unless ``fresh``. Writes ``metrics.jsonl``, ``curves.png``, ``sample-*.png`` and the
    checkpoint there.

    Returns:
        Whether the stage is finished (and exported).

    Raises:
        DivergedError: a loss or a norm is not finite; the last checkpoint is left as it was.
    """
    config = stage.config
    folder.mkdir(parents=True, exist_ok=True)
    path, metrics = folder / CHECKPOINT, folder / "metrics.jsonl"
    start = 0
    if path.exists() and not fresh:
        start = load_checkpoint(stage, path)
        log.info("%s: resumed at step %d", stage.name, start)
        _truncate(metrics, start)
    else:
        path.unlink(missing_ok=True)
        metrics.write_text("")
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    done = start
    with (
        metrics.open("a", buffering=1) as out,
        tqdm(total=config.steps, initial=start, desc=stage.name, unit="step") as bar,
    ):
        for step in range(start, config.steps):
            values = {k: float(v) for k, v in stage.update(step, step_generator(config.seed, step)).items()}
            bad = {k: v for k, v in values.items() if not math.isfinite(v)}
            if bad:
                raise DivergedError(
                    f"{stage.name}: {bad} at step {step}; lower the learning rate and resume from {path}"
                )
            stage.average.update(step)
            done = step + 1
            out.write(json.dumps({"step": done, **values}) + "\n")
            bar.update()
            bar.set_postfix_str(f"loss {values['loss']:.4f}", refresh=False)
            if done % config.sample_every == 0 or done == config.steps:
                _picture(stage, folder / f"sample-{done:06d}.png")
            if done % config.save_every == 0 or done == config.steps:
                save_checkpoint(stage, done, path)
                out.flush()
                draw_curves(metrics, folder / "curves.png")
            if time.monotonic() > deadline:
                break
    if done < config.steps:
        save_checkpoint(stage, done, path)
        return False
    stage.average.swap()
    stage.finish()
    stage.average.swap()
    return True


def _picture(stage: Stage, path: Path) -> None:
    stage.average.swap()
    with torch.no_grad():
        stage.sample(path)
    stage.average.swap()


def _truncate(metrics: Path, steps: int) -> None:
    """Drops records of steps that were made after the checkpoint, and a line that a crash cut off."""
    kept = []
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        try:
            if json.loads(line)["step"] <= steps:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            log.warning("%s: dropped a broken line", metrics)
    write_text_atomic(metrics, "".join(kept))
