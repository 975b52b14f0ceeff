"""A view that is not what its lines were drawn on raises one alarm, and one when it is good again."""

import cv2
import msgspec
import numpy as np
import pytest

from veilleur_agent.eye.camera_health import ViewRejectedError
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.sight import OUT_OF_SIGHT, Sight
from veilleur_contracts.messages import Quality, ViewAlarm, ViewFault
from veilleur_contracts.site import Camera, Line

HEIGHT, WIDTH = 360, 640
NOBODY = np.empty((0, 4), np.float32)
T0 = 1_790_000_000_000
CHROMA = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
CAMERA = Camera("parvis", "30189", "street.mp4", line=(Line("kerb", (0.1, 0.6), (0.9, 0.6)),))
MOVED_LINE = msgspec.structs.replace(CAMERA, line=(Line("kerb", (0.1, 0.5), (0.9, 0.5)),))


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    rng = np.random.default_rng(3)
    luma = np.full((HEIGHT, WIDTH), 120, np.uint8)
    for _ in range(260):
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        w, h = rng.integers(6, 60, 2)
        cv2.rectangle(luma, (int(x), int(y)), (int(x + w), int(y + h)), int(rng.integers(30, 220)), -1)
    return luma


@pytest.fixture
def sight() -> Sight:
    return Sight(CAMERA)


def watch(sight: Sight, luma: np.ndarray, from_s: int, to_s: int) -> list[tuple[int, ViewAlarm]]:
    """Look every four seconds; return the alarms with the second each was raised in."""
    alarms = []
    for second in range(from_s, to_s, 4):
        sight.observe(RawFrame("parvis", 0, T0 + second * 1000, np.concatenate([luma, CHROMA])), NOBODY)
        alarm = sight.alarm()
        if alarm is not None:
            sight.told(alarm)
            alarms.append((second, alarm))
    return alarms


def pushed(luma: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(luma, pixels, axis=1)


def test_says_once_that_the_view_is_good_and_then_nothing(sight, street) -> None:
    ((at_s, alarm),) = watch(sight, street, 0, 400)
    assert alarm == ViewAlarm("parvis", alarm.at_s, 0, 0)
    assert at_s < 180
    assert sight.quality is Quality(0)


def test_a_nudge_is_told_within_three_minutes_and_so_is_its_end(sight, street) -> None:
    watch(sight, street, 0, 100)
    ((at_s, alarm),) = watch(sight, pushed(street, 20), 100, 300)
    assert at_s - 100 <= 180
    assert alarm.faults == ViewFault.MOVED
    assert 25 <= alarm.shift_permille <= 38, "20 pixels of 640"
    assert sight.quality is Quality.QUARANTINED
    ((at_s, alarm),) = watch(sight, street, 300, 500)
    assert at_s - 300 <= 180
    assert (alarm.faults, alarm.shift_permille) == (0, 0)
    assert sight.quality is Quality(0)


@pytest.mark.parametrize(
    ("luma", "fault"),
    [
        pytest.param(np.full((HEIGHT, WIDTH), 90, np.uint8), ViewFault.COVERED, id="covered"),
        pytest.param(np.full((HEIGHT, WIDTH), 17, np.uint8), ViewFault.DARK, id="dark"),
    ],
)
def test_a_view_that_shows_nothing_is_blind_at_once_and_told_in_three_minutes(sight, street, luma, fault) -> None:
    watch(sight, street, 0, 100)
    assert not sight.observe(RawFrame("parvis", 0, T0 + 100_000, np.concatenate([luma, CHROMA])), NOBODY)
    assert sight.is_blind
    ((_, alarm),) = watch(sight, luma, 104, 280)
    assert alarm.faults == fault


def test_a_view_turned_to_another_street_is_out_of_sight(sight, street) -> None:
    watch(sight, street, 0, 100)
    ((_, alarm),) = watch(sight, street[::-1, ::-1].copy(), 100, 280)
    assert alarm.faults == ViewFault.MOVED
    assert alarm.shift_permille == OUT_OF_SIGHT


def test_a_move_behind_a_hand_is_not_forgotten(sight, street) -> None:
    watch(sight, street, 0, 100)
    watch(sight, pushed(street, 20), 100, 280)
    watch(sight, np.full_like(street, 90), 280, 460)
    assert ViewFault.MOVED in sight.faults
    watch(sight, pushed(street, 20), 460, 470)
    assert sight.quality is Quality.QUARANTINED


def test_an_alarm_that_could_not_be_said_stays_due(sight, street) -> None:
    watch(sight, street, 0, 100)
    for second in range(100, 280, 4):
        sight.observe(RawFrame("parvis", 0, T0 + second * 1000, np.concatenate([pushed(street, 20), CHROMA])), NOBODY)
    first, again = sight.alarm(), sight.alarm()
    assert first == again
    assert first is not None


def test_a_restart_tells_again_of_a_view_that_is_still_moved(sight, street) -> None:
    watch(sight, street, 0, 100)
    watch(sight, pushed(street, 20), 100, 300)
    again = Sight(CAMERA)
    again.restore(sight.checkpoint())
    assert again.quality is Quality.QUARANTINED
    assert again.alarm() is None, "nobody has looked yet"
    ((at_s, alarm),) = watch(again, pushed(street, 20), 300, 400)
    assert (alarm.faults, alarm.at_s) == (ViewFault.MOVED, T0 // 1000 + at_s)


def test_lines_drawn_anew_are_drawn_on_the_view_as_it_is(sight, street) -> None:
    watch(sight, street, 0, 100)
    watch(sight, pushed(street, 20), 100, 300)
    again = Sight(MOVED_LINE)
    again.restore(sight.checkpoint())
    assert [alarm.faults for _, alarm in watch(again, pushed(street, 20), 300, 500)] == [0]


@pytest.mark.parametrize("data", [b"", b"\x92\xc4\x00", b"\x92\xc4\x01a\xc4\x01b\x00"])
def test_a_damaged_checkpoint_is_refused(sight, data) -> None:
    with pytest.raises(ViewRejectedError):
        sight.restore(data)
