"""The command line: ``quickchange generate | serve | world | train | score | bench``.

Parsing loads nothing heavy: torch and the rest are imported when a command runs. Exit codes: 0 done, 2 wrong input
(one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from quickchange.commands import bench, generate, score, serve, train, world
from quickchange.errors import InputError, QuickchangeError

WRONG_INPUT, INTERRUPTED = 2, 130
SPIN_COUNT = "2000"  # some microseconds
EXTRAS = {
    "moderngl": "world", "matplotlib": "bench", "torchmetrics": "bench", "scipy": "bench", "tensorboard": "train",
    "peft": "train", "diffusers": "wan", "fastapi": "serve", "uvicorn": "serve", "prometheus_client": "serve",
    "c2pa": "c2pa",
}  # fmt: skip


def wait_politely() -> None:
    """Let waiting threads sleep after some microseconds; call it before torch is imported.

    The default (libgomp spins for milliseconds) starves everything else on the same cores, these threads included.
    What the user has set stays set.
    Sleeping at once (``OMP_WAIT_POLICY=passive``) costs a third of the speed of an idle machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument is one line on stderr, as every other wrong input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one's function is in ``run``."""
    parser = _Parser(
        prog="quickchange",
        description="A generated person changes clothes mid-stream, and keeps moving.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (generate, serve, world, train, score, bench):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return the exit code."""
    wait_politely()
    try:
        args = make_parser().parse_args(argv)
        return int(args.run(args))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        extra = f"make setup (in a checkout), or pip install 'quickchange[{EXTRAS[error.name]}]'"
        sys.stderr.write(f"quickchange: error: this needs {error.name}; install it with: {extra}\n")
        return WRONG_INPUT
    except QuickchangeError as error:
        line = " ".join(str(error).split())
        sys.stderr.write(f"quickchange: error: {line}\n")
        return WRONG_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\nquickchange: interrupted\n")
        return INTERRUPTED
