"""What is left on the street is found, and neither the sun, the night, the rain nor who waits is taken for it."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.bulky import OBJECTS_MAX, BulkyRejectedError, LeftObject, LeftObjects
from veilleur_agent.eye.records import RawFrame

HEIGHT, WIDTH = 180, 320
STEP_S = 10
T0 = 1_790_000_000_000
NOBODY = np.empty((0, 4), np.float32)
CHROMA = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
pytestmark = pytest.mark.soak
RANDOM = np.random.default_rng(11)
NOISE = RANDOM.normal(0, 3, (16, HEIGHT, WIDTH)).astype(np.float32)
SOFA = (200, 110, 240, 135)
SOFA_BOX = (200 / WIDTH, 110 / HEIGHT, 240 / WIDTH, 135 / HEIGHT)


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    rng = np.random.default_rng(4)
    luma = np.full((HEIGHT, WIDTH), 120, np.float32)
    for _ in range(60):
        x, y, w, h = rng.integers(0, WIDTH), rng.integers(0, HEIGHT // 2), *rng.integers(6, 40, 2)
        luma[y : y + h, x : x + w] = rng.integers(50, 200)
    luma[HEIGHT // 2 :] += rng.normal(0, 2, (HEIGHT - HEIGHT // 2, WIDTH))
    return luma


def with_box(luma: np.ndarray, box: tuple[int, int, int, int], value: float = 60) -> np.ndarray:
    x1, y1, x2, y2 = box
    changed = luma.copy()
    changed[y1:y2, x1:x2] = value
    changed[y1 + 6 : y1 + 9, x1:x2] = value + 50
    return changed


def light_at(second: int) -> float:
    """Brightness over a day: full at noon, a third at night, clouds in between."""
    day = 0.66 + 0.34 * np.sin(2 * np.pi * second / 86_400)
    return float(day * (1 + 0.12 * np.sin(second / 97) * np.sin(second / 1300)))


def raw(luma: np.ndarray, second: int) -> RawFrame:
    noisy = 16 + (luma - 16) * light_at(second) + NOISE[second // STEP_S % 16]
    return RawFrame("parvis", 0, T0 + second * 1000, np.concatenate([np.clip(noisy, 0, 255).astype(np.uint8), CHROMA]))


def watch(
    objects: LeftObjects, luma: np.ndarray, from_s: int, to_s: int, *, boxes: np.ndarray = NOBODY, step_s: int = 20
) -> list[LeftObject]:
    told = []
    for second in range(from_s, to_s, step_s):
        told += objects.watch(raw(luma, second), boxes)
    return told


def test_finds_what_is_left_and_tells_when_it_has_gone(street) -> None:
    objects = LeftObjects()
    assert watch(objects, street, 0, 1800) == []
    (left,) = watch(objects, with_box(street, SOFA), 1800, 6000)
    assert left.box == pytest.approx(SOFA_BOX, abs=0.03)
    assert abs(left.since_ms - (T0 + 1800_000)) < 120_000
    (gone,) = watch(objects, street, 6000, 7200)
    assert gone.over
    assert abs(gone.until_ms - (T0 + 6000_000)) < 180_000


def test_what_has_gone_is_not_found_again_by_its_outline(street) -> None:
    x1, y1, x2, y2 = SOFA
    outlined = street.copy()
    outlined[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2] = 200
    outlined[y1:y2, x1:x2] = 60
    objects = LeftObjects()
    told = watch(objects, street, 0, 900, step_s=4)
    told += watch(objects, outlined, 900, 12_000, step_s=4)
    told += watch(objects, street, 12_000, 14_000, step_s=4)
    assert [one.over for one in told] == [False, True]


def test_nothing_is_found_in_a_day_of_changing_light(street) -> None:
    assert watch(LeftObjects(), street, 0, 86_400, step_s=30) == []


def test_what_was_left_at_dusk_is_still_there_in_the_night(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 36_000, step_s=30)
    told = watch(objects, with_box(street, SOFA), 36_000, 72_000, step_s=30)
    assert [one.over for one in told] == [False]


def test_a_shadow_that_travels_is_nothing_left(street) -> None:
    objects, told = LeftObjects(), []
    for second in range(0, 6 * 3600, STEP_S):
        shaded = street.copy()
        edge = 40 + second // 120
        shaded[100:, edge : edge + 60] *= 0.6
        told += objects.watch(raw(shaded, second), NOBODY)
    assert told == []


def test_a_cloud_over_half_the_view_is_nothing_left(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    ramp = np.clip(np.linspace(1.6, 0.4, WIDTH, dtype=np.float32), 0.5, 1.0)
    assert watch(objects, street * ramp, 1800, 9000) == []


def test_passers_by_and_rain_are_nothing_left(street) -> None:
    objects, told = LeftObjects(), []
    for second in range(0, 3 * 3600, STEP_S):
        busy = with_box(street, (second // STEP_S * 13 % 300, 120, second // STEP_S * 13 % 300 + 12, 150))
        drops = (RANDOM.random(street.shape) < 0.03) * 90
        told += objects.watch(raw(np.clip(busy + drops, 0, 255), second), NOBODY)
    assert told == []


def test_who_waits_is_no_object_and_a_parked_car_is_none_either(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    known = np.array([SOFA_BOX], np.float32)
    assert watch(objects, with_box(street, SOFA), 1800, 9000, boxes=known) == []


def test_what_is_put_away_in_time_is_not_told(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    assert watch(objects, with_box(street, SOFA), 1800, 3000) + watch(objects, street, 3000, 9000) == []


def test_somebody_in_front_does_not_make_it_gone(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    watch(objects, with_box(street, SOFA), 1800, 6000)
    in_front = with_box(with_box(street, SOFA), (205, 100, 238, 140), 180)
    around = np.array([[205 / WIDTH, 100 / HEIGHT, 238 / WIDTH, 140 / HEIGHT]], np.float32)
    assert watch(objects, in_front, 6000, 9000, boxes=around) == []


def test_how_long_it_lay_is_told_once_from_when_it_was_left_until_it_went(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    assert objects.lain() == []
    lain = []
    for second in range(1800, 7200, 20):
        watch(objects, with_box(street, SOFA) if second < 6000 else street, second, second + 20)
        lain += objects.lain()
    assert abs(sum(one.until_ms - one.from_ms for one in lain) - 4_200_000) < 300_000
    assert all(before.until_ms <= after.from_ms for before, after in itertools.pairwise(lain))


def test_two_objects_are_two(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    both = with_box(with_box(street, SOFA), (80, 140, 110, 165), 200)
    assert len(watch(objects, both, 1800, 6000)) == 2


def test_a_restart_forgets_neither_the_object_nor_that_it_goes(street) -> None:
    before = LeftObjects()
    watch(before, street, 0, 1800)
    watch(before, with_box(street, SOFA), 1800, 6000)
    after = LeftObjects()
    after.restore(before.checkpoint())
    assert watch(after, with_box(street, SOFA), 6000, 12_000) == []
    (gone,) = watch(after, street, 12_000, 14_000)
    assert gone.over
    assert abs(gone.since_ms - (T0 + 1800_000)) < 120_000


@given(st.binary(max_size=80))
def test_a_damaged_checkpoint_is_refused_or_empty(data) -> None:
    objects = LeftObjects()
    try:
        objects.restore(data)
    except BulkyRejectedError:
        return
    assert len(objects._known) <= OBJECTS_MAX


def test_no_picture_is_in_a_checkpoint(street) -> None:
    objects = LeftObjects()
    watch(objects, street, 0, 1800)
    watch(objects, with_box(street, SOFA), 1800, 6000)
    saved = objects.checkpoint()
    assert len(saved) < 400
    row = cv2.resize(street.astype(np.uint8), (WIDTH, HEIGHT))[120, 200:216].tobytes()
    assert row not in saved
