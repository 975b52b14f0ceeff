"""What really happened in a street, exactly: crossings, presence in zones, stays and speeds, from the paths alone.

            left            A road user's reference is its foot (people, two-wheelers) or its centre (motor vehicles).
      A ───────────▶ B      Its place on the frame times its depth is linear in time along a leg, so each leg crosses
            right           a line at most once, at a root in closed form; no sampling, no tolerance.

All of it is told for the street as it was before any nudge of the camera: that is what really happened.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import msgspec
import numpy as np

from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line, Zone
from veilleur_simulator.camera import Array, Pinhole
from veilleur_simulator.motion import SIZE_M, Journey, Leg, journeys_of
from veilleur_simulator.scenario import Scenario

CENTRED: Final = frozenset({Label.CAR, Label.BUS, Label.TRUCK})
"""Labels whose reference is the centre of their box; the others stand on their foot."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TrueCrossing:
    """One road user went over one line.

    Attributes:
        line: The line's id.
        label: What went over it.
        direction: Which way, standing at the first point and looking at the second.
        at_s: When, seconds of the scenario.
        speed_mps: How fast it went on the ground.
    """

    line: str
    label: Label
    direction: Direction
    at_s: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Presence:
    """One road user was in one zone from ``from_s`` to ``to_s``."""

    zone: str
    label: Label
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class TrueStay:
    """One road user stood still.

    Attributes:
        label: What stood.
        from_s: Since when.
        to_s: Until when.
        at: Its foot, fractions of the frame.
        zones: Ids of the zones its reference was in.
    """

    label: Label
    from_s: float
    to_s: float
    at: tuple[float, float]
    zones: tuple[str, ...]


def crossings_of(scenario: Scenario, lines: Sequence[Line]) -> list[TrueCrossing]:
    """Return every crossing of ``lines`` within the scenario's time, in order of time."""
    pinhole, end_s = scenario.pinhole(), scenario.street.seconds
    found: list[TrueCrossing] = []
    for journey in journeys_of(scenario):
        for line in lines:
            found += [one for one in _crossings(journey, line, pinhole) if one.at_s < end_s]
    return sorted(found, key=lambda one: one.at_s)


def tally_of(crossings: Iterable[TrueCrossing]) -> dict[str, dict[str, dict[str, int]]]:
    """Return line → label → direction → how many, in the form of ``veilleur-agent count --json``."""
    tally: dict[str, dict[str, dict[str, int]]] = {}
    for one in crossings:
        ways = tally.setdefault(one.line, {}).setdefault(
            one.label.name.lower(), {direction.name.lower(): 0 for direction in Direction}
        )
        ways[one.direction.name.lower()] += 1
    return tally


def presences_of(scenario: Scenario, zones: Sequence[Zone]) -> list[Presence]:
    """Return every presence in ``zones`` within the scenario's time, in order of time."""
    pinhole, end_s = scenario.pinhole(), scenario.street.seconds
    found: list[Presence] = []
    for journey in journeys_of(scenario):
        for zone in zones:
            spans = _joined(
                itertools.chain.from_iterable(_inside(leg, journey.label, zone, pinhole) for leg in journey.legs)
            )
            found += [Presence(zone.id, journey.label, t0, min(t1, end_s)) for t0, t1 in spans if t0 < end_s]
    return sorted(found, key=lambda one: one.from_s)


def occupancy_at(presences: Iterable[Presence], zone: str, at_s: float) -> int:
    """Return how many road users were in ``zone`` at ``at_s``."""
    return sum(one.zone == zone and one.from_s <= at_s < one.to_s for one in presences)


def stays_of(scenario: Scenario, zones: Sequence[Zone]) -> list[TrueStay]:
    """Return every time a road user stood still, in order of time."""
    pinhole, end_s = scenario.pinhole(), scenario.street.seconds
    found: list[TrueStay] = []
    for journey in journeys_of(scenario):
        for leg in journey.legs:
            if leg.start != leg.end or leg.from_s >= end_s:
                continue
            x, y, _ = pinhole.project(np.array([leg.start]))[0]
            inside = tuple(zone.id for zone in zones if list(_inside(leg, journey.label, zone, pinhole)))
            found.append(TrueStay(journey.label, leg.from_s, min(leg.to_s, end_s), (float(x), float(y)), inside))
    return sorted(found, key=lambda one: one.from_s)


def truth_of(scenario: Scenario) -> bytes:
    """Return all that is true of ``scenario`` as one JSON object, for the lines and zones it names."""
    crossings = crossings_of(scenario, scenario.line)
    corners = np.array([[0.2, 0.95], [0.8, 0.95], [0.7, 0.6], [0.3, 0.6]])
    document = {
        "scenario": scenario.street.name,
        "seconds": scenario.street.seconds,
        "lines": tally_of(crossings),
        "crossings": [_told(one) for one in crossings],
        "presences": [_told(one) for one in presences_of(scenario, scenario.zone)],
        "stays": [_told(one) for one in stays_of(scenario, scenario.zone)],
        "dumped": scenario.dumped,
        "nudges": scenario.nudge,
        "ground": {"image": corners.tolist(), "metres": scenario.pinhole().unproject(corners).tolist()},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _told(one: TrueCrossing | Presence | TrueStay) -> dict[str, object]:
    """Return the fields of ``one`` with labels and directions by name."""
    fields = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    return {name: value.name.lower() if isinstance(value, IntEnum) else value for name, value in fields.items()}


def _reference(leg: Leg, label: Label, pinhole: Pinhole) -> Array:
    """Return (x·w, y·w, w) of the reference at both ends of ``leg``: float64, shape ``(2, 3)``."""
    ends = np.array([[*leg.start, 1.0], [*leg.end, 1.0]]) @ pinhole.homography().T
    if label in CENTRED:
        ends[:, 1] -= SIZE_M[label][1] / 2 * pinhole.focal_px / pinhole.height
    return np.asarray(ends, dtype=np.float64)


def _sides(ends: Array, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Return the signed area spanned with a → b at both ends, times depth: negative left, positive right."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    side = dx * (ends[:, 1] - a[1] * ends[:, 2]) - dy * (ends[:, 0] - a[0] * ends[:, 2])
    return float(side[0]), float(side[1])


def _along(point: Array, a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return where ``point`` (x·w, y·w, w) stands along a → b: 0 at a, 1 at b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    x, y = float(point[0] / point[2]) - a[0], float(point[1] / point[2]) - a[1]
    return (x * dx + y * dy) / (dx * dx + dy * dy)


def _crossings(journey: Journey, line: Line, pinhole: Pinhole) -> Iterator[TrueCrossing]:
    """Follow the side from leg to leg; standing on the line is still the side one came from."""
    last = 0.0
    for leg in journey.legs:
        ends = _reference(leg, journey.label, pinhole)
        before, after = _sides(ends, line.start, line.end)
        came_from = before or last
        if came_from * after < 0.0:
            share = before / (before - after)
            if 0.0 <= _along(ends[0] + (ends[1] - ends[0]) * share, line.start, line.end) <= 1.0:
                direction = Direction.LEFT_TO_RIGHT if after > 0.0 else Direction.RIGHT_TO_LEFT
                at_s = leg.from_s + (leg.to_s - leg.from_s) * share
                yield TrueCrossing(line.id, journey.label, direction, at_s, leg.speed_mps)
        last = after or came_from


def _inside(leg: Leg, label: Label, zone: Zone, pinhole: Pinhole) -> Iterator[Span]:
    """Cut ``leg`` where it goes over the zone's edges and keep the pieces whose middle is inside."""
    ends = _reference(leg, label, pinhole)
    cuts = {0.0, 1.0}
    for a, b in _edges(zone):
        before, after = _sides(ends, a, b)
        if before * after < 0.0:
            share = before / (before - after)
            if 0.0 <= _along(ends[0] + (ends[1] - ends[0]) * share, a, b) <= 1.0:
                cuts.add(share)
    for first, second in itertools.pairwise(sorted(cuts)):
        if _holds(zone, ends[0] + (ends[1] - ends[0]) * (first + second) / 2):
            length_s = leg.to_s - leg.from_s
            yield leg.from_s + first * length_s, leg.from_s + second * length_s


def _holds(zone: Zone, point: Array) -> bool:
    """Tell whether ``point`` (x·w, y·w, w) lies in the polygon: an upward ray meets its edges oddly often."""
    x, y = float(point[0] / point[2]), float(point[1] / point[2])
    odd = False
    for (ax, ay), (bx, by) in _edges(zone):
        if (ax > x) != (bx > x) and y < ay + (x - ax) / (bx - ax) * (by - ay):
            odd = not odd
    return odd


def _edges(zone: Zone) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    yield from zip(zone.polygon, (*zone.polygon[1:], zone.polygon[0]), strict=True)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Join spans that touch: a road user who changes leg inside a zone has not left it."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span[0] <= joined[-1][1] + 1e-9:
            joined[-1] = (joined[-1][0], max(span[1], joined[-1][1]))
        else:
            joined.append(span)
    return joined
