"""What one look at the fleet shows: read from the store in one go, decided here, drawn by the templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.messages import CameraState, Direction, Label, Quality, ViewFault
from veilleur_fleet.interval import interval_of
from veilleur_fleet.store import counts, standing
from veilleur_fleet.web.chart import Chart, chart_of, slot_s_of

PERIODS_S: Final = {"1h": 3600, "24h": 86_400, "7d": 604_800}
CAMERAS_PER_PAGE: Final = 24
LATE_S: Final = 15
AHEAD_S: Final = 120


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader wants to see.

    Attributes:
        period: Key of ``PERIODS_S``.
        wanted: Part of a camera's name; empty: every camera.
        page: Page of cameras, from 0.
    """

    period: str = "24h"
    wanted: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class CellSight:
    """One count of the period.

    Attributes:
        told: Its sum; None: nothing to be said.
        withheld: How many windows withheld it.
        low: Least that really crossed, at 90 %; None when nobody has validated the label.
        high: Most that really crossed.
    """

    told: int | None
    withheld: int
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class LineSight:
    """One line of a camera.

    Attributes:
        line: Its name.
        rows: For each label counted: both directions.
        latest: Its newest window; None when there is none.
        observed: Whether the newest window was observed, and is not late.
        share: Share of the time since its first window that was really observed; None when there is no window.
        qualities: What to know of the newest window.
    """

    line: str
    rows: tuple[tuple[Label, dict[Direction, CellSight]], ...]
    latest: counts.WindowCounts | None
    observed: bool
    share: float | None
    qualities: tuple[Quality, ...]


@dataclass(frozen=True, slots=True)
class CameraSight:
    """One camera, as a reader should understand it.

    Attributes:
        standing: What it was told to be.
        state: Its state; None when nobody has spoken of it lately.
        observing: Whether counts can be trusted to move: it is live, heard of, and its windows are not late.
        since_s: Until when it was observed, UTC; None when it never was.
        lines: Its lines.
        faults: What is wrong with its view.
    """

    standing: standing.CameraStanding
    state: CameraState | None
    observing: bool
    since_s: int | None
    lines: tuple[LineSight, ...]
    faults: tuple[ViewFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything on the page."""

    scope: Scope
    now_s: int
    summary: standing.Summary
    cameras: tuple[CameraSight, ...]
    camera_count: int
    chart: Chart | None
    share: float | None

    @property
    def pages(self) -> int:
        """Return how many pages of cameras there are."""
        return max(1, -(-self.camera_count // CAMERAS_PER_PAGE))


def look(readers: sa.Engine, scope: Scope, now_ms: int) -> Sight:
    """Read what ``scope`` shows, in one transaction of the store."""
    now_s = now_ms // 1000
    # A box whose clock runs ahead must not make its street look observed until then.
    asked = counts.Asked(from_s=now_s - PERIODS_S[scope.period], to_s=now_s + AHEAD_S)
    with readers.connect() as connection:
        summary = standing.summary_of(connection, now_ms)
        cameras, many = standing.cameras_of(connection, scope.wanted, scope.page * CAMERAS_PER_PAGE, CAMERAS_PER_PAGE)
        line_nos = [line_no for camera in cameras for line_no, _ in camera.lines]
        totals = {total.line_no: total for total in counts.totals_of(connection, asked, line_nos)}
        latest = counts.latest_of(connection, counts.Asked(to_s=asked.to_s), line_nos)
        chart = _chart(connection, asked, line_nos if scope.wanted else None, now_s)
    sights = tuple(camera_sight(camera, totals, latest, now_ms) for camera in cameras)
    return Sight(scope, now_s, summary, sights, many, chart, _share_of(sights))


def camera_sight(
    camera: standing.CameraStanding,
    totals: dict[int, counts.LineTotal],
    latest: dict[int, counts.WindowCounts],
    now_ms: int,
) -> CameraSight:
    """Decide what may be said of one camera at ``now_ms``."""
    now_s = now_ms // 1000
    lines = tuple(
        line_sight(line, totals.get(line_no), latest.get(line_no), camera.labels, now_s)
        for line_no, line in camera.lines
    )
    silent = camera.at_s is None or now_ms - camera.at_s * 1000 > standing.SILENT_AFTER_MS
    state = None if silent else camera.state
    ends = [line.latest.at_s + line.latest.window_s for line in lines if line.latest and line.latest.coverage]
    observing = state is CameraState.LIVE and all(line.observed for line in lines)
    faults = tuple(fault for fault in ViewFault if camera.view_faults & fault)
    return CameraSight(camera, state, observing, max(ends, default=None), lines, faults)


def line_sight(
    line: str,
    total: counts.LineTotal | None,
    latest: counts.WindowCounts | None,
    labels: Sequence[Label],
    now_s: int,
) -> LineSight:
    """Decide what may be said of one line at ``now_s``."""
    rows = tuple((label, {way: _cell_of(total, label, way) for way in Direction}) for label in labels)
    if latest is None:
        return LineSight(line, rows, None, observed=False, share=None, qualities=())
    late_s = now_s - (latest.at_s + latest.window_s)
    observed = latest.coverage > 0 and late_s <= latest.window_s + max(LATE_S, latest.window_s // 2)
    share = None if total is None else _share_of_line(total, latest.window_s, now_s)
    return LineSight(line, rows, latest, observed, share, tuple(flag for flag in Quality if latest.quality & flag))


def _cell_of(total: counts.LineTotal | None, label: Label, way: Direction) -> CellSight:
    if total is None or label not in total.cells or total.observed_s <= 0:
        return CellSight(None, 0)
    told, factors = total.cells[label][way], total.factors.get(label)
    bounds = None if told is None or factors is None else interval_of(told, factors)
    return CellSight(told, total.withheld[label][way], *(bounds or (None, None)))


def _share_of_line(total: counts.LineTotal, window_s: int, now_s: int) -> float:
    """Return the share of the time since the first window that was observed; the open window is not held against it."""
    expected_s = max(total.asked_s, now_s - total.first_s - 2 * window_s - LATE_S)
    return min(1.0, total.observed_s / expected_s)


def _share_of(cameras: Sequence[CameraSight]) -> float | None:
    shares = [line.share for camera in cameras for line in camera.lines if line.share is not None]
    return sum(shares) / len(shares) if shares else None


def _chart(connection: sa.Connection, asked: counts.Asked, line_nos: Sequence[int] | None, now_s: int) -> Chart | None:
    span = counts.span_of(connection, asked, line_nos)
    if span is None:
        return None
    # A street that fell silent must be seen to have done so: the chart goes on to now, but for the open window.
    end_s = max(span.end_s, now_s - span.longest_s - LATE_S)
    slot_s = slot_s_of(counts.Span(span.first_s, end_s, span.longest_s))
    slots = counts.series_of(connection, asked, slot_s, line_nos)
    seen = [label for label in Label if any(slot.labels.get(label) is not None for slot in slots)]
    return chart_of(slots, slot_s, end_s, seen)
