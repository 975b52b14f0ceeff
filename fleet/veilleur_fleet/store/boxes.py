"""Who has spoken: the boxes the store knows, by name, with what bounds each of them."""

from dataclasses import dataclass
from typing import Final

import msgspec

from veilleur_contracts.ids import shard_of
from veilleur_contracts.messages import Birth, FetchAlarm, Reported
from veilleur_fleet.store.connection import Cursor

OfBox = Birth | Reported | FetchAlarm
"""What a box says of itself."""

BOXES_MAX: Final = 20_000
"""Ten times the largest fleet we were asked to connect; a stranger cannot fill the disk with invented names."""


@dataclass(slots=True)
class BoxRow:
    """One box, as the writer keeps it in mind.

    Attributes:
        box_no: Its key in every table.
        box: Its name.
        controller: Who answers for it; the first it was heard under.
        shard: Which shard numbers its records.
        quarantined_bytes: Kept in quarantine for it.
        waiting_rows: Windows of it that wait for their Context.
    """

    box_no: int
    box: str
    controller: str
    shard: int
    quarantined_bytes: int
    waiting_rows: int


class Boxes:
    """Rows of ``boxes``, read once and kept. Bounded by ``BOXES_MAX``."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._known: dict[str, BoxRow] = {}

    def forget(self) -> None:
        """Read everything again: the transaction was rolled back."""
        self._known.clear()

    def find(self, box: str, controller: str, now_ms: int) -> BoxRow | None:
        """Return the row of ``box``, made if it is new; None when there are too many boxes already."""
        row = self._known.get(box)
        if row is None:
            row = self._read(box) or self._make(box, controller, now_ms)
            if row is not None:
                self._known[box] = row
        return row

    def known(self, box: str) -> BoxRow:
        """Return the row of a box that is in the database.

        Raises:
            LookupError: It is not.
        """
        row = self._known.get(box) or self._read(box)
        if row is None:
            message = f"box {box} is not in the store"
            raise LookupError(message)
        self._known[box] = row
        return row

    def note(self, heard: dict[int, int], changed: set[str]) -> None:
        """Write when each box was last heard, ms, and the bounds that moved."""
        self._cursor.execute_rows(
            "UPDATE boxes SET heard_ms = said.column2 FROM ({rows}) AS said WHERE box_no = said.column1",
            list(heard.items()),
        )
        rows = [self._known[box] for box in changed]
        self._cursor.executemany(
            "UPDATE boxes SET quarantined_bytes = ?, waiting_rows = ? WHERE box_no = ?",
            [(row.quarantined_bytes, row.waiting_rows, row.box_no) for row in rows],
        )

    def hear(self, box: BoxRow, record: OfBox, received_ms: int, *, again: bool) -> None:
        """Write what the box says of itself; ``again``, only if it has not said something newer since."""
        match record:
            case Birth():
                self._born(box, record, again=again)
            case Reported():
                self._reported(box, record, received_ms)
            case FetchAlarm():
                self._unfetched(box, record, received_ms)

    def _born(self, box: BoxRow, birth: Birth, *, again: bool) -> None:
        self._cursor.execute(
            "UPDATE boxes SET born_s = ?, agent = ?, contract_revision = ?, profile = ? WHERE box_no = ?"
            " AND (? = 0 OR born_s IS NULL OR born_s <= ?)",
            (birth.at_s, birth.agent, birth.contract_revision, birth.profile, box.box_no, int(again), birth.at_s),
        )

    def _reported(self, box: BoxRow, reported: Reported, received_ms: int) -> None:
        # A box whose clock runs ahead must not hide what it says until then.
        row = (box.box_no, min(reported.at_s, received_ms // 1000), *msgspec.structs.astuple(reported)[1:], received_ms)
        self._replace("reported", row)

    def _unfetched(self, box: BoxRow, alarm: FetchAlarm, received_ms: int) -> None:
        at_s = min(alarm.at_s, received_ms // 1000)
        self._replace("fetches", (box.box_no, at_s, alarm.document, alarm.fault, alarm.tries))

    def _replace(self, table: str, row: tuple[object, ...]) -> None:
        """Put ``row``, which begins with the key and a time, in the place of an older one."""
        query = f"SELECT 1 FROM {table} WHERE box_no = ? AND at_s > ?"  # noqa: S608 - two names of our own
        if self._cursor.execute(query, row[:2]).fetchone() is None:
            marks = ", ".join("?" * len(row))
            self._cursor.execute(f"DELETE FROM {table} WHERE box_no = ?", row[:1])  # noqa: S608 - two names of our own
            self._cursor.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 - two names of our own

    def _read(self, box: str) -> BoxRow | None:
        found = self._cursor.execute(
            "SELECT box_no, controller, quarantined_bytes, waiting_rows FROM boxes WHERE box = ?", (box,)
        ).fetchone()
        return None if found is None else BoxRow(found[0], box, found[1], shard_of(box), found[2], found[3])

    def _make(self, box: str, controller: str, now_ms: int) -> BoxRow | None:
        if self._cursor.execute("SELECT count(*) FROM boxes").fetchone()[0] >= BOXES_MAX:
            return None
        self._cursor.execute(
            "INSERT INTO boxes (box, controller, first_heard_ms, heard_ms) VALUES (?, ?, ?, ?)",
            (box, controller, now_ms, now_ms),
        )
        return self._read(box)
