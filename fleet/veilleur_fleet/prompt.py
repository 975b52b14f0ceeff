"""HTTP/1.1 for those who ask in time: nobody holds a connection for nothing, neither before a question nor after it."""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

ASK_WITHIN_S: Final = 10.0


class PromptProtocol(H11Protocol):
    """Ends a connection on which no question is under way for as long as one may take to come.

    uvicorn itself ends one on which nothing at all comes after an answer, but waits for ever for the first question,
    and for the rest of any head that has begun.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to look."""
        super().connection_made(transport)
        self._answered: object = None
        self._looking = self.loop.call_later(ASK_WITHIN_S, self._end_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _end_if_silent(self) -> None:
        """End it if no question has begun since the last look."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.cycle is self._answered:
            self.transport.close()
            return
        self._answered = self.cycle if is_idle else self
        self._looking = self.loop.call_later(ASK_WITHIN_S, self._end_if_silent)
