"""What a session wants from its next chunk. Belongs to the event loop; pure apart from the pacer that it flushes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from quickchange.engine.controls import Mailbox
from quickchange.serve.sessions.pacing import Pacer

if TYPE_CHECKING:
    from quickchange.engine.conditioner import ConditionImage

Change = Literal["person", "garment", "prompt"]


@dataclass(frozen=True)
class Scene:
    """Everything that a stream is generated from.

    Attributes:
        person: encoded image of the person.
        garment: encoded image of the garment.
        prompt: what the person does.
        seed: of the noise.
    """

    person: ConditionImage
    garment: ConditionImage
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class NextChunk:
    """An order for one chunk. It holds all that a worker needs, so a worker may live in another process.

    Attributes:
        changes: the latest control of every kind that waited; empty with ``restart``.
        restart: open the stream anew from this scene; None: go on.
        go_on_from: number of the frame that a switch or restart continues from; None: from the last one generated.
        sequence: the highest sequence id that is obeyed once the order is carried out.
        inspect: report what the cache goes through.
    """

    changes: Mapping[Change, Any]
    restart: Scene | None
    go_on_from: int | None
    sequence: int
    inspect: bool

    @property
    def switch(self) -> bool:
        """Whether the picture changes at once: a new garment or person, or a restart."""
        return self.go_on_from is not None


class Controls:
    """The controls of one session that wait for its next chunk: of each kind, the latest wins.

    Args:
        scene: what the stream begins with.

    Attributes:
        scene: what it will be generated from once all waiting controls are obeyed.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._mailbox: Mailbox[Change | Literal["restart"], Any] = Mailbox()
        self._opened = False

    def change(self, kind: Change, value: Any) -> int:
        """Change a part of the scene with the next chunk.

        Args:
            kind: which part.
            value: a ``ConditionImage`` for the person or garment, a text for the prompt.

        Returns:
            Sequence id.
        """
        self.scene = replace(self.scene, **{kind: value})
        return self._mailbox.post(kind, value)

    def restart(self, seed: int) -> int:
        """Start over with the next chunk: same scene, another seed.

        Returns:
            Sequence id.
        """
        self.scene = replace(self.scene, seed=seed)
        return self._mailbox.post("restart", None)

    @property
    def sequence(self) -> int:
        """Sequence id of the newest control, 0 before the first."""
        return self._mailbox.sequence

    @property
    def switching(self) -> bool:
        """Whether the next chunk changes the picture at once: a new garment or person, or a restart."""
        return self._mailbox.waits("garment", "person", "restart")

    def next_chunk(self, pacer: Pacer[Any], earliest: int, now: float, inspect: bool) -> NextChunk:
        """Order the next chunk. A switch flushes the frames that nobody will see from ``pacer``.

        Call this when the session's turn begins, not earlier: controls that come meanwhile still count, and the flush
        keeps no more frames than are needed until the chunk is ready.

        Args:
            pacer: of the session.
            earliest: number of the first frame that the engine can continue from.
            now: seconds on the pacer's clock.
            inspect: see ``NextChunk``.
        """
        delivery = self._mailbox.drain()
        restart = "restart" in delivery.values or not self._opened
        self._opened = True
        go_on_from = None
        if restart and not pacer.next_number:
            go_on_from = -1
        elif restart or not delivery.values.keys().isdisjoint(("garment", "person")):
            go_on_from = pacer.bridge(now) if restart else max(pacer.bridge(now), earliest)
            pacer.flush(go_on_from)
        return NextChunk(
            changes={} if restart else {kind: value for kind, value in delivery.values.items() if kind != "restart"},
            restart=self.scene if restart else None,
            go_on_from=go_on_from,
            sequence=delivery.sequence,
            inspect=inspect,
        )
