"""The detector on pictures whose contents are known, through the real inference path."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from eye_builders import a_frame, a_street, sprite_card, sprite_package, with_sprite
from veilleur_agent.eye.detect import Detector, DetectorFailedError, DetectorRejectedError, even_letterbox_of
from veilleur_agent.eye.records import RawFrame
from veilleur_contracts.messages import Label
from veilleur_models.errors import ModelOutputError

BOX = (0.4, 0.3, 0.5, 0.6)


@pytest.fixture(scope="module")
def detector():
    with Detector(sprite_package()) as one:
        yield one


@pytest.mark.parametrize(
    ("width", "height"),
    [(640, 384), (768, 576), (704, 576), (1920, 1080), (480, 854), (352, 288), (642, 386)],
)
def test_a_sprite_is_found_where_it_is_whatever_the_size_of_the_frame(detector, width, height) -> None:
    found = detector.detect(a_frame(with_sprite(a_street(width, height), Label.BUS, BOX)))
    assert found.labels.tolist() == [Label.BUS]
    cell_px = 2.5 * max(width / 640, height / 384)
    sides = np.array([width, height, width, height])
    np.testing.assert_allclose(found.boxes[0] * sides, np.array(BOX) * sides, atol=cell_px)


@pytest.mark.parametrize("label", list(Label))
def test_every_label_is_told_from_the_others(detector, label) -> None:
    assert detector.detect(a_frame(with_sprite(a_street(), label, BOX))).labels.tolist() == [label]


def test_an_empty_street_is_empty(detector) -> None:
    found = detector.detect(a_frame(a_street()))
    assert len(found) == 0
    assert (found.boxes.shape, found.boxes.dtype, found.labels.dtype) == ((0, 4), np.float32, np.int8)


def test_a_small_frame_after_a_large_one_sees_nothing_of_it(detector) -> None:
    """The canvas is used again: what stood in the large frame's place must not shine through the padding."""
    detector.detect(a_frame(with_sprite(a_street(640, 384), Label.CAR, (0.0, 0.0, 1.0, 1.0))))
    for _ in range(2 * detector.in_flight):
        assert len(detector.detect(a_frame(a_street(384, 384)))) == 0
        detector.detect(a_frame(with_sprite(a_street(640, 384), Label.CAR, (0.0, 0.0, 1.0, 1.0))))


def test_many_frames_come_back_in_their_order_each_with_what_it_showed(detector) -> None:
    labels = [Label(number % len(Label)) for number in range(40)]
    frames = [a_frame(with_sprite(a_street(), label, BOX), number=n) for n, label in enumerate(labels)]
    looked = list(detector.detect_each(frames))
    assert [frame.number for frame, _ in looked] == list(range(40))
    assert [found.labels.tolist() for _, found in looked] == [[label] for label in labels]


def test_no_more_frames_are_held_than_are_looked_at(detector) -> None:
    drawn = 0

    def frames():
        nonlocal drawn
        for number in range(20):
            drawn += 1
            yield a_frame(a_street(), number=number)

    for number, _ in enumerate(detector.detect_each(frames())):
        assert drawn <= number + detector.in_flight


def test_frames_of_many_cameras_each_get_their_own_answer(detector) -> None:
    sizes = itertools.cycle(((640, 384), (768, 576), (352, 288)))
    for labels in itertools.islice(itertools.permutations(Label, detector.in_flight), 0, None, 9):
        frames = [a_frame(with_sprite(a_street(*next(sizes)), label, BOX)) for label in labels]
        looks = [detector.begin(frame) for frame in frames]
        assert [look.frame for look in looks] == frames
        assert [look.result().labels.tolist() for look in reversed(looks)] == [[label] for label in reversed(labels)]
        assert detector._idle.qsize() == detector.in_flight


def test_what_is_broken_off_leaves_the_detector_as_it_was(detector) -> None:
    looked = detector.detect_each(a_frame(a_street(), number=number) for number in range(10))
    next(looked)
    looked.close()
    assert detector._idle.qsize() == detector.in_flight
    assert detector.detect(a_frame(with_sprite(a_street(), Label.CAR, BOX))).labels.tolist() == [Label.CAR]


def test_what_is_no_picture_is_an_error_and_never_an_empty_street(detector) -> None:
    with pytest.raises(ValueError, match="not an I420 picture"):
        detector.detect(RawFrame("gare", 0, 0, np.zeros((100, 64), np.uint8)))


def test_an_answer_that_cannot_be_read_is_an_error_and_never_an_empty_street() -> None:
    with Detector(sprite_package()) as broken:
        for _ in range(broken.in_flight):
            lane = broken._idle.get()
            lane._outputs = {"colour": np.full((1, 1, 192, 320), np.nan, np.float32)}
            broken._idle.put(lane)
        with pytest.raises(ModelOutputError):
            broken.detect(a_frame(a_street()))


class Failing:
    """A request whose computation cannot be started, or fails on the way."""

    def __init__(self, step: str) -> None:
        self.step = step

    def fail(self, step: str) -> bool:
        if step == self.step:
            raise RuntimeError("/secret/path: out of memory")
        return True

    def start_async(self) -> None:
        self.fail("start")

    def wait_for(self, _wait_ms: int) -> bool:
        return self.fail("run")

    def wait(self) -> None:
        self.fail("run")


@pytest.mark.parametrize("step", ["start", "run"])
def test_a_computation_that_fails_is_an_error_and_the_next_frame_is_looked_at(step) -> None:
    with Detector(sprite_package()) as failing:
        lanes = [failing._idle.get() for _ in range(failing.in_flight)]
        requests = [lane._request for lane in lanes]
        for lane in lanes:
            lane._request = Failing(step)
            failing._idle.put(lane)
        look = failing.begin(a_frame(a_street()))
        assert look.is_done(0.0)
        with pytest.raises(DetectorFailedError) as caught:
            look.result()
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None
        failing.begin(a_frame(a_street())).abandon()
        for lane, request in zip(lanes, requests, strict=True):
            lane._request = request
        assert failing.detect(a_frame(with_sprite(a_street(), Label.CAR, BOX))).labels.tolist() == [Label.CAR]


@pytest.mark.parametrize("field", ["xml", "weights"])
def test_a_graph_that_is_no_graph_is_refused_with_a_sentence(field) -> None:
    with pytest.raises(DetectorRejectedError, match="build it again"):
        Detector(replace(sprite_package(), **{field: b"<net/>"}))


def test_a_device_that_is_not_there_is_refused_with_a_sentence() -> None:
    with pytest.raises(DetectorRejectedError, match="sprite cannot be run on NPU7"):
        Detector(sprite_package(), device="NPU7")


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (704, 576), (333, 777), (1, 1000), (8192, 16)])
def test_a_letterbox_lies_on_even_pixels_inside_the_input(width, height) -> None:
    fit = even_letterbox_of(width, height, sprite_card())
    assert not any(value % 2 for value in (fit.left, fit.top, fit.content_width, fit.content_height))
    assert fit.content_width > 0 < fit.content_height
    assert fit.left >= 0 <= fit.top
    assert fit.left + fit.content_width <= fit.input_width
    assert fit.top + fit.content_height <= fit.input_height
