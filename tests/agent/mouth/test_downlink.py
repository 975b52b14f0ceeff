"""The downlink converges on what the fleet wants: whatever fails is tried again, told of, and loses nothing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from door_double import HANG, NOT_THERE, DoorDouble, door_double, whole
from veilleur_agent.events import check_event
from veilleur_agent.mouth.downlink import FETCHED_BYTES_MAX, HEARD, Downlink, Pace
from veilleur_agent.mouth.fetch import Door, Fetcher
from veilleur_agent.mouth.fetched import Fetched
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import encode
from veilleur_contracts.messages import DocumentReady, FetchAlarm, FetchFault, Pointer, Twin
from waiting import until

WITHIN_S = 20.0
QUICK = Pace(poll_s=600, first_poll_s=600, retry_s=0.01, retry_max_s=0.05, announce_s=600, word_s=0.05, alarm_s=600)
TWIN_PATH = "/v1/boxes/gare-01/twin"


def document(kind: str, text: str) -> tuple[Pointer, bytes]:
    raw = f"{kind}: {text}".encode()
    return Pointer(kind, hashlib.sha256(raw).hexdigest(), len(raw)), raw


STOP, POLICY, WORD = document("stop", "a"), document("policy", "b"), document("contact", "c")


def path_of(pointer: Pointer) -> str:
    return f"/v1/documents/{pointer.sha256}"


def ready(pointer: Pointer) -> DocumentReady:
    return DocumentReady(pointer.kind, pointer.sha256)


class Wanted:
    """A downlink, its door, and what it told whom."""

    def __init__(self, door: DoorDouble, folder: Path, pace: Pace) -> None:
        self.door, self.folder = door, folder
        self.announced: list[DocumentReady] = []
        self.alarms: list[FetchAlarm] = []
        self.told: list[tuple[str, dict[str, object]]] = []
        self.lost = 0
        fetcher = Fetcher(Door("http", "localhost", door.port))
        fetcher.lead_to(("127.0.0.1",))
        self.downlink = Downlink(
            fetcher,
            Fetched(folder),
            box="gare-01",
            announce=self.announced.append,
            alarm=self._alarm,
            lost=self._lose,
            tell=self._tell,
            clock=SystemClock(),
            pace=pace,
        )

    async def _alarm(self, alarm: FetchAlarm) -> None:
        self.alarms.append(alarm)

    def _lose(self) -> None:
        self.lost += 1

    def _tell(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None, f"{event} would not get past box"
        self.told.append((event, values))

    def hands_out(self, *documents: tuple[Pointer, bytes]) -> None:
        for pointer, raw in documents:
            self.door.answers[path_of(pointer)] = [whole(raw)]

    def hear(self, *documents: tuple[Pointer, bytes], sequence: int = 1) -> None:
        self.downlink.hear(encode(Twin(sequence, tuple(pointer for pointer, _ in documents))))

    def names(self) -> set[str]:
        return {path.name.removesuffix(".dsse") for path in self.folder.iterdir()}

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, WITHIN_S)


@pytest.fixture
def wanting(tmp_path):
    @asynccontextmanager
    async def run(**changes: float) -> AsyncIterator[Wanted]:
        folder = tmp_path / "fetched"
        folder.mkdir(exist_ok=True)
        async with door_double() as door:
            wanted = Wanted(door, folder, replace(QUICK, **changes))
            task = asyncio.create_task(wanted.downlink.run(), name="downlink")
            try:
                yield wanted
                assert not task.done(), task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return run


async def test_what_is_wanted_is_fetched_in_order_announced_and_kept_and_the_rest_goes(wanting) -> None:
    async with wanting() as one:
        (one.folder / f"{'9' * 64}.dsse").write_bytes(b"of yesterday")
        one.hands_out(STOP, POLICY, WORD)
        one.hear(STOP, POLICY, WORD)
        await one.until(lambda: ready(WORD[0]) in one.announced and "9" * 64 not in one.names())
        assert one.announced[0] == HEARD
        assert one.announced[-3:] == [ready(STOP[0]), ready(POLICY[0]), ready(WORD[0])]
        assert one.names() == {pointer.sha256 for pointer, _ in (STOP, POLICY, WORD)}
        assert one.alarms == []
        before = len(one.announced)
        one.downlink.announce_all()
        assert one.announced[before:] == [ready(STOP[0]), ready(POLICY[0]), ready(WORD[0])]


async def test_one_that_cannot_be_had_keeps_no_other_back_and_is_had_at_last(wanting) -> None:
    async with wanting() as one:
        one.door.answers[path_of(STOP[0])] = [
            NOT_THERE,
            whole(b"x" * STOP[0].size_bytes),
            whole(STOP[1][:3], length=len(STOP[1])),
            whole(STOP[1]),
        ]
        one.hands_out(POLICY)
        one.hear(STOP, POLICY)
        await one.until(lambda: ready(STOP[0]) in one.announced)
        assert one.announced.index(ready(POLICY[0])) < one.announced.index(ready(STOP[0]))
        await one.until(lambda: len(one.alarms) == 2)
        assert [(alarm.fault, alarm.document) for alarm in one.alarms] == [
            (FetchFault.WRONG_HASH, STOP[0].sha256[:16]),
            (FetchFault.NONE, STOP[0].sha256[:16]),
        ], "the first failure may be chance; an hour long there is no second alarm; then all is well"
        assert one.alarms[-1].tries == 4


async def test_a_document_that_is_wanted_no_more_while_it_is_fetched_ends_nothing(wanting) -> None:
    async with wanting() as one:
        one.door.answers[path_of(POLICY[0])] = [whole(POLICY[1][:3], length=len(POLICY[1])) + HANG, whole(POLICY[1])]
        one.hands_out(STOP)
        one.hear(POLICY)
        await one.until(lambda: one.door.paths() == [path_of(POLICY[0])])
        one.hear(STOP, sequence=2)
        one.door.hangs.set()
        await one.until(lambda: ready(STOP[0]) in one.announced and one.names() == {STOP[0].sha256})


async def test_while_the_door_is_down_it_is_tried_again_and_its_addresses_are_asked_for(wanting) -> None:
    async with wanting() as one:
        one.door.answers[path_of(POLICY[0])] = [b"", b"", b"", whole(POLICY[1])]
        one.hear(POLICY)
        await one.until(lambda: ready(POLICY[0]) in one.announced)
        assert one.lost == 3
        assert [alarm.fault for alarm in one.alarms] == [FetchFault.UNREACHABLE, FetchFault.NONE]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc1", id="no-message"),
        pytest.param(encode(Twin(9, ())) + b"x", id="more-behind-it"),
        pytest.param(
            encode(Twin(9, tuple(Pointer("policy", f"{n:064x}", 0x20_0000) for n in range(17)))), id="too-much-together"
        ),
    ],
)
async def test_what_is_no_twin_changes_nothing(wanting, payload) -> None:
    assert FETCHED_BYTES_MAX < 17 * 0x20_0000
    async with wanting() as one:
        one.hands_out(POLICY)
        one.hear(POLICY)
        await one.until(lambda: ready(POLICY[0]) in one.announced)
        one.downlink.hear(payload)
        assert one.told[-1] == ("twin.rejected", {})
        assert one.names() == {POLICY[0].sha256}


async def test_an_older_twin_of_the_broker_is_passed_over_but_the_door_has_the_last_word(wanting) -> None:
    async with wanting(first_poll_s=0.4) as one:
        one.hands_out(STOP, POLICY)
        one.hear(STOP, sequence=1 << 47)
        one.hear(POLICY, sequence=5)
        await one.until(lambda: ready(STOP[0]) in one.announced)
        assert path_of(POLICY[0]) not in one.door.paths()
        one.door.answers[TWIN_PATH] = [whole(encode(Twin(6, (POLICY[0],))), more='ETag: "6"\r\n')]
        await one.until(lambda: ready(POLICY[0]) in one.announced and one.names() == {POLICY[0].sha256})


async def test_without_a_broker_the_twin_is_asked_for(wanting) -> None:
    async with wanting(first_poll_s=0.05, poll_s=0.05) as one:
        one.hands_out(POLICY)
        one.door.answers[TWIN_PATH] = [
            NOT_THERE,
            whole(encode(Twin(1, (POLICY[0],))), more='ETag: "1"\r\n'),
            whole(b"", status="304 Not Modified"),
        ]
        await one.until(lambda: ready(POLICY[0]) in one.announced and one.announced.count(HEARD) >= 2)
        assert [path for path in one.door.paths() if path == TWIN_PATH][2:] != []


async def test_what_was_fetched_before_a_restart_is_announced_at_once(wanting) -> None:
    async with wanting() as one:
        one.hands_out(POLICY)
        one.hear(POLICY)
        await one.until(lambda: ready(POLICY[0]) in one.announced)
    async with wanting() as again:
        await again.until(lambda: again.announced != [])
        assert again.announced == [DocumentReady("document", POLICY[0].sha256)]
        again.hear(POLICY)
        await again.until(lambda: again.told != [])
        assert again.door.asked == [], "it is there already"


async def test_a_word_alone_waits_a_while_of_its_own_and_a_stop_does_not(wanting) -> None:
    async with wanting(word_s=600.0) as one:
        one.hands_out(STOP, WORD)
        one.hear(WORD)
        one.hear(STOP, WORD, sequence=2)
        await one.until(lambda: ready(STOP[0]) in one.announced and ready(WORD[0]) in one.announced)
