"""A real server on a free loopback port, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest.mock import patch

import uvicorn
from fastapi import FastAPI

import tiny
from quickchange.engine.studio import Studio
from quickchange.serve.sessions.registry import SessionRegistry
from quickchange.serve.settings import Settings
from quickchange.serve.web.app import Server, create_app
from quickchange.serve.web.guard import rate

Result = TypeVar("Result")


@dataclass
class Running:
    """``url`` of the server; ``app``; ``loop`` that it runs on."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop

    @property
    def registry(self) -> SessionRegistry:
        server: Server = self.app.state.server
        assert server.registry is not None
        return server.registry

    def run(self, job: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Runs a coroutine on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(job(), self.loop).result(30)


@contextmanager
def running(load: Callable[[], Studio] = tiny.studio, *, wait: bool = True, **settings: Any) -> Iterator[Running]:
    """Starts a server and stops it; ``settings`` as in ``Settings``. Requests may come at any rate."""
    app = create_app(load, "tiny", Settings(**{"max_sessions": 4, **settings}))
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    def serve() -> None:
        loop = asyncio.new_event_loop()
        loops.append(loop)
        loop.run_until_complete(server.serve())
        loop.close()

    thread = threading.Thread(target=serve, name="server", daemon=True)
    free: dict[str, Any] = dict.fromkeys(("UPLOADS", "VIDEOS", "SOCKETS", "OTHERS"), (1e6, 1e6))
    with patch.multiple(rate, **free):
        thread.start()
        yield from _until_done(server, app, thread, loops, wait)


def _until_done(
    server: uvicorn.Server, app: FastAPI, thread: threading.Thread, loops: list[asyncio.AbstractEventLoop], wait: bool
) -> Iterator[Running]:
    try:
        while not server.started or (wait and app.state.server.registry is None):
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", app, loops[0])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
