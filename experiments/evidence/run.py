"""Trains and judges the variants that the method is compared with: docs/evidence.md, tables (b) to (e).

    quickchange world render --difficulty easy --size 48x64 --fps 24 --frames 33 --count 350 --out data/evidence
    python -m experiments.evidence.run --data data/evidence
    python -m experiments.evidence.run --seeds            # only gathers what there is

Every run of every training seed lies in ``--runs``; started again, it goes on where it stopped, and trusts what is
there: after a change of recipe, runs or judging, start with another ``--runs``. It writes ``benchmarks/evidence.json``
and ``.md`` from whatever is finished. Needs the extras train and bench.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from experiments.evidence.figures import as_markdown, clip_figures, columns_of, stream_figures, summarise
from experiments.quality_reward.degraded import conditioned_rollout
from quickchange.data.latents import to_float
from quickchange.engine.components import Components
from quickchange.evaluate.plots import strips_picture
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.record import commit
from quickchange.evaluate.types import Frames
from quickchange.files import atomic_path, write_json_atomic, write_text_atomic
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import WanTransformer
from quickchange.train.concat import ConcatTransformer
from quickchange.train.plots import save_sheet, to_uint8
from quickchange.train.run import LATENTS, run
from quickchange.train.sampling import sample_teacher
from quickchange.world import Clip, Renderer, render_clip, sample_spec

log = logging.getLogger("evidence")
Tables = dict[str, Any]
JUDGED = 64  # held-out seeds
CHUNKS = 6  # of judged streams: twice the clips that training has
BATCH = 16
SHEET_ROWS = 8
NAIVE = 1e6  # a temperature at which all chunks weigh the same: plain DMD


@dataclass(frozen=True)
class Run:
    """One stage to train. ``parts``: what of other runs' folders it needs, by run and name; ``init``: the run whose
    teacher it starts from; ``options``: of the stage's table; ``judge``: "teacher", "stream" or nothing;
    ``once``: for the first training seed only."""

    name: str
    stage: str
    parts: tuple[tuple[str, str], ...] = ()
    init: str | None = None
    options: Tables = field(default_factory=dict)
    judge: str | None = None
    once: bool = False


CODEC = (("codec", "codec"), ("base", LATENTS))  # the first to need latents makes them
STUDENT = (*CODEC, ("teacher", "sft"), ("forcing", "tf"))
FINE = {"steps": 250, "learning_rate": 1e-3}
RUNS = (
    Run("codec", "vae"),
    # What the pre-trained backbone is to the paper: an image-to-video model that knows nothing of garment images.
    Run("base", "sft", CODEC[:1], options={"pairs": "matched", "drop_garment": 0.9}, judge="teacher"),
    Run("teacher", "sft", CODEC, "base", FINE, "teacher"),
    Run("attention", "sft", CODEC, "base", FINE | {"tuning": "attention"}, "teacher"),
    Run("lora", "sft", CODEC, "base", FINE | {"tuning": "lora", "lora_rank": 16}, "teacher"),
    Run("concat", "sft", CODEC, "base", FINE | {"conditioning": "channel_concat"}, "teacher"),
    Run("matched", "sft", CODEC, "base", FINE | {"pairs": "matched"}, "teacher"),
    Run("forcing", "tf", (*CODEC, ("teacher", "sft")), judge="stream"),
    Run("dmd", "dmd", STUDENT, options={"tau": NAIVE}, judge="stream"),
    *(Run(f"gr-dmd-{tau}", "dmd", STUDENT, options={"tau": tau}, judge="stream") for tau in (0.2, 0.3, 0.4, 0.5)),
    # The paper's temperatures suit the scale of its reward. Ours differs by some .03 between chunks, where this tau
    # weighs the worst of three about 1.5 times. "long": rollouts of twice the clips' length, with more drift to weigh.
    Run("gr-dmd-0.02", "dmd", STUDENT, options={"tau": 0.02}, judge="stream", once=True),
    Run("dmd-long", "dmd", STUDENT, options={"tau": NAIVE, "chunks": CHUNKS}, judge="stream", once=True),
    Run("gr-dmd-0.02-long", "dmd", STUDENT, options={"tau": 0.02, "chunks": CHUNKS}, judge="stream", once=True),
)
STEPPED = "gr-dmd-0.2"  # the run that is also judged in fewer steps
STEPS = {"4": (1000.0, 750.0, 500.0, 250.0), "2": (1000.0, 500.0), "1": (1000.0,)}


def as_toml(tables: Tables) -> str:
    """TOML of nested tables whose values are numbers, texts, booleans and lists of them (JSON's form of these is
    TOML's too)."""

    def lines(table: Tables, path: str) -> Iterator[str]:
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        yield from ([f"[{path}]"] if path else [])
        yield from (f"{key} = {json.dumps(value)}" for key, value in table.items() if key not in inner)
        for key, value in inner.items():
            yield from lines(value, f"{path}.{key}" if path else key)

    return "\n".join(lines(tables, "")) + "\n"


def train(wanted: Run, config: Path, data: Path, root: Path, seed: int, device: str) -> Path:
    """Trains a run unless it is finished; returns its folder."""
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
    if run(wanted.stage, recipe, data, folder, device=device, init=init):
        marker.touch()
    return folder


def _share(source: Path, target: Path) -> None:
    """Another run's file or folder, without a second copy on the disk."""
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


@lru_cache(maxsize=2)
def held_out_clips(width: int, height: int, frames: int) -> tuple[Clip, ...]:
    """The judged clips, longer than any training clip, in one garment."""
    renderer = Renderer(width, height)
    seeds = tqdm(held_out_seeds(JUDGED), desc="render held-out clips", unit="clip", leave=False)
    return tuple(render_clip(renderer, sample_spec(seed, "easy"), frames=frames, fps=24) for seed in seeds)


def judged_clips(components: Components) -> tuple[tuple[Clip, ...], list[int]]:
    """Clips at a model's size, and where the chunks of its streams end."""
    stream, temporal = components.stream, components.codec.temporal
    ends = [1 + temporal * (stream.chunk * (i + 1) - 1) for i in range(CHUNKS)]
    return held_out_clips(stream.width, stream.height, ends[-1]), ends


@torch.no_grad()
def teacher_clips(components: Components, network: WanTransformer, clips: Sequence[Clip], latents: int) -> list[Frames]:
    """Clips that a bidirectional network makes from the conditions of ``clips``."""
    made: list[Frames] = []
    codec = components.codec
    for i in range(0, len(clips), BATCH):
        some = clips[i : i + BATCH]
        pair = [codec.encode(to_float(np.stack([x[None] for x in images]))).float()
                for images in ([c.reference for c in some], [c.garment for c in some])]  # fmt: skip
        words = [clip.prompt.dynamic for clip in some]
        x = sample_teacher(network, components, torch.cat(pair, 2), words, frames=latents, seed=i)
        made += [to_uint8(frames) for frames in codec.decode(x, codec.new_state())]
    return made


@torch.no_grad()
def streamed_clips(components: Components, clips: Sequence[Clip]) -> list[Frames]:
    """Streams of ``CHUNKS`` chunks from the conditions of ``clips``."""
    made: list[Frames] = []
    for i in range(0, len(clips), BATCH):
        rollout, codec = conditioned_rollout(components, clips[i : i + BATCH]), components.codec
        generator, state = torch.Generator().manual_seed(i), codec.new_state()
        chunks = [codec.decode(rollout.chunk(generator), state) for _ in range(CHUNKS)]
        made += [to_uint8(frames) for frames in torch.cat(chunks, 2)]
    return made


def stream_columns(components: Components, sheet: Path) -> Tables:
    """``chunk-N.figure`` per held-out seed."""
    clips, ends = judged_clips(components)
    made = streamed_clips(components, clips)
    _sheet(clips, made, sheet)
    rows = [stream_figures(clip, frames, ends) for clip, frames in zip(clips, made, strict=True)]
    chunks = [columns_of([None if row is None else row[i] for row in rows]) for i in range(CHUNKS)]
    found = {f"chunk-{i + 1}.{name}": list(column) for i, chunk in enumerate(chunks) for name, column in chunk.items()}
    first = [clip_figures(clip, frames[: ends[0]]) for clip, frames in zip(clips, made, strict=True)]
    return found | {name: list(column) for name, column in columns_of(first).items()}


def teacher_columns(wanted: Run, folder: Path, sheet: Path) -> Tables:
    """``clip_figures`` per held-out seed."""
    if "conditioning" in wanted.options:  # no stream's network, so its directory does not open as one
        components = _components(folder.parent / "base", wanted.stage)
        components.prompts = PromptEncoder.from_pretrained(folder / "sft" / "model")
        network: WanTransformer = ConcatTransformer.from_pretrained(folder / "sft" / "model" / "transformer")
    else:
        components = _components(folder, wanted.stage)
        network = components.transformer
    clips, _ = judged_clips(components)
    latents = 3 * components.stream.chunk
    made = teacher_clips(components, network, clips, latents)
    _sheet(clips, made, sheet)
    return {name: list(column) for name, column in columns_of(list(map(clip_figures, clips, made))).items()}


def _sheet(clips: Sequence[Clip], made: Sequence[Frames], path: Path, shown: int = SHEET_ROWS) -> None:
    """Per row: reference, garment, five frames made, five frames of truth."""
    rows = []
    for clip, frames in list(zip(clips, made, strict=True))[:shown]:
        picks = np.linspace(0, len(frames) - 1, 5).round().astype(int)
        rows.append([clip.reference, clip.garment, *frames[picks], *clip.frames[picks]])
    save_sheet(rows, path)


def once(path: Path, find: Callable[[], Tables]) -> None:
    """Keeps what is found in the file, unless it is there already."""
    if not path.is_file():
        values = {name: [None if np.isnan(x) else round(float(x), 4) for x in row] for name, row in find().items()}
        write_json_atomic(path, values)


def _components(folder: Path, stage: str) -> Components:
    components = Components.from_pretrained(folder / stage / "model")
    components.transformer.float().eval().requires_grad_(False)
    return components


def judge(wanted: Run, folder: Path) -> None:
    """Puts a finished run's figures per held-out seed beside it."""
    sheet = folder / "judged.png"
    if wanted.judge == "teacher":
        once(folder / "judged.json", lambda: teacher_columns(wanted, folder, sheet))
    elif wanted.judge == "stream":
        once(folder / "judged.json", lambda: stream_columns(_components(folder, wanted.stage), sheet))


def step_variants(model: Components, folder: Path) -> None:
    """Judges a student in fewer denoising steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, timesteps in STEPS.items():
        fewer = replace(model, stream=replace(model.stream, timesteps=timesteps))
        path = folder / f"steps-{name}.json"
        once(path, lambda c=fewer, p=path: stream_columns(c, p.with_suffix(".png")))  # type: ignore[misc]


def picture(root: Path, kind: str, path: Path, people: Sequence[int] = (1, 3)) -> None:
    """Two held-out people as every run of one training seed shows them, beside the truth."""
    strips = []
    for person in people:
        for wanted in RUNS:
            sheet = root / wanted.name / "judged.png"
            if wanted.judge == kind and sheet.is_file():
                rows = np.asarray(Image.open(sheet).convert("RGB"))
                row = rows[person * rows.shape[0] // SHEET_ROWS :][: rows.shape[0] // SHEET_ROWS]
                strips.append((wanted.name, row))
    if strips:
        titles = {0: "reference", 1: "garment", 2: "generated", 7: "truth"}
        with atomic_path(path) as temporary:
            temporary.write_bytes(strips_picture(strips, titles, columns=12))


def columns_from(stored: Tables) -> dict[str, list[float]]:
    """JSON's null as nan."""
    return {name: [np.nan if x is None else x for x in column] for name, column in stored.items()}


def gather(runs: Path, model: str) -> dict[str, list[Tables]]:
    """What has been judged, by run, of all training seeds; the model's own figures last."""
    found: dict[str, list[Tables]] = {}
    for root in sorted(runs.glob("seed-*")):
        paths = [(wanted.name, root / wanted.name / "judged.json") for wanted in RUNS]
        paths += [(f"{STEPPED}, {steps} steps", root / STEPPED / "steps" / f"steps-{steps}.json") for steps in STEPS]
        for name, path in paths:
            if path.is_file():
                found.setdefault(name, []).append(json.loads(path.read_text(encoding="utf-8")))
    for steps in STEPS:
        path = runs / model / f"steps-{steps}.json"
        if path.is_file():
            found[f"{model}, {steps} steps"] = [json.loads(path.read_text(encoding="utf-8"))]
    return found


def report(runs: Path, model: str, out: Path) -> None:
    """Writes what there is so far."""
    results = gather(runs, model)
    if results:
        data = summarise({name: [columns_from(seed) for seed in seeds] for name, seeds in results.items()})
        about = {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "torch": torch.__version__}
        write_json_atomic(out / "evidence.json", about | {"judged": held_out_seeds(JUDGED), "runs": data})
        write_text_atomic(out / "evidence.md", as_markdown(data, (1, CHUNKS // 2, CHUNKS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/evidence.toml"))
    parser.add_argument("--data", type=Path, default=Path("data/evidence"))
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="for the number of steps, beside ours")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="training seeds; none: report only")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--pictures", type=Path, default=Path("docs"))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    jobs = [(seed, wanted) for seed in args.seeds for wanted in RUNS if seed == 0 or not wanted.once]
    bar = tqdm(jobs, desc="evidence", unit="run")
    for seed, wanted in bar:
        bar.set_postfix_str(f"{wanted.name}, seed {seed}")
        folder = train(wanted, args.config, args.data, args.runs / f"seed-{seed}", seed, args.device)
        judge(wanted, folder)
        if wanted.name == STEPPED:
            step_variants(_components(folder, wanted.stage), folder / "steps")
    if args.seeds:
        mini = Components.from_pretrained(args.model)
        mini.transformer.float().eval().requires_grad_(False)
        step_variants(mini, args.runs / args.model.name)
    report(args.runs, args.model.name, args.out)
    for kind in ("teacher", "stream"):
        picture(args.runs / "seed-0", kind, args.pictures / f"evidence-{kind}s.jpg")


if __name__ == "__main__":
    main()
