"""Recordings: what is shown is kept, as it was; and a crash loses next to nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from quickchange.media.video import SYNTHETIC_NOTE
from quickchange.serve.recording import BACKLOG, Recording, RecordingStore

FPS = 24
SCRIPT = """
import sys, time
import numpy as np
from pathlib import Path
from quickchange.serve.recording import Recording
recording = Recording(Path(sys.argv[1]), 24, 32, 24, 600)
began, number = time.monotonic(), 0
while True:
    recording.add(number, np.full((32, 24, 3), number % 256, np.uint8))
    number += 1
    print(number, flush=True)
    time.sleep(max(0, began + number / 24 - time.monotonic()))
"""


def grey(value: int) -> np.ndarray:
    return np.full((32, 24, 3), value, np.uint8)


def read(path: Path) -> tuple[list[float], list[float], str]:
    """Mean level and time of every frame, and the comment."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        comment = container.metadata.get("comment", "")
    return [float(f.to_ndarray(format="rgb24").mean()) for f in frames], [float(f.time) for f in frames], comment


def test_a_finished_recording_shows_what_was_added(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "r.mp4", 24, 32, FPS, 60)
    for number in range(40):
        recording.add(100 + number, grey(5 * number))
    assert recording.seconds == pytest.approx(40 / FPS)
    path = recording.finish()
    levels, times, comment = read(path)
    assert np.abs(np.array(levels) - 5 * np.arange(40)).max() < 4
    assert times == pytest.approx(np.arange(40) / FPS, abs=1e-3)
    assert comment == SYNTHETIC_NOTE
    assert [p.name for p in tmp_path.iterdir()] == ["r.mp4"]


def test_frames_that_were_dropped_leave_the_one_before_on_the_screen(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "r.mp4", 24, 32, FPS, 60)
    for number in (0, 1, 5, 6, 6, 3):  # numbers that come again are no news
        recording.add(number, grey(20 * number))
    _, times, _ = read(recording.finish())
    assert times == pytest.approx(np.array([0, 1, 5, 6]) / FPS, abs=1e-3)


def test_a_recording_ends_at_its_longest(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "r.mp4", 24, 32, FPS, 1.0)
    for number in range(30):
        recording.add(number, grey(0))
    assert recording.full
    assert len(read(recording.finish())[0]) == FPS


def test_nothing_recorded_and_discarded_leave_nothing(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4", 24, 32, FPS, 60)
    with pytest.raises(RuntimeError, match="nothing was shown"):
        recording.finish()
    recording = Recording(tmp_path / "b.mp4", 24, 32, FPS, 60)
    recording.add(0, grey(0))
    recording.discard()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_does_not_stop_the_stream(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "missing" / "r.mp4", 24, 32, FPS, 600)
    for number in range(3 * BACKLOG):
        recording.add(number, grey(0))
    with pytest.raises(RuntimeError, match="could not be written"):
        recording.finish()


def test_a_disk_that_is_full_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Recording) -> None:
        while self._frames.get() is not None:
            pass
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recording, "_write_fragments", write)
    recording = Recording(tmp_path / "r.mp4", 24, 32, FPS, 60)
    recording.add(0, grey(0))
    with pytest.raises(RuntimeError, match="No space left"):
        recording.finish()


def test_a_kill_loses_less_than_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "r.mp4"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    added = 0
    while added < 70:
        added = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    added = max([added, *(int(line) for line in process.stdout.read().split())])
    process.wait()
    levels, _, comment = read(tmp_path / "r.part.mp4")
    assert added - len(levels) < FPS
    assert np.abs(np.array(levels) - np.arange(len(levels))).max() < 4
    assert comment == SYNTHETIC_NOTE


# -- the store


def record(store: RecordingStore) -> Recording:
    recording = store.begin(24, 32, FPS, 60)
    recording.add(0, grey(0))
    return recording


def test_a_finished_recording_is_found_under_its_name_until_it_is_released() -> None:
    store = RecordingStore()
    name = store.finish(record(store))
    path = store.find(name)
    assert path is not None
    assert path.is_file()
    assert store.find("other") is None
    store.release(record(store), [name])
    assert store.find(name) is None
    assert not list(store.folder.iterdir())
    store.close()
    assert not store.folder.exists()


def test_a_folder_of_one_s_own_keeps_recordings_also_one_that_ran_at_the_end(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path / "kept")
    name = store.finish(record(store))
    store.release(record(store), [name])
    assert store.find(name) is None  # the session has gone: nobody fetches it any more
    store.close()
    assert len(list((tmp_path / "kept").glob("*.mp4"))) == 2
