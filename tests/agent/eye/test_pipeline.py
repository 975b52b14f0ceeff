"""The stages of one camera in their order, on what a detector would say."""

import pytest

from eye_builders import a_frame, a_street, detections_of
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.records import Crossing, no_detections
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Camera, Line

STREET = a_street(320, 192)
KERB = Line(id="kerb", start=(0.5, 0.95), end=(0.5, 0.05))


def a_pipeline(**changes: object) -> Pipeline:
    camera = Camera(id="gare", insee="30189", source="clip.mp4", line=(KERB,), **changes)
    return Pipeline(camera, count_score=0.4)


def walked(pipeline: Pipeline, label: Label, xs: list[float], *, start_ms: int = 0) -> list[Crossing]:
    crossings: list[Crossing] = []
    for number, x in enumerate(xs):
        frame = a_frame(STREET, number=number, at_ms=start_ms + 200 * number)
        found = detections_of((label, (x - 0.03, 0.4, x + 0.03, 0.7)))
        crossings += pipeline.step(frame, found).crossings
    return crossings


def steps(first: float, last: float, count: int = 20) -> list[float]:
    return [first + (last - first) * n / (count - 1) for n in range(count)]


@pytest.mark.parametrize("label", list(Label))
def test_one_road_user_over_a_line_is_one_crossing(label) -> None:
    pipeline = a_pipeline()
    crossings = walked(pipeline, label, steps(0.2, 0.8)) + list(pipeline.close())
    assert [(one.line, one.label, one.direction) for one in crossings] == [(0, label, Direction.LEFT_TO_RIGHT)]
    assert 1500 < crossings[0].at_ms < 2300


def test_a_label_that_is_not_counted_is_followed_and_not_counted() -> None:
    pipeline = a_pipeline(labels=("car",))
    assert walked(pipeline, Label.PERSON, steps(0.2, 0.8)) + list(pipeline.close()) == []


def test_a_step_shows_what_was_found_and_who_is_followed() -> None:
    pipeline = a_pipeline()
    walked(pipeline, Label.CAR, steps(0.2, 0.3, 6))
    found = detections_of((Label.CAR, (0.28, 0.4, 0.34, 0.7)))
    step = pipeline.step(a_frame(STREET, at_ms=1200), found)
    assert step.detections is found
    assert step.tracks.labels.tolist() == [Label.CAR]


def test_a_picture_of_another_shape_ends_what_was_followed_in_the_old_one() -> None:
    pipeline = a_pipeline()
    walked(pipeline, Label.PERSON, steps(0.2, 0.45))
    other = a_frame(a_street(192, 320), at_ms=4200)
    assert len(pipeline.step(other, no_detections()).tracks) == 0
    assert walked(pipeline, Label.PERSON, steps(0.55, 0.9), start_ms=4400) == []


def test_a_pipeline_that_was_closed_begins_anew() -> None:
    pipeline = a_pipeline()
    assert pipeline.close() == ()
    first = walked(pipeline, Label.PERSON, steps(0.2, 0.8)) + list(pipeline.close())
    second = walked(pipeline, Label.PERSON, steps(0.2, 0.8)) + list(pipeline.close())
    assert first == second
    assert len(first) == 1
