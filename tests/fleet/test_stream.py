"""``GET /v1/stream``: records as they are stored, from where one was, and for a service what is routed to it."""

import asyncio
import json

import pytest

from fleet_builders import NOW_MS, Box, context, window
from house_builders import ROOT, House
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.routing.rules import Purpose, Route
from veilleur_fleet.store.past import Past
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.reach import Reach
from veilleur_fleet.web.stream import AT_ONCE, FOLLOWERS_MAX, PACE_S, STREAM_S, Followers, read_mark, write_mark

NOW_S = NOW_MS // 1000
PARVIS = context("gare-parvis")
QUAY = context("quai-nord", insee="30258")


class Reader:
    """One who follows; reads events until there are enough."""

    def __init__(self, events) -> None:
        self._events = events

    async def next(self) -> tuple[str, dict | None]:
        async with asyncio.timeout(20):
            fields = {}
            for line in (await anext(self._events)).decode().splitlines():
                name, _, value = line.partition(": ")
                fields[name] = value
        return fields.get("id", ""), json.loads(fields["data"]) if "data" in fields else None

    async def records(self, count) -> list[dict]:
        found = []
        while len(found) < count:
            _, record = await self.next()
            found += [] if record is None else [record]
        return found


@pytest.fixture
def live():
    return Live()


@pytest.fixture
def followers(database, live, clock):
    return Followers(Past(database.readers), live, clock)


@pytest.fixture
def follow(followers):
    def begin(after=None, passes=None, kind=None):
        return Reader(followers.follow(followers.begin(after), kind, None, passes or (lambda: None)))

    return begin


async def test_a_record_is_told_when_it_is_stored_and_whoever_comes_back_goes_on(ledger, live, follow) -> None:
    box, other = Box(), Box("quai-02", "agglo")
    ledger.store([box.says(PARVIS, window(PARVIS, at_s=NOW_S - 100))])
    reader = follow()
    assert await reader.next() == ("", None), "the time after which a browser comes back"
    mark, nothing = await reader.next()
    assert nothing is None, "what was before is not told"
    ledger.store([box.says(*(window(PARVIS, at_s=NOW_S - 50 + 5 * n) for n in range(3))), other.says(QUAY)])
    live.touch()
    told = await reader.records(4)
    assert sorted(one["kind"] for one in told) == ["context", "crossings", "crossings", "crossings"]
    again = follow(mark)
    first = [await again.next() for _ in range(3)][1:]
    rest = await follow(first[-1][0]).records(2)
    assert [one for _, one in first] + rest == told, "cut off after two, nothing is lost and nothing comes twice"
    assert len(await follow("").records(6)) == 6, "an empty mark is the beginning"
    assert [one["class"] for one in await follow("", kind=MessageClass.STATISTICS).records(1)] == ["S"]


async def test_a_service_follows_what_is_routed_to_it_and_its_mark_moves_over_the_rest(
    ledger, database, clock, follow
) -> None:
    box, house = Box(), House(database, clock)
    ledger.store([box.says(PARVIS, QUAY, window(PARVIS), window(QUAY))])
    house.table.put(
        ROOT,
        [
            Route(
                "x", frozenset({MessageClass.STATISTICS}), frozenset({Purpose.MOBILITY}), communes=frozenset({"30258"})
            )
        ],
    )
    reader = follow("", lambda: Reach(house.table).passes("x"))
    told = await reader.records(2)
    assert {one["topic"].split("/")[5] for one in told} == {"30258"}
    nobody = follow("", lambda: Reach(house.table).passes("nobody"))
    marks = [await nobody.next() for _ in range(2)]
    assert marks[-1] == (write_mark(Past(database.readers).ends()), None)


async def test_what_is_routed_no_more_is_told_no_more_to_whoever_follows_already(
    ledger, database, clock, live, follow
) -> None:
    box, house = Box(), House(database, clock)
    ledger.store([box.says(PARVIS, window(PARVIS))])
    house.table.put(ROOT, [Route("x", frozenset({MessageClass.STATISTICS}), frozenset({Purpose.MOBILITY}))])
    reader = follow("", lambda: Reach(house.table).passes("x"))
    assert len(await reader.records(2)) == 2
    house.table.put(ROOT, [])
    ledger.store([box.says(window(PARVIS, at_s=NOW_S - 50))])
    live.touch()
    assert await reader.next() == (write_mark(Past(database.readers).ends()), None)


async def test_however_many_commits_there_are_who_follows_looks_only_so_often(follow, live) -> None:
    reader, clock = follow(), asyncio.get_running_loop().time
    await reader.next()
    await reader.next()
    began_s = clock()
    for _ in range(4):
        live.touch()
        await reader.next()
    assert clock() - began_s >= 4 * PACE_S


async def test_a_stream_ends_in_time_however_much_is_still_to_be_told(ledger, follow, clock) -> None:
    boxes = [Box(f"box-{number}") for number in range(3)]
    ledger.store([box.says(PARVIS, *(window(PARVIS, at_s=NOW_S - n) for n in range(AT_ONCE))) for box in boxes])
    reader = follow("")
    await reader.records(1)
    clock.move(STREAM_S)
    with pytest.raises(StopAsyncIteration):
        await reader.records(AT_ONCE)


async def test_a_stream_ends_so_that_whoever_follows_is_asked_again(followers, follow, clock, live) -> None:
    reader = follow()
    await reader.next()
    await reader.next()
    assert not followers.is_full()
    clock.move(STREAM_S)
    live.touch()
    with pytest.raises(StopAsyncIteration):
        await reader.next()
    live.close()
    stopped = follow()
    await stopped.next()
    with pytest.raises(StopAsyncIteration):
        await stopped.next()


@pytest.mark.parametrize("text", ["16:1", "0:x", "0:1,0:2", "0", ":", "0:9999999999999999", "-1:3", "0:1,"])
def test_a_mark_that_is_none_is_refused(text) -> None:
    with pytest.raises(QueryRejectedError, match="shard:cursor"):
        read_mark(text)


def test_a_mark_is_read_as_it_is_written() -> None:
    assert read_mark("") == dict.fromkeys(range(SHARDS), 0)
    assert write_mark(read_mark("3:7,0:12")) == "0:12,3:7"


async def test_what_cannot_be_followed_is_refused_over_http(database, clock) -> None:
    house = House(database, clock, Access.REQUIRED)
    async with house.browser() as web:
        assert (await web.get("/v1/stream")).status_code == 401
    async with house.browser(**house.token("consumer-x")) as web:
        for query, headers, said in (
            ("?after=0:5", {}, "begin again"),
            ("", {"last-event-id": "0:5"}, "begin again"),
            ("?after=x", {}, "after"),
            ("", {"last-event-id": "x"}, "shard:cursor"),
            ("?class=Q", {}, "class"),
            ("?controller=A", {}, "controller"),
        ):
            answer = await web.get(f"/v1/stream{query}", headers=headers)
            assert answer.status_code == 400, (query, headers)
            assert said in answer.json()["error"]


async def test_the_number_of_those_who_follow_is_bounded(followers) -> None:
    streams = [followers.follow(followers.begin(None), None, None, lambda: None) for _ in range(FOLLOWERS_MAX)]
    for one in streams:
        await anext(one)
    assert followers.is_full()
    for one in streams:
        await one.aclose()
    assert not followers.is_full()
