"""Images for textures: repeating fabrics and chest prints of a `PatternSpec`, and pictures for backdrops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from quickchange.world.spec import Colour, PatternSpec, SceneSpec

Image8 = NDArray[np.uint8]
TILE = 128
PRINT = 256
TAU = 2 * np.pi


def noise_field(rng: np.random.Generator, size: int, smoothness: float) -> NDArray[np.float64]:
    """Periodic noise f64[size,size] in 0..1 with a 1/f**smoothness spectrum."""
    f = np.fft.fftfreq(size) * size
    radius = np.hypot(f[:, None], f[None])
    radius[0, 0] = 1e9
    spectrum = (rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))) / radius**smoothness
    field = np.fft.ifft2(spectrum).real
    return np.asarray(np.clip(0.5 + 0.18 * (field - field.mean()) / field.std(), 0, 1))


def _mix(mask: NDArray[Any], inside: Colour, outside: Colour) -> NDArray[np.float64]:
    weight = np.clip(mask, 0, 1).astype(np.float64)[..., None]
    return np.asarray(np.array(inside) * weight + np.array(outside) * (1 - weight))


def _edge(distance: NDArray[Any]) -> NDArray[Any]:
    """Mask in 0..1 from a signed distance in tiles, positive inside. Its edge is one pixel wide."""
    return np.clip(distance * TILE + 0.5, 0, 1)


def tile(pattern: PatternSpec) -> Image8:
    """Draw one seamless period of a fabric.

    Returns:
        u8[128,128,3], sRGB. Columns run around the body, rows upwards.

    Raises:
        ValueError: the pattern's name is unknown.
    """
    rng = np.random.default_rng(pattern.seed)
    first, second = pattern.colours[0], pattern.colours[1]
    v, u = np.mgrid[0:TILE, 0:TILE] / TILE
    u, v = np.abs(((u + 0.5) % 1) - 0.5), np.abs(((v + 0.5) % 1) - 0.5)  # distance from the tile's centre lines
    half = pattern.duty / 2
    if pattern.name == "solid" or pattern.name == "colour_block":
        image = _mix(np.zeros((TILE, TILE)), second, first)
    elif pattern.name == "horizontal":
        image = _mix(_edge(half - v), second, first)
    elif pattern.name == "vertical":
        image = _mix(_edge(half - u), second, first)
    elif pattern.name == "checks":
        across, up = _edge(0.25 - u), _edge(0.25 - v)
        image = _mix(across + up - 2 * across * up, second, first)
    elif pattern.name == "gingham":
        image = _mix((_edge(0.25 - u) + _edge(0.25 - v)) / 2, second, first)
    elif pattern.name == "dots":
        radius = 0.5 * np.sqrt(pattern.duty)
        image = _mix(_edge(radius - np.hypot(u, v)), second, first)
    elif pattern.name == "chevron":
        rows = np.abs(((np.mgrid[0:TILE, 0:TILE][0] / TILE + u) % 1) - 0.5)
        image = _mix(_edge(half - rows), second, first)
    elif pattern.name == "plaid":
        image = _plaid(rng, pattern.colours)
    elif pattern.name == "camo":
        image = _mix(noise_field(rng, TILE, 1.5) > 0.55, second, first)
        image = np.where((noise_field(rng, TILE, 1.5) > 0.62)[..., None], np.array(pattern.colours[2]), image)
    elif pattern.name == "floral":
        image = _floral(rng, pattern.colours)
    elif pattern.name == "denim":
        image = np.array(first) * (0.82 + 0.36 * noise_field(rng, TILE, 0.6)[..., None])
    elif pattern.name == "knit":
        y, x = np.mgrid[0:TILE, 0:TILE] / TILE
        image = np.array(first) * (0.88 + 0.12 * np.sin(TAU * (x * 8 + 0.25 * np.sin(y * 16 * np.pi))))[..., None]
    else:
        raise ValueError(f"pattern name: {pattern.name!r} is none of the patterns that can be drawn")
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _plaid(rng: np.random.Generator, colours: tuple[Colour, ...]) -> NDArray[np.float64]:
    v, u = np.mgrid[0:TILE, 0:TILE] / TILE
    image = np.ones((TILE, TILE, 3)) * np.array(colours[0])
    for axis in (u, v):
        for band in range(3):
            place, width = rng.random(), rng.uniform(0.04, 0.18)
            inside = np.abs((axis - place + 0.5) % 1 - 0.5) < width / 2
            image = np.where(inside[..., None], 0.5 * image + 0.5 * np.array(colours[1 + band % 2]), image)
    return np.asarray(image)


def _floral(rng: np.random.Generator, colours: tuple[Colour, ...]) -> NDArray[np.float64]:
    size = TILE * 2
    picture = Image.new("RGB", (size, size), _bytes(colours[0]))
    draw = ImageDraw.Draw(picture)

    def disc(x: float, y: float, radius: float, colour: Colour) -> None:
        for dx in (-size, 0, size):
            for dy in (-size, 0, size):
                draw.ellipse([x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius], fill=_bytes(colour))

    for flower in range(9):
        x, y, radius, turn = rng.random() * size, rng.random() * size, rng.uniform(0.05, 0.1) * size, rng.random()
        for petal in range(5):
            angle = TAU * (petal / 5 + turn)
            disc(x + radius * np.cos(angle), y + radius * np.sin(angle), radius * 0.7, colours[1 + flower % 2])
        disc(x, y, radius * 0.5, (0.94, 0.82, 0.24))
    return np.asarray(picture.resize((TILE, TILE), Image.Resampling.BOX), np.float64) / 255.0


def _bytes(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (round(c * 255) for c in colour)
    return r, g, b


def chest_print(pattern: PatternSpec) -> Image8:
    """Draw the print, u8[256,256,4] with alpha, row 0 on top; fully transparent if there is none."""
    big = PRINT * 2
    first, second = (_bytes(c) for c in pattern.print_colours)
    picture = Image.new("RGBA", (big, big), (*first, 0))
    draw = ImageDraw.Draw(picture)

    def scaled(*values: float) -> list[float]:
        return [value * big for value in values]

    if pattern.print_name == "disc":
        draw.ellipse(scaled(0.06, 0.06, 0.94, 0.94), fill=(*first, 255))
    elif pattern.print_name == "badge":
        draw.ellipse(scaled(0.06, 0.06, 0.94, 0.94), fill=(*first, 255))
        draw.ellipse(scaled(0.28, 0.28, 0.72, 0.72), fill=(*second, 255))
    elif pattern.print_name == "star":
        angles = -np.pi / 2 + np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 0.47, 0.21)
        points = np.stack([0.5 + radii * np.cos(angles), 0.52 + radii * np.sin(angles)], 1) * big
        draw.polygon([(float(x), float(y)) for x, y in points], fill=(*first, 255))
    elif pattern.print_name == "bar":
        draw.rectangle(scaled(0.03, 0.30, 0.97, 0.70), fill=(*first, 255))
    elif pattern.print_name == "triangle":
        draw.polygon(scaled(0.5, 0.08, 0.94, 0.88, 0.06, 0.88), fill=(*first, 255))
    elif pattern.print_name == "letters":
        font = ImageFont.load_default(size=int(0.9 * big / max(1.4, len(pattern.print_text) * 0.75)))
        draw.text((big / 2, big / 2), pattern.print_text, font=font, fill=(*first, 255), anchor="mm")
    return np.asarray(picture.resize((PRINT, PRINT), Image.Resampling.BOX))


def scene_image(scene: SceneSpec) -> NDArray[np.float64]:
    """Picture for a backdrop, f64[128,128,3]: blurred blocks for the outdoors, else noise."""
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
