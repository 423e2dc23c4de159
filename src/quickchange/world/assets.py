"""The packaged body data (CC0, see assets/NOTICE).

This is the only file that the room reads at run time. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BodyAssets:
    """The neutral body, its shape targets and its rig.

    The first V points of `vertices` and `targets` are mesh vertices. A anchors follow: one per bone (its head), then
    one per named joint. Shape targets therefore move joints along with the mesh.

    Attributes:
        vertices: f32[V+A,3], decimetres.
        targets: i16[K,3,V+A], offsets in units of `step`.
        target_index: name of a shape target -> its index in `targets`.
        step: decimetres per unit of `targets`.
        mesh_vertices: V, the number of mesh vertices.
        uv: f32[T,2], texture coordinates of the body, 0..1.
        body_uv: i64[F,3], index into `uv` for every corner of every body triangle.
        faces: group name (body, tights, skirt, eyes) -> triangles i64[F,3].
        bones: bone names, parents before children.
        parents: index of every bone's parent, -1 for the root.
        joints: names of the joints.
        bone_index: f32[V,4], indices of the four strongest bones of a vertex.
        bone_weight: f32[V,4], their weights, sum 1.
        arm_weight: f32[V], total weight of all arm bones, 0..1.
        head_weight: f32[V], total weight of head and upper neck, 0..1.
        masks: u8[256,256,3], body texture masks for lips, eyelids and face; row 0 is the texture's top.
    """

    vertices: Floats
    targets: NDArray[np.int16]
    target_index: dict[str, int]
    step: float
    mesh_vertices: int
    uv: Floats
    body_uv: Ints
    faces: dict[str, Ints]
    bones: tuple[str, ...]
    parents: tuple[int, ...]
    joints: tuple[str, ...]
    bone_index: Floats
    bone_weight: Floats
    arm_weight: Floats
    head_weight: Floats
    masks: NDArray[np.uint8]

    def bone(self, name: str) -> int:
        """Index of a bone by name; ValueError if there is none."""
        return self.bones.index(name)


def triangles(quads: NDArray[Any]) -> Ints:
    """Split quads [Q,4] into triangles i64[2Q,3]."""
    wide = quads.astype(np.int64)
    return np.concatenate([wide[:, [0, 1, 2]], wide[:, [0, 2, 3]]])


@lru_cache(maxsize=1)
def load_assets() -> BodyAssets:
    """Load the packaged body; later calls return the same object."""
    resource = resources.files("quickchange.world") / "assets" / "body.npz"
    with resources.as_file(resource) as path, np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    step = float(arrays["step"])
    weight = arrays["bone_weight"].astype(np.float32)
    group = {name: triangles(arrays[f"faces_{name.replace('-', '_')}"])
             for name in ("body", "helper-tights", "helper-skirt", "helper-l-eye", "helper-r-eye")}  # fmt: skip
    return BodyAssets(
        vertices=arrays["vertices"].astype(np.float32) * step,
        targets=arrays["targets"],
        target_index={str(name): i for i, name in enumerate(arrays["target_names"])},
        step=step,
        mesh_vertices=int(arrays["mesh_vertices"]),
        uv=arrays["uv"].astype(np.float32) / 65535,
        body_uv=triangles(arrays["body_uv_faces"]),
        faces={
            "body": group["body"],
            "tights": group["helper-tights"],
            "skirt": group["helper-skirt"],
            "eyes": np.concatenate([group["helper-l-eye"], group["helper-r-eye"]]),
        },
        bones=tuple(str(name) for name in arrays["bone_names"]),
        parents=tuple(int(p) for p in arrays["bone_parents"]),
        joints=tuple(str(name) for name in arrays["joint_names"]),
        bone_index=arrays["bone_index"].astype(np.float32),
        bone_weight=weight / np.maximum(weight.sum(1, keepdims=True), 1),
        arm_weight=arrays["arm_weight"].astype(np.float32) / 255,
        head_weight=arrays["head_weight"].astype(np.float32) / 255,
        masks=arrays["masks"],
    )
