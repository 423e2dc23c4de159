"""Videos from plans, with a studio that only paints the colour of the garment: timing, files, figures."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fakes import FakeStudio
from quickchange.errors import InputError
from quickchange.generate.plan import Garment, Plan, Switch, parse_switch, sheet_path
from quickchange.generate.run import Summary, SwitchReport, generate

COLOURS = ((200, 30, 40), (30, 180, 60), (40, 60, 210))


def make_plan(out: Path, switches: tuple[float, ...] = (), seconds: float = 2.0, sheet: bool = True) -> Plan:
    garments = [Garment(np.full((50, 40, 3), colour, np.uint8), np.ones((50, 40), np.float32)) for colour in COLOURS]
    return Plan(
        reference=np.zeros((60, 40, 3), np.uint8),
        garment=garments[0],
        switches=tuple(zip(switches, garments[1:], strict=False)),
        prompt="she turns",
        seconds=seconds,
        seed=3,
        out=out,
        sheet=sheet_path(out) if sheet else None,
        scale=2,
    )


def worn(path: Path) -> list[int]:
    """For each frame of a video, the index of the nearest of COLOURS."""
    with av.open(str(path)) as container:
        means = [frame.to_ndarray(format="rgb24").mean((0, 1)) for frame in container.decode(video=0)]
    return [int(np.abs(np.array(COLOURS) - mean).sum(1).argmin()) for mean in means]


def run(plan: Plan, studio: FakeStudio | None = None) -> Summary:
    return generate(studio or FakeStudio(), plan, model="fake", threads=1)


def test_clothes_change_at_the_first_border_at_or_after_the_time(tmp_path: Path) -> None:
    # Borders: 0, 9, 21, 33 (asked at 1.0 s = frame 24), then 42 (a new segment's first chunk is shorter).
    summary = run(make_plan(tmp_path / "v.mp4", switches=(1.0, 1.75)))
    assert [(switch.at, switch.obeyed_frame) for switch in summary.switches] == [(1.0, 33), (1.75, 42)]
    assert worn(tmp_path / "v.mp4") == [0] * 33 + [1] * 9 + [2] * 6


def test_a_time_on_a_border_takes_that_border(tmp_path: Path) -> None:
    summary = run(make_plan(tmp_path / "v.mp4", switches=(21 / 24,)))
    assert summary.switches[0].obeyed_frame == 21


def test_two_switches_before_one_border_are_both_seen(tmp_path: Path) -> None:
    summary = run(make_plan(tmp_path / "v.mp4", switches=(0.5, 0.6)))
    assert [switch.obeyed_frame for switch in summary.switches] == [21, 30]
    assert worn(tmp_path / "v.mp4") == [0] * 21 + [1] * 9 + [2] * 18


def test_a_switch_after_the_last_border_is_reported_as_not_obeyed(tmp_path: Path) -> None:
    summary = run(make_plan(tmp_path / "v.mp4", switches=(1.95,)))
    assert summary.switches == (SwitchReport(1.95, None, None),)


def test_summary_says_what_the_file_holds(tmp_path: Path) -> None:
    out = tmp_path / "v.mp4"
    studio = FakeStudio()
    summary = run(make_plan(out, switches=(1.0,)), studio)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (summary.frames, summary.width, summary.height) == (stream.frames, stream.width, stream.height)
        assert (summary.frames, summary.width, summary.height) == (48, 48, 64)
        assert stream.average_rate == 24
    assert summary.seconds == 2.0
    assert (summary.seed, summary.model, summary.threads) == (3, "fake", 1)
    assert summary.fps >= summary.fps_with_mp4 > 0
    assert summary.first_frame_ms > 0
    assert summary.switches[0].ms is not None
    assert summary.switches[0].ms >= 20  # the fake takes that long to change
    assert studio.closed
    assert (studio.opened["seed"], studio.opened["prompt"]) == (3, "she turns")
    assert studio.opened["cutout"] is False  # done when the plan was made, not while a viewer waits
    assert sorted(tmp_path.iterdir()) == [out, sheet_path(out)]


def test_without_a_sheet_there_is_only_the_video(tmp_path: Path) -> None:
    summary = run(make_plan(tmp_path / "v.mp4", sheet=False))
    assert summary.sheet is None
    assert list(tmp_path.iterdir()) == [tmp_path / "v.mp4"]


def test_the_shortest_video_has_one_frame(tmp_path: Path) -> None:
    assert run(make_plan(tmp_path / "v.mp4", seconds=0.001)).frames == 1


def test_a_session_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="after 21 of 48 frames"):
        run(make_plan(tmp_path / "v.mp4"), FakeStudio(chunks=2))
    assert not list(tmp_path.iterdir())


def test_parse_switch() -> None:
    assert parse_switch("2.0:B.png") == Switch(2.0, Path("B.png"))
    assert parse_switch("2:a:b.png") == Switch(2.0, Path("a:b.png"))


@pytest.mark.parametrize("text", ["B.png", "2.0", "2.0:", ":B.png", "two:B.png", "nan:B.png", "inf:B.png", ""])
def test_parse_switch_refuses(text: str) -> None:
    with pytest.raises(InputError, match="SECONDS:IMAGE"):
        parse_switch(text)
