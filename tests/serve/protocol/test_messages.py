"""The protocol: messages, frames, states; and that its documents say what the code does."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from quickchange.serve.protocol import messages
from quickchange.serve.protocol.frames import FrameHeader
from quickchange.serve.protocol.problems import ProtocolError
from quickchange.serve.protocol.states import TRANSITIONS, Event, State, step

DOCS = Path(__file__).resolve().parents[3] / "docs"
MESSAGES: list[BaseModel] = [
    messages.Hello(version=1, codecs=["h264", "jpeg"], resume="abc"),
    messages.Open(person="anna", garment="red-tee", prompt="she turns", seed=7),
    messages.Wear(id=1, garment="red-tee"),
    messages.Say(id=2, prompt=""),
    messages.Person(id=3, person="anna"),
    messages.Take(id=4),
    messages.Pause(),
    messages.Resume(),
    messages.Visible(visible=False),
    messages.Inspect(on=True),
    messages.Record(on=True),
    messages.Ack(frame=12, switched=[messages.Switched(sequence=1, ms=212.5)]),
    messages.Keyframe(),
    messages.Close(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_messages_survive_the_wire(message: BaseModel) -> None:
    assert messages.parse(message.model_dump_json()) == message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"type": "fly"}', "fly"),
        ('{"type": "wear", "id": -1, "garment": "a"}', "id"),
        ('{"type": "wear", "id": 1, "garment": "../../etc/passwd"}', "garment"),
        ('{"type": "wear", "id": 1, "garment": "a", "colour": "red"}', "colour"),
        ('{"type": "pause", "pause": true}', "pause"),
        ('{"type": "say", "id": 1, "prompt": "' + "a" * 301 + '"}', "prompt"),
        ('{"type": "open", "person": "a", "garment": "b", "seed": 1e300}', "seed"),
        ('{"type": "ack", "frame": true}', "frame"),
        ('{"type": "hello", "version": 1, "codecs": []}', "codecs"),
        ('{"type": "ack", "frame": 1, "switched": [{"sequence": 1, "ms": NaN}]}', "ms"),
        (" " * 20_000, "20000 characters"),
        ("[" * 10_000, "JSON"),
    ],
)
def test_faults_are_named(text: str, named: str) -> None:
    with pytest.raises(ProtocolError, match=named):
        messages.parse(text)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_nothing_but_protocol_errors(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.parse(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(MESSAGES), st.sampled_from(["type", "id", "garment", "seed", "frame", "x"]), json_values)
def test_messages_with_a_changed_field_parse_or_raise(message: BaseModel, name: str, value: object) -> None:
    text = json.dumps(message.model_dump(mode="json") | {name: value})
    with contextlib.suppress(ProtocolError):
        assert isinstance(messages.parse(text), BaseModel)


u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(u32, u32, u32, u64, st.booleans(), st.booleans(), st.binary(max_size=50))
def test_frames_survive_the_wire(
    number: int, obeys: int, epoch: int, media: int, key: bool, cut: bool, data: bytes
) -> None:
    header = FrameHeader(number, obeys, epoch, media, key, cut)
    assert FrameHeader.unpack(header.pack() + data) == (header, data)


@pytest.mark.parametrize("message", [b"", b"\x01" * 23, b"\x02" * 40])
def test_what_is_no_frame_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolError, match="no frame"):
        FrameHeader.unpack(message)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_states_follow_the_table_and_closing_is_final(events: list[Event]) -> None:
    state = State.NEW
    for event in events:
        if (state, event) in TRANSITIONS:
            assert step(state, event) is TRANSITIONS[state, event]
            state = step(state, event)
        else:
            with pytest.raises(ProtocolError, match=state):
                step(state, event)
        if state is State.CLOSED:
            assert all((state, event) not in TRANSITIONS for event in Event)


def test_every_state_can_be_reached_and_closed() -> None:
    reached, grown = {State.NEW}, True
    while grown:
        after = {to for (state, _), to in TRANSITIONS.items() if state in reached} | reached
        grown, reached = after != reached, after
    assert reached == set(State)
    assert all((state, Event.CLOSE) in TRANSITIONS for state in State if state is not State.CLOSED)


def test_the_schema_document_is_that_of_the_code() -> None:
    written = json.loads((DOCS / "protocol.schema.json").read_text())
    assert written == json.loads(json.dumps(messages.schema())), "run python scripts/protocol_schema.py"


def test_the_document_names_every_message_and_every_transition() -> None:
    text = (DOCS / "protocol.md").read_text()
    for name in messages.schema()["$defs"]["fromViewer"]["discriminator"]["mapping"]:
        assert f"`{name}`" in text
    for name in messages.schema()["$defs"]["toViewer"]["discriminator"]["mapping"]:
        assert f"`{name}`" in text
    rows = {tuple(cell.strip(" `") for cell in line.split("|")[1:4]) for line in text.splitlines() if "|" in line}
    assert {(state, event, to) for (state, event), to in TRANSITIONS.items()} <= rows
