"""The JSON messages of ``/v1/stream``: their types, their parsing and their JSON schema.

Docstrings and field descriptions of the message types are part of docs/protocol.schema.json: editing one changes the
published schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from quickchange.generate import MAX_SEED
from quickchange.serve.protocol import VERSION
from quickchange.serve.protocol.problems import Problem, ProtocolError
from quickchange.serve.protocol.states import State

MAX_MESSAGE_BYTES = 16 * 1024
MAX_PROMPT = 300

Codec = Literal["h264", "vp8", "jpeg"]
Kind = Literal["top", "bottom", "one-piece"]
ImageId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="id of a bundled or uploaded image")]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT, description="what the person does; empty is allowed")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
RequestId = Annotated[int, Field(ge=0, le=2**31 - 1, description="the viewer's own number, comes back in `accepted`")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _published(description: str) -> ConfigDict:
    """Keep the published description of a message beside a docstring of another form."""
    return ConfigDict(json_schema_extra={"description": description})


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
    """The last frame on the screen, and the controls that reached it.

    A client acknowledges at least every 12 frames or 250 ms while frames come. One that stays silent loses frames, then
    the stream waits for it.
    """

    model_config = _published(
        "What has been shown: number of the last frame on the screen. At least every 12 frames or 250 ms while frames\n"
        "come; a viewer that stays silent loses frames, then the stream waits for it."
    )

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
    """How to decode the frames from the next key frame on.

    Attributes:
        codec: of the frames.
        decoder: codec string for WebCodecs, or `image/jpeg`.
        width: of the encoded pictures, px.
        height: of the encoded pictures, px.
    """

    model_config = _published(
        "How to decode the frames from the next key frame on. `decoder` is the codec string for WebCodecs, or\n"
        "`image/jpeg`; `width` and `height` are those of the encoded pictures."
    )

    type: Literal["video"] = "video"
    codec: Codec
    decoder: str
    width: int
    height: int


class Stats(_Message):
    """Measurements of a session, sent once a second.

    Attributes:
        generated: the device's speed while it worked for this session, frames per second.
        rate: frames sent to the screen per second, over the last seconds.
        buffered_ms: video generated and not shown.
        dropped: frames since the session began.
        sessions: on the server.
        switches: number of recent switches that the client reported.
        switch_p50: their median time, ms.
        switch_p95: their 95th percentile, ms.
    """

    model_config = _published(
        "Once a second. Rates are frames per second over the last seconds; `generated` is the device's speed while it\n"
        "worked for this session; `rate` is what was sent to the screen; `dropped` counts since the session began; "
        "switch\ntimes are those the viewer reported, ms."
    )

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
    """One transition of the cache, and its entries afterwards.

    Entries in state `withdrawn` leave with this step. Counts are those since the engine session began.
    """

    model_config = _published(
        "One transition of the cache, and how it looks afterwards. Entries in state `withdrawn` leave with this step.\n"
        "`frames`, `evicted` and `withdrawn` count since the take began."
    )

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


class Trouble(_Message):
    """Something went wrong.

    Attributes:
        problem: its details.
        fatal: whether the server closes the socket now; otherwise the session goes on.
        id: of the control that failed.
    """

    model_config = _published(
        "Something went wrong. The session goes on unless `fatal`, after which the server closes the socket. `id` is "
        "that\nof the control that failed."
    )

    type: Literal["problem"] = "problem"
    problem: Problem
    fatal: bool = False
    id: int | None = None


ToViewer = Annotated[
    Welcome | StateChanged | Accepted | Video | Stats | Cache | Recording | Trouble,
    Field(discriminator="type"),
]

# -- parsing -----------------------------------------------------------------------------------------------------------

_FROM_VIEWER: TypeAdapter[Any] = TypeAdapter(FromViewer)
_TO_VIEWER: TypeAdapter[Any] = TypeAdapter(ToViewer)


def parse(text: str | bytes) -> Any:
    """Parse a message from a client.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages. The text names the first fault.
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
    """Parse a message from the server.

    Raises:
        pydantic.ValidationError: not one of the messages.
    """
    return _TO_VIEWER.validate_json(text)


def schema() -> dict[str, Any]:
    """Build the JSON schema of all messages, for docs/protocol.schema.json."""
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
