"""Put many rows into a table with few statements.

One statement with fifty rows costs less than fifty steps of ``executemany`` [measured: 3.8 µs against 4.6 µs for a
record and its window] and gives the interpreter lock away fifty times less often. SQLAlchemy Core builds a dictionary
for each row and unpacks it again [measured: 14 µs for the same two rows], so the writer speaks to the driver itself;
everything that reads goes through Core.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

ROWS_PER_STATEMENT: Final = 50


class Insert:
    """``INSERT INTO table (columns) VALUES ...``, prepared for one row and for many."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names from our own modules
        one = f"({', '.join('?' * len(columns))})"
        self._one = head + one
        self._many = head + ", ".join([one] * ROWS_PER_STATEMENT)

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert ``rows``; the caller holds the transaction."""
        whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
        for start in range(0, whole, ROWS_PER_STATEMENT):
            cursor.execute(self._many, tuple(chain.from_iterable(rows[start : start + ROWS_PER_STATEMENT])))
        if whole < len(rows):
            cursor.executemany(self._one, rows[whole:])
