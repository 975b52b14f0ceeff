"""Keep the broker's doors as the register says, and see out whoever may no longer stay.

register ──every 2 s──▶ who left? ──▶ broker's files ──▶ (the broker reads them) ──▶ take his place, three times
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import sqlalchemy as sa
import structlog

from veilleur_contracts.clock import Clock
from veilleur_contracts.rights import Holder
from veilleur_fleet.errors import PkiRejectedError
from veilleur_fleet.pki.evict import EvictionFailedError
from veilleur_fleet.pki.files import BrokerFiles
from veilleur_fleet.pki.service import Pki

LOOK_EVERY_S: Final = 2.0
EVICT_AFTER_S: Final = (4.0, 15.0, 40.0)
"""The broker reads its files within seconds; should it be late, whoever came back meanwhile is seen out again."""
AT_ONCE: Final = 4
SEE_OUT_S: Final = 2.0
"""Whoever is due then waits for the next look: a broker that does not answer takes seconds for each of them, and the
lists must not wait that long."""
LATELY_MS: Final = 3_600_000
PENDING_MAX: Final = 4096

Evict = Callable[[Holder], None]
"""Ends the connection of a holder; blocks; raises ``EvictionFailedError``."""


class Guard:
    """Watches the register for as long as the fleet runs.

    Args:
        pki: Who holds a good certificate.
        files: The broker's folder; None: somebody else keeps it.
        evict: Ends a connection; None: there is no broker that knows certificates.
        clock: What time it is.
    """

    def __init__(self, pki: Pki, files: BrokerFiles | None, evict: Evict | None, clock: Clock) -> None:
        self._pki = pki
        self._files = files
        self._evict = evict
        self._clock = clock
        self._inside: dict[str, Holder] | None = None
        self._seen: set[str] = set()
        self._pending: list[tuple[float, Holder]] = []
        self._trouble: str | None = None
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            try:
                await self.look()
            except PkiRejectedError as error:
                self._note(str(error))
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._note(type(error).__name__)
            else:
                self._note(None)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once: write what changed, see out who is due."""
        leaving = await asyncio.to_thread(self._who_left)
        if self._files is not None and await asyncio.to_thread(self._files.refresh):
            self._log.info("broker.files_written")
        now_s = self._clock.elapsed_s()
        if self._evict is not None:
            self._pending += [(now_s + after_s, holder) for holder in leaving for after_s in EVICT_AFTER_S]
            del self._pending[PENDING_MAX:]
        due = [one for one in self._pending if one[0] <= now_s]
        self._pending = [one for one in self._pending if one[0] > now_s]
        while due and self._clock.elapsed_s() - now_s < SEE_OUT_S:
            async with asyncio.TaskGroup() as tasks:
                for _, holder in due[:AT_ONCE]:
                    tasks.create_task(self._see_out(holder), name="see-out")
            del due[:AT_ONCE]
        self._pending = due + self._pending

    def _who_left(self) -> list[Holder]:
        """Return whoever had a good certificate and has none, or of whom one was revoked, since the last look."""
        now_ms = self._clock.now_ms()
        if self._inside is None:  # whose certificate ended while no fleet ran
            self._inside = {one.name: one for one in self._pki.register.holders(now_ms - LATELY_MS)}
        before, self._inside = self._inside, {one.name: one for one in self._pki.register.holders(now_ms)}
        revoked = [one for one in self._pki.register.revoked(now_ms) if one.revoked_ms > now_ms - LATELY_MS]
        names = {one.name for one in revoked if one.serial not in self._seen}
        self._seen = {one.serial for one in revoked}
        names |= before.keys() - self._inside.keys()
        known = {one.holder.name: one.holder for one in self._pki.register.listed(now_ms)} if names else {}
        return [known[name] for name in sorted(names) if name in known]

    async def _see_out(self, holder: Holder) -> None:
        if self._evict is None:
            return
        try:
            await asyncio.to_thread(partial(self._evict, holder))
        except EvictionFailedError as error:
            self._log.warning("holder.not_seen_out", holder=holder.name, reason=str(error))
        else:
            self._log.info("holder.seen_out", holder=holder.name)

    def _note(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is not None:
                self._log.warning("broker.files_not_written", reason=trouble)
