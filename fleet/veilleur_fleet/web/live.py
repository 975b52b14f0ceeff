"""Who is looking, and when there is something new to see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

READERS_MAX: Final = 100


class TooManyReadersError(Exception):
    """As many follow live as may; the page itself can still be read."""


class Live:
    """A number that rises with each change, and a door that lets ``READERS_MAX`` wait for it."""

    def __init__(self) -> None:
        self.version = 0
        self.closed = False
        self._changed = asyncio.Event()
        self._readers = 0

    def touch(self) -> None:
        """Say that there is something new."""
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Send everyone home."""
        self.closed = True
        self.touch()

    async def wait(self, seen: int, seconds: float) -> None:
        """Wait for something newer than ``seen``, but not longer than ``seconds``."""
        changed = self._changed
        if self.version == seen and not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()

    def check_room(self) -> None:
        """Refuse one reader too many.

        Raises:
            TooManyReadersError: There are ``READERS_MAX`` already.
        """
        if self._readers >= READERS_MAX:
            raise TooManyReadersError

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        """Count one who follows."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
