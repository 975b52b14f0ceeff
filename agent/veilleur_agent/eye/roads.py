"""Tell how a stretch of road stands, from its vehicles alone: how many pass, how long one is there, how many stand.

    Tracks in the zone ─▶ standing for 2 s? ─▶ times ──┐
    vehicles that have left ───────────────────────────┴─▶ Traffic of one window ─▶ level_after(the level before)

No speed limit and no calibration is needed: what tells a jam from a busy road is the share of the time that vehicles
spend standing. One that stands while others pass is parked, and no jam. Lengths come from the ground where the site
gives one, else from the 7.5 m that a standing vehicle takes (the usual jam spacing of traffic models).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.ground import Ground
from veilleur_contracts.messages import RoadLevel

STANDS_AFTER_MS: Final = 2_000
STANDS_WITHIN: Final = 0.15
"""Sizes of its box that a standing vehicle may seem to move: a box breathes."""
SPACING_M: Final = 7.5
VEHICLE_M: Final = 4.5
QUEUE_MS: Final = 5_000
"""A queue is as long as it was for this long."""
PARKED_MS: Final = 60_000
PARKED_SHARE: Final = 0.95
UNSEEN_MS: Final = 2_000
VEHICLES_MAX: Final = 1_024
"""Vehicles told apart in one window; beyond it they count together."""
WORSE_FROM: Final = {RoadLevel.SLOW: 0.15, RoadLevel.QUEUING: 0.40, RoadLevel.STATIONARY: 0.80}
"""Share of vehicle-time spent standing from which a road is that bad."""
BETTER_UNDER: Final = {RoadLevel.SLOW: 0.10, RoadLevel.QUEUING: 0.30, RoadLevel.STATIONARY: 0.65}
"""Share under which it is no longer: lower, so that it does not flap."""
HEAVY_FROM: Final = 0.60
LIGHT_UNDER: Final = 0.50
"""Share of the time that a vehicle is there from which a road that flows is heavy, and under which no longer."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one stretch of road saw in one window.

    Attributes:
        observed_ms: Time really observed.
        passed: Motor vehicles that left it.
        occupied: Share of the observed time that at least one was there, 0-1.
        standing: Share of the time spent there that vehicles spent standing, parked ones apart, 0-1.
        queue_m: Longest queue, metres.
    """

    observed_ms: int
    passed: int
    occupied: float
    standing: float
    queue_m: int

    @property
    def flow_per_h(self) -> int:
        """Vehicles per hour."""
        return round(self.passed * 3_600_000 / self.observed_ms) if self.observed_ms else 0


def level_after(before: RoadLevel, occupied: float, standing: float) -> RoadLevel:
    """Return the state of a road, given the one ``before``: it takes more to change it than to keep it.

    Args:
        before: State in the window before.
        occupied: Share of the time that a vehicle was there.
        standing: Share of the time spent there that was spent standing.
    """
    for level in (RoadLevel.STATIONARY, RoadLevel.QUEUING, RoadLevel.SLOW):
        if standing >= (BETTER_UNDER if before >= level else WORSE_FROM)[level]:
            return level
    is_heavy = occupied >= (LIGHT_UNDER if before >= RoadLevel.HEAVY else HEAVY_FROM)
    return RoadLevel.HEAVY if is_heavy else RoadLevel.FREE_FLOW


@dataclass(slots=True)
class _Anchor:
    """Where a vehicle was when it last moved."""

    place: Floats
    size: float
    since_ms: int
    seen_ms: int


class Standstill:
    """Tells which tracks stand. Holds the tracks of the last two seconds.

    A track id never leaves it, and is forgotten with its track.
    """

    def __init__(self) -> None:
        self._anchors: dict[int, _Anchor] = {}

    def watch(self, ids: Sequence[int], feet: Floats, sizes: Floats, at_ms: int) -> npt.NDArray[np.bool_]:
        """Return which of the vehicles seen in this frame have not moved for ``STANDS_AFTER_MS``.

        Args:
            ids: Of their tracks.
            feet: float64, shape ``(n, 2)``, in the unit of ``sizes``.
            sizes: float64, shape ``(n,)``.
            at_ms: UTC milliseconds.
        """
        stands = np.zeros(len(ids), np.bool_)
        for row, one in enumerate(ids):
            anchor = self._anchors.get(one)
            if anchor is None or float(np.hypot(*(feet[row] - anchor.place))) > STANDS_WITHIN * anchor.size:
                self._anchors[one] = _Anchor(feet[row], float(sizes[row]), at_ms, at_ms)
            else:
                anchor.seen_ms = at_ms
                stands[row] = at_ms - anchor.since_ms >= STANDS_AFTER_MS
        self._anchors = {one: a for one, a in self._anchors.items() if 0 <= at_ms - a.seen_ms <= UNSEEN_MS}
        return stands


@dataclass(slots=True)
class _Vehicle:
    there_ms: int = 0
    standing_ms: int = 0


@dataclass(slots=True)
class RoadMeter:
    """Adds up one window of one stretch of road; holds ``VEHICLES_MAX`` vehicles at most.

    Attributes:
        passed: Motor vehicles that have left it so far.
    """

    passed: int = 0
    _observed_ms: int = 0
    _occupied_ms: int = 0
    _vehicles: dict[int, _Vehicle] = field(default_factory=dict)
    _queue_ms: Counter[int] = field(default_factory=Counter)

    def add(self, ids: Sequence[int], stands: npt.NDArray[np.bool_], queue_m: int, passed_ms: int) -> None:
        """Take in who was there during the last ``passed_ms``, which of them stood, and how long their queue was."""
        self._observed_ms += passed_ms
        self._occupied_ms += passed_ms if len(ids) else 0
        if queue_m:
            self._queue_ms[queue_m] += passed_ms
        for one, is_standing in zip(ids, stands.tolist(), strict=True):
            key = one if one in self._vehicles or len(self._vehicles) < VEHICLES_MAX else -1
            vehicle = self._vehicles.setdefault(key, _Vehicle())
            vehicle.there_ms += passed_ms
            vehicle.standing_ms += passed_ms if is_standing else 0

    def traffic(self) -> Traffic:
        """Return what the window came to."""
        occupied = self._occupied_ms / self._observed_ms if self._observed_ms else 0.0
        return Traffic(self._observed_ms, self.passed, occupied, self._standing(), self._queue())

    def _standing(self) -> float:
        vehicles = list(self._vehicles.values())
        does_anyone_pass = any(2 * one.standing_ms < one.there_ms for one in vehicles)
        if does_anyone_pass:
            vehicles = [one for one in vehicles if not _is_parked(one)]
        there_ms = sum(one.there_ms for one in vehicles)
        return sum(one.standing_ms for one in vehicles) / there_ms if there_ms else 0.0

    def _queue(self) -> int:
        """Return the greatest length that was reached or passed for ``QUEUE_MS`` together."""
        spent_ms = 0
        for length_m, ms in sorted(self._queue_ms.items(), reverse=True):
            spent_ms += ms
            if spent_ms >= QUEUE_MS:
                return length_m
        return 0


def queue_of(feet: Floats, ground: Ground | None) -> int:
    """Return the length of the queue that standing vehicles make, metres; nought for one alone.

    Args:
        feet: float64, shape ``(n, 2)``, fractions of the frame.
        ground: Where the picture lies on the ground; None: every vehicle takes ``SPACING_M``.
    """
    if len(feet) < 2:  # noqa: PLR2004 - one vehicle waits, two are a queue
        return 0
    if ground is None:
        return round(len(feet) * SPACING_M)
    metres = ground.metres_of(feet)
    metres = metres[np.isfinite(metres).all(axis=1)]
    if len(metres) < 2:  # noqa: PLR2004 - one vehicle waits, two are a queue
        return 0
    apart = np.linalg.norm(metres[:, None] - metres[None], axis=2)
    return round(float(apart.max()) + VEHICLE_M)


def _is_parked(vehicle: _Vehicle) -> bool:
    return vehicle.there_ms >= PARKED_MS and vehicle.standing_ms >= PARKED_SHARE * vehicle.there_ms
