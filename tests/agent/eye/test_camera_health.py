"""A camera that no longer shows what its lines were drawn on is noticed, and never by mistake for the weather."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.camera_health import CHECKS_TO_BELIEVE, View, ViewRejectedError, ViewWatch, shift_of
from veilleur_agent.eye.records import RawFrame

HEIGHT, WIDTH = 360, 640
NOBODY = np.empty((0, 4), np.float32)
T0 = 1_790_000_000_000
RANDOM = np.random.default_rng(7)
NOISE = RANDOM.normal(0, 3, (8, HEIGHT, WIDTH)).astype(np.float32)
CHROMA = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    """Facades, windows, paving: a picture with the structure of a street, drawn from a seed."""
    rng = np.random.default_rng(3)
    luma = np.full((HEIGHT, WIDTH), 120, np.uint8)
    for _ in range(260):
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        w, h = rng.integers(6, 60, 2)
        cv2.rectangle(luma, (int(x), int(y)), (int(x + w), int(y + h)), int(rng.integers(30, 220)), -1)
    return luma


def raw(luma: np.ndarray, at_ms: int) -> RawFrame:
    noisy = np.clip(luma.astype(np.float32) + NOISE[at_ms // 1000 % 8], 0, 255).astype(np.uint8)
    return RawFrame("parvis", 0, at_ms, np.concatenate([noisy, CHROMA]))


def watch(
    view: ViewWatch, luma: np.ndarray, from_s: int, seconds: int, *, boxes: np.ndarray = NOBODY, step_s: int = 4
) -> None:
    for second in range(from_s, from_s + seconds, step_s):
        view.observe(raw(luma, T0 + second * 1000), boxes)


def shifted(x: float, y: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    matrix = np.array([[scale * np.cos(angle), -np.sin(angle), x], [np.sin(angle), scale * np.cos(angle), y]])
    return lambda luma: cv2.warpAffine(luma, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def rain(luma: np.ndarray) -> np.ndarray:
    return np.clip(luma + (RANDOM.random(luma.shape) < 0.02) * 120 + RANDOM.normal(0, 10, luma.shape), 0, 255)


@pytest.mark.parametrize(
    ("change", "view"),
    [
        pytest.param(lambda luma: luma, View.GOOD, id="nothing"),
        pytest.param(shifted(3), View.GOOD, id="half-a-percent"),
        pytest.param(lambda luma: luma * 0.4, View.GOOD, id="night"),
        pytest.param(lambda luma: luma * 1.4, View.GOOD, id="glare"),
        pytest.param(rain, View.GOOD, id="rain"),
        pytest.param(shifted(13), View.MOVED, id="two-percent"),
        pytest.param(shifted(-120, 60), View.MOVED, id="pushed-aside"),
        pytest.param(shifted(0, 0, angle=0.03), View.MOVED, id="turned"),
        pytest.param(shifted(0, 0, scale=1.08), View.MOVED, id="zoomed"),
        pytest.param(lambda luma: luma[::-1, ::-1], View.MOVED, id="upside-down"),
        pytest.param(lambda luma: cv2.GaussianBlur(luma, (0, 0), 4), View.DEFOCUSED, id="out-of-focus"),
        pytest.param(lambda luma: np.full_like(luma, 90), View.COVERED, id="covered"),
        pytest.param(lambda luma: np.full_like(luma, 17), View.DARK, id="dark"),
    ],
)
def test_says_within_three_minutes_what_happened_to_the_view(street, change, view) -> None:
    watching = ViewWatch()
    watch(watching, street, 0, 65)
    assert watching.view is View.GOOD
    watch(watching, np.asarray(change(street)), 65, 115)
    assert watching.view == view
    watch(watching, street, 180, 61)
    assert watching.view is View.GOOD, "it came back by itself"


def test_one_odd_check_is_not_believed(street) -> None:
    watching = ViewWatch()
    watch(watching, street, 0, 61)
    watch(watching, shifted(60)(street), 61, 30)
    assert watching.view is View.GOOD


def test_a_covered_camera_is_blind_at_once(street) -> None:
    watching = ViewWatch()
    watch(watching, street, 0, 5)
    assert not watching.blind
    watch(watching, np.full_like(street, 60), 5, 1)
    assert watching.blind


def test_a_camera_that_was_covered_from_the_start_is_blind(street) -> None:
    watching = ViewWatch()
    watch(watching, np.full_like(street, 60), 0, 70)
    assert watching.blind
    assert watching.view is View.COVERED


GREY = np.full((HEIGHT, WIDTH), 120.0)
GLOW = 120 - np.hypot(*(np.mgrid[0:HEIGHT, 0:WIDTH] - np.array([150, 300])[:, None, None])) / 6


@pytest.mark.parametrize(
    ("luma", "noise", "is_blind"),
    [
        pytest.param(GREY, 0, True, id="covered-without-noise"),
        pytest.param(GREY, 2, True, id="covered"),
        pytest.param(GREY, 14, True, id="covered-in-the-dark-with-much-gain"),
        pytest.param(GLOW, 2, True, id="covered-with-light-falling-through"),
        pytest.param(None, 14, False, id="a-street-with-much-gain"),
        pytest.param(None, 1, False, id="a-street-in-fog"),
    ],
)
def test_tells_a_cover_from_a_street_whatever_the_noise(street, luma, noise, is_blind) -> None:
    contrast = 0.1 if noise < 10 else 1.0
    shown = 120 + (street.astype(np.float64) - 120) * contrast if luma is None else luma
    grain = np.random.default_rng(1).normal(0, noise, shown.shape)
    watching = ViewWatch()
    noisy = np.clip(shown + grain, 0, 255).astype(np.uint8)
    watching.observe(RawFrame("parvis", 0, T0, np.concatenate([noisy, CHROMA])), NOBODY)
    assert watching.blind is is_blind


def test_traffic_is_not_taken_for_scenery(street) -> None:
    """A lorry that fills half the view and leaves does not move it."""
    watching = ViewWatch()
    lorry = street.copy()
    lorry[60:300, 40:360] = np.random.default_rng(5).integers(0, 255, (240, 320), np.uint8)
    box = np.array([[40 / WIDTH, 60 / HEIGHT, 360 / WIDTH, 300 / HEIGHT]], np.float32)
    watch(watching, lorry, 0, 61, boxes=box)
    watch(watching, street, 61, 121)
    assert watching.view is View.GOOD


def test_a_move_while_the_eye_was_down_is_noticed(street) -> None:
    before, after = ViewWatch(), ViewWatch()
    watch(before, street, 0, 61)
    saved = before.checkpoint()
    assert saved is not None
    after.restore(saved)
    watch(after, shifted(40)(street), 61, 100)
    assert View.MOVED in after.view


def test_a_restart_does_not_forget_that_the_view_has_moved(street) -> None:
    before, after = ViewWatch(), ViewWatch()
    watch(before, street, 0, 41)
    watch(before, shifted(40)(street), 41, 100)
    saved = before.checkpoint()
    assert saved is not None
    after.restore(saved)
    assert View.MOVED in after.view


def test_an_accepted_view_is_the_right_one_from_then_on(street) -> None:
    watching = ViewWatch()
    watch(watching, street, 0, 41)
    watch(watching, shifted(40)(street), 41, 100)
    watching.accept()
    watch(watching, shifted(40)(street), 141, 100)
    assert watching.view is View.GOOD


@pytest.mark.soak
def test_small_shifts_do_not_add_up_unnoticed(street) -> None:
    """One pixel each quarter of an hour, learnt again and again, is still a move of the first view."""
    watching = ViewWatch()
    for quarter in range(9):
        watch(watching, shifted(quarter)(street), quarter * 640, 640, step_s=10)
    assert View.MOVED in watching.view


def test_nothing_is_kept_before_anything_is_known() -> None:
    assert ViewWatch().checkpoint() is None


@given(st.binary(max_size=100))
def test_a_damaged_checkpoint_is_refused(data) -> None:
    with pytest.raises(ViewRejectedError):
        ViewWatch().restore(data)


def test_no_picture_is_in_a_checkpoint(street) -> None:
    watching = ViewWatch()
    watch(watching, street, 0, 41)
    saved = watching.checkpoint()
    assert saved is not None
    assert len(saved) < HEIGHT * WIDTH // 10
    assert street[100, :64].tobytes() not in saved


def test_shift_is_told_in_fractions_of_the_width() -> None:
    assert shift_of(np.array([[1.0, 0, 4.8], [0, 1, 0]]), (480, 270)) == pytest.approx(0.01)
    assert CHECKS_TO_BELIEVE * 20 <= 180
