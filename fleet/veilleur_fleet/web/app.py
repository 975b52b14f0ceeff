"""Put the page and the REST interface together."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from veilleur_fleet.access.porter import SILENT, Entrance, Porter, ask_who
from veilleur_fleet.errors import AccessRejectedError, QueryRejectedError
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.store.database import UNAVAILABLE
from veilleur_fleet.store.past import Past
from veilleur_fleet.web import api, dpo, login, notices, pages, records, services, stream
from veilleur_fleet.web.answers import Fault, Health
from veilleur_fleet.web.described import DescribedApi
from veilleur_fleet.web.guard import Guard
from veilleur_fleet.web.reach import Reach

_FOR_PROGRAMS: Final = ("/v1/", "/metrics")
_SENTENCES: Final = {
    403: "your role does not open this address",
    404: "there is no such address; /v1/openapi.json lists those there are",
    405: "only GET is answered here",
    408: "the question did not come in time",
    413: "this is too long to be taken",
    503: SILENT,
}


def web_app(
    painter: pages.Painter,
    readers: sa.Engine,
    metrics: Metrics,
    health: Callable[[], Health],
    entrance: Entrance,
    *,
    office: dpo.Office,
) -> FastAPI:
    """Return the web application; it fetches nothing from anywhere, so neither do those who read it.

    Each route says who may enter (``access.porter.require``); a test refuses one that does not.
    """
    app = DescribedApi(
        title="Veilleur",
        version="1",
        description="What the streets count: statistics by window, line, label and direction. Null is withheld.",
        docs_url=None,  # FastAPI's own pages load scripts from another server
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    past, reach = Past(readers), Reach(entrance.routing)
    routers = (
        api.routes(readers, metrics, health, reach),
        records.routes(past, reach),
        stream.routes(stream.Followers(past, painter.live, painter.clock), reach),
        services.routes(painter, entrance.routing),
        notices.routes(painter, entrance.board),
        pages.routes(painter, app),
        dpo.routes(painter, office),
        login.routes(painter, login.Login(entrance.accounts, painter.clock)),
    )
    for router in routers:
        app.router.routes += router.routes  # including a router would build each of its routes a second time
    static = Path(str(resources.files("veilleur_fleet.web") / "static"))
    app.mount("/static", StaticFiles(directory=static), name="static")
    app.add_middleware(Porter, entrance=entrance, root=painter.place.root)
    app.add_middleware(Guard, root=painter.place.root)
    _answer_refusals(app, painter)
    return app


def _answer_refusals(app: FastAPI, painter: pages.Painter) -> None:
    """Have whatever is refused said in one sentence, to programs in JSON and to people on a page."""

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        if status == 401:  # noqa: PLR2004 - the number of HTTP
            return ask_who(request, painter.place.root)
        if request.url.path.removeprefix(painter.place.root).startswith(_FOR_PROGRAMS):
            if isinstance(error, HTTPException):
                fault = Fault(error=_SENTENCES.get(status, "this cannot be answered"))
                return JSONResponse(fault.model_dump(), status, error.headers)
            return await api.refuse_question(request, error)
        return pages.trouble(painter, request, status)

    async def put_off(request: Request, _: Exception) -> Response:
        return await refuse(request, HTTPException(503, headers={"Retry-After": "5"}))

    for silence in UNAVAILABLE:
        app.add_exception_handler(silence, put_off)
    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse)
    app.add_exception_handler(QueryRejectedError, refuse)
    app.add_exception_handler(AccessRejectedError, refuse)
