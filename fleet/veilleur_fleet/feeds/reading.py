"""Read the store for a feed, beside a fleet that runs: its lines, their windows, and what was rolled up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from veilleur_contracts.codec import decode_record
from veilleur_contracts.messages import AnyRecord, CrossingWindow, RollUp
from veilleur_contracts.policy import BENCH_DIGESTS
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.feeds.slots import RollUpKey, SeenWindow, Source
from veilleur_fleet.store import database
from veilleur_fleet.store.cameras import as_context
from veilleur_fleet.store.database import Where
from veilleur_fleet.store.kinds import TAG_OF
from veilleur_fleet.store.tables import CELL_COLUMNS, cameras, contexts, crossing_windows, lines, records


@dataclass(frozen=True, slots=True)
class CountedLine:
    """One line that has ever counted.

    Attributes:
        line_no: Its key.
        line: Its name.
        insee: Commune of its camera; None when no Context has said it.
        counted: Bit set of the labels counted now; 0 when the line is counted no more.
        started_s: Beginning of its first window, UTC.
    """

    line_no: int
    line: str
    insee: str | None
    counted: int
    started_s: int


def open_readers(where: Where) -> sa.Engine:
    """Open the database at ``where`` for reading only; the fleet may be running.

    Raises:
        StoreRejectedError: There is no database, or it cannot be read.
    """
    engine = database.open_readers(where)
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(cameras.c.context).limit(1))
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        message = f"cannot read {where}: {reason}; give the database of a fleet that has run at this version"
        raise StoreRejectedError(message) from None
    return engine


def lines_of(connection: sa.Connection, controller: str, camera: str) -> list[CountedLine]:
    """Return the lines of one camera that have any window, by name."""
    first = (
        sa.select(sa.func.min(crossing_windows.c.at_s))
        .where(crossing_windows.c.line_no == lines.c.line_no)
        .scalar_subquery()
    )
    query = (
        sa.select(
            lines.c.line_no, lines.c.line, cameras.c.insee, cameras.c.counted, contexts.c.raw, first.label("at_s")
        )
        .join_from(lines, cameras, cameras.c.camera_no == lines.c.camera_no)
        .outerjoin(contexts, sa.and_(contexts.c.box_no == cameras.c.box_no, contexts.c.number == cameras.c.context))
        .where(cameras.c.controller == controller, cameras.c.camera == camera)
        .order_by(lines.c.line)
    )
    return [
        CountedLine(row.line_no, row.line, row.insee, _counted_now(row.raw, row.line, row.counted), row.at_s)
        for row in connection.execute(query)
        if row.at_s is not None
    ]


def windows_of(connection: sa.Connection, line_no: int, from_s: int, to_s: int) -> Iterator[SeenWindow]:
    """Yield the windows of one line that began in ``[from_s, to_s)``, in time order."""
    windows = crossing_windows
    query = (
        sa.select(windows, records.c.box_no, records.c.raw)
        .join_from(windows, records, records.c.position == windows.c.position)
        .where(windows.c.line_no == line_no, windows.c.at_s >= from_s, windows.c.at_s < to_s)
        .order_by(windows.c.at_s, windows.c.position)
    )
    bench: dict[tuple[int, int], bool] = {}
    for row in connection.execute(query).mappings():
        window = _window_of(row)
        key = (window.source.box_no, window.source.context)
        if key not in bench:
            bench[key] = _is_bench(connection, *key)
        yield replace(window, is_bench=bench[key])


def roll_ups_of(
    connection: sa.Connection, box_nos: set[int], from_s: int, to_s: int
) -> dict[RollUpKey, list[int | None]]:
    """Return the roll-ups of ``box_nos`` over stretches that begin in ``[from_s, to_s)``.

    A line that changed boxes has windows of several. A roll-up told twice for the same cells is a list of two.
    """
    told: dict[RollUpKey, list[int | None]] = {}
    query = sa.select(records.c.box_no, records.c.raw).where(
        records.c.box_no.in_(sorted(box_nos)), records.c.tag == TAG_OF[RollUp]
    )
    for row in connection.execute(query.order_by(records.c.position)):
        record = decode_record(row.raw)
        if isinstance(record, RollUp) and from_s <= record.at_s < to_s:
            source = Source(row.box_no, record.context, record.line)
            key = (source, 2 * record.label + record.direction, record.at_s, record.window_s)
            told.setdefault(key, []).append(record.count)
    return told


def _window_of(row: Mapping[Any, Any]) -> SeenWindow:
    said: AnyRecord = decode_record(row["raw"])
    if not isinstance(said, CrossingWindow):
        message = "a row of crossing_windows points at another record"
        raise TypeError(message)
    return SeenWindow(
        Source(row["box_no"], said.context, said.line),
        row["at_s"],
        row["window_s"],
        row["coverage"],
        row["quality"],
        row["counted"],
        tuple(row[name] for name in CELL_COLUMNS),
    )


def _is_bench(connection: sa.Connection, box_no: int, number: int) -> bool:
    """Tell whether a Context says that its counts are made under the bench policy."""
    query = sa.select(contexts.c.raw).where(contexts.c.box_no == box_no, contexts.c.number == number)
    raw = connection.execute(query).scalar()
    return raw is not None and as_context(raw).policy in BENCH_DIGESTS


def _counted_now(raw: bytes | None, line: str, counted: int | None) -> int:
    """Return the labels that a street is counted for now; a bench counts no street."""
    context = None if raw is None else as_context(raw)
    if context is None or line not in context.lines or context.policy in BENCH_DIGESTS:
        return 0
    return counted or 0
