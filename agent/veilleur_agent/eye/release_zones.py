"""The rules by which presence and speeds may leave the eye.

    Presence ─▶ cells 0 or ≥ k ─▶ OccupancyWindow, StayWindow      persons and cyclists 1..k-1 ─▶ nil
    speeds   ─▶ n ≥ least ──────▶ SpeedWindow                      fewer ─▶ nil

A median and a 90th percentile are no sums, and stays of a length are told once, so nothing here is rolled up: what is
withheld stays so. No total is told from which a withheld cell could be worked out.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from veilleur_agent.eye.presence import Presence
from veilleur_agent.eye.speeds import percentiles_of
from veilleur_agent.eye.windows import Window
from veilleur_contracts.messages import Label, MessageClass, OccupancyWindow, SpeedWindow, StayWindow
from veilleur_contracts.policy import PERSON_LABELS, Permissions


def occupancy_records(
    context: int, window: Window, presence: Presence, labels: Sequence[Label], permissions: Permissions
) -> list[OccupancyWindow]:
    """Return how many were in each zone at a time; one record per zone, nil where nothing was observed."""
    if MessageClass.STATISTICS not in permissions.classes:
        return []
    records = []
    for zone in range(presence.median.shape[0]):
        cells = []
        for place, label in enumerate(labels):
            for value in (int(presence.median[zone, place]), int(presence.p90[zone, place])):
                is_known = window.counts is not None and value >= 0
                cells.append(_told(label, value, permissions) if is_known else None)
        records.append(OccupancyWindow(context, *_span(window), zone, *_worth(window), tuple(cells)))
    return records


def stay_records(
    context: int,
    window: Window,
    presence: Presence,
    labels: Sequence[Label],
    permissions: Permissions,
    *,
    over_s: Mapping[tuple[int, Label], int],
) -> list[StayWindow]:
    """Return the stays that ended, by length; one record per zone and label, none where nothing was observed.

    Args:
        context: Number of the Context the windows refer to.
        window: Whose span, coverage and quality they share.
        presence: What the zones held.
        labels: Labels measured, in wire order.
        permissions: What the policy in force allows.
        over_s: Seconds that vehicles stood beyond the limit, by zone and label; missing: none.
    """
    if MessageClass.STATISTICS not in permissions.classes or window.counts is None:
        return []
    return [
        StayWindow(
            context,
            *_span(window),
            zone,
            *_worth(window),
            int(label),
            tuple(_told(label, int(value), permissions) for value in presence.stays[zone, place]),
            over_s.get((zone, label), 0),
        )
        for zone, place in np.ndindex(presence.stays.shape[:2])
        for label in (labels[place],)
    ]


def speed_records(
    context: int,
    window: Window,
    speeds_kmh: Mapping[tuple[int, int], Sequence[float]],
    lines: Iterable[int],
    permissions: Permissions,
) -> list[SpeedWindow]:
    """Return the speeds over each of ``lines`` in each direction; none where nothing was observed.

    Args:
        context: Number of the Context the windows refer to.
        window: Whose span they share.
        speeds_kmh: Speeds of motor vehicles, by line and direction.
        lines: Indices of the lines whose speeds are told.
        permissions: What the policy in force allows.
    """
    if MessageClass.STATISTICS not in permissions.classes or window.counts is None:
        return []
    records = []
    for line in lines:
        for direction in (0, 1):
            speeds = speeds_kmh.get((line, direction), ())
            percentiles = percentiles_of(speeds, permissions.speed_cell_min)
            scaled = tuple(None if one is None else round(one * 10) for one in percentiles)
            records.append(SpeedWindow(context, *_span(window), line, direction, len(speeds), scaled))
    return records


def _told(label: Label, value: int, permissions: Permissions) -> int | None:
    is_small = 0 < value < permissions.person_cell_min
    return None if label in PERSON_LABELS and is_small else value


def _span(window: Window) -> tuple[int, int]:
    return window.start_ms // 1000, window.length_ms // 1000


def _worth(window: Window) -> tuple[int, int]:
    return int(window.coverage * 100), int(window.quality)
