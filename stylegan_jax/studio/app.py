"""The routes that the page calls: JSON in, pictures or JSON out. `guard` decides who may call them.

    POST   /api/session                 -> {"session", "model"}; the other routes need it in the header X-Studio-Session
    POST   /api/ask                     {"kind", "lane", "number", "wish"} -> PNG, or JSON; {"stale": true} with 409
    POST   /api/download                {"kind", "wish"} -> zip of picture, styles and command
    POST   /api/upload, /api/directions a file as the body -> JSON
    POST   /api/crop                    {"x", "y", "size"} -> PNG of the target
    POST   /api/job                     {"kind", "wish"} -> JSON; GET and DELETE /api/job/ID; GET /api/job/ID/preview
    GET    /api/file/NAME, /api/run, /api/grid/NAME, /api/bundle/NAME; POST /api/reload, /api/alive; DELETE /api/session

An error is JSON with one sentence: {"error": …}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stylegan_jax.base import images
from stylegan_jax.base.errors import StyleganError
from stylegan_jax.studio import drags, jobs, layers, pictures, runs, uploads, wishes
from stylegan_jax.studio.guard import Guard, Rules
from stylegan_jax.studio.pictures import Picture
from stylegan_jax.studio.sessions import NoSession, Session
from stylegan_jax.studio.studio import CLOSED, Studio, explain
from stylegan_jax.studio.wishes import BadWish
from stylegan_jax.studio.worker import Busy, Check, Stale

SESSION_HEADER = "x-studio-session"
ABOUT_HEADER = "x-studio-about"
MAX_JSON = 1 << 18
LANES = 16
"""Largest number of lanes of a session; each is named by a word of the page."""
REAP_SECONDS = 30.0
KINDS: dict[str, Callable[..., Any]] = {**pictures.KINDS, **layers.KINDS}


class TooLarge(StyleganError):
    """The body of a request exceeds its limit."""


STATUS = {Stale: 409, Busy: 409, NoSession: 410, TooLarge: 413}


def make_app(studio: Studio, rules: Rules) -> Any:
    """Return the ASGI application of a studio, guarded by `rules`."""
    api = Api(studio)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette):
        reaper = asyncio.create_task(api.reap())
        yield
        reaper.cancel()
        await run_in_threadpool(studio.close)

    page = resources.files("stylegan_jax.studio") / "web"
    call = api.call
    routes = [
        Route("/api/session", call(api.open), methods=["POST"]),
        Route("/api/session", call(api.end), methods=["DELETE"]),
        Route("/api/alive", call(api.alive), methods=["POST"]),
        Route("/api/ask", call(api.ask), methods=["POST"]),
        Route("/api/download", call(api.download), methods=["POST"]),
        Route("/api/upload", call(api.upload), methods=["POST"]),
        Route("/api/crop", call(api.crop), methods=["POST"]),
        Route("/api/directions", call(api.read_directions), methods=["POST"]),
        Route("/api/job", call(api.start), methods=["POST"]),
        Route("/api/job/{id}", call(api.job), methods=["GET"]),
        Route("/api/job/{id}", call(api.cancel), methods=["DELETE"]),
        Route("/api/job/{id}/preview", call(api.preview), methods=["GET"]),
        Route("/api/file/{name}", call(api.file), methods=["GET"]),
        Route("/api/run", call(api.run), methods=["GET"]),
        Route("/api/grid/{name}", call(api.grid), methods=["GET"]),
        Route("/api/bundle/{name}", call(api.bundle), methods=["GET"]),
        Route("/api/reload", call(api.reload), methods=["POST"]),
        Mount("/", StaticFiles(directory=str(page), html=True)),
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan), rules)


class Api:
    """The handlers of the routes: each takes a request, and returns a response or raises an error of one sentence."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._lanes: dict[str, set[str]] = {}

    def call(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler that turns errors into responses."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Stale:
                return JSONResponse({"stale": True}, 409)
            except ClientDisconnect:
                return Response(status_code=400)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                known = isinstance(error, StyleganError | ValueError | OSError)
                status = STATUS.get(type(error), 400 if known else 500)
                return JSONResponse({"error": explain(error)}, status)

        return answer

    async def reap(self) -> None:
        """End the sessions of pages that closed without ending them."""
        while True:
            await asyncio.sleep(REAP_SECONDS)
            for name in self.studio.sessions.quiet():
                await run_in_threadpool(self._end, name)

    def _end(self, name: str) -> None:
        self._lanes.pop(name, None)
        self.studio.end(name)

    def session(self, request: Request) -> Session:
        """Return the session of a request."""
        return self.studio.sessions.get(request.headers.get(SESSION_HEADER, ""))

    def check_own(self) -> None:
        """Raise BadWish in a public studio: the request takes files or minutes, or shows a run's files."""
        if self.studio.is_public:
            raise BadWish(CLOSED)

    async def open(self, request: Request) -> Response:
        """Begin a session."""
        session = self.studio.sessions.open()
        return JSONResponse({"session": session.id, "model": self.studio.describe()})

    async def end(self, request: Request) -> Response:
        """End a session."""
        session = self.session(request)
        await run_in_threadpool(self._end, session.id)
        return JSONResponse({})

    async def alive(self, request: Request) -> Response:
        """Note that a page is still open; return the state that may have changed."""
        self.session(request)
        return JSONResponse({"state": self.studio.state, "pages": len(self.studio.sessions)})

    async def ask(self, request: Request) -> Response:
        """Draw the newest wish of a lane."""
        session, asked = self.session(request), await read_json(request)
        work = self._kind(session, asked)
        lane = asked.get("lane")
        known = self._lanes.setdefault(session.id, set())
        if not isinstance(lane, str) or len(lane) > 40 or len(known | {lane}) > LANES:
            raise BadWish(f"lane is {wishes.shown(lane)}; a page has at most {LANES}, each a short word")
        known.add(lane)
        number = wishes.whole(asked, "number", 0, 2**53)

        def draw(check: Check) -> tuple[bytes, dict[str, Any]] | dict[str, Any]:
            found = work(check)
            if not isinstance(found, Picture):
                return found
            return pictures.as_png(found), {**found.about, "command": found.command, "grid": found.pixels.shape[:2]}

        found = await asyncio.wrap_future(self.studio.worker.ask(session.id, lane, number, draw))
        if isinstance(found, dict):
            return JSONResponse(found)
        png, about = found
        return Response(png, media_type="image/png", headers={ABOUT_HEADER: json.dumps(about)})

    async def download(self, request: Request) -> Response:
        """Draw a wish at full size, and zip it with its styles and command."""
        session, asked = self.session(request), await read_json(request)
        work = self._kind(session, asked)

        def draw(check: Check) -> bytes:
            found = work(check)
            if not isinstance(found, Picture):
                raise BadWish(f"{asked['kind']} is not a picture; there is nothing to download")
            more = jobs.found_files(session) | drags.files(session, asked["wish"].get("source"))
            return pictures.as_zip(found, more, {"kind": asked["kind"], "wish": asked["wish"]})

        count = wishes.whole(asked, "number", 0, 2**53, 0)
        data = await asyncio.wrap_future(self.studio.worker.ask(session.id, "download", count, draw))
        return Response(data, media_type="application/zip")

    def _kind(self, session: Session, asked: dict[str, Any]) -> Callable[[Check], Any]:
        kind, wish = wishes.choice(asked, "kind", list(KINDS)), wishes.inner(asked, "wish")
        draw = KINDS[kind]
        return lambda check: draw(self.studio, session, wish, check)

    async def upload(self, request: Request) -> Response:
        """Receive a picture to project."""
        self.check_own()
        session, data = self.session(request), await read_body(request, uploads.MAX_BYTES)
        channels = self.studio.model.gan.spec.image_shape[2]
        session.picture, changes = await run_in_threadpool(uploads.read_picture, data, channels)
        session.target = None
        height, width = session.picture.shape[:2]
        png = await run_in_threadpool(images.png_bytes, uploads.preview(session.picture), 1)
        about = {"width": width, "height": height, "changes": changes}
        return Response(png, media_type="image/png", headers={ABOUT_HEADER: json.dumps(about)})

    async def crop(self, request: Request) -> Response:
        """Crop the picture to the part to project."""
        session, wish = self.session(request), await read_json(request)
        if session.picture is None:
            raise BadWish("there is no picture yet; upload one first")
        x, y = (wishes.real(wish, name, 0, 1, 0.5) for name in ("x", "y"))
        size = wishes.real(wish, "size", 0.05, 1, 1.0)
        shape = self.studio.model.gan.spec.image_shape
        session.target = await run_in_threadpool(uploads.crop, session.picture, shape, x, y, size)
        return Response(images.png_bytes(session.target, 1), media_type="image/png")

    async def read_directions(self, request: Request) -> Response:
        """Receive saved directions."""
        self.check_own()
        session, data = self.session(request), await read_body(request, uploads.MAX_BYTES)
        spec = self.studio.model.gan.spec
        found = await run_in_threadpool(uploads.read_directions, session, data, spec.w_dim)
        session.directions["saved"] = found
        return JSONResponse({"set": "saved", "method": "saved", "values": found.values[:32].tolist()})

    async def start(self, request: Request) -> Response:
        """Begin a job."""
        session, asked = self.session(request), await read_json(request)
        kind = wishes.choice(asked, "kind", list(jobs.KINDS))
        if kind in ("project", "encode", "tune"):
            self.check_own()
        if self.studio.worker.is_working(session.id):
            raise Busy("something is running for this page already; wait for it, or cancel it")
        work = await run_in_threadpool(jobs.KINDS[kind], self.studio, session, wishes.inner(asked, "wish"))
        return JSONResponse(self.studio.worker.start(session.id, jobs.TITLES[kind], work).told())

    def _job(self, request: Request) -> Any:
        job = self.studio.worker.job(self.session(request).id, request.path_params["id"])
        if job is None:
            raise BadWish("there is no such job in this page")
        return job

    async def job(self, request: Request) -> Response:
        """Return the progress of a job."""
        job = self._job(request)
        return JSONResponse({**job.told(), "ahead": self.studio.worker.ahead(job) if job.state == "waiting" else 0})

    async def cancel(self, request: Request) -> Response:
        """Cancel a job."""
        job = self._job(request)
        self.studio.worker.cancel(job)
        return JSONResponse(job.told())

    async def preview(self, request: Request) -> Response:
        """Return the newest preview of a job."""
        job = self._job(request)
        if not job.preview:
            raise BadWish("there is nothing to see yet")
        return Response(job.preview, media_type="image/png")

    async def file(self, request: Request) -> Response:
        """Return a file that a job wrote."""
        path = self.session(request).files.get(request.path_params["name"])
        if path is None or not path.is_file():
            raise BadWish("there is no such file in this page")
        return FileResponse(path)

    async def run(self, request: Request) -> Response:
        """Return the curves and grids of the run."""
        self.check_own()
        self.session(request)
        workdir = self.studio.workdir
        if workdir is None:
            raise BadWish(self.studio.reasons()["run"])
        shown = self.studio.model.provenance.get("step")
        return JSONResponse(await run_in_threadpool(runs.describe, workdir, shown))

    async def grid(self, request: Request) -> Response:
        """Return one of the run's grids."""
        return FileResponse(self._grid(request))

    async def bundle(self, request: Request) -> Response:
        """Zip one of the run's grids with its curves, configuration and commands."""
        path = self._grid(request)
        assert self.studio.workdir is not None
        data = await run_in_threadpool(runs.as_zip, self.studio.workdir, path, self.studio.words)
        return Response(data, media_type="application/zip")

    def _grid(self, request: Request) -> Path:
        self.check_own()
        self.session(request)
        grids = runs.list_grids(self.studio.workdir) if self.studio.workdir else []
        path = next((path for path in grids if path.name == request.path_params["name"]), None)
        if path is None:
            raise BadWish("there is no such grid in this run")
        return path

    async def reload(self, request: Request) -> Response:
        """Switch to the newest checkpoint of the run."""
        self.check_own()
        session = self.session(request)
        if self.studio.workdir is None:
            raise BadWish(self.studio.reasons()["run"])
        number = wishes.whole(await read_json(request), "number", 0, 2**53)
        work = lambda check: self.studio.reload()
        await asyncio.wrap_future(self.studio.worker.ask(session.id, "reload", number, work))
        return JSONResponse({"model": self.studio.describe()})


async def read_body(request: Request, most: int) -> bytes:
    """Return the body of a request, and read at most `most` bytes of it.

    Raises:
        TooLarge: the body is longer.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise TooLarge(f"the file has {int(told) / 2**20:.0f} MB; at most {most / 2**20:.0f} MB are taken")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"the file has more than {most / 2**20:.0f} MB, which is the most that is taken")
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        BadWish: the body is not a JSON object.
    """
    data = await read_body(request, MAX_JSON)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadWish("the body of the request is not a JSON object")
    return found
