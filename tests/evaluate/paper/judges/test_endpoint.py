"""An OpenAI-compatible endpoint: requests, retries and refusals."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.endpoint import Endpoint, contact, picture, words
from stub_server import StubServer


def endpoint(server: StubServer, waits: list[float] | None = None, attempts: int = 4) -> Endpoint:
    waits = [] if waits is None else waits
    return Endpoint(url=server.url, model="judge-1", key="secret", attempts=attempts, sleep=waits.append)


def test_a_question_carries_model_key_and_parts(server: StubServer) -> None:
    server.answers = [server.say("four")]
    choice = endpoint(server).ask([words("how many?")], max_tokens=3)
    assert choice["message"]["content"] == "four"
    [request] = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["authorization"] == "Bearer secret"
    assert request["body"]["model"] == "judge-1"
    assert request["body"]["max_tokens"] == 3
    assert request["body"]["temperature"] == 0
    assert request["body"]["messages"] == [{"role": "user", "content": [{"type": "text", "text": "how many?"}]}]


def test_overload_is_tried_again_with_growing_waits(server: StubServer) -> None:
    waits: list[float] = []
    server.answers = [(429, {}), (503, {}), server.say("yes")]
    assert endpoint(server, waits).ask([words("?")])["message"]["content"] == "yes"
    assert waits == [1.0, 2.0]


def test_giving_up_and_refusal_are_told_apart(server: StubServer) -> None:
    server.answers = [(500, {})]
    with pytest.raises(InputError, match="failed 2 times, last with status 500"):
        endpoint(server, attempts=2).ask([words("?")])
    assert len(server.requests) == 2
    server.answers = [(401, {"error": "no such key"})]
    with pytest.raises(InputError, match="refused with status 401") as caught:
        endpoint(server).ask([words("?")])
    assert len(server.requests) == 3
    assert "secret" not in str(caught.value)


def test_a_lost_connection_is_tried_again(server: StubServer) -> None:
    server.close()
    with pytest.raises(InputError, match=r"failed 2 times.*Connect"):
        endpoint(server, attempts=2).ask([words("?")])


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"message": {"content": None}}]}, ["x"]])
def test_an_answer_that_is_no_completion_is_refused(server: StubServer, answer: object) -> None:
    server.answers = [(200, answer)]
    with pytest.raises(InputError, match="chat completion"):
        endpoint(server).ask([words("?")])


def test_the_environment_says_where_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_URL", "http://host/v1/")
    monkeypatch.delenv("X_MODEL", raising=False)
    monkeypatch.delenv("X_KEY", raising=False)
    with pytest.raises(InputError, match="X_MODEL"):
        Endpoint.from_environment("X", "x")
    monkeypatch.setenv("X_MODEL", "m")
    assert Endpoint.from_environment("X", "x") == Endpoint(url="http://host/v1", model="m")
    monkeypatch.setenv("X_URL", "file:///etc/passwd")
    with pytest.raises(InputError, match="http://"):
        Endpoint.from_environment("X", "x")


def test_pictures_are_jpeg_of_bounded_size_in_rgb() -> None:
    image = np.zeros((60, 120, 3), np.uint8)
    image[..., 0] = 250
    url = picture(image, longest=40)["image_url"]["url"]
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    seen = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (seen.format, seen.size) == ("JPEG", (40, 20))
    red, green, blue = seen.getpixel((20, 10))  # type: ignore[misc]
    assert red > 200 > 60 > max(green, blue)


def test_a_contact_sheet_reads_from_left_to_right() -> None:
    frames = np.stack([np.full((2, 3, 3), i, np.uint8) for i in range(6)])
    sheet = contact(frames, 3)
    assert sheet.shape == (4, 9, 3)
    assert sheet[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
