"""What is known of cameras: which lines a Context gives them, and what they are doing.

Context ──learn──▶ cameras · lines · contexts ──Known──▶ row_of(window) ──▶ crossing_windows
Validation ──validate──▶ validations          CameraHealth, ViewAlarm ──▶ cameras
"""

from dataclasses import dataclass
from typing import Final

from veilleur_contracts.codec import context_number_of, decode_record
from veilleur_contracts.messages import (
    CameraHealth,
    Context,
    CrossingWindow,
    EventKind,
    Label,
    ObjectWindow,
    OccupancyWindow,
    RoadState,
    RollUp,
    SpeedWindow,
    StayWindow,
    StreetEvent,
    Validation,
    ViewAlarm,
)
from veilleur_fleet.store.boxes import BoxRow
from veilleur_fleet.store.connection import Cursor
from veilleur_fleet.store.kinds import OfContext

CAMERAS_PER_BOX_MAX: Final = 256
LINES_PER_CAMERA_MAX: Final = 256
CONTEXTS_PER_BOX_MAX: Final = 20_000
"""Bounds on what one box may make us remember for ever; ordinary sites stay a hundred times below."""
KNOWN_MAX: Final = 20_000
HEALTH_KEPT_MS: Final = 7 * 86_400_000
FORGET_HEALTH: Final = (
    # Nothing is of later than it was received, so the time leaves none out, and the key finds the rows: without, the
    # history of a city's week (12 million rows) would be read each hour while boxes wait.
    "DELETE FROM camera_health WHERE camera_no IN (SELECT camera_no FROM cameras) AND at_s <= ? AND received_ms < ?"
)
FACTORS: Final = 3
"""Recall, precision and crossings of each label, in a Validation."""
_CELLS: Final = 2 * len(Label)
_EVERY_LABEL: Final = tuple(range(len(Label)))
_CAMERA_NO: Final = "SELECT camera_no FROM cameras WHERE controller = ? AND camera = ?"

WINDOW_COLUMNS: Final = (
    *("line_no", "at_s", "position", "window_s", "coverage", "fps_x10", "quality", "counted"),
    *(f"{label.name.lower()}_{way}" for label in Label for way in ("lr", "rl")),
)

WindowRow = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A Context, ready to turn windows into rows.

    Attributes:
        camera_no: Its camera.
        line_nos: Keys of its lines, in the Context's order.
        counted: Bit set of the labels counted.
        cells: For each count of a window, its place among the twelve of a row; None when they are already in order.
        cells_wanted: How many counts a window of this Context must have.
        labels: Labels counted, in order.
        zones: How many zones it names.
    """

    camera_no: int
    line_nos: tuple[int, ...]
    counted: int
    cells: tuple[int, ...] | None
    cells_wanted: int
    labels: tuple[int, ...]
    zones: int

    def fits(self, window: CrossingWindow) -> bool:
        """Tell whether ``window`` is of a line of this Context, with two counts for each label."""
        return len(window.counts) == self.cells_wanted and window.line < len(self.line_nos)

    def holds(self, record: OfContext) -> bool:
        """Tell whether ``record`` speaks of lines, zones and labels that this Context names."""
        lines = len(self.line_nos)
        match record:
            case CrossingWindow():
                fits = self.fits(record)
            case RollUp(line=line, label=label):
                fits = line < lines and label in self.labels
            case OccupancyWindow(zone=zone, counts=counts):
                fits = zone < self.zones and len(counts) == self.cells_wanted
            case StayWindow(zone=zone, label=label):
                fits = zone < self.zones and label in self.labels
            case SpeedWindow(line=line):
                fits = line < lines
            case StreetEvent(kind=EventKind.WRONG_WAY, place=line):
                fits = line < lines
            case ObjectWindow(zone=zone) | RoadState(zone=zone) | StreetEvent(place=zone):
                fits = zone < self.zones
            case Validation(factors=factors):
                fits = len(factors) == FACTORS * len(self.labels)
        return fits

    def row_of(self, window: CrossingWindow, position: int) -> WindowRow:
        """Return the row of a ``window`` that fits, columns as ``WINDOW_COLUMNS``."""
        counts = window.counts
        if self.cells is not None:
            counts = _spread(counts, self.cells)
        return (
            self.line_nos[window.line],
            window.at_s,
            position,
            window.window_s,
            window.coverage,
            window.fps_x10,
            window.quality,
            self.counted,
            *counts,
        )


class Cameras:
    """Rows of ``cameras``, ``lines``, ``contexts`` and ``camera_health``; keeps ``KNOWN_MAX`` Contexts in mind."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._known: dict[tuple[int, int], Known] = {}

    def forget(self) -> None:
        """Read everything again: the transaction was rolled back."""
        self._known.clear()

    def known(self, box_no: int, number: int) -> Known | None:
        """Return what ``box_no`` said under ``number``; None when it has not said it yet."""
        known = self._known.get((box_no, number))
        if known is None:
            found = self._cursor.execute(
                "SELECT camera_no, raw FROM contexts WHERE box_no = ? AND number = ?", (box_no, number)
            ).fetchone()
            if found is None:
                return None
            known = self._remember(box_no, number, found[0], found[1])
        return known

    def learn(self, box: BoxRow, context: Context, raw: bytes, received_ms: int, *, again: bool) -> str | None:
        """Take in a Context; return why it is refused, or None.

        It is in force from now on; when it comes ``again``, only if its camera has been given no newer one since.
        """
        number = context_number_of(context)
        held = self._cursor.execute(
            "SELECT raw FROM contexts WHERE box_no = ? AND number = ?", (box.box_no, number)
        ).fetchone()
        if held is not None and held[0] != raw:
            return "another Context of this box has the same number"
        if sorted(set(context.labels)) != list(context.labels) or len(set(context.lines)) != len(context.lines):
            return "a Context whose labels are not in order, or which names a line twice"
        if held is None and self._count("contexts", box.box_no) >= CONTEXTS_PER_BOX_MAX:
            return "this box has sent too many Contexts"
        camera_no = self._camera(box, context.camera)
        if camera_no is None:
            return "this box has named too many cameras"
        if self._lines_after(camera_no, context.lines) > LINES_PER_CAMERA_MAX:
            return "this camera has had too many lines"
        if not (again and self._has_newer(box, camera_no, received_ms)):
            self._put_in_force(box, context, number, camera_no)
        self._cursor.executemany(
            "INSERT INTO lines (camera_no, line) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(camera_no, line) for line in context.lines],
        )
        if held is None:
            self._cursor.execute(
                "INSERT INTO contexts (box_no, number, camera_no, received_ms, raw) VALUES (?, ?, ?, ?, ?)",
                (box.box_no, number, camera_no, received_ms, raw),
            )
        return None

    def health(self, box: BoxRow, health: CameraHealth, received_ms: int) -> str | None:
        """Take in what a camera is doing; return why it is refused, or None."""
        camera_no = self._camera(box, health.camera)
        if camera_no is None:
            return "this box has named too many cameras"
        # A box whose clock runs ahead must not freeze its cameras' state until then.
        at_s = min(health.at_s, received_ms // 1000)
        said = (health.state, health.fps_x10, health.reconnects, health.frames_dropped)
        self._cursor.execute(
            "INSERT INTO camera_health VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (camera_no, at_s, received_ms, *said),
        )
        self._cursor.execute(
            "UPDATE cameras SET box_no = ?, at_s = ?, state = ?, fps_x10 = ?, reconnects = ?, frames_dropped = ?"
            " WHERE camera_no = ? AND (at_s IS NULL OR at_s <= ?)",
            (box.box_no, at_s, *said, camera_no, at_s),
        )
        return None

    def view(self, box: BoxRow, alarm: ViewAlarm, received_ms: int) -> str | None:
        """Take in what is wrong with a camera's view; return why it is refused, or None."""
        camera_no = self._camera(box, alarm.camera)
        if camera_no is None:
            return "this box has named too many cameras"
        at_s = min(alarm.at_s, received_ms // 1000)
        self._cursor.execute(
            "UPDATE cameras SET view_at_s = ?, view_faults = ?"
            " WHERE camera_no = ? AND (view_at_s IS NULL OR view_at_s <= ?)",
            (at_s, alarm.faults, camera_no, at_s),
        )
        return None

    def validate(self, known: Known, validation: Validation) -> None:
        """Take in how well the labels of a camera are counted, if it is the Context in force that says so."""
        found = self._cursor.execute(
            "SELECT 1 FROM cameras WHERE camera_no = ? AND context = ?", (known.camera_no, validation.context)
        ).fetchone()
        if found is None:
            return
        self._cursor.execute("DELETE FROM validations WHERE camera_no = ?", (known.camera_no,))
        rows = zip(known.labels, *(validation.factors[place::FACTORS] for place in range(FACTORS)), strict=True)
        self._cursor.executemany(
            "INSERT INTO validations VALUES (?, ?, ?, ?, ?)",
            [(known.camera_no, *row) for row in rows if None not in row],
        )

    def forget_health_before(self, received_ms: int) -> int:
        """Delete the history of health received before; return how many rows went."""
        self._cursor.execute(FORGET_HEALTH, (received_ms // 1000, received_ms))
        return self._cursor.rowcount

    def _has_newer(self, box: BoxRow, camera_no: int, received_ms: int) -> bool:
        query = "SELECT 1 FROM contexts WHERE box_no = ? AND camera_no = ? AND received_ms > ?"
        return self._cursor.execute(query, (box.box_no, camera_no, received_ms)).fetchone() is not None

    def _put_in_force(self, box: BoxRow, context: Context, number: int, camera_no: int) -> None:
        self._cursor.execute(
            # what was validated under another Context says nothing of this one
            "DELETE FROM validations WHERE camera_no = (SELECT camera_no FROM cameras WHERE camera_no = ?"
            " AND context IS DISTINCT FROM ?)",
            (camera_no, number),
        )
        self._cursor.execute(
            "UPDATE cameras SET box_no = ?, insee = ?, counted = ?, context = ? WHERE camera_no = ?",
            (box.box_no, context.insee, _bits_of(context.labels), number, camera_no),
        )

    def _camera(self, box: BoxRow, camera: str) -> int | None:
        """Return the key of ``camera``, made if it is new; None when its box has named too many."""
        found = self._cursor.execute(_CAMERA_NO, (box.controller, camera)).fetchone()
        if found is None:
            if self._count("cameras", box.box_no) >= CAMERAS_PER_BOX_MAX:
                return None
            # Another worker may be naming it at this moment: a camera can move to a box of another shard.
            self._cursor.execute(
                "INSERT INTO cameras (controller, camera, box_no) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (box.controller, camera, box.box_no),
            )
            found = self._cursor.execute(_CAMERA_NO, (box.controller, camera)).fetchone()
        return int(found[0])

    def _remember(self, box_no: int, number: int, camera_no: int, raw: bytes) -> Known:
        context = as_context(raw)
        nos = dict(self._cursor.execute("SELECT line, line_no FROM lines WHERE camera_no = ?", (camera_no,)).fetchall())
        cells = None if context.labels == _EVERY_LABEL else _cells_of(context.labels)
        lines = tuple(nos[line] for line in context.lines)
        wanted, zones = 2 * len(context.labels), len(context.zones)
        known = Known(camera_no, lines, _bits_of(context.labels), cells, wanted, context.labels, zones)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[(box_no, number)] = known
        return known

    def _lines_after(self, camera_no: int, lines: tuple[str, ...]) -> int:
        held = {
            row[0]
            for row in self._cursor.execute("SELECT line FROM lines WHERE camera_no = ?", (camera_no,)).fetchall()
        }
        return len(held | set(lines))

    def _count(self, table: str, box_no: int) -> int:
        found = self._cursor.execute(
            f"SELECT count(*) FROM {table} WHERE box_no = ?",  # noqa: S608 - two names of our own
            (box_no,),
        ).fetchone()
        return int(found[0])


def as_context(raw: bytes) -> Context:
    """Read a Context that the store holds.

    Raises:
        TypeError: The bytes are another record: the store is not what we wrote.
    """
    record = decode_record(raw)
    if not isinstance(record, Context):
        message = "a row of contexts holds another record"
        raise TypeError(message)
    return record


def _bits_of(labels: tuple[int, ...]) -> int:
    return sum(1 << label for label in set(labels))


def _cells_of(labels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 * label + way for label in labels for way in (0, 1))


def _spread(counts: tuple[int | None, ...], cells: tuple[int, ...]) -> tuple[int | None, ...]:
    row: list[int | None] = [None] * _CELLS
    for cell, count in zip(cells, counts, strict=True):
        row[cell] = count
    return tuple(row)
