"""``quickchange score``: the scorecard of a model on held-out seeds, with a report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickchange.commands.generate import model_folder
from quickchange.errors import InputError, ModelError

if TYPE_CHECKING:
    from quickchange.bench.score import Reader

PARSER_VARIABLE = "QUICKCHANGE_PARSER"


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    parser = commands.add_parser(
        "score",
        help="quality of a model on held-out seeds, with intervals and a report",
        description="Streams held-out people of the generated world, switches their clothes, and measures. Writes "
        "score.json, report.html; docs/scorecard.md says what every figure means. Needs OpenGL (Mesa).",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="two seeds, short streams: a look, not a measurement")
    parser.add_argument("--model", type=Path, help="model directory (default: as in generate)")
    parser.add_argument(
        "--parser", type=Path, help=f"parser directory (default: ${PARSER_VARIABLE}, else models/parser)"
    )
    parser.add_argument("--seeds", type=int, help="held-out seeds (default: 32; 2 with --quick)")
    parser.add_argument("--variants", metavar="A,B,...", help="switch variants; quality is judged on the first")
    parser.add_argument(
        "--drift", type=int, metavar="FRAMES", help="length of the long streams (default: 1000; 0: none)"
    )
    parser.add_argument("--difficulty", choices=("easy", "full"), default="easy", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/score"), help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the scorecard as JSON on stdout, and nothing else")
    parser.set_defaults(run=run)


def parser_folder(given: Path | None) -> Path:
    """The parser's directory: ``given``, else that of the environment, else the bundled one; InputError if missing."""
    bundled = Path(__file__).resolve().parents[3] / "models" / "parser"
    folder = given or Path(os.environ.get(PARSER_VARIABLE) or bundled)
    if not (folder / "config.json").is_file():
        raise InputError(f"no parser at {folder}; give a folder that has one with --parser or ${PARSER_VARIABLE}")
    return folder


def load_reader(folder: Path, device: str) -> Reader:
    """The parser network of a folder as a function from frames to a reading; InputError where it is not whole."""
    from quickchange.model.parser import PersonParser

    try:
        return PersonParser.from_pretrained(folder).to(device).read
    except (FileNotFoundError, ValueError) as error:
        raise InputError(f"{folder} is not a whole parser directory: {error}") from error


def run(args: argparse.Namespace) -> int:
    """Measure, write the report and print; 0 when done."""
    if args.seeds is not None and args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    model, reader_folder = model_folder(args.model), parser_folder(args.parser)

    # Used only when all is streamed: what is missing shall be said before.
    for needed in ("matplotlib", "moderngl", "torchmetrics"):
        import_module(needed)

    from quickchange.bench.card import as_text, scorecard
    from quickchange.bench.report import write_report
    from quickchange.bench.score import run as measure
    from quickchange.bench.score import with_options
    from quickchange.cache import VARIANTS as KNOWN
    from quickchange.commands.device import usable_device
    from quickchange.files import write_text_atomic
    from quickchange.studio import Studio

    variants = tuple(args.variants.split(",")) if args.variants else None
    unknown = [name for name in variants or () if name not in KNOWN]
    if unknown:
        raise InputError(f"--variants names {', '.join(unknown)}; expected some of {', '.join(KNOWN)}")
    try:
        settings = with_options(
            args.quick, seeds=args.seeds, variants=variants, drift=args.drift, difficulty=args.difficulty
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    device = usable_device(args.device)
    read = load_reader(reader_folder, device)
    try:
        studio = Studio.from_pretrained(model, device=device, warm=False)
    except (FileNotFoundError, ModelError) as error:
        raise InputError(f"{model} cannot be used: {error}") from error
    rows = measure(studio, read, settings)
    card = scorecard(rows, settings, model.name)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(card, indent=2, allow_nan=False) + "\n"
    write_text_atomic(args.out / "score.json", text)
    write_report(card, rows.sheets, args.out / "report.html")
    if args.json:
        sys.stdout.write(text)
    else:
        sys.stdout.write(as_text(card))
        sys.stdout.write(f"report: {args.out / 'report.html'}\n")
    return 0
