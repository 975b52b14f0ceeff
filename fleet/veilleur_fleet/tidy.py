"""Once an hour, forget what is older than it may be kept, a little at a time, and say how much that was."""

import asyncio
from typing import Final

import structlog

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.store import partitions
from veilleur_fleet.store.cameras import HEALTH_KEPT_MS
from veilleur_fleet.store.keeping import Forgotten, Keeping
from veilleur_fleet.store.postgresql import PostgresAddress
from veilleur_fleet.store.writer import Writer

PAUSE_S: Final = 0.02
"""Between two steps, for the boxes."""


class Tidier:
    """Forgets in the store; on PostgreSQL beside the writer, in SQLite with it. Holds nothing."""

    def __init__(
        self, writer: Writer, address: PostgresAddress | None, keeping: Keeping, clock: Clock, metrics: Metrics
    ) -> None:
        self._writer = writer
        self._address = address
        self._keeping = keeping
        self._clock = clock
        self._metrics = metrics
        self._log = structlog.get_logger()

    async def tidy(self) -> None:
        """Forget everything that is too old now."""
        now_ms = self._clock.now_ms()
        try:
            gone = await self._writer.forget_health_before(now_ms - HEALTH_KEPT_MS)
            self._log.info("health.forgotten", rows=gone)
        except StoreUnavailableError as error:
            self._log.warning("health.kept", reason=str(error))
        try:
            await self._forget_records(now_ms)
        except StoreUnavailableError as error:
            self._log.warning("records.kept", reason=str(error))

    async def _forget_records(self, now_ms: int) -> None:
        if self._address is not None:
            self._note(await asyncio.to_thread(partitions.tidy, self._address, self._keeping, now_ms))
            return
        forgotten = Forgotten()
        try:
            async for step in self._writer.forget(self._keeping, now_ms):
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
