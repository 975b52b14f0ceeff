"""The outbox behind a thread of its own, so that a slow disk never stops the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.room import Bounds
from veilleur_contracts.clock import Clock

_T = TypeVar("_T")


class Shelf:
    """Hands work to the one thread that may touch the outbox, in order."""

    def __init__(self, outbox: Outbox, thread: ThreadPoolExecutor) -> None:
        self._outbox = outbox
        self._thread = thread

    @classmethod
    async def open(cls, path: Path, bounds: Bounds, clock: Clock) -> Self:
        """Open the outbox at ``path`` in its thread; raises as ``Outbox.open``."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        opened = asyncio.get_running_loop().run_in_executor(thread, Outbox.open, path, bounds, clock)
        try:
            return cls(await opened, thread)
        except BaseException:  # cancelled too: the thread ends with the opening, and it is raised again
            thread.shutdown(wait=False)
            raise

    async def do(self, work: Callable[[Outbox], _T]) -> _T:
        """Run ``work`` on the outbox; raises what it raises.

        Once begun it runs to its end, whatever happens to the caller: a transaction is never abandoned half-way.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._outbox)

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self.do(Outbox.close)
        self._thread.shutdown(wait=True)
