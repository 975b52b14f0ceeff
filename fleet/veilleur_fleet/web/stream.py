"""``GET /v1/stream``: what is told on ``out/``, as server-sent events; whoever comes back goes on where they were.

commit ──touch──▶ Live ──▶ each shard after its cursor ──▶ record, record, ... id: cursors of all shards
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from veilleur_contracts.clock import Clock
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.access.capacity import EVERYONE
from veilleur_fleet.access.porter import require
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.store.past import Passes, Past, Stretch, Wanted
from veilleur_fleet.web.answers import Fault
from veilleur_fleet.web.asked import each_name_known
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.reach import Reach, service_of
from veilleur_fleet.web.records import CURSOR_MAX, Controller, Kind, ToldRecord

FOLLOWERS_MAX: Final = 100
AT_ONCE: Final = 200
WAIT_S: Final = 2.0
"""Another worker of the fleet may have committed: it cannot wake this one."""
PACE_S: Final = 0.05
"""Commits follow each other faster than that: who follows must not keep every thread from those who tell and draw."""
STREAM_S: Final = 600.0
"""Then whoever follows comes back by themselves, and is asked again who they are."""
RETRY_MS: Final = 2000
MARK_CHARACTERS_MAX: Final = 16 * 20

Mark = Annotated[
    str | None,
    Query(
        max_length=MARK_CHARACTERS_MAX,
        pattern=r"^([0-9]{1,2}:[0-9]{1,15}(,[0-9]{1,2}:[0-9]{1,15})*)?$",
        description="where to go on: the `id` of the last event, or `shard:cursor,...`; a shard left out begins at 0;"
        " without it, from now on",
    ),
]
LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", max_length=MARK_CHARACTERS_MAX)]


def read_mark(text: str) -> dict[int, int]:
    """Read ``shard:cursor,...``; a shard that is not named begins at 0.

    Raises:
        QueryRejectedError: It is no such list.
    """
    mark = dict.fromkeys(range(SHARDS), 0)
    named = set[int]()
    for part in text.split(",") if text else []:
        shard, _, cursor = part.partition(":")
        digits = shard.isascii() and shard.isdigit() and cursor.isascii() and cursor.isdigit()
        if not digits or int(shard) >= SHARDS or int(cursor) > CURSOR_MAX or int(shard) in named:
            raise QueryRejectedError("after: write shard:cursor,..., as in the id of the last event")
        named.add(int(shard))
        mark[int(shard)] = int(cursor)
    return mark


def write_mark(mark: dict[int, int]) -> str:
    """Return ``shard:cursor,...`` of the shards that have any."""
    return ",".join(f"{shard}:{cursor}" for shard, cursor in sorted(mark.items()) if cursor)


class Followers:
    """Counts those who follow, and follows for them."""

    def __init__(self, past: Past, live: Live, clock: Clock) -> None:
        self._past = past
        self._live = live
        self._clock = clock
        self._many = 0

    def is_full(self) -> bool:
        """Tell whether nobody more may follow."""
        return self._many >= FOLLOWERS_MAX

    def begin(self, text: str | None) -> dict[int, int]:
        """Return where somebody begins who says ``text``; None: now.

        Raises:
            QueryRejectedError: It is no mark, or one that this fleet has not come to yet.
        """
        ends = dict.fromkeys(range(SHARDS), 0) | self._past.ends()
        if text is None:
            return ends
        mark = read_mark(text)
        for shard, cursor in mark.items():
            if cursor > ends[shard]:
                raise QueryRejectedError(
                    f"after: shard {shard} has given out cursors up to {ends[shard]} only; the fleet's database was"
                    " replaced or restored, so begin again without after"
                )
        return mark

    async def follow(
        self,
        mark: dict[int, int],
        kind: MessageClass | None,
        controller: str | None,
        passes: Callable[[], Passes | None],
    ) -> AsyncIterator[bytes]:
        """Yield events until the stream has lasted long enough or the fleet stops.

        ``passes`` is asked again for each stretch: what is routed to nobody any more is told to nobody any more.
        """
        self._many += 1
        end_s = self._clock.elapsed_s() + STREAM_S

        def goes_on() -> bool:
            return not self._live.closed and self._clock.elapsed_s() < end_s

        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while goes_on():
                seen, told = self._live.version, 0
                ends = await asyncio.to_thread(self._past.ends)
                for shard, last in sorted(ends.items()):
                    while mark[shard] < last and goes_on():
                        wanted = Wanted(shard, mark[shard], kind, controller)
                        stretch = await asyncio.to_thread(self._stretch, wanted, passes)
                        for one in stretch.told:
                            mark[shard] = one.cursor
                            yield _event(ToldRecord.of(one), write_mark(mark))
                        told += len(stretch.told)
                        mark[shard] = stretch.upto
                if not told:
                    yield f"id: {write_mark(mark)}\n: still here\n\n".encode()
                await self._live.wait(seen, WAIT_S)
                await asyncio.sleep(PACE_S)
        finally:
            self._many -= 1

    def _stretch(self, wanted: Wanted, passes: Callable[[], Passes | None]) -> Stretch:
        return self._past.after(wanted, AT_ONCE, passes())


def _event(record: ToldRecord, mark: str) -> bytes:
    return f"id: {mark}\nevent: record\ndata: {record.model_dump_json(by_alias=True)}\n\n".encode()


def routes(followers: Followers, reach: Reach) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.get(
        "/v1/stream",
        dependencies=[Depends(each_name_known), Depends(require(*EVERYONE))],
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "events `record`"},
            400: {"model": Fault, "description": "the question cannot be answered as it is asked"},
            503: {"model": Fault, "description": "too many follow already"},
        },
    )
    def stream(
        request: Request,
        *,
        after: Mark = None,
        last_event: LastEvent = None,
        kind: Kind = None,
        controller: Controller = None,
    ) -> Response:
        """Every record as it is stored, as server-sent events; a browser's or program's `Last-Event-ID` goes on."""
        mark = followers.begin(after if last_event is None else last_event)
        if followers.is_full():
            sentence = "too many follow already: try again later, or ask /v1/records"
            return JSONResponse(Fault(error=sentence).model_dump(), 503, {"Retry-After": "30"})
        events = followers.follow(mark, kind, controller, partial(reach.passes, service_of(request)))
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return router
