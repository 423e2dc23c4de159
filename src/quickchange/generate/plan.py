"""A validated request for one video. Validation runs before a model is loaded; this module does not import torch.

``Request`` names files, ``Plan`` holds pictures. Both are made from outside input: by the command line and by
``POST /v1/generate``. ``check_terms`` is the one check that both share.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickchange.errors import InputError
from quickchange.generate import MAX_SEED
from quickchange.media.images import cut_out, load_image

MAX_SECONDS = 24 * 3600.0
MAX_SCALE = 16


@dataclass(frozen=True)
class Switch:
    """A change of clothes.

    Attributes:
        at: seconds of video, > 0.
        garment: image file.
    """

    at: float
    garment: Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, unchecked.

    Attributes:
        reference: image file of the person.
        garment: image file of the first garment.
        switches: changes of clothes, in any order.
        prompt: what the person does.
        seconds: length of the video.
        seed: of the noise.
        out: the MP4 to write.
        sheet: the contact sheet to write; None: none.
        cutout: remove the garments' backgrounds.
        scale: factor by which frames are enlarged; None: one that suits the model.
    """

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
    """A garment as it was read.

    Attributes:
        rgb: uint8 [H, W, 3].
        alpha: float32 [H, W] in 0..1 where it was cut out; None: the whole picture is the garment.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A validated request with its pictures. A plan that cannot be generated cannot be made.

    Attributes:
        reference: the person, uint8 [H, W, 3].
        garment: the first garment.
        switches: (seconds, garment), in order of time.
        prompt: what the person does, without blanks at its ends.
        seconds: length of the video.
        seed: of the noise.
        out: the MP4 to write.
        sheet: the contact sheet to write; None: none.
        scale: factor by which frames are enlarged; None: one that suits the model.

    Raises:
        InputError: on the first value that cannot be used.
    """

    reference: NDArray[np.uint8]
    garment: Garment
    switches: tuple[tuple[float, Garment], ...]
    prompt: str
    seconds: float
    seed: int
    out: Path
    sheet: Path | None
    scale: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", self.prompt.strip())
        check_terms(
            times=[at for at, _ in self.switches],
            prompt=self.prompt,
            seconds=self.seconds,
            seed=self.seed,
            scale=self.scale,
        )
        _check_outputs(self.out, self.sheet)


def check_terms(
    *,
    times: Sequence[float],
    prompt: str,
    seconds: float,
    seed: int,
    scale: int | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Check everything of a video but its pictures and files. Cheap: call it before pictures are read.

    Args:
        times: of the switches, seconds of video; they must grow.
        prompt: what the person does.
        seconds: length of the video.
        seed: of the noise.
        scale: factor by which frames are enlarged, or None.
        names: of the switches' garments, for messages.

    Raises:
        InputError: on the first value that cannot be used, in one line.
    """
    if not 0 < seconds <= MAX_SECONDS:  # false for NaN too
        raise InputError(f"seconds is {seconds:g}; it must be more than 0 and at most {MAX_SECONDS:g}")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed is {seed}; it must be between 0 and {MAX_SEED}")
    if scale is not None and not 1 <= scale <= MAX_SCALE:
        raise InputError(f"scale is {scale}; it must be between 1 and {MAX_SCALE}")
    _check_times(times, seconds, names or [f"garment {number}" for number in range(2, len(times) + 2)])
    if not prompt.strip():
        raise InputError("the prompt is empty; say what the person does, for example 'she turns to the left'")


def _check_times(times: Sequence[float], seconds: float, names: Sequence[str]) -> None:
    last, last_name = 0.0, ""
    for time, name in zip(times, names, strict=True):
        at = f"{time:g} s ({name})"
        if not time > 0:  # true for NaN too
            raise InputError(f"the switch at {at} must come after the start; at 0 s the first garment is worn")
        if time >= seconds:
            raise InputError(f"the switch at {at} is beyond the end of the video, which is {seconds:g} s long")
        if time == last:
            raise InputError(f"two switches at {time:g} s ({last_name}, {name})")
        if time < last:
            raise InputError(f"the switch at {at} is listed after the one at {last:g} s; expected growing times")
        last, last_name = time, name


def parse_switch(text: str) -> Switch:
    """Read ``"2.0:B.png"`` as ``Switch(2.0, Path("B.png"))``. The path may hold further colons.

    Raises:
        InputError: no colon, no number before it or no path after it.
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
    """Return where the contact sheet of the video ``out`` lies: ``v.mp4`` -> ``v_sheet.png``."""
    return out.with_name(f"{out.stem}_sheet.png")


def make_plan(request: Request) -> Plan:
    """Check ``request``, then read its images: EXIF respected, garments cut out unless ``cutout`` is False.

    Raises:
        InputError: on the first thing that is wrong, in one line.
    """
    switches = sorted(request.switches, key=lambda switch: switch.at)
    check_terms(
        times=[switch.at for switch in switches],
        prompt=request.prompt,
        seconds=request.seconds,
        seed=request.seed,
        scale=request.scale,
        names=[switch.garment.name for switch in switches],
    )
    _check_outputs(request.out, request.sheet)
    _check_inputs_survive(request)

    def read_garment(path: Path) -> Garment:
        image = load_image(path)
        return Garment(*cut_out(image)) if request.cutout else Garment(image)

    return Plan(
        reference=load_image(request.reference),
        garment=read_garment(request.garment),
        switches=tuple((switch.at, read_garment(switch.garment)) for switch in switches),
        prompt=request.prompt,
        seconds=request.seconds,
        seed=request.seed,
        out=request.out,
        sheet=request.sheet,
        scale=request.scale,
    )


def _check_outputs(out: Path, sheet: Path | None) -> None:
    if out.suffix.lower() != ".mp4":
        raise InputError(f"--out {out} does not end in .mp4, the one format that is written")
    if not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} of --out does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"the folder {out.parent} of --out is not writable")
    for target in (out, sheet):
        if target is not None and target.is_dir():
            raise InputError(f"{target} is a folder; a file is to be written there")


def _check_inputs_survive(request: Request) -> None:
    inputs = [request.reference, request.garment, *(switch.garment for switch in request.switches)]
    for target in (request.out, request.sheet):
        if target is not None and any(target.resolve() == path.resolve() for path in inputs):
            raise InputError(f"{target} is one of the inputs and would be overwritten; choose another --out")
