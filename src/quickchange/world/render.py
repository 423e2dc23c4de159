"""Draws people with OpenGL (EGL, no display needed; Mesa's software renderer will do)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from quickchange.world import shaders
from quickchange.world.assets import Floats, load_assets
from quickchange.world.body import Body
from quickchange.world.camera import View
from quickchange.world.garments import Cut, Part, garment_parts, shoe_part
from quickchange.world.geometry import look_at, orthographic, unit
from quickchange.world.meshes import ATTRIBUTES, Mesh, body_mesh, eyes_mesh, hair_height, hair_meshes
from quickchange.world.patterns import chest_print, noise_field, tile
from quickchange.world.skeleton import Skeleton
from quickchange.world.spec import Colour, GarmentSpec, Label, LightSpec, PatternSpec, PersonSpec, SceneSpec, Slot

Picture = NDArray[np.uint8]
SHADOW_SIZE = 512
HIDDEN_BY_HAIR = 0.25
TORSO_RADIUS, SLEEVE_RADIUS = 1.35, 0.55  # decimetres; fabric is wrapped around cylinders of about this size
ACCENTS = {"none": 0.0, "edges": 1.0, "sleeves": 2.0, "placket": 3.0}
BACKDROPS = {"product": -1, "wall": 0, "studio": 1, "room": 2, "outdoor": 3}
PRODUCT_LIGHT = LightSpec((0.3, 0.7, 1.0), (0.42,) * 3, (0.60,) * 3, (0.50,) * 3, (-0.5, 0.2, 0.8), (0.14,) * 3, 0.0)


@dataclass(eq=False)
class Surface:
    """A mesh on the GPU with what its shader needs."""

    kind: str
    label: Label
    colour_pass: moderngl.VertexArray
    shadow_pass: moderngl.VertexArray
    mesh: Mesh
    uniforms: dict[str, Any]


@dataclass(eq=False)
class Model:
    """A person on the GPU, without clothes: never drawn without an `Outfit`."""

    spec: PersonSpec
    body: Body
    skeleton: Skeleton
    hair_height: Floats
    surfaces: list[Surface]


@dataclass(eq=False)
class Outfit:
    """Garments on the GPU for one model, with the skin that they leave visible."""

    cut: Cut
    skin: Surface
    garments: list[tuple[Slot | None, Surface]]


class Renderer:
    """Pictures of `width` x `height` pixels, drawn `supersampling` times larger and filtered down.

    Raises:
        ValueError: for sizes that are not even and positive, or supersampling below 1.
        RuntimeError: when no OpenGL context can be made.
    """

    def __init__(self, width: int, height: int, supersampling: float = 2.0) -> None:
        if width < 2 or height < 2 or width % 2 or height % 2 or supersampling < 1:
            raise ValueError(f"renderer: need even sizes and supersampling >= 1, got {width}x{height}, {supersampling}")
        try:
            self.context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
        except Exception as error:
            raise RuntimeError(f"no OpenGL context through EGL ({error}): install the packages "
                               "libegl1 and libgl1-mesa-dri (Debian, Ubuntu)") from error  # fmt: skip
        # Objects may be dropped while another renderer's context is current: collect them only inside our own.
        self.context.gc_mode = "context_gc"
        self.width, self.height = width, height
        large = (int(np.ceil(width * supersampling)), int(np.ceil(height * supersampling)))
        self.ratio = (large[0] / width, large[1] / height)
        context = self.context
        self._programs = {kind: context.program(shaders.VERTEX, shaders.fragment(kind)) for kind in shaders.SURFACES}
        self._shadow_program = context.program(shaders.VERTEX, shaders.SHADOW_FRAGMENT)
        self._backdrop_program = context.program(shaders.FULLSCREEN_VERTEX, shaders.BACKDROP_FRAGMENT)
        self._resolve_program = context.program(shaders.FULLSCREEN_VERTEX, shaders.RESOLVE_FRAGMENT)
        self._large = (context.texture(large, 4), context.texture(large, 1, dtype="u1"))
        self._large_target = context.framebuffer(self._large, context.depth_renderbuffer(large))
        self._backdrop = context.texture((width, height), 4)
        self._backdrop_target = context.framebuffer([self._backdrop])
        self._small_target = context.framebuffer([context.texture((width, height), 4),
                                                  context.texture((width, height), 1, dtype="u1")])  # fmt: skip
        self._shadow_map = context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow_map)
        self._bones = context.buffer(reserve=255 * 16)
        corners = context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
        self._backdrop_pass = context.vertex_array(self._backdrop_program, [(corners, "2f", "in_corner")])
        self._resolve_pass = context.vertex_array(self._resolve_program, [(corners, "2f", "in_corner")])
        for program in (*self._programs.values(), self._shadow_program):
            program["Bones"].binding = 0  # type: ignore[union-attr]
        rng = np.random.default_rng(0)
        self._noise = self._texture(np.stack([noise_field(rng, 256, beta) for beta in (1.5, 1.2, 1.8)], -1))
        self._masks = self._texture(load_assets().masks[::-1])
        self._clear = self._texture(np.zeros((4, 4, 4), np.uint8))
        self._scene_picture: tuple[tuple[str, int], moderngl.Texture] | None = None

    # ---- uploads -------------------------------------------------------------------------------------------------

    def _texture(self, image: NDArray[Any]) -> moderngl.Texture:
        if image.dtype != np.uint8:
            image = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        rows, columns, channels = image.shape
        texture = self.context.texture((columns, rows), channels, np.ascontiguousarray(image).tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        return texture

    def _surface(self, kind: str, label: Label, mesh: Mesh, **uniforms: Any) -> Surface:
        vertices, index = self.context.buffer(mesh.vertices.tobytes()), self.context.buffer(mesh.triangles.tobytes())
        passes = []
        for program in (self._programs[kind], self._shadow_program):
            names = [name for name, _ in ATTRIBUTES if name in program]
            layout = " ".join(f"{n}f" if name in program else f"{4 * n}x" for name, n in ATTRIBUTES)
            passes.append(self.context.vertex_array(program, [(vertices, layout, *names)], index))
        return Surface(kind, label, passes[0], passes[1], mesh, uniforms)

    def model(self, person: PersonSpec) -> Model:
        """Builds a person."""
        body = Body(person)
        height = hair_height(body, person.hair)
        with self.context:
            self.context.gc()
            surfaces = [self._surface("eyes", Label.EYES, eyes_mesh(body))]
            surfaces += [self._surface("hair", Label.HAIR, mesh) for mesh in hair_meshes(body, person.hair, height)]
        return Model(person, body, Skeleton(body), height, surfaces)

    def dress(self, model: Model, garments: Sequence[GarmentSpec], shoes: Colour) -> Outfit:
        """Builds garments for a person. Together they must cover the body above and below (ValueError)."""
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
            return self._surface(part.surface, part.label, part.mesh, accent=(*part.colour, 0.0))
        pattern = part.garment.pattern
        period = pattern.period
        around = [max(1, round(2 * np.pi * radius / period)) * period / (2 * np.pi)
                  for radius in (TORSO_RADIUS, SLEEVE_RADIUS)]  # fmt: skip
        has_print = pattern.print_name != "none"
        return self._surface(
            part.surface, part.label, part.mesh,
            tile=self._texture(tile(pattern)), chest=self._texture(chest_print(pattern)) if has_print else self._clear,
            fabric=(1 / period, pattern.wrinkles, pattern.print_size if has_print else 0.0,
                    body.hip + 0.62 * (body.neck - body.hip)),
            accent=_accent(pattern), wrap=tuple(around),
        )  # fmt: skip

    # ---- drawing -------------------------------------------------------------------------------------------------

    @staticmethod
    def _set(program: moderngl.Program, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name not in program:
                continue
            if isinstance(value, np.ndarray) and value.shape == (4, 4):
                program[name].write(np.ascontiguousarray(value.T, dtype="f4").tobytes())  # type: ignore[union-attr]
            else:
                program[name].value = tuple(float(x) for x in value) if isinstance(value, tuple | np.ndarray) else value  # type: ignore[union-attr]

    def _draw(self, surfaces: Sequence[Surface], model: Model, cut: Cut, matrices: Floats, lagging: Floats, view: View,
              light: LightSpec, scene: SceneSpec | None) -> tuple[Picture, Picture]:  # fmt: skip
        body, spec, context = model.body, model.spec, self.context
        key = unit(np.array(light.direction))
        shadow_view = orthographic(11, 13, 1, 80) @ look_at(key * 35, np.zeros(3), (0, 1, 0.01))
        eye_joint, shoulder = body.joints["l-eye"], body.joints["l-shoulder"]
        common: dict[str, Any] = {
            "view": view.matrix, "eye": view.eye, "key_direction": key, "key_colour": light.key, "sky": light.sky,
            "ground": light.ground, "fill_direction": unit(np.array(light.fill_direction)), "fill_colour": light.fill,
            "shadow_strength": light.shadow, "shadow_view": shadow_view, "shadow_map": 0, "noise": 1, "masks": 2,
            "tile": 3, "chest": 4, "skin": spec.skin, "lips": spec.lips, "hair": spec.hair.colour, "iris": spec.eyes,
            "face": (*(float(x) for x in eye_joint), body.floor),
            "axis": (float(body.joints["spine-3"][2]), float(shoulder[0]), float(shoulder[1]), 0.0),
            "u0": cut.u0, "u1": cut.u1, "u2": cut.u2, "l0": cut.l0, "s0": cut.s0,
        }  # fmt: skip
        context.enable(moderngl.DEPTH_TEST)
        self._bones.bind_to_uniform_block(0)
        if light.shadow > 0:
            self._shadow_target.use()
            self._shadow_target.clear(depth=1.0)
            self._set(self._shadow_program, {**common, "view": shadow_view})
            self._each(surfaces, matrices, lagging, lambda s: self._render_shadow(s))
        self._large_target.use()
        self._large_target.clear(0, 0, 0, 0, depth=1.0)
        self._shadow_map.use(0)
        self._noise.use(1)
        self._masks.use(2)
        for program in {id(self._programs[s.kind]): self._programs[s.kind] for s in surfaces}.values():
            self._set(program, common)
        self._each(surfaces, matrices, lagging, lambda s: self._render_colour(s))
        self._draw_backdrop(view, light, scene, shadow_view, body.floor)
        return self._resolve()

    def _each(self, surfaces: Sequence[Surface], matrices: Floats, lagging: Floats, render: Any) -> None:
        """Renders rigid surfaces with the current pose and skirts with the one that lags behind."""
        for group, pose in ((False, matrices), (True, lagging)):
            chosen = [s for s in surfaces if (s.kind == "skirt") == group]
            if chosen:
                self._bones.write(np.ascontiguousarray(pose, "f4").tobytes())
                for surface in chosen:
                    render(surface)

    def _render_shadow(self, surface: Surface) -> None:
        self._shadow_program["surface"].value = shaders.SURFACES[surface.kind]  # type: ignore[union-attr]
        surface.shadow_pass.render()

    def _render_colour(self, surface: Surface) -> None:
        program, values = self._programs[surface.kind], dict(surface.uniforms)
        if "tile" in values:
            values.pop("tile").use(3)
            values.pop("chest").use(4)
        self._set(program, {**values, "label": int(surface.label)})
        surface.colour_pass.render()

    def _draw_backdrop(self, view: View, light: LightSpec, scene: SceneSpec | None, shadow_view: Floats,
                       floor: float) -> None:  # fmt: skip
        self.context.disable(moderngl.DEPTH_TEST)
        self._backdrop_target.use()
        values: dict[str, Any] = {"kind": BACKDROPS[scene.kind if scene else "product"]}
        if scene is not None:
            values |= {
                "unproject": np.linalg.inv(view.matrix.astype(np.float64)), "eye": view.eye, "wall": scene.colours[0],
                "floor_colour": scene.colours[1], "upper": scene.colours[2], "distance_z": scene.distance,
                "floor_y": floor, "detail": scene.detail, "shadow_view": shadow_view, "shadow_map": 0, "picture": 5,
                "shadow_strength": light.shadow,
            }  # fmt: skip
            if scene.kind != "wall":
                self._picture_of(scene).use(5)
        self._set(self._backdrop_program, values)
        self._backdrop_pass.render()

    def _picture_of(self, scene: SceneSpec) -> moderngl.Texture:
        key = (scene.kind, scene.seed)
        if self._scene_picture is None or self._scene_picture[0] != key:
            self._scene_picture = (key, self._texture(_scene_image(scene)))
        return self._scene_picture[1]

    def _resolve(self) -> tuple[Picture, Picture]:
        self._small_target.use()
        self._large[0].use(0)
        self._large[1].use(1)
        self._backdrop.use(2)
        self._set(self._resolve_program, {"large": 0, "labels": 1, "backdrop": 2, "ratio": self.ratio})
        self._resolve_pass.render()
        shape = (self.height, self.width)
        raw = self._small_target.read(components=3, attachment=0, alignment=1)
        ids = self._small_target.read(components=1, attachment=1, alignment=1, dtype="u1")
        return (np.frombuffer(raw, np.uint8).reshape(*shape, 3)[::-1].copy(),
                np.frombuffer(ids, np.uint8).reshape(shape)[::-1].copy())  # fmt: skip

    def worn(self, model: Model, outfit: Outfit, matrices: Floats, lagging: Floats, view: View, light: LightSpec,
             scene: SceneSpec) -> tuple[Picture, Picture]:  # fmt: skip
        """A dressed person: picture u8[H,W,3] and labels u8[H,W]. `lagging` moves skirts."""
        surfaces = [outfit.skin, *model.surfaces, *(surface for _, surface in outfit.garments)]
        with self.context:
            return self._draw(surfaces, model, outfit.cut, matrices, lagging, view, light, scene)

    def product(self, model: Model, outfit: Outfit, slot: Slot, matrices: Floats, view: View) -> Picture:
        """One garment alone on white, u8[H,W,3]."""
        surfaces = [surface for owner, surface in outfit.garments if owner == slot]
        cut = outfit.cut if slot != "lower" else Cut(l0=outfit.cut.l0, s0=outfit.cut.s0)
        with self.context:
            return self._draw(surfaces, model, cut, matrices, matrices, view, PRODUCT_LIGHT, None)[0]


def _accent(pattern: PatternSpec) -> tuple[float, float, float, float]:
    r, g, b = (float(c**2.2) for c in pattern.accent_colour)
    return r, g, b, ACCENTS[pattern.accent]


def _scene_image(scene: SceneSpec) -> NDArray[Any]:
    """Noise for rooms, blurred blocks for the outdoors; f64[128,128,3]."""
    rng = np.random.default_rng(scene.seed)
    size = 128
    if scene.kind != "outdoor":
        return np.stack([noise_field(rng, size, 1.5) for _ in range(3)], -1)
    image = np.ones((size, size, 3)) * rng.uniform(0.1, 0.6, 3)
    for _ in range(40):
        x, y = rng.integers(0, size, 2)
        w, h = rng.integers(4, 40), rng.integers(6, 60)
        image[y : y + h, x : x + w] = rng.uniform(0.05, 0.9) * (1 + rng.normal(size=3) * 0.12)
    frequency = np.fft.fftfreq(size)
    blur = np.exp(-2 * (np.pi * 3.0) ** 2 * (frequency[:, None] ** 2 + frequency[None] ** 2))
    return np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * blur[..., None], axes=(0, 1)).real
