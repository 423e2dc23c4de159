from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Form, Request, UploadFile, WebSocket
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from quickchange.serve.settings import Settings
from quickchange.serve.web.errors import MEDIA_TYPE, install
from quickchange.serve.web.guard import Guard
from quickchange.serve.web.guard.headers import POLICY as CSP
from quickchange.serve.web.guard.rate import TokenBucket

URN = "urn:quickchange:problem:"
TOKEN = "abc.DEF_123/+=="
HERE, THERE = "http://localhost:8000", "https://pages.example"
FORM = 64 * 1024
LIMIT, VIDEO = 1000 + FORM, 9 * 1000 + FORM


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock | None = None, **settings: Any) -> TestClient:
    """A client of a small guarded application, at localhost:8000."""
    app = FastAPI()

    @app.get("/")
    def page(request: Request) -> dict[str, str]:
        return {"query": request.url.query}

    @app.get("/v1/garments")
    def garments() -> list[str]:
        return []

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("secret")

    @app.post("/v1/uploads")
    async def uploads(file: UploadFile) -> int:
        return len(await file.read())

    @app.post("/v1/generate")
    async def generate(request: Request) -> int:
        return len(await request.body())

    @app.post("/form")
    def form(text: str = Form()) -> int:
        return len(text)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    install(app)
    guard = Guard(app, Settings(**{"upload_bytes": 1000, **settings}), clock or Clock())
    return TestClient(guard, HERE, follow_redirects=False, raise_server_exceptions=False)


@pytest.fixture
def client() -> TestClient:
    return make()


def refused(response: Any, status: int, name: str) -> None:
    """Checks that ``response`` is that problem, with the security headers."""
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.json()["type"] == URN + name


def greet(client: TestClient, **headers: str) -> str:
    with client.websocket_connect("ws://localhost:8000/v1/stream", headers=headers) as socket:
        return socket.receive_text()


# -- headers


def test_every_response_has_security_headers(client: TestClient) -> None:
    for path in ("/", "/v1/garments", "/nowhere", "/bug"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == CSP
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers.get("cache-control") == ("no-store" if path.startswith("/v1/") else None)


def test_a_bug_is_answered_and_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        refused(client.get("/bug"), 500, "internal")
    assert "secret" in caplog.text


# -- hosts and origins


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]", "[::1]:8000"])
def test_known_hosts(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "[::1", "::1", "", "a@localhost"])
def test_unknown_hosts(client: TestClient, host: str) -> None:
    refused(client.get("/", headers={"host": host}), 421, "unknown-host")
    with pytest.raises(WebSocketDenialResponse) as denial:
        greet(client, host=host)
    refused(denial.value, 421, "unknown-host")


@pytest.mark.parametrize("host", ["192.168.1.7:8000", "[fe80::1]:8000", "10.0.0.1"])
def test_addresses_are_known_hosts(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", [HERE, "https://localhost:8000"])
def test_the_own_page_may_call(client: TestClient, origin: str) -> None:
    response = client.get("/", headers={"origin": origin})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert greet(client, origin=origin) == "hello"


@pytest.mark.parametrize(
    "origin", [THERE, "http://localhost", "http://localhost:8001", "null", "", "http://[", "http://a@localhost:8000"]
)
def test_other_pages_may_not(client: TestClient, origin: str) -> None:
    refused(client.get("/", headers={"origin": origin}), 403, "forbidden-origin")
    with pytest.raises(WebSocketDenialResponse) as denial:
        greet(client, origin=origin)
    refused(denial.value, 403, "forbidden-origin")


def test_a_page_that_is_allowed_may_call() -> None:
    client = make(origins=(THERE,))
    assert client.get("/", headers={"origin": THERE}).status_code == 200
    assert greet(client, origin=THERE) == "hello"
    refused(client.get("/", headers={"origin": "https://other.example"}), 403, "forbidden-origin")


def test_a_socket_is_closed_where_the_server_cannot_send_a_response() -> None:
    app = make().app
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    import asyncio

    scope = {"type": "websocket", "path": "/v1/stream", "query_string": b"", "headers": [(b"host", b"evil.example")]}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


# -- token


def test_without_the_token_nothing_is_answered() -> None:
    client = make(token=TOKEN)
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer é"},
        {"cookie": "quickchange_token=wrong"},
        {"cookie": f"quickchange_token={TOKEN}"},  # the cookie is not the token itself
    ):
        raw: Any = {name: value.encode() for name, value in headers.items()}
        for path in ("/", "/v1/garments", "/nowhere", "/openapi.json"):
            response = client.get(path, headers=raw)
            refused(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        with pytest.raises(WebSocketDenialResponse) as denial:
            client.websocket_connect("/v1/stream", headers={"host": b"localhost"} | raw).__enter__()  # type: ignore[dict-item]
        assert denial.value.status_code == 401


def test_the_token_opens_everything() -> None:
    client = make(token=TOKEN)
    for headers in ({"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN}"}):
        assert client.get("/v1/garments", headers=headers).status_code == 200
        assert greet(client, **headers) == "hello"


def test_a_link_lets_a_browser_in() -> None:
    client = make(token=TOKEN)
    response = client.get("/", params={"token": TOKEN})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in cookie
    assert client.get("/v1/garments").status_code == 200  # the client keeps the cookie
    assert greet(client) == "hello"


def test_a_link_over_https_makes_a_cookie_for_https() -> None:
    response = make(token=TOKEN).get(f"https://localhost:8000/?token={TOKEN.replace('+', '%2B')}")
    assert response.status_code == 303
    assert "secure" in response.headers["set-cookie"].lower()


def test_a_wrong_link_lets_nobody_in() -> None:
    client = make(token=TOKEN)
    for response in (client.get("/?token=wrong"), client.get("/?token="), client.post("/", params={"token": TOKEN}),
                     client.get("/v1/garments", params={"token": TOKEN})):  # fmt: skip
        refused(response, 401, "unauthorized")
        assert "set-cookie" not in response.headers


def test_without_a_token_anybody_may_come(client: TestClient) -> None:
    assert client.get("/?token=whatever").json() == {"query": "token=whatever"}


# -- sizes


def chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 1000):
        yield bytes(min(1000, size - start))


def test_bodies_up_to_the_limit_pass(client: TestClient) -> None:
    assert client.post("/v1/uploads", files={"file": bytes(LIMIT - 1000)}).json() == LIMIT - 1000
    assert client.post("/v1/generate", content=bytes(VIDEO)).json() == VIDEO
    assert client.post("/v1/generate", content=chunks(VIDEO)).json() == VIDEO


@pytest.mark.parametrize("path", ["/v1/uploads", "/form", "/v1/generate"])
def test_larger_bodies_are_refused_announced_or_not(client: TestClient, path: str) -> None:
    size = (VIDEO if path == "/v1/generate" else LIMIT) + 1
    types = {"content-type": "application/x-www-form-urlencoded"}
    refused(client.post(path, content=bytes(size), headers=types), 413, "too-large")
    refused(client.post(path, content=chunks(size), headers=types), 413, "too-large")
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    refused(client.post(path, content=chunks(size), headers=multipart), 413, "too-large")


def test_an_announced_body_is_refused_before_it_is_read(client: TestClient) -> None:
    for path, length in (("/v1/garments", "99999999"), ("/v1/uploads", "9" * 18)):
        refused(client.request("GET", path, headers={"content-length": length}), 413, "too-large")
    for length in ("x", "-1", "1.5"):
        refused(client.post("/form", headers={"content-length": length}), 400, "bad-request")


# -- rates


def statuses(client: TestClient, method: str, path: str, count: int) -> list[int]:
    return [client.request(method, path).status_code for _ in range(count)]


@pytest.mark.parametrize(("path", "burst"), [("/v1/uploads", 12), ("/v1/generate", 4)])
def test_costly_requests_are_limited(path: str, burst: int) -> None:
    clock = Clock()
    client = make(clock)
    assert 429 not in statuses(client, "POST", path, burst)
    response = client.post(path)
    refused(response, 429, "too-many-requests")
    assert int(response.headers["retry-after"]) == 1
    assert client.get("/v1/garments").status_code == 200  # the rest goes on
    clock.now = response.json()["retry_after"]
    assert 429 not in statuses(client, "POST", path, 1)


def test_sockets_are_limited() -> None:
    client = make()
    for _ in range(20):
        assert greet(client) == "hello"
    with pytest.raises(WebSocketDenialResponse) as denial:
        greet(client)
    refused(denial.value, 429, "too-many-requests")


def test_everything_else_is_limited_generously_and_tokens_cannot_be_guessed_faster() -> None:
    client = make(token=TOKEN)
    assert set(statuses(client, "GET", "/", 300)) == {401}
    assert statuses(client, "GET", "/", 2) == [429, 429]


def test_pages_that_may_not_call_use_up_nobody_s_rate(client: TestClient) -> None:
    for _ in range(400):
        client.get("/", headers={"origin": THERE})
    assert client.get("/").status_code == 200


def test_a_closed_socket_is_no_error(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream", headers={"host": "localhost"}) as socket:
        socket.receive_text()
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()


@given(rate=st.floats(0.1, 100), burst=st.floats(1, 100), gaps=st.lists(st.floats(0, 5), max_size=60))
def test_who_waits_as_long_as_told_is_let_through(rate: float, burst: float, gaps: list[float]) -> None:
    bucket, now = TokenBucket(rate, burst), 1e5
    for gap in gaps:
        now += gap / 50
        wait = bucket.consume(now)
        if wait:
            now += wait
            assert bucket.consume(now) == 0
