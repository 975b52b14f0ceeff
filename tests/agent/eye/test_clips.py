"""What is written to a file was redacted before, and only whole files are left behind."""

import av
import cv2
import numpy as np
import pytest

from eye_builders import a_frame, a_street, detections_of, with_sprite
from veilleur_agent.eye.clips import PreviewRejectedError, PreviewWriter, draw
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import RedactedFrame, Tracks, no_detections
from veilleur_agent.eye.redact import Redactor
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

BOX = (0.4, 0.3, 0.5, 0.6)
KERB = Line(id="kerb", start=(0.2, 0.9), end=(0.8, 0.9))
TOTALS = {"kerb": {Direction.LEFT_TO_RIGHT: 3, Direction.RIGHT_TO_LEFT: 0}}


def tracks_of(*boxes: tuple[float, float, float, float]) -> Tracks:
    count = len(boxes)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Tracks(
        np.arange(count),
        corners,
        np.zeros(count, np.int8),
        np.ones(count, np.bool_),
        np.ones(count, np.bool_),
        corners,
        np.zeros(count, np.int64),
    )


def a_redacted(number: int, *, width: int = 640, height: int = 384) -> RedactedFrame:
    frame = a_frame(with_sprite(a_street(width, height), Label.PERSON, BOX), number=number, at_ms=number * 200)
    redactor = Redactor(lambda _: no_detections(), lambda _: True)
    assert redactor.redact(frame, [detections_of((Label.PERSON, BOX))]) == []
    (redacted,) = redactor.close()
    return redacted


def written(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "OUT.MP4"])
def test_a_preview_shows_lines_and_tracks_and_nobody(tmp_path, name) -> None:
    with PreviewWriter(tmp_path / name, [KERB]) as writer:
        for number in range(10):
            writer.write(a_redacted(number), tracks_of(BOX), TOTALS)
    pictures = written(tmp_path / name)
    assert len(pictures) == 10
    inside = pictures[5][130:220, 264:312].reshape(-1, 3).astype(int)
    assert np.abs(inside - 128).max() < 12, "where the red sprite stood there is grey"
    assert (pictures[5][340:352, 320, 0] < 60).any(), "the line, yellow on grey"
    assert (pictures[5][150, 250:262, 1] < 110).any(), "the track, red on grey"
    assert (pictures[5][150, 250:262, 2] > 180).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_frames_keep_their_time(tmp_path) -> None:
    with PreviewWriter(tmp_path / "out.mp4", []) as writer:
        for number in (3, 4, 9, 9, 8):
            writer.write(a_redacted(number), tracks_of(), {})
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([0.0, 0.2, 1.2])


def test_nothing_but_a_redacted_frame_can_be_written(tmp_path) -> None:
    raw = a_frame(a_street())
    with PreviewWriter(tmp_path / "out.mp4", []) as writer, pytest.raises(TypeError, match="only a RedactedFrame"):
        writer.write(raw, tracks_of(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_preview_that_is_broken_off_leaves_what_was_there_before(tmp_path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old one")

    def broken_off() -> None:
        with PreviewWriter(path, []) as writer:
            writer.write(a_redacted(0), tracks_of(), {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_of_another_size_is_fitted_to_the_first(tmp_path) -> None:
    with PreviewWriter(tmp_path / "out.mp4", []) as writer:
        writer.write(a_redacted(0), tracks_of(), {})
        writer.write(a_redacted(1, width=320, height=192), tracks_of(), {})
    assert [picture.shape for picture in written(tmp_path / "out.mp4")] == [(384, 640, 3)] * 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("out.gif", "ends in .mp4 or .mkv"), ("no/such/folder/out.mp4", "choose a folder"), ("out", "ends in .mp4")],
)
def test_a_preview_that_cannot_be_written_is_refused_before_anything_is_counted(tmp_path, name, sentence) -> None:
    with pytest.raises(PreviewRejectedError, match=sentence):
        PreviewWriter(tmp_path / name, [])


def test_a_place_that_turns_out_to_be_a_folder_is_told(tmp_path) -> None:
    (tmp_path / "out.mp4").mkdir()
    writer = PreviewWriter(tmp_path / "out.mp4", [])
    writer.write(a_redacted(0), tracks_of(), {})
    with pytest.raises(PreviewRejectedError, match="Is a directory"):
        writer.close()


def test_a_line_reaching_over_the_edge_of_small_pictures_is_drawn_all_the_same(tmp_path) -> None:
    edge = Line(id="edge", start=(0.0, 0.0), end=(1.0, 1.0))
    with PreviewWriter(tmp_path / "out.mp4", [edge]) as writer:
        writer.write(a_redacted(0, width=64, height=48), tracks_of((-0.2, -0.2, 1.4, 1.4)), {})
    picture = written(tmp_path / "out.mp4")[0]
    assert picture.shape == (48, 64, 3)
    assert cv2.absdiff(picture[:, :, 2], picture[:, :, 0]).max() > 60


@pytest.mark.parametrize("x", [0.02, 0.5, 0.99], ids=["left", "middle", "right"])
def test_a_label_is_read_over_the_fill_and_lies_within_the_frame(x) -> None:
    wide, high = 640, 384
    i420 = np.full((high * 3 // 2, wide), 128, np.uint8)
    draw(i420, [Line("kerb", (x, 0.0), (x, 0.9))], tracks_of(), {})
    luma, *colours = planes_of(i420)
    ground = luma < 60
    rows, columns = np.flatnonzero(ground.any(axis=1)), np.flatnonzero(ground.any(axis=0))
    assert columns[-1] - columns[0] > 110, "the whole of it"
    label = luma[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (label > 200).sum() > 100, "light letters"
    assert np.median(label) < 60, "on a dark ground"
    row, column = (rows[0] + 2) // 2, (columns[0] + columns[-1]) // 4
    assert len({plane[row, column] for plane in colours}) == 2, "no grey shows through in the colours"
