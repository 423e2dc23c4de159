"""``quickchange bench ablate``: what each way of rescheduling the cache does to clothes and pose."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from quickchange.commands.generate import model_folder
from quickchange.errors import InputError


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    bench = commands.add_parser("bench", help="measure", allow_abbrev=False)
    actions = bench.add_subparsers(title="actions", metavar="ACTION", required=True)
    parser = actions.add_parser(
        "ablate",
        help="switch variants on held-out seeds with exact ground truth",
        description="Writes ablation.json, ablation.md and ablation.png; needs OpenGL (Mesa) for the ground truth.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, help="model directory (default: as in generate)")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=32, help="held-out seeds (default: %(default)s)")
    parser.add_argument("--variants", metavar="A,B,...", help="names of VARIANTS (default: the four of the paper)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: auto)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print the table; 0 when done."""
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    model = model_folder(args.model)

    from quickchange.bench.ablate import VARIANTS, ablate
    from quickchange.cache import VARIANTS as KNOWN
    from quickchange.commands.device import usable_device
    from quickchange.studio import Studio

    variants = tuple(args.variants.split(",")) if args.variants else VARIANTS
    unknown = [name for name in variants if name not in KNOWN]
    if unknown:
        raise InputError(f"--variants names {', '.join(unknown)}; expected some of {', '.join(KNOWN)}")
    studio = Studio.from_pretrained(model, device=usable_device(args.device))
    sys.stdout.write(ablate(studio, args.out, args.seeds, variants))
    return 0
