"""A preview shows every analysed frame once, filled, with what was counted at that very frame."""

from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from eye_builders import a_clip, a_frame, a_street, sprite_package, white_faces_package, with_sprite
from veilleur_agent.eye.clips import LINE_COLOUR, PreviewWriter
from veilleur_agent.eye.count import CountRejectedError, _shown_fps_of, count_source, lines_of
from veilleur_agent.eye.detect import Detector, DetectorFailedError
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.preview import Preview, Sifted, is_readable
from veilleur_agent.eye.records import RawFrame, RedactedFrame, Tracks
from veilleur_agent.eye.redact import FILL
from veilleur_contracts.messages import Direction, Label
from veilleur_models.sprite import PALETTE
from veilleur_simulator.scenario import read_scenario
from veilleur_simulator.street import Street

MIDDLE = lines_of(["kerb:0.5,0.95:0.5,0.05"])
SCENARIOS = Path(__file__).parents[3] / "simulator" / "scenarios"
RED = np.array(PALETTE[Label.PERSON], np.int16)


def a_day() -> np.ndarray:
    """A street under a bright sky: flatter ones are filled whole."""
    picture = a_street()
    picture[:90] += 80
    return picture


def a_day_walk(steps: int) -> list[np.ndarray]:
    places = (0.08 + 0.84 * step / (steps - 1) for step in range(steps))
    return [with_sprite(a_day(), Label.PERSON, (x - 0.03, 0.4, x + 0.03, 0.7)) for x in places]


def pictures_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def reds_of(picture: np.ndarray) -> int:
    """Pixels that still show the person's own colour."""
    return int((np.abs(picture.astype(np.int16) - RED).max(axis=2) < 40).sum())


def test_nobody_is_left_in_any_picture(tmp_path) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_day_walk(40))
    assert min(reds_of(picture) for picture in pictures_of(clip)[2:-2]) > 1000
    count_source(str(clip), MIDDLE, sprite_package(), preview=tmp_path / "out.mp4", faces=white_faces_package())
    shown = pictures_of(tmp_path / "out.mp4")
    assert len(shown) == 20
    assert max(reds_of(picture) for picture in shown) == 0
    assert min(np.abs(picture[300:, :250].astype(int) - a_day()[300:, :250]).max() for picture in shown) < 30


def test_frames_shown_between_those_counted_leave_nobody_and_change_no_count(tmp_path) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_day_walk(40))
    wish = {"preview": tmp_path / "out.mp4", "faces": white_faces_package()}
    shown = count_source(str(clip), MIDDLE, sprite_package(), preview_fps=10.0, **wish)
    assert shown == count_source(str(clip), MIDDLE, sprite_package())
    pictures = pictures_of(tmp_path / "out.mp4")
    assert len(pictures) == 40
    assert max(reds_of(picture) for picture in pictures) == 0
    grey = [float(picture[:, :200].std()) < 2.0 for picture in pictures]
    assert grey == [False] * 39 + [True], "no look comes after the last frame: it shows nothing"


@pytest.mark.parametrize(("fps", "preview_fps"), [(0.1, 0.3), (0.7, 4.9), (5.0, 15.0)])
def test_a_multiple_is_one_though_floats_divide_it_a_little_off(fps, preview_fps) -> None:
    assert _shown_fps_of(fps, None, preview_fps) == preview_fps


@pytest.mark.parametrize("preview_fps", [2.5, 7.5, 65.0, 0.0, -5.0, float("nan"), float("inf")])
def test_a_preview_shows_as_many_frames_as_are_counted_or_a_multiple(tmp_path, preview_fps) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_day_walk(4))
    wish = {"preview": tmp_path / "out.mp4", "faces": white_faces_package()}
    with pytest.raises(CountRejectedError, match="--preview-fps"):
        count_source(str(clip), MIDDLE, sprite_package(), preview_fps=preview_fps, **wish)
    assert not (tmp_path / "out.mp4").exists()


def test_a_face_nobody_belongs_to_is_filled_in_frames_passed_over_too() -> None:
    shown: list[RedactedFrame] = []
    with (
        Detector(sprite_package()) as people,
        Detector(white_faces_package()) as faces,
        Preview(Kept(shown), people, faces) as preview,
    ):
        for number in range(0, 60, 3):
            frames = [a_face_at(number + later) for later in range(-2, 1) if number]
            looked = frames.pop() if frames else a_face_at(0)
            preview.show(looked, people.detect(looked), NOBODY, {}, frames)
        preview.close()
    assert [one.number for one in shown] == list(range(58))
    for one in shown:
        assert planes_of(one.i420)[0][111:129, 191:209].max() == FILL[0]
        assert one.filled_share < 0.5


def a_face_at(number: int) -> RawFrame:
    picture = a_day()
    cv2.circle(picture, (200, 120), 9, (250, 250, 250), -1)
    return a_frame(picture, number=number, at_ms=number * 66)


class Kept:
    """Keeps what is shown where a file would be written."""

    def __init__(self, shown: list[RedactedFrame]) -> None:
        self._shown = shown

    def write(self, frame: RedactedFrame, tracks: Tracks, totals: object) -> None:
        del tracks, totals
        self._shown.append(frame)


@pytest.mark.parametrize("step_ms", [33, 100, 200, 500])
def test_frames_are_parted_into_those_looked_at_and_those_between(step_ms) -> None:
    frames = [RawFrame("gare", number, number * step_ms, a_frame(a_day()).i420) for number in range(30)]
    sifted, told = Sifted(frames, 5.0), list[RawFrame]()
    looked: list[int] = []
    for frame in sifted.looked_at():
        told += [*sifted.before(frame), frame]
        looked.append(frame.at_ms)
    assert [one.number for one in (*told, *sifted.before(None))] == list(range(30))
    first_of = {frame.at_ms // 200: frame.at_ms for frame in reversed(frames)}
    assert looked == sorted(first_of.values())


def test_a_face_nobody_belongs_to_is_filled(tmp_path) -> None:
    pictures = []
    for _ in range(20):
        picture = a_day()
        cv2.circle(picture, (200, 120), 9, (250, 250, 250), -1)
        pictures.append(picture)
    clip = a_clip(tmp_path / "face.mp4", pictures)
    count_source(str(clip), MIDDLE, sprite_package(), preview=tmp_path / "out.mp4", faces=white_faces_package())
    for picture in pictures_of(tmp_path / "out.mp4"):
        assert picture[108:132, 188:212].max() < 150
        assert np.abs(picture[300:380, 40:280].astype(int) - a_day()[300:380, 40:280]).mean() < 6


def test_lines_and_tracks_are_drawn_on_the_frame_they_belong_to(tmp_path) -> None:
    package = sprite_package()
    out = tmp_path / "out.mp4"
    with (
        Detector(package) as people,
        Detector(white_faces_package()) as faces,
        PreviewWriter(out, lines_of(["far:0.97,0.95:0.97,0.7"])) as writer,
        Preview(writer, people, faces) as preview,
    ):
        for number in range(15):
            left = 0.1 + 0.05 * number
            frame = a_frame(a_day(), number=number, at_ms=number * 200)
            preview.show(frame, people.detect(frame), track_at((left, 0.3, left + 0.04, 0.5)), totals(number))
        preview.close()
    shown = pictures_of(tmp_path / "out.mp4")
    assert len(shown) == 15
    for number, picture in enumerate(shown):
        marks = np.abs(picture.astype(np.int16) - (80, 80, 255)).max(axis=2) < 90
        columns = np.nonzero(marks[118:190].sum(axis=0) > 5)[0]
        assert abs(columns.min() / 640 - (0.1 + 0.05 * number)) < 0.01
        assert (np.abs(picture.astype(np.int16) - LINE_COLOUR).max(axis=2) < 90).any()


def track_at(box: tuple[float, float, float, float]) -> Tracks:
    one = np.array([box], np.float32)
    yes = np.ones(1, np.bool_)
    return Tracks(np.ones(1, np.int64), one, np.zeros(1, np.int8), yes, yes, one, np.zeros(1, np.int64))


def totals(number: int) -> dict[str, dict[Direction, int]]:
    return {"far": dict.fromkeys(Direction, number)}


class FailingFaces(Detector):
    """A detector of faces that fails on the frames it is told to."""

    def __init__(self, failing: set[int]) -> None:
        super().__init__(white_faces_package())
        self._failing = failing

    def begin(self, frame: RawFrame):
        look = super().begin(frame)
        if frame.number in self._failing:
            look._lane._is_begun, begun = False, look._lane._is_begun
            assert begun
            look._lane._request.wait()
        return look


def test_a_frame_whose_faces_could_not_be_looked_for_is_filled_whole(tmp_path) -> None:
    street = with_sprite(a_day(), Label.CAR, (0.2, 0.4, 0.4, 0.6))
    with Detector(sprite_package()) as people, FailingFaces({6}) as faces:
        with pytest.raises(DetectorFailedError):
            faces.detect(a_frame(street, number=6))
        with PreviewWriter(tmp_path / "out.mp4", ()) as writer, Preview(writer, people, faces) as preview:
            for number in range(12):
                frame = a_frame(street, number=number, at_ms=number * 200)
                preview.show(frame, people.detect(frame), NOBODY, {})
            preview.close()
    spread = [float(picture.std()) for picture in pictures_of(tmp_path / "out.mp4")]
    assert [number for number, value in enumerate(spread) if value < 1.0] == [6]


NOBODY = Tracks(
    np.empty(0, np.int64),
    np.empty((0, 4), np.float32),
    np.empty(0, np.int8),
    np.empty(0, np.bool_),
    np.empty(0, np.bool_),
    np.empty((0, 4), np.float32),
    np.empty(0, np.int64),
)


def test_a_preview_given_up_leaves_no_file(tmp_path) -> None:
    with Detector(sprite_package()) as people, Detector(white_faces_package()) as faces:
        frame = a_frame(a_day())
        out = tmp_path / "out.mp4"
        with suppress(ZeroDivisionError), PreviewWriter(out, ()) as writer, Preview(writer, people, faces) as preview:
            preview.show(frame, people.detect(frame), NOBODY, {})
            raise ZeroDivisionError
        assert faces.detect(frame).boxes.shape == (0, 4)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_count_shows_what_was_counted(tmp_path) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_day_walk(40))

    def enough(progress) -> None:
        if progress.frames == 9:
            raise KeyboardInterrupt

    out = tmp_path / "out.mp4"
    wish = {"preview": out, "faces": white_faces_package(), "progress": enough}
    assert count_source(str(clip), MIDDLE, sprite_package(), **wish).report.frames == 9
    assert len(pictures_of(out)) == 9


def test_a_preview_without_a_model_of_faces_is_refused(tmp_path) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_day_walk(4))
    with pytest.raises(CountRejectedError, match="faces"):
        count_source(str(clip), MIDDLE, sprite_package(), preview=tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("light", "noise"),
    [
        pytest.param(16, 0, id="black"),
        pytest.param(20, 6, id="dark-with-noise"),
        pytest.param(110, 0, id="covered"),
        pytest.param(110, 8, id="covered-with-noise"),
        pytest.param(235, 0, id="blinded"),
    ],
)
def test_what_nobody_could_be_found_in_is_unreadable(light, noise) -> None:
    chance = np.random.default_rng(1)
    i420 = np.clip(light + chance.normal(0, noise, (360 * 3 // 2, 640)), 0, 255).astype(np.uint8)
    assert not is_readable(RawFrame("gare", 0, 0, i420))


@pytest.mark.parametrize("level", [pytest.param(20, id="at-night"), pytest.param(200, id="in-fog")])
@pytest.mark.parametrize(("contrast", "readable"), [(40, True), (10, False)])
def test_a_street_of_too_little_contrast_is_unreadable(level, contrast, readable) -> None:
    i420 = a_frame(a_day()).i420.astype(np.float64)
    low, high = np.percentile(i420[:360], (1, 99))
    flat = level + (i420 - low) * contrast / (high - low)
    assert is_readable(RawFrame("gare", 0, 0, np.clip(flat, 0, 255).astype(np.uint8))) == readable


@pytest.mark.parametrize("name", ["street-day", "street-night", "street-rain", "street-busy"])
def test_a_street_is_readable_by_day_by_night_and_in_the_rain(name) -> None:
    street = Street(read_scenario(SCENARIOS / f"{name}.toml"))
    assert all(is_readable(a_frame(street.picture(at_s))) for at_s in (0.5, 7.0, 19.0, 31.0))


def test_a_covered_camera_gives_a_preview_that_shows_nothing(tmp_path) -> None:
    clip = a_clip(tmp_path / "covered.mp4", [np.full((384, 640, 3), 60, np.uint8)] * 20)
    out = tmp_path / "out.mp4"
    count_source(str(clip), MIDDLE, sprite_package(), preview=out, faces=white_faces_package())
    assert all(abs(int(picture[20, 20, 1]) - 128) < 6 for picture in pictures_of(out))
