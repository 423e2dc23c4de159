"""One stage of a run, by name: built, trained, resumed where it stopped."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from quickchange.engine.threads import ThreadTuner, typical_work
from quickchange.errors import ModelNotFoundError
from quickchange.train import distributed, stage_class
from quickchange.train.checkpoints import latest, recorded_recipe
from quickchange.train.inputs import Inputs
from quickchange.train.loop import train
from quickchange.train.stage import Stage


def run(
    stage: str,
    recipe_path: Path,
    data: Path,
    folder: Path,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    fresh: bool = False,
    init: Path | None = None,
    wandb: str | None = None,
    threads: int | None = None,
    kind: type[Stage] | None = None,
) -> bool:
    """Trains one stage, resuming where it stopped.

    Args:
        stage: one of ``STAGES``; names its table in the recipe and its folder in the run.
        recipe_path: TOML recipe.
        data: folder of shards, or of real triplets.
        folder: run folder.
        device: torch device.
        minutes: stop and checkpoint after this time.
        fresh: ignore an earlier checkpoint.
        init: model directory whose weights the stage starts from: ``vae`` its codec, the others its transformer and
            text encoder (in place of an earlier stage's). Without a codec in ``folder``, its codec is used as it is.
            Recorded in checkpoints: a resumed run need not name it again.
        wandb: project of Weights & Biases.
        kind: variant of the stage's class; default: the registered one.
        threads: CPU threads; None lets their number follow the machine, so that a rerun may differ in its last bits.

    Returns:
        Whether the stage is finished.

    Raises:
        RecipeError: unknown stage or bad recipe.
        CheckpointError: an earlier checkpoint contradicts the recipe.
        ModelNotFoundError: an earlier stage's result is missing.
        FileNotFoundError: the data is missing.
    """
    kind = kind or stage_class(stage)
    if init is not None and not init.is_dir():
        raise ModelNotFoundError(f"{init} not found; expected a model directory to start from")
    chosen = distributed.start(device)
    if distributed.rank() > 0:
        logging.getLogger("quickchange").setLevel(logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        start = init or _recorded_init(folder / stage, fresh)
        built = kind.build(Inputs(stage, recipe_path, data, folder, chosen, start))
        took = None
        if threads is not None:
            torch.set_num_threads(threads)
        elif chosen.type == "cpu" and distributed.size() == 1:
            tuner = ThreadTuner(typical_work())
            tuner.tune()
            took = tuner.took
        return train(built, folder / stage, minutes=minutes, fresh=fresh, wandb=wandb, took=took)
    finally:
        distributed.stop()


def _recorded_init(folder: Path, fresh: bool) -> Path | None:
    found = None if fresh else latest(folder)
    recipe = recorded_recipe(found) if found else None
    return Path(recipe["init"]) if recipe and recipe.get("init") else None
