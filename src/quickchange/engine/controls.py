"""Controls that wait for a chunk border: of several of one kind the latest wins, and every control has a sequence id.

Preparing a control takes time (a photo is cut out and encoded), so a control that was asked for first may be ready
last. Order is therefore that of ``ticket``, taken when the control is asked for; ids are given by ``post``, when it is
ready. Pure logic without a lock: code that shares a mailbox between threads must hold one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Kind = TypeVar("Kind")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Delivery(Generic[Kind, Value]):
    """Controls that one chunk applies.

    Attributes:
        values: the latest control of every kind that waited.
        sequence: the highest sequence id that is obeyed once these are applied.
    """

    values: Mapping[Kind, Value]
    sequence: int


@dataclass
class Mailbox(Generic[Kind, Value]):
    """Latest-wins controls by kind.

    Attributes:
        sequence: id of the newest control, 0 before the first.
    """

    sequence: int = 0
    _tickets: int = 0
    _waiting: dict[Kind, tuple[int, Value]] = field(default_factory=dict)
    _applied: dict[Kind, int] = field(default_factory=dict)

    def ticket(self) -> int:
        """Take the next number. Call this when a control is asked for, before the work of preparing it."""
        self._tickets += 1
        return self._tickets

    def post(self, kind: Kind, value: Value, ticket: int | None = None) -> int:
        """Leave a control for the next chunk.

        Args:
            kind: controls of one kind replace each other.
            value: what is asked for.
            ticket: from ``ticket``; default: asked for now.

        Returns:
            Its sequence id. A control that is older than one waiting or already applied is dropped; its id counts as
            obeyed all the same, since the newer one was what the user wanted.
        """
        ticket = self.ticket() if ticket is None else ticket
        self.sequence += 1
        newest = self._waiting[kind][0] if kind in self._waiting else self._applied.get(kind, 0)
        if ticket > newest:
            self._waiting[kind] = (ticket, value)
        return self.sequence

    def waits(self, *kinds: Kind) -> bool:
        """Whether a control of one of these kinds waits (without arguments: of any kind)."""
        return any(kind in self._waiting for kind in kinds) if kinds else bool(self._waiting)

    def drain(self) -> Delivery[Kind, Value]:
        """Empty the mailbox: what the next chunk applies."""
        waiting, self._waiting = self._waiting, {}
        self._applied |= {kind: ticket for kind, (ticket, _) in waiting.items()}
        return Delivery({kind: value for kind, (_, value) in waiting.items()}, self.sequence)
