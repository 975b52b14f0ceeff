"""The store's one writing thread, so that commits never stand in the event loop's way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from veilleur_fleet.store.keeping import Forgotten, Keeping
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.work import Delivery, Stored

_T = TypeVar("_T")


class Writer:
    """A ledger behind a thread of its own; callers take turns."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")

    async def store(self, deliveries: Sequence[Delivery]) -> Stored:
        """Commit ``deliveries``.

        Raises:
            StoreUnavailableError: Nothing was kept.
        """
        return await self._do(lambda: self._ledger.store(deliveries))

    async def mark_published(self, marks: Mapping[int, int]) -> None:
        """Write that consumers were told everything of each shard up to the cursor named.

        Raises:
            StoreUnavailableError: No mark was kept.
        """
        await self._do(lambda: self._ledger.mark_published(marks))

    async def forget_health_before(self, received_ms: int) -> int:
        """Delete old history of cameras' health; return how many rows went.

        Raises:
            StoreUnavailableError: Nothing was deleted.
        """
        return await self._do(lambda: self._ledger.forget_health_before(received_ms))

    async def forget(self, keeping: Keeping, now_ms: int) -> AsyncIterator[Forgotten]:
        """Delete what is too old, step by step; others take their turns between two steps.

        Raises:
            StoreUnavailableError: A step was not taken; those before were.
        """
        step = self._ledger.sweep(keeping, now_ms)
        while True:
            forgotten = await self._do(step)
            yield forgotten
            if not forgotten.more:
                return

    def close(self) -> None:
        """Wait for what was begun."""
        self._thread.shutdown(wait=True)

    async def _do(self, action: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)
