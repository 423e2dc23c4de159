"""The HTTP routes of a real server: what they answer, and how they refuse."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any, cast

import av
import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance
from websockets.exceptions import InvalidStatus

import tiny
from quickchange.serve.client import connect
from quickchange.serve.protocol import messages
from quickchange.serve.protocol.problems import Problem
from serving import Running, running

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(max_sessions=2, generate_seconds=2.0, upload_bytes=200_000, uploads=2) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


def png(seed: int = 1, width: int = 64, height: int = 64) -> bytes:
    data = io.BytesIO()
    Image.fromarray(tiny.image(seed, width, height)).save(data, "PNG")
    return data.getvalue()


def problem(answer: httpx2.Response, status: int, kind: str) -> str:
    """Checks an error's form; returns what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    details = Problem.model_validate(answer.json())
    assert details.status == status
    assert details.type == f"urn:quickchange:problem:{kind}"
    return details.detail


def test_health_and_what_is_bundled(client: httpx2.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert "quickchange_sessions 0.0" in client.get("/metrics").text
    garments = client.get("/v1/garments").json()["garments"]
    people = client.get("/v1/people").json()["people"]
    assert len(garments) >= 6
    assert len(people) >= 2
    for item in garments + people:
        picture = client.get(item["image"])
        assert Image.open(io.BytesIO(picture.content)).size == (384, 512)
    assert {item["kind"] for item in garments} <= {"top", "bottom", "one-piece"}


def test_the_page_needs_no_other_host(client: httpx2.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org/", "")
    assert "https://" not in page.text


def test_a_whole_video_with_a_switch(client: httpx2.Client) -> None:
    files = [("reference", ("a.png", png(1))), ("garments", ("b.png", png(2))), ("garments", ("c.png", png(3)))]
    form = {"times": "0.5", "prompt": "she waves", "seconds": "1.5", "seed": "3", "cutout": "false"}
    answer = client.post("/v1/generate", files=files, data=form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content), "r") as container:
        assert "Synthetic" in container.metadata["comment"]
        assert len(list(container.decode(video=0))) == 36


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"times": ["0.5", "1.0"]}, "2 times for 2 garments"),
        ({}, "0 times for 2 garments"),
        ({"times": "7"}, "beyond the end of the video, which is 1.5 s"),
        ({"times": "nan"}, "must come after the start"),
        ({"times": "-1"}, "must come after the start"),
        ({"times": "0.5", "prompt": "  "}, "prompt is empty"),
        ({"times": "0.5", "seconds": "100"}, "at most 2"),
        ({"times": "0.5", "seconds": "-1"}, "seconds"),
        ({"times": "0.5", "seed": "x"}, "seed"),
        ({"times": "0.5", "prompt": ""}, "prompt"),
    ],
)
def test_requests_that_make_no_video_say_why(client: httpx2.Client, form: dict[str, Any], named: str) -> None:
    files = [("reference", ("a.png", png(1))), ("garments", ("b.png", png(2))), ("garments", ("c.png", png(3)))]
    answer = client.post("/v1/generate", files=files, data={"prompt": "x", "seconds": "1.5", "cutout": "false"} | form)
    assert named in problem(answer, 422, "invalid")


def test_an_unreadable_picture_is_named(client: httpx2.Client) -> None:
    files = [("reference", ("a.png", b"<svg/>")), ("garments", ("b.png", png(2)))]
    answer = client.post("/v1/generate", files=files, data={"prompt": "x", "seconds": "1"})
    assert "JPEG" in problem(answer, 415, "unsupported-media")


def test_whoever_is_not_known_and_what_is_not_there(client: httpx2.Client) -> None:
    session = {"Quickchange-Session": "nobody"}
    problem(client.get("/v1/snapshot", headers=session), 404, "unknown-session")
    problem(client.post("/v1/uploads", headers=session, files={"image": png()}), 404, "unknown-session")
    problem(client.get("/v1/snapshot"), 422, "invalid")
    problem(client.get("/v1/images/../../../etc/passwd"), 404, "not-found")
    problem(client.get("/v1/images/%2e%2e%2fetc%2fpasswd"), 404, "not-found")
    problem(client.get("/static/../app.py"), 404, "not-found")
    problem(client.get("/v1/recordings/x"), 404, "not-found")
    problem(client.get("/nowhere"), 404, "not-found")
    problem(client.delete("/v1/garments"), 405, "method-not-allowed")


def test_uploads_answer_with_a_preview_and_are_bounded(server: Running, client: httpx2.Client) -> None:
    async def run() -> None:
        async with connect(server.url) as viewer:
            headers = {"Quickchange-Session": viewer.welcome.session}

            def send(data: bytes, **form: str) -> httpx2.Response:
                return client.post("/v1/uploads", headers=headers, files={"image": ("x.jpg", data)}, data=form)

            answer = await asyncio.to_thread(send, png(4), role="garment", kind="top", cutout="false")
            assert answer.status_code == 201
            assert answer.json()["preview"].startswith("data:image/png;base64,")
            assert (await asyncio.to_thread(send, png(4), role="person")).json()["role"] == "person"
            assert "2 uploads" in problem(await asyncio.to_thread(send, png(6)), 409, "too-many-uploads")
            await viewer.send(messages.Close())
        async with connect(server.url) as viewer:
            headers = {"Quickchange-Session": viewer.welcome.session}
            problem(await asyncio.to_thread(send, b"GIF89a nothing"), 415, "unsupported-media")
            problem(await asyncio.to_thread(send, b""), 422, "invalid")
            problem(await asyncio.to_thread(send, png(5), role="hat"), 422, "invalid")
            problem(await asyncio.to_thread(send, bytes(400_000)), 413, "too-large")
            await viewer.send(messages.Close())

    asyncio.run(run())


def test_a_token_is_asked_of_every_route_and_the_socket() -> None:
    async def refused(url: str, token: str | None) -> bool:
        try:
            async with connect(url, token=token) as viewer:
                await viewer.send(messages.Close())
        except InvalidStatus as error:
            return error.response.status_code == 401
        return False

    with running(token=TOKEN) as server, httpx2.Client(base_url=server.url) as client:
        for path in ("/", "/healthz", "/metrics", "/v1/garments", "/openapi.json", "/static/index.html"):
            problem(client.get(path), 401, "unauthorized")
            assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        problem(client.get("/?token=wrong"), 401, "unauthorized")
        entrance = client.get(f"/?token={TOKEN}")
        assert entrance.status_code == 303
        assert "httponly" in entrance.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200  # the cookie opens
        assert asyncio.run(refused(server.url, None))
        assert asyncio.run(refused(server.url, "wrong"))
        assert not asyncio.run(refused(server.url, TOKEN))


def test_other_origins_and_hosts_are_refused(server: Running, client: httpx2.Client) -> None:
    async def open_from(origin: str) -> None:
        from websockets.asyncio.client import connect as open_socket

        async with open_socket(server.url.replace("http", "ws") + "/v1/stream", origin=origin):  # type: ignore[arg-type]
            pass

    problem(client.get("/v1/garments", headers={"Origin": "http://evil.example"}), 403, "forbidden-origin")
    assert client.get("/v1/garments", headers={"Origin": server.url}).status_code == 200
    answer = client.get("/v1/garments", headers={"Host": "evil.example"})
    assert answer.status_code in (400, 421)
    with pytest.raises(Exception, match="403"):
        asyncio.run(open_from("http://evil.example"))
    asyncio.run(open_from(server.url))


def test_a_page_elsewhere_may_use_the_api_if_it_is_named() -> None:
    page = "https://shop.example"
    asks = {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with running(origins=(page,), token=TOKEN) as server, httpx2.Client(base_url=server.url) as client:
        assert client.options("/v1/uploads", headers=asks).headers["access-control-allow-origin"] == page
        answer = client.get("/v1/garments", headers={"Origin": page, "Authorization": f"Bearer {TOKEN}"})
        assert answer.headers["access-control-allow-origin"] == page
        assert client.options("/v1/uploads", headers=asks | {"Origin": "https://evil.example"}).status_code == 400


def test_generated_requests_hold_to_the_schema(server: Running) -> None:
    """schemathesis: whatever is sent, answers are among those that the OpenAPI schema declares, and never a 5xx."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried: dict[str, int] = {}
    for result in schema.get_all_operations():
        operation = cast(Any, result).ok()

        @settings(max_examples=15, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            answer = case.call(base_url=server.url)
            assert answer.status_code < 500, answer.text
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])  # bytes that are no picture
            tried[case.path] = tried.get(case.path, 0) + 1

        check()
    paths = set(httpx2.get(f"{server.url}/openapi.json").json()["paths"])
    assert tried.keys() == paths
