"""Where models come from and what they compute on: the one place in which commands open a model, parser or codec.

A missing or damaged folder ends in one line that names it, see ``cli.main``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quickchange.errors import InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quickchange.engine.studio import Studio
    from quickchange.model.codec import Codec
    from quickchange.parsing.network import PersonParser

MODEL_VARIABLE, PARSER_VARIABLE = "QUICKCHANGE_MODEL", "QUICKCHANGE_PARSER"
MODEL_HELP = f"model directory (default: ${MODEL_VARIABLE}, else models/mini)"
PARSER_HELP = f"folder of the parser (default: ${PARSER_VARIABLE}, else models/parser)"
DEVICE_HELP = "auto, cpu, cuda, cuda:1 ... (default: auto)"
THREADS_HELP = "CPU threads to compute with (default: the fastest number, measured)"


def model_folder(given: Path | None) -> Path:
    """Find the model directory: ``given``, else the environment's, else the bundled one.

    Raises:
        InputError: it is missing.
    """
    folder = given or Path(os.environ.get(MODEL_VARIABLE) or bundled("mini"))
    if not folder.is_dir():
        raise InputError(f"no model directory at {folder}; give one with --model or ${MODEL_VARIABLE}")
    return folder


def parser_folder(given: Path | None) -> Path:
    """Find the parser's folder: ``given``, else the environment's, else the bundled one.

    Raises:
        InputError: it is missing.
    """
    folder = given or Path(os.environ.get(PARSER_VARIABLE) or bundled("parser"))
    if not (folder / "config.json").is_file():
        raise InputError(
            f"no parser at {folder}; give a folder with config.json and weights with --parser or ${PARSER_VARIABLE}"
        )
    return folder


def bundled(name: str) -> Path:
    """Path of a directory in the repository's models/."""
    return Path(__file__).resolve().parents[3] / "models" / name


def usable_device(name: str) -> str:
    """Name the device as torch knows it; "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        InputError: the device is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
        raise InputError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error
    return name


def check_threads(threads: int | None) -> None:
    """Check ``--threads``.

    Raises:
        InputError: less than 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; it must be at least 1")


def open_studio(
    folder: Path, device: str, threads: int | None = None, *, most: int | None = None, warm: bool = False
) -> Studio:
    """Load a model.

    Args:
        folder: model directory.
        device: as ``usable_device`` takes it.
        threads: number of CPU threads; None lets it follow the machine, see ``Studio.tune_threads``.
        most: greatest number to consider then; default: usable cores.
        warm: run everything that a live stream can run once.

    Raises:
        InputError: the device is not there.
        ModelError: the directory is missing a part, or damaged.
    """
    import torch

    from quickchange.engine.studio import Studio

    if threads is not None:
        torch.set_num_threads(threads)
    target = usable_device(device)
    with _named(folder):
        studio = Studio.from_pretrained(folder, device=target, warm=False)
    if threads is None and studio.device.type == "cpu":
        studio.tune_threads(most)
    if warm:
        studio.warm_up()
    return studio


def open_parser(folder: Path, device: str = "cpu") -> PersonParser:
    """Load a human parser.

    Raises:
        InputError: the device is not there.
        ModelError: the folder is missing a part, or damaged.
    """
    from quickchange.parsing.network import PersonParser

    target = usable_device(device)
    with _named(folder):
        return PersonParser.from_pretrained(folder).to(target)


def open_codec(model: Path) -> Codec:
    """Load the codec of a model directory, on the CPU.

    Raises:
        ModelError: the directory is missing a part, or damaged.
    """
    from quickchange.engine.components import load_codec

    with _named(model):
        return load_codec(model / "vae")


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Name the folder that was asked for before the part that is at fault."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"{folder} cannot be used: {error}") from error
