"""``/v1/stream``: one WebSocket is one client. One task reads controls, another writes messages and frames.

A slow socket blocks its writer, never the session. Meanwhile the pacer drops frames that were due, before they are
encoded, and a bounded outbox drops messages, oldest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from quickchange.serve.encode import Encoder, make_encoder
from quickchange.serve.protocol import VERSION, messages
from quickchange.serve.protocol.frames import FrameHeader
from quickchange.serve.protocol.problems import InvalidTransitionError, ProblemError, ProtocolError, problem
from quickchange.serve.sessions.driver import Shot
from quickchange.serve.sessions.order import Scene
from quickchange.serve.sessions.pacing import Due
from quickchange.serve.sessions.registry import SessionRegistry
from quickchange.serve.sessions.session import LiveSession, draw_seed
from quickchange.serve.web.guard.rate import TokenBucket

logger = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
STATS_SECONDS = 1.0
GOODBYE_SECONDS = 2.0  # for the last messages of a session that was closed
OUTBOX = 64  # messages
MESSAGES_PER_SECOND, MESSAGES_AT_ONCE = 60.0, 120.0
MOST_ERRORS = 20  # faulty messages in a row, before the socket is closed
GOODBYE, POLICY, BUSY, TAKEN_OVER = 1000, 1008, 1013, 4001  # close codes


class Connection:
    """One client at one socket; a session's ``Subscriber``.

    Args:
        socket: accepted.
        registry: of all sessions.
    """

    def __init__(self, socket: WebSocket, registry: SessionRegistry) -> None:
        self._socket, self._registry = socket, registry
        self._session: LiveSession | None = None
        self._encoder: Encoder | None = None
        self._described = False  # whether the client knows how to decode what comes
        self._want_key = True
        self._outbox: deque[BaseModel] = deque(maxlen=OUTBOX)
        self._woken = asyncio.Event()
        self._dismissed: str | None = None
        self._code = GOODBYE
        self._errors = 0

    # -- as a session's subscriber -------------------------------------------------------------------------------------

    def tell(self, message: BaseModel) -> None:
        """Accept a message without waiting."""
        self._outbox.append(message)
        self._woken.set()

    def wake(self) -> None:
        """Look again for a frame to send."""
        self._woken.set()

    def dismiss(self, reason: str, taken_over: bool = False) -> None:
        """End: the session was closed, or belongs to another subscriber now."""
        self._dismissed, self._code = reason, TAKEN_OVER if taken_over else GOODBYE
        self._woken.set()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Greet the client, then read and write until the socket or the session ends."""
        try:
            session = await self._greet()
        except (ProblemError, ProtocolError) as error:
            await self._refuse(error)
            return
        except WebSocketDisconnect:
            return
        jobs = {"read": self._read(session), "write": self._write(session), "stats": self._report(session)}
        tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._dismissed is not None:  # the writer may be busy with a frame: its last messages still go out
                await asyncio.wait(tasks[1:2], timeout=GOODBYE_SECONDS)
            for task in done:
                task.result()
        except (WebSocketDisconnect, ConnectionError, RuntimeError) as error:
            logger.debug("socket ended: %r", error)  # RuntimeError: starlette's word for sending to a closed socket
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._registry.detach(session, self)
            await self._close(self._code, self._dismissed or "")

    async def _greet(self) -> LiveSession:
        try:
            hello = messages.parse(await asyncio.wait_for(self._receive(), HELLO_SECONDS))
        except TimeoutError:
            raise ProtocolError(f"no hello within {HELLO_SECONDS:g} s") from None
        if not isinstance(hello, messages.Hello):
            raise ProtocolError(f"the first message is {hello.type!r}; expected hello")
        if hello.version != VERSION:
            raise ProtocolError(f"protocol version {hello.version}; this server speaks {VERSION}")
        studio = self._registry.services.studio
        self._encoder = make_encoder(hello.codecs[0], studio.width, studio.height, studio.fps)
        if not hello.resume:
            await self._registry.settle()
        session = self._registry.find(hello.resume) if hello.resume else self._registry.create()
        self._session = session
        self.tell(session.welcome(resumed=bool(hello.resume), codec=hello.codecs[0]))
        self._registry.attach(session, self)
        if hello.resume:
            self._registry.services.metrics.resumed()
        return session

    async def _refuse(self, error: ProblemError | ProtocolError) -> None:
        details = error.problem if isinstance(error, ProblemError) else problem("bad-request", str(error)).problem
        with contextlib.suppress(WebSocketDisconnect, ConnectionError, RuntimeError):
            await self._socket.send_text(messages.Trouble(problem=details, fatal=True).model_dump_json())
        await self._close(BUSY if details.status == 503 else POLICY, details.title)

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is not WebSocketState.DISCONNECTED:
            with contextlib.suppress(WebSocketDisconnect, ConnectionError, RuntimeError):
                await self._socket.close(code, reason[:120])

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _write(self, session: LiveSession) -> None:
        while True:
            self._woken.clear()
            while self._outbox:
                message = self._outbox.popleft()
                await self._socket.send_text(message.model_dump_json())
                if isinstance(message, messages.Trouble) and message.fatal:
                    return
            if self._dismissed is not None:
                return
            due, wait = session.pop()
            if due is not None:
                await self._send(due)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # not wait_for, which can swallow a cancellation
                        await self._woken.wait()

    async def _send(self, due: Due[Shot]) -> None:
        encoder = self._encoder
        if encoder is None:
            return
        key, self._want_key = self._want_key, False
        picture = await asyncio.to_thread(encoder.encode, due.item.frame, key)
        if not self._described:
            self._described = True
            video = messages.Video(
                codec=encoder.codec, decoder=encoder.decoder, width=encoder.width, height=encoder.height
            )
            await self._socket.send_text(video.model_dump_json())
        header = FrameHeader(
            due.number, due.item.obeys, due.epoch, round(1e6 * due.media), key=picture.key, cut=due.cut
        )
        await self._socket.send_bytes(header.pack() + picture.data)

    async def _report(self, session: LiveSession) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            self.tell(session.stats(self._registry.occupied))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        if message.get("text") is None:
            raise ProtocolError("a binary message; expected JSON text")
        return str(message["text"])

    async def _read(self, session: LiveSession) -> None:
        loop = asyncio.get_running_loop()
        bucket = TokenBucket(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE)
        while True:
            request: int | None = None
            try:
                text = await self._receive()
                if self._dismissed is not None:
                    return
                wait = bucket.consume(loop.time())
                if wait > 0:
                    detail = f"more than {MESSAGES_PER_SECOND:g} messages a second; send fewer"
                    raise problem("too-many-requests", detail, retry_after=wait)
                message = messages.parse(text)
                request = getattr(message, "id", None)
                await self._obey(session, message)
                self._errors = 0
                if isinstance(message, messages.Close):
                    return
            except (ProblemError, ProtocolError) as error:
                self._errors += 1
                await self._complain(error, request)
                if self._errors >= MOST_ERRORS:
                    return

    async def _complain(self, error: ProblemError | ProtocolError, request: int | None) -> None:
        if isinstance(error, ProblemError):
            details = error.problem
            if details.status == 429:  # a flood is answered slowly
                await asyncio.sleep(min(1.0, details.retry_after or 0.0))
        else:
            kind = "invalid-transition" if isinstance(error, InvalidTransitionError) else "bad-request"
            details = problem(kind, str(error)).problem
        self.tell(messages.Trouble(problem=details, id=request))

    async def _obey(self, session: LiveSession, message: Any) -> None:
        match message:
            case messages.Hello():
                raise ProtocolError("hello is only possible once, as the first message")
            case messages.Open():
                self._open(session, message)
            case messages.Wear():
                garment = self._registry.garment(session, message.garment)
                self._accept(message.id, session.control(lambda controls: controls.change("garment", garment)))
                session.garment = message.garment
            case messages.Person():
                person = self._registry.person(session, message.person)
                self._accept(message.id, session.control(lambda controls: controls.change("person", person)))
                session.person = message.person
            case messages.Say():
                self._accept(message.id, session.control(lambda controls: controls.change("prompt", message.prompt)))
            case messages.Take():
                seed = draw_seed() if message.seed is None else message.seed
                self._accept(message.id, session.control(lambda controls: controls.restart(seed)), seed)
            case messages.Pause() | messages.Resume():
                session.pause(isinstance(message, messages.Pause))
            case messages.Visible():
                session.hide(not message.visible)
            case messages.Inspect():
                session.inspect(message.on)
            case messages.Record():
                session.record(message.on)
            case messages.Ack():
                session.acknowledge(message)
            case messages.Keyframe():
                self._want_key = True
                session.decoder_failed()
            case messages.Close():
                await asyncio.shield(self._registry.end(session))

    def _open(self, session: LiveSession, message: messages.Open) -> None:
        person = self._registry.person(session, message.person)
        garment = self._registry.garment(session, message.garment)
        seed = draw_seed() if message.seed is None else message.seed
        session.open(message.person, message.garment, Scene(person, garment, message.prompt, seed))

    def _accept(self, request: int, sequence: int, seed: int | None = None) -> None:
        self.tell(messages.Accepted(id=request, sequence=sequence, seed=seed))
