"""A box enrols with the real command at a real fleet, and a real mouth speaks, renews and is seen out."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

import pki_builders as build
from box_builders import a_context, a_window
from fleet_builders import HandClock
from pki_builders import HOST, World, agglo_box, needs_mosquitto, ville_box
from veilleur_agent.budget import Budget
from veilleur_agent.control import ControlClosedError, ControlEnd, FromChild, control_pair, from_child
from veilleur_agent.enrolled import Enrolled, read_enrolled, write_enrolled
from veilleur_agent.hold import Hold
from veilleur_agent.keeper import ENVIRONMENT, module_program
from veilleur_agent.link import Allowances, EyeEnd, link_pair
from veilleur_agent.mouth.enrol import Invitation, enrol_now, untrusted_sentence
from veilleur_agent.mouth.errors import Untrusted
from veilleur_agent.mouth.identity import FILE_NAME, Identity, due_at
from veilleur_agent.starts import CameraBudget, Identified, MouthStart, Reach
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.enrolment import Token, write_fingerprint
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_fleet.pki.service import Pki

pytestmark = [pytest.mark.journey, needs_mosquitto]

DAY = timedelta(days=1)
AGENT = Path(sys.executable).with_name("veilleur-agent")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def sentence_of(
    world: World, token: str, state: str = "state", fingerprint: str | None = None, host: str = "localhost"
):
    """Enrol, which fails, and return what is said."""
    invitation = Invitation(f"https://{host}:{world.door_port}", token, fingerprint)
    with pytest.raises((RejectedError, TransientError)) as caught:
        enrol_now(invitation, world.folder / state, world.clock)
    assert token not in str(caught.value)
    return str(caught.value)


def test_a_box_enrols_and_everything_that_is_wrong_is_said_in_a_sentence(world) -> None:
    good, over = (world.pki.invite(box, DAY).write() for box in (ville_box, agglo_box))
    second = world.pki.invite(agglo_box, DAY).write()
    foreign, unknown = Token.make(bytes(32)).write(), Token.make(world.authority.sha256).write()
    assert "nobody answers" in sentence_of(world, good)
    with world.running_fleet(VEILLEUR_FLEET_DOOR_NAMES="localhost"):
        assert "not from the authority that the token names" in sentence_of(world, foreign)
        assert "does not know this token" in sentence_of(world, unknown)
        assert "this token is over" in sentence_of(world, over)
        assert "copy the whole line" in sentence_of(world, "rubbish")
        assert "another fleet than" in sentence_of(world, good, fingerprint=write_fingerprint(bytes(32)))
        assert "not for 127.0.0.1" in sentence_of(world, good, host=HOST)
        assert not (world.folder / "state" / "enrolment.json").exists()
        where = ["--fleet", f"https://localhost:{world.door_port}", "--state", world.folder / "state"]
        fingerprint = ["--ca-fingerprint", write_fingerprint(world.authority.sha256)]
        command = [AGENT, "enrol", *where, "--token", good, *fingerprint]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("gare-01 of ville is enrolled with https://localhost:")
        assert "used already" in sentence_of(world, good, "elsewhere")
        assert "holds what it counted" in sentence_of(world, second)
    enrolled = read_enrolled(world.folder / "state")
    assert (enrolled.box, enrolled.controller, enrolled.ca) == ("gare-01", "ville", world.authority.pem)
    assert enrolled.broker == f"mqtts://{HOST}:{world.port}"
    for file in (world.folder / "state" / "mouth").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in (world.folder / "state" / "enrolment.json").read_text()


@pytest.mark.parametrize(
    ("hours", "word"),
    [pytest.param(-24, "behind (by 24.0 hours", id="behind"), pytest.param(24 * 40, "ahead", id="ahead")],
)
def test_a_clock_that_is_wrong_is_named_and_by_how_much(hours, word) -> None:
    at_s = 1_790_000_000.0
    why = Untrusted.CLOCK_BEHIND if hours < 0 else Untrusted.CLOCK_AHEAD
    assert word in untrusted_sentence(why, "fleet.example", at_s + hours * 3600, at_s)


def held_since(world: World, days: int) -> Path:
    """Return the state folder of a box that enrolled so many days ago."""
    then = HandClock(world.clock.now_ms() - days * 86_400_000)
    state = world.folder / "state"
    (state / "mouth").mkdir(parents=True)
    identity = Identity(state / "mouth", ville_box.name)
    earlier = Pki(world.authority, world.pki.register, then)
    _, made = earlier.enrol(earlier.invite(ville_box, DAY).write(), identity.request())
    identity.take(made.pem, world.authority.pem)
    door, broker = f"https://{HOST}:{world.door_port}", f"mqtts://{HOST}:{world.port}"
    write_enrolled(state, Enrolled(ville_box.name, "ville", door, broker, world.authority.pem))
    return state


class Speaking:
    """A real mouth process with an eye that has nothing to look at."""

    def __init__(self, world: World, state: Path) -> None:
        self.world = world
        eye_end, mouth_end = link_pair()
        ours, theirs = control_pair()
        boundless = Budget(1e9, 1_000_000_000)
        self.hold = Hold(SystemClock().now_ms())
        self.eye = EyeEnd(eye_end, self.hold, SystemClock(), Allowances({}, boundless, SystemClock()))
        self.sockets = (eye_end, mouth_end)
        self.control, self.said, self.log = ControlEnd(ours), 0, state / "mouth.log"
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*module_program("veilleur_agent.mouth"), str(theirs.fileno()), str(mouth_end.fileno())],
                pass_fds=(theirs.fileno(), mouth_end.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(ENVIRONMENT),
                cwd="/",
            )
        theirs.close()
        self.control.say(self.start(state))
        self.hold.say(a_context())

    def start(self, state: Path) -> MouthStart:
        world = self.world
        return MouthStart(
            agent="0.1.0",
            box=ville_box.name,
            controller="ville",
            state=str(state / "mouth"),
            profile="bench",
            host=HOST,
            addresses=(HOST,),
            port=world.port,
            user=None,
            password=None,
            version="auto",
            budgets=(CameraBudget("gare", 1e6, 10_000_000),),
            outbox_bytes_max=10_000_000,
            outbox_age_max_s=86_400,
            reach=Reach((world.port, world.door_port), (), (), (), allow_unconfined=True),
            identity=Identified(world.authority.pem, HOST, world.door_port, (HOST,)),
        )

    def say(self, windows: int) -> None:
        for _ in range(windows):
            self.said += 1
            self.hold.say(a_window(self.said, context_number_of(a_context())))
        self.hold.saved()

    def turn(self) -> list[FromChild]:
        """Move what waits on the link and on the control pair."""
        self.eye.pump()
        heard: list[FromChild] = []
        decoder = from_child()
        with contextlib.suppress(ControlClosedError):
            while (message := self.control.hear(decoder)) is not None:
                heard.append(message)
        return heard

    def events(self, name: str) -> int:
        self.turn()
        return self.log.read_text().count(f'"event": "{name}"')

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.control.close()
        for one in self.sockets:
            one.close()


@contextmanager
def speaking(world: World, state: Path) -> Iterator[Speaking]:
    mouth = Speaking(world, state)
    try:
        yield mouth
    finally:
        mouth.end()


def stored(world: World) -> int:
    """Return how many windows the fleet has, asked past it."""
    with contextlib.closing(sqlite3.connect(world.data / "fleet.db")) as database:
        return database.execute("SELECT count(*) FROM crossing_windows").fetchone()[0]


def test_a_box_renews_while_it_speaks_loses_nothing_and_is_out_when_revoked(world) -> None:
    state = held_since(world, days=25)
    old = (state / "mouth" / FILE_NAME).read_bytes()
    assert due_at(x509.load_pem_x509_certificate(old)).timestamp() < world.clock.now_ms() / 1000
    world.lay_out()
    with world.broker(), world.running_fleet(), speaking(world, state) as mouth:
        mouth.say(50)
        build.wait_until(lambda: mouth.events("certificate.renewed") == 1, "the renewal", 60)
        mouth.say(50)
        build.wait_until(lambda: mouth.events("uplink.connected") >= 2, "a new connection", 60)
        mouth.say(50)
        build.wait_until(lambda: not mouth.turn() and stored(world) == mouth.said, "everything in the store", 60)
        new = x509.load_pem_x509_certificate((state / "mouth" / FILE_NAME).read_bytes())
        assert due_at(new).timestamp() > world.clock.now_ms() / 1000
        assert new.public_key() != x509.load_pem_x509_certificate(old).public_key()
        before = mouth.events("uplink.lost")
        assert world.command("pki", "revoke", ville_box.name).returncode == 0
        took_s = build.wait_until(lambda: mouth.events("uplink.lost") > before, "the end of its connection", 60)
        assert took_s < 60
