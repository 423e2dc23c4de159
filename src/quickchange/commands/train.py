"""``quickchange train STAGE``: one stage of training, resumable."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from quickchange.commands.loading import DEVICE_HELP, THREADS_HELP, check_threads, usable_device
from quickchange.errors import InputError, QuickchangeError
from quickchange.train import STAGES


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    parser = commands.add_parser(
        "train",
        help="train one stage: " + ", ".join(STAGES),
        description="Stages: "
        + "; ".join(f"{name}: {stage.about}" for name, stage in STAGES.items())
        + ". On several GPUs: "
        "torchrun --nproc-per-node N -m quickchange train STAGE ...",
        allow_abbrev=False,
    )
    parser.add_argument("stage", choices=tuple(STAGES), metavar="STAGE")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.toml")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="shards of `quickchange world render`, or x.mp4, x_src.png, x_cloth.png, ... and captions.json "
        "(default: data/NAME of FILE)",
    )
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", dest="folder", help="checkpoints, curves (default: runs/NAME of FILE)"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after this long (default: at the end)")
    parser.add_argument("--fresh", action="store_true", help="start over, not from the last checkpoint of --run")
    parser.add_argument(
        "--init", type=Path, metavar="MODEL", help="start from this model directory's weights (default: from scratch)"
    )
    parser.add_argument("--threads", type=int, help=THREADS_HELP)
    parser.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases too (needs the package wandb)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done. Ctrl-C and SIGTERM end the step and leave a checkpoint; exit code 130, 143."""
    if not args.config.is_file():
        raise InputError(f"--config {args.config} is not a file")
    data, folder = args.data or Path("data") / args.config.stem, args.folder or Path("runs") / args.config.stem
    if not data.is_dir():
        raise InputError(f"--data {data} is not a folder; `quickchange world render` makes one")
    if args.minutes is not None and not args.minutes > 0:
        raise InputError(f"--minutes is {args.minutes:g}; it must be more than 0")
    check_threads(args.threads)

    from quickchange.train.run import run as train

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(
            args.stage,
            args.config,
            data,
            folder,
            device=usable_device(args.device),
            minutes=args.minutes,
            fresh=args.fresh,
            init=args.init,
            wandb=args.wandb,
            threads=args.threads,
        )
    except QuickchangeError:
        raise
    except (FileNotFoundError, ValueError) as error:  # shards and triplets
        raise InputError(str(error)) from error
    return 0
