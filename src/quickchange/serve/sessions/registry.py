"""All sessions of a server: slots, resuming, and freeing everything in the end. It belongs to the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from quickchange.media.images import PlacedGarment
from quickchange.serve.catalogue import Catalogue, Role
from quickchange.serve.protocol.problems import problem
from quickchange.serve.protocol.states import State
from quickchange.serve.sessions.services import Services
from quickchange.serve.sessions.session import LiveSession, Subscriber
from quickchange.serve.uploads import ImageWorker, Upload

if TYPE_CHECKING:
    from quickchange.engine.conditioner import ConditionImage

logger = logging.getLogger(__name__)

BUSY_RETRY, SETTLE_SECONDS = 10.0, 2.0


class SessionRegistry:
    """See the module header.

    Args:
        services: what sessions share.
        catalogue: the bundled pictures.
        capacity: how many sessions and one-shot videos there may be at a time.

    Attributes:
        images: the worker that decodes uploads.
        videos: threads for one-shot videos.
    """

    def __init__(self, services: Services, catalogue: Catalogue, capacity: int) -> None:
        self.services, self.catalogue, self.capacity = services, catalogue, capacity
        self.images = ImageWorker()
        self.videos = ThreadPoolExecutor(capacity, thread_name_prefix="videos")
        services.metrics.count_sessions(lambda: self.occupied)
        self._sessions: dict[str, LiveSession] = {}
        self._others = 0  # slots held by one-shot videos
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._prepared: dict[tuple[Role, str], ConditionImage] = {}

    @property
    def occupied(self) -> int:
        """Slots taken."""
        return len(self._sessions) + self._others

    # -- slots ---------------------------------------------------------------------------------------------------------

    def create(self) -> LiveSession:
        """Create a session.

        Raises:
            ProblemError: "busy", every slot is taken.
        """
        self._check_capacity()
        session = LiveSession(self.services)
        self._sessions[session.token] = session
        self.services.metrics.opened()
        return session

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for something other than a session.

        Raises:
            ProblemError: "busy", every slot is taken.
        """
        self._check_capacity()
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1

    def _check_capacity(self) -> None:
        if self.occupied >= self.capacity:
            self.services.metrics.busy()
            kept = f"that of a closed page is free after {self.services.settings.resume_seconds:g} s"
            detail = f"every place is taken ({self.capacity}); {kept}; try again in a while"
            raise problem("busy", detail, retry_after=BUSY_RETRY)

    async def settle(self) -> None:
        """Wait a moment for sessions that are about to end, if all slots are taken."""
        if self.occupied >= self.capacity and self._closing:
            await asyncio.wait(self._closing, timeout=SETTLE_SECONDS)

    def find(self, token: str) -> LiveSession:
        """Return the session of that token.

        Raises:
            ProblemError: "unknown-session", it has ended or never was.
        """
        session = self._sessions.get(token)
        if session is None or session.state is State.CLOSED:
            detail = "this session is not known; it has ended, or waited too long for its viewer: open a new one"
            raise problem("unknown-session", detail)
        return session

    def attach(self, session: LiveSession, subscriber: Subscriber) -> None:
        """Connect a subscriber: a client has come, or come back."""
        expiry = self._expiries.pop(session.token, None)
        if expiry is not None:
            expiry.cancel()
        session.attach(subscriber)

    def detach(self, session: LiveSession, subscriber: Subscriber) -> None:
        """Disconnect a subscriber. Its session waits ``resume_seconds`` for the client, then it is freed."""
        if session.detach(subscriber) and session.token in self._sessions:
            if session.state is State.ERROR:
                self.end(session)
                return
            loop = asyncio.get_running_loop()
            self._expiries[session.token] = loop.call_later(self.services.settings.resume_seconds, self.end, session)

    def end(self, session: LiveSession) -> asyncio.Task[None]:
        """Begin to end a session and to free everything that it holds.

        Returns:
            The task that does it. The slot is free when it is done. The registry keeps the task, so a caller that waits
            for it may be cancelled.
        """
        task = asyncio.create_task(self._end(session), name="end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _end(self, session: LiveSession) -> None:
        expiry = self._expiries.pop(session.token, None)
        if expiry is not None:
            expiry.cancel()
        try:
            await session.close()
        finally:
            self._sessions.pop(session.token, None)

    async def close(self) -> None:
        """End all sessions and the threads."""
        for session in list(self._sessions.values()):
            self.end(session)
        if self._closing:
            await asyncio.wait(self._closing)
        await asyncio.to_thread(self.images.shutdown)
        await asyncio.to_thread(self.videos.shutdown)
        await asyncio.to_thread(self.services.recordings.close)

    # -- pictures ------------------------------------------------------------------------------------------------------

    def person(self, session: LiveSession, name: str) -> ConditionImage:
        """Return a person, uploaded in this session or bundled.

        Raises:
            ProblemError: "not-found".
        """
        return self._picture(session, name, "person")

    def garment(self, session: LiveSession, name: str) -> ConditionImage:
        """Return a garment, uploaded in this session or bundled.

        Raises:
            ProblemError: "not-found".
        """
        return self._picture(session, name, "garment")

    def _picture(self, session: LiveSession, name: str, role: Role) -> ConditionImage:
        if (role, name) in session.prepared:
            return session.prepared[role, name]
        if (role, name) not in self._prepared:
            raise problem("not-found", f"no {role} {name!r}, neither bundled nor uploaded in this session")
        return self._prepared[role, name]

    def prepare_bundled(self) -> None:
        """Encode all bundled pictures ahead of time, so that no click waits for it. Blocks."""
        for item in self.catalogue.people:
            self._prepared["person", item.id] = self.services.studio.prepare_reference(item.path)
        for item in self.catalogue.garments:
            self._prepared["garment", item.id] = self.services.studio.prepare_garment(item.path)

    def add_upload(self, session: LiveSession, upload: Upload) -> None:
        """Encode an upload and give it to a session. Runs on the device's thread.

        Raises:
            ProblemError: "too-many-uploads".
        """
        if upload.role == "person":
            prepared = self.services.studio.prepare_reference(upload.picture)
        else:
            prepared = self.services.studio.prepare_garment(PlacedGarment(upload.picture))
        session.check_room()
        session.prepared[upload.role, upload.id] = prepared
        self.services.metrics.uploaded()
