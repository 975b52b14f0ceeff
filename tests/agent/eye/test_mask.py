"""What a policy masks is gone before anything looks: in luma, in colour, up to the edge and no further than needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.mask import BLACK, COLOURLESS, UNITS, Burner, Masked, blocks_of
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.polygons import inside
from veilleur_agent.eye.records import RawFrame

WIDTH, HEIGHT = 64, 48
LEFT_HALF = ((0, 0), (5000, 0), (5000, 10_000), (0, 10_000))
ROOF = ((1000, 1000), (9000, 1500), (5000, 6000))


def a_noisy_frame(width: int = WIDTH, height: int = HEIGHT) -> RawFrame:
    pixels = np.random.default_rng(3).integers(30, 120, (height * 3 // 2, width), np.uint8)
    return RawFrame("gare", 7, 1234, pixels)


def filled(frame: RawFrame):
    luma, blue, red = planes_of(frame.i420)
    return luma == BLACK, (blue == COLOURLESS) & (red == COLOURLESS)


corner = st.tuples(st.integers(0, UNITS), st.integers(0, UNITS))


@given(mask=st.lists(corner, min_size=3, max_size=6).map(tuple))
def test_no_pixel_whose_middle_lies_in_a_mask_keeps_its_luma_or_its_colour(mask) -> None:
    frame = Burner([mask]).burn(a_noisy_frame())
    luma, colour = filled(frame)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    middles = np.stack([(columns.ravel() + 0.5) / WIDTH, (rows.ravel() + 0.5) / HEIGHT], axis=1)
    masked = inside(np.array(mask, np.float64) / UNITS, middles).reshape(HEIGHT, WIDTH)
    assert luma[masked].all()
    assert colour[np.nonzero(masked)[0] // 2, np.nonzero(masked)[1] // 2].all()
    assert (luma == colour.repeat(2, axis=0).repeat(2, axis=1)).all(), "luma and colour cover the same blocks"


def test_what_is_not_masked_stays_as_it_was_beyond_two_pixels_of_margin() -> None:
    before = a_noisy_frame().i420.copy()
    frame = Burner([LEFT_HALF]).burn(a_noisy_frame())
    assert frame.width == WIDTH
    kept = slice(WIDTH // 2 + 2, None)
    assert (frame.i420[:HEIGHT, kept] == before[:HEIGHT, kept]).all()
    assert (frame.i420[:HEIGHT, : WIDTH // 2] == BLACK).all()


@pytest.mark.parametrize(
    ("masks", "shows"),
    [
        pytest.param([], True, id="no-mask-is-a-decision-too"),
        pytest.param([((0, 0), (10_000, 0), (10_000, 10_000), (0, 10_000))], False, id="everything"),
    ],
)
def test_none_and_all(masks, shows) -> None:
    frame = Burner(masks).burn(a_noisy_frame())
    assert bool((frame.i420[:HEIGHT] != BLACK).any()) is shows


def test_masks_fit_a_camera_that_changes_the_size_of_its_picture() -> None:
    burner = Burner([ROOF])
    for width, height in ((64, 48), (128, 72), (64, 48)):
        luma, _ = filled(burner.burn(a_noisy_frame(width, height)))
        expected = blocks_of([ROOF], width, height).repeat(2, axis=0).repeat(2, axis=1)
        assert (luma == expected).all()


def test_a_picture_that_may_not_be_written_to_is_copied_not_shown() -> None:
    frame = a_noisy_frame()
    frame.i420.flags.writeable = False
    luma, _ = filled(Burner([LEFT_HALF]).burn(frame))
    assert luma[:, : WIDTH // 2].all()


class OneFrame:
    """A capture with one frame."""

    camera = "gare"

    def __init__(self) -> None:
        self._frames = [a_noisy_frame()]

    @property
    def has_frame(self) -> bool:
        return bool(self._frames)

    def take(self) -> RawFrame | None:
        return self._frames.pop() if self._frames else None


def test_a_masked_capture_gives_masked_frames_alone() -> None:
    masked = Masked(OneFrame(), [ROOF])
    assert (masked.camera, masked.has_frame) == ("gare", True)
    frame = masked.take()
    assert frame is not None
    assert filled(frame)[0].any()
    assert (masked.has_frame, masked.take()) == (False, None)
