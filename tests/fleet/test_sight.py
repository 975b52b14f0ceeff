"""What may be said of a street: a dead camera is never an empty one, and what is withheld is never nought."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_builders import NOW_MS, Box, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.messages import CameraState, Direction, Label
from veilleur_fleet.store.counts import Slot, Span
from veilleur_fleet.web.chart import BARS_MAX, HEIGHT, chart_of, nice_top, slot_s_of
from veilleur_fleet.web.sight import CAMERAS_PER_PAGE, Scope, look

NOW_S = NOW_MS // 1000
KERB = context()
L2R, R2L = Direction.LEFT_TO_RIGHT, Direction.RIGHT_TO_LEFT


@pytest.fixture
def see(database, ledger):
    """Let boxes speak, then look at the fleet."""

    def seen(*deliveries, scope=None, now_s=NOW_S):
        ledger.store(deliveries)
        return look(database.readers, scope or Scope(), now_s * 1000)

    return seen


def five_second_windows(*, until_s=NOW_S - 5, many=12, **about):
    return [window(KERB, at_s=until_s - 5 * (number + 1), **about) for number in range(many)][::-1]


def test_a_live_camera_whose_windows_come_is_observing(see) -> None:
    box = Box()
    (camera,) = see(box.says(KERB, *five_second_windows()), box.says(health())).cameras
    assert (camera.observing, camera.state) == (True, CameraState.LIVE)
    (line,) = camera.lines
    assert line.share == 1.0
    cells = dict(line.rows)[Label.PERSON]
    assert (cells[L2R].told, cells[R2L].told) == (12, 0)


@pytest.mark.parametrize(
    ("state", "coverage", "windows_until_s", "now_s"),
    [
        pytest.param(CameraState.BACKOFF, 100, NOW_S - 5, NOW_S, id="unreachable"),
        pytest.param(CameraState.FROZEN, 100, NOW_S - 5, NOW_S, id="frozen"),
        pytest.param(CameraState.LIVE, 0, NOW_S - 5, NOW_S, id="window-not-observed"),
        pytest.param(CameraState.LIVE, 100, NOW_S - 60, NOW_S, id="windows-stopped"),
        pytest.param(CameraState.LIVE, 100, NOW_S - 5, NOW_S + 600, id="everything-stopped"),
    ],
)
def test_a_camera_that_does_not_observe_is_told_apart_from_an_empty_street(
    see, state, coverage, windows_until_s, now_s
) -> None:
    box, nothing = Box(), [0] * 12
    windows = five_second_windows(until_s=windows_until_s, counts=nothing, coverage=coverage)
    (camera,) = see(box.says(KERB, *windows), box.says(health(state=state)), now_s=now_s).cameras
    assert not camera.observing
    assert camera.since_s == (windows_until_s if coverage else None)


def test_where_nothing_was_observed_there_is_no_count_not_a_nought(see) -> None:
    box = Box()
    windows = five_second_windows(counts=[0] * 12, coverage=0)
    (camera,) = see(box.says(KERB, *windows), box.says(health())).cameras
    assert {cell.told for _, cells in camera.lines[0].rows for cell in cells.values()} == {None}


def test_withheld_cells_are_counted_apart_and_all_withheld_is_no_number(see) -> None:
    box = Box()
    told = window(KERB, (7, None, *[0] * 10), at_s=NOW_S - 15)
    kept = window(KERB, (None, None, *[0] * 10), at_s=NOW_S - 10)
    sight = see(box.says(KERB, told, kept), box.says(health()))
    cells = dict(sight.cameras[0].lines[0].rows)[Label.PERSON]
    assert (cells[L2R].told, cells[L2R].withheld) == (7, 1)
    assert (cells[R2L].told, cells[R2L].withheld) == (None, 2)
    assert sight.chart.withheld == 3


def test_windows_that_are_missing_lower_the_share_that_was_observed(see) -> None:
    box = Box()
    windows = [window(KERB, at_s=NOW_S - 1000 + 10 * number) for number in range(99)]
    (camera,) = see(box.says(KERB, *windows), box.says(health())).cameras
    assert camera.lines[0].share == pytest.approx(0.5, abs=0.02)


def test_a_camera_known_by_its_health_alone_has_no_lines_and_no_count(see) -> None:
    sight = see(Box().says(health(state=CameraState.CONNECTING)))
    assert (sight.cameras[0].lines, sight.chart, sight.share) == ((), None, None)


@pytest.mark.parametrize("state", [CameraState.STOPPED, CameraState.FORBIDDEN])
def test_a_camera_that_may_not_run_says_since_when(see, state) -> None:
    box = Box()
    told = [
        health(at_s=NOW_S - 900, state=state),
        health(at_s=NOW_S - 400, state=CameraState.LIVE),
        *(health(at_s=NOW_S - ago, state=state) for ago in (300, 200, 1)),
    ]
    (camera,) = see(box.says(KERB), box.says(*told)).cameras
    assert (camera.state, camera.observing, camera.standing.held_s) == (state, False, NOW_S - 300)
    (camera,) = see(box.says(health(at_s=NOW_S, state=CameraState.LIVE))).cameras
    assert (camera.state, camera.standing.held_s) == (CameraState.LIVE, None)


def test_a_box_whose_clock_runs_ahead_does_not_look_observed_for_ever(see) -> None:
    box = Box()
    ahead = window(KERB, at_s=4_000_000_000)
    (camera,) = see(box.says(KERB, window(KERB, at_s=NOW_S - 600), ahead), box.says(health())).cameras
    assert not camera.observing
    assert camera.lines[0].latest.at_s == NOW_S - 600


@pytest.mark.parametrize(("profile", "bench"), [("bench", True), ("strictest", False)])
def test_the_bench_policy_is_told(see, profile, bench) -> None:
    assert see(Box().says(birth(profile))).summary.bench is bench


def test_many_cameras_are_paged_and_found_by_name(see) -> None:
    box = Box()
    names = [f"rue-{number:03d}" for number in range(CAMERAS_PER_PAGE + 3)]
    said = [box.says(health(name)) for name in names]
    first = see(*said)
    assert ([camera.standing.camera for camera in first.cameras], first.pages) == (names[:CAMERAS_PER_PAGE], 2)
    second = see(scope=Scope(page=1))
    assert [camera.standing.camera for camera in second.cameras] == names[CAMERAS_PER_PAGE:]
    found = see(scope=Scope(wanted="e-01"))
    assert [camera.standing.camera for camera in found.cameras] == names[10:20]


def test_a_name_is_no_pattern(see) -> None:
    assert see(Box().says(health("rue-001")), scope=Scope(wanted="%")).cameras == ()


def test_the_chart_goes_on_to_now_when_the_street_falls_silent(see) -> None:
    box = Box()
    chart = see(box.says(KERB, *five_second_windows(until_s=NOW_S - 120))).chart
    assert [bar.observed for bar in chart.bars][-3:] == [False, False, False]
    assert chart.total == 12


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True),
    st.lists(st.integers(0, 5000), min_size=40, max_size=40),
)
def test_bars_stand_in_order_inside_the_chart_and_hold_every_count(places, told) -> None:
    slot_s = slot_s_of(Span(min(places) * 60, (max(places) + 1) * 60, 60))
    kept = {}
    for place, count in zip(sorted(places), told, strict=False):
        at_s = place * 60 // slot_s * slot_s
        kept[at_s] = kept.get(at_s, 0) + count
    slots = [Slot(at_s, 60.0, {Label.CAR: count, Label.BUS: 3}, 0) for at_s, count in sorted(kept.items())]
    chart = chart_of(slots, slot_s, (max(places) + 1) * 60, (Label.CAR, Label.BUS))
    assert len(chart.bars) <= BARS_MAX
    assert [bar.at_s for bar in chart.bars] == [chart.bars[0].at_s + slot_s * place for place in range(len(chart.bars))]
    assert chart.total == sum(kept.values()) + 3 * len(slots)
    assert all(0 <= piece.y <= HEIGHT for bar in chart.bars for piece in bar.pieces)
    assert sum(bar.observed for bar in chart.bars) == len(slots)


@pytest.mark.parametrize(("highest", "top"), [(0, 4), (4, 4), (5, 6), (9, 10), (11, 20), (565, 600), (1200, 2000)])
def test_the_top_of_a_chart_is_a_round_number_with_a_whole_half(highest, top) -> None:
    assert nice_top(highest) == top
    assert top % 2 == 0


def test_a_slot_holds_a_whole_window_and_a_long_reach_gets_long_slots() -> None:
    assert slot_s_of(Span(0, 60, 5)) == 5
    assert slot_s_of(Span(0, 60, 900)) == 900
    assert slot_s_of(Span(0, 604_800, 900)) == 10_800
    assert slot_s_of(Span(0, 10**9, 5)) == 86_400


def test_quality_of_the_newest_window_is_told(see) -> None:
    box = Box()
    poor = window(KERB, quality=m.Quality.LOW_COVERAGE | m.Quality.RESTARTED, coverage=60)
    (camera,) = see(box.says(KERB, poor), box.says(health())).cameras
    assert camera.lines[0].qualities == (m.Quality.LOW_COVERAGE, m.Quality.RESTARTED)
