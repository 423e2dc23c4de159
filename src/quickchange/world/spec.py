"""What decides a clip's pictures, as plain frozen data with an exact JSON round trip.

Colours are sRGB in 0..1 unless a field says linear. Angles are radians, lengths decimetres, times seconds.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

Colour = tuple[float, float, float]
Slot = Literal["upper", "lower", "onepiece"]
Difficulty = Literal["easy", "full"]


class Label(IntEnum):
    """Values of the id maps."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    UPPER = 3  # also both parts of a one-piece garment
    LOWER = 4
    SKIRT = 5
    SHOES = 6
    EYES = 7


@dataclass(frozen=True)
class HairSpec:
    """Hair as a shell around the head: `kind`, height of the hairline, thickness, and noise that frays the edge."""

    kind: Literal["short", "cap", "bob", "tied"]
    line: float
    volume: float
    length: float
    colour: Colour  # linear
    name: str


@dataclass(frozen=True)
class PersonSpec:
    """An adult. `gender` 0 female .. 1 male, `age` 0 young .. 1 old, the other dials 0..1, `race` sums to one."""

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    cup: float
    race: tuple[float, float, float]
    details: tuple[tuple[str, float], ...]
    skin: Colour  # linear
    lips: Colour  # linear
    eyes: Colour  # linear
    hair: HairSpec

    @property
    def female(self) -> bool:
        """Whether the body's shape is a woman's."""
        return self.gender < 0.5


@dataclass(frozen=True)
class PatternSpec:
    """A fabric: a repeating tile of `period` decimetres in two or three colours; the first is the main colour.

    `accent` colours the sleeves, the edges, the button placket or a block (all below the chest); `print_name` is a
    picture on the chest.
    """

    name: str
    colours: tuple[Colour, ...]
    period: float
    duty: float
    seed: int
    accent: Literal["none", "edges", "sleeves", "placket", "block"]
    accent_colour: Colour
    print_name: Literal["none", "disc", "star", "bar", "letters", "triangle", "badge"]
    print_colours: tuple[Colour, Colour]
    print_size: float
    print_text: str
    wrinkles: float


@dataclass(frozen=True)
class GarmentSpec:
    """A garment as cut parameters on the body's rest-pose coordinates (see `quickchange.world.garments`).

    sleeve: fraction of the arm covered (0: none). hem: height of the hem between hip (0) and neck (1).
    waist: upper edge of a lower part on the same scale. leg: fraction of the leg covered.
    neck: neckline form with half width (in shoulder half widths) and depth (in torso heights).
    armhole: how far a sleeveless garment is cut in from the shoulder joint, 0 for sleeved ones.
    loose: extra distance from the body in decimetres. flare: width factor of a skirt.
    """

    slot: Slot
    kind: Literal["tee", "long", "tank", "trousers", "shorts", "skirt", "dress"]
    sleeve: float
    hem: float
    waist: float
    leg: float
    neck: Literal["crew", "v", "scoop"]
    neck_width: float
    neck_depth: float
    armhole: float
    loose: float
    flare: float
    pattern: PatternSpec


@dataclass(frozen=True)
class SceneSpec:
    """Backdrop. A `wall` is one plain colour; the other kinds have a floor that takes shadows."""

    kind: Literal["wall", "studio", "room", "outdoor"]
    colours: tuple[Colour, Colour, Colour]  # linear: wall, floor, upper wall or sky
    distance: float
    detail: tuple[float, float, float, float]
    seed: int
    name: str


@dataclass(frozen=True)
class LightSpec:
    """Key light (direction towards it, colour), hemisphere (sky, ground) and fill light; linear colours."""

    direction: tuple[float, float, float]
    key: Colour
    sky: Colour
    ground: Colour
    fill_direction: tuple[float, float, float]
    fill: Colour
    shadow: float


@dataclass(frozen=True)
class CameraSpec:
    """`framing` bust: head to upper thigh. `shift` moves the picture, as fractions of the visible height."""

    framing: Literal["bust", "upper", "knee", "full"]
    azimuth: float
    elevation: float
    azimuth_rate: float
    shift: tuple[float, float]
    zoom: float


@dataclass(frozen=True)
class MotionSpec:
    """A periodic motion. `start` is where in it the clip begins; `side` is +1 for the person's left."""

    name: str
    side: Literal[-1, 1]
    start: float
    speed: float
    amplitude: float
    sway: float
    stance: float
    stride: float
    yaw: float
    idle: tuple[float, float, float]


@dataclass(frozen=True)
class ClipSpec:
    """Everything that decides one clip.

    `garment_a` is the target worn in the clip, `garment_b` another one of the same slot for switches, and
    `garment_reference` the one that the reference image shows. `upper` and `lower` are the garments that stay.
    """

    seed: int
    difficulty: Difficulty
    person: PersonSpec
    scene: SceneSpec
    light: LightSpec
    camera: CameraSpec
    motion: MotionSpec
    target: Slot
    upper: GarmentSpec | None
    lower: GarmentSpec | None
    shoes: Colour  # linear
    garment_a: GarmentSpec
    garment_b: GarmentSpec
    garment_reference: GarmentSpec

    def to_json(self) -> str:
        """One line of JSON; floats survive exactly."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ClipSpec:
        """Inverse of `to_json`. Raises ValueError when a field is missing, unknown or of the wrong type."""
        spec = _build(cls, json.loads(text), "spec")
        if not isinstance(spec, cls):
            raise ValueError("spec: expected an object")
        return spec


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turns decoded JSON back into the annotated type `kind`, checking as it goes."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            given = sorted(value) if isinstance(value, dict) else value
            raise ValueError(f"{where}: expected the fields {sorted(hints)}, got {given}")
        return kind(**{name: _build(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
    if origin in (typing.Union, types.UnionType):
        inner = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _build(inner[0], value, where)
    if origin is tuple:
        arguments = typing.get_args(kind)
        if not isinstance(value, list) or (arguments[-1] is not Ellipsis and len(arguments) != len(value)):
            raise ValueError(f"{where}: expected a list like {kind}, got {value!r}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ValueError(f"{where}: expected one of {typing.get_args(kind)}, got {value!r}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise ValueError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
