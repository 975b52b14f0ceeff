"""Copy rows into PostgreSQL while the caller goes on, in the caller's own thread.

    rows ──add──▶ blocks ──┐ waiting                          one statement for all that wait:
    rows ──add──▶ blocks ──┴──advance, advance, … settle──▶   COPY records; COPY crossing_windows; COPY …

The server spends longer on a row than we do on judging the next, so the two go on side by side [measured: 5.3 µs for a
record and its window against 3]. Not in a thread: each time that one has waited for the socket it waits for the
interpreter's lock as well, until the judging thread's turn of 5 ms is over, and the server waits with it [measured:
10 µs together, nearly the sum]. Here the socket is given what it takes at the moment; nothing waits until ``settle``.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.copy import Copy, Writer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

from veilleur_fleet.store.connection import Row

ROWS_AT_ONCE: Final = 500
"""So many rows are worth a statement of their own when the server has nothing to do; while it has, more gather."""


class Copying:
    """The COPYs of one transaction; bounded by the rows of one transaction."""

    def __init__(self) -> None:
        self._ready: dict[str, _Rows] = {}
        self._rows_ready = 0
        self._under_way: PQGen[None] | None = None

    def add(
        self,
        session: psycopg.Connection[Any],
        table: str,
        columns: Sequence[str],
        types: Sequence[str],
        rows: Sequence[Row],
    ) -> None:
        """Have ``rows`` copied into ``table``; nothing is sent before ``advance`` or ``settle``."""
        ready = self._ready.get(table)
        if ready is None:
            ready = self._ready[table] = _Rows(session, table, columns, types)
        ready.put(rows)
        self._rows_ready += len(rows)

    def advance(self, session: psycopg.Connection[Any]) -> None:
        """Send what the server takes without waiting for it.

        Raises:
            psycopg.Error: Something that was added is not there, and never will be; the transaction is lost.
        """
        while (running := self._begun(session, ROWS_AT_ONCE)) is not None:
            try:
                next(running)
            except StopIteration:
                self._under_way = None
            except BaseException:  # interrupted too: what is half copied is forgotten, and it is raised again
                self.forget()
                raise
            else:
                return

    def settle(self, session: psycopg.Connection[Any]) -> None:
        """Wait until everything that was added is there.

        Raises:
            psycopg.Error: As ``advance``.
        """
        while (running := self._begun(session, 1)) is not None:
            try:
                session.wait(running)
            except BaseException:  # interrupted too: what is half copied is forgotten, and it is raised again
                self.forget()
                raise
            self._under_way = None

    def drop(self, session: psycopg.Connection[Any]) -> None:
        """Forget what the server has not been asked for yet, and wait for the rest.

        Raises:
            psycopg.Error: As ``advance``.
        """
        self._ready, self._rows_ready = {}, 0
        self.settle(session)

    def forget(self) -> None:
        """Forget everything: the transaction is lost, or the session is gone."""
        self._ready, self._rows_ready = {}, 0
        self._under_way = None

    def _begun(self, session: psycopg.Connection[Any], at_least: int) -> PQGen[None] | None:
        """Return what is under way, which is all that is ready when nothing was; None when it is not ``at_least``."""
        if self._under_way is None and self._rows_ready >= at_least:
            jobs = [rows.job() for rows in self._ready.values()]
            self._ready, self._rows_ready = {}, 0
            self._under_way = _copied(session.pgconn, jobs)
        return self._under_way


class _Job(NamedTuple):
    into: bytes
    blocks: list[Buffer]


class _Rows(Writer):
    """Rows for one table, as psycopg would send them, in blocks of 32 KiB."""

    def __init__(
        self, session: psycopg.Connection[Any], table: str, columns: Sequence[str], types: Sequence[str]
    ) -> None:
        self._into = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)".encode()
        self._blocks: list[Buffer] = []
        self._copy = Copy(session.cursor(), binary=True, writer=self)
        self._copy.set_types(types)

    def write(self, data: Buffer) -> None:
        """Take a block from psycopg."""
        self._blocks.append(data)

    def put(self, rows: Iterable[Row]) -> None:
        write_row = self._copy.write_row
        for row in rows:
            write_row(row)

    def job(self) -> _Job:
        """Return what copies them; no more can be put."""
        self._copy.finish(None)
        return _Job(self._into, self._blocks)


def _copied(server: PGconn, jobs: Sequence[_Job]) -> PQGen[None]:
    """Do ``jobs`` as one simple query, and yield each time that the server must be waited for.

    It may be resumed at any moment: nothing here waits. One query, so that the server goes from one table to the next
    without being asked again.
    """
    server.send_query(b"; ".join(job.into for job in jobs))
    yield from _flushed(server)
    for job in jobs:
        yield from _answered(server, ExecStatus.COPY_IN)
        for block in job.blocks:
            while not server.put_copy_data(block):
                yield Wait.W
            yield from _flushed(server)
        while not server.put_copy_end():
            yield Wait.W
        yield from _flushed(server)
        yield from _answered(server, ExecStatus.COMMAND_OK)
    yield from _result(server)  # None: the query is over


def _flushed(server: PGconn) -> PQGen[None]:
    while server.flush():
        yield Wait.W


def _answered(server: PGconn, wanted: ExecStatus) -> PQGen[None]:
    """Wait for the answer that is ``wanted``; after another, the server does nothing more of the query.

    Raises:
        psycopg.Error: It is an error, or the session is gone.
    """
    result = yield from _result(server)
    if result is not None and result.status == wanted:
        return
    if result is None or server.status != ConnStatus.OK:
        raise psycopg.OperationalError("the session ended in the middle of a COPY")
    yield from _result(server)
    raise psycopg.errors.error_from_result(result)


def _result(server: PGconn) -> PQGen[PGresult | None]:
    while server.is_busy():
        yield Wait.R
        server.consume_input()
    return server.get_result()
