"""Malformed messages and requests against a real server: always a typed answer, never a crash, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from quickchange.serve.client import Frame, connect
from quickchange.serve.protocol import messages
from quickchange.serve.protocol.problems import Problem, ProtocolError
from serving import Running, running

MESSAGES, FIRST, REQUESTS = 400, 60, 120
VALUES: list[Any] = [
    None, True, -1, 2**70, 1e308, "", "x" * 400, "../../etc/passwd", "\u0000", "\U0001f457", [], [[]], {},
    {"type": "wear"}, "red-tank", "ash", "h264", 1, 0.5, "<script>alert(1)</script>", "%s%n", {"$ref": "#"},
]  # fmt: skip
FIELDS = [
    "type", "id", "garment", "person", "prompt", "seed", "frame", "on", "visible", "switched", "version", "codecs", "x"
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(upload_bytes=100_000, resume_seconds=0.2) as server:
        yield server


def malformed(rng: random.Random) -> str:
    """A message that is not quite one."""
    kinds = list(messages.schema()["$defs"]["fromViewer"]["discriminator"]["mapping"])
    kinds.remove("close")  # well-formed by itself, and the end
    message: dict[str, Any] = {"type": rng.choice(kinds)}
    for _ in range(rng.randrange(4)):
        message[rng.choice(FIELDS[1:])] = rng.choice(VALUES)
    text = json.dumps(message)
    match rng.randrange(4):
        case 0:
            return text[: rng.randrange(1, len(text))]
        case 1:
            at = rng.randrange(len(text))
            return text[:at] + rng.choice('{}[]",:\\x\x00é') + text[at + 1 :]
        case 2:
            return text + text
    return text


def test_malformed_messages_are_answered_and_the_stream_goes_on(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quickchange.serve.web.connection.MESSAGES_PER_SECOND", 1e6)
    monkeypatch.setattr("quickchange.serve.web.connection.MESSAGES_AT_ONCE", 1e6)
    monkeypatch.setattr("quickchange.serve.web.connection.MOST_ERRORS", 10**6)
    rng = random.Random(0)

    async def run() -> int:
        answered = 0
        async with connect(server.url) as viewer:
            await viewer.send(messages.Open(person="ash", garment="red-tank"))
            await viewer.message(messages.Video)
            for _ in range(MESSAGES):
                text = malformed(rng)
                try:
                    messages.parse(text)
                except ProtocolError:
                    await viewer.socket.send(text)
                    trouble = await viewer.message(messages.Trouble)
                    assert trouble.problem.type == "urn:quickchange:problem:bad-request"
                    assert not trouble.fatal
                    answered += 1
            await viewer.wait(lambda item: isinstance(item, Frame))  # and still it streams
            await viewer.send(messages.Close())
        return answered

    assert asyncio.run(run()) > 0.5 * MESSAGES


def test_too_many_faults_in_a_row_end_the_connection(server: Running) -> None:
    async def run() -> None:
        async with connect(server.url) as viewer:
            for _ in range(200):
                await viewer.socket.send("nonsense")
                await viewer.message(messages.Trouble)

    with pytest.raises(ConnectionClosed):
        asyncio.run(run())


def test_malformed_greetings_are_shown_out(server: Running) -> None:
    rng = random.Random(1)

    async def run() -> None:
        for number in range(FIRST):
            async with open_socket(server.url.replace("http", "ws") + "/v1/stream") as socket:
                await socket.send(rng.randbytes(40) if number % 3 == 0 else malformed(rng))
                answer = messages.parse_answer(await socket.recv())
                assert isinstance(answer, messages.Trouble | messages.Welcome)
        while server.registry.occupied:
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_malformed_requests_get_problems(server: Running) -> None:
    rng = random.Random(2)
    boundary = "----b"
    form = {"content-type": f"multipart/form-data; boundary={boundary}"}
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="../../x"\r\n\r\n'

    def body() -> bytes:
        whole = part.encode() + rng.randbytes(rng.randrange(200)) + f"\r\n--{boundary}--\r\n".encode()
        match rng.randrange(3):
            case 0:
                return whole[: rng.randrange(len(whole))]
            case 1:
                at = rng.randrange(len(whole))
                return whole[:at] + rng.randbytes(3) + whole[at:]
        return whole

    async def run() -> None:
        async with connect(server.url) as viewer, httpx2.AsyncClient(base_url=server.url) as client:
            headers = form | {"Quickchange-Session": viewer.welcome.session}
            for number in range(REQUESTS):
                path = "/v1/generate" if number % 4 == 0 else "/v1/uploads"
                answer = await client.post(path, headers=headers, content=body())
                assert 400 <= answer.status_code < 500
                assert answer.headers["content-type"] == "application/problem+json"
                assert Problem.model_validate(answer.json()).detail
            assert (await client.get("/healthz")).status_code == 200
            await viewer.send(messages.Close())

    asyncio.run(run())
