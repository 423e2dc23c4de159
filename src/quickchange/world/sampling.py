"""Random clip specs.

Every aspect has its own random stream. A change to the sampling of one aspect therefore leaves all others unchanged.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

import numpy as np

from quickchange.world.colour import MUTED, WALLS, jitter, to_linear
from quickchange.world.motion import MOTIONS
from quickchange.world.people import sample_person
from quickchange.world.spec import (
    CameraSpec,
    ClipSpec,
    Colour,
    Difficulty,
    LightSpec,
    MotionSpec,
    SceneSpec,
    Slot,
)
from quickchange.world.wardrobe import pick, sample_distinct, sample_lower, sample_one_piece, sample_upper

Rng = np.random.Generator
EASY_MOTIONS = (("sway", 0.14), ("wave", 0.22), ("hip", 0.12), ("hips", 0.10), ("turn", 0.18), ("raise", 0.12),
                ("nod", 0.06), ("tilt", 0.06))  # fmt: skip
FULL_MOTIONS = (("walk", 0.15), ("catwalk", 0.1), ("spin", 0.15), ("step_turn", 0.12), ("wave", 0.12), ("hip", 0.06),
                ("hips", 0.06), ("turn", 0.08), ("raise", 0.05), ("stretch", 0.06), ("sway", 0.05))  # fmt: skip


class Aspect(IntEnum):
    """Numbers of the random streams. Never renumber them: the specs of all seeds would change."""

    PERSON = 0
    SCENE = 1
    LIGHT = 2
    CAMERA = 3
    MOTION = 4
    TARGET = 5
    UPPER = 6
    LOWER = 7
    SHOES = 8
    GARMENTS = 9


def _grey(rng: Rng, low: float, high: float, tint: float = 0.0) -> Colour:
    level, warm = rng.uniform(low, high), rng.normal() * tint
    return float(level * (1 + warm)), float(level), float(level * (1 - warm))


def _sample_scene(rng: Rng, difficulty: Difficulty) -> SceneSpec:
    name = list(WALLS)[int(rng.integers(len(WALLS)))]
    wall = to_linear(jitter(rng, WALLS[name], 0.025))
    seed = int(rng.integers(1 << 31))
    if difficulty == "easy":
        return SceneSpec("wall", (wall, wall, wall), -8.0, (0.0, 0.0, 0.0, 0.0), seed, f"a plain {name} wall")

    def free(low: float, high: float) -> Colour:
        r, g, b = (float(x) for x in np.clip(rng.uniform(low, high) * (1 + rng.normal(size=3) * 0.12), 0.02, 1))
        return r, g, b

    kind = pick(rng, (("studio", 1), ("room", 1), ("outdoor", 1)))
    colours = (wall if kind != "outdoor" else free(0.35, 0.9), free(0.2, 0.7), free(0.3, 1.0))
    if kind == "outdoor":
        detail = (0.1, 0.2, float(rng.random()), float(rng.random()))
        return SceneSpec("outdoor", colours, -60.0, detail, seed, "a blurred outdoor view")
    detail = (float(rng.uniform(0.03, 0.1)), float(rng.uniform(0.1, 0.5)), float(rng.uniform(-8, 8)),
              float(rng.uniform(1, 8)))  # fmt: skip
    words = f"a {name} studio backdrop" if kind == "studio" else f"a room with {name} walls and a picture"
    return SceneSpec("studio" if kind == "studio" else "room", colours, float(-rng.uniform(8, 14)), detail, seed, words)


def _sample_light(rng: Rng, difficulty: Difficulty) -> LightSpec:
    soft = difficulty == "easy"
    azimuth = rng.uniform(-0.8, 0.8) if soft else rng.uniform(-1.2, 1.2)
    elevation = rng.uniform(0.45, 0.95) if soft else rng.uniform(0.5, 1.1)
    direction = (float(np.sin(azimuth) * np.cos(elevation)), float(np.sin(elevation)),
                 float(np.cos(azimuth) * np.cos(elevation)))  # fmt: skip
    key = _grey(rng, 0.50, 0.68, 0.02) if soft else _grey(rng, 0.9, 1.4, 0.06)
    sky = _grey(rng, 0.46, 0.56, 0.015) if soft else _grey(rng, 0.38, 0.62, 0.04)
    ground = _grey(rng, 0.30, 0.40, 0.015) if soft else _grey(rng, 0.17, 0.28, 0.04)
    fill = _grey(rng, 0.08, 0.16) if soft else _grey(rng, 0.04, 0.2)
    return LightSpec(direction, key, sky, ground, (float(-np.sin(azimuth)), 0.2, 0.6), fill, 0.3 if soft else 0.7)


def _sample_camera(rng: Rng, difficulty: Difficulty, target: Slot) -> CameraSpec:
    if difficulty == "easy":
        shift = (float(rng.normal() * 0.004), float(rng.normal() * 0.003))
        return CameraSpec("bust", 0.0, float(rng.uniform(-0.01, 0.03)), 0.0, shift, float(rng.uniform(0.985, 1.015)))
    # A lower garment or a dress needs a framing that shows it.
    framing = pick(rng, (("full", 2), ("knee", 1), ("upper", 2)) if target == "upper" else (("full", 2), ("knee", 1)))
    return CameraSpec(framing, float(rng.normal() * 0.15),  # type: ignore[arg-type]
                      float(rng.uniform(-0.02, 0.15)), float(rng.normal() * 0.05), (float(rng.normal() * 0.01), 0.0),
                      float(rng.uniform(0.95, 1.05)))  # fmt: skip


def _sample_motion(rng: Rng, difficulty: Difficulty) -> MotionSpec:
    easy = difficulty == "easy"
    name = pick(rng, EASY_MOTIONS if easy else FULL_MOTIONS)
    side: Literal[-1, 1] = 1 if rng.random() < 0.5 else -1
    speed = float(rng.uniform(0.8, 1.2))
    yaw = float(np.clip(rng.normal() * (0.12 if easy else 0.3), -0.25 if easy else -0.8, 0.25 if easy else 0.8))
    if name == "turn":
        yaw = yaw * 0.3 - side * 0.08
    start = float(rng.uniform(0, 60))
    # A pose in mid-motion shows which motion it is. So half of the clips begin near the motion's start, at rest: there
    # only the prompt tells which motion follows.
    if rng.random() < 0.5:
        period = MOTIONS[name].period / speed
        start = round(start / period) * period + float(rng.uniform(-0.1, 0.1))
    return MotionSpec(
        name=name, side=side, start=max(0.0, start), speed=speed, amplitude=float(rng.uniform(0.7, 1.2)),
        sway=float(rng.uniform(0.15, 0.5)), stance=float(rng.uniform(0.8, 1.4)), stride=float(rng.uniform(0.45, 0.62)),
        yaw=yaw,
        idle=(float(rng.uniform(0.22, 0.3)), float(rng.uniform(0.12, 0.2)), float(rng.uniform(0.08, 0.14))),
    )  # fmt: skip


def sample_spec(seed: int, difficulty: Difficulty = "easy") -> ClipSpec:
    """Draw the clip spec of `seed`; the result is the same on every machine.

    Args:
        seed: a non-negative integer.
        difficulty: "easy" for clips that a very small model can learn, "full" for the whole range.

    Raises:
        ValueError: `seed` is negative, or `difficulty` is unknown.
    """
    if seed < 0 or difficulty not in get_args(Difficulty):
        raise ValueError(f"sample_spec: need seed >= 0 and difficulty in {get_args(Difficulty)}, "
                         f"got {seed!r} and {difficulty!r}")  # fmt: skip

    def stream(aspect: Aspect) -> Rng:
        return np.random.default_rng([seed, int(aspect)])

    easy = difficulty == "easy"
    person = sample_person(stream(Aspect.PERSON))
    target: Slot = "upper"
    if not easy:
        draw = stream(Aspect.TARGET).random()
        target = "upper" if draw < 0.55 else ("onepiece" if draw > 0.8 and person.female else "lower")
    samplers = {"upper": sample_upper, "lower": sample_lower, "onepiece": sample_one_piece}
    garments = sample_distinct(stream(Aspect.GARMENTS), samplers[target], person, difficulty, count=3)
    shoes = stream(Aspect.SHOES)
    return ClipSpec(
        seed=seed, difficulty=difficulty, person=person,
        scene=_sample_scene(stream(Aspect.SCENE), difficulty),
        light=_sample_light(stream(Aspect.LIGHT), difficulty),
        camera=_sample_camera(stream(Aspect.CAMERA), difficulty, target),
        motion=_sample_motion(stream(Aspect.MOTION), difficulty),
        target=target,
        upper=sample_upper(stream(Aspect.UPPER), person, difficulty) if target == "lower" else None,
        lower=sample_lower(stream(Aspect.LOWER), person, "easy") if target == "upper" else None,
        shoes=to_linear(jitter(shoes, list(MUTED.values())[int(shoes.integers(len(MUTED)))], 0.03)),
        garment_a=garments[0], garment_b=garments[1], garment_reference=garments[2],
    )  # fmt: skip
