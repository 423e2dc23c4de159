"""The runs that the evidence compares, and how one is trained."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.evidence.concat import ConcatTeacherStage
from quickchange.files import write_text_atomic
from quickchange.train.inputs import LATENTS
from quickchange.train.run import run
from quickchange.train.stage import Stage

Tables = dict[str, Any]
Shown = Literal["clips", "stream"]  # clips that a bidirectional teacher makes, or streams of a causal student
CHUNKS = 6  # of the streams that are measured: twice the length of training clips
NAIVE = 1e6  # a temperature at which all chunks weigh the same: plain DMD


@dataclass(frozen=True)
class Run:
    """One stage to train.

    Attributes:
        name: of the run.
        stage: of training.
        parts: what it needs from the folders of other runs, as (run, name).
        init: the run whose teacher it starts from.
        options: of the stage's table in the recipe.
        shows: what its figures are taken from; None for a run without figures.
        once: train it for the first training seed only.
        kind: variant of the stage; None for the library's own.
    """

    name: str
    stage: str
    parts: tuple[tuple[str, str], ...] = ()
    init: str | None = None
    options: Tables = field(default_factory=dict)
    shows: Shown | None = None
    once: bool = False
    kind: type[Stage] | None = None


CODEC = (("codec", "codec"), ("base", LATENTS))  # the first to need latents makes them
STUDENT = (*CODEC, ("teacher", "sft"), ("forcing", "tf"))
FINE = {"steps": 250, "learning_rate": 1e-3}
RUNS = (
    Run("codec", "vae"),
    # What the pre-trained backbone is to the paper: an image-to-video model that knows nothing of garment images.
    Run("base", "sft", CODEC[:1], options={"pairs": "matched", "drop_garment": 0.9}, shows="clips"),
    Run("teacher", "sft", CODEC, "base", FINE, "clips"),
    Run("attention", "sft", CODEC, "base", FINE | {"tuning": "attention"}, "clips"),
    Run("lora", "sft", CODEC, "base", FINE | {"tuning": "lora", "lora_rank": 16}, "clips"),
    Run("concat", "sft", CODEC, "base", FINE, "clips", kind=ConcatTeacherStage),
    Run("matched", "sft", CODEC, "base", FINE | {"pairs": "matched"}, "clips"),
    Run("forcing", "tf", (*CODEC, ("teacher", "sft")), shows="stream"),
    Run("dmd", "dmd", STUDENT, options={"tau": NAIVE}, shows="stream"),
    *(Run(f"gr-dmd-{tau}", "dmd", STUDENT, options={"tau": tau}, shows="stream") for tau in (0.2, 0.3, 0.4, 0.5)),
    # The paper's temperatures suit the scale of its reward. Ours differs by some .03 between chunks, where this tau
    # weighs the worst of three about 1.5 times. "long": rollouts of twice the clips' length, with more drift to weigh.
    Run("gr-dmd-0.02", "dmd", STUDENT, options={"tau": 0.02}, shows="stream", once=True),
    Run("dmd-long", "dmd", STUDENT, options={"tau": NAIVE, "chunks": CHUNKS}, shows="stream", once=True),
    Run("gr-dmd-0.02-long", "dmd", STUDENT, options={"tau": 0.02, "chunks": CHUNKS}, shows="stream", once=True),
)
STEPPED = "gr-dmd-0.2"  # the run that is also measured in fewer steps
STEPS = {"4": (1000.0, 750.0, 500.0, 250.0), "2": (1000.0, 500.0), "1": (1000.0,)}


def as_toml(tables: Tables) -> str:
    """Write nested tables as TOML.

    Values are numbers, texts, booleans and lists of them, which JSON and TOML write alike.
    """

    def lines(table: Tables, path: str) -> Iterator[str]:
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        yield from ([f"[{path}]"] if path else [])
        yield from (f"{key} = {json.dumps(value)}" for key, value in table.items() if key not in inner)
        for key, value in inner.items():
            yield from lines(value, f"{path}.{key}" if path else key)

    return "\n".join(lines(tables, "")) + "\n"


def train(wanted: Run, config: Path, data: Path, root: Path, seed: int, device: str) -> Path:
    """Train a run unless it is finished.

    Args:
        wanted: the run.
        config: recipe of all stages, TOML.
        data: folder of training shards.
        root: folder of all runs of this training seed.
        seed: training seed.
        device: torch device.

    Returns:
        The run's folder.
    """
    folder = root / wanted.name
    marker = folder / "finished"
    if marker.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in wanted.parts:
        _share(root / source / name, folder / name)
    tables = tomllib.loads(config.read_text(encoding="utf-8"))
    tables["stages"][wanted.stage] |= wanted.options | {"seed": seed}
    recipe = folder / "recipe.toml"
    write_text_atomic(recipe, as_toml(tables))
    init = root / wanted.init / "sft" / "model" if wanted.init else None
    if run(wanted.stage, recipe, data, folder, device=device, init=init, kind=wanted.kind):
        marker.touch()
    return folder


def _share(source: Path, target: Path) -> None:
    """Link another run's file or folder, without a second copy on the disk."""
    if target.exists():
        return
    half = target.with_name(f".{target.name}.half")  # so that a folder is whole or absent
    if source.is_dir():
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(source, half, copy_function=os.link)
    else:
        half.unlink(missing_ok=True)
        os.link(source, half)
    half.rename(target)
