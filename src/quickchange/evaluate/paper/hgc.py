"""HGC-Bench: the paper's benchmark of 240 samples (docs/method.md section 8), streamed and judged.

The public data set (huggingface.co/datasets/QuanjianSong/HGC-Bench) is a folder with

    meta_data.csv    columns src_image, cloth_image and prompt; paths are relative to the folder, with or without its
                     own name in front; prompt is JSON, {"caption": {"en_short": ..., "en_long": ..., ...}}, each
                     caption a text or a list of texts, what happens first, the scene second
    samples/         the images

It has one garment per sample, other than the one worn in the source image. For several garments in one stream, changed
while it runs, the folder may hold ``manifest.json`` instead:

    [{"id": "0001", "reference": "a.png", "garments": ["b.png", "c.png"], "prompt": "she turns to the left"}, ...]

Protocol (version 1). Every sample is streamed once: 81 frames (seven chunks), as in the paper, in each of its garments,
with a live switch between them. Every judge scores each garment's frames against the reference and that garment; a
sample's score is the mean over its garments. ``fps`` is frames by the time of generating and decoding them, one stream
at a time; the paper's leaves decoding out.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from quickchange.engine.studio import Studio
from quickchange.errors import InputError
from quickchange.evaluate.paper.judges import JUDGES, Judge, judge_class, open_judges
from quickchange.evaluate.paper.judges.base import Metric
from quickchange.evaluate.statistics import bootstrap
from quickchange.evaluate.types import Frames
from quickchange.files import write_json_atomic, write_text_atomic
from quickchange.media.images import load_image

log = logging.getLogger(__name__)
PROTOCOL = 1
CHUNKS = 7  # per garment: 9 + 6 x 12 = 81 frames
SEED = 42
SAMPLES = 240
FPS = Metric(name="fps", column="FPS", low=0, high=None, higher_is_better=True, source="wall clock, codec included")

COLUMNS = ("ID (Cur)", "text (GME)", "Amp.", "Smooth", "VQ", "HGC", "LGC", "NTP", "FPS")
# The paper's table, HGC-Bench, H200 (docs/method.md section 8).
PAPER: dict[str, tuple[float, ...]] = {
    "Qwen-Edit + Wan I2V (20B+5B)": (0.4094, 0.6741, 0.8636, 0.9898, 0.7482, 4.5417, 3.9167, 4.4583, 0.76),
    "VACE 14B": (0.2746, 0.6962, 0.4054, 0.9764, 0.7409, 4.3708, 3.5458, 4.6417, 0.23),
    "Phantom 1.3B": (0.5507, 0.6855, 0.1144, 0.9668, 0.7338, 4.3292, 3.6417, 4.6875, 0.77),
    "Phantom 14B": (0.4911, 0.6972, 0.2086, 0.9932, 0.7446, 4.5375, 3.8333, 4.6417, 0.15),
    "FashionChameleon 5B": (0.4911, 0.6839, 0.7771, 0.9969, 0.7483, 4.6833, 3.9250, 4.7625, 23.8),
}


@dataclass(frozen=True)
class HgcSample:
    """One sample.

    Attributes:
        name: its id.
        reference: picture of the person.
        garments: pictures of the garments, in the order in which they are worn.
        prompt: what the person does.
    """

    name: str
    reference: Path
    garments: tuple[Path, ...]
    prompt: str


def read_samples(folder: Path) -> list[HgcSample]:
    """Read the samples of a folder with the layout of the module header, in order.

    Images are only opened when they are streamed.

    Raises:
        InputError: no such folder, neither list in it, or an entry that is malformed or leads out of the folder; names
            the entry.
    """
    manifest, table = folder / "manifest.json", folder / "meta_data.csv"
    if manifest.is_file():
        samples = _read_manifest(folder, manifest)
    elif table.is_file():
        samples = _read_table(folder, table)
    else:
        raise InputError(
            f"{folder} holds neither meta_data.csv nor manifest.json; get HGC-Bench from "
            "huggingface.co/datasets/QuanjianSong/HGC-Bench and give its folder"
        )
    if not samples:
        raise InputError(f"{folder} lists no sample")
    return samples


def _read_manifest(folder: Path, path: Path) -> list[HgcSample]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of samples, found {type(entries).__name__}")
    samples = []
    for number, entry in enumerate(entries):
        where = f"{path}, sample {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("garments"), list) or not entry["garments"]:
            raise InputError(
                f'{where}: expected {{"reference", "garments": [...], "prompt"}} with at least one garment'
            )
        images = [_inside(folder, value, where) for value in (entry.get("reference"), *entry["garments"])]
        prompt = entry.get("prompt")
        if not isinstance(prompt, str):
            raise InputError(f"{where}: prompt is {prompt!r}; expected a text")
        samples.append(HgcSample(str(entry.get("id", f"{number:04d}")), images[0], tuple(images[1:]), prompt))
    return samples


def _read_table(folder: Path, path: Path) -> list[HgcSample]:
    samples = []
    with path.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened)
        lacking = {"src_image", "cloth_image", "prompt"} - set(rows.fieldnames or ())
        if lacking:
            raise InputError(f"{path}: has no column {', '.join(sorted(lacking))}")
        for number, row in enumerate(rows):
            where = f"{path}, sample {number}"
            pair = [_inside(folder, row[column], where) for column in ("src_image", "cloth_image")]
            samples.append(HgcSample(f"{number:04d}", pair[0], (pair[1],), _caption(row["prompt"], where)))
    return samples


def _caption(text: str | None, where: str) -> str:
    """The short English caption of what happens; a scene's description would name the garments worn at first."""
    try:
        caption = json.loads(text or "")["caption"]["en_short"]
        first = caption[0] if isinstance(caption, list) else caption
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f'{where}: prompt is not JSON with {{"caption": {{"en_short": ...}}}}') from error
    if not isinstance(first, str):
        raise InputError(f"{where}: the caption is {first!r}; expected a text")
    return first


def _inside(folder: Path, value: object, where: str) -> Path:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: an image is {value!r}; expected a path")
    parts = [part for part in PurePosixPath(value).parts if part != "."]
    if parts and parts[0] in (folder.resolve().name, "HGC-Bench") and not (folder / parts[0]).is_dir():
        parts = parts[1:]
    relative = PurePosixPath(*parts)
    if relative.is_absolute() or ".." in parts or not parts:
        raise InputError(f"{where}: image {value!r} leads out of the folder")
    return folder / relative


def stream(studio: Studio, sample: HgcSample, chunks: int = CHUNKS) -> tuple[list[Frames], float]:
    """Stream a sample: frames in each garment, and seconds spent on generating and decoding them."""
    spent, parts = 0.0, []
    # Product shots on white already; the paper only fits them to the frame.
    with studio.open(sample.reference, sample.garments[0], sample.prompt, SEED, cutout=False) as session:
        for number, garment in enumerate(sample.garments):
            if number:
                session.wear(garment, cutout=False)
            start = time.perf_counter()
            parts.append(np.concatenate([chunk.frames for chunk in islice(session, chunks)]))
            spent += time.perf_counter() - start
    return parts, spent


def judge_sample(
    judges: Sequence[Judge], sample: HgcSample, parts: Sequence[Frames]
) -> tuple[dict[str, float], dict[str, str]]:
    """Mean score per metric over a sample's garments, and the judges that failed on it with their reason."""
    reference, garments = load_image(sample.reference), [load_image(path) for path in sample.garments]
    scores: dict[str, float] = {}
    failed: dict[str, str] = {}
    for judge in judges:
        try:
            each = [
                judge.score(frames, reference, garment, sample.prompt)
                for frames, garment in zip(parts, garments, strict=True)
            ]
        except InputError as error:
            failed[judge.name] = str(error)
            continue
        scores |= {metric.name: float(np.mean([one[metric.name] for one in each])) for metric in judge.metrics}
    return scores, failed


def run_hgc(
    studio: Studio,
    folder: Path,
    out: Path,
    judges: Sequence[str | Judge] = tuple(JUDGES),
    limit: int | None = None,
    chunks: int = CHUNKS,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the protocol and write ``hgc.json`` and ``hgc.md``.

    ``hgc.json`` is written after every sample, so a broken run keeps its results.

    Args:
        studio: with the model.
        folder: of the bench.
        out: folder for the results.
        judges: names of ``JUDGES``, or judges. Those that cannot be opened are reported with the reason.
        limit: number of samples from the first on; all for None.
        chunks: per garment.
        about: how the record was made, see ``record.provenance``.

    Returns:
        The content of ``hgc.json``: ``metrics`` by name (mean, bootstrap 95 % interval, n), ``missing`` judges,
        ``failed`` samples by judge, every sample's scores.

    Raises:
        InputError: a folder or judge name that cannot be used, or an image that cannot be read.
    """
    samples = read_samples(folder)[:limit]
    opened, missing = open_judges([j for j in judges if isinstance(j, str)], str(studio.device))
    ready = [*opened, *(j for j in judges if isinstance(j, Judge))]
    for name, reason in missing.items():
        log.warning("judge %s is left out: %s", name, reason)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for sample in tqdm(samples, desc="hgc-bench", unit="sample"):
        parts, seconds = stream(studio, sample, chunks)
        scores, failed = judge_sample(ready, sample, parts)
        scores[FPS.name] = sum(map(len, parts)) / seconds
        rows.append({"id": sample.name, "garments": len(parts), "scores": scores, "failed": failed})
        record = dict(about or {}) | summarise(rows, [*(m for judge in ready for m in judge.metrics), FPS], missing)
        write_json_atomic(out / "hgc.json", record)
    write_text_atomic(out / "hgc.md", as_table(record))
    return record


def summarise(rows: Sequence[dict[str, Any]], metrics: Sequence[Metric], missing: dict[str, str]) -> dict[str, Any]:
    """Summarise the samples' rows as plain data."""
    summary = {}
    for metric in metrics:
        values = [row["scores"][metric.name] for row in rows if metric.name in row["scores"]]
        summary[metric.name] = {**asdict(metric), **_mean(values)}
    failures: dict[str, dict[str, str]] = {}
    for row in rows:
        for judge, reason in row["failed"].items():
            failures.setdefault(judge, {})[row["id"]] = reason
    return {
        "protocol": PROTOCOL,
        "complete": len(rows) == SAMPLES,
        "metrics": summary,
        "missing": missing,
        "failed": failures,
        "samples": list(rows),
    }


def _mean(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean over samples with its bootstrap 95 % interval, as plain data; None where no sample has a score."""
    if not values:
        return {"mean": None, "ci_low": None, "ci_high": None, "n": 0}
    mean, low, high = bootstrap(values, "mean", draws=1000)
    return {"mean": mean, "ci_low": low, "ci_high": high, "n": len(values)}


def as_table(record: dict[str, Any]) -> str:
    """The paper's table with this run in the last row; below it, missing and incomparable figures."""
    ours = {value["column"]: value for value in record["metrics"].values() if value["column"]}
    head = "| method | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1) + "\n"
    lines = [f"| {name} | " + " | ".join(f"{value:g}" for value in row) + " |\n" for name, row in PAPER.items()]
    cells = []
    for column in COLUMNS:
        mean = ours[column]["mean"] if column in ours else None
        cells.append("-" if mean is None else f"{mean:.4g}")
    count = len(record["samples"])
    notes = [f"\nThis run: {count} of {SAMPLES} samples; all other rows are the paper's own figures (H200).\n"]
    notes.append("Amp. has another unit than the paper's, FPS includes decoding; see hgc.py and judges/.\n")
    notes += [f"\n* missing: {reason}\n" for name, reason in record["missing"].items()]
    notes += [f"\n* {name} could not judge {len(ids)} samples\n" for name, ids in record["failed"].items()]
    return head + "".join(lines) + "| **this run** | " + " | ".join(cells) + " |\n" + "".join(notes)


def parse_judges(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated list; all judges for None.

    Raises:
        InputError: an unknown name.
    """
    names = tuple(JUDGES) if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        judge_class(name)
    return names
