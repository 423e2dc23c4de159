"""A thin layer over OpenGL: shader programs, surfaces, textures and framebuffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from quickchange.world.meshes import ATTRIBUTES, Mesh
from quickchange.world.spec import Label

SHADOW_SIZE = 512
Uniforms = dict[str, bytes]


def open_context() -> moderngl.Context:
    """Open an OpenGL context without a window; RuntimeError if there is no driver."""
    try:
        context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:
        raise RuntimeError(f"no OpenGL context through EGL ({error}): install the packages "
                           "libegl1 and libgl1-mesa-dri (Debian, Ubuntu)") from error  # fmt: skip
    # Python may drop objects while another renderer's context is current, so we free them only inside our own.
    context.gc_mode = "context_gc"
    return context


def uniforms(**values: Any) -> Uniforms:
    """Pack values for the driver: integers and booleans as i32, all else as f32, matrices by columns."""
    packed = {}
    for name, value in values.items():
        array = np.asarray(value)
        array = array.astype("i4" if array.dtype.kind in "biu" else "f4")
        packed[name] = (array.T if array.ndim == 2 else array).tobytes()
    return packed


class Program:
    """A compiled shader program. It sends a uniform only when its value has changed."""

    def __init__(self, context: moderngl.Context, vertex: str, fragment: str) -> None:
        self.program = context.program(vertex, fragment)
        members = {name: self.program[name] for name in self.program}
        self.attributes = {name for name, member in members.items() if isinstance(member, moderngl.Attribute)}
        self._uniforms = {name: member for name, member in members.items() if isinstance(member, moderngl.Uniform)}
        self._sent: Uniforms = {}
        if "Bones" in members:
            members["Bones"].binding = 0  # type: ignore[union-attr]

    def set(self, values: Mapping[str, bytes]) -> None:
        """Set uniforms; names that the program does not have are ignored."""
        for name, data in values.items():
            uniform = self._uniforms.get(name)
            if uniform is not None and self._sent.get(name) != data:
                uniform.write(data)
                self._sent[name] = data


@dataclass(eq=False)
class Surface:
    """A mesh on the GPU, with the inputs of its shader.

    Attributes:
        kind: name of its shader, a key of `shaders.SURFACES`.
        label: its value in id maps.
        colour_pass: vertex array for the picture.
        shadow_pass: vertex array for the shadow map.
        mesh: the same mesh in main memory.
        uniforms: values for its shader.
        textures: bound to texture units 3 and up.
    """

    kind: str
    label: Label
    colour_pass: moderngl.VertexArray
    shadow_pass: moderngl.VertexArray
    mesh: Mesh
    uniforms: Uniforms
    textures: tuple[moderngl.Texture, ...]


def upload(context: moderngl.Context, mesh: Mesh, programs: tuple[Program, ...]) -> list[moderngl.VertexArray]:
    """Upload a mesh; returns one vertex array per program over the same buffers."""
    vertices, index = context.buffer(mesh.vertices.tobytes()), context.buffer(mesh.triangles.tobytes())
    arrays = []
    for program in programs:
        names = [name for name, _ in ATTRIBUTES if name in program.attributes]
        layout = " ".join(f"{n}f" if name in program.attributes else f"{4 * n}x" for name, n in ATTRIBUTES)
        arrays.append(context.vertex_array(program.program, [(vertices, layout, *names)], index))
    return arrays


def texture(context: moderngl.Context, image: NDArray[Any]) -> moderngl.Texture:
    """Upload a repeating texture with mipmaps.

    Args:
        context: of the renderer.
        image: u8, or floats in 0..1, [rows, columns, channels]; the first row is v = 0.
    """
    if image.dtype != np.uint8:
        image = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    rows, columns, channels = image.shape
    made = context.texture((columns, rows), channels, np.ascontiguousarray(image).tobytes(), alignment=1)
    made.build_mipmaps()
    made.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
    return made


class Targets:
    """Framebuffers: the large picture with labels, the backdrop, the result and the shadow map.

    Args:
        context: of the renderer.
        size: (width, height) of the result, pixels.
        large: (width, height) before filtering down.
    """

    def __init__(self, context: moderngl.Context, size: tuple[int, int], large: tuple[int, int]) -> None:
        self.size = size
        self.large_textures = (context.texture(large, 4), context.texture(large, 1, dtype="u1"))
        self.large = context.framebuffer(self.large_textures, context.depth_renderbuffer(large))
        self.backdrop_texture = context.texture(size, 4)
        self.backdrop = context.framebuffer([self.backdrop_texture])
        self.result = context.framebuffer([context.texture(size, 4), context.texture(size, 1, dtype="u1")])
        self.shadow_map = context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self.shadow_map.compare_func = "<="
        self.shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self.shadow = context.framebuffer(depth_attachment=self.shadow_map)

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read back the result: picture u8[H,W,3] and labels u8[H,W], first row on top."""
        shape = (self.size[1], self.size[0])
        raw = self.result.read(components=3, attachment=0, alignment=1)
        ids = self.result.read(components=1, attachment=1, alignment=1, dtype="u1")
        return (np.frombuffer(raw, np.uint8).reshape(*shape, 3)[::-1].copy(),
                np.frombuffer(ids, np.uint8).reshape(shape)[::-1].copy())  # fmt: skip
