from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from simulator.streets import street
from veilleur_contracts.messages import Label
from veilleur_models.sprite import PALETTE
from veilleur_simulator.backdrop import canary_of
from veilleur_simulator.errors import FilmRejectedError
from veilleur_simulator.film import write_film
from veilleur_simulator.scenario import Dumped, Fault, Frame, Light, Nudge, Occluder, Scenario, Standing, User
from veilleur_simulator.street import Street

PERSON = Standing("person", (0.0, 8.0))


def extent_of(picture: npt.NDArray[np.uint8], label: Label) -> tuple[float, float, float, float]:
    """Where the colour of ``label`` is, fractions of the frame."""
    near = np.abs(picture.astype(int) - PALETTE[label]).max(axis=2) < 40
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    high, wide = near.shape
    return columns[0] / wide, rows[0] / high, (columns[-1] + 1) / wide, (rows[-1] + 1) / high


def test_a_sprite_fills_exactly_the_box_that_is_told() -> None:
    drawn = Street(street(standing=(PERSON,)))
    ((label, box),) = drawn.boxes(1.0)
    assert label is Label.PERSON
    assert extent_of(drawn.picture(1.0), label) == pytest.approx(box, abs=1.5 / 360)


def test_the_nearer_hides_the_farther() -> None:
    behind = Standing("car", (0.0, 9.0))
    drawn = Street(street(standing=(PERSON, behind), noise=0.0))
    assert [label for label, _ in drawn.boxes(0.0)] == [Label.CAR, Label.PERSON]
    person = drawn.boxes(0.0)[1][1]
    x, y = round((person[0] + person[2]) / 2 * 640), round((person[1] + person[3]) / 2 * 360)
    assert tuple(drawn.picture(0.0)[y, x]) == PALETTE[Label.PERSON]


def test_any_moment_can_be_drawn_again_the_same() -> None:
    scenario = street(rain=0.5, user=(User("person", ((-5.0, 8.0), (5.0, 8.0))),))
    assert np.array_equal(Street(scenario).picture(3.2), Street(scenario).picture(3.2))
    assert not np.array_equal(Street(scenario).picture(3.2), Street(scenario).picture(3.4))


def test_an_empty_street_shows_no_colour_of_a_road_user() -> None:
    picture = Street(street(dumped=(Dumped((0.0, 9.0)),), occluder=(Occluder((0.7, 0.0, 0.75, 1.0)),))).picture(0.0)
    chroma = picture.max(axis=2).astype(int) - picture.min(axis=2)
    assert chroma.max() < 60


def test_what_is_dumped_is_there_from_and_until() -> None:
    drawn = Street(street(noise=0.0, dumped=(Dumped((0.0, 9.0), from_s=5.0, to_s=10.0),)))
    before, during, after = (drawn.picture(at_s) for at_s in (4.9, 5.0, 10.0))
    assert np.array_equal(before, after)
    assert not np.array_equal(before, during)


def test_a_nudge_shifts_the_whole_view_from_its_moment_on() -> None:
    drawn = Street(street(noise=0.0, standing=(PERSON,), nudge=(Nudge(5.0, (0.05, -0.1)),)))
    before, after = drawn.picture(4.9), drawn.picture(5.0)
    right, down = round(0.05 * 640), round(0.1 * 360)
    assert np.array_equal(before[down:, :-right], after[:-down, right:])


def test_light_goes_evenly_from_one_moment_to_the_next() -> None:
    drawn = Street(street(noise=0.0, light=(Light(0.0, 1.0), Light(10.0, 0.4))))
    day, dusk, night = (float(drawn.picture(at_s).mean()) for at_s in (0.0, 5.0, 10.0))
    assert dusk / day == pytest.approx(0.7, abs=0.01)
    assert night / day == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        pytest.param("covered", 0.0, 3.0, id="covered-shows-nothing"),
        pytest.param("dark", 0.0, 3.0, id="dark-shows-next-to-nothing"),
        pytest.param("defocused", 3.0, 100.0, id="defocused-shows-blobs"),
    ],
)
def test_a_fault_spoils_the_picture_and_then_is_over(kind: str, least: float, most: float) -> None:
    fault = Fault(kind, 2.0, 4.0)
    drawn = Street(street(standing=(PERSON,), noise=0.0, fault=(fault,)))
    assert least <= float(drawn.picture(3.0).std()) <= most
    sharp, spoilt = (cv2.Laplacian(drawn.picture(at_s), cv2.CV_64F).var() for at_s in (4.0, 3.0))
    assert spoilt < sharp / 10


def test_a_frozen_camera_repeats_one_picture_to_the_byte() -> None:
    moving = User("person", ((-5.0, 8.0), (5.0, 8.0)))
    drawn = Street(street(user=(moving,), fault=(Fault("frozen", 2.0, 4.0),)))
    assert np.array_equal(drawn.picture(2.5), drawn.picture(3.9))
    assert not np.array_equal(drawn.picture(3.9), drawn.picture(4.1))


def planes_of(film: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]


def test_a_film_holds_every_picture_at_its_rate(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_film(Street(street(seconds=2.0)), tmp_path / "small.mp4", on_picture=lambda done, of: told.append((done, of)))
    with av.open(str(tmp_path / "small.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 12.5)
        assert [
            round(float(packet.pts * packet.time_base) * 12.5) for packet in container.demux(stream) if packet.size
        ] == list(range(25))
    assert told == [(number, 25) for number in range(1, 26)]
    assert [path.name for path in tmp_path.iterdir()] == ["small.mp4"]


def test_a_lossless_film_keeps_the_canary_to_the_byte(tmp_path: Path) -> None:
    frame = Frame("canary", 1.0, seed=9, width=640, height=360, canary=True, noise=0.0)
    write_film(Street(Scenario(frame)), tmp_path / "canary.mp4", lossless=True)
    luma = (16 + canary_of(9).astype(float) * 219 / 255).round()
    for planes in planes_of(tmp_path / "canary.mp4"):
        assert np.abs(planes[22:38, 40:104] - luma).max() <= 1


def test_a_film_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FilmRejectedError, match="cannot write the film"):
        write_film(Street(street(seconds=1.0)), tmp_path / "nowhere" / "small.mp4")
    assert list(tmp_path.iterdir()) == []
