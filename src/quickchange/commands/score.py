"""``quickchange score``: the scorecard of a model on held-out seeds, with a report; or the paper's own metrics."""

from __future__ import annotations

import argparse
import json
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
    open_parser,
    open_studio,
    parser_folder,
    usable_device,
)
from quickchange.errors import InputError

# What belongs to one of the two protocols only.
OF_SCORECARD = ("quick", "parser", "seeds", "variants", "drift", "difficulty")
OF_PAPER = ("judges", "samples")


def add_parser(commands: Any) -> None:
    """Register the command with argparse's ``commands``."""
    parser = commands.add_parser(
        "score",
        help="quality of a model on held-out seeds, with intervals and a report",
        description="Streams held-out people of the generated world, switches their clothes, and measures. Writes "
        "score.json, report.html; docs/scorecard.md says what every figure means. Needs OpenGL (Mesa). With "
        "--hgc-bench: the paper's benchmark and metrics instead; writes hgc.json, hgc.md.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--out", type=Path, default=Path("out/score"), help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, help=THREADS_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout, and nothing else")
    card = parser.add_argument_group("scorecard")
    card.add_argument("--quick", action="store_true", help="two seeds, short streams: a look, not a measurement")
    card.add_argument("--parser", type=Path, help=PARSER_HELP)
    card.add_argument("--seeds", type=int, help="held-out seeds (default: 32; 2 with --quick)")
    card.add_argument("--variants", metavar="A,B,...", help="switch variants; quality is judged on the first")
    card.add_argument("--drift", type=int, metavar="FRAMES", help="length of the long streams (default: 1000; 0: none)")
    card.add_argument("--difficulty", choices=("easy", "full"), help="of the world (default: easy)")
    paper = parser.add_argument_group(
        "the paper's metrics",
        "Weights of judges are looked for below $QUICKCHANGE_WEIGHTS; endpoints of qalign and vlm in "
        "$QUICKCHANGE_QALIGN_URL and _MODEL, $QUICKCHANGE_VLM_URL and _MODEL (and _KEY). Nothing is downloaded; what "
        "is missing is named.",
    )
    paper.add_argument("--hgc-bench", type=Path, metavar="DIR", help="folder of HGC-Bench: runs its 240 samples")
    paper.add_argument("--judges", metavar="A,B,...", help="arcface, gme, amplitude, qalign, musiq, vlm (default: all)")
    paper.add_argument("--samples", type=int, metavar="N", help="only the first so many samples")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report and print; 0 when done."""
    check_threads(args.threads)
    paper = args.hgc_bench is not None
    for name in OF_SCORECARD if paper else OF_PAPER:
        value = getattr(args, name)
        if value is not None and value is not False:  # --drift 0 is given, too
            raise InputError(f"--{name} {'does not go' if paper else 'goes only'} with --hgc-bench")
    return run_paper(args) if paper else run_scorecard(args)


def run_scorecard(args: argparse.Namespace) -> int:
    """The scorecard on held-out seeds."""
    if args.seeds is not None and args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}; it must be at least 1")
    model, reader_folder = model_folder(args.model), parser_folder(args.parser)

    # Needed only at the end; a missing package must be reported before the long work.
    for needed in ("matplotlib", "moderngl", "torchmetrics"):
        import_module(needed)

    from quickchange.engine.switch import VARIANTS as KNOWN
    from quickchange.evaluate.record import provenance
    from quickchange.evaluate.scorecard.card import as_text, scorecard
    from quickchange.evaluate.scorecard.report import write_report
    from quickchange.evaluate.scorecard.score import run as measure
    from quickchange.evaluate.scorecard.score import with_options
    from quickchange.files import write_text_atomic

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
    read = open_parser(reader_folder, args.device).read
    studio = open_studio(model, args.device, args.threads)
    about = provenance(studio, model)  # of the code that measures: the checkout may change meanwhile
    rows = measure(studio, read, settings)
    card = about | scorecard(rows, settings, model.name)
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


def run_paper(args: argparse.Namespace) -> int:
    """The paper's metrics on HGC-Bench, with those judges that can work."""
    if args.samples is not None and args.samples < 1:
        raise InputError(f"--samples is {args.samples}; it must be at least 1")
    model = model_folder(args.model)

    from quickchange.evaluate.paper.hgc import as_table, parse_judges, read_samples, run_hgc
    from quickchange.evaluate.paper.judges import open_judges
    from quickchange.evaluate.record import provenance

    names = parse_judges(args.judges)
    if not names:
        raise InputError("--judges names none")
    read_samples(args.hgc_bench)  # an unusable folder must be reported before a model is loaded
    device = usable_device(args.device)
    judges, missing = open_judges(names, device)
    if not judges:
        raise InputError("no judge can work: " + "; ".join(missing.values()))
    # The missing are named again, so that the results have their reasons.
    studio = open_studio(model, device, args.threads)
    record = run_hgc(
        studio, args.hgc_bench, args.out, [*judges, *missing], args.samples, about=provenance(studio, model)
    )
    sys.stdout.write((args.out / "hgc.json").read_text(encoding="utf-8") if args.json else as_table(record))
    return 0
