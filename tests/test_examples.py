"""The programs in examples/ run, and say what is wrong."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from examples import headless_viewer, live_switch, own_policy, stream_to_mp4

import tiny
from serving import running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny.studio().save_pretrained(folder)
    return str(folder)


def test_stream_to_mp4(model: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "stream.mp4"
    stream_to_mp4.main(["--model", model, "--seconds", "1", "--out", str(out)])
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 24


def test_live_switch(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    live_switch.main(["--model", model, "--chunks", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(", ", 2)[1:] for line in lines] == [
        ["segment 0", "obeys 0"],
        ["segment 0", "obeys 0"],
        ["segment 1", "obeys 1"],
        ["segment 1", "obeys 1"],
    ]


def test_own_policy(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    own_policy.main(["--model", model, "--chunks", "5"])
    assert "leaves: chunks [2] of [1, 2]" in capsys.readouterr().out  # window 11: two conditions and three chunks


def test_headless_viewer(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        headless_viewer.main(["--url", server.url, "--seconds", "0.5"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "(control 0): 0 frames" not in lines[0]


@pytest.mark.parametrize("example", [stream_to_mp4, live_switch, own_policy])
def test_missing_model(example: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(tmp_path / "none")]
    if example is stream_to_mp4:
        arguments += ["--out", str(tmp_path / "none.mp4")]
    with pytest.raises(SystemExit):
        example.main(arguments)  # type: ignore[attr-defined]
    assert "not found" in capsys.readouterr().err


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        headless_viewer.main(["--url", "http://127.0.0.1:9"])
    assert "quickchange serve" in capsys.readouterr().err
