"""The paper's own metrics (docs/method.md section 8), one judge per file, behind one interface.

    judges, missing = open_judges(["arcface", "musiq", "amplitude"])
    judges[0].score(frames, reference, garment, prompt)       # {"identity": 0.41, "face_found": 1.0}

Nothing is downloaded. A judge without its weights, packages or endpoint is reported as missing, with the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import Judge, Metric, NotMeasurableError, WeightsNotFoundError

__all__ = ["JUDGES", "Judge", "Metric", "NotMeasurableError", "WeightsNotFoundError", "judge_class", "open_judges"]

# Loaded by name: several need packages that only the extra "judges" brings.
JUDGES = {
    "arcface": "arcface:ArcFaceJudge",
    "gme": "gme:GmeJudge",
    "amplitude": "amplitude:AmplitudeJudge",
    "qalign": "qalign:QAlignJudge",
    "musiq": "musiq:MusiqJudge",
    "vlm": "vlm:VlmJudge",
}


def judge_class(name: str) -> type[Judge]:
    """The judge called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in JUDGES:
        raise InputError(f"judge is {name!r}; expected some of {', '.join(JUDGES)}")
    module, _, kind = JUDGES[name].partition(":")
    found: type[Judge] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    return found


def open_judges(names: Sequence[str], device: str = "cpu") -> tuple[list[Judge], dict[str, str]]:
    """Open judges by name.

    Returns:
        The judges that can work, and for the others the reason.

    Raises:
        InputError: an unknown name.
    """
    classes = {name: judge_class(name) for name in names}
    judges: list[Judge] = []
    missing: dict[str, str] = {}
    for name, kind in classes.items():
        try:
            judges.append(kind(device))
        except ModuleNotFoundError as error:
            missing[name] = f"{name}: needs {error.name}; install it with: pip install 'quickchange[judges]'"
        except InputError as error:
            missing[name] = str(error)
    return judges, missing
