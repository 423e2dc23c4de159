"""What a run reports: ``metrics.jsonl`` and ``curves.png``, TensorBoard events and, if asked for, Weights & Biases.

Losses stay on the device until ``Log.flush``: reading one makes the host wait for the GPU, so they are read together,
every ``log_every`` steps and before every checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quickchange.errors import InputError
from quickchange.files import write_text_atomic
from quickchange.train import distributed
from quickchange.train.plots import draw_curves

log = logging.getLogger(__name__)


class NotFiniteError(ArithmeticError):
    """A logged value is NaN or infinite. ``step``: 0-based. ``values``: the step's bad ones."""

    def __init__(self, step: int, values: dict[str, float]) -> None:
        super().__init__(f"{values} at step {step}")
        self.step, self.values = step, values


def start_wandb(project: str, name: str, folder: Path) -> Any:
    """A Weights & Biases run; InputError where the package is missing."""
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise InputError("--wandb needs the package wandb; install it with: pip install wandb") from error
    return wandb.init(project=project, name=name, dir=str(folder))


def _events(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        log.warning("no TensorBoard events: tensorboard is missing; pip install 'quickchange[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)


class Log:
    """Collects the scalars of steps and hands them out.

    Args:
        folder: of the stage. start: steps already done; later records there are dropped.
        clips: per step, for the throughput. wandb: project of Weights & Biases.
    """

    def __init__(self, folder: Path, start: int, clips: int, wandb: str | None = None) -> None:
        self.metrics, self.clips = folder / "metrics.jsonl", clips
        self.waiting: list[tuple[int, dict[str, Tensor], float]] = []
        self.last: dict[str, float] = {}
        self.since = time.monotonic()
        self.writes = distributed.rank() == 0
        if self.writes:
            _truncate(self.metrics, start)
            self.out = self.metrics.open("a", buffering=1)
            self.events = _events(folder, start)
            self.wandb = start_wandb(wandb, f"{folder.parent.name}-{folder.name}", folder) if wandb else None

    def add(self, step: int, values: dict[str, Tensor], rate: float) -> None:
        """Keeps a step's scalars, on whatever device they are; ``rate`` is the step's learning rate."""
        self.waiting.append((step, values, rate))

    def flush(self) -> None:
        """Reads and writes what was kept, averaged over all processes.

        Raises:
            NotFiniteError: at the first step with a value that is not finite; earlier steps are written.
        """
        if not self.waiting:
            return
        flat = [value for _, values, _ in self.waiting for value in values.values()]
        numbers = distributed.mean(torch.stack([v.detach().double().to(flat[0].device) for v in flat])).tolist()
        took = max(time.monotonic() - self.since, 1e-9)
        throughput = {"clips_per_second": self.clips * len(self.waiting) / took}
        waiting, self.waiting = self.waiting, []
        for step, values, rate in waiting:
            row = {key: float(numbers.pop(0)) for key in values}
            bad = {key: value for key, value in row.items() if not math.isfinite(value)}
            if bad:
                raise NotFiniteError(step, bad)
            self.last = row
            if self.writes:
                self.out.write(json.dumps({"step": step + 1, **row}) + "\n")
                self._send(step + 1, {**row, "learning_rate": rate, **throughput})
        self.since = time.monotonic()

    def _send(self, step: int, row: dict[str, float]) -> None:
        if self.events is not None:
            for key, value in row.items():
                self.events.add_scalar(key, value, step)
        if self.wandb is not None:
            self.wandb.log(row, step=step)

    def picture(self, step: int, path: Path) -> None:
        """A sample sheet, as an image."""
        if self.writes and self.events is not None:
            with Image.open(path) as opened:
                self.events.add_image("samples", np.asarray(opened.convert("RGB")), step, dataformats="HWC")
        if self.writes and self.wandb is not None:
            import wandb

            self.wandb.log({"samples": wandb.Image(str(path))}, step=step)

    def curves(self) -> None:
        """Draws all scalars anew."""
        if self.writes:
            draw_curves(self.metrics, self.metrics.with_name("curves.png"))

    def resume_clock(self) -> None:
        """Leaves out of the throughput what was not training: pictures, checkpoints."""
        self.since = time.monotonic()

    def close(self) -> None:
        """Write what is open and close the files."""
        if self.writes:
            self.out.close()
            if self.events is not None:
                self.events.close()
            if self.wandb is not None:
                self.wandb.finish()


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
