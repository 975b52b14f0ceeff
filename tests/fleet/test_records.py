"""Catching up by cursor over REST: what is told again, what is refused, and that the books then are exact."""

import base64
import re
from collections import Counter

import httpx
import msgpack
import pytest

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, birth, context, entrance_of, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import decode_published
from veilleur_contracts.ids import SHARDS, shard_of
from veilleur_fleet.access.actions import Actions
from veilleur_fleet.app import health_of
from veilleur_fleet.ingest import Standing
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.oversight import Oversight
from veilleur_fleet.store import past
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.web.app import web_app
from veilleur_fleet.web.dpo import Office
from veilleur_fleet.web.languages import languages_of
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.pages import Painter, Place

pytestmark = EITHER_ENGINE
KERB = context()
HERE = shard_of("gare-01")


def web_of(database, clock):
    """The fleet's pages on ``database``, without a port."""
    standing = Standing(connected=True)
    painter = Painter(
        database.readers,
        languages_of("Europe/Paris"),
        live=Live(),
        clock=clock,
        place=Place("", "mqtt://broker:1883", "Europe/Paris"),
        connected=lambda: True,
    )
    health, entrance = health_of(database.readers, standing), entrance_of(database, clock)
    office = Office(Oversight(database.readers), Actions(database.desk, clock))
    app = web_app(painter, database.readers, Metrics(), health, entrance, office=office)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet")


async def pages_of(web, shard, after=0, **asked):
    """Follow ``next`` from ``after`` to the end; return every item and where it ends."""
    found = []
    for _ in range(200):
        answer = await web.get("/v1/records", params={"shard": shard, "after": after, **asked})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next"] == page["last"]:
            return found, page["next"]
        assert page["next"] > after, "a page must bring its reader further"
        after = page["next"]
    pytest.fail("the pages do not end")


@pytest.fixture
async def web(database, clock):
    async with web_of(database, clock) as client:
        yield client


@pytest.fixture
def filled(ledger):
    """One box of ``ville`` and one of ``agglo`` in the same shard, a statistics and a technical stream each."""
    twin = next(name for number in range(999) if shard_of(name := f"pont-{number}") == HERE)
    boxes = [Box(), Box(name=twin, controller="agglo")]
    for box in boxes:
        ledger.store([box.says(birth(), health()), box.says(KERB, *(window(KERB, at_s=100 + 5 * n) for n in range(4)))])
    return boxes


async def test_a_record_is_told_again_byte_for_byte_and_decoded(web, filled, database) -> None:
    items, last = await pages_of(web, HERE)
    published = Outgoings(database.readers).after(HERE, 0)
    assert [(one["cursor"], one["topic"], base64.b64decode(one["payload"])) for one in items] == [
        (one.cursor, one.topic, one.payload) for one in published
    ]
    assert last == len(items) == 14
    (first,) = [one for one in items if one["kind"] == "crossings" and one["box"] == "gare-01" and one["seq"] == 2]
    assert {name: first[name] for name in ("class", "controller", "stream", "received")} == {
        "class": "S",
        "controller": "ville",
        "stream": str(filled[0].stream()),
        "received": "2026-09-21T14:13:20Z",
    }
    told = msgpack.unpackb(base64.b64decode(first["payload"]))
    assert list(first["record"].values()) == told[5][1:], "the decoded record says what the bytes say"
    assert first["record"]["counts"] == [1] + [0] * 11


@pytest.mark.usefixtures("filled")
async def test_pages_of_any_size_follow_each_other_without_a_gap_or_an_overlap(web) -> None:
    whole, _ = await pages_of(web, HERE)
    for limit in (1, 2, 3, 13, 14, 1000):
        cut, _ = await pages_of(web, HERE, limit=limit)
        assert cut == whole
    for after in range(15):
        assert (await pages_of(web, HERE, after=after))[0] == whole[after:]


@pytest.mark.parametrize(
    ("asked", "many"),
    [
        ({"class": "S"}, 10),
        ({"class": "T"}, 4),
        ({"class": "E"}, 0),
        ({"controller": "agglo"}, 7),
        ({"controller": "agglo", "class": "T"}, 2),
        ({"controller": "nobody"}, 0),
    ],
)
@pytest.mark.parametrize("scanned", [1, 3, 10_000])
@pytest.mark.usefixtures("filled")
async def test_a_filter_narrows_and_its_reader_still_comes_to_the_end(web, asked, many, scanned, monkeypatch) -> None:
    monkeypatch.setattr(past, "SCANNED_MAX", scanned)
    whole, _ = await pages_of(web, HERE)
    found, last = await pages_of(web, HERE, limit=2, **asked)
    assert last == 14
    assert len(found) == many
    assert found == [one for one in whole if all(one[name] == value for name, value in asked.items())]


async def test_a_gap_is_told_in_its_stream(web, ledger) -> None:
    box = Box()
    ledger.store([box.says(KERB, m.Gap(2, 9, m.GapReason.OUTBOX_FULL))])
    items, _ = await pages_of(web, HERE, **{"class": "S"})
    assert [(one["kind"], one["record"]) for one in items][1:] == [("gap", {"first": 2, "last": 9, "reason": 0})]


async def test_what_waits_for_its_context_has_no_cursor_yet_and_comes_behind_it(web, ledger) -> None:
    box = Box()
    ledger.store([box.says(window(KERB))])
    assert await pages_of(web, HERE) == ([], 0)
    ledger.store([box.says(KERB)])
    assert [one["kind"] for one in (await pages_of(web, HERE))[0]] == ["context", "crossings"]


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        pytest.param("", "shard: field required", id="no-shard"),
        pytest.param("shard=16", "shard: .*15", id="shard-too-high"),
        pytest.param("shard=-1", "shard: .*0", id="shard-negative"),
        pytest.param("shard=x", "shard: .*integer", id="shard-no-number"),
        pytest.param("shard=0&after=-1", "after: .*0", id="after-negative"),
        pytest.param("shard=0&after=281474976710656", "after: .*281474976710655", id="after-too-high"),
        pytest.param("shard=0&after=" + "9" * 5000, "after: ", id="after-endless"),
        pytest.param("shard=0&after=1", "after: shard 0 has given out cursors up to 0 only; .*after=0", id="ahead"),
        pytest.param("shard=0&limit=0", "limit: .*1", id="limit-too-low"),
        pytest.param("shard=0&limit=1001", "limit: .*1000", id="limit-too-high"),
        pytest.param("shard=0&class=X", "class: .*'T', 'S', 'A' or 'E'", id="class"),
        pytest.param("shard=0&controller=Ville%20", "controller: .*pattern", id="controller"),
        pytest.param("shard=0&clas=S", "'clas' is no parameter here; known are shard, after", id="misspelt"),
        pytest.param("shard=0&class=S&class=T", "class: give it once", id="twice"),
    ],
)
async def test_a_question_that_cannot_be_answered_gets_one_clear_sentence(web, question, sentence) -> None:
    answer = await web.get(f"/v1/records?{question}")
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert re.search(sentence, answer.json()["error"]), answer.json()


async def test_the_interface_describes_itself(web) -> None:
    described = (await web.get("/v1/openapi.json")).json()["paths"]["/v1/records"]["get"]
    assert {one["name"]: one["required"] for one in described["parameters"]} == {
        "shard": True,
        "after": False,
        "limit": False,
        "class": False,
        "controller": False,
    }
    assert set(described["responses"]) >= {"200", "400"}


class Consumer:
    """Keeps books by the rule of docs/quickstart-hypervisor.md."""

    def __init__(self, web) -> None:
        self._web = web
        self.last = dict.fromkeys(range(SHARDS), 0)
        self.books: Counter[tuple[str, int, int]] = Counter()

    def take(self, told) -> bool:
        """Write ``told`` down if it is the next of its shard; False when something is missing before it."""
        shard = shard_of(told.box)
        if told.cursor > self.last[shard] + 1:
            return False
        if told.cursor == self.last[shard] + 1:
            self.last[shard] = told.cursor
            self.books[told.box, told.stream, told.seq] += 1
        return True

    async def catch_up(self) -> int:
        """Ask for everything that is missing; return how much it was."""
        missed = 0
        for shard, last in self.last.items():
            items, _ = await pages_of(self._web, shard, last, limit=7)
            missed += len(items)
            assert all(self.take(decode_published(base64.b64decode(one["payload"]))) for one in items)
        return missed


@pytest.mark.journey
async def test_a_consumer_that_was_cut_off_catches_up_by_cursor_and_its_ledger_is_exact(where, worlds, broker) -> None:
    boxes = [Box(name=f"gare-{number:02d}", started_ms=NOW_MS + number) for number in range(5)]
    with open_database(where, SystemClock()) as database:
        async with worlds.running(database, broker.port) as fleet, web_of(database, SystemClock()) as web:
            consumer, at_s = Consumer(web), iter(range(100, 10**6, 5))

            async def say(ear, rounds):
                for _ in range(rounds):
                    for box in boxes:
                        await ear.say(box.says(*([] if box.said else [KERB]), window(KERB, at_s=next(at_s))))

            def all_stored():
                return sum(sum(one.records.values()) for one in fleet.stored) == sum(
                    sum(box.said.values()) for box in boxes
                )

            def all_told():
                return not Outgoings(database.readers).behind()

            missed = 0
            for away in (9, 10, 11, 12):
                async with worlds.listening(broker.port) as ear:  # a session of its own: it keeps nothing meanwhile
                    await say(ear, 6)
                    await worlds.until(lambda: all_stored() and all_told(), "the publication")
                    await worlds.until(lambda ear=ear: len(ear.told) >= 6 * len(boxes), "the telling")
                    for _, told, _ in ear.told:
                        if not consumer.take(told):
                            missed += await consumer.catch_up()
                async with worlds.listening(broker.port) as speaker:  # the consumer hears nothing of this
                    await say(speaker, away)
                    await worlds.until(lambda: all_stored() and all_told(), "the storing")
            missed += await consumer.catch_up()
        rows = worlds.read(database, "SELECT box, stream, seq FROM records JOIN boxes USING (box_no)")
    said = {(box.name, box.stream(), seq) for box in boxes for seq in range(1, sum(box.said.values()) + 1)}
    assert missed >= (9 + 10 + 11 + 12) * len(boxes)
    assert sorted(map(tuple, rows)) == sorted(said)
    assert set(consumer.books) == said, "0 lost"
    assert set(consumer.books.values()) == {1}, "0 duplicated"
