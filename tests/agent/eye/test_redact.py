"""Nobody and no plate is left in a redacted frame."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eye_builders import detections_of
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import RawFrame, no_detections
from veilleur_agent.eye.redact import FILL, HELD_FRAMES, REGIONS_MAX, Redactor
from veilleur_contracts.messages import Label

WIDTH, HEIGHT = 320, 240
BOX = (0.4, 0.4, 0.6, 0.8)


def noise(number: int = 0) -> RawFrame:
    """A frame no pixel of which is the colour of the fill, so that what was filled can be told."""
    random = np.random.default_rng(number)
    i420 = random.integers(0, 100, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    return RawFrame("gare", number, number * 200, i420)


def filled_of(i420: np.ndarray) -> np.ndarray:
    """Which pixels are filled in all three planes, bool, shape (height, width)."""
    luma, blue, red = (np.equal(plane, value) for plane, value in zip(planes_of(i420), FILL, strict=True))
    assert np.array_equal(blue, red)
    colour = blue.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(luma, colour), "a filled pixel keeps neither its light nor its colour"
    return luma


def spot_of(filled: np.ndarray, x: float, y: float) -> bool:
    return bool(filled[min(int(y * HEIGHT), HEIGHT - 1), min(int(x * WIDTH), WIDTH - 1)])


def test_a_person_is_filled_whole_and_beyond() -> None:
    redacted = Redactor().redact(noise(), detections_of((Label.PERSON, BOX)))
    filled = filled_of(redacted.i420)
    rows, columns = np.nonzero(filled)
    assert columns.min() / WIDTH <= 0.4 - 0.2 * 0.2
    assert (columns.max() + 1) / WIDTH >= 0.6 + 0.2 * 0.2
    assert rows.min() / HEIGHT <= 0.4 - 0.2 * 0.4
    assert (rows.max() + 1) / HEIGHT >= 0.8 + 0.2 * 0.4
    assert filled.sum() == (np.ptp(columns) + 1) * (np.ptp(rows) + 1)


def test_what_was_not_found_is_left_as_it_was() -> None:
    frame = noise()
    redacted = Redactor().redact(frame, detections_of((Label.PERSON, BOX)))
    filled = filled_of(redacted.i420)
    np.testing.assert_array_equal(redacted.i420[:HEIGHT][~filled], frame.i420[:HEIGHT][~filled])
    assert redacted.filled_share == pytest.approx(filled.mean())
    assert (redacted.camera, redacted.number, redacted.at_ms) == (frame.camera, frame.number, frame.at_ms)


def test_the_raw_frame_is_not_touched() -> None:
    frame = noise()
    before = frame.i420.copy()
    Redactor().redact(frame, detections_of((Label.PERSON, BOX)))
    Redactor().redact(frame, None)
    np.testing.assert_array_equal(frame.i420, before)


@pytest.mark.parametrize(
    ("label", "above", "upper", "lower"),
    [
        pytest.param(Label.PERSON, False, True, True, id="person-whole"),
        pytest.param(Label.BICYCLE, True, True, True, id="bicycle-and-its-rider"),
        pytest.param(Label.MOTORCYCLE, True, True, True, id="motorcycle-and-its-rider"),
        pytest.param(Label.CAR, False, False, True, id="car-plate"),
        pytest.param(Label.BUS, False, False, True, id="bus-plate"),
        pytest.param(Label.TRUCK, False, False, True, id="truck-plate"),
        pytest.param(-1, False, True, True, id="anything-else-whole"),
    ],
)
def test_each_label_is_filled_where_it_can_be_recognised(label, above, upper, lower) -> None:
    filled = filled_of(Redactor().redact(noise(), detections_of((label, (0.4, 0.5, 0.6, 0.7)))).i420)
    assert (spot_of(filled, 0.5, 0.4), spot_of(filled, 0.5, 0.51), spot_of(filled, 0.5, 0.65)) == (above, upper, lower)


def test_a_lost_person_stays_filled_for_five_frames_over_a_growing_place() -> None:
    redactor = Redactor()
    redactor.redact(noise(), detections_of((Label.PERSON, BOX)))
    shares = [redactor.redact(noise(n), no_detections()).filled_share for n in range(1, HELD_FRAMES + 3)]
    assert HELD_FRAMES >= 5
    assert all(later > earlier for earlier, later in pairwise(shares[:HELD_FRAMES]))
    assert shares[HELD_FRAMES:] == [0.0, 0.0]


def test_a_person_found_again_is_not_held_twice() -> None:
    redactor = Redactor()
    shares = [redactor.redact(noise(n), detections_of((Label.PERSON, BOX))).filled_share for n in range(20)]
    assert len(set(shares)) == 1


def test_a_person_who_walks_on_leaves_no_trail_once_followed() -> None:
    redactor = Redactor()
    for number in range(20):
        x = 0.1 + 0.02 * number
        redacted = redactor.redact(noise(number), detections_of((Label.PERSON, (x, 0.4, x + 0.1, 0.8))))
    assert redacted.filled_share < 0.2


@pytest.mark.parametrize(
    "detections",
    [
        pytest.param(None, id="none-to-trust"),
        pytest.param(detections_of((Label.PERSON, (0.1, 0.1, float("nan"), 0.2))), id="not-finite"),
        pytest.param(detections_of(*[(Label.PERSON, BOX)] * (REGIONS_MAX + 1)), id="more-than-any-street-shows"),
    ],
)
def test_without_detections_to_trust_the_whole_frame_is_filled(detections) -> None:
    redacted = Redactor().redact(noise(), detections)
    assert filled_of(redacted.i420).all()
    assert redacted.filled_share == 1.0


def test_whoever_was_there_before_a_blind_frame_is_still_held_after_it() -> None:
    redactor = Redactor()
    redactor.redact(noise(0), detections_of((Label.PERSON, BOX)))
    redactor.redact(noise(1), None)
    assert spot_of(filled_of(redactor.redact(noise(2), no_detections()).i420), 0.5, 0.6)


def test_what_is_remembered_is_bounded() -> None:
    redactor = Redactor()
    random = np.random.default_rng(7)
    for number in range(30):
        corners = random.random((200, 2)) * 0.9
        found = detections_of(*[(Label.PERSON, (x, y, x + 0.01, y + 0.01)) for x, y in corners])
        redactor.redact(noise(number), found)
        assert len(redactor._held) <= REGIONS_MAX + 200


@settings(max_examples=60)
@given(
    label=st.sampled_from(list(Label)),
    corner=st.tuples(st.floats(0, 0.98), st.floats(0, 0.98)),
    size=st.tuples(st.floats(0.002, 1), st.floats(0.002, 1)),
)
def test_wherever_somebody_is_found_nothing_of_what_must_go_is_left(label, corner, size) -> None:
    x1, y1 = corner
    x2, y2 = min(1.0, x1 + size[0]), min(1.0, y1 + size[1])
    filled = filled_of(Redactor().redact(noise(), detections_of((label, (x1, y1, x2, y2)))).i420)
    top = y1 + 0.4 * (y2 - y1) if label in {Label.CAR, Label.BUS, Label.TRUCK} else y1
    rows = slice(int(top * HEIGHT), int(np.ceil(y2 * HEIGHT)))
    columns = slice(int(x1 * WIDTH), int(np.ceil(x2 * WIDTH)))
    assert filled[rows, columns].all()
