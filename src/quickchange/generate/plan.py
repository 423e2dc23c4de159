"""What a video to be generated shall show, checked completely before any model is loaded. No torch, no generation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickchange.errors import InputError
from quickchange.media.images import cut_out, load_image

MAX_SECONDS = 24 * 3600.0
MAX_SEED = 2**63 - 1
MAX_SCALE = 16


@dataclass(frozen=True)
class Switch:
    """A change of clothes: ``at`` in seconds of video, > 0, and the garment's image file."""

    at: float
    garment: Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, unchecked. ``sheet`` and ``scale`` None: no contact sheet; a scale that suits the model."""

    reference: Path
    garment: Path
    switches: Sequence[Switch]
    prompt: str
    seconds: float
    seed: int
    out: Path
    sheet: Path | None = None
    cutout: bool = True
    scale: int | None = None


@dataclass(frozen=True)
class Garment:
    """``rgb`` uint8 ``[H, W, 3]``; ``alpha`` float32 ``[H, W]`` in 0..1 where it was cut out, else None."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked request with its images read, uint8 ``[H, W, 3]``. ``switches`` are (seconds, garment), in order."""

    reference: NDArray[np.uint8]
    garment: Garment
    switches: tuple[tuple[float, Garment], ...]
    prompt: str
    seconds: float
    seed: int
    out: Path
    sheet: Path | None
    scale: int | None


def parse_switch(text: str) -> Switch:
    """``"2.0:B.png"`` -> ``Switch(2.0, Path("B.png"))``. The path may hold further colons.

    Raises:
        InputError: where there is no colon, no number before it or no path after it.
    """
    seconds, colon, path = text.partition(":")
    try:
        at = float(seconds)
    except ValueError:
        at = math.nan
    if not colon or not path.strip() or not math.isfinite(at):
        raise InputError(f"--switch {text!r} is not SECONDS:IMAGE, for example 2.0:red_dress.png")
    return Switch(at, Path(path))


def sheet_path(out: Path) -> Path:
    """Where the contact sheet of the video ``out`` lies: ``v.mp4`` -> ``v_sheet.png``."""
    return out.with_name(f"{out.stem}_sheet.png")


def make_plan(request: Request) -> Plan:
    """Check ``request`` and read its images: EXIF respected, garments cut out unless ``cutout`` is False.

    Raises:
        InputError: on the first thing that is wrong, in one line.
    """
    _check_numbers(request)
    _check_switches(request.switches, request.seconds)
    _check_outputs(request)
    if not request.prompt.strip():
        raise InputError("the prompt is empty; say what the person does, for example 'she turns to the left'")

    def read_garment(path: Path) -> Garment:
        image = load_image(path)
        return Garment(*cut_out(image)) if request.cutout else Garment(image)

    return Plan(
        reference=load_image(request.reference),
        garment=read_garment(request.garment),
        switches=tuple(
            (switch.at, read_garment(switch.garment)) for switch in sorted(request.switches, key=lambda s: s.at)
        ),
        prompt=request.prompt.strip(),
        seconds=request.seconds,
        seed=request.seed,
        out=request.out,
        sheet=request.sheet,
        scale=request.scale,
    )


def _check_numbers(request: Request) -> None:
    if not 0 < request.seconds <= MAX_SECONDS:  # false for NaN too
        raise InputError(f"--seconds is {request.seconds:g}; it must be more than 0 and at most {MAX_SECONDS:g}")
    if not 0 <= request.seed <= MAX_SEED:
        raise InputError(f"--seed is {request.seed}; it must be between 0 and {MAX_SEED}")
    if request.scale is not None and not 1 <= request.scale <= MAX_SCALE:
        raise InputError(f"--scale is {request.scale}; it must be between 1 and {MAX_SCALE}")


def _check_switches(switches: Sequence[Switch], seconds: float) -> None:
    seen: dict[float, Switch] = {}
    for switch in switches:
        at = f"{switch.at:g} s ({switch.garment.name})"
        if not switch.at > 0:  # true for NaN too
            raise InputError(f"the switch at {at} must come after the start; the garment at 0 s is --garment")
        if switch.at >= seconds:
            raise InputError(f"the switch at {at} is beyond the end of the video, which is {seconds:g} s long")
        if switch.at in seen:
            raise InputError(f"two switches at {switch.at:g} s ({seen[switch.at].garment.name}, {switch.garment.name})")
        seen[switch.at] = switch


def _check_outputs(request: Request) -> None:
    out = request.out
    if out.suffix.lower() != ".mp4":
        raise InputError(f"--out {out} does not end in .mp4, the one format that is written")
    if not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} of --out does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"the folder {out.parent} of --out is not writable")
    inputs = [request.reference, request.garment, *(switch.garment for switch in request.switches)]
    for target in (out, request.sheet):
        if target is None:
            continue
        if target.is_dir():
            raise InputError(f"{target} is a folder; a file is to be written there")
        if any(target.resolve() == path.resolve() for path in inputs):
            raise InputError(f"{target} is one of the inputs and would be overwritten; choose another --out")
