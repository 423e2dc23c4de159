"""A client without a screen: speaks the protocol of ``/v1/stream`` from Python.

async with connect("http://127.0.0.1:8000") as viewer:
    await viewer.send(Open(person="anna", garment="red-tee"))
    async for frame in viewer.frames(seconds=2):
        print(frame.header.number, len(frame.data))
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from quickchange.errors import QuickchangeError
from quickchange.serve.protocol import VERSION, messages
from quickchange.serve.protocol.frames import FrameHeader
from quickchange.serve.protocol.messages import Codec
from quickchange.serve.protocol.problems import Problem

Message = TypeVar("Message", bound=BaseModel)

ACK_EVERY = 6  # frames
MOST_KEPT = 256  # messages and frames that the caller has not asked for yet


class RefusedError(QuickchangeError, RuntimeError):
    """The server answered with a problem.

    Attributes:
        problem: its details.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True)
class Frame:
    """A frame as it came.

    Attributes:
        header: number, obeyed control, epoch and time.
        data: the encoded picture.
        at: when it came, ``time.monotonic``.
    """

    header: FrameHeader
    data: bytes
    at: float


class Viewer:
    """One open stream. Made by ``connect``.

    Attributes:
        welcome: the server's first message.
        acknowledge: whether frames are acknowledged automatically.
    """

    welcome: messages.Welcome

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.acknowledge = True
        self._requests = self._unanswered = 0
        self._kept: deque[Frame | BaseModel] = deque(maxlen=MOST_KEPT)

    async def send(self, message: BaseModel) -> None:
        """Send a message of the protocol."""
        await self.socket.send(message.model_dump_json())

    async def control(self, make: Callable[[int], BaseModel], timeout: float = 10.0) -> messages.Accepted:
        """Send a control and wait until it is accepted. Frames and messages that come meanwhile are kept.

        Args:
            make: makes the message from a request id.
            timeout: seconds.

        Raises:
            RefusedError: the server cannot do that.
            TimeoutError: no answer.
        """
        self._requests += 1
        request = self._requests
        await self.send(make(request))

        def answers(item: Frame | BaseModel) -> bool:
            return isinstance(item, messages.Accepted | messages.Trouble) and item.id == request

        answer = await self.wait(answers, timeout)
        if isinstance(answer, messages.Trouble):
            raise RefusedError(answer.problem)
        if not isinstance(answer, messages.Accepted):
            raise TypeError(f"{type(answer).__name__} is no answer")
        return answer

    async def wear(self, garment: str) -> int:
        """Ask for a garment and return the sequence id."""
        return (await self.control(lambda request: messages.Wear(id=request, garment=garment))).sequence

    def forget(self) -> None:
        """Drop the frames and messages that are kept."""
        self._kept.clear()

    async def wait(self, wanted: Callable[[Frame | BaseModel], bool], timeout: float = 10.0) -> Any:
        """Return the first frame or message that is ``wanted``, from those kept and those to come. Others are kept.

        Raises:
            RefusedError: the server closed the stream with a problem.
            TimeoutError: it did not come within ``timeout`` seconds.
        """
        for item in self._kept:
            if wanted(item):
                self._kept.remove(item)
                return item
        async with asyncio.timeout(timeout):
            while True:
                item = await self._receive()
                if wanted(item):
                    return item
                self._kept.append(item)

    async def message(self, kind: type[Message], timeout: float = 10.0) -> Message:
        """Return the next message of a kind; errors as ``wait``."""
        found: Message = await self.wait(lambda item: isinstance(item, kind), timeout)
        return found

    async def frames(self, seconds: float) -> AsyncIterator[Frame]:
        """Yield the frames that come within ``seconds``; messages are kept."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    item = await self._receive()
            except TimeoutError:
                return
            if isinstance(item, Frame):
                yield item
            else:
                self._kept.append(item)

    async def _receive(self) -> Frame | BaseModel:
        raw = await self.socket.recv()
        if isinstance(raw, str):
            message = messages.parse_answer(raw)
            if isinstance(message, messages.Trouble) and message.fatal:
                raise RefusedError(message.problem)
            return message
        header, data = FrameHeader.unpack(raw)
        self._unanswered += 1
        if self.acknowledge and (self._unanswered >= ACK_EVERY or header.cut):
            self._unanswered = 0
            with contextlib.suppress(ConnectionClosed):  # what came before the end is still to be read
                await self.send(messages.Ack(frame=header.number))
        return Frame(header, data, time.monotonic())


@asynccontextmanager
async def connect(
    url: str, codecs: Sequence[Codec] = ("h264", "jpeg"), *, token: str | None = None, resume: str | None = None
) -> AsyncIterator[Viewer]:
    """Open the socket and send ``hello``.

    Args:
        url: of the server, e.g. ``http://127.0.0.1:8000``.
        codecs: to ask for, best first.
        token: bearer token of the server.
        resume: ``welcome.session`` of a stream whose socket was lost.

    Raises:
        RefusedError: busy, warming up, unknown session and the like.
        OSError: there is no server.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = url.replace("http", "ws", 1).rstrip("/") + "/v1/stream"
    async with open_socket(address, additional_headers=headers, compression=None, max_size=2**24) as socket:
        viewer = Viewer(socket)
        await viewer.send(messages.Hello(version=VERSION, codecs=list(codecs), resume=resume))
        viewer.welcome = await viewer.message(messages.Welcome)
        yield viewer
