"""Cameras: a framing shows the same part of every body, whatever the picture's aspect ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickchange.world.assets import Floats
from quickchange.world.body import Body
from quickchange.world.geometry import look_at, orthographic, perspective
from quickchange.world.spec import CameraSpec

FIELD_OF_VIEW = np.radians(20)
HEADROOM = 0.065  # share of the visible height that stays free above the hair
HAIR = 0.15  # decimetres that hair adds to the crown
# Visible height and least visible width; the unit is the height from the hip joints to the crown with hair.
BUST, BUST_WIDTH = 1.34, 0.74
ROOM = 1.08  # factor around wide poses, for perspective, zoom and shift
PRODUCT_LEAST = 0.3  # least height of a product shot's window, in body heights


@dataclass(frozen=True, eq=False)
class View:
    """A camera: `matrix` f32[4,4] from world to clip space, and the eye's position."""

    matrix: Floats
    eye: Floats


@dataclass(frozen=True)
class Window:
    """The visible part of the plane of the body, z = 0.

    Attributes:
        centre: y of its centre, decimetres.
        height: its height, decimetres.
    """

    centre: float
    height: float


def window(body: Body, framing: str, aspect: float, reach: tuple[float, float] = (0.0, 0.0)) -> Window:
    """The part of the plane z = 0 that a framing shows.

    Every framing except "bust" widens until the hands stay in the picture.

    Args:
        body: the person.
        framing: "bust", "upper", "knee" or "full".
        aspect: width / height of the picture.
        reach: greatest distance of the hands from the shoulders, outwards and up, in arm lengths.
    """
    if framing == "bust":
        span = body.top + HAIR - body.hip
        height = max(BUST * span, BUST_WIDTH * span / aspect)
        return Window(body.top + HAIR + HEADROOM * height - height / 2, height)
    share, middle = {"full": (1.18, 0.5), "knee": (0.86, 0.62), "upper": (0.58, 0.74)}[framing]
    height = share * body.height * max(1.0, 0.5625 / aspect)
    width = 2 * (body.shoulder + reach[0] * body.arm) * ROOM
    fingertips = float(body.joints["l-shoulder"][1]) + reach[1] * body.arm * ROOM
    top = max(body.floor + middle * body.height + height / 2, fingertips)
    height = max(height, width / aspect, top - (body.floor + middle * body.height - height / 2))
    # A wider picture shows more of the legs; only what remains below the feet is shared with the space overhead.
    spare = max(0.0, body.floor - 0.08 * body.height - (top - height))
    return Window(top + spare / 2 - height / 2, height)


def clip_view(body: Body, camera: CameraSpec, reach: tuple[float, float], aspect: float, seconds: float) -> View:
    """The perspective camera of a clip, `seconds` after its first frame. `reach`: see `window`."""
    seen = window(body, camera.framing, aspect, reach)
    height = seen.height / camera.zoom
    target = np.array([camera.shift[0] * height, seen.centre + camera.shift[1] * height, 0.0])
    azimuth = camera.azimuth + camera.azimuth_rate * seconds
    flat = np.cos(camera.elevation)
    direction = np.array([np.sin(azimuth) * flat, np.sin(camera.elevation), np.cos(azimuth) * flat])
    eye = target + direction * (height / 2 / np.tan(FIELD_OF_VIEW / 2))
    return View(perspective(FIELD_OF_VIEW, aspect, 1, 400) @ look_at(eye, target), eye.astype(np.float32))


def product_view(seen: Window, aspect: float) -> View:
    """The orthographic camera of product shots, straight from the front."""
    half = seen.height / 2
    target, eye = np.array([0, seen.centre, 0.0]), np.array([0, seen.centre, 40.0])
    return View(orthographic(half * aspect, half, 1, 100) @ look_at(eye, target), eye.astype(np.float32))


def product_window(body: Body, framing: str, aspect: float, points: Floats, margin: float) -> Window:
    """The window of a product shot; it never crops the garment.

    A bust has the clip's own window. Every other framing has a window that the garment fills.

    Args:
        body: the person.
        framing: of the clip.
        aspect: width / height of the picture.
        points: f32[n,3], vertices of the garment.
        margin: least space around the garment, as a share of the height; twice that outside busts.
    """
    if framing == "bust":
        return fit(window(body, framing, aspect), points, aspect, margin)
    low, high = float(points[:, 1].min()), float(points[:, 1].max())
    return fit(Window((low + high) / 2, PRODUCT_LEAST * body.height), points, aspect, 2 * margin)


def fit(seen: Window, points: Floats, aspect: float, margin: float) -> Window:
    """Enlarge and move a window as little as needed until points have a margin around them.

    Args:
        seen: the window to start from.
        points: f32[n,3].
        aspect: width / height of the picture.
        margin: share of the window's height that stays free on every side.
    """
    low, high = points.min(0), points.max(0)
    room = 1 - 2 * margin
    half_width = float(np.abs(points[:, 0]).max())
    height = max(seen.height, 2 * half_width / (aspect * (1 - 2 * margin / aspect)), float(high[1] - low[1]) / room)
    centre = float(np.clip(seen.centre, high[1] - height * room / 2, low[1] + height * room / 2))
    return Window(centre, height)
