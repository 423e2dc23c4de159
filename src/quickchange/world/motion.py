"""Procedural motions: control channels as functions of time, and the words for them.

The poses are defined for all times, so a stream can be endless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quickchange.world.body import Body
from quickchange.world.geometry import Array, rotate_y, rotate_z, smoothstep
from quickchange.world.skeleton import SIDES, Controls, Foot, Hand, Side
from quickchange.world.spec import MotionSpec

TAU = 2 * np.pi


@dataclass(frozen=True)
class Frame:
    """Measures of a body, in decimetres, by which motions are scaled.

    Attributes:
        shoulder: f64[3], left shoulder joint.
        chest: f64[3], head of the uppermost spine bone. Hand positions are relative to it.
        pelvis: f64[3], pelvis joint.
        ankle: f64[3], left ankle joint.
        arm: length of an arm.
        leg: height of the hip joints above the ankles.
    """

    shoulder: Array
    chest: Array
    pelvis: Array
    ankle: Array
    arm: float
    leg: float

    @classmethod
    def of(cls, body: Body) -> Frame:
        """Measures of a body."""
        joints = body.joints
        return cls(joints["l-shoulder"].astype(np.float64),
                   body.heads[body.assets.bone("spine01")].astype(np.float64), joints["pelvis"].astype(np.float64),
                   joints["l-ankle"].astype(np.float64), body.arm, body.leg)  # fmt: skip

    def hand(self, sign: int, x: float, y: float, z: float) -> Array:
        """Position f64[3] of a hand, given from the shoulder of side `sign` (+1 left, -1 right).

        Args:
            sign: side.
            x: outwards, in arm lengths.
            y: up, in arm lengths.
            z: forwards, in arm lengths.
        """
        shoulder = self.shoulder - self.chest
        return np.array([sign * (shoulder[0] + x * self.arm), shoulder[1] + y * self.arm, shoulder[2] + z * self.arm])

    def hanging(self, sign: int, swing: float = 0.0) -> Hand:
        """A hand that hangs beside the body; `swing` moves it forwards, in arm lengths."""
        return Hand(self.hand(sign, 0.18, -0.95 + 0.1 * abs(swing), 0.12 + swing), np.array([sign * 0.35, 0, -1.0]))


def hold(time: float, period: float, rise: float, rest: float) -> float:
    """Periodic ramp: 0 to 1 in `rise` seconds, hold, back to 0, rest for `rest` seconds. Times in seconds."""
    u = time % period
    return float(smoothstep(0, rise, u) - smoothstep(period - rest - rise, period - rest, u))


def _side(sign: int) -> Side:
    return "L" if sign > 0 else "R"


def _blend(hand: Hand, goal: Hand, u: float, detour: Array) -> Hand:
    """A hand between two poses, at `u` in 0..1 of the way; the path bends outwards by up to `detour` f64[3]."""
    position = hand.position + (goal.position - hand.position) * u + detour * np.sin(np.pi * u)
    twist, flex, tilt, curl = ((1 - u) * getattr(hand, name) + u * getattr(goal, name)
                               for name in ("twist", "flex", "tilt", "curl"))  # fmt: skip
    return Hand(position, hand.pole * (1 - u) + goal.pole * u, twist, flex, tilt, curl)


def _stay(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    """No motion beyond the idle sway that every motion has."""


def _wave(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    sign, side = motion.side, _side(motion.side)
    u = hold(time, 7.0 / motion.speed, 1.1, 0.7)
    swing = np.sin(TAU * 0.75 * motion.speed * time)
    goal = Hand(body.hand(sign, 0.20 + 0.07 * swing * motion.amplitude, 0.32, 0.26),
                np.array([sign * -0.10, -1.0, -0.10]), twist=1.3, tilt=0.3 * swing, curl=0.08)  # fmt: skip
    pose.hands[side] = _blend(pose.hands[side], goal, u, np.array([sign * 0.05 * body.arm, 0, 0.2 * body.arm]))
    pose.head[0] += sign * 0.06 * u
    pose.head[2] -= sign * 0.05 * u


def _hips(pose: Controls, body: Frame, motion: MotionSpec, time: float, both: bool) -> None:
    u = hold(time, 9.0 / motion.speed, 1.0, 1.2)
    for side, sign in SIDES:
        if not both and sign != motion.side:
            continue
        goal = np.array([sign * body.shoulder[0] * 1.02, body.pelvis[1] + 0.55 - body.chest[1],
                         body.shoulder[2] - body.chest[2] + 0.25])  # fmt: skip
        resting = Hand(goal, np.array([sign * 1.0, 0, -0.45]), flex=0.6)
        pose.hands[side] = _blend(pose.hands[side], resting, u, np.array([sign * 0.2 * body.arm, 0, 0]))
    pose.chest[0] += 0.10 * u * np.sin(TAU * 0.16 * motion.speed * time)


def _hip(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    _hips(pose, body, motion, time, both=False)


def _both_hips(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    _hips(pose, body, motion, time, both=True)


def _raise_arms(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    u = 0.5 - 0.5 * np.cos(TAU * 0.17 * motion.speed * time)
    top = 0.22 + 0.15 * motion.amplitude
    for side, sign in SIDES:
        goal = Hand(body.hand(sign, 0.24, top, 0.20), np.array([sign * 0.45, -0.5, -0.8]), twist=1.0, curl=0.12)
        pose.hands[side] = _blend(pose.hands[side], goal, u, np.array([sign * 0.14 * body.arm, 0, 0.08 * body.arm]))


def _wide_arms(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    u = 0.5 - 0.5 * np.cos(TAU * 0.3 * motion.speed * time)
    angle = -1.2 + 2.2 * u
    for side, sign in SIDES:
        goal = body.hand(sign, 0.93 * np.cos(angle), 0.93 * np.sin(angle), 0.15)
        pose.hands[side] = Hand(goal, np.array([sign * 0.1, -0.6, -0.8]))


def _turn_slightly(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    u = 0.5 - 0.5 * np.cos(TAU * 0.15 * motion.speed * time)
    pose.chest[0] += motion.side * 0.30 * motion.amplitude * u
    pose.head[0] += motion.side * 0.12 * motion.amplitude * u


def _nod(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    pose.head[1] += 0.04 + 0.17 * motion.amplitude * np.sin(TAU * 0.45 * motion.speed * time)


def _tilt(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    pose.head[2] += 0.24 * motion.amplitude * np.sin(TAU * 0.28 * motion.speed * time)


def _step(pose: Controls, body: Frame, motion: MotionSpec, time: float, narrow: float) -> None:
    """A walk on the spot. A standing foot slides back at constant speed, as seen by a camera that moves along."""
    cycle = (time * motion.speed) % 1
    stride = motion.stride * body.leg
    lowest = 0.0
    for side, sign in SIDES:
        p = (cycle + (0 if sign > 0 else 0.5)) % 1
        if p < 0.6:  # stance: the foot slides back under the body and lifts its heel at the end
            z, lift, pitch = stride * (0.5 - p / 0.6), 0.0, max(0.0, p - 0.45) / 0.15 * 0.45
            lowest = max(lowest, abs(z))
        else:
            q = (p - 0.6) / 0.4
            z = stride * (-0.5 + q - np.sin(TAU * q) / TAU)
            lift, pitch = 0.13 * body.leg * np.sin(np.pi * q), 0.45 * (1 - q) - 0.25 * np.sin(np.pi * q)
        ankle = body.ankle
        pose.feet[side] = Foot(np.array([sign * ankle[0] * 0.55 * narrow, ankle[1] + lift + max(0.0, pitch) * 0.6,
                                         ankle[2] + z]), sign * 0.05, pitch)  # fmt: skip
    beat, side_beat = np.cos(TAU * cycle), np.cos(TAU * (cycle - 0.3))
    pose.root[1] = np.sqrt((0.985 * body.leg) ** 2 - lowest**2) - body.leg
    pose.root[0] += 0.05 * body.leg * side_beat
    pose.chest[0] -= 0.18 * beat
    pose.chest[2] += 0.05 * side_beat
    pose.rotation = rotate_y(0.10 * beat) @ rotate_z(-0.04 * side_beat)
    for side, sign in SIDES:
        pose.hands[side] = body.hanging(sign, -sign * 0.32 * beat)


def _walk(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    _step(pose, body, motion, time, narrow=0.8)


def _catwalk(pose: Controls, body: Frame, motion: MotionSpec, time: float) -> None:
    _step(pose, body, motion, time, narrow=0.5)


@dataclass(frozen=True)
class Motion:
    """A motion: its effect on a pose, and its words.

    Attributes:
        move: changes a pose in place, for (pose, measures, spec, seconds).
        words: a sentence; "{side}" stands for left or right.
        period: seconds at speed 1 after which the motion is at rest again, as at time 0.
        spin: full turns per second at speed 1.
        reach: greatest distance of fingertips and elbows from the shoulder joints, outwards and up, in arm lengths.
    """

    move: Callable[[Controls, Frame, MotionSpec, float], None]
    words: str
    period: float = 1.0
    spin: float = 0.0
    reach: tuple[float, float] = (0.35, 0.0)


MOTIONS: dict[str, Motion] = {
    "sway": Motion(_stay, "The person sways gently from side to side."),
    "wave": Motion(_wave, "The person slowly waves with the {side} hand.", 7.0, reach=(0.55, 0.65)),
    "hip": Motion(_hip, "The person puts the {side} hand on the hip.", 9.0, reach=(0.5, 0.0)),
    "hips": Motion(_both_hips, "The person puts both hands on the hips.", 9.0, reach=(0.5, 0.0)),
    "turn": Motion(_turn_slightly, "The person slowly turns slightly to the {side}.", 1 / 0.15),
    "raise": Motion(_raise_arms, "The person slowly raises both hands.", 1 / 0.17, reach=(0.6, 0.75)),
    "nod": Motion(_nod, "The person nods.", 1 / 0.45),
    "tilt": Motion(_tilt, "The person slowly tilts the head from side to side.", 1 / 0.28),
    "walk": Motion(_walk, "The person walks towards the camera."),
    "catwalk": Motion(_catwalk, "The person walks towards the camera like on a catwalk."),
    "stretch": Motion(_wide_arms, "The person stretches both arms out and up.", 1 / 0.3, reach=(1.25, 1.15)),
    "spin": Motion(_stay, "The person turns around to the {side} on the spot.", spin=0.3),
    "step_turn": Motion(_walk, "The person turns around to the {side} while stepping.", spin=0.3),
}


def describe(motion: MotionSpec) -> str:
    """The dynamic part of the prompt. Left and right are the person's own."""
    return MOTIONS[motion.name].words.format(side="left" if motion.side > 0 else "right")


def controls(body: Body, motion: MotionSpec, seconds: float) -> Controls:
    """The pose `seconds` after the clip's first frame, defined and continuous for all times."""
    measures = Frame.of(body)
    kind = MOTIONS[motion.name]
    time = motion.start + seconds
    breath, sway_rate, look_rate = motion.idle
    lean = float(np.sin(TAU * sway_rate * time)) * motion.sway
    if motion.name == "sway":
        lean *= 2
    breathing = float(np.sin(TAU * breath * time))
    pose = Controls(
        root=np.array([0.11 * body.shoulder * 3 * lean, -0.015 * body.leg - 0.01 * body.leg * abs(lean), 0.0]),
        rotation=np.eye(3),
        chest=np.array([0.0, 0.03 + 0.012 * breathing, 0.07 * lean]),
        head=np.array([0.10 * np.sin(TAU * look_rate * time), 0.03 * np.sin(TAU * 1.3 * look_rate * time), 0.0]),
        hands={side: measures.hanging(sign, 0.02 * breathing) for side, sign in SIDES},
        feet={
            side: Foot(np.array([sign * measures.ankle[0] * 0.55 * motion.stance, *measures.ankle[1:]]), sign * 0.15)
            for side, sign in SIDES
        },
    )
    kind.move(pose, measures, motion, time)
    pose.rotation = pose.rotation @ rotate_z(-0.05 * lean)
    heading = rotate_y(motion.yaw + motion.side * TAU * kind.spin * motion.speed * seconds)
    pose.rotation, pose.root = heading @ pose.rotation, heading @ pose.root
    facing = float(np.arctan2(heading[0, 2], heading[2, 2]))
    for foot in pose.feet.values():
        foot.position, foot.yaw = heading @ foot.position, foot.yaw + facing
    return pose


def product_controls(body: Body, spread: float) -> Controls:
    """The pose of product shots: arms straight, `spread` radians from vertical."""
    measures = Frame.of(body)
    ankle = measures.ankle
    return Controls(
        root=np.zeros(3), rotation=np.eye(3), chest=np.zeros(3), head=np.zeros(3),
        hands={side: Hand(measures.hand(sign, np.sin(spread), -np.cos(spread), 0.0), np.array([sign * 0.2, 0, -1.0]))
               for side, sign in SIDES},
        feet={side: Foot(np.array([sign * ankle[0], *ankle[1:]])) for side, sign in SIDES},
    )  # fmt: skip
