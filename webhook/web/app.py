"""The two HTTP applications: admission, which answers reviews, and operations, which answers probes and Prometheus.

Paths on which reviews arrive lead straight to their entrance; every other path is FastAPI's, and answers with JSON.
What an entrance does with a request is in `entrance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from webhook import settings
from webhook.audit.sinks import Metrics
from webhook.web.callers import Callers
from webhook.web.entrance import Life, error_body


class Admission(FastAPI):
    """The application of the admission port. `entrances` take a way of their own, past routing and middleware.

    Whoever is not one of the `callers` is told no more than that, before a byte of a body is read.
    """

    def __init__(self, entrances: Mapping[str, ASGIApp], callers: Callers | None = None) -> None:
        super().__init__(openapi_url=None, exception_handlers={HTTPException: _http_error})
        self._entrances, self._callers = dict(entrances), callers or Callers(settings.Server())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entrance = self._entrances.get(scope["path"]) if scope["type"] == "http" else None
        if scope["type"] == "http" and not self._callers.allow(scope):
            await _json_error(403, "forbidden", "reviews are not taken from this address")(scope, receive, send)
        elif entrance is not None:
            await entrance(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def operations(*, life: Life, metrics: Metrics) -> FastAPI:
    """The application of the operations port."""
    app = FastAPI(openapi_url=None, exception_handlers={HTTPException: _http_error})

    async def healthz() -> Response:
        return _json(200, {"status": "ok"})

    async def readyz(request: Request) -> Response:
        problems = dict(life.problems())
        if life.draining:
            problems["draining"] = "this process is about to end"
        shown: dict[str, object] = {"ready": not problems}
        if problems or "verbose" in request.query_params:
            shown["problems"] = problems
        if "verbose" in request.query_params:
            shown["notes"] = life.notes()
        return _json(503 if problems else 200, shown)

    async def expose() -> Response:
        return Response(metrics.expose(), media_type=CONTENT_TYPE_LATEST)

    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", expose)):
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"])
    return app


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # it is registered for nothing else
    word = HTTPStatus(error.status_code).phrase.lower()
    return _json_error(error.status_code, word.replace(" ", "_"), word, error.headers)


def _json_error(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(error_body(code, detail), status, headers, media_type="application/json")


def _json(status: int, content: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
