"""Random people: adults of varied build, face, skin and hair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickchange.world.spec import Colour, HairSpec, PersonSpec

Rng = np.random.Generator
SKIN_LIGHT, SKIN_MIDDLE = np.array([0.80, 0.56, 0.44]), np.array([0.55, 0.32, 0.19])
SKIN_DARK = np.array([0.15, 0.08, 0.05])
HAIR_COLOURS: tuple[tuple[str, Colour, float], ...] = (  # name, linear colour, share
    ("black", (0.025, 0.02, 0.017), 0.22),
    ("dark brown", (0.06, 0.035, 0.022), 0.24),
    ("brown", (0.14, 0.07, 0.035), 0.2),
    ("light brown", (0.22, 0.12, 0.05), 0.12), ("blond", (0.46, 0.31, 0.12), 0.1), ("red", (0.28, 0.08, 0.025), 0.06),
    ("grey", (0.24, 0.24, 0.24), 0.06),
)  # fmt: skip
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
EYE_COLOURS: tuple[Colour, ...] = ((0.08, 0.04, 0.02), (0.12, 0.2, 0.3), (0.12, 0.18, 0.1))
FACES = ("oval", "round", "square", "rectangular", "diamond", "triangular", "invertedtriangular")
# Shape targets for details, and the standard deviation of their weights.
DETAILS = (
    ("head/head-fat-incr", 0.3), ("head/head-fat-decr", 0.3), ("nose/nose-width1-incr", 0.3),
    ("nose/nose-width2-decr", 0.4), ("nose/nose-scale-vert-incr", 0.3), ("nose/nose-scale-vert-decr", 0.3),
    ("nose/nose-hump-incr", 0.3), ("nose/nose-volume-incr", 0.3), ("nose/nose-volume-decr", 0.3),
    ("mouth/mouth-scale-horiz-incr", 0.4), ("mouth/mouth-scale-horiz-decr", 0.3),
    ("mouth/mouth-upperlip-volume-incr", 0.4), ("mouth/mouth-lowerlip-volume-incr", 0.4),
    ("chin/chin-width-incr", 0.4), ("chin/chin-width-decr", 0.4), ("chin/chin-height-incr", 0.3),
    ("chin/chin-height-decr", 0.3), ("chin/chin-prominent-incr", 0.3), ("forehead/forehead-scale-vert-incr", 0.3),
    ("neck/neck-scale-horiz-incr", 0.3), ("torso/measure-waist-circ-incr", 0.3), ("torso/measure-waist-circ-decr", 0.3),
    ("torso/measure-hips-circ-incr", 0.3), ("torso/measure-shoulder-dist-incr", 0.3), ("torso/torso-vshape-incr", 0.3),
)  # fmt: skip
PAIRED_DETAILS = (("cheek/{}-cheek-volume-incr", 0.3), ("cheek/{}-cheek-bones-incr", 0.3),
                  ("eyes/{}-eye-trans-out", 0.2), ("eyes/{}-eye-corner1-up", 0.3))  # fmt: skip


def _face(rng: Rng) -> tuple[tuple[str, float], ...]:
    """Details of face and build. Every face has open eyes and a light smile."""
    details = [(f"head/head-{FACES[int(rng.integers(len(FACES)))]}", float(rng.uniform(0.2, 0.8)))]
    details += [(name, float(np.clip(rng.normal() * spread, 0, 0.8))) for name, spread in DETAILS]
    for pattern, spread in PAIRED_DETAILS:
        weight = float(np.clip(rng.normal() * spread, 0, 0.7))
        details += [(pattern.format(side), weight) for side in "lr"]
    smile, large, ears = (float(rng.uniform(*span)) for span in ((0.35, 0.9), (0.3, 0.7), (0.3, 0.7)))
    details += [("expression/units/caucasian/mouth-corner-puller", smile), ("mouth/mouth-angles-up", 0.5 * smile)]
    for side in "lr":
        details += [(f"eyes/{side}-eye-scale-incr", large), (f"eyes/{side}-eye-height2-incr", 0.5 * large),
                    (f"ears/{side}-ear-wing-decr", ears), (f"ears/{side}-ear-scale-decr", 0.5 * ears)]  # fmt: skip
    return tuple((name, weight) for name, weight in details if weight > 0.02)


def _hair(rng: Rng, female: bool, age: float, skin: NDArray[np.float64]) -> HairSpec:
    kinds, shares = ("short", "cap", "bob", "tied"), ((0.15, 0.2, 0.4, 0.25) if female else (0.75, 0.25, 0.0, 0.0))
    kind = kinds[int(rng.choice(4, p=shares))]
    weights = np.array([share for _, _, share in HAIR_COLOURS])
    weights[-1] *= 0.2 + 4 * age
    # Hair must be clearly darker than the skin: otherwise short hair cannot be seen.
    weights *= [float(LUMINANCE @ np.array(colour)) < 0.6 * float(LUMINANCE @ skin) for _, colour, _ in HAIR_COLOURS]
    name, colour, _ = HAIR_COLOURS[int(rng.choice(len(weights), p=weights / weights.sum()))]
    r, g, b = (float(c * scale) for c, scale in zip(colour, rng.uniform(0.85, 1.15, 3), strict=True))
    volume = {"short": (0.08, 0.2), "cap": (0.16, 0.3), "bob": (0.2, 0.36), "tied": (0.06, 0.12)}[kind]
    return HairSpec(kind, float(rng.uniform(0.55, 0.72)), float(rng.uniform(*volume)),  # type: ignore[arg-type]
                    float(rng.uniform(0.3, 0.5)), (r, g, b), name)  # fmt: skip


def sample_person(rng: Rng) -> PersonSpec:
    """Draw one adult at random."""
    gender = float(np.clip(float(rng.random() < 0.5) + rng.normal() * 0.06, 0, 1))
    race = rng.dirichlet([0.6] * 3)
    age = float(np.clip(rng.beta(1.2, 3), 0, 0.8))
    melanin = race[0] * rng.uniform(0.65, 1) + race[1] * rng.uniform(0.12, 0.4) + race[2] * rng.uniform(0.02, 0.3)
    if melanin < 0.5:
        skin = SKIN_LIGHT + (SKIN_MIDDLE - SKIN_LIGHT) * melanin * 2
    else:
        skin = SKIN_MIDDLE + (SKIN_DARK - SKIN_MIDDLE) * (melanin * 2 - 1)
    skin = skin * rng.uniform(0.92, 1.05)
    lips = skin * np.array([0.90, 0.48, 0.48])
    eyes = EYE_COLOURS[int(rng.choice(3, p=(0.65, 0.2, 0.15)))] if melanin < 0.4 else (0.06, 0.03, 0.02)
    return PersonSpec(
        gender=gender, age=age, muscle=float(rng.uniform(0.35, 0.65)), weight=float(rng.uniform(0.3, 0.7)),
        height=float(rng.uniform(0.3, 0.7)), cup=float(rng.uniform(0.25, 0.55)),
        race=(float(race[0]), float(race[1]), float(race[2])), details=_face(rng),
        skin=(float(skin[0]), float(skin[1]), float(skin[2])), lips=(float(lips[0]), float(lips[1]), float(lips[2])),
        eyes=eyes, hair=_hair(rng, gender < 0.5, age, skin),
    )  # fmt: skip


def describe_person(person: PersonSpec) -> str:
    """The static part of the prompt for a person, without garments."""
    kind = {"short": "short {} hair", "cap": "a {} bowl cut", "bob": "{} bob-length hair", "tied": "{} hair tied back"}
    age = "An older" if person.age > 0.6 else "A young" if person.age < 0.15 else "A"
    return (f"{age} {'woman' if person.female else 'man'} with "
            f"{kind[person.hair.kind].format(person.hair.name)}")  # fmt: skip
