"""Garments: cut parameters -> cover functions, meshes and shader inputs.

A garment is a shell over the body's helper mesh. A cover function of four rest-pose coordinates
(`Body.garment_parameters`) decides per pixel whether the garment is there. Its value is roughly the distance from the
garment's edge in decimetres, positive inside. The same function removes the skin below, so that almost no skin pokes
through. The shaders hold the same formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickchange.world.assets import Floats
from quickchange.world.body import Body
from quickchange.world.geometry import smoothstep, vertex_normals
from quickchange.world.meshes import Mesh, pack, smoother
from quickchange.world.spec import Colour, GarmentSpec, Label

NECK_FORMS = {"crew": 0.0, "scoop": 0.0, "v": 1.0}
BACK_NECK_DEPTH = 0.07
ONEPIECE_WAIST = 0.245
TORSO_RADIUS, SLEEVE_RADIUS = 1.35, 0.55  # decimetres, of the cylinders that fabric is wrapped around
HIDE_MARGIN = 0.3  # skin this far inside a garment is never drawn; a little more than the shaders' own margin
Vector4 = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cut:
    """Shader inputs of the garments that a person wears. "on" is 1 where the garment exists, else 0.

    Attributes:
        u0: upper garment: sleeve end, hem, neck half width, neck depth.
        u1: upper garment: neck form, back neck depth, 0, on.
        u2: armhole ellipse: centre sideways, centre up, radius sideways, radius up; radii 0 for none.
        l0: trousers: waist, leg end, 0, on.
        s0: skirt: waist, leg end, 1 if joined to the upper part, on.
    """

    u0: Vector4 = (0.0, 0.0, 0.0, 0.0)
    u1: Vector4 = (0.0, 0.0, 0.0, 0.0)
    u2: Vector4 = (0.0, 0.0, 0.0, 0.0)
    l0: Vector4 = (0.0, 0.0, 0.0, 0.0)
    s0: Vector4 = (0.0, 0.0, 0.0, 0.0)

    @classmethod
    def of(cls, garments: tuple[GarmentSpec, ...]) -> Cut:
        """The cut of all garments together."""
        values: dict[str, Vector4] = {}
        for garment in garments:
            if garment.slot in ("upper", "onepiece"):
                hem = 0.05 if garment.slot == "onepiece" else garment.hem
                values["u0"] = (garment.sleeve, hem, garment.neck_width, garment.neck_depth)
                values["u1"] = (NECK_FORMS[garment.neck], BACK_NECK_DEPTH, 0.0, 1.0)
                if garment.armhole > 0:
                    values["u2"] = (1.10, 0.92, garment.armhole, 0.25)
            if garment.slot == "onepiece":
                values["s0"] = (ONEPIECE_WAIST, garment.leg, 1.0, 1.0)
            elif garment.kind == "skirt":
                values["s0"] = (garment.waist, garment.leg, 0.0, 1.0)
            elif garment.slot == "lower":
                values["l0"] = (garment.waist, garment.leg, 0.0, 1.0)
        return cls(**values)

    def upper(self, cut: Floats, normals: Floats) -> Floats:
        """Cover f32[n] of the upper garment at coordinates f32[n,4] with rest-pose normals f32[n,3]."""
        arm, height, side = cut[:, 0], cut[:, 1], np.abs(cut[:, 2])
        distance = np.minimum((self.u0[0] - arm) * 5, (height - self.u0[1]) * 5)
        front = smoothstep(-0.3, 0.3, normals[:, 2])
        depth = self.u1[1] + (self.u0[3] - self.u1[1]) * front
        down, out = np.maximum((1.02 - height) / depth, 0), side / self.u0[2]
        neck = np.hypot(out, down) - 1 if self.u1[0] < 0.5 else out + down - 1
        neck = neck - np.maximum(height - 1.02, 0) * 8
        distance = np.minimum(distance, neck * self.u0[2] * 1.5)
        if self.u2[2] > 0:
            hole = np.hypot((side - self.u2[0]) / self.u2[2], (height - self.u2[1]) / self.u2[3]) - 1
            bare = (side > self.u2[0]) & ((height > self.u2[1]) | (arm > 0.02))
            distance = np.minimum(distance, np.where(bare, -1, hole))
        return np.asarray(distance, np.float32)

    def lower(self, cut: Floats) -> Floats:
        """Cover f32[n] of trousers at coordinates f32[n,4], positive inside."""
        return np.asarray(np.minimum((self.l0[0] - cut[:, 1]) * 5, (self.l0[1] - cut[:, 3]) * 8), np.float32)

    def skirt(self, cut: Floats) -> Floats:
        """Cover f32[n] of a skirt at coordinates f32[n,4], positive inside."""
        return np.asarray(np.minimum((self.s0[0] - cut[:, 1]) * 5, (self.s0[1] - cut[:, 3]) * 8), np.float32)

    def hides(self, body: Body) -> np.ndarray:
        """Mask bool[V] of the body vertices that are certainly below a garment or a shoe."""
        hidden = body.parameters[:, 3] > 0.985
        if self.u1[3]:
            hidden |= self.upper(body.parameters, body.normals) > HIDE_MARGIN
        if self.l0[3]:
            hidden |= self.lower(body.parameters) > HIDE_MARGIN
        if self.s0[3]:
            hidden |= self.skirt(body.parameters) > HIDE_MARGIN
        return np.asarray(hidden)


@dataclass(frozen=True, eq=False)
class Part:
    """A drawable piece of a garment.

    Attributes:
        surface: name of its shader, a key of `shaders.SURFACES`.
        label: its value in id maps.
        mesh: its vertices and triangles.
        garment: the garment it belongs to; None for shoes.
        colour: linear colour of shoes.
    """

    surface: str
    label: Label
    mesh: Mesh
    garment: GarmentSpec | None
    colour: Colour = (0.0, 0.0, 0.0)


def _shell(body: Body, distance: Floats, rounds: int) -> tuple[Floats, Floats]:
    faces, smooth = body.assets.faces["tights"], smoother("tights")
    base = smooth(body.vertices, 3, 0.4)
    # Cloth hangs straight across the chest and does not follow its form.
    height, front = body.parameters[:, 1], body.normals[:, 2]
    chest = smoothstep(0.35, 0.5, height) * smoothstep(0.9, 0.8, height) * smoothstep(0.0, 0.4, front)
    chest = (chest * smoothstep(0.1, 0.02, body.parameters[:, 0]))[:, None].astype(np.float32)
    base = base + chest * (smooth(base, 12) - base)
    moved = smooth(base + body.normals * distance[:, None].astype(np.float32), rounds)
    return moved, vertex_normals(moved, faces)


def upper_part(body: Body, garment: GarmentSpec) -> Part:
    """The bodice and sleeves of an upper or one-piece garment."""
    cut, faces = Cut.of((garment,)), body.assets.faces["tights"]
    arm, height = body.parameters[:, 0], body.parameters[:, 1]
    collar = 0.07 * smoothstep(0.85, 1.0, height) * (arm < 0.05)  # a collar lies close to the neck
    distance = (0.12 - collar + garment.loose * np.clip((0.75 - height) / 0.5, 0, 1) * (arm < 0.05)
                + garment.loose * 0.75 * np.clip(arm * 2, 0, 1))  # fmt: skip
    vertices, normals = _shell(body, distance, 4 if garment.loose > 0.2 else 3)
    coordinates = body.garment_parameters(vertices)
    coordinates[:, :1] = smoother("tights")(coordinates[:, :1], 3)  # smooths the line at which the sleeve begins
    inside = cut.upper(coordinates, normals) > -0.06
    keep = (body.parameters[faces, 3] < 0.35).all(1) & inside[faces].any(1)
    return Part("upper", Label.UPPER, pack(faces[keep], vertices, normals, coordinates), garment)


def lower_part(body: Body, garment: GarmentSpec) -> Part:
    """Trousers or shorts."""
    cut, faces = Cut.of((garment,)), body.assets.faces["tights"]
    distance = 0.05 + garment.loose * np.clip(body.parameters[:, 3] * 1.6, 0, 1)
    vertices, normals = _shell(body, distance, 2)
    coordinates = body.garment_parameters(vertices)
    inside = cut.lower(coordinates) > -0.06
    keep = ((body.parameters[faces, 1] < 0.6).all(1) & (body.parameters[faces, 0] < 0.05).all(1)
            & inside[faces].any(1))  # fmt: skip
    return Part("lower", Label.LOWER, pack(faces[keep], vertices, normals, coordinates), garment)


def skirt_part(body: Body, garment: GarmentSpec) -> Part:
    """A skirt, or the lower half of a one-piece garment."""
    cut, faces, smooth = Cut.of((garment,)), body.assets.faces["skirt"], smoother("skirt")
    vertices = body.vertices.copy()
    top = vertices[smooth.ids, 1].max()
    drop = np.clip((top - vertices[:, 1]) / 4, 0, 2)
    middle = body.joints["pelvis"][2]
    vertices[:, 0] *= 1 + (garment.flare - 1) * drop
    vertices[:, 2] = middle + (vertices[:, 2] - middle) * (1 + 0.35 * drop * garment.flare)
    vertices = smooth(vertices, 2)
    normals = vertex_normals(vertices, faces)
    vertices = vertices + normals * np.float32(0.16)
    if garment.slot == "onepiece":
        vertices = _joined(body, vertices, upper_part(body, garment).mesh.vertices[:, :3])
        normals = vertex_normals(vertices, faces)
    coordinates = body.garment_parameters(vertices)
    inside = cut.skirt(coordinates) > -0.06
    label = Label.UPPER if garment.slot == "onepiece" else Label.SKIRT
    return Part("skirt", label, pack(faces[inside[faces].any(1)], vertices, normals, coordinates), garment)


def _joined(body: Body, skirt: Floats, bodice: Floats) -> Floats:
    """Skirt vertices f32[V,3], moved onto the bodice f32[n,3] around the waist, so that both form one surface."""
    torso = body.neck - body.hip
    waist, middle = body.hip + ONEPIECE_WAIST * torso, np.array([0.0, body.joints["spine-3"][2]])

    def polar(points: Floats) -> tuple[Floats, Floats]:
        flat = points[:, [0, 2]] - middle
        return np.arctan2(flat[:, 0], flat[:, 1]), np.linalg.norm(flat, axis=1)

    near = np.flatnonzero(skirt[:, 1] > waist - 0.3 * torso)
    near = near[np.isin(near, body.assets.faces["skirt"])]
    shell = bodice[np.abs(bodice[:, 1] - waist) < 0.35 * torso]
    shell = shell[polar(shell)[1] < 2.2]  # without the arms
    (angle, radius), (shell_angle, shell_radius) = polar(skirt[near]), polar(shell)
    turn = np.abs(angle[:, None] - shell_angle)
    turn = np.minimum(turn, 2 * np.pi - turn) * TORSO_RADIUS
    weight = 1 / (turn**2 + (skirt[near, 1, None] - shell[:, 1]) ** 2 + 0.002) ** 2
    goal = (weight @ shell_radius) / weight.sum(1) + 0.015
    share = smoothstep(waist - 0.3 * torso, waist - 0.1 * torso, skirt[near, 1])
    scale = 1 + share * (goal / radius - 1)
    moved = skirt.copy()
    moved[near[:, None], [0, 2]] = middle + (skirt[near][:, [0, 2]] - middle) * scale[:, None]
    return moved


def shoe_part(body: Body, colour: Colour) -> Part:
    """The shoes, as a shell around the feet."""
    faces = body.assets.faces["tights"]
    vertices, normals = _shell(body, np.full(len(body.vertices), 0.12, np.float32), 1)
    keep = (body.parameters[faces, 3] > 0.9).all(1)
    return Part("shoes", Label.SHOES, pack(faces[keep], vertices, normals, body.parameters), None, colour)


def garment_parts(body: Body, garment: GarmentSpec) -> list[Part]:
    """All parts of one garment."""
    if garment.slot == "upper":
        return [upper_part(body, garment)]
    if garment.slot == "onepiece":
        return [upper_part(body, garment), skirt_part(body, garment)]
    return [skirt_part(body, garment) if garment.kind == "skirt" else lower_part(body, garment)]
