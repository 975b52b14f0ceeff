"""Measure what the fleet stores: messages a second, durable, and how that stands to inserting the same rows raw.

messages ──judge, filter, commit──▶ store          (ours; publication of out/ apart)
the same rows ──raw insert, commit──▶ same tables  (the ceiling, in turns with ours, same run, same disk)

python benchmarks/ingest.py [--messages N] [--batch N] [--database sqlite|postgresql|both] [--json]

Raw is the fastest insert each driver has, of the same rows into the same tables with the same keys, as many in one
transaction, as durable: ``executemany`` for SQLite; for PostgreSQL binary COPY, one for each table, of bytes that were
made before the clock started, so that nothing is left but the server's own work. The bar is about the ratio to it. Raw
leaves out what the ledger must also do: judge, filter, give cursors, and keep the marks of streams and boxes.
PostgreSQL's ``executemany`` is printed beside it. PostgreSQL is a server of our own, with fsync on.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.copy import Copy, Writer

from veilleur_contracts import messages as m
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of, decode_batch, encode
from veilleur_contracts.topics import Up, read_up_topic, up_topic
from veilleur_fleet.ingest import BYTES_PER_COMMIT, MESSAGES_PER_COMMIT
from veilleur_fleet.store import postgresql
from veilleur_fleet.store.cameras import WINDOW_COLUMNS
from veilleur_fleet.store.connection import Connection
from veilleur_fleet.store.database import Database, Where, open_database
from veilleur_fleet.store.keeping import month_of
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.partitions import Partitions
from veilleur_fleet.store.work import RECORD_COLUMNS, Delivery
from veilleur_simulator.postgresql import postgresql_server, programs_folder

RATE_BAR: Final = 50_000
RATIO_BAR: Final = 0.7
BOXES: Final = 200
STARTED_MS: Final = 1_790_000_000_001
COLUMNS: Final = {"records": RECORD_COLUMNS, "crossing_windows": WINDOW_COLUMNS}
RAW: Final = {
    table: f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own
    for table, columns in COLUMNS.items()
}
_RECORDS_OF: Final = (
    f"SELECT {', '.join(RECORD_COLUMNS)} FROM records JOIN boxes USING (box_no)"  # noqa: S608 - names from our own modules
    " WHERE box = ? AND stream = ? AND seq >= ? ORDER BY seq LIMIT ?"
)
_POSITION: Final = WINDOW_COLUMNS.index("position")

Turn = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One commit: its messages, and the seconds that ours, the raw insert and executemany of the same rows took."""

    messages: int
    ours_s: float
    raw_s: float
    executemany_s: float


def city(messages: int, batch: int, seed: int) -> Iterator[Delivery]:
    """Yield what ``BOXES`` boxes say: a Context each, then windows of six labels, a batch of each box in turn."""
    rng = random.Random(seed)
    started_ms = STARTED_MS + seed
    stream = m.stream_of(m.MessageClass.STATISTICS, started_ms)
    contexts = [
        m.Context(f"camera-{n:04d}", "30189", "0" * 16, "1" * 16, "2" * 16, tuple(range(6)), ("kerb", "lane"), ())
        for n in range(BOXES)
    ]
    topics = [up_topic("ville", f"box-{n:04d}", Up.EVENTS) for n in range(BOXES)]
    seqs, at_s = [1] * BOXES, 1_790_000_000
    for n, one in enumerate(contexts):
        yield Delivery(topics[n], encode(m.Batch(stream, 1, (msgspec.Raw(encode(one)),))), started_ms)
        seqs[n] = 2
    numbers = [context_number_of(one) for one in contexts]
    for turn in range(-(-messages // batch)):
        n = turn % BOXES
        at_s += 900 if n == 0 else 0
        raws = tuple(msgspec.Raw(encode(_window(rng, numbers[n], at_s + k))) for k in range(batch))
        yield Delivery(topics[n], encode(m.Batch(stream, seqs[n], raws)), started_ms)
        seqs[n] += batch


def _window(rng: random.Random, context: int, at_s: int) -> m.CrossingWindow:
    counts = tuple(None if rng.random() < 0.05 else rng.randrange(400) for _ in range(12))
    return m.CrossingWindow(context, at_s, 900, rng.randrange(2), 98, 50, 0, counts)


def commits_of(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """Cut ``deliveries`` as ingest does when they come faster than it commits."""
    commits, size = [list[Delivery]()], 0
    for delivery in deliveries:
        if len(commits[-1]) == MESSAGES_PER_COMMIT or size >= BYTES_PER_COMMIT:
            commits.append([])
            size = 0
        commits[-1].append(delivery)
        size += len(delivery.payload)
    return commits


def measure(places: Callable[[str], Where], messages: int, batch: int) -> list[Pair]:
    """Store a city commit by commit, each in turn through the ledger and as rows, into databases of their own."""
    deliveries = list(city(messages, batch, seed=1))
    contexts, commits = deliveries[:BOXES], commits_of(deliveries[BOXES:])
    with opened(places("rehearsal")) as rehearsal:
        ledger = Ledger(rehearsal.writer)
        for commit in (contexts, *commits):
            ledger.store(commit)
        turns = list(turns_of(rehearsal.writer, commits))
    pairs = []
    with contextlib.ExitStack() as stack:
        ours, raw, plain = (stack.enter_context(opened(places(name))) for name in ("ours", "raw", "plain"))
        session = None if raw.address is None else stack.enter_context(postgresql.connect(raw.address))
        ledger = Ledger(ours.writer)
        ledger.store(contexts)
        for number, (commit, turn) in enumerate(zip(commits, turns, strict=True)):
            ways: list[Callable[[], object]] = [partial(ledger.store, commit)]
            if session is not None:
                ways.append(
                    partial(copy, session, [blocks_of(session, *one) for one in zip(COLUMNS, turn, strict=True)])
                )
            ways.append(partial(insert, plain.writer, turn))
            took = [0.0] * len(ways)
            for place in range(len(ways)):
                one = (place + number) % len(ways)  # none goes always first
                began_s = time.perf_counter()
                ways[one]()
                took[one] = time.perf_counter() - began_s
            pairs.append(Pair(len(turn[0]), took[0], took[1], took[-1]))
        check_same(ours.writer, (plain if session is None else raw).writer, messages)
    return pairs


@contextlib.contextmanager
def opened(where: Where) -> Iterator[Database]:
    """Open a database whose month is there, as it is for a fleet that has run for an hour."""
    with open_database(where, SystemClock()) as database:
        if database.address is not None:
            with postgresql.connect(database.address) as session:
                Partitions(session).make([month_of(STARTED_MS)])
        yield database


def insert(connection: Connection, turn: Turn) -> None:
    """Insert the rows of one commit in one transaction, by executemany."""
    connection.begin()
    cursor = connection.cursor()
    for table, rows in zip(COLUMNS, turn, strict=True):
        cursor.executemany(RAW[table], rows)
    connection.commit()


class Blocks(Writer):
    """Keeps what psycopg would send to one table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.kept: list[Buffer] = []

    def write(self, data: Buffer) -> None:
        """Take a block."""
        self.kept.append(data)


def blocks_of(session: psycopg.Connection[Any], table: str, rows: Sequence[tuple[object, ...]]) -> Blocks:
    """Return ``rows`` as binary COPY takes them."""
    found = session.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass", (table,)
    )
    types = dict(found.fetchall())
    blocks = Blocks(table)
    with session.cursor() as cursor, Copy(cursor, binary=True, writer=blocks) as copying:
        copying.set_types([types[column] for column in COLUMNS[table]])
        for row in rows:
            copying.write_row(row)
    return blocks


def copy(session: psycopg.Connection[Any], tables: Sequence[Blocks]) -> None:
    """Copy what was made of the rows of one commit, in one transaction."""
    session.execute("BEGIN")
    for blocks in tables:
        into = f"COPY {blocks.table} ({', '.join(COLUMNS[blocks.table])}) FROM STDIN (FORMAT BINARY)"
        with session.cursor() as cursor, cursor.copy(into.encode()) as copying:
            for block in blocks.kept:
                copying.write(block)
    session.execute("COMMIT")


def check_same(ours: Connection, raw: Connection, messages: int) -> None:
    """See that both hold the same windows, and all of them.

    Raises:
        AssertionError: They do not, so the figures compare nothing.
    """
    sums = "SELECT count(*), sum(person_lr), sum(truck_rl), sum(at_s), sum(position % 9999991) FROM crossing_windows"
    one, other = ours.execute(sums).fetchone(), raw.execute(sums).fetchone()
    if one != other or one[0] < messages:
        message = f"ours holds {one}, the raw insert {other}, of {messages} windows"
        raise AssertionError(message)


def turns_of(connection: Connection, commits: Sequence[Sequence[Delivery]]) -> Iterator[Turn]:
    """Yield the rows that each of ``commits`` became, in the order in which they came."""
    columns = ", ".join(f"crossing_windows.{name}" for name in WINDOW_COLUMNS)
    windows = {row[_POSITION]: row for row in connection.execute(f"SELECT {columns} FROM crossing_windows").fetchall()}  # noqa: S608 - our own names
    for commit in commits:
        records = list[tuple[object, ...]]()
        for delivery in commit:
            batch, box = decode_batch(delivery.payload), read_up_topic(delivery.topic).box
            records += connection.execute(
                _RECORDS_OF, (box, batch.stream, batch.first_seq, len(batch.records))
            ).fetchall()
        yield records, [windows[row[0]] for row in records]


def main() -> int:
    """Measure, print what it comes to, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=400_000, help="windows to store")
    parser.add_argument("--batch", type=int, default=50, help="windows in each message of the broker")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), help="both, if PostgreSQL is installed")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each")
    asked = parser.parse_args()
    fine = True
    engines = {"sqlite": ("sqlite",), "postgresql": ("postgresql",)}.get(asked.database, ("sqlite", "postgresql"))
    for engine in engines:
        if engine == "postgresql" and asked.database is None and programs_folder() is None:
            print("postgresql: not installed, not measured")
            continue
        with placing(engine) as places:
            fine &= report(engine, measure(places, asked.messages, asked.batch), as_json=asked.json)
    return 0 if fine else 1


@contextlib.contextmanager
def placing(engine: str) -> Iterator[Callable[[str], Where]]:
    """Give places for databases of that kind, on disks that are waited for."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="veilleur-ingest-") as folder:
            yield lambda name: Path(folder) / name
        return
    with postgresql_server(durable=True) as server, psycopg.connect(server.url(), autocommit=True) as session:

        def place(name: str) -> Where:
            session.execute(f"CREATE DATABASE {name}".encode())
            return postgresql.PostgresAddress.parse(server.url(name))

        yield place


def report(engine: str, pairs: Sequence[Pair], *, as_json: bool) -> bool:
    """Print what it came to, and tell whether both bars are met."""
    rate = statistics.median(one.messages / one.ours_s for one in pairs)
    raw_rate = statistics.median(one.messages / one.raw_s for one in pairs)
    ratio = statistics.median(one.raw_s / one.ours_s for one in pairs)
    beside = statistics.median(one.executemany_s / one.ours_s for one in pairs)
    fine = rate >= RATE_BAR and ratio >= RATIO_BAR
    if as_json:
        found = {"rate": rate, "raw_rate": raw_rate, "ratio": ratio, "of_executemany": beside, "commits": len(pairs)}
        print(json.dumps({"database": engine, **found, "ok": fine}))
        return fine
    way = "binary COPY of bytes made before" if engine == "postgresql" else "executemany"
    print(f"{engine}: {len(pairs)} commits of {pairs[0].messages:,} messages; raw insert ({way}) {raw_rate:,.0f}/s")
    if engine == "postgresql":
        print(f"{engine}: {beside:.2f} of executemany of the same rows (no bar)")
    verdict = "ok" if fine else "MISSED"
    print(
        f"{engine}: {rate:,.0f} messages/s durable (bar {RATE_BAR:,}), {ratio:.2f} of raw (bar {RATIO_BAR}): {verdict}"
    )
    return fine


if __name__ == "__main__":
    sys.exit(main())
