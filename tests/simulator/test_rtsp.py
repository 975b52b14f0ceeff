import base64
import contextlib
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pytest

from veilleur_simulator.errors import FilmRejectedError, PartFailedError
from veilleur_simulator.h264 import FU_A, PAYLOAD_MAX, payloads_of, read_film
from veilleur_simulator.network import proxy_to
from veilleur_simulator.processes import module_command, wait_until
from veilleur_simulator.rtsp_auth import Account
from veilleur_simulator.rtsp_process import Served, rtsp_in

TCP = {"rtsp_transport": "tcp", "analyzeduration": "1"}  # a player that does not look two seconds ahead
WITHIN_S = 10.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Iterator[Served]:
    with rtsp_in(tmp_path_factory.mktemp("served"), film) as one:
        yield one


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Iterator[Served]:
    with rtsp_in(tmp_path_factory.mktemp("guarded"), film, account=Account("camera", "hush-hush")) as one:
        yield one


def say(port: int, text: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as player:
        player.sendall(text.encode())
        return player.recv(4096)


def test_a_film_comes_out_of_rtsp_to_the_byte(tmp_path: Path, film: Path) -> None:
    with rtsp_in(tmp_path, film, loops=False) as served, av.open(served.url, options=TCP, timeout=WITHIN_S) as stream:
        received = [frame.to_ndarray(format="yuv420p") for frame in stream.decode(video=0)]
    with av.open(str(film)) as container:
        sent = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
    assert len(sent) == 25
    assert len(received) == len(sent)
    assert all(np.array_equal(a, b) for a, b in zip(received, sent, strict=True))


def test_a_looping_film_begins_again_and_its_time_goes_on(served: Served) -> None:
    with av.open(served.url, options=TCP, timeout=WITHIN_S) as stream:
        stamps = [frame.pts for frame, _ in zip(stream.decode(video=0), range(35), strict=False)]
    steps = {b - a for a, b in itertools.pairwise(stamps) if a is not None and b is not None}
    assert steps == {90_000 // 25}


def test_two_players_each_get_the_film(served: Served) -> None:
    with (
        av.open(served.url, options=TCP, timeout=WITHIN_S) as one,
        av.open(served.url, options=TCP, timeout=WITHIN_S) as other,
    ):
        assert next(one.decode(video=0)).width == next(other.decode(video=0)).width == 640


@pytest.mark.parametrize(
    ("credentials", "allowed"),
    [
        pytest.param("camera:hush-hush@", True, id="right"),
        pytest.param("camera:wrong@", False, id="wrong-password"),
        pytest.param("other:right@", False, id="wrong-user"),
        pytest.param("", False, id="none"),
    ],
)
def test_only_the_right_password_opens_the_stream(guarded: Served, credentials: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    url = guarded.url.replace("rtsp://", f"rtsp://{credentials}")
    if allowed:
        with av.open(url, options=TCP, timeout=WITHIN_S) as stream:
            assert next(stream.decode(video=0)).height == 360
    else:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(url, options=TCP, timeout=WITHIN_S)


def test_basic_credentials_open_it_as_well(guarded: Served) -> None:
    head = f"DESCRIBE {guarded.url} RTSP/1.0\r\nCSeq: 3\r\nAuthorization: Basic "
    right, wrong = (base64.b64encode(f"camera:{word}".encode()).decode() for word in ("hush-hush", "wrong"))
    assert say(guarded.port, f"{head}{right}\r\n\r\n").startswith(b"RTSP/1.0 200 OK")
    assert say(guarded.port, f"{head}{wrong}\r\n\r\n").startswith(b"RTSP/1.0 401")


def test_the_password_is_in_no_log_and_on_no_command_line(guarded: Served) -> None:
    say(guarded.port, f"DESCRIBE {guarded.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    assert "hush-hush" not in Path(f"/proc/{guarded.child.pid}/cmdline").read_text(encoding="utf-8")
    assert "hush-hush" not in guarded.child.log.read_text(encoding="utf-8")


def test_each_start_has_a_token_of_its_own_and_nothing_is_served_beside_it(tmp_path: Path, film: Path) -> None:
    with rtsp_in(tmp_path, film) as one, rtsp_in(tmp_path, film) as other:
        assert one.token != other.token
        assert urlsplit(one.url).path == f"/{one.token}/street"
        assert urlsplit(one.url).hostname == "127.0.0.1"
        wrong = one.url.replace(one.token, other.token)
        assert say(one.port, f"DESCRIBE {wrong} RTSP/1.0\r\nCSeq: 1\r\n\r\n").startswith(b"RTSP/1.0 404")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param("hello\r\n\r\n", id="no-request"),
        pytest.param("x" * 40_000, id="endless-line"),
        pytest.param("OPTIONS * RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n", id="endless-body"),
    ],
)
def test_nonsense_ends_the_connection_and_not_the_server(served: Served, text: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=WITHIN_S) as player:
        player.sendall(text.encode())
        with contextlib.suppress(ConnectionResetError):  # the other way to end a connection
            assert player.recv(100) == b""
    with av.open(served.url, options=TCP, timeout=WITHIN_S) as stream:
        assert next(stream.decode(video=0)).width == 640


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("SETUP", "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n", b"461", id="udp"),
        pytest.param("PLAY", "", b"455", id="play-before-setup"),
        pytest.param("RECORD", "", b"501", id="record"),
        pytest.param("OPTIONS", "", b"200", id="options"),
    ],
)
def test_answers_as_the_standard_says(served: Served, method: str, headers: str, status: bytes) -> None:
    answer = say(served.port, f"{method} {served.url} RTSP/1.0\r\nCSeq: 7\r\n{headers}\r\n")
    assert answer.startswith(b"RTSP/1.0 " + status)
    assert b"CSeq: 7\r\n" in answer


def test_a_cut_ends_the_stream_and_a_mended_line_gives_it_again(served: Served) -> None:
    with proxy_to(served.port) as line:
        url = served.url.replace(str(served.port), str(line.port))
        with av.open(url, options=TCP, timeout=WITHIN_S) as stream:
            assert next(stream.decode(video=0)).width == 640
            line.cut()
            # it would loop for ever; what is left is what the player had read ahead
            assert sum(1 for _ in stream.decode(video=0)) < 75
        with pytest.raises(av.error.FFmpegError):
            av.open(url, options=TCP, timeout=WITHIN_S)
        line.mend()
        with av.open(url, options=TCP, timeout=WITHIN_S) as stream:
            assert next(stream.decode(video=0)).width == 640


def test_ends_when_whoever_started_it_goes(tmp_path: Path, film: Path) -> None:
    with rtsp_in(tmp_path, film) as served:
        assert served.child._process.stdin is not None
        served.child._process.stdin.close()
        wait_until(lambda: served.child.exit_code == 0, WITHIN_S, "the end of the server")


@pytest.mark.parametrize("size", [1, PAYLOAD_MAX, PAYLOAD_MAX + 1, 5 * PAYLOAD_MAX])
def test_a_nal_unit_comes_together_again_from_its_payloads(size: int) -> None:
    nal = bytes([0x65]) + np.random.default_rng(1).bytes(size - 1)
    parts = list(payloads_of(nal))
    assert all(len(part) <= PAYLOAD_MAX for part in parts)
    if len(parts) > 1:
        assert all(part[0] & 0x1F == FU_A for part in parts)
        assert [part[1] >> 6 for part in parts] == [2, *[0] * (len(parts) - 2), 1]
        head = bytes([parts[0][0] & 0xE0 | parts[0][1] & 0x1F])
        assert head + b"".join(part[2:] for part in parts) == nal
    else:
        assert parts == [nal]


def test_refuses_a_film_it_cannot_serve_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FilmRejectedError, match="cannot read the film"):
        read_film(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_bytes(b"no film at all" * 100)
    with pytest.raises(FilmRejectedError, match=r"text\.mp4"):
        read_film(tmp_path / "text.mp4")
    with pytest.raises(PartFailedError, match="cannot read the film"), rtsp_in(tmp_path, tmp_path / "none.mp4"):
        pass


def test_refuses_a_film_in_another_coding(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "old.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")))
        container.mux(stream.encode())
    with pytest.raises(FilmRejectedError, match=r"is not H\.264"):
        read_film(tmp_path / "old.avi")


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415 - this test alone runs a command to its end

    command = module_command("veilleur_simulator", "rtsp", str(tmp_path / "none.mp4"))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("veilleur-simulator: cannot read the film")
    assert ended.stderr.count("\n") == 1
