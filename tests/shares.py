"""Every stage of the transformer at tiny size, as one process or one of several: ``python shares.py FOLDER STEPS ...``.

Several pairs of FOLDER and STEPS are trained one after another; a folder that holds checkpoints is resumed. Compared
between numbers of processes by tests/train/test_distributed.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from experiments.evidence.concat import ConcatTeacherStage

import tiny
from quickchange.data.latents import Latents
from quickchange.train import distributed, logs
from quickchange.train.config import StageConfig
from quickchange.train.inputs import exporter
from quickchange.train.loop import train
from quickchange.train.stage import Stage
from quickchange.train.stages.dmd import DmdStage
from quickchange.train.stages.sft import TeacherStage
from quickchange.train.stages.teacher_forcing import TeacherForcingStage

STAGES: dict[str, Any] = {"concat": ConcatTeacherStage, "tf": TeacherForcingStage, "dmd": DmdStage}
CPU = torch.device("cpu")
OPTIONS: dict[str, dict[str, Any]] = {
    "sft": {},
    "muon": {"muon": 1e-3},
    "concat": {},
    "tf": {"options": TeacherForcingStage.Options(own_history=0.5, few_step_share=0.5)},
    "dmd": {"options": DmdStage.Options(critic_ratio=2)},
}


def latents(count: int = 8) -> Latents:
    """Noise of the size of the tiny model's latents: two chunks."""
    generator = torch.Generator().manual_seed(5)

    def noise(frames: int) -> torch.Tensor:
        return torch.randn((count, 4, frames, tiny.HEIGHT // 8, tiny.WIDTH // 8), generator=generator).half()

    prompts = [(tiny.CORPUS[i % 2], tiny.CORPUS[2]) for i in range(count)]
    return Latents(noise(6), noise(1), noise(1), noise(1), prompts)


def stage(name: str, folder: Path, steps: int, **settings: Any) -> Stage:
    """A stage of the tiny model; the same weights in every process."""
    parts = tiny.components()
    parts.transformer.requires_grad_(True)
    parts.prompts.module.requires_grad_(True)
    defaults = {"batch": 4, "learning_rate": 1e-3, "precision": "fp32", "decay": 0.0}
    defaults |= {"sample_every": 100, "save_every": 1}
    kind = STAGES.get(name, TeacherStage)
    config = StageConfig(steps=steps, **{"options": kind.Options(), **defaults, **OPTIONS[name], **settings})
    export = exporter(parts, folder / "model")
    if name == "tf":
        return TeacherForcingStage(parts, latents(), config, CPU, export)
    if name == "dmd":
        return DmdStage(parts, tiny.components().transformer, latents(), config, CPU, export)
    return kind(parts, latents(), config, CPU, export)


def forbid_writing(folder: Path) -> None:
    """From here on this process fails when it opens a file in or below ``folder`` for writing."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes and Path(arguments[0]).resolve().is_relative_to(folder):
            raise PermissionError(f"process {distributed.rank()} writes {arguments[0]}")

    sys.addaudithook(watch)


def leave_out_curves(assign: Callable[[Any, str, Any], None] = setattr) -> None:
    """Drawing curves takes a quarter of the time here and is the same in any number of processes."""
    assign(logs, "draw_curves", lambda metrics, out: None)


def main(arguments: list[str]) -> None:
    """Trains all stages; ``arguments`` are pairs of a folder and a number of steps."""
    torch.set_num_threads(1)
    leave_out_curves()
    distributed.start("cpu")
    for root, steps in zip(map(Path, arguments[::2]), map(int, arguments[1::2]), strict=True):
        if distributed.rank() > 0:
            forbid_writing(root.resolve())
        for chosen in OPTIONS:
            train(stage(chosen, root / chosen, steps), root / chosen)
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
