from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from quickchange.errors import InputError
from quickchange.serve.protocol.problems import KINDS, Problem, problem
from quickchange.serve.web.errors import MEDIA_TYPE, RESPONSES, install, response

URN = "urn:quickchange:problem:"


class Body(BaseModel):
    name: str = Field(max_length=4)
    count: int


@pytest.fixture
def client() -> TestClient:
    router = APIRouter(responses=RESPONSES)

    @router.get("/raise/{what}")
    def fail(what: str) -> None:
        raise {
            "input": InputError("picture: 3x3 px; expected 16 or more"),
            "problem": problem("busy", "four others wait; try later", retry_after=2.2),
            "bug": RuntimeError("secret /etc/path"),
        }[what]

    @router.post("/body")
    def body(body: Body) -> None:
        return None

    app = FastAPI()
    app.include_router(router)
    install(app)
    return TestClient(app, raise_server_exceptions=False)


def told(answer: Any, status: int, name: str) -> Problem:
    """The problem in ``answer``, which must be well formed."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    found = Problem.model_validate(answer.json())
    assert (found.status, found.type) == (status, URN + name)
    return found


def test_what_the_caller_can_fix_is_said_as_it_is(client: TestClient) -> None:
    assert told(client.get("/raise/input"), 422, "invalid").detail == "picture: 3x3 px; expected 16 or more"


def test_a_problem_keeps_its_headers(client: TestClient) -> None:
    answer = client.get("/raise/problem")
    assert told(answer, 503, "busy").retry_after == pytest.approx(2.2)
    assert answer.headers["retry-after"] == "3"


def test_the_first_faulty_field_is_named(client: TestClient) -> None:
    detail = told(client.post("/body", json={"name": "too long"}), 422, "invalid").detail
    assert detail.startswith("name: String should have at most 4 characters")
    told(client.post("/body", content=b"{", headers={"content-type": "application/json"}), 422, "invalid")


def test_the_router_s_own_answers_are_problems_too(client: TestClient) -> None:
    told(client.get("/nowhere"), 404, "not-found")
    answer = client.get("/body")
    assert answer.headers["allow"] == "POST"
    told(answer, 405, "method-not-allowed")


def test_a_bug_is_logged_and_says_nothing_outside(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/raise/bug")
    told(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" in caplog.text
    assert "secret /etc/path" in caplog.text


def test_only_bugs_are_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/raise/input", "/raise/problem", "/nowhere"):
        client.get(path)
    assert not [record for record in caplog.records if record.name.startswith("quickchange")]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_makes_a_problem(name: str) -> None:
    error = problem(name, "detail", retry_after=4 if KINDS[name][0] in (429, 503) else None)
    answer = response(error)
    assert answer.status_code == error.problem.status == KINDS[name][0]
    assert answer.headers.get("retry-after") == ("4" if error.problem.retry_after else None)
    assert answer.headers.get("www-authenticate") == ("Bearer" if name == "unauthorized" else None)


def test_an_unknown_kind_is_a_bug() -> None:
    with pytest.raises(KeyError):
        problem("no-such-kind", "detail")


def test_the_schema_declares_problems_and_nothing_else_for_errors(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    responses = schema["paths"]["/body"]["post"]["responses"]
    assert set(responses) == {"200"} | {str(status) for status, _ in KINDS.values()}
    for status in set(responses) - {"200"}:
        assert responses[status]["content"] == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert set(schema["components"]["schemas"]["Problem"]["required"]) == {"type", "title", "status", "detail"}
    assert "HTTPValidationError" not in schema["components"]["schemas"]
