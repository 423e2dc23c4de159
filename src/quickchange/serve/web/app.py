"""The application: routes, socket and page; the model loads while the server already answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from quickchange.media.images import PlacedGarment
from quickchange.serve.catalogue import load_catalogue
from quickchange.serve.metrics import Metrics
from quickchange.serve.protocol import messages
from quickchange.serve.protocol.problems import problem
from quickchange.serve.recording import RecordingStore
from quickchange.serve.sessions.registry import SessionRegistry
from quickchange.serve.sessions.services import Services
from quickchange.serve.sessions.worker import Worker
from quickchange.serve.settings import Settings
from quickchange.serve.web import routes as rest
from quickchange.serve.web.connection import HELLO_SECONDS, Connection
from quickchange.serve.web.errors import install
from quickchange.serve.web.guard import Guard

if TYPE_CHECKING:
    from quickchange.engine.studio import Studio

logger = logging.getLogger(__name__)

STATIC = Path(str(files("quickchange.serve").joinpath("page")))
MEMORY_SHARE = 0.6  # of the free memory, for sessions
SPEED_CHUNKS = 4  # generated to learn how fast the device is


class Server:
    """What routes share.

    Args:
        load: loads and warms the model.
        name: of the model, for people.
        settings: everything else.

    Attributes:
        registry: all sessions; None until the model is warm.
        catalogue: the bundled pictures.
        failed: called with the error if the model cannot be loaded.
        ready: called with the registry once the model is warm.
    """

    def __init__(self, load: Callable[[], Studio], name: str, settings: Settings) -> None:
        self.registry: SessionRegistry | None = None
        self.catalogue = load_catalogue()
        self.failed: Callable[[Exception], None] = _log_failure
        self.ready: Callable[[SessionRegistry], None] = lambda registry: None
        self._load, self._name, self._settings = load, name, settings

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Load the model in the background, and free everything at the end."""
        worker = Worker()
        warming = asyncio.create_task(self._warm(worker), name="warming")
        try:
            yield
        finally:
            warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await warming
            registry, self.registry = self.registry, None
            if registry is not None:
                await registry.close()
            await worker.close()

    async def _warm(self, worker: Worker) -> None:
        try:
            studio = await worker.turn(self._load)
            capacity = self._settings.max_sessions
            if capacity is None:
                capacity = await worker.turn(lambda: measure_capacity(studio))
            model = messages.ModelInfo(
                name=self._name,
                width=studio.width,
                height=studio.height,
                fps=studio.fps,
                chunk=studio.chunk,
                window=studio.window,
                device=studio.device.type,
                kinds=[*studio.kinds],
            )
            settings = self._settings
            services = Services(
                studio=studio,
                settings=settings,
                worker=worker,
                metrics=Metrics(),
                model=model,
                recordings=RecordingStore(settings.recordings, settings.certificate, settings.key),
            )
            registry = SessionRegistry(services, self.catalogue, capacity)
            await worker.turn(registry.prepare_bundled)
        except Exception as error:
            self.failed(error)
            return
        self.registry = registry
        self.ready(registry)


def _log_failure(error: Exception) -> None:
    logger.error("the model could not be loaded", exc_info=error)


def measure_capacity(studio: Studio) -> int:
    """Measure how many sessions fit into memory and run at the model's full rate; at least one."""
    by_memory = int(MEMORY_SHARE * studio.free_bytes() / studio.session_bytes)
    blank = np.full((studio.height, studio.width, 3), 255, np.uint8)
    with studio.open(blank, PlacedGarment(blank)) as session:
        next(session)
        began = time.monotonic()
        frames = sum(len(chunk.frames) for chunk in islice(session, SPEED_CHUNKS))
        rate = frames / (time.monotonic() - began)
    return max(1, min(by_memory, int(rate / studio.fps)))


def create_app(load: Callable[[], Studio], name: str, settings: Settings) -> FastAPI:
    """Create the server as an ASGI application.

    Args:
        load: loads and warms the model. It runs on the device's thread after the server has begun to answer.
        name: of the model, for people.
        settings: everything else.
    """
    server = Server(load, name, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with server.run():
            yield

    # The interactive pages of FastAPI load scripts from other hosts: they are left out.
    app = FastAPI(title="quickchange", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    install(app)
    app.include_router(rest.router)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        if server.registry is None:
            trouble = problem("warming-up", "the model is loading; try again in a moment", rest.WARM_RETRY).problem
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                # After its hello: a client that is still sending might miss the answer.
                await asyncio.wait_for(socket.receive(), HELLO_SECONDS)
                await socket.send_text(messages.Trouble(problem=trouble, fatal=True).model_dump_json())
                await socket.close(1013, "warming up")
            return
        await Connection(socket, server.registry).serve()

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, settings=settings)
    if settings.origins:  # outermost: a preflight brings no token
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    return app
