"""Ask the store how boxes, cameras and streams stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.messages import CameraState, Label, MessageClass, class_of_stream
from veilleur_fleet.store.tables import boxes, camera_health, cameras, lines, quarantine, streams

_HELD: Final = frozenset({CameraState.STOPPED.value, CameraState.FORBIDDEN.value})
SILENT_AFTER_MS: Final = 150_000
"""Two and a half of the minutes after which each camera speaks at the latest."""


@dataclass(frozen=True, slots=True)
class CameraStanding:
    """One camera, as it was last told.

    Attributes:
        camera_no: Its key.
        controller: Who answers for it.
        camera: Its name.
        insee: Its commune; None until a Context says it.
        box: The box that spoke of it last.
        box_heard_ms: When that box was last heard, of anything.
        labels: Labels counted.
        at_s: When it told its state; None: never.
        state: What it was doing then.
        fps_x10: Frames analysed per second then, times ten.
        reconnects: Since its eye started.
        lines: ``(line_no, line)`` of its lines.
        view_faults: Sum of ``ViewFault`` flags, as it was last told.
        held_s: Since when it has not been allowed to run, UTC, as far back as health is kept; None: it is allowed.
    """

    camera_no: int
    controller: str
    camera: str
    insee: str | None
    box: str
    box_heard_ms: int
    labels: tuple[Label, ...]
    at_s: int | None
    state: CameraState | None
    fps_x10: int | None
    reconnects: int | None
    lines: tuple[tuple[int, str], ...]
    view_faults: int = 0
    held_s: int | None = None


@dataclass(frozen=True, slots=True)
class StreamStanding:
    """One stream of one box: what is held of it."""

    box_no: int
    box: str
    controller: str
    stream: int
    kind: MessageClass
    upto: int
    ahead: tuple[tuple[int, int], ...]
    stored: int
    duplicates: int
    lost: int
    refused: int
    heard_ms: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole fleet in a few numbers.

    Attributes:
        cameras: Cameras ever named.
        cameras_live: Those that said they are live, lately.
        boxes: Boxes ever heard.
        boxes_heard: Those heard lately.
        quarantined: Records and messages that were refused.
        bench: Whether a box has said that it runs under the bench policy.
    """

    cameras: int
    cameras_live: int
    boxes: int
    boxes_heard: int
    quarantined: int
    bench: bool


def summary_of(connection: sa.Connection, now_ms: int) -> Summary:
    """Return the whole fleet in a few numbers."""
    since_ms = now_ms - SILENT_AFTER_MS

    def count(table: sa.TableClause, *where: sa.ColumnElement[bool]) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()

    live = (cameras.c.state == CameraState.LIVE.value, cameras.c.at_s >= since_ms // 1000)
    return Summary(
        count(cameras),
        count(cameras, *live),
        count(boxes),
        count(boxes, boxes.c.heard_ms >= since_ms),
        count(quarantine),
        bool(count(boxes, boxes.c.profile == "bench")),
    )


def cameras_of(connection: sa.Connection, wanted: str, first: int, at_most: int) -> tuple[list[CameraStanding], int]:
    """Return cameras whose name holds ``wanted``, by name from the ``first`` on, and how many there are in all."""
    where = cameras.c.camera.contains(wanted, autoescape=True) if wanted else sa.true()
    many = connection.execute(sa.select(sa.func.count()).select_from(cameras).where(where)).scalar_one()
    query = (
        sa.select(cameras, boxes.c.box, boxes.c.heard_ms)
        .join_from(cameras, boxes, cameras.c.box_no == boxes.c.box_no)
        .where(where)
        .order_by(cameras.c.controller, cameras.c.camera)
        .offset(first)
        .limit(at_most)
    )
    rows = connection.execute(query).all()
    its_lines = _lines_of(connection, [row.camera_no for row in rows])
    held = {row.camera_no: _held_since(connection, row) for row in rows if row.state in _HELD}
    return [_camera_of(row, its_lines.get(row.camera_no, ()), held.get(row.camera_no)) for row in rows], many


def streams_of(connection: sa.Connection, box: str | None, after: tuple[int, int], limit: int) -> list[StreamStanding]:
    """Return up to ``limit`` streams, of ``box`` or of all, after the key ``(box_no, stream)``."""
    query = sa.select(streams, boxes.c.box, boxes.c.controller).join_from(
        streams, boxes, streams.c.box_no == boxes.c.box_no
    )
    query = query.where(
        sa.tuple_(streams.c.box_no, streams.c.stream) > sa.tuple_(*(sa.literal(value) for value in after))
    )
    if box is not None:
        query = query.where(boxes.c.box == box)
    rows = connection.execute(query.order_by(streams.c.box_no, streams.c.stream).limit(limit))
    return [
        StreamStanding(
            row.box_no,
            row.box,
            row.controller,
            row.stream,
            class_of_stream(row.stream),
            row.upto,
            tuple(msgspec.json.decode(row.ahead, type=list[tuple[int, int]])),
            row.stored,
            row.duplicates,
            row.lost,
            row.refused,
            row.heard_ms,
        )
        for row in rows
    ]


def _lines_of(connection: sa.Connection, camera_nos: Sequence[int]) -> dict[int, tuple[tuple[int, str], ...]]:
    found: dict[int, tuple[tuple[int, str], ...]] = {}
    query = sa.select(lines).where(lines.c.camera_no.in_(camera_nos)).order_by(lines.c.line_no)
    for row in connection.execute(query):
        found[row.camera_no] = (*found.get(row.camera_no, ()), (row.line_no, row.line))
    return found


def _held_since(connection: sa.Connection, row: sa.Row[Any]) -> int | None:
    """Return when a camera said first that it is in the state it is still in."""
    its_own = camera_health.c.camera_no == row.camera_no
    before = sa.select(sa.func.max(camera_health.c.at_s)).where(its_own, camera_health.c.state != row.state)
    since = sa.select(sa.func.min(camera_health.c.at_s)).where(
        its_own, camera_health.c.at_s > sa.func.coalesce(before.scalar_subquery(), -1)
    )
    return connection.execute(since).scalar()


def _camera_of(row: sa.Row[Any], its_lines: tuple[tuple[int, str], ...], held_s: int | None = None) -> CameraStanding:
    return CameraStanding(
        row.camera_no,
        row.controller,
        row.camera,
        row.insee,
        row.box,
        row.heard_ms,
        tuple(label for label in Label if (row.counted or 0) >> label.value & 1),
        row.at_s,
        None if row.state is None else CameraState(row.state),
        row.fps_x10,
        row.reconnects,
        its_lines,
        row.view_faults or 0,
        held_s,
    )
