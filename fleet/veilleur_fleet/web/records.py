"""Catch up by cursor: ``GET /v1/records`` tells a consumer again what it missed on ``out/``, in the same order."""

import base64
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.ids import ID_PATTERN, SHARDS
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.access.capacity import EVERYONE
from veilleur_fleet.access.porter import require
from veilleur_fleet.feeds.schemas import told_schemas
from veilleur_fleet.store.past import LIMIT_MAX, Past, Stretch, Told, Wanted
from veilleur_fleet.web.answers import Answer, Fault
from veilleur_fleet.web.asked import each_name_known
from veilleur_fleet.web.reach import Reach, service_of

CURSOR_MAX: Final = 0xFFFF_FFFF_FFFF

Shard = Annotated[int, Query(ge=0, le=SHARDS - 1, description=f"crc32(box) % {SHARDS}; each has cursors of its own")]
After = Annotated[int, Query(ge=0, le=CURSOR_MAX, description="the last cursor you have of this shard; 0: none")]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many at most")]
Kind = Annotated[MessageClass | None, Query(alias="class", description="only streams of this class: T, S, A or E")]
Controller = Annotated[str | None, Query(pattern=ID_PATTERN, description="only boxes of this controller")]


class ToldRecord(Answer):
    """One record as it is told on ``out/``."""

    cursor: Annotated[int, Field(description="its place in the shard; keep the last one you have dealt with")]
    topic: Annotated[str, Field(description="where MQTT consumers find it")]
    controller: str
    box: str
    stream: Annotated[str, Field(description="its number, as text: it has more digits than JSON numbers keep")]
    seq: Annotated[int, Field(description="number of the record in its stream")]
    message_class: Annotated[str, Field(alias="class", description="class of the stream: T, S, A or E")]
    kind: Annotated[str, Field(description="what it is; the last part of the topic")]
    received: Annotated[datetime, Field(description="when the fleet received it, UTC")]
    payload: Annotated[str, Field(description="base64 of the MQTT payload, byte for byte: a Published message")]
    record: Annotated[
        dict[str, Any], Field(description="the same record, decoded: fields as in docs/wire.md; null: withheld")
    ]

    @classmethod
    def of(cls, told: Told) -> "ToldRecord":
        """Say a record of the store."""
        return cls.model_validate(
            {
                "cursor": told.cursor,
                "topic": told.topic,
                "controller": told.controller,
                "box": told.box,
                "stream": str(told.stream),
                "seq": told.seq,
                "class": told.kind.value,
                "kind": told.name,
                "received": datetime_of(told.received_ms),
                "payload": base64.b64encode(told.payload).decode("ascii"),
                "record": msgspec.structs.asdict(told.record),
            }
        )


class ToldRecords(Answer):
    """A page of one shard."""

    shard: int
    items: Annotated[list[ToldRecord], Field(description="in order of their cursor; may be empty before the end")]
    next: Annotated[int, Field(description="give it as `after` for what follows")]
    last: Annotated[int, Field(description="last cursor of the shard; you have everything when `next` is equal to it")]

    @classmethod
    def of(cls, shard: int, stretch: Stretch) -> "ToldRecords":
        """Say a page of the store."""
        items = [ToldRecord.of(told) for told in stretch.told]
        return cls(shard=shard, items=items, next=stretch.upto, last=stretch.last)


def routes(past: Past, reach: Reach) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.get(
        "/v1/records",
        dependencies=[Depends(each_name_known), Depends(require(*EVERYONE))],
        responses={400: {"model": Fault, "description": "the question cannot be answered as it is asked"}},
    )
    def records(
        request: Request,
        *,
        shard: Shard,
        after: After = 0,
        limit: Limit = 100,
        kind: Kind = None,
        controller: Controller = None,
    ) -> ToldRecords:
        """Every record of one shard after a cursor, as on MQTT: for whoever missed some."""
        passes = reach.passes(service_of(request))
        return ToldRecords.of(shard, past.after(Wanted(shard, after, kind, controller), limit, passes))

    @router.get("/v1/schemas", dependencies=[Depends(require(*EVERYONE))])
    def schemas() -> dict[str, dict[str, Any]]:
        """The JSON Schema of `record` for each `kind`, as this release tells it."""
        return told_schemas()

    return router
