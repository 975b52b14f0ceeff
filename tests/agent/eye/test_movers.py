"""What moves is found, whatever it is, and what stands still is not."""

import numpy as np
import pytest

from veilleur_agent.eye.movers import Movers
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import RawFrame

WIDTH, HEIGHT = 640, 384
NOWHERE = np.empty((0, 4))


def street(number: int, *, noise: float = 2.0, light: int = 0) -> RawFrame:
    """A checkered street with sensor noise."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    luma = 90 + light + (rows // 16 + columns // 16) % 2 * 30
    luma = luma + np.random.default_rng(number).normal(0, noise, luma.shape)
    i420 = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    i420[:HEIGHT] = np.clip(luma, 16, 235).astype(np.uint8)
    return RawFrame("gare", number, number * 100, i420)


def with_mover(number: int, side: int = 24) -> tuple[RawFrame, tuple[int, int, int, int]]:
    frame = street(number)
    left, top = 40 + 8 * number, 150
    planes_of(frame.i420)[0][top : top + side, left : left + side] = 210
    return frame, (left, top, left + side, top + side)


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_an_empty_street_moves_nowhere(noise) -> None:
    movers = Movers()
    assert sum(len(movers.find(street(n, noise=noise), NOWHERE)) for n in range(60)) <= 3


@pytest.mark.parametrize("side", [12, 24, 60])
def test_a_mover_is_found_where_it_is(side) -> None:
    movers = Movers()
    for number in range(40):
        frame, (left, top, right, bottom) = with_mover(number, side)
        found = movers.find(frame, NOWHERE) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        assert number > 0 or len(found) == 0
        if 8 * number <= side:
            continue  # it has not left the place yet that is taken for background
        x, y = (left + right) / 2, (top + bottom) / 2
        assert ((found[:, :2] <= (x, y)) & (found[:, 2:] >= (x, y))).all(axis=1).any()


def test_what_is_covered_already_is_not_found_again() -> None:
    movers = Movers()
    for number in range(20):
        frame, (left, top, right, bottom) = with_mover(number)
        cover = np.array([[left - 12, top - 6, right + 6, bottom + 6]]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
        trail = np.array([[0.0, (top - 6) / HEIGHT, left / WIDTH, (bottom + 6) / HEIGHT]])
        assert len(movers.find(frame, np.concatenate([cover, trail]))) == 0


@pytest.mark.thorough
def test_who_stops_is_found_for_a_while_and_then_belongs_to_the_street() -> None:
    movers = Movers()
    for number in range(20):
        frame, _ = with_mover(number)
        movers.find(frame, NOWHERE)
    after = []
    for number in range(20, 400):
        still, _ = with_mover(20)
        after.append(len(movers.find(RawFrame("gare", number, number * 100, still.i420), NOWHERE)))
    assert after[0] > 0
    assert after[20] > 0
    assert after[-1] == 0


def test_another_size_of_picture_starts_over() -> None:
    movers = Movers()
    movers.find(street(0), NOWHERE)
    other = RawFrame("gare", 1, 100, np.full((240 * 3 // 2, 320), 60, np.uint8))
    assert len(movers.find(other, NOWHERE)) == 0
