"""Pictures out of real encoded clips: which are chosen, what they look like, and every way a clip can be bad."""

import base64
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_builders import a_clip, a_street, a_walk
from veilleur_agent.eye import source as source_module
from veilleur_agent.eye.address import (
    CameraError,
    CameraMissingError,
    CameraRefusedError,
    CameraSilentError,
    CameraUnreachableError,
    StreamCorruptError,
    address_of,
)
from veilleur_agent.eye.source import Picture, Slots, i420_of, open_source

SECRET = "s3cr3t"  # noqa: S105 - made up


def pictures_of(source: Path | str, fps: float) -> list[Picture]:
    with open_source(address_of(str(source))) as opened:
        return list(opened.pictures(fps))


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [
        pytest.param(10, 5, [0.0, 0.2, 0.4, 0.6, 0.8], id="every-second"),
        pytest.param(10, 10, [n / 10 for n in range(10)], id="all"),
        pytest.param(10, 30, [n / 10 for n in range(10)], id="no-more-than-there-are"),
        pytest.param(12, 5, [0.0, 3 / 12, 5 / 12, 8 / 12], id="uneven"),
        pytest.param(10, 0.9, [0.0], id="less-than-one"),
    ],
)
def test_pictures_are_chosen_by_their_time(tmp_path, rate, fps, expected) -> None:
    clip = a_clip(tmp_path / "clip.mp4", a_walk(10), rate=rate)
    assert [picture.pts_s for picture in pictures_of(clip, fps)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("codec", "name", "options", "one_in"),
    [
        pytest.param("libx264", "clip.mp4", {"bf": "3", "g": "20"}, 2, id="b-frames"),
        pytest.param("libx264", "clip.mkv", {"bf": "0"}, 2, id="ippp"),
        pytest.param("libx264", "clip.h264", {"bf": "2"}, 5, id="raw, whose rate is taken for 25"),
        pytest.param("mpeg4", "clip.avi", {}, 2, id="mpeg4"),
        pytest.param("mjpeg", "clip.avi", {}, 2, id="intra-only"),
    ],
)
def test_what_is_not_decoded_changes_nothing_in_what_is(tmp_path, codec, name, options, one_in) -> None:
    """Passing over what no other picture refers to must leave the chosen ones bit for bit the same."""
    clip = a_clip(
        tmp_path / name, a_walk(40), codec=codec, options=options, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p"
    )
    everything = pictures_of(clip, 1000)
    chosen = pictures_of(clip, 5)
    assert len(chosen) == pytest.approx(len(everything) / one_in, abs=1)
    by_time = {round(picture.pts_s, 3): picture.i420 for picture in everything}
    for picture in chosen:
        np.testing.assert_array_equal(picture.i420, by_time[round(picture.pts_s, 3)])


def test_the_same_file_gives_the_same_pictures(tmp_path) -> None:
    clip = a_clip(tmp_path / "clip.mp4", a_walk(20))
    first, second = pictures_of(clip, 5), pictures_of(clip, 5)
    assert [one.pts_s for one in first] == [one.pts_s for one in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.i420, other.i420)


@pytest.mark.parametrize(
    ("codec", "pixels", "name"),
    [
        pytest.param("libx264", "yuv420p", "clip.mp4", id="i420"),
        pytest.param("mjpeg", "yuvj420p", "clip.avi", id="full-range"),
        pytest.param("mjpeg", "yuvj422p", "clip.avi", id="full-range-422"),
        pytest.param("libx264", "nv12", "clip.mp4", id="nv12"),
        pytest.param("libx264rgb", "bgr24", "clip.mkv", id="rgb"),
        pytest.param("libx264", "yuv444p", "clip.mkv", id="444"),
    ],
)
def test_whatever_the_codec_gives_comes_out_as_limited_range_i420(tmp_path, codec, pixels, name) -> None:
    shade = np.full((96, 128, 3), 200, np.uint8)
    options = {"qp": "1"} if codec.startswith("libx264") else {"qmin": "1", "qmax": "2"}
    clip = a_clip(tmp_path / name, [shade] * 3, codec=codec, pixels=pixels, options=options)
    picture = pictures_of(clip, 10)[0]
    assert picture.i420.shape == (144, 128)
    assert picture.i420.dtype == np.uint8
    assert picture.i420[:96].mean() == pytest.approx(16 + 200 * 219 / 255, abs=2)
    assert picture.i420[96:].mean() == pytest.approx(128, abs=2)


def test_odd_sides_come_out_even() -> None:
    frame = av.VideoFrame.from_ndarray(np.full((97, 129, 3), 128, np.uint8), format="bgr24")
    assert i420_of(frame).shape == (144, 128)


def test_a_turned_picture_keeps_its_colours(tmp_path) -> None:
    red = np.zeros((96, 128, 3), np.uint8)
    red[:, :, 2] = 220
    clip = a_clip(tmp_path / "clip.mp4", [red] * 3, options={"qp": "1"})
    seen = cv2.cvtColor(pictures_of(clip, 10)[0].i420, cv2.COLOR_YUV2BGR_I420)
    np.testing.assert_allclose(seen.reshape(-1, 3).mean(axis=0), (0, 0, 220), atol=6)


@given(
    steps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200),
    fps=st.floats(0.5, 30),
)
def test_no_slot_of_time_is_chosen_twice_and_none_with_a_picture_is_left_out(steps, fps) -> None:
    slots, at_s, taken, seen = Slots(fps), 0.0, [], set()
    for step in steps:
        seen.add(int(np.floor(at_s * fps + 1e-6)))
        if slots.takes(at_s):
            taken.append(int(np.floor(at_s * fps + 1e-6)))
        at_s += step
    assert taken == sorted(seen)


def test_a_clock_that_goes_back_begins_a_new_count() -> None:
    slots = Slots(5)
    assert [slots.takes(at_s) for at_s in (0.0, 0.2, 10.0, 0.0, 0.1, 0.2)] == [True, True, True, True, False, True]


def test_a_wide_picture_in_a_narrow_time_is_found_whatever_the_order() -> None:
    slots = Slots(5)
    assert [n for n in range(25) if slots.may_take(n * 0.04, 0.04)] == [0, 5, 10, 15, 20]


def a_cut(clip: Path, share: float) -> Path:
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * share)])
    return clip


def a_scratch(clip: Path) -> Path:
    content = bytearray(clip.read_bytes())
    for place in range(len(content) // 3, len(content) * 2 // 3, 37):
        content[place] ^= 0x55
    clip.write_bytes(content)
    return clip


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_a_file_cut_short_gives_what_is_there_and_then_says_so(tmp_path, name) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    clip = a_cut(a_clip(tmp_path / name, a_walk(60), codec=codec), 0.5)
    seen: list[Picture] = []
    with open_source(address_of(str(clip))) as source, pytest.raises(StreamCorruptError, match="cut short"):
        seen.extend(source.pictures(5))
    assert 3 < len(seen) < 30


def test_a_scratched_file_gives_what_can_be_decoded_and_then_says_so(tmp_path) -> None:
    clip = a_scratch(a_clip(tmp_path / "clip.mp4", a_walk(60), options={"g": "10"}))
    seen: list[Picture] = []
    with open_source(address_of(str(clip))) as source, pytest.raises(StreamCorruptError, match="damaged"):
        seen.extend(source.pictures(10))
    assert 5 < len(seen) < 60


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(None, CameraMissingError, id="missing"),
        pytest.param(b"", StreamCorruptError, id="empty"),
        pytest.param(b"not a video " * 500, StreamCorruptError, id="text"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", StreamCorruptError, id="playlist"),
        pytest.param(b"ffconcat version 1.0\nfile /etc/hostname\n", StreamCorruptError, id="list-of-files"),
    ],
)
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path, content, error) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=r"clip\.mp4"):
        pictures_of(path, 5)


def test_a_folder_is_no_video(tmp_path) -> None:
    with pytest.raises(CameraMissingError):
        pictures_of(tmp_path, 5)


def test_a_file_without_pictures_is_refused(tmp_path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(StreamCorruptError, match="no video"):
        pictures_of(path, 5)


def test_a_picture_too_large_to_hold_is_refused(tmp_path, monkeypatch) -> None:
    clip = a_clip(tmp_path / "clip.mp4", [a_street(128, 96)] * 3)
    monkeypatch.setattr(source_module, "LONGEST_SIDE_PX", 120)
    with pytest.raises(StreamCorruptError, match="128x96 pixels"):
        pictures_of(clip, 5)


def test_a_picture_that_grows_on_the_way_is_refused(tmp_path, monkeypatch) -> None:
    small = a_clip(tmp_path / "small.h264", [a_street(128, 96)] * 5)
    large = a_clip(tmp_path / "large.h264", [a_street(256, 192)] * 5)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert {picture.i420.shape for picture in pictures_of(both, 100)} == {(144, 128), (288, 256)}
    monkeypatch.setattr(source_module, "LONGEST_SIDE_PX", 200)
    with pytest.raises(CameraError):
        pictures_of(both, 100)


@contextmanager
def a_server(answer: bytes | None, heard: list[bytes] | None = None) -> Iterator[int]:
    """A camera that sends ``answer`` to every request, and notes it; None: it never says a word."""
    heard = [] if heard is None else heard
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            with suppress(OSError):  # the server was shut down: the test is over
                while True:
                    peer, _ = server.accept()
                    held.append(peer)
                    while answer is not None and (request := peer.recv(4096)):
                        heard.append(request)
                        peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for peer in held:
                peer.close()
            thread.join()


UNAUTHORISED = b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
HTTP_UNAUTHORISED = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'


@pytest.mark.parametrize(
    ("scheme", "answer", "error"),
    [
        pytest.param(
            "rtsp", b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\nContent-Length: 0\r\n\r\n", CameraMissingError, id="404"
        ),
        pytest.param("http", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", CameraMissingError, id="http-404"),
        pytest.param("http", HTTP_UNAUTHORISED, CameraRefusedError, id="http-401"),
        pytest.param("rtsp", UNAUTHORISED, CameraRefusedError, id="401"),
        pytest.param("http", None, CameraSilentError, id="http-silent"),
        pytest.param("rtsp", None, CameraSilentError, id="silent"),
    ],
)
def test_a_camera_that_will_not_serve_is_told_apart_and_its_password_kept(scheme, answer, error, monkeypatch) -> None:
    monkeypatch.setattr(source_module, "OPEN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(source_module, "READ_TIMEOUT_S", 0.5)
    with a_server(answer) as port:
        address = address_of(f"{scheme}://veil:{SECRET}@127.0.0.1:{port}/main", name="camera gare")
        with pytest.raises(error, match="camera gare") as caught:
            open_source(address)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_an_escaped_account_reaches_the_camera_as_it_was_written() -> None:
    heard: list[bytes] = []
    with a_server(UNAUTHORISED, heard) as port:
        address = address_of(f"rtsp://127.0.0.1:{port}/main", user="a b", password="p@ss/wörd:#?%")  # noqa: S106 - made up
        with pytest.raises(CameraRefusedError):
            open_source(address)
    sent = [line for request in heard for line in request.split(b"\r\n") if line.startswith(b"Authorization: Basic ")]
    assert base64.b64decode(sent[0].split()[-1]).decode() == "a b:p@ss/wörd:#?%"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_nobody_at_an_address_is_told_as_that(scheme) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused for as long as this test lasts
        port = taken.getsockname()[1]
        with pytest.raises(CameraUnreachableError, match="camera gare") as caught:
            open_source(address_of(f"{scheme}://veil:{SECRET}@127.0.0.1:{port}/main", name="camera gare"))
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_multipart_camera_is_read_by_the_time_of_arrival(tmp_path) -> None:
    """MJPEG over HTTP bears no times: pictures that arrive at once are one moment, whatever their number."""
    clip = a_clip(tmp_path / "clip.avi", a_walk(6), codec="mjpeg", pixels="yuvj420p")
    with av.open(str(clip)) as container:
        parts = [bytes(packet) for packet in container.demux(video=0) if packet.size]

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            for part in parts * 5:
                self.wfile.write(b"--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(part))
                self.wfile.write(part + b"\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        seen: list[Picture] = []
        address = address_of(f"http://127.0.0.1:{server.server_port}/mjpg", name="camera gare")
        with open_source(address) as source, pytest.raises(CameraSilentError, match=r"hung up|ended its stream"):
            seen.extend(source.pictures(5))
        thread.join()
    assert 1 <= len(seen) < 30
    assert seen[0].i420.shape == (576, 640)
