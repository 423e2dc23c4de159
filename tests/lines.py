"""The smallest training stage: a matrix learns to reverse vectors. As a program: ``lines.py FOLDER [SECONDS]``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from quickchange.train.config import StageConfig
from quickchange.train.loop import train
from quickchange.train.stage import Stage


class Line(Stage):
    """Args: broken_at: step whose loss is not a number. pause: seconds that a step takes. settings: of StageConfig."""

    name = "line"
    divides = True

    def __init__(
        self, steps: int = 12, broken_at: int | None = None, muon: float = 0.0, pause: float = 0.0, **settings: Any
    ) -> None:
        torch.manual_seed(0)
        defaults = {"batch": 4, "learning_rate": 0.1, "warmup": 2, "save_every": 5, "sample_every": 100}
        config = StageConfig(steps=steps, muon=muon, **{**defaults, **settings})
        model = nn.Module()
        self.model = nn.Linear(3, 3)
        model.blocks = nn.ModuleList([self.model])
        super().__init__(config, {"model": model})
        self.broken_at, self.pause, self.exported = broken_at, pause, 0

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        time.sleep(self.pause)
        x = self.draw(torch.randn, (self.rows.stop - self.rows.start, 3), generator) + torch.rand(())
        loss = (self.model(x) - x.flip(1)).square().mean()
        return {"loss": loss * float("nan") if step == self.broken_at else loss}

    def sample(self, path: Path) -> None:
        Image.new("RGB", (4, 4)).save(path)

    def finish(self) -> None:
        self.exported += 1


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    train(Line(steps=40, pause=float((sys.argv[2:] or ["0"])[0]), log_every=1), Path(sys.argv[1]))
