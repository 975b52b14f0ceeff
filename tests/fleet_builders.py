"""Small fleets for tests: what a box says, and a store that takes it in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of, encode
from veilleur_contracts.topics import Up, up_topic
from veilleur_fleet.access.accounts import Accounts
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.access.passwords import Costs
from veilleur_fleet.access.porter import Entrance
from veilleur_fleet.notices.board import Board
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.database import Database
from veilleur_fleet.store.work import Delivery

NOW_MS = 1_790_000_000_000
EVERY_LABEL = tuple(range(6))

EITHER_ENGINE = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
"""Run a test, or a whole module, on a store of each kind."""


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    at_ms: int = NOW_MS
    ahead_ms: int = 0

    def now_ms(self) -> int:
        return self.at_ms + self.ahead_ms

    def elapsed_s(self) -> float:
        return self.at_ms / 1000

    def move(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)


def entrance_of(database: Database, clock: HandClock, access: Access = Access.AUTO) -> Entrance:
    """Return an entrance whose passwords cost little to try."""
    engines = (database.readers, database.desk, clock)
    return Entrance(Accounts(*engines, Costs(4, 8, 1)), RoutingTable(*engines), Board(*engines), access)


def context(
    camera: str = "gare-parvis",
    *,
    lines: Sequence[str] = ("kerb",),
    labels: Sequence[int] = EVERY_LABEL,
    insee: str = "30189",
) -> m.Context:
    """Say which lines of ``camera`` are counted, for which labels."""
    return m.Context(camera, insee, "0" * 16, "1" * 16, "2" * 16, tuple(labels), tuple(lines), ())


def window(  # one argument for each field a test may care about
    of: m.Context,
    counts: Iterable[int | None] = (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    *,
    at_s: int = NOW_MS // 1000 - 10,
    window_s: int = 5,
    line: int = 0,
    coverage: int = 100,
    quality: int = 0,
) -> m.CrossingWindow:
    """Say what crossed one line of ``of`` in one window."""
    return m.CrossingWindow(context_number_of(of), at_s, window_s, line, coverage, 50, quality, tuple(counts))


def health(
    camera: str = "gare-parvis", *, state: m.CameraState = m.CameraState.LIVE, at_s: int = NOW_MS // 1000 - 1
) -> m.CameraHealth:
    """Say what ``camera`` is doing."""
    return m.CameraHealth(camera, at_s, state, 50, 0, 0)


def birth(profile: str = "bench") -> m.Birth:
    """Say that a box has started."""
    return m.Birth(NOW_MS // 1000 - 60, "0.1.0", m.CONTRACT_REVISION, profile)


def batch_of(stream: int, first_seq: int, records: Iterable[m.Record | bytes]) -> bytes:
    """Encode a batch; bytes stand for a record that no honest box would make."""
    raws = tuple(msgspec.Raw(record if isinstance(record, bytes) else encode(record)) for record in records)
    return encode(m.Batch(stream, first_seq, raws))


@dataclass
class Box:
    """A box that speaks: numbers what it says, one stream for each class, and remembers it for saying it again."""

    name: str = "gare-01"
    controller: str = "ville"
    started_ms: int = NOW_MS - 60_000
    said: dict[m.MessageClass, int] = field(default_factory=dict)

    def stream(self, kind: m.MessageClass = m.MessageClass.STATISTICS) -> int:
        return m.stream_of(kind, self.started_ms)

    def topic(self, kind: m.MessageClass = m.MessageClass.STATISTICS) -> str:
        channel = Up.HEALTH if kind is m.MessageClass.TECHNICAL else Up.EVENTS
        return up_topic(self.controller, self.name, channel)

    def says(
        self, *records: m.Record | bytes, kind: m.MessageClass | None = None, first_seq: int | None = None
    ) -> Delivery:
        """Return one message with ``records``; numbered next in their stream, or from ``first_seq``."""
        if kind is None:
            kind = m.CLASS_OF.get(type(records[0]), m.MessageClass.STATISTICS)
        if first_seq is None:
            first_seq = self.said.get(kind, 0) + 1
            self.said[kind] = first_seq - 1 + len(records)
        return Delivery(self.topic(kind), batch_of(self.stream(kind), first_seq, records), NOW_MS)
