"""Training: codec, teacher, teacher forcing, distillation; one loop, one recipe file."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from quickchange.errors import RecipeError


class Entry(NamedTuple):
    """A stage of the registry.

    Attributes:
        where: module below ``quickchange.train.stages`` and class, ``module:Class``.
        about: what it trains, for the help text.
    """

    where: str
    about: str


# Loaded by name: the command line lists the stages without loading torch.
STAGES = {
    "vae": Entry("vae:CodecStage", "the light codec"),
    "sft": Entry("sft:TeacherStage", "the bidirectional teacher, in context"),
    "tf": Entry("teacher_forcing:TeacherForcingStage", "the chunk-causal student, teacher forcing in context"),
    "dmd": Entry("dmd:DmdStage", "the few-step student on its own rollouts, distribution matching"),
    "parser": Entry("parser:ParserStage", "the human parser: labels, keypoints and garment attributes of frames"),
}


def stage_class(name: str) -> Any:
    """The subclass of ``Stage`` called ``name``.

    Raises:
        RecipeError: there is none.
    """
    if name not in STAGES:
        raise RecipeError(f"stage is {name!r}; expected one of {', '.join(STAGES)}")
    module, _, kind = STAGES[name].where.partition(":")
    return getattr(importlib.import_module(f"{__name__}.stages.{module}"), kind)
