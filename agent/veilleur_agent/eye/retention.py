"""Say which kept days must go: a pure function of what lies there, what is allowed, what is frozen, and a reckoning.

    clock, right or wrong ──reckon──▶ Reckoning ───┐
    what lies there: Lain(camera, day, births) ────┼──doomed_of──▶ Doomed(camera, day, why)
    days allowed by camera · Freeze(until) ────────┘

Ages are read off a reckoning that never goes back: it runs with the machine, and takes from the clock only how much
later it says it is. A clock set back therefore extends nothing, and one set forward makes everything older at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.policy_document import RETENTION_DAYS_MAX

DAY_MS: Final = 86_400_000
LOOKED_AT_MS: Final = 3_600_000
"""Days are looked at hourly, so they go within the hour before their limit and never after it."""
JUMP_MS: Final = 3_600_000
"""A clock that is set by more is told of."""
ABSENCE_MAX_MS: Final = 90 * DAY_MS
"""A machine switched off for longer is not believed to have been, where a freeze is concerned."""
SHAKEN_MS: Final = 7 * DAY_MS
"""Time to set a clock right after it has sprung forward, before what it says ends a freeze."""
FREEZE_DAYS_MAX: Final = 366

CameraDay = tuple[str, date]
Instant = Annotated[int, Meta(ge=0, le=1 << 53)]


class Reckoning(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is known of time; milliseconds.

    Attributes:
        aged: The reckoning that ages are read off; never goes back, and springs forward with the clock.
        lived: The same without what the clock sprang forward by: what freezes are counted in at most.
        dated: The date that is believed, since 1970.
        wall: What the clock said last, since 1970.
        is_set: Whether a time source held the clock then.
        shaken: ``aged`` when the clock last sprang forward, None when it never did.
    """

    aged: Instant
    lived: Instant
    dated: Instant
    wall: Instant
    is_set: bool
    shaken: Instant | None = None


@dataclass(frozen=True, slots=True)
class Lain:
    """One camera's day, as it lies in the store.

    Attributes:
        camera: Which camera.
        day: Which day, UTC.
        births: ``aged`` and ``lived`` when its first picture was kept; None when its key is gone or damaged.
    """

    camera: str
    day: date
    births: tuple[int, int] | None


class Why(StrEnum):
    """Why a day goes."""

    OLD = "old"
    NOT_ALLOWED = "not-allowed"
    KEY_GONE = "key-gone"


@dataclass(frozen=True, slots=True)
class Doomed:
    """A day that must go now."""

    camera: str
    day: date
    why: Why


def begin(wall_ms: int, lain: Iterable[Lain] = (), *, is_set: bool) -> Reckoning:
    """Return the reckoning of a store that has none: no day in it is younger than nothing."""
    births = [one.births for one in lain if one.births is not None]
    aged = max((aged for aged, _ in births), default=0)
    lived = max((lived for _, lived in births), default=0)
    return Reckoning(max(wall_ms, aged), max(wall_ms, lived), wall_ms, wall_ms, is_set)


def reckon(before: Reckoning, wall_ms: int, elapsed_ms: int, *, is_set: bool, is_running: bool = True) -> Reckoning:
    """Take in what the clock says now.

    Args:
        before: The reckoning so far.
        wall_ms: The clock, since 1970.
        elapsed_ms: How long the machine has run since; 0 after a start, when nobody knows.
        is_set: Whether a time source holds the clock.
        is_running: Whether the same process reckoned before.
    """
    ahead = max(elapsed_ms, wall_ms - before.dated)
    was_known = is_running and before.is_set
    is_spring = ahead - elapsed_ms > (JUMP_MS if was_known else ABSENCE_MAX_MS)
    aged = before.aged + ahead
    return Reckoning(
        aged=aged,
        lived=before.lived + (elapsed_ms if is_spring else ahead),
        dated=wall_ms if is_set else max(before.dated + elapsed_ms, wall_ms),
        wall=wall_ms,
        is_set=is_set,
        shaken=aged if is_spring else before.shaken,
    )


def jump_ms_of(before: Reckoning, wall_ms: int, elapsed_ms: int, *, is_running: bool = True) -> int:
    """Return by how much the clock was set, 0 when it was not; while the machine was off, it can only be seen back."""
    by_ms = wall_ms - before.wall - elapsed_ms
    most_ms = JUMP_MS if is_running else ABSENCE_MAX_MS
    return by_ms if not -JUMP_MS <= by_ms <= most_ms else 0


def doomed_of(
    lain: Iterable[Lain], allowed: Mapping[str, int], frozen: Mapping[CameraDay, date], now: Reckoning
) -> tuple[Doomed, ...]:
    """Return the days that must go, oldest day first.

    Args:
        lain: What lies in the store.
        allowed: Days that each camera's pictures may be kept; none for a camera that is not named.
        frozen: Last day of each freeze.
        now: The reckoning.
    """
    found = []
    for one in lain:
        why = _why(one, allowed.get(one.camera, 0), now)
        until = frozen.get((one.camera, one.day))
        is_held = until is not None and why is not Why.KEY_GONE and not is_over(one, until, now)
        if why is not None and not is_held:
            found.append(Doomed(one.camera, one.day, why))
    return tuple(sorted(found, key=lambda doomed: (doomed.day, doomed.camera)))


def life_ms_of(days: int) -> int:
    """Return the age at which a day must go that may be kept for ``days``: whatever they say, no more than 15."""
    return min(days, RETENTION_DAYS_MAX) * DAY_MS - LOOKED_AT_MS


def is_over(one: Lain, until: date, now: Reckoning) -> bool:
    """Tell whether a freeze up to and with ``until`` has ended: by the date, or by the time that was really lived."""
    if one.births is None:
        return True
    longest = min(until - one.day, timedelta(days=FREEZE_DAYS_MAX + RETENTION_DAYS_MAX)) + timedelta(days=2)
    if now.lived - one.births[1] >= longest / timedelta(milliseconds=1):
        return True
    is_calm = now.shaken is None or now.aged - now.shaken >= SHAKEN_MS
    return is_calm and now.dated >= end_ms_of(until)


def end_ms_of(day: date) -> int:
    """Return when ``day`` ends, UTC milliseconds since 1970."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return int(midnight.timestamp() * 1000)


def _why(one: Lain, days: int, now: Reckoning) -> Why | None:
    if one.births is None:
        return Why.KEY_GONE
    if days <= 0:
        return Why.NOT_ALLOWED
    age_ms = now.aged - one.births[0]
    return None if 0 <= age_ms < life_ms_of(days) else Why.OLD
