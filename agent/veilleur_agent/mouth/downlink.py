"""Bring what the fleet wants this box to hold before the eye: told by the broker or asked for, fetched, announced.

    broker ──dn/twin──▶ hear ─┐
    door  ◀──each 15 min──────┴─▶ wanted ──▶ fetch what is missing ──▶ fetched/ ──DocumentReady──▶ eye
                                                └── fails: again later, and FetchAlarm

The mouth opens no document. What it loses or invents, the eye finds out: docs/decisions/0009.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from veilleur_agent.mouth.errors import FetchFailedError
from veilleur_agent.mouth.fetch import Fetcher
from veilleur_agent.mouth.fetched import Fetched
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import MessageRejectedError, decode_twin
from veilleur_contracts.messages import DocumentReady, FetchAlarm, FetchFault, Pointer, Twin

FETCHED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of all documents together; a twin that names more is refused."""
HEARD: Final = DocumentReady("heard", "0" * 64)
"""Tells the eye that the fleet was heard, for boxes whose root names no key with which it could say so itself."""
WORD: Final = "contact"
UNNAMED: Final = "document"
_PREFIX: Final = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait, seconds.

    Attributes:
        poll_s: Between two questions for the twin, when the broker says nothing.
        first_poll_s: Before the first.
        retry_s: After a failure; doubles.
        retry_max_s: At most.
        announce_s: Between two announcements of everything, in case the eye missed one.
        word_s: Before a word that changes nothing is fetched, at most: every box of a fleet is told of it at once.
        alarm_s: Between two alarms over one document.
    """

    poll_s: float = 900.0
    first_poll_s: float = 30.0
    retry_s: float = 1.0
    retry_max_s: float = 300.0
    announce_s: float = 60.0
    word_s: float = 20.0
    alarm_s: float = 3600.0


class Downlink:
    """Converges on the twin of one box. Holds one twin, of bounded length, and the tries of what is missing.

    Args:
        fetcher: Asks the door.
        store: Where documents are put.
        box: Its name.
        announce: Tells the eye of a document; what it cannot be told now it is told later.
        alarm: Says an alarm to the fleet.
        lost: Asks for the door's addresses to be looked up again.
        tell: Says a registered event.
        clock: For waiting.
        pace: How long.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        store: Fetched,
        *,
        box: str,
        announce: Callable[[DocumentReady], None],
        alarm: Callable[[FetchAlarm], Awaitable[None]],
        lost: Callable[[], None],
        tell: Callable[..., None],
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._box = box
        self._announce = announce
        self._alarm = alarm
        self._lost = lost
        self._tell = tell
        self._clock = clock
        self._pace = pace or Pace()
        self._random = random.SystemRandom()
        self._twin: Twin | None = None
        self._etag: str | None = None
        self._present: tuple[DocumentReady, ...] = ()
        self._tries: dict[str, int] = {}
        self._alarmed_s: dict[str, float] = {}
        self._news = asyncio.Event()

    def hear(self, payload: bytes) -> None:
        """Take in what the broker says this box should hold, if it is newer than what was said before."""
        self._take(payload, is_asked=False)

    def announce_all(self) -> None:
        """Tell the eye of everything that is there, in the order to take it: it may be another eye than before."""
        for document in self._present:
            self._announce(document)

    def _take(self, payload: bytes, *, is_asked: bool) -> None:
        try:
            twin = _twin_of(payload)
        except MessageRejectedError:
            self._tell("twin.rejected")
            return
        self._announce(HEARD)
        # What the broker retained may be old; what the door answers is the fleet's last word, whatever its number.
        if twin == self._twin or (not is_asked and self._twin is not None and twin.sequence <= self._twin.sequence):
            return
        self._tell("twin.heard", sequence=twin.sequence, documents=len(twin.documents))
        self._twin = twin
        self._tries = {one.sha256: self._tries.get(one.sha256, 0) for one in twin.documents}
        self._news.set()

    async def run(self) -> None:
        """Converge, poll and announce, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._converge(), name="downlink.converge")
            tasks.create_task(self._poll(), name="downlink.poll")
            tasks.create_task(self._repeat(), name="downlink.announce")

    async def _converge(self) -> None:
        """Fetch what is missing, each time the twin is another, and again while something is."""
        failures = 0
        self._present = tuple(DocumentReady(UNNAMED, one) for one in await asyncio.to_thread(self._store.names))
        self.announce_all()  # not heard of yet, and still good
        while True:
            self._news.clear()
            wanted = () if self._twin is None else self._twin.documents
            missing = await asyncio.to_thread(self._missing, wanted)
            if missing and all(one.kind == WORD for one in missing) and await self._is_overtaken():
                continue
            failed = await self._fetch_all(missing)
            if wanted:
                lacking = {one.sha256 for one in await asyncio.to_thread(self._missing, wanted)}
                there = (one for one in wanted if one.sha256 not in lacking)
                self._present = tuple(DocumentReady(one.kind, one.sha256) for one in there)
                if not lacking and not self._news.is_set():
                    await asyncio.to_thread(self._store.keep_only, {one.sha256 for one in wanted})
            failures = failures + 1 if failed else 0
            await self._wait(failures)

    def _missing(self, wanted: tuple[Pointer, ...]) -> list[Pointer]:
        return [one for one in wanted if not self._store.holds(one.sha256)]

    async def _is_overtaken(self) -> bool:
        """Wait a while of our own before a word is fetched; tell whether something else came meanwhile."""
        try:
            async with asyncio.timeout(self._random.uniform(0.0, self._pace.word_s)):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _fetch_all(self, missing: list[Pointer]) -> int:
        """Fetch documents and announce each; return how many could not be had. One that fails keeps no other back."""
        failed = 0
        for pointer in missing:
            tries = self._tries.get(pointer.sha256, 0) + 1
            if pointer.sha256 in self._tries:  # else a twin that came meanwhile wants it no more
                self._tries[pointer.sha256] = tries
            try:
                data = await self._fetcher.document(pointer)
                await asyncio.to_thread(self._store.put, pointer.sha256, data)
            except FetchFailedError as error:
                failed += 1
                await self._note(pointer, error.fault, tries)
                if error.fault is FetchFault.UNREACHABLE:
                    self._lost()
                    return len(missing)
            else:
                await self._note(pointer, FetchFault.NONE, tries)
                self._announce(DocumentReady(pointer.kind, pointer.sha256))
        return failed

    async def _note(self, pointer: Pointer, fault: FetchFault, tries: int) -> None:
        """Say what is in the way of a document: at the second try and then each hour, and when it could be had."""
        now_s = self._clock.elapsed_s()
        alarmed_s = self._alarmed_s.get(pointer.sha256)
        if fault is FetchFault.NONE:
            self._tell("document.fetched", kind=pointer.kind, tries=tries)
            if self._alarmed_s.pop(pointer.sha256, None) is None:
                return
        elif tries == 1 or (alarmed_s is not None and now_s - alarmed_s < self._pace.alarm_s):
            return
        else:
            self._tell("document.unfetched", kind=pointer.kind, fault=fault.name.lower().replace("_", "-"), tries=tries)
            self._alarmed_s = {one: at_s for one, at_s in self._alarmed_s.items() if one in self._tries}
            self._alarmed_s[pointer.sha256] = now_s
        await self._alarm(FetchAlarm(self._clock.now_ms() // 1000, pointer.sha256[:_PREFIX], fault, tries))

    async def _wait(self, failures: int) -> None:
        """Wait for another twin; after a failure no longer than until the next try."""
        longest_s = None
        if failures:
            longest_s = min(self._pace.retry_max_s, self._pace.retry_s * 2.0 ** min(failures - 1, 16))
            longest_s *= self._random.uniform(0.5, 1.0)
        try:
            async with asyncio.timeout(longest_s):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _poll(self) -> None:
        """Ask for the twin every so often: the broker may be the one that is away."""
        wait_s = self._random.uniform(0.1, 1.0) * self._pace.first_poll_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = self._random.uniform(0.8, 1.0) * self._pace.poll_s
            try:
                found = await self._fetcher.twin(self._box, self._etag)
            except FetchFailedError as error:
                if error.fault is FetchFault.UNREACHABLE:
                    self._lost()
                continue
            if found is None:
                self._announce(HEARD)
                continue
            payload, self._etag = found
            self._take(payload, is_asked=True)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._pace.announce_s)
            self.announce_all()


def _twin_of(payload: bytes) -> Twin:
    """Read a twin that fits the store.

    Raises:
        MessageRejectedError: It is none, or names more than there is room for.
    """
    twin = decode_twin(payload)
    if sum(one.size_bytes for one in twin.documents) > FETCHED_BYTES_MAX:
        raise MessageRejectedError("the documents of a twin are too long together")
    return twin
