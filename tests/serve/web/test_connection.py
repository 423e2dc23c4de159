"""The stream over a real socket, with the bundled model: what a viewer is promised, in the order it happens."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import psutil
import pytest
from PIL import Image

import tiny
from quickchange.engine.studio import Studio
from quickchange.serve.client import Frame, RefusedError, Viewer, connect
from quickchange.serve.protocol import messages
from quickchange.serve.protocol.states import State
from quickchange.serve.sessions.session import LiveSession
from quickchange.serve.web import connection as stream
from serving import Running, running

MINI = Path(__file__).resolve().parents[3] / "models" / "mini"


@pytest.fixture(scope="module")
def mini() -> Iterator[Running]:
    with running(lambda: Studio.from_pretrained(MINI), resume_seconds=20.0) as server:
        yield server


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    with running(max_sessions=2) as server:
        yield server


def ids(server: Running) -> tuple[str, list[str]]:
    """A person and the garments."""
    catalogue = server.registry.catalogue
    return catalogue.people[0].id, [item.id for item in catalogue.garments]


async def start(viewer: Viewer, server: Running, **fields: Any) -> None:
    person, garments = ids(server)
    await viewer.send(messages.Open(**{"person": person, "garment": garments[0], "prompt": "she waves", **fields}))


async def ended(server: Running, viewers: int = 0, seconds: float = 10.0) -> None:
    """Waits until the server holds no more than so many sessions."""
    until = time.monotonic() + seconds
    while server.registry.occupied > viewers:
        assert time.monotonic() < until, f"{server.registry.occupied} sessions are still there"
        await asyncio.sleep(0.02)


def decode(frames: list[Frame], codec: str = "h264") -> list[np.ndarray]:
    decoder: Any = av.CodecContext.create(codec, "r")
    pictures = [picture for frame in frames for picture in decoder.decode(av.Packet(frame.data))]
    return [picture.to_ndarray(format="rgb24") for picture in pictures + decoder.decode(None)]


def test_a_stream_from_hello_to_close(mini: Running) -> None:
    async def run() -> None:
        async with connect(mini.url) as viewer:
            assert viewer.welcome.state is State.NEW
            assert (viewer.welcome.model.width, viewer.welcome.model.height) == (96, 128)
            await start(viewer, mini, seed=3)
            assert (await viewer.message(messages.StateChanged)).state is State.OPENING
            frames = [frame async for frame in viewer.frames(2.5)]
            video = await viewer.message(messages.Video)
            assert (video.codec, video.width, video.height) == ("h264", 192, 256)
            assert video.decoder.startswith("avc1.42")
            assert frames[0].header.key
            assert [f.header.number for f in frames] == sorted({f.header.number for f in frames})
            media = np.array([f.header.media_us for f in frames]) / 1e6
            arrival = np.array([f.at for f in frames])
            assert (np.diff(media) > 0).all()
            lateness = arrival - media - (arrival - media).min()
            assert np.median(lateness) < 0.25  # frames are sent when they are due
            pictures = decode(frames)
            assert len(pictures) == len(frames)
            changes = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(pictures)]
            assert max(changes) > 0.2  # it moves
            stats = await viewer.message(messages.Stats)
            assert stats.generated > 0
            await viewer.send(messages.Close())
            await viewer.wait(lambda item: isinstance(item, messages.StateChanged) and item.state is State.CLOSED)
        await ended(mini)

    asyncio.run(run())


def test_a_garment_is_worn_from_the_first_frame_that_obeys(mini: Running) -> None:
    """The red tee's red arrives with the frame that says so, not before, and frame numbers go on without a gap."""

    async def run() -> None:
        _person, garments = ids(mini)
        async with connect(mini.url, codecs=["jpeg"]) as viewer:
            await start(viewer, mini, garment=garments[0], seed=1)
            before = [frame async for frame in viewer.frames(2.0)]
            sequence = await viewer.wear(garments[1])
            after = [frame async for frame in viewer.frames(2.0)]
            await viewer.send(messages.Close())
        obeying = [frame for frame in after if frame.header.obeys >= sequence]
        assert obeying
        assert obeying[0].header.cut
        numbers = [frame.header.number for frame in before + after]
        assert len(numbers) == len(set(numbers))

        def chest(frame: Frame) -> np.ndarray:
            picture = np.asarray(Image.open(io.BytesIO(frame.data)).convert("RGB"), float)
            height, width = picture.shape[:2]
            return picture[int(0.45 * height) : int(0.6 * height), int(0.42 * width) : int(0.58 * width)].mean((0, 1))

        still = [frame for frame in after if frame.header.obeys < sequence]
        old = chest((before + still)[-1])
        assert np.abs(chest(before[-1]) - old).max() < 12
        assert np.abs(chest(obeying[0]) - old).max() > 40
        assert np.abs(chest(obeying[-1]) - chest(obeying[0])).max() < 25

    asyncio.run(run())


def test_the_latest_click_wins_and_nothing_else_is_shown(small: Running) -> None:
    async def run() -> None:
        _, garments = ids(small)
        async with connect(small.url) as viewer:
            await start(viewer, small)
            await viewer.message(messages.Video)
            withdrawn = metric(small, "cache_withdrawn")
            sequences = [await viewer.wear(garment) for garment in (garments[1], garments[2], garments[3])]
            assert sequences == [1, 2, 3]
            frame = await viewer.wait(lambda item: isinstance(item, Frame) and item.header.obeys >= 3)
            assert frame.header.obeys == 3
            assert metric(small, "cache_withdrawn") > withdrawn
            assert metric(small, "cache_evicted") >= 0
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


@pytest.mark.parametrize("codec", ["h264", "vp8", "jpeg"])
def test_every_codec_gives_the_picture(small: Running, codec: str) -> None:
    async def run() -> None:
        async with connect(small.url, codecs=[codec]) as viewer:  # type: ignore[list-item]
            await start(viewer, small)
            frames = [frame async for frame in viewer.frames(0.7)]
            video = await viewer.message(messages.Video)
            await viewer.send(messages.Close())
        assert video.codec == codec
        pictures = decode(frames, {"jpeg": "mjpeg"}.get(codec, codec))
        assert len(pictures) == len(frames) > 0
        assert pictures[0].shape == (video.height, video.width, 3)
        await ended(small)

    asyncio.run(run())


def test_a_decoder_that_failed_gets_a_key_frame(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            await start(viewer, small)
            frames = [frame async for frame in viewer.frames(0.6)]
            assert [frame.header.key for frame in frames].count(True) == 1
            await viewer.send(messages.Keyframe())
            await viewer.wait(lambda item: isinstance(item, Frame) and item.header.key)
            await viewer.send(messages.Close())

    asyncio.run(run())


def test_a_viewer_that_could_not_decode_gets_a_key_frame_though_it_acknowledged_nothing(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            viewer.acknowledge = False
            await start(viewer, small)
            [frame async for frame in viewer.frames(1.5)]
            await viewer.send(messages.Keyframe())
            await viewer.wait(lambda item: isinstance(item, Frame) and item.header.key, timeout=3)
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_closing_frees_everything_though_it_ends_its_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is in the middle of a frame, a recording runs, the device works: closing must not cancel itself."""

    async def run(server: Running) -> None:
        for _ in range(3):
            async with connect(server.url, codecs=["jpeg"]) as viewer:
                await start(viewer, server)
                await viewer.message(messages.Video)
                await viewer.send(messages.Record(on=True))
                [frame async for frame in viewer.frames(0.4)]
                await viewer.send(messages.Close())
                await viewer.wait(lambda item: isinstance(item, messages.StateChanged) and item.state is State.CLOSED)
            await ended(server)
        assert not [thread.name for thread in threading.enumerate() if thread.name == "recording"]
        assert not list(server.registry.services.recordings.folder.iterdir())
        # Reopening at once finds a place, although the one before may still be ending.
        for _ in range(3):
            async with connect(server.url) as viewer:
                await start(viewer, server)
                await viewer.send(messages.Close())
        await ended(server)

    encode = stream.make_encoder

    def slow(*args: Any) -> Any:
        encoder = encode(*args)
        whole = encoder.encode

        def late(*a: Any) -> Any:
            time.sleep(0.05)
            return whole(*a)

        monkeypatch.setattr(encoder, "encode", late)
        return encoder

    monkeypatch.setattr(stream, "make_encoder", slow)
    with running(max_sessions=1) as server:
        asyncio.run(run(server))


def test_a_lost_socket_resumes_where_it_stopped(small: Running) -> None:
    async def run() -> None:
        _, garments = ids(small)
        async with connect(small.url) as viewer:
            await start(viewer, small)
            await viewer.wear(garments[2])
            frames = [frame async for frame in viewer.frames(0.6)]
            token = viewer.welcome.session
            viewer.socket.transport.abort()
        await asyncio.sleep(0.3)
        assert small.registry.occupied == 1
        async with connect(small.url, resume=token) as again:
            assert again.welcome.resumed
            assert (again.welcome.wearing, again.welcome.state) == (garments[2], State.LIVE)
            more = [frame async for frame in again.frames(0.6)]
            await again.send(messages.Close())
        assert more[0].header.key
        # what was on its way when the socket broke is lost, what was generated is not
        assert frames[-1].header.number < more[0].header.number < frames[-1].header.number + 24
        assert more[0].header.media_us - frames[-1].header.media_us < 1e6  # the clock stood
        await ended(small)
        with pytest.raises(RefusedError) as refused:
            async with connect(small.url, resume=token):
                pass
        assert refused.value.problem.type.endswith(":unknown-session")

    asyncio.run(run())


def test_a_second_viewer_takes_over(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as first:
            await start(first, small)
            await first.message(messages.Video)
            async with connect(small.url, resume=first.welcome.session) as second:
                await second.message(messages.Video)
                await asyncio.wait_for(first.socket.wait_closed(), 5)
                assert first.socket.close_code == 4001
                await second.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_a_full_house_says_so_and_slows_no_one(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as one, connect(small.url) as two:
            with pytest.raises(RefusedError) as refused:
                async with connect(small.url):
                    pass
            assert (refused.value.problem.status, refused.value.problem.type) == (503, "urn:quickchange:problem:busy")
            assert refused.value.problem.retry_after
            await one.send(messages.Close())
            await two.send(messages.Close())
            await ended(small)
        async with connect(small.url) as again:
            await again.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_pause_and_background_stop_generation(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            await start(viewer, small)
            await viewer.message(messages.Video)
            for stop, go in ((messages.Pause(), messages.Resume()), (visible(False), visible(True))):
                await viewer.send(stop)
                await asyncio.sleep(0.3)
                [frame async for frame in viewer.frames(0.2)]
                generated = metric(small, "frames_generated")
                assert [frame async for frame in viewer.frames(0.5)] == []
                assert metric(small, "frames_generated") == generated
                await viewer.send(go)
                assert [frame async for frame in viewer.frames(0.5)]
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def visible(on: bool) -> messages.Visible:
    return messages.Visible(visible=on)


def metric(server: Running, name: str) -> float:
    text = httpx2.get(f"{server.url}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"quickchange_{name}_total "))


def test_a_viewer_that_never_answers_loses_frames_and_costs_nothing(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            viewer.acknowledge = False
            await start(viewer, small)
            frames = [frame async for frame in viewer.frames(2.0)]
            assert len(frames) <= 0.75 * 24 + 1
            await asyncio.sleep(1.5)
            generated = metric(small, "frames_generated")
            await asyncio.sleep(0.5)
            assert metric(small, "frames_generated") == generated
            await viewer.send(messages.Ack(frame=frames[-1].header.number))
            assert [frame async for frame in viewer.frames(0.5)]
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_the_inspector_is_silent_until_it_is_asked_for(small: Running) -> None:
    async def run() -> None:
        _, garments = ids(small)
        async with connect(small.url) as viewer:
            await start(viewer, small)
            [frame async for frame in viewer.frames(0.5)]
            with pytest.raises(TimeoutError):
                await viewer.message(messages.Cache, timeout=0.7)
            await viewer.send(messages.Inspect(on=True))
            cache = await viewer.message(messages.Cache)
            assert [step.move for step in cache.steps] == ["commit", "generate"]
            await viewer.wear(garments[1])
            switch = await viewer.wait(lambda item: isinstance(item, messages.Cache) and item.obeys >= 1)
            assert "withdraw" in [step.move for step in switch.steps]
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_sessions_do_not_see_each_other(small: Running) -> None:
    """An upload belongs to whoever uploaded it."""

    async def run() -> None:
        async with connect(small.url) as one, connect(small.url) as two:
            name = await asyncio.to_thread(upload, small, one.welcome.session)
            await start(one, small, garment=name)
            await start(two, small)
            await one.message(messages.Video)
            await two.message(messages.Video)
            with pytest.raises(RefusedError, match="neither bundled nor uploaded"):
                await two.wear(name)
            await one.send(messages.Close())
            await two.send(messages.Close())
        await ended(small)

    asyncio.run(run())


def test_a_stream_is_the_same_whatever_others_do(small: Running) -> None:
    """Same scene and seed, alone and beside one that changes clothes all the time: the same pictures, bit for bit."""

    async def watch(viewer: Viewer) -> dict[int, bytes]:
        await start(viewer, small, seed=21)
        pictures = {frame.header.number: frame.data async for frame in viewer.frames(1.5)}
        await viewer.send(messages.Close())
        return pictures

    async def run() -> None:
        _, garments = ids(small)
        async with connect(small.url, codecs=["jpeg"]) as viewer:
            alone = await watch(viewer)
        await ended(small)
        async with connect(small.url, codecs=["jpeg"]) as viewer, connect(small.url) as other:
            await start(other, small, seed=21)
            watching = asyncio.create_task(watch(viewer))
            for garment in garments[1:5]:
                await other.wear(garment)
                await asyncio.sleep(0.3)
            beside = await watching
            await other.send(messages.Close())
        await ended(small)
        common = alone.keys() & beside.keys()
        assert len(common) > 15
        assert all(alone[number] == beside[number] for number in common)

    asyncio.run(run())


def upload(server: Running, session: str) -> str:
    picture = io.BytesIO()
    Image.fromarray(tiny.image(9, 64, 64)).save(picture, "PNG")
    files = {"image": ("shirt.png", picture.getvalue(), "image/png")}
    headers = {"Quickchange-Session": session}
    answer = httpx2.post(f"{server.url}/v1/uploads", files=files, data={"cutout": "false"}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_recording_and_a_snapshot_come_back_marked_as_synthetic(small: Running) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            await start(viewer, small)
            await viewer.message(messages.Video)
            await viewer.send(messages.Record(on=True))
            assert (await viewer.message(messages.Recording)).on
            frames = [frame async for frame in viewer.frames(1.0)]
            await viewer.send(messages.Record(on=False))
            headers = {"Quickchange-Session": viewer.welcome.session}
            query = {"frame": frames[-1].header.number}
            async with httpx2.AsyncClient(base_url=small.url) as client:
                png = await client.get("/v1/snapshot", params=query, headers=headers)
                assert "Synthetic" in Image.open(io.BytesIO(png.content)).info["Comment"]
                done = await viewer.message(messages.Recording)
                assert done.url is not None
                video = await client.get(done.url)
                assert video.headers["content-type"] == "video/mp4"
                await viewer.send(messages.Close())
                await ended(small)
                assert (await client.get(done.url)).status_code == 404
        with av.open(io.BytesIO(video.content), "r") as container:
            assert "Synthetic" in container.metadata["comment"]
            count = len(list(container.decode(video=0)))
        assert abs(count - len(frames)) < 8
        assert not list(small.registry.services.recordings.folder.iterdir())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ('{"type": "wear", "id": 4, "garment": "no-such-thing"}', "neither bundled nor uploaded"),
        ('{"type": "pause"}', "not possible while the session is new"),
        ('{"type": "hello", "version": 1, "codecs": ["jpeg"]}', "only possible once"),
        ('{"type": "open", "person": "nobody", "garment": "nothing"}', "nobody"),
    ],
)
def test_faulty_messages_are_answered_and_the_session_goes_on(small: Running, text: str, named: str) -> None:
    async def run() -> None:
        async with connect(small.url) as viewer:
            await viewer.socket.send(text)
            trouble = await viewer.message(messages.Trouble)
            assert named in trouble.problem.detail
            assert not trouble.fatal
            await start(viewer, small)
            await viewer.message(messages.Video)
            await viewer.send(messages.Close())
        await ended(small)

    asyncio.run(run())


@pytest.mark.parametrize(
    "first", ['{"type": "pause"}', '{"type": "hello", "version": 2, "codecs": ["jpeg"]}', "nonsense"]
)
def test_a_viewer_that_does_not_greet_is_shown_out(small: Running, first: str) -> None:
    async def run() -> None:
        from websockets.asyncio.client import connect as open_socket

        async with open_socket(small.url.replace("http", "ws") + "/v1/stream") as socket:
            await socket.send(first)
            trouble = messages.parse_answer(await socket.recv())
            assert trouble.fatal
            await asyncio.wait_for(socket.wait_closed(), 5)
        assert small.registry.occupied == 0

    asyncio.run(run())


def test_a_fault_in_the_engine_ends_one_stream_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(server: Running) -> None:
        async with connect(server.url) as bad, connect(server.url) as good:
            await start(bad, server, seed=13)
            await start(good, server, seed=14)
            with pytest.raises(RefusedError, match="out of memory"):
                await bad.message(messages.Video, timeout=5)
            assert [frame async for frame in good.frames(1.0)]
            await good.send(messages.Close())
        await ended(server)

    with running() as server:
        studio = server.registry.services.studio
        opened: Callable[..., Any] = studio.open

        def fail(person: Any, garment: Any, prompt: str, seed: int) -> Any:
            if seed == 13:
                raise MemoryError("out of memory: wanted 3 GB, 1 GB is free")
            return opened(person, garment, prompt, seed)

        monkeypatch.setattr(studio, "open", fail)
        asyncio.run(run(server))


def test_fifty_lost_viewers_leave_nothing_behind() -> None:
    """Open, watch, wear, record, upload, kill the socket: tasks, threads, memory and files are as before."""

    async def cycle(server: Running, number: int) -> None:
        _, garments = ids(server)
        async with connect(server.url) as viewer:
            await start(viewer, server)
            await viewer.message(messages.Video)
            await viewer.wear(garments[number % len(garments)])
            await viewer.send(messages.Record(on=True))
            await viewer.send(messages.Inspect(on=True))
            if number % 5 == 0:
                await asyncio.to_thread(upload, server, viewer.welcome.session)
            await viewer.wait(lambda item: isinstance(item, Frame) and item.header.obeys >= 1)
            viewer.socket.transport.abort()
        await ended(server)

    async def fill_pool() -> None:
        """The loop's own threads are made one by one as work comes: make them all before counting."""
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.05) for _ in range(64)))

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    def sessions() -> int:
        gc.collect()
        return sum(type(thing) is LiveSession for thing in gc.get_objects())

    def memory() -> int:
        with contextlib.suppress(OSError, AttributeError):  # glibc only: give back what is free in its pools
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        return psutil.Process().memory_info().rss

    with running(resume_seconds=0.05) as server:
        server.run(fill_pool)
        for number in range(70):  # allocators' pools fill, which looks like a leak for a while
            asyncio.run(cycle(server, number))
        before = server.run(tasks), threading.active_count(), sessions()
        held = memory()
        for number in range(50):
            asyncio.run(cycle(server, number))
        assert (server.run(tasks), threading.active_count(), sessions()) == before
        assert sessions() == 0
        assert memory() - held < 16 * 2**20
        assert not list(server.registry.services.recordings.folder.iterdir())


def test_streams_share_the_device_evenly() -> None:
    async def run(server: Running) -> list[int]:
        async with connect(server.url) as one, connect(server.url) as two, connect(server.url) as three:
            viewers = [one, two, three]
            for viewer in viewers:
                await start(viewer, server)

            async def count(viewer: Viewer) -> int:
                return len([frame async for frame in viewer.frames(4.0)])

            counts = await asyncio.gather(*(count(viewer) for viewer in viewers))
            for viewer in viewers:
                await viewer.send(messages.Close())
            return counts

    def slow() -> Studio:
        studio = tiny.studio()
        decode = studio.components.codec.decode

        def slowly(*args: Any) -> Any:
            time.sleep(0.4)  # three streams need 1.2 s for the half second that a chunk lasts
            return decode(*args)

        studio.components.codec.decode = slowly  # type: ignore[assignment, method-assign]
        return studio

    with running(slow) as server:
        counts = asyncio.run(run(server))
    assert min(counts) > 0.6 * max(counts)
    assert max(counts) < 60  # more than the device gives is not shown


def test_a_server_that_warms_up_says_so() -> None:
    release = threading.Event()

    def load() -> Studio:
        release.wait(20)
        return tiny.studio()

    async def run(server: Running) -> None:
        assert httpx2.get(f"{server.url}/healthz").status_code == 200
        ready = httpx2.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
        assert "retry-after" in ready.headers
        with pytest.raises(RefusedError) as refused:
            async with connect(server.url):
                pass
        assert refused.value.problem.type.endswith(":warming-up")
        release.set()
        for _ in range(500):
            if httpx2.get(f"{server.url}/readyz").status_code == 200:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("never ready")

    with running(load, wait=False) as server:
        asyncio.run(run(server))
