"""Rotations, camera matrices, mesh normals and smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickchange.world.assets import Floats, Ints

Matrix = NDArray[np.float64]
Array = NDArray[Any]


def rotate_x(angle: float) -> Matrix:
    """Rotation about x, angle in radians, [3, 3]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotate_y(angle: float) -> Matrix:
    """Rotation about y, angle in radians, [3, 3]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotate_z(angle: float) -> Matrix:
    """Rotation about z, angle in radians, [3, 3]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def rotate_axis(axis: Array, angle: float) -> Matrix:
    """Rotation about a unit axis [3], angle in radians, [3, 3] (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: Matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned


def cross(a: Array, b: Array) -> Matrix:
    """Cross product of two 3-vectors; many times faster than `np.cross`."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def unit(vector: Array) -> Matrix:
    """Scale a vector to length 1; a zero vector stays zero."""
    scaled: Matrix = np.asarray(vector, np.float64) / max(float(np.linalg.norm(vector)), 1e-9)
    return scaled


def smoothstep(low: float, high: float, x: Any) -> Any:
    """Smooth step from 0 at `low` to 1 at `high`, constant outside. `high` may be below `low`."""
    u = np.clip((x - low) / (high - low), 0, 1)
    return u * u * (3 - 2 * u)


def perspective(fov: float, aspect: float, near: float, far: float) -> Floats:
    """OpenGL projection, field of view in radians, [4, 4]."""
    t = 1 / np.tan(fov / 2)
    depth = near - far
    return np.array([[t / aspect, 0, 0, 0], [0, t, 0, 0], [0, 0, (far + near) / depth, 2 * far * near / depth],
                     [0, 0, -1, 0]], np.float32)  # fmt: skip


def orthographic(half_width: float, half_height: float, near: float, far: float) -> Floats:
    """OpenGL projection without perspective, [4, 4]."""
    depth = far - near
    return np.array([[1 / half_width, 0, 0, 0], [0, 1 / half_height, 0, 0],
                     [0, 0, -2 / depth, -(far + near) / depth], [0, 0, 0, 1]], np.float32)  # fmt: skip


def look_at(eye: Array, target: Array, up: tuple[float, float, float] = (0, 1, 0)) -> Floats:
    """View matrix of a camera at `eye` that looks at `target`, f32[4,4]."""
    forward = unit(np.asarray(target) - np.asarray(eye))
    side = unit(np.cross(forward, up))
    view = np.eye(4)
    view[0, :3], view[1, :3], view[2, :3] = side, np.cross(side, forward), -forward
    view[:3, 3] = -view[:3, :3] @ np.asarray(eye)
    return view.astype(np.float32)


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """Area-weighted unit normals f32[V,3]; zero where no face touches a vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    flat = faces.T.reshape(-1)
    tiled = np.tile(face_normals, (3, 1))
    summed = np.stack([np.bincount(flat, tiled[:, k], minlength=len(vertices)) for k in range(3)], 1)
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.asarray(summed / np.maximum(lengths, 1e-9), np.float32)


class Smoother:
    """Laplacian smoothing over a fixed set of faces. Vertices outside these faces do not move."""

    def __init__(self, faces: Ints) -> None:
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
        self.ids, counts = np.unique(edges[:, 0], return_counts=True)
        column = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Rows are padded with the vertex itself, with weight 0.
        self.neighbours = np.repeat(self.ids[:, None], counts.max(), 1)
        self.weights = np.zeros(self.neighbours.shape, np.float32)
        row = np.repeat(np.arange(len(counts)), counts)
        self.neighbours[row, column] = edges[:, 1]
        self.weights[row, column] = 1 / np.repeat(counts, counts)

    def __call__(self, vertices: Floats, rounds: int, strength: float = 0.5) -> Floats:
        """Smooth vertices f32[V,3]: each round moves them by `strength` (0..1) towards their neighbours' mean."""
        moved = vertices.copy()
        for _ in range(rounds):
            mean = np.einsum("vkc,vk->vc", moved[self.neighbours], self.weights)
            moved[self.ids] += strength * (mean - moved[self.ids])
        return moved
