"""Clips: the triplet of reference, product shot and video, with labels, keypoints and prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickchange.world.assets import Floats
from quickchange.world.camera import clip_view, product_view, product_window
from quickchange.world.keypoints import Keypoints
from quickchange.world.motion import MOTIONS, controls, describe, product_controls
from quickchange.world.people import describe_person
from quickchange.world.render import Model, Outfit, Picture, Renderer
from quickchange.world.spec import ClipSpec, GarmentSpec

PRODUCT_SPREAD = np.radians(27)  # angle of the sleeves from vertical in product shots, radians
PRODUCT_MARGIN = 0.025  # share of the height that stays white around product shots
LAG_SECONDS = 0.14  # time constant with which skirts follow the body


@dataclass(frozen=True)
class Prompt:
    """The words for a clip; they never mention garments.

    Attributes:
        dynamic: the action of the person.
        static: the person and the place.
    """

    dynamic: str
    static: str


@dataclass(frozen=True, eq=False)
class Clip:
    """One rendered clip; T frames of H x W pixels.

    Attributes:
        spec: the data that decides the pictures.
        fps: frames per second.
        prompt: the words.
        frames: u8[T,H,W,3].
        ids: u8[T,H,W], a `Label` per pixel.
        reference: u8[H,W,3].
        reference_ids: u8[H,W], its labels.
        garment: u8[H,W,3], the product shot.
        keypoints: f32[T,17,3]: x and y in pixels, visibility 0..2.
        frames_b: u8[T,H,W,3], the same motion in the spec's `garment_b`; None unless rendered.
        ids_b: u8[T,H,W], labels of `frames_b`.
        garment_b: u8[H,W,3], product shot of the spec's `garment_b`.
    """

    spec: ClipSpec
    fps: float
    prompt: Prompt
    frames: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    reference: Picture
    reference_ids: Picture
    garment: Picture
    keypoints: Floats
    frames_b: NDArray[np.uint8] | None = None
    ids_b: NDArray[np.uint8] | None = None
    garment_b: Picture | None = None


def prompt_of(spec: ClipSpec) -> Prompt:
    """The dynamic and the static text for a spec."""
    return Prompt(describe(spec.motion), f"{describe_person(spec.person)} in front of {spec.scene.name}.")


def _wear(renderer: Renderer, model: Model, spec: ClipSpec, garment: GarmentSpec) -> Outfit:
    kept = [other for other in (spec.upper, spec.lower) if other is not None]
    return renderer.dress(model, [garment, *kept], spec.shoes)


def _product(renderer: Renderer, model: Model, outfit: Outfit, spec: ClipSpec) -> Picture:
    """The product shot: the target garment alone in a resting pose."""
    aspect = renderer.width / renderer.height
    matrices, _ = model.skeleton.pose(product_controls(model.body, PRODUCT_SPREAD))
    points = []
    for slot, surface in outfit.garments:
        if slot == spec.target:
            mesh = surface.mesh
            cover = outfit.cut.upper(mesh.cut, mesh.normals) if surface.kind == "upper" else \
                outfit.cut.skirt(mesh.cut) if surface.kind == "skirt" else outfit.cut.lower(mesh.cut)  # fmt: skip
            points.append(mesh.skinned(matrices)[cover > -0.06])
    seen = product_window(model.body, spec.camera.framing, aspect, np.concatenate(points), PRODUCT_MARGIN)
    return renderer.product(model, outfit, spec.target, matrices, product_view(seen, aspect))


def render_clip(renderer: Renderer, spec: ClipSpec, frames: int = 33, fps: float = 24.0, switch_at: int | None = None,
                both: bool = False) -> Clip:  # fmt: skip
    """Render a clip.

    Args:
        renderer: gives the picture size.
        spec: gives everything else.
        frames: number of frames, at least 1.
        fps: frames per second, above 0.
        switch_at: from this frame on the person wears `garment_b`.
        both: render the whole clip in `garment_b` as well, into `frames_b`, `ids_b` and `garment_b`.

    Returns:
        The clip. Its reference is the first frame with the garment `garment_reference` and no other change.

    Raises:
        ValueError: `frames`, `fps` or `switch_at` is out of range.
    """
    if frames < 1 or fps <= 0 or (switch_at is not None and not 0 <= switch_at <= frames):
        raise ValueError(f"clip: need frames >= 1, fps > 0, 0 <= switch_at <= frames; got {frames}, {fps}, {switch_at}")
    model = renderer.model(spec.person)
    worn_a = _wear(renderer, model, spec, spec.garment_a)
    worn_b = _wear(renderer, model, spec, spec.garment_b) if both or switch_at is not None else None
    points = Keypoints(model.body)
    reach = MOTIONS[spec.motion.name].reach
    aspect = renderer.width / renderer.height
    pictures: dict[str, list[Any]] = {"a": [], "ids": [], "b": [], "ids_b": [], "points": []}
    reference: tuple[Picture, Picture] | None = None
    lagging: Floats | None = None
    for index in range(frames):
        seconds = index / fps
        matrices, _ = model.skeleton.pose(controls(model.body, spec.motion, seconds))
        follow = 1 - float(np.exp(-1 / (fps * LAG_SECONDS)))
        lagging = matrices if lagging is None else (lagging + np.float32(follow) * (matrices - lagging))
        view = clip_view(model.body, spec.camera, reach, aspect, seconds)
        pose = (matrices, lagging, view, spec.light, spec.scene)
        if reference is None:
            outfit = _wear(renderer, model, spec, spec.garment_reference)
            reference = renderer.worn(model, outfit, *pose)
        switched = switch_at is not None and index >= switch_at
        second = renderer.worn(model, worn_b, *pose) if worn_b is not None and (both or switched) else None
        first = second if switched and second is not None else renderer.worn(model, worn_a, *pose)
        pictures["a"].append(first[0])
        pictures["ids"].append(first[1])
        pictures["points"].append(points.project(matrices, view, first[1]))
        if both and second is not None:
            pictures["b"].append(second[0])
            pictures["ids_b"].append(second[1])
    if reference is None:
        raise RuntimeError("no frame was rendered")
    return Clip(
        spec=spec, fps=float(fps), prompt=prompt_of(spec), frames=np.stack(pictures["a"]),
        ids=np.stack(pictures["ids"]), reference=reference[0], reference_ids=reference[1],
        garment=_product(renderer, model, worn_a, spec), keypoints=np.stack(pictures["points"]),
        frames_b=np.stack(pictures["b"]) if both else None, ids_b=np.stack(pictures["ids_b"]) if both else None,
        garment_b=_product(renderer, model, worn_b, spec) if worn_b is not None else None,
    )  # fmt: skip
