"""Train and measure the variants that the method is compared with: docs/evidence.md, tables (b) to (e).

    quickchange world render --difficulty easy --size 48x64 --fps 24 --frames 33 --count 350 --out data/evidence
    python -m experiments.evidence.run --data data/evidence
    python -m experiments.evidence.run --seeds            # only reports the figures there are

Every run of every training seed has a folder below ``--runs``. Started again, the command continues where it stopped.
It does not check finished runs: after a change of recipes, runs or figures, start with another ``--runs``. It writes
``benchmarks/evidence.json`` and ``.md`` from the runs that are finished. Needs the extras train and bench.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from experiments.evidence.figures import as_markdown, summarise
from experiments.evidence.measure import FIGURES, SEEDS, SHEET, SHEET_ROWS, measure, measure_steps, open_model
from experiments.evidence.runs import CHUNKS, RUNS, STEPPED, STEPS, Shown, Tables, train
from quickchange.evaluate.plots import strips_picture
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.record import commit
from quickchange.files import atomic_path, write_json_atomic, write_text_atomic


def picture(root: Path, kind: Shown, path: Path, people: Sequence[int] = (1, 3)) -> None:
    """Draw two held-out people as every run of one training seed shows them, beside the truth.

    Args:
        root: folder of all runs of that seed.
        kind: which runs.
        path: of the picture; not written where no run of that kind is finished.
        people: rows of the sheets.
    """
    strips = []
    for person in people:
        for wanted in RUNS:
            sheet = root / wanted.name / SHEET
            if wanted.shows == kind and sheet.is_file():
                rows = np.asarray(Image.open(sheet).convert("RGB"))
                row = rows[person * rows.shape[0] // SHEET_ROWS :][: rows.shape[0] // SHEET_ROWS]
                strips.append((wanted.name, row))
    if strips:
        titles = {0: "reference", 1: "garment", 2: "generated", 7: "truth"}
        with atomic_path(path) as temporary:
            temporary.write_bytes(strips_picture(strips, titles, columns=12))


def columns_from(stored: Tables) -> dict[str, list[float]]:
    """Stored columns, with nan for JSON's null."""
    return {name: [np.nan if x is None else x for x in column] for name, column in stored.items()}


def gather(runs: Path, model: str) -> dict[str, list[Tables]]:
    """All figures there are: by run, one entry per training seed; the bundled model's own last."""
    found: dict[str, list[Tables]] = {}
    for root in sorted(runs.glob("seed-*")):
        paths = [(wanted.name, root / wanted.name / FIGURES) for wanted in RUNS]
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
    """Write record and tables of all figures there are."""
    results = gather(runs, model)
    if results:
        data = summarise({name: [columns_from(seed) for seed in seeds] for name, seeds in results.items()})
        about = {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "torch": torch.__version__}
        write_json_atomic(out / "evidence.json", about | {"held_out_seeds": held_out_seeds(SEEDS), "runs": data})
        write_text_atomic(out / "evidence.md", as_markdown(data, (1, CHUNKS // 2, CHUNKS)))


def main() -> None:
    """Train, measure and report."""
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
        measure(wanted, folder)
        if wanted.name == STEPPED:
            measure_steps(open_model(folder / wanted.stage / "model"), folder / "steps")
    if args.seeds:
        measure_steps(open_model(args.model), args.runs / args.model.name)
    report(args.runs, args.model.name, args.out)
    picture(args.runs / "seed-0", "clips", args.pictures / "evidence-teachers.jpg")
    picture(args.runs / "seed-0", "stream", args.pictures / "evidence-streams.jpg")


if __name__ == "__main__":
    main()
