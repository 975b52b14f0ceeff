"""The rows of the outbox and the room they take: coarsened first, dropped only then, and never silently.

too many bytes, or too old ──▶ coarsen statistics never published ──▶ still? drop the oldest ──▶ a Gap in their place
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from veilleur_agent.mouth.coarsen import STEPS, Row, Step, coarsened, gap_row
from veilleur_agent.mouth.database import translated
from veilleur_contracts.messages import STREAMS_A_START, GapReason, MessageClass, alarm_stream_of, stream_of

ROW_BYTES: Final = 48
"""What a row costs on disk beside its record, about."""
DROPPED_SHARE: Final = 0.05
"""Dropped at once when the outbox is full, so that gaps are few and long."""
COARSENED_FROM: Final = 0.9
"""Filled so far, coarsening begins: a little with each call, and all is looked at before the outbox is full."""
SLICES_AT_ONCE: Final = 2
SLICE_ROWS: Final = 4096
SPAN_S: Final = 86_400
"""A slice that is shorter, in rows and in time, is left to grow: buckets cut by its ends stay fine."""
DROP_ORDER: Final = (
    *(stream_of(kind, 0) for kind in (MessageClass.TECHNICAL, MessageClass.STATISTICS)),
    *(stream_of(kind, 0) for kind in (MessageClass.AGGREGATE, MessageClass.EVENT)),
    alarm_stream_of(0),
)
"""Ordinals of streams: metrics go first, alarms last."""
STATISTICS_ORDINAL: Final = stream_of(MessageClass.STATISTICS, 0)

_INSERT: Final = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)"
_OF_ORDINAL: Final = (
    f"SELECT stream, seq, last, length(body) FROM record WHERE is_gap = 0 AND stream % {STREAMS_A_START} = ?"  # noqa: S608 - constants of ours
    " ORDER BY stream, seq"
)
_OLDER: Final = (
    "SELECT stream, seq, last, length(body) FROM record WHERE is_gap = 0 AND at_running_s < ? ORDER BY stream, seq"
)
_UNPUBLISHED: Final = (
    f"SELECT number, max(published, acknowledged) FROM stream WHERE number % {STREAMS_A_START} = {STATISTICS_ORDINAL}"  # noqa: S608 - constants of ours
    " AND next > max(published, acknowledged) + 1 ORDER BY number"
)
_SLICE: Final = (
    "SELECT seq, last, is_gap, at_running_s, body FROM record"
    " WHERE stream = ? AND seq > ? AND at_running_s < ? ORDER BY seq LIMIT ?"
)
_EVER: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much and how long the outbox keeps what nobody acknowledges; statistics are coarsened at half that age."""

    bytes_max: int = 256 * 1024 * 1024
    age_max_s: int = 30 * 86_400


class Room:
    """The table ``record``; every method that writes stands in a transaction of the outbox."""

    def __init__(self, database: sqlite3.Connection, bounds: Bounds) -> None:
        self._database = database
        self._bounds = bounds
        self._coarse: dict[tuple[Step, int], int] = {}
        self.bytes = self.rows = 0
        self.dropped = self.coarsened = 0

    def state(self) -> tuple[int, int, int, int]:
        """Return what ``roll_back`` takes."""
        return self.bytes, self.rows, self.dropped, self.coarsened

    def roll_back(self, state: tuple[int, int, int, int]) -> None:
        """Count again as before the transaction that failed."""
        self.bytes, self.rows, self.dropped, self.coarsened = state
        self._coarse.clear()

    def recount(self) -> None:
        """Read how many rows and bytes there are: once, as that reads the whole file."""
        size, self.rows = self._rows("SELECT total(length(body)), count(*) FROM record")[0]
        self.bytes = int(size) + self.rows * ROW_BYTES

    def append(self, stream: int, row: Row) -> None:
        """Put a row in its place."""
        self._do(_INSERT, (stream, row.seq, row.last, int(row.is_gap), row.at_running_s, row.body))
        self._count(1, len(row.body))

    def forget(self, stream: int, upto: int) -> int:
        """Delete what the fleet holds; return how many rows went."""
        query = "SELECT count(*), total(length(body)) FROM record WHERE stream = ? AND last <= ?"
        rows, freed = self._rows(query, (stream, upto))[0]
        self._do("DELETE FROM record WHERE stream = ? AND last <= ?", (stream, upto))
        self._count(-int(rows), -int(freed))
        return int(rows)

    def make(self, current: int, now_s: int) -> None:
        """Coarsen when there are many bytes; with too many, drop long runs in the order of ``DROP_ORDER``.

        Args:
            current: The stream of statistics that still grows.
            now_s: Running seconds.
        """
        most = self._bounds.bytes_max
        if self.bytes > most * COARSENED_FROM:
            self._coarsen(current, _EVER)
        if self.bytes <= most:
            return
        wanted = int(most * (1 - DROPPED_SHARE))
        for ordinal in DROP_ORDER:
            victims, freed = [], 0
            for row in self._database.execute(_OF_ORDINAL, (ordinal,)):
                if self.bytes - freed <= wanted:
                    break
                victims.append(row)
                freed += row[3] + ROW_BYTES
            self._drop(victims, GapReason.OUTBOX_FULL, now_s)
            if self.bytes <= most:
                return

    def expire(self, current: int, now_s: int) -> None:
        """Coarsen statistics of half the age bound, and drop what is older than all of it."""
        self._coarsen(current, now_s - self._bounds.age_max_s // 2)
        self._drop(self._rows(_OLDER, (now_s - self._bounds.age_max_s,)), GapReason.TOO_OLD, now_s)

    def _coarsen(self, current: int, older_than_s: int) -> None:
        """Coarsen a little of what was never published: of what was, the fleet may hold the parts."""
        streams = self._rows(_UNPUBLISHED)
        known = {number for number, _ in streams}
        self._coarse = {key: upto for key, upto in self._coarse.items() if key[1] in known}
        left = SLICES_AT_ONCE
        for step in STEPS:
            for stream, published in streams:
                upto = max(published, self._coarse.get((step, stream), 0))
                while rows := self._slice(stream, upto, older_than_s):
                    if stream == current and not _is_long(rows):
                        break
                    if not left:
                        return
                    left -= 1
                    self._rewrite(stream, rows, coarsened(rows, step))
                    upto = self._coarse[step, stream] = rows[-1].last

    def _slice(self, stream: int, after: int, older_than_s: int) -> list[Row]:
        found = self._rows(_SLICE, (stream, after, older_than_s, SLICE_ROWS))
        return [Row(seq, last, bool(is_gap), at_s, body) for seq, last, is_gap, at_s, body in found]

    def _rewrite(self, stream: int, before: Sequence[Row], after: Sequence[Row]) -> None:
        kept, old = set(after), set(before)
        for row in before:
            if row not in kept:
                self._do("DELETE FROM record WHERE stream = ? AND seq = ?", (stream, row.seq))
                self._count(-1, -len(row.body))
        for row in after:
            if row not in old:
                self.append(stream, row)
        self.coarsened += sum(not row.is_gap for row in before) - sum(not row.is_gap for row in after)

    def _drop(self, victims: Sequence[tuple[int, int, int, int]], reason: GapReason, now_s: int) -> None:
        """Replace records by gaps, one for each unbroken run; ``victims`` are in order of stream and number."""
        runs: list[tuple[int, int, int]] = []
        for stream, seq, last, size in victims:
            self._do("DELETE FROM record WHERE stream = ? AND seq = ?", (stream, seq))
            self._count(-1, -size)
            if runs and runs[-1][0] == stream and runs[-1][2] == seq - 1:
                runs[-1] = (stream, runs[-1][1], last)
            else:
                runs.append((stream, seq, last))
        for stream, first, last in runs:
            self.append(stream, gap_row(first, last, reason, now_s))
        self.dropped += len(victims)

    def _count(self, rows: int, body_bytes: int) -> None:
        self.rows += rows
        self.bytes += body_bytes + rows * ROW_BYTES

    def _rows(self, query: str, values: Sequence[int] = ()) -> list[Any]:  # rows are as typed as their query
        with translated():
            return self._database.execute(query, values).fetchall()

    def _do(self, query: str, values: Sequence[int | bytes]) -> None:
        with translated():
            self._database.execute(query, values)


def _is_long(rows: Sequence[Row]) -> bool:
    return len(rows) == SLICE_ROWS or rows[-1].at_running_s - rows[0].at_running_s >= SPAN_S
