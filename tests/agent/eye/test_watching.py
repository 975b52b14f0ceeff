"""Everything a camera is watched for besides crossings: said where it may be, kept over a restart, bounded."""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from box_builders import HandClock
from eye_builders import a_frame, a_street, detections_of
from veilleur_agent.budget import EVENTS_AT_ONCE, EVENTS_PER_HOUR
from veilleur_agent.cli import app
from veilleur_agent.events import WATCHES, check_event
from veilleur_agent.eye.ground import GroundRejectedError
from veilleur_agent.eye.lookout import validation_of
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.records import Crossing, RawFrame, Tracks
from veilleur_agent.eye.watch_ways import wrong_ways
from veilleur_agent.eye.watching import EVENTS_MAX, Watching, watches_of
from veilleur_agent.eye.windows import Window
from veilleur_contracts.codec import decode_record, encode_record
from veilleur_contracts.messages import (
    Direction,
    EventKind,
    Label,
    ObjectWindow,
    OccupancyWindow,
    Quality,
    Record,
    SpeedWindow,
    StayWindow,
    StreetEvent,
    Validation,
)
from veilleur_contracts.policy import BENCH, STRICTEST, Permissions
from veilleur_contracts.site import Camera, Ground, Line, Validated, Zone

T0 = 1_790_000_400_000
FRAME = a_frame(a_street())
LOW = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
CORNERS = ((0.2, 0.95), (0.8, 0.95), (0.7, 0.6), (0.3, 0.6))
METRES = ((-2.0, 6.0), (2.0, 6.0), (3.0, 14.0), (-3.0, 14.0))
EVERYTHING = Camera(
    "gare",
    "30189",
    "/street.mp4",
    line=(Line("kerb", (0.5, 0.1), (0.5, 0.9), one_way="left_to_right"),),
    zone=(Zone("bay", LOW, limit_s=60, objects=True),),
    ground=Ground(CORNERS, METRES),
)
CAR = (0.2, 0.6, 0.4, 0.8)
NOBODY = Tracks(
    np.empty(0, np.int64),
    np.empty((0, 4), np.float32),
    np.empty(0, np.int8),
    np.empty(0, bool),
    np.empty(0, bool),
    np.empty((0, 4), np.float32),
    np.empty(0, np.int64),
)


def a_car(box: tuple[float, float, float, float] = CAR, track: int = 7) -> Tracks:
    corners = np.array([box], np.float32)
    yes = np.array([True])
    return Tracks(np.array([track]), corners, np.array([Label.CAR], np.int8), yes, yes, corners, np.array([T0]))


class Watcher:
    """A watching with its clock and its log."""

    def __init__(self, camera: Camera = EVERYTHING, permissions: Permissions = BENCH) -> None:
        self.clock = HandClock(T0)
        self.logged: list[tuple[str, dict[str, object]]] = []
        self.watching = Watching(camera, 7, 60, permissions, clock=self.clock, tell=self._tell)

    def _tell(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None, f"{event} would be dropped by box"
        self.logged.append((event, values))

    def see(self, second: float, tracks: Tracks, *crossings: Crossing, good: bool = True) -> None:
        frame = RawFrame(FRAME.camera, 0, T0 + round(second * 1000), FRAME.i420)
        step = Step(detections_of(), tracks, crossings)
        self.watching.take(frame, step, in_good_view=good)

    def stand(self, seconds: int, *, from_s: int = 0, good: bool = True) -> None:
        for second in range(from_s, from_s + seconds):
            self.see(second, a_car(), good=good)

    def records(self, minute: int) -> list[Record]:
        window = Window(T0 + 60_000 * minute, 60_000, np.zeros((1, 6, 2), np.int64), 1.0, 5.0, Quality.GATED)
        found = self.watching.records(window)
        for record in found:
            assert decode_record(encode_record(record)) == record
        return found


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    return Watcher()


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        pytest.param(EVERYTHING, {"zones", "objects", "speeds", "ways"}, id="everything"),
        pytest.param(msgspec.structs.replace(EVERYTHING, zone=()), {"speeds", "ways"}, id="no-zones"),
        pytest.param(msgspec.structs.replace(EVERYTHING, ground=None), {"zones", "objects", "ways"}, id="no-ground"),
        pytest.param(msgspec.structs.replace(EVERYTHING, line=()), {"zones", "objects"}, id="no-lines"),
        pytest.param(Camera("gare", "30189", "/x", line=(Line("a", (0, 0), (1, 1)),)), set(), id="lines-alone"),
    ],
)
def test_a_camera_is_watched_for_what_its_site_asks(camera, expected) -> None:
    assert set(watches_of(camera, 7, 60, BENCH)) == expected
    assert expected <= set(WATCHES)


def test_points_that_fix_no_plane_are_refused_at_the_start() -> None:
    line = ((0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0.9, 0.9))
    with pytest.raises(GroundRejectedError):
        Watcher(msgspec.structs.replace(EVERYTHING, ground=Ground(line, METRES)))


def test_every_window_tells_of_everything_even_when_nothing_was_there(watcher) -> None:
    for second in range(61):
        watcher.see(second, NOBODY)
    kinds = [type(record) for record in watcher.records(0)]
    assert kinds == [OccupancyWindow, *[StayWindow] * 6, ObjectWindow, *[SpeedWindow] * 2]


def test_a_standing_vehicle_is_an_event_and_its_time_a_statistic(watcher) -> None:
    watcher.stand(100)
    (event,) = watcher.watching.events()
    assert event == StreetEvent(7, T0 // 1000 + 61, EventKind.STANDING_VEHICLE, 0, T0 // 1000, 0)
    assert watcher.watching.events() == []
    stays = [record for minute in (0, 1) for record in watcher.records(minute) if isinstance(record, StayWindow)]
    assert [record.over_s for record in stays if record.label == Label.CAR] == [0, 39]
    assert {record.over_s for record in stays if record.label != Label.CAR} == {0}


@pytest.mark.parametrize("permissions", [STRICTEST, Permissions("signed", BENCH.classes)])
def test_without_an_authorisation_nothing_waits_to_be_said(permissions) -> None:
    watcher = Watcher(permissions=permissions)
    watcher.stand(100)
    assert watcher.watching.events() == []
    assert watcher.watching._events == type(watcher.watching._events)()


def test_in_a_view_that_has_moved_nothing_stands_and_no_speed_is_measured(watcher) -> None:
    crossing = Crossing(0, Label.CAR, Direction.RIGHT_TO_LEFT, T0 + 2000, track=7)
    for tenth in range(40):
        x = 0.3 + 0.01 * tenth
        watcher.see(tenth / 10, a_car((x, 0.6, x + 0.1, 0.8)), *([crossing] if tenth == 20 else []), good=False)
    watcher.stand(100, from_s=4, good=False)
    assert watcher.watching.events() == []
    records = [record for minute in (0, 1) for record in watcher.records(minute)]
    assert [record.over_s for record in records if isinstance(record, StayWindow)] == [0] * 12
    assert [record.measured for record in records if isinstance(record, SpeedWindow)] == [0] * 4
    medians = [record.counts[2 * Label.CAR] for record in records if isinstance(record, OccupancyWindow)]
    assert medians == [1, 1], "counting goes on"


def test_a_speed_is_measured_a_second_after_its_crossing(watcher) -> None:
    crossing = Crossing(0, Label.CAR, Direction.LEFT_TO_RIGHT, T0 + 2000, track=7)
    for tenth in range(40):
        x = 0.3 + 0.01 * tenth
        watcher.see(tenth / 10, a_car((x, 0.6, x + 0.1, 0.8)), *([crossing] if tenth == 20 else []))
    speeds = [record.measured for record in watcher.records(0) if isinstance(record, SpeedWindow)]
    assert speeds == [1, 0]


def test_a_stop_measures_who_has_just_crossed(watcher) -> None:
    crossing = Crossing(0, Label.CAR, Direction.LEFT_TO_RIGHT, T0 + 2000, track=7)
    for tenth in range(22):
        x = 0.3 + 0.01 * tenth
        watcher.see(tenth / 10, a_car((x, 0.6, x + 0.1, 0.8)), *([crossing] if tenth == 21 else []))
    watcher.watching.finish()
    assert [record.measured for record in watcher.records(0) if isinstance(record, SpeedWindow)] == [1, 0]


@pytest.mark.parametrize(
    ("crossing", "is_wrong"),
    [
        pytest.param((0, Label.CAR, Direction.RIGHT_TO_LEFT), True, id="against-it"),
        pytest.param((0, Label.CAR, Direction.LEFT_TO_RIGHT), False, id="with-it"),
        pytest.param((0, Label.BICYCLE, Direction.RIGHT_TO_LEFT), False, id="a-cyclist"),
        pytest.param((0, Label.PERSON, Direction.RIGHT_TO_LEFT), False, id="somebody-on-foot"),
        pytest.param((1, Label.CAR, Direction.RIGHT_TO_LEFT), False, id="over-another-line"),
    ],
)
def test_only_motor_vehicles_go_the_wrong_way(crossing, is_wrong) -> None:
    assert bool(wrong_ways([Crossing(*crossing, T0)], {0: Direction.LEFT_TO_RIGHT})) is is_wrong


def test_events_past_their_budget_wait_and_past_the_bound_are_dropped_and_told(watcher) -> None:
    against = Crossing(0, Label.CAR, Direction.RIGHT_TO_LEFT, T0)
    for second in range(EVENTS_MAX + 10):
        watcher.see(second / 10, NOBODY, against)
    assert watcher.logged == [("street.events_dropped", {"camera": "gare", "events": 1})] * 10
    assert len(watcher.watching.events()) == EVENTS_AT_ONCE
    assert watcher.watching.events() == []
    watcher.clock.advance(3600 / EVENTS_PER_HOUR * 2 + 1)
    assert len(watcher.watching.events()) == 2


def test_a_restart_goes_on_and_another_context_keeps_only_what_lasts(watcher) -> None:
    watcher.stand(50)
    saved = watcher.watching.checkpoint()
    same, other = Watcher(), Watcher()
    same.watching.restore(saved, same_context=True)
    other.watching.restore(saved, same_context=False)
    assert _spent_in(same.watching.checkpoint()) == _spent_in(saved) > 0
    assert _spent_in(other.watching.checkpoint()) == 0
    for again in (same, other):
        again.stand(20, from_s=52)
        (event,) = again.watching.events()
        assert event.since_s == T0 // 1000, "it stood there before"
        assert again.logged == []


def _spent_in(saved: dict[str, bytes]) -> int:
    """Milliseconds of presence in the open windows of a checkpoint."""
    _, presence, *_ = msgspec.msgpack.decode(saved["zones"])
    _, _, windows = msgspec.msgpack.decode(presence)
    return sum(cell[3] for _, spent, _ in windows for cell in spent)


def test_zones_drawn_anew_forget_who_stood_where(watcher) -> None:
    watcher.stand(50)
    moved = msgspec.structs.replace(EVERYTHING, zone=(Zone("bay", (*LOW[:3], (0.0, 0.99)), limit_s=60, objects=True),))
    again = Watcher(moved)
    again.watching.restore(watcher.watching.checkpoint(), same_context=False)
    again.stand(20, from_s=52)
    assert again.watching.events() == []


@pytest.mark.parametrize("name", ["zones", "objects", "speeds"])
def test_one_damaged_part_is_told_and_spoils_no_other(watcher, name) -> None:
    watcher.stand(50)
    again = Watcher()
    again.watching.restore({**watcher.watching.checkpoint(), name: b"rubbish"}, same_context=True)
    assert again.logged == [("checkpoint.refused", {"what": name})]
    again.stand(20, from_s=52)
    assert len(again.watching.events()) == (name != "zones")


@pytest.mark.parametrize(
    ("labels", "validated", "expected"),
    [
        pytest.param(("person", "car"), {}, None, id="nobody-measured"),
        pytest.param(
            ("person", "car"), {"car": Validated(0.9876, 1.0, 214)}, (None, None, None, 988, 1000, 214), id="one-label"
        ),
        pytest.param(("person",), {"car": Validated(0.9, 0.9, 50)}, (None, None, None), id="a-label-not-counted"),
    ],
)
def test_what_was_validated_is_said_in_the_order_of_the_labels(labels, validated, expected) -> None:
    camera = Camera("gare", "30189", "/x", labels=labels, validated=validated)
    found = validation_of(camera, 7)
    assert found == (None if expected is None else Validation(7, expected))
    if found is not None:
        assert decode_record(encode_record(found)) == found


SITE = """
[site]
box = "gare-01"
controller = "ville"
[[camera]]
id = "gare"
insee = "30189"
source = "{source}"
[camera.ground]
image = {image}
metres = {metres}
"""


@pytest.fixture
def checked(tmp_path, monkeypatch) -> Callable[[list, list], tuple[int, str]]:
    monkeypatch.setenv("COLUMNS", "200")
    clip = tmp_path / "street.mp4"
    clip.write_bytes(b"")

    def check(image: list, metres: list) -> tuple[int, str]:
        site = tmp_path / "site.toml"
        site.write_text(SITE.format(source=clip, image=image, metres=metres), encoding="utf-8")
        outcome = CliRunner().invoke(app, ["check", "--site", str(site)])
        return outcome.exit_code, f"{outcome.output} {outcome.exception}"

    return check


def test_check_tells_how_well_the_points_of_a_ground_agree(checked) -> None:
    corners, metres = [list(point) for point in CORNERS], [list(point) for point in METRES]
    code, said = checked(corners, metres)
    assert code == 0
    assert "give a fifth" in said
    code, said = checked([*corners, [0.5, 0.95]], [*metres, [0.0, 6.0]])
    assert code == 0
    assert "5 points, 0.0" in said
    code, said = checked([*corners, [0.5, 0.95]], [*metres, [1.5, 9.0]])
    assert code != 0
    assert "camera gare: the points of the ground do not agree" in said
