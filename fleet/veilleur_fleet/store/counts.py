"""Ask the store what was counted: window by window, summed, or along time. None is withheld, never 0."""

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from veilleur_contracts.messages import Direction, Label
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.store.tables import CELL_COLUMNS, cameras, crossing_windows, lines
from veilleur_fleet.store.validated import FactorsOf, factors_of

LIMIT_MAX: Final = 1000
_CURSOR: Final = struct.Struct(">qqq")
_EVERY_LABEL: Final = tuple(Label)
_OF_CAMERA: Final = (cameras.c.camera_no, cameras.c.camera, cameras.c.controller, cameras.c.insee)

Cells = dict[Label, dict[Direction, int | None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which windows are meant; None leaves a thing open.

    Attributes:
        controller: Who answers for the camera.
        camera: Its name.
        line: Name of the line.
        labels: Labels wanted.
        from_s: Windows that begin at or after this second.
        to_s: Windows that begin before this second.
        within: Only cameras in one of these areas.
    """

    controller: str | None = None
    camera: str | None = None
    line: str | None = None
    labels: tuple[Label, ...] = _EVERY_LABEL
    from_s: int | None = None
    to_s: int | None = None
    within: tuple["Area", ...] | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """Some cameras; an empty set leaves a thing open.

    Attributes:
        controllers: Who answers for them.
        communes: Where they are.
    """

    controllers: frozenset[str] = frozenset()
    communes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """One window of one line.

    Attributes:
        controller: Who answers for the camera.
        insee: Commune of the camera; None when no Context has said it.
        camera: The camera.
        line: The line.
        at_s: Its beginning, UTC.
        window_s: Its length.
        coverage: Percent of it that was really observed.
        fps_x10: Frames analysed per second, times ten.
        quality: Sum of ``Quality`` flags.
        cells: Counts of the labels that were counted; None is withheld.
        factors: How well its camera counts the labels that somebody has validated.
    """

    controller: str
    insee: str | None
    camera: str
    line: str
    at_s: int
    window_s: int
    coverage: int
    fps_x10: int
    quality: int
    cells: Cells
    factors: FactorsOf = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineTotal:
    """What many windows of one line come to.

    Attributes:
        line_no: Key of the line.
        controller: Who answers for the camera.
        camera: The camera.
        line: The line.
        windows: How many windows there are.
        first_s: Beginning of the first.
        observed_s: Seconds really observed.
        asked_s: Seconds that the windows span.
        cells: Sums of what was told; None when every window withheld it.
        withheld: How many windows withheld each cell.
        factors: How well its camera counts the labels that somebody has validated.
    """

    line_no: int
    controller: str
    camera: str
    line: str
    windows: int
    first_s: int
    observed_s: float
    asked_s: int
    cells: Cells
    withheld: dict[Label, dict[Direction, int]]
    factors: FactorsOf = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """All lines together during one stretch of time.

    Attributes:
        at_s: Its beginning, UTC.
        observed_s: Line-seconds really observed in it.
        labels: Crossings of each label in both directions; None when all of them are withheld.
        withheld: How many cells are withheld.
    """

    at_s: int
    observed_s: float
    labels: dict[Label, int | None]
    withheld: int


@dataclass(frozen=True, slots=True)
class Span:
    """How far some windows reach: beginning of the first, end of the last, length of the longest."""

    first_s: int
    end_s: int
    longest_s: int


def page_of(
    connection: sa.Connection, asked: Asked, limit: int, cursor: str | None
) -> tuple[list[WindowCounts], str | None]:
    """Return up to ``limit`` windows, line by line and each in time order, and the cursor of the rest.

    Raises:
        QueryRejectedError: The cursor is not one of ours.
    """
    windows = crossing_windows
    query = _joined(sa.select(windows, lines.c.line, *_OF_CAMERA), asked)
    if cursor is not None:
        after = sa.tuple_(*(sa.literal(value) for value in _read_cursor(cursor)))
        query = query.where(sa.tuple_(windows.c.line_no, windows.c.at_s, windows.c.position) > after)
    query = query.order_by(windows.c.line_no, windows.c.at_s, windows.c.position).limit(limit + 1)
    rows = connection.execute(query).mappings().all()
    more = len(rows) > limit
    rows = rows[:limit]
    factors = factors_of(connection, {row["camera_no"] for row in rows})
    page = [_window_of(row, asked.labels, factors.get(row["camera_no"], {})) for row in rows]
    return page, _cursor_of(rows[-1]) if more else None


def totals_of(connection: sa.Connection, asked: Asked, only_lines: Sequence[int] | None = None) -> list[LineTotal]:
    """Return the sums of each line, in order of its key; ``only_lines`` narrows to those keys."""
    windows = crossing_windows
    sums = [_summed(name) for name in CELL_COLUMNS] + [_withheld(name) for name in CELL_COLUMNS]
    query = _joined(
        sa.select(
            windows.c.line_no,
            cameras.c.camera_no,
            cameras.c.controller,
            cameras.c.camera,
            lines.c.line,
            sa.func.count().label("windows"),
            sa.func.min(windows.c.at_s).label("first_s"),
            sa.func.sum(windows.c.window_s * windows.c.coverage).label("observed"),
            sa.func.sum(windows.c.window_s).label("asked_s"),
            _any_bit().label("counted"),
            *sums,
        ),
        asked,
    )
    if only_lines is not None:
        query = query.where(windows.c.line_no.in_(only_lines))
    query = query.group_by(windows.c.line_no, cameras.c.camera_no, cameras.c.controller, cameras.c.camera, lines.c.line)
    rows = connection.execute(query.order_by(windows.c.line_no)).mappings().all()
    factors = factors_of(connection, {row["camera_no"] for row in rows})
    return [_total_of(row, asked.labels, factors.get(row["camera_no"], {})) for row in rows]


def latest_of(connection: sa.Connection, asked: Asked, line_nos: Sequence[int]) -> dict[int, WindowCounts]:
    """Return the newest window asked for of each line of ``line_nos`` that has one."""
    windows = crossing_windows
    newest = (
        _joined(sa.select(windows.c.line_no, sa.func.max(windows.c.at_s).label("at_s")), asked)
        .where(windows.c.line_no.in_(line_nos))
        .group_by(windows.c.line_no)
        .subquery()
    )
    query = _joined(sa.select(windows, lines.c.line, *_OF_CAMERA), asked).join(
        newest, sa.and_(windows.c.line_no == newest.c.line_no, windows.c.at_s == newest.c.at_s)
    )
    rows = connection.execute(query.order_by(windows.c.position)).mappings()
    return {row["line_no"]: _window_of(row, _EVERY_LABEL, {}) for row in rows}


def series_of(
    connection: sa.Connection, asked: Asked, slot_s: int, only_lines: Sequence[int] | None = None
) -> list[Slot]:
    """Return what all lines together counted in each slot of ``slot_s`` seconds that has any window, in order."""
    windows = crossing_windows
    slot = (windows.c.at_s // slot_s).label("slot")
    sums = [_summed(name) for name in CELL_COLUMNS] + [_withheld(name) for name in CELL_COLUMNS]
    query = _joined(
        sa.select(slot, sa.func.sum(windows.c.window_s * windows.c.coverage).label("observed"), *sums), asked
    )
    if only_lines is not None:
        query = query.where(windows.c.line_no.in_(only_lines))
    rows = connection.execute(query.group_by(slot).order_by(slot)).mappings()
    return [
        Slot(
            row["slot"] * slot_s,
            row["observed"] / 100,
            {label: _both_of(row, label) for label in asked.labels},
            sum(row[f"{name}_withheld"] for name in CELL_COLUMNS),
        )
        for row in rows
    ]


def span_of(connection: sa.Connection, asked: Asked, only_lines: Sequence[int] | None = None) -> Span | None:
    """Return how far the windows asked for reach; None when there is none."""
    windows = crossing_windows
    query = _joined(
        sa.select(
            sa.func.min(windows.c.at_s).label("first_s"),
            sa.func.max(windows.c.at_s + windows.c.window_s).label("end_s"),
            sa.func.max(windows.c.window_s).label("longest_s"),
        ),
        asked,
    )
    if only_lines is not None:
        query = query.where(windows.c.line_no.in_(only_lines))
    row = connection.execute(query).one()
    return None if row.first_s is None else Span(row.first_s, row.end_s, row.longest_s)


def _joined(query: sa.Select[Any], asked: Asked) -> sa.Select[Any]:
    windows = crossing_windows
    query = (
        query.select_from(windows)
        .join(lines, lines.c.line_no == windows.c.line_no)
        .join(cameras, cameras.c.camera_no == lines.c.camera_no)
    )
    wanted = [
        (cameras.c.controller, asked.controller),
        (cameras.c.camera, asked.camera),
        (lines.c.line, asked.line),
    ]
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    if asked.within is not None:
        query = query.where(sa.or_(sa.false(), *(_inside(area) for area in asked.within)))
    if asked.from_s is not None:
        query = query.where(windows.c.at_s >= asked.from_s)
    if asked.to_s is not None:
        query = query.where(windows.c.at_s < asked.to_s)
    return query


def _inside(area: Area) -> sa.ColumnElement[bool]:
    wanted = ((cameras.c.controller, area.controllers), (cameras.c.insee, area.communes))
    return sa.and_(sa.true(), *(column.in_(sorted(names)) for column, names in wanted if names))


def _summed(name: str) -> sa.Label[Any]:
    """Sum what was told; SQL's own ``sum`` of nothing but NULL is NULL, which is what withheld means here."""
    return sa.func.sum(crossing_windows.c[name]).label(name)


def _withheld(name: str) -> sa.Label[Any]:
    label_no = CELL_COLUMNS.index(name) // 2
    counted = crossing_windows.c.counted.op("&")(1 << label_no) != 0
    silent = sa.and_(crossing_windows.c[name].is_(None), counted)
    return sa.func.sum(sa.case((silent, 1), else_=0)).label(f"{name}_withheld")


def _any_bit() -> sa.ColumnElement[int]:
    """Return the bit set of labels that any window counted."""
    bits = [
        sa.func.max(crossing_windows.c.counted.op("&")(1 << label.value)).op("&")(1 << label.value) for label in Label
    ]
    total: sa.ColumnElement[int] = bits[0]
    for bit in bits[1:]:
        total = total + bit
    return total


def _window_of(row: Mapping[Any, Any], wanted: Sequence[Label], factors: FactorsOf) -> WindowCounts:
    return WindowCounts(
        row["controller"],
        row["insee"],
        row["camera"],
        row["line"],
        row["at_s"],
        row["window_s"],
        row["coverage"],
        row["fps_x10"],
        row["quality"],
        _cells_of(row, row["counted"], wanted),
        factors,
    )


def _total_of(row: Mapping[Any, Any], wanted: Sequence[Label], factors: FactorsOf) -> LineTotal:
    cells = _cells_of(row, row["counted"], wanted)
    withheld = {
        label: {
            Direction.LEFT_TO_RIGHT: row[f"{label.name.lower()}_lr_withheld"],
            Direction.RIGHT_TO_LEFT: row[f"{label.name.lower()}_rl_withheld"],
        }
        for label in cells
    }
    return LineTotal(
        row["line_no"],
        row["controller"],
        row["camera"],
        row["line"],
        row["windows"],
        row["first_s"],
        row["observed"] / 100,
        row["asked_s"],
        cells,
        withheld,
        factors,
    )


def _cells_of(row: Mapping[Any, Any], counted: int, wanted: Sequence[Label]) -> Cells:
    return {
        label: {
            Direction.LEFT_TO_RIGHT: row[f"{label.name.lower()}_lr"],
            Direction.RIGHT_TO_LEFT: row[f"{label.name.lower()}_rl"],
        }
        for label in wanted
        if counted >> label.value & 1
    }


def _both_of(row: Mapping[Any, Any], label: Label) -> int | None:
    both = [row[f"{label.name.lower()}_{way}"] for way in ("lr", "rl")]
    told = [count for count in both if count is not None]
    return sum(told) if told else None


def _cursor_of(row: Mapping[Any, Any]) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(row["line_no"], row["at_s"], row["position"])).decode("ascii")


def _read_cursor(cursor: str) -> tuple[int, int, int]:
    try:
        line_no, at_s, position = _CURSOR.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, struct.error):
        message = "the cursor is not one that this service gave: begin again without one"
        raise QueryRejectedError(message) from None
    return line_no, at_s, position
