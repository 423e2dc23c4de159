"""``quickchange generate``: one video with switches of clothes at given times."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickchange.commands.loading import (
    DEVICE_HELP,
    MODEL_HELP,
    THREADS_HELP,
    check_threads,
    model_folder,
    open_studio,
)
from quickchange.errors import InputError

if TYPE_CHECKING:
    from quickchange.generate.run import Summary

DEMO_SECONDS = 6.0
DEMO_SWITCHES = ((2.0, "garment_2.png"), (4.0, "garment_3.png"))
DEMO_PROMPT = "The person slowly turns slightly to the right."


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    parser = commands.add_parser(
        "generate",
        help="a video of a person whose clothes change at the times asked for",
        description="Generate an MP4 in which a person keeps moving while their clothes change, and a contact sheet.",
        allow_abbrev=False,
    )
    parser.add_argument("--demo", action="store_true", help="bundled inputs for all that is not given")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="IMAGE",
        help="the person, as they stand at the start (required without --demo)",
    )
    parser.add_argument("--garment", type=Path, metavar="IMAGE", help="what they wear first (required without --demo)")
    parser.add_argument(
        "--switch",
        action="append",
        default=[],
        metavar="SECONDS:IMAGE",
        help="a change of clothes; any number of these",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what the person does (required without --demo)")
    parser.add_argument("--seconds", type=float, default=DEMO_SECONDS, help="length (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same video (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.mp4", help="where to write (with --demo: out/demo.mp4)")
    parser.add_argument("--no-cutout", action="store_true", help="garment images are used as they are")
    parser.add_argument(
        "--sheet",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write a contact sheet, FILE_sheet.png (default: yes)",
    )
    parser.add_argument("--scale", type=int, help="enlarge frames by this factor (default: to about 512 pixels high)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, help=THREADS_HELP)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Generate what ``args`` ask for; 0 when done. Raises InputError for what the user has to put right."""
    from quickchange.generate.plan import Request, Switch, make_plan, parse_switch, sheet_path

    demo = demo_folder() if args.demo else None
    switches = [parse_switch(text) for text in args.switch]
    if demo and not switches:
        switches = [Switch(at, demo / name) for at, name in DEMO_SWITCHES if at < args.seconds]
    out = args.out
    if demo and not out:
        out = Path("out/demo.mp4")
        out.parent.mkdir(exist_ok=True)
    if not out:
        raise InputError("--out is missing: say where to write the MP4")
    prompt = args.prompt if args.prompt is not None or not demo else DEMO_PROMPT
    if prompt is None:
        raise InputError("--prompt is missing: say what the person does")
    plan = make_plan(
        Request(
            reference=_given(args.reference, demo and demo / "person.png", "--reference", "an image of the person"),
            garment=_given(args.garment, demo and demo / "garment_1.png", "--garment", "an image of the first garment"),
            switches=switches,
            prompt=prompt,
            seconds=args.seconds,
            seed=args.seed,
            out=out,
            sheet=sheet_path(out) if args.sheet else None,
            cutout=not args.no_cutout,
            scale=args.scale,
        )
    )
    model = model_folder(args.model)
    check_threads(args.threads)

    from quickchange.generate.run import generate

    if sys.stderr.isatty():
        sys.stderr.write(f"loading {model.name} ...\n")
    studio = open_studio(model, args.device, args.threads)
    import torch

    summary = generate(studio, plan, model=str(model), threads=torch.get_num_threads())
    for switch in summary.switches:
        if switch.obeyed_frame is None:
            sys.stderr.write(
                f"quickchange: warning: the switch at {switch.at:g} s came after the start of the last chunk "
                "and is not seen; ask for it earlier or for more seconds\n"
            )
    sys.stdout.write((summary.to_json() if args.json else describe(summary)) + "\n")
    return 0


def describe(summary: Summary) -> str:
    """``summary`` in a few lines for a reader."""
    lines = [
        f"{summary.out}: {summary.frames} frames, {summary.seconds:.2f} s, {summary.width}x{summary.height}",
        f"{summary.fps:.1f} frames/s end to end ({summary.fps_with_mp4:.1f} with MP4 encoding), "
        f"first frames after {summary.first_frame_ms:.0f} ms, {summary.threads} CPU threads",
    ]
    lines += [
        f"switch asked at {switch.at:.2f} s: obeyed from frame {switch.obeyed_frame}, {switch.ms:.0f} ms after asking"
        for switch in summary.switches
        if switch.obeyed_frame is not None
    ]
    if summary.sheet:
        lines.append(f"contact sheet: {summary.sheet}")
    return "\n".join(lines)


def _given(path: Path | None, bundled: Path | None, option: str, what: str) -> Path:
    chosen = path or bundled
    if chosen is None:
        raise InputError(f"{option} is missing: give {what}, or --demo for bundled inputs")
    return chosen


def demo_folder() -> Path:
    """Where the bundled inputs lie: person.png and garment_1.png to garment_3.png."""
    return Path(str(files("quickchange").joinpath("assets", "demo")))
