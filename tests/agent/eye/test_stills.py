"""A still is taken every so often, nobody is in it, and where there is any doubt there is none."""

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest

from eye_builders import Picture, a_frame, a_street, sprite_package, white_faces_package, with_sprite
from veilleur_agent.eye.clips import still_of
from veilleur_agent.eye.detect import Detector, DetectorFailedError
from veilleur_agent.eye.hold import DELAY_FRAMES
from veilleur_agent.eye.records import RedactedFrame
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.stills import WARM_FRAMES, Checks, Detectors, Spared, Stills, looks_of
from veilleur_contracts.messages import Label
from veilleur_models.sprite import PALETTE

FPS = 5.0
WALK = (0.4, 0.4, 0.46, 0.7)


@pytest.fixture(scope="module")
def people() -> Iterator[Detector]:
    with Detector(sprite_package()) as one:
        yield one


@pytest.fixture(scope="module")
def faces() -> Iterator[Detector]:
    with Detector(white_faces_package()) as one:
        yield one


def a_day(*, somebody: bool = True) -> Picture:
    picture = a_street()
    picture[:90] += 80
    return with_sprite(picture, Label.PERSON, WALK) if somebody else picture


class Camera:
    """Shows one picture, frame by frame, to the stills of one camera."""

    def __init__(self, stills: Stills, people: Detector) -> None:
        self.stills, self._people = stills, people
        self.number, self.now_s = 0, 0.0

    def show(self, picture: Picture, frames: int, *, failed: bool = False) -> list[RedactedFrame]:
        kept = []
        for _ in range(frames):
            frame = a_frame(picture, number=self.number, at_ms=round(self.now_s * 1000))
            found = None if failed else self._people.detect(frame)
            fault = DetectorFailedError("failed") if failed else None
            still = self.stills.take(Analysed(frame, found, fault), self.now_s)
            kept += [] if still is None else [still]
            self.number += 1
            self.now_s += 1 / FPS
        return kept


@pytest.fixture
def camera(people, faces) -> Camera:
    return Camera(Stills(20, Checks(people, faces)), people)


def test_one_still_comes_every_so_often_and_nobody_is_in_it(camera) -> None:
    kept = camera.show(a_day(), round(47 * FPS))
    assert len(kept) == 3
    apart_s = [(later.at_ms - one.at_ms) / 1000 for one, later in pairwise(kept)]
    assert all(20 <= apart <= 20.5 for apart in apart_s), apart_s
    for still in kept:
        picture = cv2.imdecode(np.frombuffer(still_of(still), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (384, 640, 3)
        assert (np.abs(picture.astype(int) - PALETTE[Label.PERSON]).max(axis=2) < 60).sum() == 0
        assert np.abs(picture[300:, :200].astype(int) - a_day()[300:, :200]).max() < 30, "the rest is there to see"


def test_the_still_itself_is_looked_at_again(people, faces) -> None:
    """A face that comes up in the still alone, and that no detector of people knows, is not kept."""
    camera = Camera(Stills(20, Checks(people, faces)), people)
    assert camera.show(a_day(), WARM_FRAMES) == []
    shown = a_day()
    cv2.circle(shown, (500, 250), 9, (250, 250, 250), -1)
    (still,) = [*camera.show(shown, 1), *camera.show(a_day(), DELAY_FRAMES)]
    picture = cv2.imdecode(np.frombuffer(still_of(still), np.uint8), cv2.IMREAD_COLOR)
    assert picture[240:260, 490:510].max() < 170


def test_what_nobody_could_look_at_is_withheld_and_the_next_one_comes_in_its_time(camera) -> None:
    assert camera.show(a_day(), WARM_FRAMES) == []
    assert camera.show(a_day(), DELAY_FRAMES + 1, failed=True) == []
    assert camera.stills.withheld == 1
    assert len(camera.show(a_day(), round(21 * FPS))) == 1


def test_a_street_too_dark_to_find_anybody_in_gives_no_still(camera) -> None:
    assert camera.show(np.full((384, 640, 3), 20, np.uint8), WARM_FRAMES + DELAY_FRAMES + 1) == []
    assert camera.stills.withheld == 1


def test_what_was_begun_is_dropped_when_nothing_may_be_kept(camera) -> None:
    camera.show(a_day(), WARM_FRAMES + 3)
    camera.stills.drop()
    assert camera.show(a_day(), round(15 * FPS)) == [], "the next one is due twenty seconds after the first began"
    assert len(camera.show(a_day(), round(10 * FPS))) == 1


def test_a_place_stays_free_for_looking_again(people, faces) -> None:
    assert looks_of(Detectors(people)) is people
    spared = looks_of(Detectors(people, faces))
    assert isinstance(spared, Spared)
    assert spared.in_flight == people.in_flight - 1 >= 1
    begun = [spared.begin(a_frame(a_day())) for _ in range(spared.in_flight)]
    assert len(people.detect(a_frame(a_day()))) >= 1
    for look in begun:
        look.abandon()


def test_only_a_redacted_frame_can_be_encoded() -> None:
    with pytest.raises(TypeError):
        still_of(a_frame(a_day()))
