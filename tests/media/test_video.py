"""What is written can be read by others, looks as it should, and is whole or absent."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from quickchange.media.video import (
    SYNTHETIC_NOTE,
    Frame,
    Mp4Writer,
    SheetRow,
    contact_sheet,
    default_scale,
    even_choice,
    save_png_atomic,
)

RED = (200, 30, 40)


def solid(count: int, height: int, width: int, colour: tuple[int, int, int] = RED) -> Frame:
    return np.broadcast_to(np.array(colour, np.uint8), (count, height, width, 3)).copy()


def decode(path: Path) -> tuple[list[Frame], av.VideoStream]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(stream)], stream


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((48, 32), 1, (48, 32)), ((47, 33), 1, (48, 34)), ((47, 33), 3, (142, 100)), ((96, 128), 4, (384, 512))],
)
def test_mp4_has_all_frames_even_size_and_standard_pixels(
    tmp_path: Path, size: tuple[int, int], scale: int, expected: tuple[int, int]
) -> None:
    width, height = size
    with Mp4Writer(tmp_path / "v.mp4", width, height, 24, scale=scale) as writer:
        writer.write(solid(9, height, width))
        writer.write(solid(12, height, width))
    assert (writer.width, writer.height) == expected
    frames, stream = decode(tmp_path / "v.mp4")
    assert len(frames) == 21
    assert (stream.width, stream.height) == expected
    assert stream.average_rate == 24
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert stream.codec_context.name == "h264"
    assert list(tmp_path.iterdir()) == [tmp_path / "v.mp4"]


def test_mp4_keeps_the_colour_of_the_clothes(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "v.mp4", 64, 64, 24) as writer:
        writer.write(solid(4, 64, 64))
    with av.open(str(tmp_path / "v.mp4")) as container:
        picture = next(container.decode(video=0))
        assert (picture.colorspace, picture.color_range) == (Colorspace.ITU709, ColorRange.MPEG)  # said in the file
        rgb = picture.reformat(
            format="rgb24", src_colorspace=Colorspace.ITU709, src_color_range=ColorRange.MPEG
        ).to_ndarray()
    assert np.abs(rgb.reshape(-1, 3).astype(int) - RED).max() <= 4


def test_mp4_starts_with_its_index_and_says_it_is_synthetic(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "v.mp4", 32, 32, 24) as writer:
        writer.write(solid(3, 32, 32))
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.metadata["comment"] == SYNTHETIC_NOTE


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_mp4_leaves_nothing_after_an_error_and_keeps_an_older_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "v.mp4"
    target.write_bytes(b"older")

    def interrupted() -> None:
        with Mp4Writer(target, 32, 32, 24) as writer:
            writer.write(solid(30, 32, 32))
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_mp4_without_a_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no frame"), Mp4Writer(tmp_path / "v.mp4", 32, 32, 24):
        pass
    assert not list(tmp_path.iterdir())


def test_mp4_refuses_other_shapes(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"expected uint8 \[T, 32, 48, 3\]"),
        Mp4Writer(tmp_path / "v.mp4", 48, 32, 24) as writer,
    ):
        writer.write(solid(1, 48, 32))
    with pytest.raises(ValueError, match="rate"):
        Mp4Writer(tmp_path / "v.mp4", 48, 32, 0)


def test_contact_sheet_shows_garment_and_frames(tmp_path: Path) -> None:
    blue = (20, 40, 220)
    rows = [
        SheetRow(
            garment=Image.new("RGB", (300, 200), colour),
            title="asked 1.00 s\nobeyed 1.20 s",
            frames=[(frame, f"{index / 24:.2f} s") for index, frame in enumerate(solid(count, 40, 30, colour))],
        )
        for colour, count in ((RED, 12), (blue, 3))
    ]
    sheet = contact_sheet(rows, cell_height=80, columns=8)
    pixels = np.asarray(sheet).reshape(-1, 3)
    red, blue_ = ((pixels == colour).all(1).sum() for colour in (RED, blue))
    # frames of 60 x 80 pixels and a thumbnail: eight frames of twelve fit in the first row, all three in the second
    assert 8 * 4800 < red < 12 * 4800
    assert 3 * 4800 < blue_ < 6 * 4800
    save_png_atomic(sheet, tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as saved:
        assert saved.format == "PNG"
        assert saved.size == sheet.size
        assert saved.text["Comment"] == SYNTHETIC_NOTE  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == [tmp_path / "s.png"]


def test_contact_sheet_needs_frames() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_even_choice_keeps_the_ends() -> None:
    assert even_choice(range(100), 5) == [0, 25, 50, 74, 99]
    assert even_choice(range(3), 5) == [0, 1, 2]
    assert even_choice(range(3), 1) == [0]


def test_default_scale_brings_small_frames_to_a_watchable_size() -> None:
    assert [default_scale(height) for height in (96, 128, 144, 256, 704, 1280)] == [5, 4, 4, 2, 1, 1]
