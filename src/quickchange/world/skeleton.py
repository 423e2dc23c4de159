"""The pose of a body: control channels and two-bone inverse kinematics give one matrix per bone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from quickchange.world.assets import Floats
from quickchange.world.body import Body
from quickchange.world.geometry import Array, Matrix, cross, rotate_axis, rotate_x, rotate_y, rotate_z, unit

Side = Literal["L", "R"]
SIDES: tuple[tuple[Side, int], ...] = (("L", 1), ("R", -1))
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = (("neck01", 0.2), ("neck02", 0.2), ("neck03", 0.2), ("head", 0.4))
KNUCKLES = ((1, 1.0), (2, 1.1), (3, 0.8))
LEG_POLE = np.array([0.0, 0.0, 1.0])  # knees bend forwards, elbows backwards
ARM_POLE = np.array([0.0, 0.0, -1.0])


@dataclass
class Hand:
    """Goal of a wrist, direction of its elbow, and angles of the hand.

    Angles are radians and have the same sign on both sides.

    Attributes:
        position: f64[3], of the wrist, relative to the uppermost spine bone in the chest's frame, decimetres.
        pole: f64[3], direction towards which the elbow points.
        twist: turns the palm of a raised forearm forwards.
        flex: bends the wrist towards the palm.
        tilt: bends the wrist sideways, towards the thumb.
        curl: bends each finger joint.
    """

    position: Array
    pole: Array
    twist: float = 0.0
    flex: float = 0.0
    tilt: float = 0.0
    curl: float = 0.35


@dataclass
class Foot:
    """Goal of an ankle, and angles of the foot.

    Attributes:
        position: f64[3], of the ankle in the world, decimetres.
        yaw: heading, radians.
        pitch: of the foot, radians.
    """

    position: Array
    yaw: float = 0.0
    pitch: float = 0.0


@dataclass
class Controls:
    """Control channels of one pose.

    Attributes:
        root: f64[3], shift of the pelvis, decimetres.
        rotation: f64[3,3], of the pelvis.
        chest: f64[3]: yaw, pitch, roll in radians, spread over the spine.
        head: f64[3]: yaw, pitch, roll in radians, spread over the neck and the head.
        hands: by side.
        feet: by side.
    """

    root: Array
    rotation: Matrix
    chest: Array
    head: Array
    hands: dict[Side, Hand]
    feet: dict[Side, Foot]


def bend(start: Array, goal: Array, first: float, second: float, pole: Array) -> tuple[Array, Array]:
    """Solve a two-bone chain that bends towards a pole.

    Args:
        start: [3], the first joint.
        goal: [3], the goal of the end; out of reach, the chain points towards it.
        first: length of the first bone.
        second: length of the second bone.
        pole: [3], direction towards which the middle joint points.

    Returns:
        Positions [3] of the middle joint and of the end.
    """
    reach = min(float(np.linalg.norm(goal - start)), (first + second) * 0.999)
    reach = max(reach, abs(first - second) * 1.001)
    direction = unit(goal - start)
    along = (first * first - second * second + reach * reach) / (2 * reach)
    out = np.sqrt(max(first * first - along * along, 0.0))
    middle = start + direction * along + unit(pole - direction * (pole @ direction)) * out
    return middle, start + direction * reach


def frame(direction: Array, hinge: Array) -> Matrix:
    """Orthonormal axes, [3, 3], of a bone along `direction` [3] whose joint turns about `hinge` [3]."""
    d = unit(direction)
    h = unit(hinge - d * (hinge @ d))
    return np.stack([d, cross(h, d), h], 1)


def _split_twist(turn: Matrix, direction: Array) -> Matrix:
    """The rotation `turn` with half of its twist about `direction`, so that the skin of a shoulder does not twist."""
    d = unit(direction)
    goal = turn @ d
    axis = cross(d, goal)
    sine, cosine = float(np.linalg.norm(axis)), float(d @ goal)
    swing = np.eye(3) if sine < 1e-6 else rotate_axis(axis / sine, float(np.arctan2(sine, cosine)))
    twist = swing.T @ turn
    angle = float(np.arctan2(d @ np.array([twist[2, 1] - twist[1, 2], twist[0, 2] - twist[2, 0],
                                           twist[1, 0] - twist[0, 1]]), np.trace(twist) - 1))  # fmt: skip
    return swing @ rotate_axis(d, angle / 2)


class Skeleton:
    """The skeleton of one body."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.names, self.parents = body.assets.bones, body.assets.parents
        self.index = {name: i for i, name in enumerate(self.names)}
        self.heads = body.heads.astype(np.float64)
        self.pelvis = body.joints["pelvis"].astype(np.float64)
        self.chest_bone = self.index["spine01"]
        self.knuckle_axis = {
            side: unit(self.heads[self.index[f"finger5-1.{side}"]] - self.heads[self.index[f"finger2-1.{side}"]])
            for side, _ in SIDES
        }

    def _local_turns(self, controls: Controls) -> dict[int, Matrix]:
        turns: dict[int, Matrix] = {}
        yaw, pitch, roll = (float(x) / len(SPINE) for x in controls.chest)
        for name in SPINE:
            turns[self.index[name]] = rotate_y(yaw) @ rotate_x(pitch) @ rotate_z(roll)
        yaw, pitch, roll = (float(x) for x in controls.head)
        for name, share in NECK:
            turns[self.index[name]] = rotate_y(yaw * share) @ rotate_x(pitch * share) @ rotate_z(roll * share)
        for side, sign in SIDES:
            hand = controls.hands[side]
            for finger in range(2, 6):
                for joint, share in KNUCKLES:
                    angle = sign * hand.curl * share * (1 + 0.12 * (finger - 2))
                    turns[self.index[f"finger{finger}-{joint}.{side}"]] = rotate_axis(self.knuckle_axis[side], angle)
            shoulder = self.heads[self.index[f"upperarm01.{side}"]][1] - self.heads[self.chest_bone][1]
            raised = float(np.clip((hand.position[1] - shoulder) / 4, 0, 1))
            turns[self.index[f"clavicle.{side}"]] = rotate_z(sign * (0.35 * raised))
            forearm = unit(self.heads[self.index[f"wrist.{side}"]] - self.heads[self.index[f"lowerarm01.{side}"]])
            knuckles = self.knuckle_axis[side]
            palm = cross(forearm, knuckles)
            half = rotate_axis(forearm, sign * hand.twist / 2)
            turns[self.index[f"lowerarm02.{side}"]] = half
            turns[self.index[f"wrist.{side}"]] = (half @ rotate_axis(palm, sign * hand.tilt)
                                                  @ rotate_axis(knuckles, sign * hand.flex))  # fmt: skip
        return turns

    def _limb(self, controls: Controls, name: str, turn: list[Matrix], place: list[Array],
              fixed: dict[int, Matrix]) -> None:  # fmt: skip
        """Enter the world rotations of a limb into `fixed`. Its first bone `name` has its place already."""
        side: Side = "L" if name.endswith("L") else "R"
        first = self.index[name]
        if name.startswith("upperleg"):
            foot = controls.feet[side]
            middle, end = self.index[f"lowerleg01.{side}"], self.index[f"foot.{side}"]
            heading = rotate_y(foot.yaw)
            goal, rest_pole = foot.position, LEG_POLE
            pole = 0.5 * (controls.rotation + heading) @ LEG_POLE
            fixed[end] = heading @ rotate_x(foot.pitch)
        else:
            hand = controls.hands[side]
            middle, end = self.index[f"lowerarm01.{side}"], self.index[f"wrist.{side}"]
            chest = turn[self.chest_bone]
            goal, rest_pole = chest @ hand.position + place[self.chest_bone], ARM_POLE
            pole = chest @ hand.pole
        upper, lower = self.heads[middle] - self.heads[first], self.heads[end] - self.heads[middle]
        knee, ankle = bend(place[first], goal, float(np.linalg.norm(upper)), float(np.linalg.norm(lower)), pole)
        # Both bones turn about the same hinge, so that the forearm stays steady when the elbow bends sharply.
        hinge, rest_hinge = cross(ankle - place[first], pole), cross(upper + lower, rest_pole)
        whole = frame(knee - place[first], hinge) @ frame(upper, rest_hinge).T
        parent = turn[self.parents[first]]
        fixed[first] = parent @ _split_twist(parent.T @ whole, upper)
        fixed[self.index[name.replace("01.", "02.")]] = whole
        fixed[middle] = frame(ankle - knee, hinge) @ frame(lower, rest_hinge).T

    def pose(self, controls: Controls) -> tuple[Floats, Floats]:
        """Skinning matrices f32[bones,3,4] from rest to world and joint positions f32[bones,3]."""
        local, fixed = self._local_turns(controls), dict[int, Matrix]()
        turn: list[Matrix] = []
        place: list[Array] = []
        for i, parent in enumerate(self.parents):
            if parent < 0:
                turn.append(controls.rotation)
                place.append(controls.root + controls.rotation @ (self.heads[i] - self.pelvis) + self.pelvis)
                continue
            place.append(turn[parent] @ (self.heads[i] - self.heads[parent]) + place[parent])
            if self.names[i].startswith(("upperleg01", "upperarm01")):
                self._limb(controls, self.names[i], turn, place, fixed)
            if i in fixed:
                turn.append(fixed[i])
            else:
                turn.append(turn[parent] @ local[i] if i in local else turn[parent])
        turns, places = np.stack(turn), np.stack(place)
        offsets = places - np.einsum("bij,bj->bi", turns, self.heads)
        return np.concatenate([turns, offsets[:, :, None]], 2).astype(np.float32), places.astype(np.float32)
