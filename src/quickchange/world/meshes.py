"""Vertex buffers for the shaders, packed from body parts, and the hair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quickchange.world.assets import Floats, Ints, load_assets
from quickchange.world.body import Body
from quickchange.world.geometry import Smoother, smoothstep, vertex_normals
from quickchange.world.spec import HairSpec

ATTRIBUTES = (("in_position", 3), ("in_normal", 3), ("in_bones", 4), ("in_weights", 4), ("in_uv", 2), ("in_cut", 4))
HIDDEN = -9.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """A vertex buffer and its triangles.

    Attributes:
        vertices: f32[n,20], columns in the order of `ATTRIBUTES`.
        triangles: i32[m,3].
    """

    vertices: Floats
    triangles: np.ndarray

    def skinned(self, matrices: Floats) -> Floats:
        """Positions f32[n,3] under skinning matrices f32[bones,3,4], as the shaders compute them."""
        bones, weights = self.vertices[:, 6:10].astype(np.int64), self.vertices[:, 10:14]
        blended = np.einsum("vk,vkij->vij", weights, matrices[bones])
        rotated = np.einsum("vij,vj->vi", blended[:, :, :3], self.vertices[:, :3]) + blended[:, :, 3]
        return np.ascontiguousarray(rotated, np.float32)

    @property
    def cut(self) -> Floats:
        """Garment coordinates of every vertex, f32[n,4]."""
        return self.vertices[:, 16:20]

    @property
    def normals(self) -> Floats:
        """Normals of every vertex, f32[n,3]."""
        return self.vertices[:, 3:6]


@lru_cache(maxsize=8)
def smoother(group: str) -> Smoother:
    """The smoother of a face group. One serves all bodies, because they share their topology."""
    return Smoother(load_assets().faces[group])


def pack(faces: Ints, vertices: Floats, normals: Floats, cut: Floats, uv_faces: Ints | None = None) -> Mesh:
    """Build a mesh from some of the body's triangles; vertices that they do not use are dropped.

    Args:
        faces: i64[F,3].
        vertices: f32[V,3].
        normals: f32[V,3].
        cut: f32[V,4], garment coordinates.
        uv_faces: i64[F,3], indices of texture coordinates. A vertex that has several becomes several vertices.
    """
    assets = load_assets()
    if uv_faces is None:
        used, inverse = np.unique(faces, return_inverse=True)
        uv = np.zeros((len(used), 2), np.float32)
    else:
        pairs, inverse = np.unique(faces * len(assets.uv) + uv_faces, return_inverse=True)
        used, uv = pairs // len(assets.uv), assets.uv[pairs % len(assets.uv)]
    data = np.concatenate([vertices[used], normals[used], assets.bone_index[used], assets.bone_weight[used], uv,
                           cut[used]], 1)  # fmt: skip
    return Mesh(np.ascontiguousarray(data, np.float32), inverse.reshape(-1, 3).astype(np.int32))


def eyes_mesh(body: Body) -> Mesh:
    """Mesh of the eyes."""
    return pack(body.assets.faces["eyes"], body.vertices, body.normals, body.parameters)


def body_mesh(body: Body, visible: np.ndarray) -> Mesh:
    """Mesh of the skin: the triangles with at least one corner in the mask `visible` bool[V]."""
    faces = body.assets.faces["body"]
    shown = visible[faces].any(1)
    return pack(faces[shown], body.vertices, body.normals, body.parameters, body.assets.body_uv[shown])


def hair_height(body: Body, hair: HairSpec) -> Floats:
    """Height above the hairline, f32[V], decimetres; negative without hair."""
    eye = body.joints["l-eye"]
    x, y, z = np.abs(body.vertices[:, 0]), body.vertices[:, 1] - eye[1], body.vertices[:, 2] - eye[2]
    back, far = smoothstep(0.15, 0.75, -z), smoothstep(0.6, 1.3, -z)
    nape = {"short": -0.35, "cap": -0.75, "bob": -1.05, "tied": -0.5}[hair.kind]
    side = {"short": 0.05, "cap": -0.35, "bob": -0.5, "tied": 0.0}[hair.kind]
    front = hair.line - 0.22 * smoothstep(0.25, 0.7, x)
    threshold = front * (1 - back) + back * (side * (1 - far) + far * nape)
    return np.where(body.assets.head_weight > 0.5, y - threshold, HIDDEN).astype(np.float32)


def hair_meshes(body: Body, hair: HairSpec, height: Floats) -> list[Mesh]:
    """Meshes of the hair: a smoothed shell over the scalp, and a knot for tied hair.

    Column 0 of the garment coordinates holds the height above the hairline.

    Args:
        body: the person.
        hair: kind, volume and length.
        height: f32[V], see `hair_height`.
    """
    faces = body.assets.faces["body"]
    faces = faces[(height[faces] > -0.35).all(1)]
    above_eyes = body.vertices[:, 1] - body.joints["l-eye"][1]
    thickness = (0.03 + hair.volume * np.clip(height / 0.5, 0, 1)
                 + hair.volume * 0.8 * np.clip(above_eyes - 0.5, 0, 1))  # fmt: skip
    shell = Smoother(faces)(body.vertices + body.normals * thickness[:, None].astype(np.float32), 4)
    cut = np.zeros((len(shell), 4), np.float32)
    cut[:, 0] = height
    meshes = [pack(faces, shell, vertex_normals(shell, faces), cut)]
    if hair.kind == "tied":
        scalp = shell[np.unique(faces)]
        meshes.append(_knot(body, float(scalp[:, 2].min()), hair.length))
    return meshes


def _knot(body: Body, back: float, radius: float) -> Mesh:
    """A ball of hair behind the head, bound to the head bone."""
    rows, columns = 8, 14
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    flat = np.sin(polar)
    normals = np.stack([flat * np.cos(around), np.cos(polar), flat * np.sin(around)], -1).reshape(-1, 3)
    centre = np.array([0.0, body.joints["l-eye"][1] + 0.25, back - 0.45 * radius])
    count = len(normals)
    data = np.zeros((count, 20), np.float32)
    data[:, :3], data[:, 3:6] = centre + normals * radius, normals
    data[:, 6], data[:, 10], data[:, 16] = body.assets.bone("head"), 1, 1
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None]).ravel()
    quads = np.stack([a, a + 1, a + columns + 1, a + columns], 1)
    return Mesh(data, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32))
