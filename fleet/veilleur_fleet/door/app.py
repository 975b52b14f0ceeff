"""Put the door together: what boxes ask over HTTP, a few closed addresses, each with a short plain answer.

box ──GET /v1/documents/{sha256}──▶ door ──▶ store        more addresses: give their routes to ``door_app``
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def door_app(routes: Sequence[BaseRoute]) -> Starlette:
    """Return the application of the door; each part of the fleet that boxes ask brings its own routes."""
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.add_middleware(_Plain)
    return app


async def _refuse(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = error.detail if isinstance(error, HTTPException) else "this cannot be answered"
    headers = error.headers if isinstance(error, HTTPException) else None
    return PlainTextResponse(f"{sentence}\n", status, headers)


class _Plain:
    """Says with every answer that it is no page, and to be kept by nobody who is not told so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the question on, and add to the answer's head."""

        async def send_plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_plain)
