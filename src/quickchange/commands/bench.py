"""``quickchange bench``: what switching does to clothes and pose, and how well the judge reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from quickchange.commands.generate import model_folder, parser_folder
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
    _add_accuracy(actions)


def _add_accuracy(actions: Any) -> None:
    parser = actions.add_parser(
        "parser",
        help="how well the parser reads held-out seeds, as rendered and after the codec",
        description="Writes accuracy.json and overlays.png; needs OpenGL (Mesa) for the ground truth.",
        allow_abbrev=False,
    )
    parser.add_argument("--parser", type=Path, help="folder of the parser (default: models/parser)")
    parser.add_argument("--model", type=Path, help="model directory whose codec is used (default: as in generate)")
    parser.add_argument("--out", type=Path, default=Path("out/parser"), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=64, help="held-out seeds (default: %(default)s)")
    parser.set_defaults(run=run_accuracy)


def run_accuracy(args: argparse.Namespace) -> int:
    """Measure and print the table; 0 when done."""
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    judge, model = parser_folder(args.parser), model_folder(args.model)

    from quickchange.bench.parser_accuracy import measure, table
    from quickchange.components import load_codec
    from quickchange.model.parser import PersonParser

    record = measure(PersonParser.from_pretrained(judge), load_codec(model / "vae"), args.out, args.seeds)
    sys.stdout.write(table(record))
    return 0


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
