"""The data that decides the pictures of a clip: frozen dataclasses with an exact JSON round trip.

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
    """Labels of pixels, the values of id maps."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    UPPER = 3  # and both parts of a one-piece garment
    LOWER = 4
    SKIRT = 5
    SHOES = 6
    EYES = 7


@dataclass(frozen=True)
class HairSpec:
    """Hair as a shell around the head.

    Attributes:
        kind: the haircut.
        line: height of the hairline above the eyes, decimetres.
        volume: thickness of the shell, decimetres.
        length: radius of the knot of tied hair, decimetres.
        colour: linear.
        name: the colour's name, for prompts.
    """

    kind: Literal["short", "cap", "bob", "tied"]
    line: float
    volume: float
    length: float
    colour: Colour  # linear
    name: str


@dataclass(frozen=True)
class PersonSpec:
    """An adult.

    Attributes:
        gender: 0 female .. 1 male.
        age: 0 young .. 1 old; all ages are adult.
        muscle: 0..1.
        weight: 0..1.
        height: 0..1.
        cup: 0..1.
        race: shares of the African, Asian and Caucasian shape targets, sum 1.
        details: names and weights of further shape targets.
        skin: linear.
        lips: linear.
        eyes: linear.
        hair: see `HairSpec`.
    """

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
    """A fabric.

    Attributes:
        name: of the pattern, as `patterns.tile` draws it.
        colours: two or three, the main colour first.
        period: side of the repeating tile, decimetres.
        duty: share of the second colour, 0..1, for stripes and dots.
        seed: of the random parts of the pattern.
        accent: the part that has the accent colour; "block" is everything below the chest.
        accent_colour: colour of that part.
        print_name: picture on the chest.
        print_colours: its colours.
        print_size: half its side, decimetres.
        print_text: its letters, for "letters".
        wrinkles: strength of the folds, about 0..0.4.
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
    """A garment, as cut parameters on the body's rest-pose coordinates (see `quickchange.world.garments`).

    Attributes:
        slot: the part of the outfit that it is.
        kind: of garment.
        sleeve: share of the arm that is covered, 0 for none.
        hem: height of the hem, 0 hip .. 1 neck.
        waist: upper edge of a lower garment, on the same scale.
        leg: share of the leg that is covered.
        neck: form of the neckline.
        neck_width: half its width, in shoulder half widths.
        neck_depth: its depth, in torso heights.
        armhole: sideways radius of the cut-out of a sleeveless garment, in shoulder half widths; 0 with sleeves.
        loose: extra distance from the body, decimetres.
        flare: width factor of a skirt.
        pattern: the fabric.
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
    """A backdrop.

    Attributes:
        kind: "wall" is one plain colour; the others have a floor on which shadows fall.
        colours: linear: wall, floor, upper wall or sky.
        distance: z of the wall, decimetres, negative.
        detail: scale of the floor's grain, half the boards per decimetre, and two numbers that place the picture: its x
            and y on the wall of a room, or an offset outdoors.
        seed: of the backdrop's picture.
        name: its words, for prompts.
    """

    kind: Literal["wall", "studio", "room", "outdoor"]
    colours: tuple[Colour, Colour, Colour]
    distance: float
    detail: tuple[float, float, float, float]
    seed: int
    name: str


@dataclass(frozen=True)
class LightSpec:
    """Key light, hemisphere and fill light. Colours are linear.

    Attributes:
        direction: towards the key light.
        key: colour of the key light.
        sky: colour of the hemisphere from above.
        ground: colour of the hemisphere from below.
        fill_direction: towards the fill light.
        fill: colour of the fill light.
        shadow: strength of shadows, 0..1.
    """

    direction: tuple[float, float, float]
    key: Colour
    sky: Colour
    ground: Colour
    fill_direction: tuple[float, float, float]
    fill: Colour
    shadow: float


@dataclass(frozen=True)
class CameraSpec:
    """A camera.

    Attributes:
        framing: the visible part of the body; "bust" goes from the head to the upper thigh.
        azimuth: radians, from the front.
        elevation: radians, above the horizontal.
        azimuth_rate: radians per second.
        shift: of the target point, right and up, as shares of the visible height.
        zoom: factor, 1 for the framing as it is.
    """

    framing: Literal["bust", "upper", "knee", "full"]
    azimuth: float
    elevation: float
    azimuth_rate: float
    shift: tuple[float, float]
    zoom: float


@dataclass(frozen=True)
class MotionSpec:
    """A motion.

    Attributes:
        name: a key of `motion.MOTIONS`.
        side: +1 for the person's left, -1 for the right.
        start: time within the motion at which the clip begins, seconds.
        speed: factor, about 1.
        amplitude: factor, about 1.
        sway: strength of the idle sway.
        stance: width between the feet, a factor.
        stride: length of a step, in leg lengths.
        yaw: heading of the person at the first frame, radians.
        idle: rates of breathing, sway and gaze, in hertz.
    """

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

    Attributes:
        seed: of the spec.
        difficulty: of the sampling.
        person: the adult.
        scene: the backdrop.
        light: the lights.
        camera: the camera.
        motion: the motion.
        target: slot of the garment that changes.
        upper: the upper garment that stays, or None.
        lower: the lower garment that stays, or None.
        shoes: linear colour.
        garment_a: the target garment of the clip.
        garment_b: another garment of the same slot, for switches.
        garment_reference: a third one, worn in the reference.
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
    shoes: Colour
    garment_a: GarmentSpec
    garment_b: GarmentSpec
    garment_reference: GarmentSpec

    def to_json(self) -> str:
        """Encode as one line of JSON. Floats round-trip exactly."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ClipSpec:
        """Decode the output of `to_json`; ValueError if a field is missing, unknown or of the wrong type."""
        spec = _build(cls, json.loads(text), "spec")
        if not isinstance(spec, cls):
            raise ValueError("spec: expected an object")
        return spec


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type `kind` from decoded JSON; ValueError where it does not fit."""
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
