"""A real box over a drawn street: what stands too long is in the fleet's store, with what was validated."""

import contextlib
import sqlite3

import httpx
import pytest

from journeys.town import Town, film_of, scenario_of, site_of
from veilleur_contracts.codec import decode_record
from veilleur_contracts.messages import (
    AnyRecord,
    EventKind,
    Label,
    ObjectWindow,
    OccupancyWindow,
    RoadState,
    StayWindow,
    StreetEvent,
    Validation,
)
from veilleur_simulator.processes import wait_until
from veilleur_simulator.scenario import User
from watch_builders import changed

pytestmark = pytest.mark.journey

PARKED = User("car", ((-18, 14.5), (0, 14.5), (18, 14.5)), enters_s=4, speed_mps=8.0, waits_s=(0, 22))
WATCHED = """
[camera.validated.car]
recall = 0.9
precision = 0.95
n = 200
[[camera.zone]]
id = "bay"
polygon = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.45], [0.3, 0.45]]
limit_s = 10
objects = true
road = true
"""
WITHIN_S = 90.0


def records_of(town: Town) -> list[AnyRecord]:
    with contextlib.closing(sqlite3.connect(f"{town.database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as store:
        return [decode_record(row[0]) for row in store.execute("SELECT raw FROM records ORDER BY position")]


def test_what_stands_too_long_is_in_the_store_as_statistic_event_and_road_state(town: Town) -> None:
    street = changed(scenario_of("street-stays"), seconds=38, fps=12.5, user=(PARKED,), dumped=(), light=(), zone=())
    site = site_of(str(film_of(street, town.folder)), extra=WATCHED)
    box = town.box(site)

    wait_until(
        lambda: any(isinstance(one, StreetEvent) for one in records_of(town)),
        WITHIN_S,
        "a standing vehicle in the store",
    )
    wait_until(lambda: town.total() >= 1, WITHIN_S, "its crossing in the store")
    box.end()
    records = records_of(town)
    (began,) = (one for one in records if isinstance(one, StreetEvent))
    assert (began.kind, began.over) == (EventKind.STANDING_VEHICLE, 0)
    assert 9 <= began.at_s - began.since_s <= 14
    over_s = sum(one.over_s for one in records if isinstance(one, StayWindow) and one.label == Label.CAR)
    assert 8 <= over_s <= 16, "22 s at 10 s of limit"
    assert any(isinstance(one, OccupancyWindow) and one.counts[2 * Label.CAR] == 1 for one in records)
    assert any(isinstance(one, ObjectWindow) for one in records)
    assert any(isinstance(one, RoadState) for one in records)
    assert [one.factors[6:9] for one in records if isinstance(one, Validation)] == [(900, 950, 200)]
    (window,) = [
        item
        for item in httpx.get(httpx.URL(town.page).join("/v1/counts?label=car"), timeout=10.0).json()["items"]
        if any(item["counts"]["car"].values())
    ]
    assert window["low"]["car"].keys() == window["high"]["car"].keys() == {"left_to_right", "right_to_left"}
    assert max(window["low"]["car"].values()) <= 1 <= max(window["high"]["car"].values())
