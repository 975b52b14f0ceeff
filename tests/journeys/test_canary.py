"""No raw pixel reaches disk or wire: a pattern of known bytes is filmed, then searched for in all that comes out.

film with a canary ─▶ box ─▶ state, logs, temporary files, fleet, broker ─┐
                        └──▶ tap on the line to the broker ───────────────┴─▶ search ─▶ nothing; control ─▶ found
"""

import base64
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import av
import numpy as np
import numpy.typing as npt
import paho.mqtt.client as mqtt
import pytest
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion

from journeys.town import WITHIN_S, Town, film_of, scenario_of, site_of
from veilleur_simulator.backdrop import CANARY_COLUMNS, CANARY_ROWS
from veilleur_simulator.network import proxy_to
from veilleur_simulator.processes import wait_until
from veilleur_simulator.scenario import Scenario

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not used
RUN_PX = 16
"""So many pixels in a row, of 216 grey levels each, are found by chance in nothing."""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The cyclist's street without noise, so that the canary has the same bytes in every frame."""
    plain = scenario_of("street-cyclist")
    return replace(plain, street=replace(plain.street, name="canary", canary=True, noise=0.0))


@pytest.fixture(scope="module")
def film(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario, tmp_path_factory.mktemp("canary"), lossless=True)


def needles_of(film: Path) -> list[bytes]:
    """Runs of pixels of the canary as any reader of the film has them: planes and rows, coded as text too."""
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    top, left = frame.height // 16, frame.width // 16
    runs: list[bytes] = []
    for form in ("gray", "bgr24", "rgb24", "yuv420p"):
        picture = np.atleast_3d(frame.to_ndarray(format=form))
        patch = picture[top : top + CANARY_ROWS, left : left + CANARY_COLUMNS]
        runs += [row[at : at + RUN_PX].tobytes() for row in patch for at in range(0, CANARY_COLUMNS - RUN_PX, RUN_PX)]
    runs = list(dict.fromkeys(runs))
    assert len(runs) >= 3 * CANARY_ROWS
    return runs + [form for run in runs for form in written_out(run)]


def written_out(run: bytes) -> Iterator[bytes]:
    """The ways bytes are put into text: hexadecimal, and base64 at each of its three places in a longer one."""
    yield run.hex().encode()
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + run)
        yield coded[4 * -(-before // 3) : -4]


def found_in(haystack: bytes, needles: Sequence[bytes]) -> bool:
    return any(needle in haystack for needle in needles)


class Searcher:
    """Searches every file under a folder again and again, so that what is deleted soon is found too."""

    def __init__(self, folder: Path, needles: Sequence[bytes], spared: set[Path]) -> None:
        self._folder, self._needles, self._spared = folder, needles, spared
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="searcher")
        self._seen: dict[Path, tuple[int, int]] = {}
        self.found: set[Path] = set()
        self.searched = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        for path in self._folder.rglob("*"):
            try:
                state = path.stat()
                if (
                    not path.is_file()
                    or path in self._spared
                    or self._seen.get(path) == (state.st_size, state.st_mtime_ns)
                ):
                    continue
                data = path.read_bytes()
            except OSError:
                continue  # gone between two looks
            self._seen[path] = (state.st_size, state.st_mtime_ns)
            self.searched += len(data)
            if found_in(data, self._needles):
                self.found.add(path)

    def _run(self) -> None:
        while not self._over.wait(0.2):
            self.look()


def test_no_raw_pixel_reaches_disk_or_wire(town: Town, tmp_path: Path, film: Path) -> None:
    needles = needles_of(film)
    tapped = tmp_path / "wire.bin"
    shared_before = set(SHARED_MEMORY.iterdir())
    with (
        tapped.open("wb", buffering=0) as tap,
        proxy_to(town.broker.port, tap=tap) as line,
        Searcher(tmp_path, needles, spared=set()) as searcher,
    ):
        box = town.box(site_of(str(film), loop=True), broker_port=line.port)
        wait_until(lambda: town.total() > 0, WITHIN_S, "a crossing in the film with the canary")
        frames = box.frames()
        wait_until(lambda: box.frames() > frames + 50, WITHIN_S, "more frames")
        box.end()
        wait_until(lambda: town.balance([box]).is_even, WITHIN_S, "an even balance")
    assert searcher.found == set()
    assert searcher.searched > 10_000
    assert tapped.stat().st_size > 500
    left = [path for path in set(SHARED_MEMORY.iterdir()) - shared_before if path.is_file()]
    assert not any(found_in(path.read_bytes(), needles) for path in left)


def test_the_search_would_find_it_on_disk_and_on_the_wire(town: Town, tmp_path: Path, film: Path) -> None:
    """The control: the same search, over the same places, after somebody has let a picture out."""
    needles = needles_of(film)
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    leak: npt.NDArray[np.uint8] = frame.to_ndarray(format="yuv420p")
    tapped = tmp_path / "wire.bin"
    planted = town.temporary / "kept-for-an-instant"
    with tapped.open("wb", buffering=0) as tap, proxy_to(town.broker.port, tap=tap) as line:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        client.connect("127.0.0.1", line.port)
        client.loop_start()
        client.publish("leak", leak[:64].tobytes(), qos=1).wait_for_publish(WITHIN_S)
        client.disconnect()
        client.loop_stop()
        with Searcher(tmp_path, needles, spared={tapped}) as searcher:
            planted.write_bytes(b"head" + leak.tobytes())
            wait_until(lambda: planted in searcher.found, WITHIN_S, "the search to find what is there")
            planted.unlink()
    assert found_in(tapped.read_bytes(), needles)
    for coded in (base64.b64encode(b"x" + leak.tobytes()), leak.tobytes().hex().encode()):
        assert found_in(coded, needles)
