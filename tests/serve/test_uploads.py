from __future__ import annotations

import asyncio
import io
import re
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from quickchange.errors import InputError
from quickchange.media.images import fit_garment, fit_reference
from quickchange.serve.protocol.problems import ProblemError
from quickchange.serve.uploads import ImageWorker, Upload, read_garment, read_picture, read_upload

U8 = NDArray[np.uint8]


class Canvas:
    """What uploads need of a studio."""

    width, height = 48, 64

    def place_garment(self, rgb: U8, alpha: NDArray[np.float32]) -> U8:
        return fit_garment(rgb, alpha, self.width, self.height, (0.1, 0.3, 0.9, 0.8))


CANVAS = Canvas()


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shirt(width: int = 200, height: int = 160) -> Image.Image:
    """A blue square, wider than high, on white."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((30, 60, 170), (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return image


def image_of(preview: bytes) -> Image.Image:
    with Image.open(io.BytesIO(preview)) as image:
        image.load()
        return image


def kind_of(error: pytest.ExceptionInfo[ProblemError]) -> str:
    return error.value.problem.type.rpartition(":")[2]


# -- reading


def test_a_garment_is_cut_out_and_placed_as_the_model_sees_it() -> None:
    upload = read_upload(encode(shirt()), CANVAS, "garment", "top", True)
    assert (upload.role, upload.kind, upload.recognised) == ("garment", "top", True)
    assert (upload.width, upload.height) == (200, 160)
    assert upload.picture.shape == (64, 48, 3)
    assert upload.picture.dtype == np.uint8
    assert (upload.picture[[0, 63]] == 255).all()
    assert abs(upload.picture[35, 24].astype(int) - (30, 60, 170)).max() < 12
    preview = image_of(upload.preview)
    assert (preview.format, preview.mode) == ("PNG", "RGBA")
    assert 90 <= preview.width <= 125  # cropped to the garment, which is 100 px wide
    alpha = np.asarray(preview)[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[alpha.shape[0] // 2, alpha.shape[1] // 2] == 255


def test_a_background_that_is_not_recognised_is_said() -> None:
    upload = read_upload(encode(Image.new("RGB", (60, 60), "red")), CANVAS, "garment", None, True)
    assert not upload.recognised
    assert upload.kind is None


def test_without_cut_out_the_whole_picture_is_the_garment() -> None:
    data = encode(shirt())
    upload = read_upload(data, CANVAS, "garment", "top", False)
    assert upload.recognised
    rgb = np.asarray(shirt())
    assert np.array_equal(upload.picture, CANVAS.place_garment(rgb, np.ones(rgb.shape[:2], np.float32)))
    assert read_garment(data, False).alpha is None
    assert read_garment(data, True).alpha is not None


def test_a_person_is_fitted() -> None:
    upload = read_upload(encode(shirt(900, 1200), "JPEG"), CANVAS, "person", None, True)
    assert (upload.role, upload.kind, upload.recognised) == ("person", None, True)
    assert np.array_equal(upload.picture, fit_reference(read_picture(encode(shirt(900, 1200), "JPEG")), 48, 64))
    preview = image_of(upload.preview)
    assert preview.mode == "RGB"
    assert max(preview.size) <= 384


def test_the_picture_is_turned_upright_and_nothing_else_of_the_camera_stays() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    exif[0x010F] = "SECRETCAMERA"
    data = encode(shirt(), "JPEG", exif=exif)
    assert b"SECRETCAMERA" in data
    for role in ("garment", "person"):
        upload = read_upload(data, CANVAS, role, None, True)  # type: ignore[arg-type]
        assert (upload.width, upload.height) == (160, 200)
        assert b"SECRETCAMERA" not in upload.preview
        assert not image_of(upload.preview).getexif()


def test_ids_fit_the_protocol_and_cannot_be_guessed() -> None:
    data = encode(shirt())
    ids = {read_upload(data, CANVAS, "person", None, False).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) for name in ids)


def test_a_phone_s_jpeg_with_a_second_picture_is_one_picture() -> None:
    data = encode(shirt(), "MPO", save_all=True, append_images=[shirt(32, 32)])
    assert read_picture(data).shape == (160, 200, 3)


# -- refusing


FRAMES = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>",
        b"<!DOCTYPE html><html></html>",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(60),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"not a picture at all",
        bytes(5000),
        *(encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]) for kind in ("GIF", "WEBP", "PNG", "TIFF")),
        encode(Image.new("RGB", (32, 32)), "PPM"),
        encode(Image.new("RGB", (32, 32)), "ICO"),
    ],
    ids=["svg", "xml", "html", "pdf", "zip", "ps", "text", "zeros", "gif", "webp", "apng", "tiff", "ppm", "ico"],
)
def test_other_kinds_of_files_are_refused_and_what_is_expected_is_said(data: bytes) -> None:
    with pytest.raises(ProblemError, match=r"expected .*JPEG, PNG, WebP") as error:
        read_upload(data, CANVAS, "garment", "top", True)
    assert kind_of(error) == "unsupported-media"


def test_an_empty_upload_is_said() -> None:
    with pytest.raises(InputError, match="empty"):
        read_picture(b"")


@pytest.mark.parametrize("size", [(8000, 6300), (8192, 8192), (60000, 60000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_pictures_are_refused_before_they_are_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = encode(Image.new("1", (16, 16)), "BMP")
    data = header[:18] + size[0].to_bytes(4, "little") + size[1].to_bytes(4, "little") + header[26:]
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match="megapixels"):
        read_picture(data)


def test_tiny_and_damaged_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="16 to 8192 px"):
        read_picture(encode(Image.new("RGB", (15, 40))))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = encode(Image.fromarray(noise))
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(whole[: len(whole) // 2])


# -- keeping


def upload(name: str) -> Upload:
    return Upload(name, "person", None, np.zeros((64, 48, 3), np.uint8), b"", True, 48, 64)


# -- the worker


def test_the_worker_runs_one_at_a_time_in_order_and_refuses_a_crowd() -> None:
    free, threads, order = threading.Event(), set[int](), list[int]()

    def job(number: int) -> int:
        free.wait(10)
        threads.add(threading.get_ident())
        order.append(number)
        return number

    async def main() -> None:
        worker = ImageWorker(backlog=2)
        waiting = [asyncio.create_task(worker.run(job, number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as error:
            await worker.run(job, 9)
        assert kind_of(error) == "busy"
        assert error.value.problem.retry_after
        free.set()
        assert await asyncio.gather(*waiting) == [0, 1, 2]
        assert await worker.run(job, 3) == 3  # there is room again
        worker.shutdown()

    asyncio.run(main())
    assert order == [0, 1, 2, 3]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_job_s_error_comes_back_and_frees_its_place() -> None:
    def job() -> None:
        raise InputError("no")

    async def main() -> None:
        worker = ImageWorker(backlog=0)
        for _ in range(3):
            with pytest.raises(InputError, match="no"):
                await worker.run(job)
        worker.shutdown()

    asyncio.run(main())
