"""The protocol of ``/v1/stream``: messages, binary frames, states. Described for readers in docs/protocol.md.

One WebSocket carries one viewer's stream. Control goes both ways as JSON text messages, one object each with a field
``type``; video goes to the viewer as binary messages, one frame each behind a header of fixed size. Pure: no sockets,
no clocks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

VERSION = 1
MAX_MESSAGE_BYTES = 16 * 1024
MAX_PROMPT = 300
MAX_SEED = 2**53 - 1  # what JavaScript holds exactly

Codec = Literal["h264", "vp8", "jpeg"]
Kind = Literal["top", "bottom", "one-piece"]
ImageId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="id of a bundled or uploaded image")]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT, description="what the person does; empty is allowed")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
RequestId = Annotated[int, Field(ge=0, le=2**31 - 1, description="the viewer's own number, comes back in `accepted`")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# -- from the viewer ---------------------------------------------------------------------------------------------------


class Hello(_Message):
    """The first message: what the viewer can decode, best first, and the session to resume, if any."""

    type: Literal["hello"] = "hello"
    version: int
    codecs: Annotated[list[Codec], Field(min_length=1, max_length=3)]
    resume: Annotated[str | None, Field(max_length=64)] = None


class Open(_Message):
    """Starts the stream. Without a seed one is drawn."""

    type: Literal["open"] = "open"
    person: ImageId
    garment: ImageId
    prompt: Prompt = ""
    seed: Seed | None = None


class Wear(_Message):
    """Changes the garment; the latest wins."""

    type: Literal["wear"] = "wear"
    id: RequestId
    garment: ImageId


class Say(_Message):
    """Changes the prompt; the picture goes on."""

    type: Literal["say"] = "say"
    id: RequestId
    prompt: Prompt


class Person(_Message):
    """Changes the person, which is a cut."""

    type: Literal["person"] = "person"
    id: RequestId
    person: ImageId


class Take(_Message):
    """Starts over with the same person, garment and prompt, and another seed."""

    type: Literal["take"] = "take"
    id: RequestId
    seed: Seed | None = None


class Pause(_Message):
    """Stops the picture where it is."""

    type: Literal["pause"] = "pause"


class Resume(_Message):
    """Goes on after `pause`."""

    type: Literal["resume"] = "resume"


class Visible(_Message):
    """Whether anyone can see the picture: nothing is generated for a tab in the background."""

    type: Literal["visible"] = "visible"
    visible: bool


class Inspect(_Message):
    """Asks for the state of the KV cache with every chunk, or no longer."""

    type: Literal["inspect"] = "inspect"
    on: bool


class Record(_Message):
    """Starts or ends a recording of what is shown."""

    type: Literal["record"] = "record"
    on: bool


class Switched(_Message):
    """How long a control took to reach the screen: from the click to the first picture that obeys `sequence`."""

    sequence: Annotated[int, Field(ge=1)]
    ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)]


class Ack(_Message):
    """What has been shown: number of the last frame on the screen. At least every 12 frames or 250 ms while frames
    come; a viewer that stays silent loses frames, then the stream waits for it."""

    type: Literal["ack"] = "ack"
    frame: Annotated[int, Field(ge=0, le=2**32 - 1)]
    switched: Annotated[list[Switched], Field(max_length=16)] = []


class Keyframe(_Message):
    """Asks for a picture that can be decoded on its own, after a decoder error."""

    type: Literal["keyframe"] = "keyframe"


class Close(_Message):
    """Ends the session at once: it cannot be resumed."""

    type: Literal["close"] = "close"


FromViewer = Annotated[
    Hello | Open | Wear | Say | Person | Take | Pause | Resume | Visible | Inspect | Record | Ack | Keyframe | Close,
    Field(discriminator="type"),
]

# -- to the viewer -----------------------------------------------------------------------------------------------------


class ModelInfo(_Message):
    """What generates. `width`, `height` are those of a generated frame; `chunk` and `window` count latent frames."""

    name: str
    width: int
    height: int
    fps: float
    chunk: int
    window: int
    device: str
    kinds: list[Kind] = Field(description="kinds of garments that the model was trained on")


class Welcome(_Message):
    """The answer to `hello`. `session` is secret: it resumes the stream within `resume_seconds` of a lost socket."""

    type: Literal["welcome"] = "welcome"
    version: int
    session: str
    resumed: bool
    state: State
    codec: Codec
    model: ModelInfo
    ahead_ms: float
    resume_seconds: float
    wearing: str | None = None
    person: str | None = None
    prompt: str | None = None
    seed: int | None = None
    sequence: int = 0
    recording: bool = False


class StateChanged(_Message):
    """The session's state is now this."""

    type: Literal["state"] = "state"
    state: State


class Accepted(_Message):
    """A control was taken in. Frames whose `obeys` is at least `sequence` follow it, or a later one of its kind."""

    type: Literal["accepted"] = "accepted"
    id: int
    sequence: int
    seed: int | None = None


class Video(_Message):
    """How to decode the frames from the next key frame on. `decoder` is the codec string for WebCodecs, or
    `image/jpeg`; `width` and `height` are those of the encoded pictures."""

    type: Literal["video"] = "video"
    codec: Codec
    decoder: str
    width: int
    height: int


class Stats(_Message):
    """Once a second. Rates are frames per second over the last seconds; `generated` is the device's speed while it
    worked for this session; `rate` is what was sent to the screen; `dropped` counts since the session began; switch
    times are those the viewer reported, ms."""

    type: Literal["stats"] = "stats"
    generated: float
    rate: float
    buffered_ms: float
    dropped: int
    sessions: int
    switches: int
    switch_p50: float | None = None
    switch_p95: float | None = None


class CacheEntry(_Message):
    """One slot of the KV cache: a latent frame, the thread it belongs to and the versions it was made under."""

    slot: int
    thread: Literal["reference", "garment", "history"]
    state: Literal["live", "stale", "withdrawn", "writing"]
    versions: tuple[int, int, int] = Field(description="reference, garment, text")
    segment: int
    chunk: int
    frame: int
    position: int
    pinned: bool
    carried: bool


class CacheStep(_Message):
    """One transition of the cache, and how it looks afterwards. Entries in state `withdrawn` leave with this step.
    `frames`, `evicted` and `withdrawn` count since the take began."""

    move: str
    segment: int
    frames: int
    evicted: int
    withdrawn: int
    versions: tuple[int, int, int]
    entries: list[CacheEntry]


class Cache(_Message):
    """What the KV cache went through for one chunk, step by step. Only while `inspect` is on."""

    type: Literal["cache"] = "cache"
    window: int
    frame: int = Field(description="first frame of the chunk")
    obeys: int
    milliseconds: float = Field(description="what the chunk took to generate")
    steps: list[CacheStep]


class Recording(_Message):
    """A recording began, or ended and can be fetched at `url` while the session lives."""

    type: Literal["recording"] = "recording"
    on: bool
    url: str | None = None
    seconds: float = 0.0


class Problem(BaseModel):
    """RFC 9457 problem details. `detail` says what was found, what is expected and what to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="urn:quickchange:problem:..., one for each kind of problem")
    title: str
    status: int
    detail: str
    retry_after: Annotated[float | None, Field(description="seconds after which to try again")] = None


class Trouble(_Message):
    """Something went wrong. The session goes on unless `fatal`, after which the server closes the socket. `id` is that
    of the control that failed."""

    type: Literal["problem"] = "problem"
    problem: Problem
    fatal: bool = False
    id: int | None = None


ToViewer = Annotated[
    Welcome | StateChanged | Accepted | Video | Stats | Cache | Recording | Trouble,
    Field(discriminator="type"),
]

# -- states ------------------------------------------------------------------------------------------------------------


class State(StrEnum):
    """Of a session. Whether a viewer is connected is another matter: a live session outlives its socket for a while."""

    NEW = "new"
    OPENING = "opening"
    LIVE = "live"
    PAUSED = "paused"
    ERROR = "error"
    CLOSED = "closed"


class Event(StrEnum):
    """What may happen to a session."""

    OPEN = "open"
    STARTED = "started"  # the first chunk is there
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


class ProtocolError(ValueError):
    """A message that cannot be understood, or that the session's state does not allow. Its text may be shown."""


class NotNow(ProtocolError):
    """A message that the session's state does not allow."""


def step(state: State, event: Event) -> State:
    """The state after ``event``.

    Raises:
        NotNow: the state does not allow it; the state stays as it was.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = ", ".join(e for s, e in TRANSITIONS if s is state) or "nothing"
        raise NotNow(f"{event} is not possible while the session is {state}; possible now: {allowed}") from None


# -- parsing -----------------------------------------------------------------------------------------------------------

_FROM_VIEWER: TypeAdapter[Any] = TypeAdapter(FromViewer)
_TO_VIEWER: TypeAdapter[Any] = TypeAdapter(ToViewer)


def parse(text: str | bytes) -> Any:
    """A viewer's message.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages; the text names the first fault.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"message of {len(text)} characters; at most {MAX_MESSAGE_BYTES} are taken")
    try:
        return _FROM_VIEWER.validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "message"
        raise ProtocolError(f"{where}: {fault['msg']}") from None


def parse_answer(text: str | bytes) -> Any:
    """A server's message; pydantic's ValidationError for what is none."""
    return _TO_VIEWER.validate_json(text)


def schema() -> dict[str, Any]:
    """JSON schema of everything that is said, for docs/protocol.schema.json."""
    definitions: dict[str, Any] = {}
    sides = {}
    for name, adapter in (("fromViewer", _FROM_VIEWER), ("toViewer", _TO_VIEWER)):
        side = adapter.json_schema(ref_template="#/$defs/{model}")
        definitions |= side.pop("$defs")
        sides[name] = side
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "quickchange stream protocol",
        "version": VERSION,
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in sides],
        "$defs": dict(sorted(definitions.items())) | sides,
    }


# -- binary frames -----------------------------------------------------------------------------------------------------

KEY, CUT = 1, 2
_HEADER = struct.Struct(">BBHIIIQ")


@dataclass(frozen=True)
class FrameHeader:
    """What stands before a frame's bytes, big-endian: version u8, flags u8, size of the header u16, number u32,
    obeys u32, epoch u32, media time u64.

    Attributes:
        number: of the frame in the stream, from 0; numbers and media times grow. Frames that were dropped leave gaps.
        obeys: sequence id of the last control that the frame follows; 0 before the first.
        epoch: grows with every flush. Frames of an older epoch that are not on the screen yet are void.
        media_us: when the frame is due on the stream's own clock, microseconds; the clock stands while paused.
        key: it can be decoded on its own. cut: first frame of an epoch.
    """

    number: int
    obeys: int
    epoch: int
    media_us: int
    key: bool = False
    cut: bool = False

    def pack(self) -> bytes:
        """24 bytes."""
        flags = KEY * self.key | CUT * self.cut
        return _HEADER.pack(VERSION, flags, _HEADER.size, self.number, self.obeys, self.epoch, self.media_us)

    @staticmethod
    def unpack(message: bytes) -> tuple[FrameHeader, bytes]:
        """Header and picture of a binary message; ProtocolError where it is none of this version."""
        if len(message) < _HEADER.size or message[0] != VERSION:
            raise ProtocolError(f"{len(message)} bytes are no frame of protocol version {VERSION}")
        _, flags, size, number, obeys, epoch, media = _HEADER.unpack_from(message)
        return FrameHeader(number, obeys, epoch, media, bool(flags & KEY), bool(flags & CUT)), message[size:]


Welcome.model_rebuild()
StateChanged.model_rebuild()
