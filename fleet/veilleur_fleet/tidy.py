"""Once an hour, forget what is older than it may be kept, a little at a time, and say how much that was."""

import asyncio
from typing import Final

import sqlalchemy as sa
import structlog

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.store import partitions
from veilleur_fleet.store.calendar import Calendar
from veilleur_fleet.store.cameras import HEALTH_KEPT_MS
from veilleur_fleet.store.database import Database
from veilleur_fleet.store.keeping import DAY_MS, Forgotten, Keeping
from veilleur_fleet.store.writer import Writer

PAUSE_S: Final = 0.02
"""Between two steps, for the boxes."""


class Tidier:
    """Forgets in the store; on PostgreSQL beside the writer, in SQLite with it. Holds nothing."""

    def __init__(self, writer: Writer, database: Database, keeping: Keeping, clock: Clock, metrics: Metrics) -> None:
        self._writer = writer
        self._address = database.address
        self._calendar = Calendar(database.desk)
        self._tidied_at_s = clock.elapsed_s()
        self._keeping = keeping
        self._clock = clock
        self._metrics = metrics
        self._log = structlog.get_logger()

    async def tidy(self) -> None:
        """Forget everything that is too old now."""
        try:
            believed_ms = await asyncio.to_thread(self._believed_ms)
        except sa.exc.SQLAlchemyError as error:
            self._log.warning("records.kept", reason=str(error).partition("\n")[0])
            return
        try:
            gone = await self._writer.forget_health_before(believed_ms - HEALTH_KEPT_MS)
            self._log.info("health.forgotten", rows=gone)
        except StoreUnavailableError as error:
            self._log.warning("health.kept", reason=str(error))
        try:
            await self._forget_records(believed_ms)
        except StoreUnavailableError as error:
            self._log.warning("records.kept", reason=str(error))

    def _believed_ms(self) -> int:
        """Return the time by which things are too old: not further on than the fleet can believe."""
        now_ms, at_s = self._clock.now_ms(), self._clock.elapsed_s()
        believed_ms = self._calendar.turn(now_ms, round((at_s - self._tidied_at_s) * 1000))
        self._tidied_at_s = at_s
        if now_ms - believed_ms > DAY_MS:
            self._log.warning("clock.doubted", ahead_days=(now_ms - believed_ms) // DAY_MS)
        return believed_ms

    async def _forget_records(self, believed_ms: int) -> None:
        if self._address is not None:
            times = (self._clock.now_ms(), believed_ms)
            self._note(await asyncio.to_thread(partitions.tidy, self._address, self._keeping, *times))
            return
        forgotten = Forgotten()
        try:
            async for step in self._writer.forget(self._keeping, believed_ms):
                forgotten.add(step)
                if step.records or step.windows:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._note(forgotten)

    def _note(self, forgotten: Forgotten) -> None:
        for kind, count in forgotten.records.items():
            self._metrics.forgotten.labels(kind.value).inc(count)
            if count:
                self._log.info(
                    "records.forgotten", message_class=kind.value, records=count, kept_days=self._keeping.days[kind]
                )
        if forgotten.windows:
            self._metrics.forgotten_windows.inc(forgotten.windows)
            self._log.info("windows.forgotten", rows=forgotten.windows)
