"""Vehicles that stand in a zone longer than they may: places and times, never who.

    Tracks (vehicles) ─▶ places where a box has not moved ─▶ Stay (zone, label, since, until), told when it ends
                              ▲ bridged while hidden, kept over a restart

What stands is known by its box, not by a track id: ids change when a bus passes in front, and end after five minutes.
Only what was seen to arrive begins a stay: a bin that looks like a car never moved, and nobody knows since when a car
that was there before the eye opened has stood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.boxes import overlaps
from veilleur_agent.eye.polygons import Polygons
from veilleur_agent.eye.records import Tracks
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label

MOTOR: Final = (Label.CAR, Label.MOTORCYCLE, Label.BUS, Label.TRUCK)
IS_MOTOR: Final = np.isin(np.arange(len(Label)), MOTOR)
SAME_PLACE: Final = 0.6
"""Overlap with the box it stood in from which a vehicle has not moved: a step of a quarter of its length breaks it."""
SETTLED_MS: Final = 5_000
"""A place that did not hold this long was traffic."""
HIDDEN_MS: Final = 60_000
"""Observed time without a sighting after which it has left; a passing bus hides it for less."""
FOLLOW: Final = 0.1
"""How fast the box of a place follows what is seen there: a detector's box breathes, but who creeps gets away."""
PLACES_MAX: Final = 256
BEYOND: Final = 0.5
"""How far a box may reach out of the frame, fractions of it."""


class StaysRejectedError(RejectedError):
    """Checkpointed stays that cannot be read."""


@dataclass(frozen=True, slots=True)
class WatchedZone:
    """A zone in which vehicles may not stand.

    Attributes:
        index: Its place in the camera's list.
        polygon: float64, shape ``(n, 2)``, fractions of the frame.
        limit_ms: How long a vehicle may stand.
    """

    index: int
    polygon: npt.NDArray[np.float64]
    limit_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A vehicle that has stood in a zone longer than it may, and still does or just left.

    Attributes:
        zone: Index of the zone in the camera's list.
        label: What stands there.
        since_ms: When it came to a stop, UTC milliseconds.
        until_ms: When it was last seen there.
        over: Whether it has left.
    """

    zone: int
    label: Label
    since_ms: int
    until_ms: int
    over: bool


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A while that a vehicle stood in a zone beyond its limit.

    Attributes:
        zone: Index of the zone in the camera's list.
        label: What stood there.
        from_ms: UTC milliseconds.
        until_ms: UTC milliseconds.
    """

    zone: int
    label: Label
    from_ms: int
    until_ms: int


class _Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One box that has not moved: changes as it is seen again."""

    box: tuple[float, float, float, float]
    zone: Annotated[int, Meta(ge=0, le=63)]
    label: Annotated[int, Meta(ge=0, le=5)]
    since_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    seen_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    hidden_ms: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    told: bool = False
    booked_ms: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class Stays:
    """The places of one camera where vehicles stand. Holds at most ``PLACES_MAX``.

    Args:
        zones: Those with a limit; the first that holds a vehicle's foot is its zone.
    """

    def __init__(self, zones: Sequence[WatchedZone]) -> None:
        self._polygons = Polygons([zone.polygon for zone in zones])
        self._indices = [zone.index for zone in zones]
        self._limits = {zone.index: zone.limit_ms for zone in zones}
        self._places: list[_Place] = []
        self._last_ms: int | None = None

    def watch(self, tracks: Tracks, at_ms: int) -> list[Standing]:
        """Take one observed frame; return what has just passed its limit, and what has left after passing it.

        Args:
            tracks: All of the camera's; only motor vehicles seen in this very frame matter.
            at_ms: UTC milliseconds. Frames that were not observed (blind, quarantined) are not given.
        """
        passed_ms = 0 if self._last_ms is None else min(max(0, at_ms - self._last_ms), SETTLED_MS)
        self._last_ms = at_ms
        boxes, labels, zones, arrived = self._inside(tracks)
        new = self._renew(boxes, at_ms) & arrived
        self._open(boxes[new], labels[new], zones[new], at_ms)
        return self._told(at_ms, passed_ms)

    def over_limit(self) -> list[OverLimit]:
        """Return how long vehicles have stood beyond their limits since the last call, each while once.

        A while in which one was hidden is told when it is seen again; one in which nothing was observed is not.
        """
        found = []
        for one in self._places:
            from_ms = max(one.since_ms + self._limits[one.zone], one.booked_ms, one.seen_ms - HIDDEN_MS)
            if from_ms < one.seen_ms:
                found.append(OverLimit(one.zone, Label(one.label), from_ms, one.seen_ms))
                one.booked_ms = one.seen_ms
        return found

    def checkpoint(self) -> bytes:
        """Return the places as bytes: boxes and times."""
        return msgspec.msgpack.encode(self._places)

    def restore(self, data: bytes) -> None:
        """Take up the places of a checkpoint; they are bridged as if hidden meanwhile.

        Raises:
            StaysRejectedError: Damaged.
        """
        try:
            places = msgspec.msgpack.decode(data, type=Annotated[list[_Place], Meta(max_length=PLACES_MAX)])
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of standing vehicles is damaged; their time starts anew"
            raise StaysRejectedError(message) from None
        self._places = [one for one in places if one.zone in self._limits and _is_box(one.box)]

    def _inside(
        self, tracks: Tracks
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return boxes, labels, zones and ever-moved of the vehicles seen in a watched zone."""
        motor = tracks.seen & IS_MOTOR[tracks.labels]
        boxes, labels = tracks.boxes[motor].astype(np.float64), tracks.labels[motor]
        feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3] * 0.9 + boxes[:, 1] * 0.1], axis=1)
        zones = np.full(len(boxes), -1, np.int64)
        for index, here in zip(self._indices[::-1], self._polygons.holding(feet)[::-1], strict=True):
            zones[here] = index
        held = zones >= 0
        return boxes[held], labels[held], zones[held], tracks.moved[motor][held]

    def _renew(self, boxes: npt.NDArray[np.float64], at_ms: int) -> npt.NDArray[np.bool_]:
        """Give each place the box that covers it best; return which boxes stand nowhere yet."""
        unmatched = np.ones(len(boxes), bool)
        if not self._places or not len(boxes):
            return unmatched
        shared = overlaps(np.array([one.box for one in self._places]), boxes)
        while shared.size and shared.max() >= SAME_PLACE:
            place, box = np.unravel_index(int(shared.argmax()), shared.shape)
            one = self._places[place]
            followed = (1 - FOLLOW) * np.array(one.box) + FOLLOW * boxes[box]
            one.box = (float(followed[0]), float(followed[1]), float(followed[2]), float(followed[3]))
            one.seen_ms, one.hidden_ms = at_ms, 0
            unmatched[box] = False
            shared[place, :] = shared[:, box] = 0.0
        return unmatched

    def _open(
        self,
        boxes: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int8],
        zones: npt.NDArray[np.int64],
        at_ms: int,
    ) -> None:
        for box, label, zone in zip(boxes.tolist(), labels.tolist(), zones.tolist(), strict=True):
            if len(self._places) < PLACES_MAX:
                self._places.append(_Place(tuple(box), zone, label, at_ms, at_ms))

    def _told(self, at_ms: int, passed_ms: int) -> list[Standing]:
        told, kept = [], []
        for one in self._places:
            one.hidden_ms += 0 if one.seen_ms == at_ms else passed_ms
            settled = one.seen_ms - one.since_ms >= SETTLED_MS
            if one.hidden_ms > (HIDDEN_MS if settled else 2 * passed_ms):
                if one.told:
                    told.append(_standing(one, over=True))
                continue
            if not one.told and one.seen_ms - one.since_ms > self._limits[one.zone]:
                one.told = True
                told.append(_standing(one, over=False))
            kept.append(one)
        self._places = kept
        return told


def _standing(place: _Place, *, over: bool) -> Standing:
    return Standing(place.zone, Label(place.label), place.since_ms, place.seen_ms, over)


def _is_box(box: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = box
    return -BEYOND <= x1 < x2 <= 1 + BEYOND and -BEYOND <= y1 < y2 <= 1 + BEYOND
