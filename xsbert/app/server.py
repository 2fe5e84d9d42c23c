"""The HTTP side of the app: routes, headers, and what is refused.

Answers are JSON, or pages with a Content-Security-Policy. Requests must name this machine in their Host header, so that
a page from elsewhere cannot reach the app under a name of its own (DNS rebinding), and must come from the app's own
page, by their Origin header.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from .._utils.optional_imports import optional
from .._utils.version import __version__
from ..ranking.ranking import Ranking
from ..view.html.content_policy import stated_policy
from .comparisons import beside, moved
from .documents import as_lines, read_documents
from .models import Models
from .pictures import KINDS, picture
from .tasks import MOST_BYTES, MOST_CHARACTERS, MOST_DOCUMENTS, read_task
from .worker import BusyError, Job, Worker

optional("fastapi", "xsbert[app]", "xsbert app")

from fastapi import FastAPI, HTTPException, Request, Response  # noqa: E402
from fastapi.responses import JSONResponse  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402

__all__ = ["create_app"]

HOSTS = ("127.0.0.1", "localhost", "::1")
LONGEST_WAIT = 1.0
"""Seconds that a question for the state of a request is held, so that the answer comes when it is over."""
OWN = {"index.html": "text/html", "app.css": "text/css", "app.js": "text/javascript", "compare.js": "text/javascript"}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": NOTHING,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOO_LARGE = (
    f"This is more than the app takes at once, {MOST_BYTES // 1000} kB. `xsbert rank`, `xsbert --pairs` and "
    "`xsbert corpus` read files of any size."
)


def create_app(models: Models) -> FastAPI:
    """Return the application.

    Args:
        models: The models that can be chosen. The first is the default.

    Raises:
        ImportError: fastapi is not installed.
    """
    worker = Worker(models)
    app = FastAPI(title="xsbert", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.worker = worker
    app.add_middleware(BaseHTTPMiddleware, dispatch=_guarded)
    app.add_exception_handler(HTTPException, _told)
    _add_pages(app)
    _add_jobs(app, worker)
    _add_results(app, worker)
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    refusal = _refusal(request)
    if refusal is not None:
        response: Response = JSONResponse({"error": refusal}, 403)
    else:
        try:
            response = await call_next(request)
        except Exception as error:
            logging.getLogger(__name__).exception("%s failed", request.url.path)
            response = JSONResponse({"error": f"The app failed: {type(error).__name__}: {error}"}, 500)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refusal(request: Request) -> str | None:
    """Return why a request is refused, by its headers alone."""
    host = request.headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in HOSTS:
        return f"The app answers under the names {', '.join(HOSTS)}, not {host!r:.80}."
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return f"The app answers its own page, not one of {origin!r:.80}."
    # A link to the start page, whose address holds the state of a view, can be anywhere.
    linked = request.method == "GET" and request.url.path == "/"
    if not linked and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "The app answers its own page, not one from elsewhere."
    return None


async def _told(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _body(request: Request) -> bytes:
    """Return the body of a request, read up to the limit.

    Raises:
        HTTPException: It is larger, with status 413.
    """
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MOST_BYTES:
            raise HTTPException(413, TOO_LARGE)
    return bytes(found)


def _add_pages(app: FastAPI) -> None:
    folder = files("xsbert.app").joinpath("page")

    @app.get("/")
    def index() -> Response:
        return own("index.html")

    @app.get("/own/{name}")
    def own(name: str) -> Response:
        if name not in OWN:
            raise HTTPException(404, "There is no such page.")
        headers = {"Content-Security-Policy": PAGE} if name == "index.html" else None
        return Response(folder.joinpath(name).read_bytes(), media_type=f"{OWN[name]}; charset=utf-8", headers=headers)


def _add_jobs(app: FastAPI, worker: Worker) -> None:
    models = worker.models

    @app.get("/about")
    def about() -> dict[str, Any]:
        return {
            "version": __version__,
            "models": [models.described(name) for name in models.names],
            "limits": {"bytes": MOST_BYTES, "characters": MOST_CHARACTERS, "documents": MOST_DOCUMENTS},
            "pictures": KINDS,
        }

    @app.post("/documents")
    async def documents(request: Request, name: str = "documents") -> dict[str, Any]:
        data = await _body(request)
        try:
            found = read_documents(data, name)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if len(found) > MOST_DOCUMENTS:
            raise HTTPException(422, f"{name} holds {len(found):,} documents, and the app takes {MOST_DOCUMENTS:,}.")
        return {"n": len(found), "text": as_lines(found)}

    @app.post("/jobs", status_code=202)
    async def add(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "A request is JSON, with the Content-Type application/json.")
        data = await _body(request)
        try:
            task = read_task(json.loads(data), models.names[0])
            if task.model not in models.names:
                raise ValueError(f"model must be one of {', '.join(models.names)}, got {task.model!r:.80}")
            job = worker.add(task)
        except (ValueError, RecursionError) as error:
            raise HTTPException(422, str(error)) from None
        except BusyError as error:
            raise HTTPException(503, str(error)) from None
        return state_of(worker, job)

    @app.get("/jobs/{name}")
    def state(name: str, wait: float = 0.0) -> dict[str, Any]:
        job = found_job(worker, name)
        worker.wait(job, min(max(wait, 0.0), LONGEST_WAIT))
        return state_of(worker, job)

    @app.delete("/jobs/{name}")
    def stop(name: str) -> dict[str, Any]:
        job = found_job(worker, name)
        worker.stop(job)
        return state_of(worker, job)


def found_job(worker: Worker, name: str) -> Job:
    """Return a request by its id.

    Raises:
        HTTPException: There is none, with status 404.
    """
    job = worker.get(name)
    if job is None:
        raise HTTPException(404, "The result is kept no longer: explain the texts again.")
    return job


def state_of(worker: Worker, job: Job) -> dict[str, Any]:
    """Return what the page shows of a request."""
    left = job.seconds_left() if job.state == "running" else None
    return {
        "id": job.id,
        "kind": job.task.kind,
        "state": job.state,
        "before": worker.position(job),
        "work": job.work,
        "fraction": round(job.fraction, 4),
        "seconds_left": None if left is None else round(left, 1),
        "seconds": None if job.ended is None or job.started is None else round(job.ended - job.started, 3),
        "error": job.error,
        "notes": job.notes,
        "model": worker.models.described(job.task.model),
        "how": _how(job),
    }


def _how(job: Job) -> str | None:
    """Return the model, layer and reference of a result, in words."""
    if job.result is None:
        return None
    result = job.result
    how = result.query_factors.settings if isinstance(result, Ranking) else result.settings
    return None if how is None else f"{how.model}, layer {how.layer} of {how.n_layers}, reference {how.reference}"


def _add_results(app: FastAPI, worker: Worker) -> None:
    def result_of(name: str) -> Any:
        job = found_job(worker, name)
        if job.result is None:
            raise HTTPException(409, "There is no result yet." if not job.over else "The request has no result.")
        return job.result

    @app.get("/jobs/{name}/page")
    def page(name: str, download: bool = False) -> Response:
        text = result_of(name).to_html()
        headers = {"Content-Security-Policy": f"{stated_policy(text)}; frame-ancestors 'self'"}
        return _file(text.encode(), "text/html; charset=utf-8", "xsbert.html" if download else None, headers)

    @app.get("/jobs/{name}/json")
    def as_json(name: str) -> Response:
        text = json.dumps(result_of(name).to_dict(), allow_nan=False)
        return _file(text.encode(), "application/json", "xsbert.json")

    @app.get("/jobs/{name}/picture.{form}")
    def as_picture(name: str, form: str, kind: str = "heatmap") -> Response:
        if form not in ("png", "pdf"):
            raise HTTPException(404, "Pictures are PNG or PDF.")
        result = result_of(name)
        try:
            drawn = picture(result, form, kind)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        of = "ranking" if isinstance(result, Ranking) else kind
        return _file(drawn, "image/png" if form == "png" else "application/pdf", f"xsbert-{of}.{form}")

    @app.get("/jobs/{name}/moved")
    def what_moved(name: str, before: str) -> dict[str, Any]:
        return compared(moved, name, before)

    @app.get("/jobs/{name}/beside")
    def side_by_side(name: str, other: str) -> dict[str, Any]:
        return compared(beside, name, other)

    def compared(compare: Callable[[Any, Any], dict[str, Any]], name: str, other: str) -> dict[str, Any]:
        try:
            return compare(result_of(name), result_of(other))
        except ValueError as error:
            raise HTTPException(422, str(error)) from None


def _file(content: bytes, kind: str, name: str | None, headers: dict[str, str] | None = None) -> Response:
    """Return a file, to be shown, or to be saved under a name."""
    saved = {} if name is None else {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers={**(headers or {}), **saved})
