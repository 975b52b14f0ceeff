"""The real mouth process between a test's eye and a real broker."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.publish
import pytest

from box_builders import a_context, a_health, a_window
from fleet_double import Ledger, fleet_at
from sensor_builders import DECODERS, SENSORS, topic_of, uplink
from veilleur_agent.budget import Budget
from veilleur_agent.control import (
    Beat,
    Confined,
    ControlClosedError,
    ControlEnd,
    Ended,
    FromChild,
    LinkCut,
    LinkReopened,
    Numbered,
    Ready,
    Stop,
    control_pair,
    from_child,
)
from veilleur_agent.events import OutputGate
from veilleur_agent.hold import Hold
from veilleur_agent.keeper import ENVIRONMENT, module_program
from veilleur_agent.link import Allowances, CutReason, EyeEnd, link_pair
from veilleur_agent.starts import CameraBudget, GatewayStart, MouthStart, Reach
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.messages import Birth, Context, MessageClass, SensorHealth, WaterLevel, class_of_stream
from veilleur_simulator.broker import Broker, broker_in

pytestmark = pytest.mark.journey

WITHIN_S = 30.0
NUMBER = context_number_of(a_context())


class Eye:
    """What the real eye does on the link, with nothing to look at; a checkpoint is taken as written."""

    def __init__(self, sock: socket.socket) -> None:
        self.hold = Hold(SystemClock().now_ms())
        boundless = Budget(1e9, 1_000_000_000)
        self.end = EyeEnd(sock, self.hold, SystemClock(), Allowances({}, boundless, SystemClock()))
        self.said = 0

    def say(self, windows: int) -> None:
        for _ in range(windows):
            self.said += 1
            self.hold.say(a_window(self.said, NUMBER))
        self.hold.saved()


class Mouth:
    """A real mouth process, and box's end of its control pair."""

    def __init__(
        self,
        folder: Path,
        port: int,
        link: socket.socket,
        burst_bytes: int = 10_000_000,
        gateway: GatewayStart | None = None,
    ) -> None:
        (folder / "mouth").mkdir(exist_ok=True)
        ours, theirs = control_pair()
        self.log = folder / "mouth.log"
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*module_program("veilleur_agent.mouth"), str(theirs.fileno()), str(link.fileno())],
                pass_fds=(theirs.fileno(), link.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(ENVIRONMENT),
                cwd="/",
            )
        theirs.close()
        self.control = ControlEnd(ours)
        self.heard: list[FromChild] = []
        self._decoder = from_child()
        self.control.say(
            MouthStart(
                agent="0.1.0",
                box="gare-01",
                controller="ville",
                state=str(folder / "mouth"),
                profile="bench",
                host="127.0.0.1",
                addresses=("127.0.0.1",),
                port=port,
                user=None,
                password=None,
                version="auto",
                budgets=(CameraBudget("gare", 1000.0, burst_bytes),),
                outbox_bytes_max=10_000_000,
                outbox_age_max_s=86_400,
                reach=Reach((port,), (), (), (), allow_unconfined=True),
                gateway=gateway,
            )
        )

    def hear(self) -> list[FromChild]:
        with contextlib.suppress(ControlClosedError):  # it has ended, which every test looks at by itself
            while (message := self.control.hear(self._decoder)) is not None:
                self.heard.append(message)
        return self.heard

    def has_said(self, kind: type) -> bool:
        return any(isinstance(message, kind) for message in self.hear())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.control.close()


async def until(condition: Callable[[], bool], turn: Callable[[], object] = lambda: None) -> None:
    """Wait for another program."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            turn()
            await asyncio.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = link_pair()
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def start(tmp_path, link) -> Iterator[Callable[..., Mouth]]:
    mouths: list[Mouth] = []

    def start_one(port: int, **more: Any) -> Mouth:
        mouths.append(Mouth(tmp_path, port, link[1], **more))
        return mouths[-1]

    yield start_one
    for one in mouths:
        one.kill()


async def test_what_an_eye_says_reaches_the_fleet_and_a_stop_waits_for_it(broker, link, start) -> None:
    ledger, eye = Ledger(), Eye(link[0])
    async with fleet_at(broker.host, broker.port, ledger):
        mouth = start(broker.port)
        eye.hold.say(a_context())
        eye.say(300)
        eye.hold.say(a_health(1))
        await until(lambda: not len(eye.hold), eye.end.pump)
        mouth.control.say(Stop(10_000))
        await until(lambda: mouth.process.poll() is not None, mouth.hear)
    assert mouth.process.returncode == 0
    assert mouth.has_said(Ended)
    assert next(one for one in mouth.heard if isinstance(one, Ended)).left == 0
    assert ledger.windows() == list(range(1, 301))
    assert {type(one) for one in ledger.records.values()} >= {Birth, Context}
    numbered = [one for one in mouth.heard if isinstance(one, Numbered)][-1]
    assert {class_of_stream(stream): last for stream, last in numbered.streams.items()} == {
        MessageClass.TECHNICAL: 2,
        MessageClass.STATISTICS: 301,
    }


async def test_killed_at_any_moment_it_loses_nothing_and_says_nothing_twice(broker, link, start) -> None:
    ledger, eye = Ledger(drop_acks=0.3), Eye(link[0])
    async with fleet_at(broker.host, broker.port, ledger):
        for turn in range(5):
            mouth = start(broker.port)
            eye.say(200)
            held = len(eye.hold)
            await until(lambda held=held: len(eye.hold) < held, eye.end.pump)
            eye.say(50 * turn)
            eye.end.pump()
            mouth.kill()
        start(broker.port)
        await until(lambda: not len(eye.hold) and len(ledger.windows()) == eye.said, eye.end.pump)
    assert ledger.windows() == list(range(1, eye.said + 1))


async def test_a_hostile_eye_is_cut_off_reported_and_another_one_is_heard(broker, link, start) -> None:
    ledger, eye = Ledger(), Eye(link[0])
    async with fleet_at(broker.host, broker.port, ledger):
        mouth = start(broker.port)
        eye.say(3)
        await until(lambda: not len(eye.hold), eye.end.pump)
        link[0].send(b"\xff\xd8\xff\xe0" + b"picture" * 100)
        await until(lambda: mouth.has_said(LinkCut))
        assert LinkCut(CutReason.UNDECODABLE) in mouth.heard
        hostile = Eye(link[0])
        hostile.say(5)
        hostile.end.pump()
        beats = sum(isinstance(one, Beat) for one in mouth.hear())
        await until(lambda: sum(isinstance(one, Beat) for one in mouth.hear()) > beats + 1)
        assert len(hostile.hold) == 5, "nothing is taken from an eye that was cut off"
        mouth.control.say(LinkReopened())
        eye.say(4)
        await until(lambda: not len(eye.hold), eye.end.pump)
        await until(lambda: len(ledger.windows()) == 7)
    assert ledger.windows() == [1, 2, 3, 4, 5, 6, 7]


async def test_an_eye_beyond_its_budget_is_cut_off(broker, link, start) -> None:
    eye = Eye(link[0])
    mouth = start(broker.port, burst_bytes=3000)
    eye.hold.say(a_context())
    eye.say(2000)
    await until(lambda: mouth.has_said(LinkCut), eye.end.pump)
    assert LinkCut(CutReason.BUDGET) in mouth.heard


async def test_what_a_sensor_says_by_radio_reaches_the_fleet(broker, start) -> None:
    ledger, gateway = Ledger(), GatewayStart(broker.host, broker.port, None, None, SENSORS, DECODERS)
    async with fleet_at(broker.host, broker.port, ledger):
        mouth = start(broker.port, gateway=gateway)
        await until(lambda: b"gateway.connected" in mouth.log.read_bytes())
        said = {"hostname": broker.host, "port": broker.port, "qos": 1}
        await asyncio.to_thread(paho.mqtt.publish.single, topic_of(), uplink(), **said)
        await until(lambda: {type(one) for one in ledger.records.values()} == {Birth, WaterLevel, SensorHealth})


async def test_a_damaged_outbox_is_set_aside_and_the_work_goes_on(broker, link, start, tmp_path) -> None:
    (tmp_path / "mouth").mkdir()
    (tmp_path / "mouth" / "outbox.sqlite").write_bytes(b"\x00not a database" * 1000)
    ledger, eye = Ledger(), Eye(link[0])
    async with fleet_at(broker.host, broker.port, ledger):
        mouth = start(broker.port)
        eye.say(5)
        await until(lambda: len(ledger.windows()) == 5, eye.end.pump)
    assert mouth.process.poll() is None
    assert b"outbox.damaged" in mouth.log.read_bytes()


async def test_it_ends_with_box_and_writes_nothing_but_registered_events(broker, start) -> None:
    mouth = start(broker.port)
    await until(lambda: mouth.has_said(Ready))
    assert mouth.has_said(Confined)
    mouth.process.send_signal(signal.SIGINT)
    mouth.process.send_signal(signal.SIGTERM)
    await until(lambda: sum(isinstance(one, Beat) for one in mouth.hear()) > 3)
    assert mouth.process.poll() is None, "signals are box's business"
    mouth.control.close()
    await until(lambda: mouth.process.poll() is not None)
    passed: list[str] = []
    gate = OutputGate(SystemClock(), lambda event, _: passed.append(event))
    gate.take(mouth.log.read_bytes())
    assert "mouth.started" in passed
    assert gate.dropped_bytes == 0


def test_a_mouth_loads_nothing_that_could_open_a_picture(tmp_path: Path) -> None:
    """Of a real start: every module it imports is listed by the interpreter itself."""
    ours, theirs = control_pair()
    eye, link = link_pair()
    (tmp_path / "mouth").mkdir()
    program = (sys.executable, "-P", "-X", "importtime", "-m", "veilleur_agent.mouth")
    process = subprocess.Popen(
        [*program, str(theirs.fileno()), str(link.fileno())],
        pass_fds=(theirs.fileno(), link.fileno()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(ENVIRONMENT),
        cwd="/",
    )
    assert process.stdout is not None
    reach = Reach((1883,), (), (), (), allow_unconfined=True)
    control, state = ControlEnd(ours), str(tmp_path / "mouth")
    control.say(
        MouthStart("0.1.0", "b", "ville", state, "bench", "h", (), 1883, None, None, "auto", (), 10**6, 86_400, reach)
    )
    try:
        while b"mouth.started" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
        listed = process.stderr.read() if process.stderr else b""
    finally:
        process.kill()
        process.wait()
        for end in (control, theirs, eye, link, process.stdout, process.stderr):
            if end is not None:
                end.close()
    modules = {line.rpartition(b"|")[2].strip().decode() for line in listed.splitlines() if b"|" in line}
    assert {"sqlite3", "aiomqtt", "veilleur_agent.mouth.app"} <= modules, "the list is of this very process"
    assert {name for name in modules if name.split(".")[0] in {"numpy", "cv2", "av", "openvino", "PIL"}} == set()


def test_a_start_never_shows_what_it_holds() -> None:
    reach = Reach((), (), (), (), allow_unconfined=False)
    start = MouthStart("0.1.0", "b", "ville", "/x", "bench", "h", (), 1883, "u", "geheim", "5", (), 10**6, 60, reach)
    assert "geheim" not in repr(start)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(start), type=MouthStart) == start


def test_a_child_inherits_nothing_of_boxs_environment() -> None:
    assert set(ENVIRONMENT) == {"PATH", "LANG", "PYTHONUNBUFFERED"}
