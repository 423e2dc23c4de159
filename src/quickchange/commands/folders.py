"""Where the model and the parser lie: given, or from the environment, or bundled."""

from __future__ import annotations

import os
from pathlib import Path

from quickchange.errors import InputError

MODEL_VARIABLE, PARSER_VARIABLE = "QUICKCHANGE_MODEL", "QUICKCHANGE_PARSER"


def model_folder(given: Path | None) -> Path:
    """The model directory: ``given``, else that of the environment, else the bundled one; InputError if missing."""
    folder = given or Path(os.environ.get(MODEL_VARIABLE) or bundled("mini"))
    if not folder.is_dir():
        raise InputError(f"no model directory at {folder}; give one with --model or ${MODEL_VARIABLE}")
    return folder


def parser_folder(given: Path | None) -> Path:
    """The parser's directory: ``given``, else that of the environment, else the bundled one; InputError if missing."""
    folder = given or Path(os.environ.get(PARSER_VARIABLE) or bundled("parser"))
    if not (folder / "config.json").is_file():
        raise InputError(
            f"no parser at {folder}; give a folder with config.json and weights with --parser or ${PARSER_VARIABLE}"
        )
    return folder


def bundled(name: str) -> Path:
    """The directory of that name in the repository's models/."""
    return Path(__file__).resolve().parents[3] / "models" / name
