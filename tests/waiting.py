"""Wait for what happens in another process, thread or task: the one place of the tests that looks again and again."""

import asyncio
import inspect
from collections.abc import Callable

LOOK_EVERY_S = 0.01


async def until(condition: Callable[[], object], within_s: float) -> None:
    """Return once ``condition`` holds, which may be awaitable; raises ``TimeoutError`` when it does not in time."""
    async with asyncio.timeout(within_s):
        while not await _holds(condition):  # noqa: ASYNC110 - no event of ours is set over there
            await asyncio.sleep(LOOK_EVERY_S)


async def _holds(condition: Callable[[], object]) -> object:
    held = condition()
    return await held if inspect.isawaitable(held) else held
