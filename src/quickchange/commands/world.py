"""``quickchange world render``: clips of the generated world of clothed people, as shards."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from quickchange.errors import InputError


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    world = commands.add_parser("world", help="the generated world of clothed people", allow_abbrev=False)
    actions = world.add_subparsers(title="actions", metavar="ACTION", required=True)
    parser = actions.add_parser(
        "render",
        help="render training clips",
        description="Render clips into shards; started again, it goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the shards go")
    parser.add_argument("--seed", type=int, default=0, help="of the first clip (default: %(default)s)")
    parser.add_argument("--count", type=int, default=24, help="number of clips (default: %(default)s)")
    parser.add_argument("--size", type=parse_size, default=(96, 128), metavar="WxH", help="pixels (default: 96x128)")
    parser.add_argument("--frames", type=int, default=33, help="frames of a clip (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=24, help="frames per second (default: %(default)s)")
    parser.add_argument("--difficulty", choices=("easy", "full"), default="easy", help="(default: %(default)s)")
    parser.add_argument("--clips-per-shard", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--both", action="store_true", help="also render every clip in its second garment")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="(default: one for each core, %(default)s)"
    )
    parser.set_defaults(run=run)


def parse_size(text: str) -> tuple[int, int]:
    """``"144x256"`` -> (144, 256), width and height in pixels.

    Raises:
        argparse.ArgumentTypeError: where it is not of that form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, for example 144x256")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Render; 0 when done."""
    for option in ("count", "frames", "fps", "clips_per_shard", "processes"):
        if getattr(args, option) < 1:
            raise InputError(f"--{option.replace('_', '-')} is {getattr(args, option)}; it must be at least 1")
    if args.seed < 0 or min(args.size) < 16:
        raise InputError(f"--seed {args.seed} must be 0 or more, --size {args.size[0]}x{args.size[1]} at least 16x16")

    from quickchange.world.shards import render_shards

    try:
        render_shards(
            args.out,
            seed=args.seed,
            count=args.count,
            size=args.size,
            frames=args.frames,
            fps=args.fps,
            difficulty=args.difficulty,
            processes=args.processes,
            clips_per_shard=args.clips_per_shard,
            both=args.both,
        )
    except ValueError as error:  # the folder holds clips of other settings
        raise InputError(str(error)) from error
    return 0
