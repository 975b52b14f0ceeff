"""Forget what is too old in SQLite, a little at a time, so that no box waits for it.

records of a shard:   [swept] x x . x . . x | young ...     x: of the class, deleted; its mark moves to |
"""

from typing import Final

from veilleur_contracts.ids import SHARDS
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.store.connection import Cursor
from veilleur_fleet.store.keeping import ORDINALS, Forgotten, Keeping, swept_upto
from veilleur_fleet.store.work import POSITION_BITS

ROWS_PER_STEP: Final = 2000
LINES_PER_STEP: Final = 200
_NUMBERS: Final = tuple(ORDINALS)


class Sweep:
    """One pass over everything, a step in each transaction of the writer. Keeps only where it stands."""

    def __init__(self, cursor: Cursor, keeping: Keeping, now_ms: int) -> None:
        self._cursor = cursor
        self._keeping = keeping
        self._now_ms = now_ms
        self._shard, self._kind, self._line = 0, 0, 0

    def step(self) -> Forgotten:
        """Delete a few thousand rows at most; ``more`` until the pass is over."""
        if self._shard < SHARDS:
            return self._sweep_records()
        return self._sweep_windows()

    def _sweep_records(self) -> Forgotten:
        """Look at the next rows of one shard for one class; what consumers were not told yet is never forgotten."""
        kind = ORDINALS[_NUMBERS[self._kind]]
        start = self._shard << POSITION_BITS
        found = self._cursor.execute("SELECT published FROM shards WHERE shard = ?", (self._shard,)).fetchone()
        published = start + (found[0] if found else 0)
        mark = start + self._mark()
        rows = self._cursor.execute(
            "SELECT position, received_ms FROM records WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
            (mark, published, ROWS_PER_STEP),
        ).fetchall()
        upto = swept_upto(rows, self._keeping.bound_ms(kind, self._now_ms), self._now_ms)
        forgotten = Forgotten(more=True)
        if upto is not None:
            deleted = self._cursor.execute(
                "DELETE FROM records WHERE position > ? AND position <= ? AND class = ?",
                (mark, upto, _NUMBERS[self._kind]),
            ).rowcount
            self._cursor.execute(
                "INSERT INTO swept (shard, class, upto) VALUES (?, ?, ?)"
                " ON CONFLICT (shard, class) DO UPDATE SET upto = excluded.upto",
                (self._shard, _NUMBERS[self._kind], upto - start),
            )
            forgotten.records[kind] = deleted
            note(self._cursor, kind, deleted, 0)
        if upto is None or len(rows) < ROWS_PER_STEP or upto != rows[-1][0]:
            self._shard, self._kind = divmod(self._shard * len(_NUMBERS) + self._kind + 1, len(_NUMBERS))
        return forgotten

    def _mark(self) -> int:
        query = "SELECT upto FROM swept WHERE shard = ? AND class = ?"
        found = self._cursor.execute(query, (self._shard, _NUMBERS[self._kind])).fetchone()
        return int(found[0]) if found else 0

    def _sweep_windows(self) -> Forgotten:
        """Delete the old windows of the next lines."""
        bound_s = self._keeping.bound_ms(MessageClass.STATISTICS, self._now_ms) // 1000
        query = "SELECT line_no FROM lines WHERE line_no > ? ORDER BY line_no LIMIT ?"
        lines = [row[0] for row in self._cursor.execute(query, (self._line, LINES_PER_STEP)).fetchall()]
        forgotten = Forgotten(more=bool(lines))
        for line_no in lines:
            room = ROWS_PER_STEP - forgotten.windows
            deleted = self._cursor.execute(
                "DELETE FROM crossing_windows WHERE line_no = ? AND (at_s, position) IN (SELECT at_s, position"
                " FROM crossing_windows WHERE line_no = ? AND at_s < ? ORDER BY at_s LIMIT ?)",
                (line_no, line_no, bound_s, room),
            ).rowcount
            forgotten.windows += deleted
            if deleted == room:
                break
            self._line = line_no
        note(self._cursor, MessageClass.STATISTICS, 0, forgotten.windows)
        return forgotten


def note(cursor: Cursor, kind: MessageClass, records: int, windows: int) -> None:
    """Write for ever how much of ``kind`` was forgotten."""
    if records or windows:
        cursor.execute(
            "INSERT INTO forgotten (class, records, windows) VALUES (?, ?, ?) ON CONFLICT (class) DO UPDATE SET"
            " records = forgotten.records + excluded.records, windows = forgotten.windows + excluded.windows",
            (tuple(MessageClass).index(kind), records, windows),
        )
