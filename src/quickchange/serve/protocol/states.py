"""States of a session, and every transition between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from quickchange.serve.protocol.problems import InvalidTransitionError


# The docstring is part of docs/protocol.schema.json: editing it changes the published schema.
class State(StrEnum):
    """Of a session. Whether a viewer is connected is another matter: a live session outlives its socket for a while."""

    NEW = "new"
    OPENING = "opening"
    LIVE = "live"
    PAUSED = "paused"
    ERROR = "error"
    CLOSED = "closed"


class Event(StrEnum):
    """Everything that can happen to a session."""

    OPEN = "open"
    STARTED = "started"  # the first chunk is ready
    CONTROL = "control"  # wear, say, person, take
    PAUSE = "pause"
    RESUME = "resume"
    RECORD = "record"
    WATCH = "watch"  # ack, visible, inspect, keyframe
    FAIL = "fail"
    CLOSE = "close"


_S, _E = State, Event
TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType({
    (_S.NEW, _E.OPEN): _S.OPENING,
    (_S.NEW, _E.WATCH): _S.NEW,
    (_S.NEW, _E.CLOSE): _S.CLOSED,
    (_S.OPENING, _E.STARTED): _S.LIVE,
    (_S.OPENING, _E.CONTROL): _S.OPENING,
    (_S.OPENING, _E.WATCH): _S.OPENING,
    (_S.OPENING, _E.FAIL): _S.ERROR,
    (_S.OPENING, _E.CLOSE): _S.CLOSED,
    (_S.LIVE, _E.CONTROL): _S.LIVE,
    (_S.LIVE, _E.PAUSE): _S.PAUSED,
    (_S.LIVE, _E.RESUME): _S.LIVE,
    (_S.LIVE, _E.RECORD): _S.LIVE,
    (_S.LIVE, _E.WATCH): _S.LIVE,
    (_S.LIVE, _E.FAIL): _S.ERROR,
    (_S.LIVE, _E.CLOSE): _S.CLOSED,
    (_S.PAUSED, _E.CONTROL): _S.PAUSED,
    (_S.PAUSED, _E.PAUSE): _S.PAUSED,
    (_S.PAUSED, _E.RESUME): _S.LIVE,
    (_S.PAUSED, _E.RECORD): _S.PAUSED,
    (_S.PAUSED, _E.WATCH): _S.PAUSED,
    (_S.PAUSED, _E.FAIL): _S.ERROR,
    (_S.PAUSED, _E.CLOSE): _S.CLOSED,
    (_S.ERROR, _E.WATCH): _S.ERROR,
    (_S.ERROR, _E.CLOSE): _S.CLOSED,
})  # fmt: skip
"""Every transition there is; any other (state, event) is refused."""


def step(state: State, event: Event) -> State:
    """Look up the state after ``event``.

    Raises:
        InvalidTransitionError: the state does not allow the event.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = ", ".join(e for s, e in TRANSITIONS if s is state) or "nothing"
        raise InvalidTransitionError(
            f"{event} is not possible while the session is {state}; possible now: {allowed}"
        ) from None
