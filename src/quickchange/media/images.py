"""Pictures from users: safe reading, and placing them as models expect references and garments.

Arrays are uint8 RGB [H, W, 3]. ``cut_out`` (cutout.py) removes the background of a garment.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from os import PathLike, fspath

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from quickchange.errors import InputError, NotAnImageError
from quickchange.media.cutout import cut_out

__all__ = [
    "RGB",
    "Alpha",
    "Box",
    "PlacedGarment",
    "Source",
    "cut_out",
    "fit_garment",
    "fit_reference",
    "garment_canvas",
    "load_image",
]

RGB = NDArray[np.uint8]
Alpha = NDArray[np.float32]
Box = tuple[float, float, float, float]
Source = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8]

MIN_SIDE, MAX_SIDE = 16, 8192
MAX_PIXELS = 64_000_000

# Only formats whose decoders use no PostScript, no fonts and no external programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
READABLE = "JPEG, PNG, WebP, BMP, TIFF or AVIF"


@dataclass(frozen=True)
class PlacedGarment:
    """A garment on its white canvas, in the place where the model expects it. Nothing cuts or moves it again.

    Attributes:
        rgb: uint8 [H, W, 3], at the stream's size.
    """

    rgb: RGB


def load_image(source: Source) -> RGB:
    """Load a still picture as RGB, with EXIF orientation applied and transparent parts on white.

    Args:
        source: a path, the bytes of an image file, a PIL image, or a uint8 array [H, W], [H, W, 3] or [H, W, 4].

    Raises:
        InputError: no such file, not an image, animated, or a size outside 16..8192 px a side and 64 megapixels. The
            size is checked before the pixels are decoded.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source, "image")
    name = "uploaded image" if isinstance(source, bytes) else fspath(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            return _to_rgb(image, name)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise NotAnImageError(f"{name}: not an image that can be read here; expected {READABLE}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: more than {MAX_PIXELS // 10**6} megapixels; make it smaller") from error
    except InputError:
        raise
    except Exception as error:  # damaged data makes Pillow's decoders raise nearly anything, TypeError included
        raise InputError(f"{name}: cannot be read ({error}); expected {READABLE}") from error


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}x{height} px; expected {MIN_SIDE} to {MAX_SIDE} px a side "
            f"and at most {MAX_PIXELS // 10**6} megapixels"
        )


def _from_array(array: NDArray[np.uint8]) -> RGB:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(
            f"image array is {array.dtype} {array.shape}; expected uint8 [H, W], [H, W, 3] or [H, W, 4], values 0..255"
        )
    return _to_rgb(Image.fromarray(array), "image array")


def _to_rgb(image: Image.Image, name: str) -> RGB:
    _check_size(*image.size, name)
    # MPO: a phone's .jpg in which a second picture (depth, gain map) follows the first
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{name}: has {getattr(image, 'n_frames', 1)} frames; expected a still picture")
    if image.mode == "F":
        raise InputError(f"{name}: floating-point pixels; expected 8 or 16 bits per channel")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return np.repeat((np.asarray(upright).clip(0, 65535) >> 8).astype(np.uint8)[..., None], 3, 2)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return np.array(upright.convert("RGB"))


def _resize(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    smaller = width < image.shape[1] or height < image.shape[0]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def fit_garment(rgb: RGB, alpha: Alpha, width: int, height: int, box: Box = (0.05, 0.05, 0.95, 0.95)) -> RGB:
    """Place a garment on a white canvas: uncropped, with its aspect ratio, as large as the box allows, centred in it.

    Args:
        rgb: [H, W, 3], preferably from ``cut_out``, so that soft edges hold no background colour.
        alpha: [H, W] in 0..1.
        width: of the canvas, px.
        height: of the canvas, px.
        box: target (x0, y0, x1, y1) in fractions of the canvas.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: an empty box or one outside the canvas; ``rgb`` and ``alpha`` of different size.
        InputError: nothing of the garment is visible.
    """
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f"box is {box}; expected 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"rgb is {rgb.shape[:2]}, alpha {alpha.shape}; expected the same height and width")
    rows, columns = (np.flatnonzero((alpha > 0.05).any(axis)) for axis in (1, 0))
    if not rows.size:
        raise InputError("the garment is fully transparent; expected a visible one")
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cover = alpha[part][..., None].astype(np.float32)
    tall, wide = cover.shape[:2]
    scale = min((x1 - x0) * width / wide, (y1 - y0) * height / tall)
    w, h = max(1, int(wide * scale)), max(1, int(tall * scale))
    # Colours are weighted with alpha: otherwise the hidden background would mix into the edge.
    premultiplied = _resize(np.concatenate([rgb[part] * cover, cover], 2).astype(np.float32), w, h)
    left = min(round((x0 + x1) / 2 * width - w / 2), width - w)
    top = min(round((y0 + y1) / 2 * height - h / 2), height - h)
    canvas = np.full((height, width, 3), 255, np.uint8)
    painted = premultiplied[..., :3] + 255 * (1 - premultiplied[..., 3:])
    canvas[top : top + h, left : left + w] = painted.round().clip(0, 255)
    return canvas


def garment_canvas(
    source: Source | PlacedGarment, width: int, height: int, box: Box = (0.05, 0.05, 0.95, 0.95), *, cutout: bool = True
) -> PlacedGarment:
    """Load a garment, remove its background and place it. Every picture of a garment enters here.

    Args:
        source: see ``load_image``; a ``PlacedGarment`` of the canvas's size is returned unchanged.
        width: of the canvas, px.
        height: of the canvas, px.
        box: target (x0, y0, x1, y1) in fractions of the canvas.
        cutout: remove the background first; if False, the whole picture is the garment.

    Raises:
        InputError: the image cannot be used, or the placed garment has another size.
    """
    if isinstance(source, PlacedGarment):
        if source.rgb.shape[:2] != (height, width):
            tall, wide = source.rgb.shape[:2]
            raise InputError(f"the placed garment is {wide}x{tall} px; this model's canvas is {width}x{height}")
        return source
    rgb = load_image(source)
    rgb, alpha = cut_out(rgb) if cutout else (rgb, np.ones(rgb.shape[:2], np.float32))
    return PlacedGarment(fit_garment(rgb, alpha, width, height, box))


def fit_reference(rgb: RGB, width: int, height: int) -> RGB:
    """Resize a reference to cover the canvas and crop it around the centre: uint8 [height, width, 3]."""
    tall, wide = rgb.shape[:2]
    scale = max(width / wide, height / tall)
    w, h = max(width, round(wide * scale)), max(height, round(tall * scale))
    left, top = (w - width) // 2, (h - height) // 2
    resized = _resize(rgb.astype(np.float32), w, h)[top : top + height, left : left + width]
    return resized.round().clip(0, 255).astype(np.uint8)
