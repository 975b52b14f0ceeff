"""The REST interface: counts, sums and streams, for programs. Questions are checked and refused with one sentence."""

import base64
import binascii
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from veilleur_contracts.ids import ID_PATTERN
from veilleur_contracts.messages import Label
from veilleur_fleet.access.capacity import EVERYONE, Role
from veilleur_fleet.access.porter import require, staff
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.store import counts, standing
from veilleur_fleet.web.answers import Fault, Health, Stream, Streams, Totals, Window, Windows
from veilleur_fleet.web.asked import each_name_known
from veilleur_fleet.web.reach import Reach, service_of

_STREAM_CURSOR: Final = struct.Struct(">qq")
_LAST_S: Final = 0xFFFF_FFFF
_TIME: Final = "a time with its zone, like 2026-10-01T12:00:00Z"

Slug = Annotated[str | None, Query(pattern=ID_PATTERN)]
Wanted = Annotated[list[str] | None, Query(max_length=len(Label), description="may be given more than once")]
From = Annotated[str | None, Query(alias="from", max_length=40, description=f"windows that begin at {_TIME} or later")]
To = Annotated[str | None, Query(alias="to", max_length=40, description=f"windows that begin before {_TIME}")]
Limit = Annotated[int, Query(ge=1, le=counts.LIMIT_MAX, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before")]


def asked_of(
    *,
    controller: Slug = None,
    camera: Slug = None,
    line: Slug = None,
    label: Wanted = None,
    since: From = None,
    before: To = None,
) -> counts.Asked:
    """Read which windows are meant.

    Raises:
        QueryRejectedError: A label nobody counts, or a time that is none.
    """
    from_s, to_s = _second_of("from", since), _second_of("to", before)
    return counts.Asked(controller, camera, line, _labels_of(label), from_s, to_s)


Question = Annotated[counts.Asked, Depends(asked_of)]

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Fault, "description": "the question cannot be answered as it is asked"}
}


def routes(readers: sa.Engine, metrics: Metrics, health: Callable[[], Health], reach: Reach) -> APIRouter:
    """Return the routes; ``health`` tells how the fleet stands, and may ask the database."""
    router = APIRouter()

    @router.get("/v1/counts", responses=_REFUSED, dependencies=[Depends(each_name_known), Depends(require(*EVERYONE))])
    def counts_of_windows(request: Request, asked: Question, limit: Limit = 100, cursor: Cursor = None) -> Windows:
        """What crossed which line, window by window: line by line, and each in time order."""
        asked = replace(asked, within=reach.areas(service_of(request)))
        with readers.connect() as connection:
            windows, following = counts.page_of(connection, asked, limit, cursor)
        return Windows(items=[Window.of(window) for window in windows], next=following)

    @router.get("/v1/totals", responses=_REFUSED, dependencies=[Depends(each_name_known), Depends(require(*EVERYONE))])
    def totals(request: Request, asked: Question) -> Totals:
        """The sum of every cell over all the windows asked for."""
        asked = replace(asked, within=reach.areas(service_of(request)))
        with readers.connect() as connection:
            return Totals.of(counts.totals_of(connection, asked))

    @router.get("/v1/streams", responses=_REFUSED, dependencies=[Depends(each_name_known), Depends(staff)])
    def streams(box: Slug = None, limit: Limit = 100, cursor: Cursor = None) -> Streams:
        """What is held of each stream of each box: what was stored, filtered, lost and refused."""
        after = (0, -1) if cursor is None else _read_stream_cursor(cursor)
        with readers.connect() as connection:
            found = standing.streams_of(connection, box, after, limit + 1)
        following = _stream_cursor_of(found[limit - 1]) if len(found) > limit else None
        return Streams(items=[Stream.of(stream) for stream in found[:limit]], next=following)

    @router.get("/healthz", responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        """Whether the database takes what boxes say, and the broker has us."""
        found = health()
        response.status_code = 200 if found.status == "ok" else 503
        return found

    @router.get("/metrics", response_class=Response, dependencies=[Depends(require(Role.OPERATOR))])
    def prometheus() -> Response:
        """Everything the fleet counts about itself, as Prometheus reads it."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def described(openapi: dict[str, Any]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Return ``(path, what it answers, its parameters)``, each parameter as ``(name, shape, meaning)``."""
    return [
        (
            path,
            methods["get"].get("description", ""),
            [
                (one["name"], _shape_of(one["schema"]), one.get("description", ""))
                for one in methods["get"].get("parameters", [])
            ],
        )
        for path, methods in openapi["paths"].items()
    ]


def _shape_of(schema: dict[str, Any]) -> str:
    first = schema.get("anyOf", [schema])[0]
    words = [first.get("format") or first.get("type", "")]
    words += [first["pattern"]] if "pattern" in first else []
    words += [f"{first['minimum']} to {first['maximum']}"] if {"minimum", "maximum"} <= first.keys() else []
    words += [f"(else {schema['default']})"] if schema.get("default") is not None else []
    return " ".join(words)


async def refuse_question(_request: Request, error: Exception) -> JSONResponse:
    """Answer a question that cannot be read with one sentence naming what is wrong."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = first["loc"][-1] if len(first["loc"]) > 1 else "question"
        sentence = f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    else:
        sentence = str(error)
    return JSONResponse(Fault(error=sentence).model_dump(), status_code=400)


def _labels_of(names: list[str] | None) -> tuple[Label, ...]:
    if not names:
        return tuple(Label)
    known = {label.name.lower(): label for label in Label}
    for name in names:
        if name not in known:
            message = f"label: {name[:32]!r} is no label; known are {', '.join(known)}"
            raise QueryRejectedError(message)
    return tuple(label for name, label in known.items() if name in names)


def _second_of(name: str, text: str | None) -> int | None:
    """Return the first whole second at or after the time in ``text``, kept inside what the wire can say."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        message = f"{name}: write {_TIME}"
        raise QueryRejectedError(message)
    return min(max(math.ceil(at.timestamp()), 0), _LAST_S)


def _stream_cursor_of(stream: standing.StreamStanding) -> str:
    return base64.urlsafe_b64encode(_STREAM_CURSOR.pack(stream.box_no, stream.stream)).decode("ascii")


def _read_stream_cursor(cursor: str) -> tuple[int, int]:
    try:
        box_no, stream = _STREAM_CURSOR.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, struct.error):
        message = "the cursor is not one that this service gave: begin again without one"
        raise QueryRejectedError(message) from None
    return box_no, stream
