"""``quickchange bench``: what switching does to clothes and pose, how well the parser reads, what metrics see."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from quickchange.commands.loading import (
    DEVICE_HELP,
    MODEL_HELP,
    PARSER_HELP,
    THREADS_HELP,
    check_threads,
    model_folder,
    open_codec,
    open_parser,
    open_studio,
    parser_folder,
)
from quickchange.errors import InputError

SIZE = 96, 128  # of pictures without a model: those of the bundled one


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    bench = commands.add_parser("bench", help="measure", allow_abbrev=False)
    actions = bench.add_subparsers(title="actions", metavar="ACTION", required=True)
    parser = actions.add_parser(
        "ablate",
        help="switch variants on held-out seeds with exact ground truth",
        description="Writes ablation.json, ablation.md, ablation.jpg and attention.png; needs OpenGL (Mesa) for the "
        "ground truth.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=64, help="held-out seeds (default: %(default)s)")
    parser.add_argument("--variants", metavar="A,B,...", help="switch variants (default: nine of them)")
    parser.add_argument(
        "--attention-seeds", type=int, default=16, help="of these, to see where attention rests (default: 16)"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, help=THREADS_HELP)
    parser.set_defaults(run=run)
    _add_accuracy(actions)
    _add_metrics(actions)
    _add_photos(actions)


def _add_accuracy(actions: Any) -> None:
    parser = actions.add_parser(
        "parser",
        help="how well the parser reads held-out seeds, as rendered and after the codec",
        description="Writes accuracy.json and overlays.png; needs OpenGL (Mesa) for the ground truth.",
        allow_abbrev=False,
    )
    parser.add_argument("--parser", type=Path, help=PARSER_HELP)
    parser.add_argument("--model", type=Path, help="model directory whose codec is used (default: as in generate)")
    parser.add_argument("--out", type=Path, default=Path("out/parser"), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=64, help="held-out seeds (default: %(default)s)")
    parser.set_defaults(run=run_accuracy)


def _add_metrics(actions: Any) -> None:
    parser = actions.add_parser(
        "metrics",
        help="what every metric says of ground truth and of an input with a known fault",
        description="Writes the tables of docs/scorecard-metrics.md, from exact readings; needs OpenGL (Mesa).",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the tables here (default: print them)")
    parser.add_argument("--seeds", type=int, default=16, help="held-out seeds (default: %(default)s)")
    parser.set_defaults(run=run_metrics)


def _add_photos(actions: Any) -> None:
    parser = actions.add_parser(
        "photos",
        help="how much of real garment photos arrives on the person",
        description="Writes photos.json, photos.md and photos.png; needs OpenGL (Mesa) for the people.",
        allow_abbrev=False,
    )
    parser.add_argument("garments", type=Path, metavar="FOLDER", help="pictures of garments, named KIND-NUMBER.jpg")
    parser.add_argument("--kinds", metavar="A,B,...", help="only pictures whose names begin so (default: all)")
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--parser", type=Path, help=PARSER_HELP)
    parser.add_argument("--people", type=int, default=4, help="held-out people to wear each (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/photos"), help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, help=THREADS_HELP)
    parser.set_defaults(run=run_photos)


def run_photos(args: argparse.Namespace) -> int:
    """Stream, measure and print the table; 0 when done."""
    if args.people < 1:
        raise InputError(f"--people is {args.people}; it must be at least 1")
    check_threads(args.threads)
    parser, model = parser_folder(args.parser), model_folder(args.model)

    from quickchange.evaluate.photos import photo_paths
    from quickchange.evaluate.photos import run as measure
    from quickchange.evaluate.record import provenance

    photos = photo_paths(args.garments, args.kinds.split(",") if args.kinds else ())
    studio = open_studio(model, args.device, args.threads)
    read = open_parser(parser, args.device).read
    sys.stdout.write(measure(studio, read, photos, args.out, provenance(studio, model), args.people))
    return 0


def run_metrics(args: argparse.Namespace) -> int:
    """Measure, and print or write the tables; 0 when done."""
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    if args.out is not None and not args.out.parent.is_dir():
        raise InputError(f"--out is {args.out}; there is no folder {args.out.parent}")

    import_module("torchmetrics")

    from quickchange.evaluate.scorecard.calibrate import Settings, as_markdown, calibrate, samples
    from quickchange.files import write_text_atomic
    from quickchange.world import Renderer

    settings = Settings(seeds=args.seeds)
    text = as_markdown(calibrate(samples(Renderer(*SIZE), settings)), settings, SIZE)
    if args.out is None:
        sys.stdout.write(text)
    else:
        write_text_atomic(args.out, text)
    return 0


def run_accuracy(args: argparse.Namespace) -> int:
    """Measure and print the table; 0 when done."""
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    parser, model = parser_folder(args.parser), model_folder(args.model)

    from quickchange.evaluate.parser_accuracy import measure, table

    record = measure(open_parser(parser), open_codec(model), args.out, args.seeds)
    sys.stdout.write(table(record))
    return 0


def run(args: argparse.Namespace) -> int:
    """Measure and print the table; 0 when done."""
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    if args.attention_seeds < 0:
        raise InputError(f"--attention-seeds is {args.attention_seeds}; it must be at least 0")
    check_threads(args.threads)
    model = model_folder(args.model)

    # Needed only at the end; a missing package must be reported before the long work.
    import_module("matplotlib")

    from quickchange.engine.switch import VARIANTS as KNOWN
    from quickchange.evaluate.record import provenance
    from quickchange.evaluate.switching.ablate import VARIANTS, Settings, ablate

    variants = tuple(args.variants.split(",")) if args.variants else VARIANTS
    unknown = [name for name in variants if name not in KNOWN]
    if unknown:
        raise InputError(f"--variants names {', '.join(unknown)}; expected some of {', '.join(KNOWN)}")
    settings = Settings(args.seeds, variants, args.attention_seeds)
    studio = open_studio(model, args.device, args.threads)
    sys.stdout.write(ablate(studio, args.out, settings, provenance(studio, model)))
    return 0
