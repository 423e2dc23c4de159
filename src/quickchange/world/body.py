"""A person's body: the mix of shape targets, and the rest-pose coordinates in which garments are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quickchange.world.assets import BodyAssets, Floats, load_assets
from quickchange.world.geometry import vertex_normals
from quickchange.world.spec import PersonSpec

RACES = ("african", "asian", "caucasian")
CROTCH_DROP = 0.35  # decimetres from the hip joints down to the crotch


def _levels(dial: float) -> dict[str, float]:
    """Weights of the three modelled levels for a dial in 0..1."""
    return {"min": max(0.0, 1 - 2 * dial), "average": 1 - abs(2 * dial - 1), "max": max(0.0, 2 * dial - 1)}


def target_weights(person: PersonSpec) -> Iterator[tuple[str, float]]:
    """Names and weights of the shape targets of `person`: products of dials, as in MakeHuman."""
    end = "max" if person.height > 0.5 else "min"
    stretch = abs(2 * person.height - 1)
    for sex, sex_weight in (("female", 1 - person.gender), ("male", person.gender)):
        for age, age_weight in (("young", 1 - person.age), ("old", person.age)):
            share = sex_weight * age_weight
            for race, race_weight in zip(RACES, person.race, strict=True):
                yield f"macrodetails/{race}-{sex}-{age}", share * race_weight
            for muscle, muscle_weight in _levels(person.muscle).items():
                for weight, weight_weight in _levels(person.weight).items():
                    build = f"{sex}-{age}-{muscle}muscle-{weight}weight"
                    part = share * muscle_weight * weight_weight
                    yield f"macrodetails/universal-{build}", part
                    yield f"macrodetails/height/{build}-{end}height", part * stretch
                    yield f"macrodetails/proportions/{build}-idealproportions", part * 0.6
                    if sex == "female":
                        for cup, cup_weight in _levels(person.cup).items():
                            if cup != "average":
                                yield f"breast/{build}-{cup}cup-averagefirmness", part * cup_weight
    yield from person.details


class Body:
    """A person's rest-pose mesh.

    Attributes:
        vertices: f32[V,3] of all mesh parts, decimetres.
        normals: f32[V,3], unit length.
        heads: f32[bones,3], pivots of the bones.
        joints: name of a joint -> f32[3].
        parameters: f32[V,4], the garment coordinates of `garment_parameters`.
        floor: y of the soles, decimetres.
        top: y of the crown, without hair.
        hip: y of the hip joints.
        neck: y of the neck joint.
        ankle: y of the ankle joints.
        shoulder: half the distance between the shoulder joints.
    """

    def __init__(self, person: PersonSpec) -> None:
        assets = load_assets()
        self.assets: BodyAssets = assets
        moved = assets.vertices.T.copy()
        for name, weight in target_weights(person):
            if weight > 1e-3:
                moved += np.float32(weight * assets.step) * assets.targets[assets.target_index[name]]
        moved = moved.T
        mesh, bones = assets.mesh_vertices, len(assets.bones)
        self.vertices: Floats = np.ascontiguousarray(moved[:mesh])
        self.heads: Floats = moved[mesh : mesh + bones]
        self.joints: dict[str, Floats] = dict(zip(assets.joints, moved[mesh + bones :], strict=True))
        faces = assets.faces
        self.normals = vertex_normals(self.vertices, np.concatenate(list(faces.values())))
        self.hip = float(self.joints["l-upper-leg"][1])
        self.neck = float(self.joints["neck"][1])
        self.ankle = float(self.joints["l-ankle"][1])
        self.shoulder = float(self.joints["l-shoulder"][0])
        skin = self.vertices[np.unique(faces["body"])]
        self.floor, self.top = float(skin[:, 1].min()), float(skin[:, 1].max())
        self.parameters = self.garment_parameters(self.vertices)

    @property
    def height(self) -> float:
        """Decimetres from the floor to the crown, without hair."""
        return self.top - self.floor

    @property
    def arm(self) -> float:
        """Length of an arm from shoulder to wrist, decimetres."""
        shoulder, elbow, hand = (self.joints[f"l-{name}"] for name in ("shoulder", "elbow", "hand"))
        return float(np.linalg.norm(elbow - shoulder) + np.linalg.norm(hand - elbow))

    @property
    def leg(self) -> float:
        """Height of the hip joints above the ankles, decimetres."""
        return self.hip - self.ankle

    def garment_parameters(self, vertices: Floats) -> Floats:
        """Rest-pose coordinates of every mesh vertex, as garments are cut in them.

        Args:
            vertices: f32[V,3], positions of the mesh vertices in the rest pose.

        Returns:
            f32[V,4]. Column 0: along the arm, 0 shoulder .. 1 wrist, 0 on the torso. Column 1: height, 0 hip joints ..
            1 neck joint. Column 2: sideways, in shoulder half widths. Column 3: along the leg, 0 crotch .. 1 ankle, -1
            on the arms.
        """
        arm_weight = self.assets.arm_weight
        shoulder, elbow, hand = (self.joints[f"l-{name}"] for name in ("shoulder", "elbow", "hand"))
        mirrored = vertices.copy()
        mirrored[:, 0] = np.abs(mirrored[:, 0])
        upper, lower = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(hand - elbow))
        along_upper = (mirrored - shoulder) @ (elbow - shoulder) / upper
        along_lower = (mirrored - elbow) @ (hand - elbow) / lower
        along = np.where(along_lower > 0, upper + along_lower, np.minimum(along_upper, upper)) / (upper + lower)
        ramp = np.clip((arm_weight - 0.25) / 0.5, 0, 1)
        on_arm = arm_weight > 0.5
        height = (vertices[:, 1] - self.hip) / (self.neck - self.hip)
        crotch = self.hip - CROTCH_DROP
        return np.stack([
            np.clip(along, -0.05, 1.3) * ramp * ramp * (3 - 2 * ramp),
            np.where(on_arm, np.maximum(height, 0.3), height),
            vertices[:, 0] / self.shoulder,
            np.where(on_arm, -1, (crotch - vertices[:, 1]) / (crotch - self.ankle)),
        ], 1).astype(np.float32)  # fmt: skip
