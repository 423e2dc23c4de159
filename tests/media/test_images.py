from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from quickchange.errors import InputError
from quickchange.media.images import PlacedGarment, cut_out, fit_garment, fit_reference, garment_canvas, load_image

U8 = NDArray[np.uint8]


def shirt(height: int = 200, width: int = 160) -> tuple[U8, NDArray[np.bool_]]:
    """A blue shirt with a white print, and where it is."""
    scale = np.array([width, height])
    outline = np.array([[0.3, 0.2], [0.7, 0.2], [0.9, 0.35], [0.82, 0.45], [0.72, 0.4], [0.72, 0.8], [0.28, 0.8],
                        [0.28, 0.4], [0.18, 0.45], [0.1, 0.35]])  # fmt: skip
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [(outline * scale).astype(np.int32)], 1)
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = (40, 70, 160)
    cv2.circle(rgb, (width // 2, height // 2), width // 10, (245, 245, 245), -1)
    return rgb, mask == 1


def photo(background: U8) -> tuple[U8, NDArray[np.bool_]]:
    rgb, mask = shirt(*background.shape[:2])
    noise = np.random.default_rng(0).normal(0, 2, background.shape)
    return (np.where(mask[..., None], rgb, background) + noise).clip(0, 255).astype(np.uint8), mask


def overlap(alpha: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    found = alpha > 0.5
    return float((found & mask).sum() / (found | mask).sum())


def planks(height: int = 200, width: int = 160) -> U8:
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.uniform(0.8, 1.1, height // 20 + 1), 20)[:height]
    return (np.array([170, 120, 70]) * rows[:, None, None] * np.ones((1, width, 1))).clip(0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# -- loading


def test_a_picture_loads_alike_from_everywhere(tmp_path: Path) -> None:
    rgb, _ = shirt()
    image = Image.fromarray(rgb)
    path = tmp_path / "shirt.png"
    image.save(path)
    for source in (path, str(path), path.read_bytes(), image, rgb):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        assert np.array_equal(loaded, rgb)


def test_orientation_is_applied() -> None:
    rgb, _ = shirt(40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    loaded = load_image(encode(Image.fromarray(rgb), "PNG", exif=exif))
    assert np.array_equal(loaded, np.rot90(rgb, -1))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_modes(mode: str) -> None:
    image = Image.new("RGB", (20, 30), (200, 200, 200)).convert(mode)
    loaded = load_image(image)
    assert loaded.shape == (30, 20, 3)
    assert loaded.mean() == pytest.approx(200, abs=60)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    assert (load_image(Image.fromarray(np.full((20, 20), 0x4000, np.uint16))) == 0x40).all()


def test_transparency_lies_on_white() -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    assert (load_image(clear) == 255).all()


def test_a_phone_jpeg_with_a_second_picture_is_still_one_picture() -> None:
    first, second = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (16, 16), "blue")
    loaded = load_image(encode(first, "MPO", save_all=True, append_images=[second]))
    assert loaded.shape == (32, 32, 3)
    assert loaded[..., 0].min() > 240


def test_refusals_name_the_trouble(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="cannot be read"):
        load_image(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(InputError, match=r"text\.png: not an image .* expected JPEG"):
        load_image(text)
    with pytest.raises(InputError, match="not an image"):
        load_image(b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>")
    whole = encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "PNG")
    with pytest.raises(InputError, match="cannot be read"):
        load_image(whole[: len(whole) // 2])
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    with pytest.raises(InputError, match="2 frames; expected a still"):
        load_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    with pytest.raises(InputError, match="floating-point"):
        load_image(Image.new("F", (20, 20)))


@pytest.mark.parametrize("size", [(15, 100), (9000, 20), (8100, 8100)])
def test_sizes_are_checked_before_decoding(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("1", size), "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} px; expected 16 to 8192"):
        load_image(data)


def test_a_bomb_is_refused() -> None:
    header = encode(Image.new("1", (16, 16)), "BMP")
    bomb = header[:18] + (60000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(InputError, match="64 megapixels"):
        load_image(bomb)


@pytest.mark.parametrize(
    "array", [np.zeros((20, 20, 3), np.float32), np.zeros((20, 20, 2), np.uint8), np.zeros(20, np.uint8)]
)
def test_other_arrays_are_refused(array: Any) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        load_image(array)


# -- cutting out


@pytest.mark.parametrize("shade", [255, 225])
def test_product_shots_are_flooded(shade: int) -> None:
    rgb, mask = photo(np.full((200, 160, 3), shade, np.uint8))
    colours, alpha = cut_out(rgb)
    assert colours.shape == rgb.shape
    assert alpha.dtype == np.float32
    assert overlap(alpha, mask) > 0.95


def test_a_white_garment_on_white_survives() -> None:
    rgb = np.full((200, 160, 3), 255, np.uint8)
    _, mask = shirt()
    rgb[mask] = 238
    assert overlap(cut_out(rgb)[1], mask) > 0.95


def test_a_garment_on_the_floor_is_found() -> None:
    rgb, mask = photo(planks())
    colours, alpha = cut_out(rgb)
    assert overlap(alpha, mask) > 0.93
    assert alpha[100, 80] == 1  # the print is part of it
    assert abs(colours[alpha > 0.5].astype(int) - rgb[alpha > 0.5]).mean() < 8


def test_the_same_photo_gives_the_same_garment() -> None:
    rgb, _ = photo(planks())
    (a, alpha), (b, beta) = cut_out(rgb), cut_out(rgb.copy())
    assert np.array_equal(a, b)
    assert np.array_equal(alpha, beta)


@pytest.mark.parametrize("colour", [(255, 255, 255), (90, 60, 50), (0, 0, 0)])
def test_nothing_to_find_means_the_whole_picture(
    colour: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    rgb = np.full((60, 40, 3), colour, np.uint8)
    with caplog.at_level(logging.WARNING):
        same, alpha = cut_out(rgb)
    assert (alpha == 1).all()
    assert np.array_equal(same, rgb)
    assert "whole picture" in caplog.text


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (3000, 500)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    colours, alpha = cut_out(photo(planks(*size))[0])
    assert colours.shape[:2] == alpha.shape
    assert max(alpha.shape) <= 2048
    assert 0 <= alpha.min() <= alpha.max() <= 1


# -- framing


@given(
    height=st.integers(16, 90), width=st.integers(16, 90), canvas_h=st.integers(32, 96), canvas_w=st.integers(32, 96)
)
@settings(max_examples=50)
def test_a_garment_is_whole_centred_and_in_proportion(height: int, width: int, canvas_h: int, canvas_w: int) -> None:
    rgb = np.zeros((height + 12, width + 20, 3), np.uint8)
    alpha = np.zeros(rgb.shape[:2], np.float32)
    alpha[4 : 4 + height, 15 : 15 + width] = 1
    canvas = fit_garment(rgb, alpha, canvas_w, canvas_h, box=(0.1, 0.1, 0.9, 0.9))
    assert canvas.shape == (canvas_h, canvas_w, 3)
    rows, columns = (np.flatnonzero((canvas[..., 0] < 128).any(axis)) for axis in (1, 0))
    h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
    scale = min(0.8 * canvas_h / height, 0.8 * canvas_w / width)
    assert abs(h - height * scale) <= 1
    assert abs(w - width * scale) <= 1
    assert abs(rows.mean() + 0.5 - canvas_h / 2) <= 1
    assert abs(columns.mean() + 0.5 - canvas_w / 2) <= 1


def test_the_box_places_the_garment_and_hidden_colours_do_not_bleed() -> None:
    rgb = np.zeros((40, 40, 3), np.uint8)
    rgb[:] = (255, 0, 0)  # hidden
    alpha = np.zeros((40, 40), np.float32)
    rgb[10:30, 10:30], alpha[10:30, 10:30] = (0, 0, 255), 1
    canvas = fit_garment(rgb, alpha, 64, 128, box=(0, 0.5, 1, 1))
    assert (canvas[:64] == 255).all()
    assert (canvas[64:] == (0, 0, 255)).all()


def test_fit_garment_refuses() -> None:
    rgb, alpha = np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), np.float32)
    with pytest.raises(ValueError, match="expected 0 <= x0 < x1 <= 1"):
        fit_garment(rgb, alpha, 32, 32, box=(0.5, 0, 0.5, 1))
    with pytest.raises(ValueError, match="same height and width"):
        fit_garment(rgb, alpha[:10], 32, 32)
    with pytest.raises(InputError, match="fully transparent"):
        fit_garment(rgb, 0 * alpha, 32, 32)


@given(
    height=st.integers(16, 80), width=st.integers(16, 80), canvas=st.tuples(st.integers(16, 80), st.integers(16, 80))
)
@settings(max_examples=40)
def test_references_fill_the_canvas(height: int, width: int, canvas: tuple[int, int]) -> None:
    assert fit_reference(np.full((height, width, 3), 9, np.uint8), *canvas).shape == (canvas[1], canvas[0], 3)
    assert (fit_reference(np.full((height, width, 3), 9, np.uint8), *canvas) == 9).all()


def test_references_are_cropped_around_the_centre() -> None:
    rgb = np.zeros((20, 60, 3), np.uint8)
    rgb[:, 20:40] = 200
    assert (fit_reference(rgb, 20, 20) == 200).all()


def test_a_photo_of_the_canvas_size_is_a_photo() -> None:
    """Only the type says that a garment is placed already, never its size."""
    photo = np.zeros((40, 30, 3), np.uint8)
    made = garment_canvas(photo, 30, 40, (0.2, 0.2, 0.8, 0.8), cutout=False)
    assert (made.rgb[0] == 255).all()
    assert (made.rgb[20, 15] == 0).all()
    assert garment_canvas(PlacedGarment(photo), 30, 40).rgb is photo
