"""Write down what a DPO may ask about: one thread appends to the audit, so that a slow disk never stops box.

box ──note(what)──▶ waiting (bounded) ──thread──▶ AuditLog ─▶ audit/       checkpoint hourly and at the end
                                           └── refuses, or is short ──▶ tighten(True): everything is strict
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from veilleur_agent.audit import RESERVE_BYTES, AuditLog, AuditUnwritableError
from veilleur_agent.events import Tell
from veilleur_contracts.audit import DiskFull, PeerCutOff, Process, ProcessEnded, ProcessStarted, What
from veilleur_contracts.clock import Clock

WAITING_MAX: Final = 1024
LOOK_EVERY_S: Final = 10.0
PRUNE_EVERY_S: Final = 86_400.0
ROOM_BYTES: Final = 4 * RESERVE_BYTES
"""Free space from which a log that was short is tried again."""


class Clerk:
    """Keeps the audit of one box.

    Args:
        folder: Where the log is.
        opened: Opens it, in the clerk's thread.
        tell: Box's log.
        tighten: Called when everything must be strict because the audit cannot be written, and when it can again.
        clock: Spaces the pruning.
        is_synced: Whether the clock was set by a time source; nothing is pruned before.
        signed: Called in the clerk's thread when the head was signed as it was due.
    """

    def __init__(
        self,
        folder: Path,
        opened: Callable[[], AuditLog],
        *,
        tell: Tell,
        tighten: Callable[[bool], None],
        clock: Clock,
        is_synced: Callable[[], bool],
        signed: Callable[[AuditLog], None] | None = None,
    ) -> None:
        self._signed = signed
        self._folder = folder
        self._opened = opened
        self._tell = tell
        self._tighten = tighten
        self._clock = clock
        self._is_synced = is_synced
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._fresh = asyncio.Event()
        self._waiting: list[What] = []
        self._overflown = 0
        self._log: AuditLog | None = None
        self._pruned_at_s = clock.elapsed_s() - PRUNE_EVERY_S
        self.is_tight = False

    def note(self, what: What) -> None:
        """Write ``what`` down soon."""
        if len(self._waiting) >= WAITING_MAX:
            self._overflown += 1
            return
        self._waiting.append(what)
        self._fresh.set()

    async def write(self, what: What) -> bool:
        """Write ``what`` down now, after what waits; tell whether it stands in the audit. If not, it is forgotten."""
        try:
            await self.do(lambda log: log.append(what))
        except AuditUnwritableError:
            await self._turn()  # box learns at once that everything is to be strict
            return False
        return True

    async def begin(self) -> None:
        """Open the log and write what waits; a disk that refuses is tried again.

        Raises:
            RejectedError: The key cannot be used, or another process writes this log.
        """
        await self._turn()

    async def work(self) -> None:
        """Write until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._fresh.wait()
            self._fresh.clear()
            await self._turn()

    async def do(self, work: Callable[[AuditLog], object]) -> None:
        """Do ``work`` on the log in the clerk's thread, after what waits is written; raises what it raises.

        Raises:
            AuditUnwritableError: The log is not open.
        """
        await self._turn()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    async def close(self) -> None:
        """Write what waits, sign the head, and let go."""
        try:
            if self._log is not None:
                await self._turn()
                await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        finally:
            self._thread.shutdown(wait=True)

    async def _turn(self) -> None:
        """Hand everything that waits to the thread; what comes meanwhile waits for the next turn."""
        whats, self._waiting = self._waiting, []
        if self._overflown:
            whats.append(DiskFull(self._overflown))
            self._overflown = 0
        try:
            is_short = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, whats)
        except AuditUnwritableError:
            self._waiting[:0] = whats
            is_short = True
        if is_short is not self.is_tight:
            self.is_tight = is_short
            self._tell("audit.refused" if is_short else "audit.accepted")
            self._tighten(is_short)

    def _write(self, whats: list[What]) -> bool:
        """Append ``whats``, and do what is due; tell whether everything must be strict. Runs in the thread.

        Raises:
            AuditUnwritableError: The log cannot even be opened; nothing was written.
        """
        log = self._log = self._log or self._opened()
        refused = False
        if self.is_tight and not whats and shutil.disk_usage(self._folder).free >= ROOM_BYTES:
            whats = [DiskFull(0)]
        for what in whats:
            try:
                log.append(what)
            except AuditUnwritableError:  # the log itself says how many it lost
                refused = True
        with contextlib.suppress(AuditUnwritableError):  # told by ``is_short`` or by the next entry
            self._do_chores(log)
        return refused or log.is_short or (self.is_tight and not whats)

    def _do(self, work: Callable[[AuditLog], object]) -> None:
        if self._log is None:
            raise AuditUnwritableError("the audit log is not open")
        work(self._log)

    def _do_chores(self, log: AuditLog) -> None:
        if log.is_checkpoint_due():
            log.checkpoint()
            if self._signed is not None:
                with contextlib.suppress(OSError):  # it is handed over with the next one
                    self._signed(log)
        now_s = self._clock.elapsed_s()
        if now_s - self._pruned_at_s >= PRUNE_EVERY_S and self._is_synced():
            self._pruned_at_s = now_s
            log.prune()

    def _end(self) -> None:
        if self._log is not None:
            with contextlib.suppress(AuditUnwritableError):  # the next start signs what this one could not
                self._log.checkpoint()
            self._log.close()


def entry_of(event: str, values: dict[str, object]) -> What | None:
    """Return what the audit says of an event of box itself, None where it says nothing."""
    match event, values:
        case "child.started", {"child": str(child)}:
            return ProcessStarted(Process(child))
        case "child.ended", {"child": str(child), "code": int(code)}:
            return ProcessEnded(Process(child), code)
        case "link.peer_cut", {"child": str(child), "reason": str(reason)}:
            return PeerCutOff(Process(child), reason)
    return None


def noting(
    tell: Tell, note: Callable[[What], None], hear: Callable[[str, dict[str, object]], None] | None = None
) -> Tell:
    """Return ``tell``, which notes besides what belongs into the audit, and lets ``hear`` know of everything."""

    def both(event: str, **values: object) -> None:
        what = entry_of(event, values)
        if what is not None:
            note(what)
        if hear is not None:
            hear(event, values)
        tell(event, **values)

    return both
