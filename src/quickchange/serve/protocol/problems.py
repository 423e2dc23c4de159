"""Errors as clients see them: RFC 9457 problem details, each of a known kind. web/errors.py answers HTTP with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from quickchange.errors import QuickchangeError

KINDS: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The message cannot be understood"),
    "unauthorized": (401, "A token is needed"),
    "forbidden-origin": (403, "Not from this page"),
    "not-found": (404, "Not found"),
    "unknown-session": (404, "Unknown session"),
    "method-not-allowed": (405, "Method not allowed"),
    "invalid-transition": (409, "Not possible now"),
    "too-many-uploads": (409, "Too many uploads"),
    "too-large": (413, "Too large"),
    "unsupported-media": (415, "Not a picture that can be used"),
    "unknown-host": (421, "Not the server of this name"),
    "invalid": (422, "Something cannot be used"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "Fault in the server"),
    "busy": (503, "Busy"),
    "warming-up": (503, "Warming up"),
}
"""HTTP status and title of every kind of problem."""


# The docstring is part of docs/protocol.schema.json: editing it changes the published schema.
class Problem(BaseModel):
    """RFC 9457 problem details. `detail` says what was found, what is expected and what to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="urn:quickchange:problem:..., one for each kind of problem")
    title: str
    status: int
    detail: str
    retry_after: Annotated[float | None, Field(description="seconds after which to try again")] = None


class ProblemError(QuickchangeError):
    """A problem that the client is told.

    Attributes:
        problem: what the client receives.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class ProtocolError(QuickchangeError, ValueError):
    """A message that is not part of the protocol. Its text may be shown to a client."""


class InvalidTransitionError(ProtocolError):
    """A message that the session's state does not allow."""


def problem(kind: str, detail: str, retry_after: float | None = None) -> ProblemError:
    """Make an error of one of the ``KINDS``.

    Args:
        kind: a key of ``KINDS``.
        detail: what was found, what is expected, and what to do.
        retry_after: seconds after which the client may try again.

    Raises:
        KeyError: an unknown kind.
    """
    status, title = KINDS[kind]
    urn = f"urn:quickchange:problem:{kind}"
    return ProblemError(Problem(type=urn, title=title, status=status, detail=detail, retry_after=retry_after))
