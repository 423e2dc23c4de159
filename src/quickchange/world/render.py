"""The renderer of people, with OpenGL through EGL.

It needs no display. Mesa's software renderer is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moderngl
import numpy as np
from numpy.typing import NDArray

from quickchange.world import shaders, shaders_picture
from quickchange.world.assets import Floats, load_assets
from quickchange.world.body import Body
from quickchange.world.camera import View
from quickchange.world.garments import SLEEVE_RADIUS, TORSO_RADIUS, Cut, Part, garment_parts, shoe_part
from quickchange.world.geometry import look_at, orthographic, unit
from quickchange.world.gpu import Program, Surface, Targets, Uniforms, open_context, texture, uniforms, upload
from quickchange.world.meshes import Mesh, body_mesh, eyes_mesh, hair_height, hair_meshes
from quickchange.world.patterns import chest_print, noise_field, scene_image, tile
from quickchange.world.skeleton import Skeleton
from quickchange.world.spec import Colour, GarmentSpec, Label, LightSpec, PatternSpec, PersonSpec, SceneSpec, Slot

Picture = NDArray[np.uint8]
HIDDEN_BY_HAIR = 0.25
ACCENTS = {"none": 0.0, "edges": 1.0, "sleeves": 2.0, "placket": 3.0, "block": 4.0}
BACKDROPS = {"product": -1, "wall": 0, "studio": 1, "room": 2, "outdoor": 3}
PRODUCT_LIGHT = LightSpec((0.3, 0.7, 1.0), (0.42,) * 3, (0.60,) * 3, (0.50,) * 3, (-0.5, 0.2, 0.8), (0.14,) * 3, 0.0)


@dataclass(eq=False)
class Model:
    """A person on the GPU, without clothes. The renderer never draws one without an `Outfit`."""

    spec: PersonSpec
    body: Body
    skeleton: Skeleton
    hair_height: Floats
    surfaces: list[Surface]


@dataclass(eq=False)
class Outfit:
    """Garments on the GPU for one model, with the skin that they leave visible.

    Attributes:
        cut: shader inputs of the garments.
        skin: the visible skin.
        garments: (slot, surface) pairs; the slot of shoes is None.
    """

    cut: Cut
    skin: Surface
    garments: list[tuple[Slot | None, Surface]]


class Renderer:
    """Renderer of pictures of one size.

    Args:
        width: of the pictures, pixels, even.
        height: of the pictures, pixels, even.
        supersampling: samples per pixel and direction, at least 1. Pictures are drawn larger and filtered down.

    Raises:
        ValueError: a size that is not even and positive, or supersampling below 1.
        RuntimeError: no OpenGL context can be made.
    """

    def __init__(self, width: int, height: int, supersampling: float = 2.0) -> None:
        if width < 2 or height < 2 or width % 2 or height % 2 or supersampling < 1:
            raise ValueError(f"renderer: need even sizes and supersampling >= 1, got {width}x{height}, {supersampling}")
        self.width, self.height = width, height
        large = (int(np.ceil(width * supersampling)), int(np.ceil(height * supersampling)))
        context = self.context = open_context()
        self._programs = {kind: Program(context, shaders.VERTEX, shaders.fragment(kind)) for kind in shaders.SURFACES}
        self._shadow_program = Program(context, shaders.VERTEX, shaders.SHADOW_FRAGMENT)
        self._backdrop_program = Program(context, shaders_picture.FULLSCREEN_VERTEX, shaders_picture.BACKDROP_FRAGMENT)
        self._resolve_program = Program(context, shaders_picture.FULLSCREEN_VERTEX, shaders_picture.RESOLVE_FRAGMENT)
        self._targets = Targets(context, (width, height), large)
        self._bones = context.buffer(reserve=2 * shaders.BONE_ROWS * 16)
        corners = [(context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes()), "2f", "in_corner")]
        self._backdrop_pass = context.vertex_array(self._backdrop_program.program, corners)
        self._resolve_pass = context.vertex_array(self._resolve_program.program, corners)
        for program in self._programs.values():
            program.set(uniforms(shadow_map=0, noise=1, masks=2, tile=3, chest=4))
        self._backdrop_program.set(uniforms(shadow_map=0, picture=5))
        ratio = (large[0] / width, large[1] / height)
        self._resolve_program.set(uniforms(large=0, labels=1, backdrop=2, ratio=ratio))
        rng = np.random.default_rng(0)
        self._noise = texture(context, np.stack([noise_field(rng, 256, beta) for beta in (1.5, 1.2, 1.8)], -1))
        self._masks = texture(context, load_assets().masks[::-1])
        self._clear = texture(context, np.zeros((4, 4, 4), np.uint8))
        self._scene_picture: tuple[tuple[str, int], moderngl.Texture] | None = None

    # ---- uploads -------------------------------------------------------------------------------------------------

    def _surface(self, kind: str, label: Label, mesh: Mesh, values: Uniforms | None = None,
                 textures: tuple[moderngl.Texture, ...] = ()) -> Surface:  # fmt: skip
        colour_pass, shadow_pass = upload(self.context, mesh, (self._programs[kind], self._shadow_program))
        own = uniforms(label=int(label), surface=shaders.SURFACES[kind], lag=float(kind == "skirt"))
        return Surface(kind, label, colour_pass, shadow_pass, mesh, own | (values or {}), textures)

    def model(self, person: PersonSpec) -> Model:
        """Build a person and upload it."""
        body = Body(person)
        height = hair_height(body, person.hair)
        with self.context:
            self.context.gc()
            surfaces = [self._surface("eyes", Label.EYES, eyes_mesh(body))]
            surfaces += [self._surface("hair", Label.HAIR, mesh) for mesh in hair_meshes(body, person.hair, height)]
        return Model(person, body, Skeleton(body), height, surfaces)

    def dress(self, model: Model, garments: Sequence[GarmentSpec], shoes: Colour) -> Outfit:
        """Build garments for a person and upload them.

        Args:
            model: the person.
            garments: an upper and a lower garment, or a one-piece.
            shoes: linear colour.

        Raises:
            ValueError: any other choice of garments.
        """
        slots = {garment.slot for garment in garments}
        if slots not in ({"upper", "lower"}, {"onepiece"}):
            raise ValueError(f"outfit: need an upper and a lower garment or a one-piece, got {sorted(slots)}")
        cut = Cut.of(tuple(garments))
        parts: list[tuple[Slot | None, Part]] = [(garment.slot, part) for garment in garments
                                                 for part in garment_parts(model.body, garment)]  # fmt: skip
        parts.append((None, shoe_part(model.body, shoes)))
        visible = ~(cut.hides(model.body) | (model.hair_height > HIDDEN_BY_HAIR))
        with self.context:
            skin = self._surface("skin", Label.SKIN, body_mesh(model.body, visible))
            return Outfit(cut, skin, [(slot, self._garment(part, model.body)) for slot, part in parts])

    def _garment(self, part: Part, body: Body) -> Surface:
        if part.garment is None:
            return self._surface(part.surface, part.label, part.mesh, uniforms(accent=(*part.colour, 0.0)))
        pattern = part.garment.pattern
        period = pattern.period
        around = [max(1, round(2 * np.pi * radius / period)) * period / (2 * np.pi)
                  for radius in (TORSO_RADIUS, SLEEVE_RADIUS)]  # fmt: skip
        has_print = pattern.print_name != "none"
        chest = body.hip + 0.62 * (body.neck - body.hip)
        values = uniforms(fabric=(1 / period, pattern.wrinkles, pattern.print_size if has_print else 0.0, chest),
                          accent=_accent(pattern), wrap=around)  # fmt: skip
        fabric = texture(self.context, tile(pattern))
        front = texture(self.context, chest_print(pattern)) if has_print else self._clear
        return self._surface(part.surface, part.label, part.mesh, values, (fabric, front))

    # ---- drawing -------------------------------------------------------------------------------------------------

    def _draw(self, surfaces: Sequence[Surface], model: Model, cut: Cut, matrices: Floats, lagging: Floats, view: View,
              light: LightSpec, scene: SceneSpec | None) -> tuple[Picture, Picture]:  # fmt: skip
        body, spec, targets = model.body, model.spec, self._targets
        key = unit(np.array(light.direction))
        shadow_view = orthographic(11, 13, 1, 80) @ look_at(key * 35, np.zeros(3), (0, 1, 0.01))
        eye_joint, shoulder = body.joints["l-eye"], body.joints["l-shoulder"]
        common = uniforms(
            view=view.matrix, eye=view.eye, key_direction=key, key_colour=light.key, sky=light.sky,
            ground=light.ground, fill_direction=unit(np.array(light.fill_direction)), fill_colour=light.fill,
            shadow_strength=light.shadow, shadow_view=shadow_view, skin=spec.skin, lips=spec.lips,
            hair=spec.hair.colour, iris=spec.eyes, face=(*eye_joint, body.floor),
            axis=(body.joints["spine-3"][2], shoulder[0], shoulder[1], 0.0),
            u0=cut.u0, u1=cut.u1, u2=cut.u2, l0=cut.l0, s0=cut.s0,
        )  # fmt: skip
        self.context.enable(moderngl.DEPTH_TEST)
        for set_number, pose in enumerate((matrices, lagging)):
            self._bones.write(np.ascontiguousarray(pose, "f4").tobytes(), offset=set_number * shaders.BONE_ROWS * 16)
        self._bones.bind_to_uniform_block(0)
        if light.shadow > 0:
            targets.shadow.use()
            targets.shadow.clear(depth=1.0)
            self._shadow_program.set({**common, "view": common["shadow_view"]})
            for surface in surfaces:
                self._shadow_program.set(surface.uniforms)
                surface.shadow_pass.render()
        targets.large.use()
        targets.large.clear(0, 0, 0, 0, depth=1.0)
        for unit_number, bound in enumerate((targets.shadow_map, self._noise, self._masks)):
            bound.use(unit_number)
        for kind in {surface.kind for surface in surfaces}:
            self._programs[kind].set(common)
        for surface in surfaces:
            for unit_number, bound in enumerate(surface.textures, 3):
                bound.use(unit_number)
            self._programs[surface.kind].set(surface.uniforms)
            surface.colour_pass.render()
        self._draw_backdrop(view, light, scene, shadow_view, body.floor)
        targets.result.use()
        for unit_number, bound in enumerate((*targets.large_textures, targets.backdrop_texture)):
            bound.use(unit_number)
        self._resolve_pass.render()
        return targets.read()

    def _draw_backdrop(self, view: View, light: LightSpec, scene: SceneSpec | None, shadow_view: Floats,
                       floor: float) -> None:  # fmt: skip
        self.context.disable(moderngl.DEPTH_TEST)
        self._targets.backdrop.use()
        values = uniforms(kind=BACKDROPS[scene.kind if scene else "product"])
        if scene is not None:
            wall, ground, upper = scene.colours
            values |= uniforms(
                unproject=np.linalg.inv(view.matrix.astype(np.float64)), eye=view.eye, wall=wall, floor_colour=ground,
                upper=upper, distance_z=scene.distance, floor_y=floor, detail=scene.detail, shadow_view=shadow_view,
                shadow_strength=light.shadow,
            )  # fmt: skip
            if scene.kind != "wall":
                self._picture_of(scene).use(5)
        self._backdrop_program.set(values)
        self._backdrop_pass.render()

    def _picture_of(self, scene: SceneSpec) -> moderngl.Texture:
        key = (scene.kind, scene.seed)
        if self._scene_picture is None or self._scene_picture[0] != key:
            self._scene_picture = (key, texture(self.context, scene_image(scene)))
        return self._scene_picture[1]

    def worn(self, model: Model, outfit: Outfit, matrices: Floats, lagging: Floats, view: View, light: LightSpec,
             scene: SceneSpec) -> tuple[Picture, Picture]:  # fmt: skip
        """Draw a dressed person.

        Args:
            model: the person.
            outfit: made by `dress` for this model.
            matrices: f32[bones,3,4], skinning matrices.
            lagging: f32[bones,3,4], those that skirts follow.
            view: the camera.
            light: the lights.
            scene: the backdrop.

        Returns:
            Picture u8[H,W,3] and labels u8[H,W].
        """
        surfaces = [outfit.skin, *model.surfaces, *(surface for _, surface in outfit.garments)]
        with self.context:
            return self._draw(surfaces, model, outfit.cut, matrices, lagging, view, light, scene)

    def product(self, model: Model, outfit: Outfit, slot: Slot, matrices: Floats, view: View) -> Picture:
        """Draw the garments of one slot alone on white, u8[H,W,3]."""
        surfaces = [surface for owner, surface in outfit.garments if owner == slot]
        cut = outfit.cut if slot != "lower" else Cut(l0=outfit.cut.l0, s0=outfit.cut.s0)
        with self.context:
            return self._draw(surfaces, model, cut, matrices, matrices, view, PRODUCT_LIGHT, None)[0]


def _accent(pattern: PatternSpec) -> tuple[float, float, float, float]:
    r, g, b = (float(c**2.2) for c in pattern.accent_colour)
    return r, g, b, ACCENTS[pattern.accent]
