"""The HTTP routes beside the socket. Errors are problem details (RFC 9457)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from PIL import Image
from pydantic import BaseModel
from starlette.background import BackgroundTask

from quickchange.generate import MAX_SEED
from quickchange.media.video import default_scale, enlarge, save_png_atomic
from quickchange.serve.catalogue import Item, Role
from quickchange.serve.protocol.messages import MAX_PROMPT, Kind
from quickchange.serve.protocol.problems import problem
from quickchange.serve.sessions.registry import SessionRegistry
from quickchange.serve.sessions.session import LiveSession
from quickchange.serve.uploads import read_garment, read_person, read_upload
from quickchange.serve.web.errors import RESPONSES
from quickchange.serve.web.oneshot import AbandonedError, StudioInTurns

router = APIRouter(responses=RESPONSES)

MOST_GARMENTS = 8  # of one video
WARM_RETRY = 2.0  # seconds
POLL_SECONDS = 0.5


# -- dependencies ------------------------------------------------------------------------------------------------------


def ready_registry(request: Request) -> SessionRegistry:
    """Return the registry of sessions.

    Raises:
        ProblemError: "warming-up", the model is loading.
    """
    registry: SessionRegistry | None = request.app.state.server.registry
    if registry is None:
        raise problem("warming-up", "the model is loading; try again in a moment", retry_after=WARM_RETRY)
    return registry


def live_session(
    registry: Annotated[SessionRegistry, Depends(ready_registry)],
    token: Annotated[str, Header(alias="Quickchange-Session", max_length=64, description="`session` of `welcome`")],
) -> LiveSession:
    """Return the session whose token the header brings.

    Raises:
        ProblemError: "unknown-session".
    """
    return registry.find(token)


ReadyRegistry = Annotated[SessionRegistry, Depends(ready_registry)]
ThisSession = Annotated[LiveSession, Depends(live_session)]

# -- health ------------------------------------------------------------------------------------------------------------


class Health(BaseModel):
    """Alive, or ready."""

    status: str


@router.get("/healthz")
async def healthz() -> Health:
    """The server is alive."""
    return Health(status="alive")


@router.get("/readyz")
async def readyz(registry: ReadyRegistry) -> Health:
    """The model is loaded and warm; 503 until then."""
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(registry: ReadyRegistry) -> Response:
    """Counters for Prometheus."""
    return Response(registry.services.metrics.text(), media_type="text/plain; version=0.0.4")


# -- what there is to wear ---------------------------------------------------------------------------------------------


class GarmentItem(BaseModel):
    """A bundled garment."""

    id: str
    name: str
    kind: Kind
    image: str


class PersonItem(BaseModel):
    """A bundled person."""

    id: str
    name: str
    image: str


class Garments(BaseModel):
    """All bundled garments."""

    garments: list[GarmentItem]


class People(BaseModel):
    """All bundled people."""

    people: list[PersonItem]


@router.get("/v1/garments")
async def garments(request: Request) -> Garments:
    """The bundled garments."""
    items = request.app.state.server.catalogue.garments
    return Garments(
        garments=[GarmentItem(id=i.id, name=i.name, kind=i.kind, image=f"/v1/images/{i.id}") for i in items]
    )


@router.get("/v1/people")
async def people(request: Request) -> People:
    """The bundled people."""
    items = request.app.state.server.catalogue.people
    return People(people=[PersonItem(id=i.id, name=i.name, image=f"/v1/images/{i.id}") for i in items])


IMAGES: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}, "image/jpeg": {}}}}


@router.get("/v1/images/{name}", response_class=FileResponse, responses=IMAGES)
async def image(name: str, request: Request) -> FileResponse:
    """The picture of a bundled person or garment."""
    catalogue = request.app.state.server.catalogue
    item: Item | None = catalogue.find("garment", name) or catalogue.find("person", name)
    if item is None:
        raise problem("not-found", f"no bundled picture {name[:64]!r}; GET /v1/garments and /v1/people list them")
    return FileResponse(item.path, headers={"Cache-Control": "max-age=3600"})


# -- a session's own pictures ------------------------------------------------------------------------------------------


class Uploaded(BaseModel):
    """An upload, to be worn by its id.

    `preview` is a PNG as data URL; of a garment, what was cut out. `recognised` is false if the background could not
    be told apart: then the whole picture counts as the garment.
    """

    id: str
    role: Role
    kind: Kind | None
    recognised: bool
    width: int
    height: int
    preview: str


@router.post("/v1/uploads", status_code=201)
async def upload(
    registry: ReadyRegistry,
    session: ThisSession,
    image: Annotated[UploadFile, File(description="a still picture: JPEG, PNG, WebP, AVIF, BMP or TIFF")],
    role: Annotated[Role, Form()] = "garment",
    kind: Annotated[Kind, Form()] = "top",
    cutout: Annotated[bool, Form(description="remove a garment's background")] = True,
) -> Uploaded:
    """Give a session a picture of its own. It is deleted with the session."""
    session.check_room()
    data = await image.read()
    kind_or_none = kind if role == "garment" else None
    kept = await registry.images.run(read_upload, data, registry.services.studio, role, kind_or_none, cutout)
    await registry.services.worker.turn(lambda: registry.add_upload(session, kept))
    return Uploaded(
        id=kept.id,
        role=role,
        kind=kept.kind,
        recognised=kept.recognised,
        width=kept.width,
        height=kept.height,
        preview=f"data:image/png;base64,{b64encode(kept.preview).decode()}",
    )


# -- what was generated ------------------------------------------------------------------------------------------------

PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
MP4: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}}}}


@router.get("/v1/snapshot", response_class=Response, responses=PNG)
async def snapshot(
    registry: ReadyRegistry,
    session: ThisSession,
    frame: Annotated[int | None, Query(ge=0, le=2**32 - 1, description="number; default: the last one shown")] = None,
) -> Response:
    """A frame that was shown, as PNG, marked as synthetic."""
    pixels = session.snapshot(frame)
    if pixels is None:
        raise problem("not-found", "nothing has been shown yet; wait for the first frame")

    def write() -> bytes:
        with tempfile.TemporaryDirectory(prefix="quickchange-") as folder:
            path = Path(folder) / "snapshot.png"
            save_png_atomic(Image.fromarray(enlarge(pixels, default_scale(pixels.shape[0]))), path)
            registry.services.recordings.sign(path, "image/png")
            return path.read_bytes()

    headers = {"Content-Disposition": 'attachment; filename="quickchange.png"'}
    return Response(await asyncio.to_thread(write), media_type="image/png", headers=headers)


@router.get("/v1/recordings/{name}", response_class=FileResponse, responses=MP4)
async def recording(name: str, registry: ReadyRegistry) -> FileResponse:
    """A finished recording, under the secret name that its client was told."""
    path = registry.services.recordings.find(name)
    if path is None:
        raise problem("not-found", "no such recording; recordings go with their session")
    return FileResponse(path, media_type="video/mp4", filename="quickchange.mp4")


@router.post("/v1/generate", response_class=FileResponse, responses=MP4)
async def generate(
    request: Request,
    registry: ReadyRegistry,
    reference: Annotated[UploadFile, File(description="the person")],
    garments: Annotated[list[UploadFile], File(description="in order of wearing", min_length=1)],
    prompt: Annotated[str, Form(min_length=1, max_length=MAX_PROMPT, description="what the person does")],
    times: Annotated[list[float] | None, Form(description="seconds, one for each garment after the first")] = None,
    seconds: Annotated[float, Form(gt=0, allow_inf_nan=False)] = 6.0,
    seed: Annotated[int, Form(ge=0, le=MAX_SEED)] = 0,
    cutout: Annotated[bool, Form(description="remove the garments' backgrounds")] = True,
) -> FileResponse:
    """One whole video, marked as synthetic. It takes a slot and its turns as a live session does."""
    from quickchange.generate import run as engine
    from quickchange.generate.plan import Plan, check_terms

    at = times or []
    if not 1 <= len(garments) <= MOST_GARMENTS:
        raise problem("invalid", f"{len(garments)} garments; expected 1 to {MOST_GARMENTS}")
    if len(at) != len(garments) - 1:
        raise problem("invalid", f"{len(at)} times for {len(garments)} garments; expected one for each but the first")
    longest = registry.services.settings.generate_seconds
    if seconds > longest:
        raise problem("invalid", f"seconds is {seconds:g}; this server makes at most {longest:g}")
    check_terms(times=at, prompt=prompt, seconds=seconds, seed=seed)  # before the pictures are read

    async with registry.slot():
        person = await registry.images.run(read_person, await reference.read())
        worn = [await registry.images.run(read_garment, await picture.read(), cutout) for picture in garments]
        folder = Path(tempfile.mkdtemp(prefix="quickchange-"))
        try:
            plan = Plan(
                reference=person,
                garment=worn[0],
                switches=tuple(zip(at, worn[1:], strict=True)),
                prompt=prompt,
                seconds=seconds,
                seed=seed,
                out=folder / "video.mp4",
                sheet=None,
                scale=None,
            )
            cancelled = threading.Event()
            studio = StudioInTurns(registry.services.studio, registry.services.worker, cancelled)
            make = partial(engine.generate, studio, plan, model=registry.services.model.name, threads=0, progress=False)
            work = asyncio.get_running_loop().run_in_executor(registry.videos, make)
            try:
                while not work.done():
                    await asyncio.wait([work], timeout=POLL_SECONDS)
                    if not work.done() and await request.is_disconnected():
                        break
            finally:
                cancelled.set()
                await asyncio.wait([work])
            work.result()
            await asyncio.to_thread(registry.services.recordings.sign, plan.out, "video/mp4")
        except AbandonedError:  # the client that could read this has gone
            shutil.rmtree(folder, ignore_errors=True)
            raise problem("bad-request", "the request was given up") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    forget = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(plan.out, media_type="video/mp4", filename="quickchange.mp4", background=forget)
