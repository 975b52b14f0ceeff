"""What the mouth says that it has put into its store: read by the eye itself, once, and not more than is healthy.

    DocumentReady(name, sha256) ──announce──▶ Announced ──due──▶ bytes whose hash was checked ─▶ mandate
                                                  ▲                                              │
                                                  └──settle: taken, or refused ──────────────────┘

A mouth that lies or floods costs a bounded number of bytes read in a turn and of refusals told, and nothing else.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from veilleur_agent.budget import Budget, TokenBucket
from veilleur_agent.eye.documents import document_in
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import TWIN_DOCUMENTS_MAX

BYTES_A_TURN: Final = 8_388_608
"""Read in one turn; the largest document is a quarter of it, and those of an honest fleet are smaller together."""
REFUSALS: Final = Budget(rate_bytes_s=1 / 60, burst_bytes=32)
"""Refusals, not bytes, that the audit is told of: one a minute, and so many at once."""
HEARD: Final = "heard"
"""The name under which a mouth says that the fleet was heard; it counts where the root names no key of the fleet."""


class Announced:
    """Documents that were announced; the last ``TWIN_DOCUMENTS_MAX`` of them.

    Args:
        folder: The mouth's store of documents.
        clock: For what is told.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._names: dict[str, None] = {}
        self._settled: dict[str, bool] = {}
        self._told: dict[str, None] = {}
        self._refusals = TokenBucket(REFUSALS, clock)

    def announce(self, sha256: str) -> bool:
        """Take note that a document lies in the store; tell whether it has to be looked at."""
        self._names.setdefault(sha256)
        _bound(self._names, self._settled)
        return sha256 not in self._settled

    def due(self) -> Iterator[tuple[str, bytes]]:
        """Yield the documents not dealt with, in the order they were announced; those that are not there are dropped.

        What goes beyond ``BYTES_A_TURN`` waits for the next turn.
        """
        left = BYTES_A_TURN
        for sha256 in [name for name in self._names if name not in self._settled]:
            data = document_in(self._folder, sha256)
            if data is None:
                del self._names[sha256]  # the mouth says it again when it is really there
                continue
            if left < len(data):
                return
            left -= len(data)
            yield sha256, data

    def settle(self, taken: Iterable[str], refused: Iterable[str]) -> None:
        """Take note of what was dealt with; what was refused may be good once something else was taken."""
        taken = [sha256 for sha256 in taken if sha256 in self._names]
        if taken:
            self._settled = {sha256: is_good for sha256, is_good in self._settled.items() if is_good}
        self._settled.update(dict.fromkeys(taken, True))
        self._settled.update({sha256: False for sha256 in refused if sha256 in self._names})

    def may_tell(self, sha256: str) -> bool:
        """Tell whether the audit should hear that this one was refused: once each, and not too many."""
        if sha256 in self._told or not self._refusals.take(1):
            return False
        self._told[sha256] = None
        _bound(self._told)
        return True

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._names


def _bound(names: dict[str, None], *others: dict[str, bool]) -> None:
    while len(names) > TWIN_DOCUMENTS_MAX:
        oldest = next(iter(names))
        del names[oldest]
        for other in others:
            other.pop(oldest, None)
