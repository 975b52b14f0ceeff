"""Cameras that are cut, refuse, or are dead: said so, never an empty street, and nothing secret anywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from journeys.town import WITHIN_S, Town, site_of
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.messages import CameraState
from veilleur_simulator.network import ProxyBeside, proxy_to
from veilleur_simulator.processes import free_port, wait_until
from veilleur_simulator.rtsp_auth import Account
from veilleur_simulator.rtsp_process import Served, rtsp_in

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

ACCOUNT = Account("operator", "c0rrect-horse-battery")
WRONG = "wr0ng-stapler"
WATCHED = 'user = "operator"\nsecret = "avenue"'


def private(path: Path, text: str) -> str:
    """Write a file that only its owner reads."""
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)


@contextmanager
def camera_behind_a_line(
    folder: Path, film: Path, account: Account | None
) -> Iterator[tuple[Served, ProxyBeside, str]]:
    """A camera, the line to it, and its address at this end of the line."""
    (folder / "camera").mkdir()
    with rtsp_in(folder / "camera", film, account=account) as served, proxy_to(served.port) as line:
        yield served, line, served.url.replace(f":{served.port}/", f":{line.port}/")


def everything_under(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_an_rtsp_camera_that_is_cut_or_falls_silent_comes_back(town: Town, tmp_path: Path, street_film: Path) -> None:
    with camera_behind_a_line(tmp_path, street_film, ACCOUNT) as (served, line, url):
        secrets = private(tmp_path / "secrets.toml", f'avenue = "{ACCOUNT.password}"\n')
        token = private(tmp_path / "token", served.token)
        box = town.box(site_of(url, extra=WATCHED), "--secrets", secrets, "--bench-token", token)
        wait_until(lambda: town.total() > 0, WITHIN_S, "crossings from the camera")
        cut_s = SystemClock().now_ms() / 1000
        line.cut()
        wait_until(
            lambda: town.camera().state not in {CameraState.LIVE, None},
            WITHIN_S,
            "a camera that is said not to be live",
        )
        before = town.total()
        line.mend()
        wait_until(lambda: town.camera().state is CameraState.LIVE, 2 * WITHIN_S, "a camera that is live again")
        live_s = SystemClock().now_ms() / 1000
        wait_until(lambda: town.total() > before, WITHIN_S, "crossings after the cut")
        assert town.camera().reconnects >= 1
        line.fall_silent()
        wait_until(lambda: town.camera().state is CameraState.STALLED, WITHIN_S, "a camera that is said to be stalled")
        line.mend()
        wait_until(lambda: town.camera().state is CameraState.LIVE, 2 * WITHIN_S, "a camera that speaks again")
        box.end()
        wait_until(lambda: town.balance([box]).is_even, WITHIN_S, "an even balance")
    cut = [one for one in town.windows() if one.at_s < live_s and one.at_s + one.window_s > cut_s]
    assert min(one.coverage for one in cut) < 97, "a window in which nothing was seen for a while says so"
    for path, data in everything_under(tmp_path):
        if path.name != "secrets.toml":
            assert ACCOUNT.password.encode() not in data, f"the password stands in {path.name}"


def test_a_wrong_password_is_said_and_shown_nowhere(town: Town, tmp_path: Path, street_film: Path) -> None:
    with camera_behind_a_line(tmp_path, street_film, ACCOUNT) as (served, _, url):
        secrets = private(tmp_path / "secrets.toml", f'avenue = "{WRONG}"\n')
        token = private(tmp_path / "token", served.token)
        box = town.box(site_of(url, extra=WATCHED), "--secrets", secrets, "--bench-token", token)
        wait_until(lambda: town.camera().state is CameraState.AUTH_FAILED, WITHIN_S, "a camera that refuses")
        wait_until(lambda: len(town.windows()) > 0, WITHIN_S, "a window")
        box.end()
    assert all(window.coverage == 0 for window in town.windows())
    for path, data in everything_under(tmp_path):
        if path.name != "secrets.toml":
            assert WRONG.encode() not in data, f"the password stands in {path.name}"
            assert url.encode() not in data or path.suffix == ".toml", f"the camera's address stands in {path.name}"


def test_a_dead_camera_is_no_empty_street(town: Town, tmp_path: Path) -> None:
    token = private(tmp_path / "token", "0" * 32)
    box = town.box(site_of(f"rtsp://127.0.0.1:{free_port()}/{'0' * 32}/street"), "--bench-token", token)
    wait_until(lambda: len(town.windows()) > 0, WITHIN_S, "a window")
    wait_until(lambda: town.camera().state is CameraState.BACKOFF, WITHIN_S, "a camera that is waited for")
    box.end()
    assert {window.coverage for window in town.windows()} == {0}
    assert CameraState.LIVE not in town.states()
