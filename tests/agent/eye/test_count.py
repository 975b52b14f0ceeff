"""One file or stream counted without any fleet, through the real reader, network, tracker and lines."""

import threading
from dataclasses import replace

import av
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_builders import a_clip, a_walk, sprite_package, white_faces_package
from veilleur_agent.eye.address import (
    CameraMissingError,
    CameraUnreachableError,
    SourceRejectedError,
    StreamCorruptError,
)
from veilleur_agent.eye.clips import PreviewRejectedError
from veilleur_agent.eye.count import CountRejectedError, CountStoppedError, count_source, line_of, lines_of
from veilleur_agent.eye.detect import DetectorRejectedError
from veilleur_contracts.messages import Label

MIDDLE = lines_of(["kerb:0.5,0.95:0.5,0.05"])
SECRET = "s3cr3t"  # noqa: S105 - made up


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Somebody goes from left to right in four seconds."""
    return a_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", a_walk(40))


@pytest.mark.parametrize("label", [Label.PERSON, Label.BICYCLE, Label.BUS])
def test_one_road_user_is_counted_once(tmp_path, label) -> None:
    clip = a_clip(tmp_path / "clip.mp4", a_walk(40, label=label))
    report = count_source(str(clip), MIDDLE, sprite_package()).report
    totals = {name: (one.left_to_right, one.right_to_left) for name, one in report.lines["kerb"].items()}
    assert totals == {one.name.lower(): (int(one is label), 0) for one in Label}


def test_the_report_is_one_object_that_names_everything(walk) -> None:
    counted = count_source(str(walk), lines_of(["a:0.5,0.95:0.5,0.05", "b:0.5,0.05:0.5,0.95"]), sprite_package())
    assert counted.fault is None
    said = msgspec.json.decode(msgspec.json.encode(counted.report))
    assert list(said) == ["source", "frames", "seconds", "lines"]
    assert (said["source"], said["frames"], said["seconds"]) == (str(walk), 20, 4.0)
    assert list(said["lines"]) == ["a", "b"]
    assert list(said["lines"]["a"]) == ["person", "bicycle", "car", "motorcycle", "bus", "truck"]
    assert said["lines"]["a"]["person"] == {"left_to_right": 1, "right_to_left": 0}
    assert said["lines"]["b"]["person"] == {"left_to_right": 0, "right_to_left": 1}


def test_the_same_file_counts_the_same_every_time(walk) -> None:
    assert count_source(str(walk), MIDDLE, sprite_package()) == count_source(str(walk), MIDDLE, sprite_package())


def test_progress_tells_of_every_frame(walk) -> None:
    told = []
    count_source(str(walk), MIDDLE, sprite_package(), progress=told.append)
    assert [one.frames for one in told] == list(range(1, 21))
    assert told[-1].seconds == pytest.approx(4.0)
    assert told[-1].expected_s == pytest.approx(4.0)


def test_a_count_ends_when_its_time_is_over(walk) -> None:
    counted = count_source(str(walk), MIDDLE, sprite_package(), seconds=1.0)
    assert (counted.report.frames, counted.report.seconds, counted.fault) == (5, 1.0, None)


def test_a_preview_shows_the_frames_that_were_analysed(walk, tmp_path) -> None:
    count_source(str(walk), MIDDLE, sprite_package(), preview=tmp_path / "out.mp4", faces=white_faces_package())
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 5 for n in range(20)])


def test_a_file_cut_short_is_counted_as_far_as_it_goes_and_said_to_be(tmp_path) -> None:
    clip = a_clip(tmp_path / "clip.mkv", a_walk(100), options={"g": "10"})
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 3 // 4])
    counted = count_source(str(clip), MIDDLE, sprite_package())
    assert isinstance(counted.fault, StreamCorruptError)
    assert "cut short" in str(counted.fault)
    assert 20 < counted.report.frames < 50
    assert counted.report.lines["kerb"]["person"].left_to_right == 1


def test_a_user_who_has_had_enough_gets_what_was_counted(walk) -> None:
    def enough(progress) -> None:
        if progress.frames == 15:
            raise KeyboardInterrupt

    counted = count_source(str(walk), MIDDLE, sprite_package(), progress=enough)
    assert isinstance(counted.fault, CountStoppedError)
    assert counted.report.frames == 15
    assert counted.report.lines["kerb"]["person"].left_to_right == 1


def test_no_thread_is_left_behind(walk) -> None:
    before = set(threading.enumerate())
    count_source(str(walk), MIDDLE, sprite_package(), seconds=1.0)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("source", "error"),
    [
        pytest.param("no-such-file.mp4", CameraMissingError, id="missing"),
        pytest.param("ftp://host/x", SourceRejectedError, id="kind"),
        pytest.param(f"rtsp://veil:{SECRET}@127.0.0.1:1/main", CameraUnreachableError, id="unreachable"),
    ],
)
def test_a_source_that_gives_nothing_is_an_error_without_its_password(source, error) -> None:
    with pytest.raises(error) as caught:
        count_source(source, MIDDLE, sprite_package(), seconds=1.0)
    assert SECRET not in str(caught.value)


def test_a_model_that_cannot_be_run_is_refused(walk) -> None:
    with pytest.raises(DetectorRejectedError, match="build it again"):
        count_source(str(walk), MIDDLE, replace(sprite_package(), xml=b"<net/>"))


def test_a_preview_that_cannot_be_written_is_refused(walk, tmp_path) -> None:
    with pytest.raises(PreviewRejectedError):
        count_source(
            str(walk), MIDDLE, sprite_package(), preview=tmp_path / "no" / "out.mp4", faces=white_faces_package()
        )


@pytest.mark.parametrize("wish", [{"fps": 0.0}, {"fps": float("nan")}, {"fps": 1000.0}, {"seconds": 0.0}])
def test_a_rate_or_time_that_makes_no_sense_is_refused(walk, wish) -> None:
    with pytest.raises(CountRejectedError, match="--fps"):
        count_source(str(walk), MIDDLE, sprite_package(), **wish)


def test_a_line_is_read_as_it_is_written() -> None:
    line = line_of("kerb:0.1,0.6:0.9,0.65")
    assert (line.id, line.start, line.end) == ("kerb", (0.1, 0.6), (0.9, 0.65))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("kerb", "not written like", id="no-points"),
        pytest.param("kerb:0.1,0.6", "not written like", id="one-point"),
        pytest.param("kerb:0.1,0.6:0.9,0.6:1,1", "not written like", id="three-points"),
        pytest.param("kerb:0.1:0.9", "not written like", id="half-points"),
        pytest.param("kerb:a,b:c,d", "numbers from 0 to 1", id="no-numbers"),
        pytest.param("Kerb!:0.1,0.6:0.9,0.6", "its name may hold", id="name"),
        pytest.param(":0.1,0.6:0.9,0.6", "its name may hold", id="no-name"),
        pytest.param("kerb:0.1,0.6:0.1,0.6", "no length", id="no-length"),
        pytest.param("kerb:0.1,0.6:1.9,0.6", "leaves the frame", id="outside"),
        pytest.param("kerb:0.1,-0.6:0.9,0.6", "leaves the frame", id="negative"),
        pytest.param("kerb:nan,0.6:0.9,0.6", "leaves the frame", id="nan"),
        pytest.param("kerb:inf,0.6:0.9,0.6", "leaves the frame", id="infinite"),
    ],
)
def test_a_line_that_cannot_be_counted_over_is_refused_with_a_sentence(text, sentence) -> None:
    with pytest.raises(CountRejectedError, match=sentence):
        line_of(text)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        pytest.param([], "give 1 to 16 lines", id="none"),
        pytest.param(["a:0,0:1,1", "a:0,1:1,0"], "there twice", id="twice"),
        pytest.param([f"l{n}:0,0:1,1" for n in range(17)], "give 1 to 16 lines", id="too-many"),
    ],
)
def test_lines_that_cannot_be_counted_together_are_refused(texts, sentence) -> None:
    with pytest.raises(CountRejectedError, match=sentence):
        lines_of(texts)


@given(st.text(max_size=80))
def test_whatever_is_written_a_line_is_read_or_refused_shortly(text) -> None:
    refusal = ""
    try:
        line_of(text)
    except CountRejectedError as error:
        refusal = str(error)
    assert len(refusal) < 400
