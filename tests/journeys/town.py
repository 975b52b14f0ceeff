"""A small town for journeys: a real broker, a real fleet and real boxes on the loopback, ended with the test.

Everything a part writes lies under one folder, temporary files too, so that it can be searched.
"""

import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from veilleur_agent.confine.process import lacking_here
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import CameraState
from veilleur_simulator.balance import Balance, Counts, Tally, balance_of, counts_of, read_tally, stored_in, total_of
from veilleur_simulator.broker import Broker
from veilleur_simulator.film import write_film
from veilleur_simulator.ledger import Books, Entry, Ledger
from veilleur_simulator.processes import Child, program_command, wait_until
from veilleur_simulator.scenario import Scenario, read_scenario
from veilleur_simulator.street import Street

SCENARIOS = Path(__file__).parents[2] / "simulator" / "scenarios"
READY_WITHIN_S = 40.0
WITHIN_S = 30.0
ENDS_WITHIN_S = 30.0


def scenario_of(name: str) -> Scenario:
    return read_scenario(SCENARIOS / f"{name}.toml")


def film_of(scenario: Scenario, folder: Path, *, lossless: bool = False) -> Path:
    path = folder / f"{scenario.street.name}.mp4"
    write_film(Street(scenario), path, lossless=lossless)
    return path


def site_of(source: str, *, loop: bool = False, extra: str = "", box: str = "box-1", fps: float = 10) -> str:
    """A site of one camera with one line down the middle."""
    return (
        f'[site]\nbox = "{box}"\ncontroller = "ville"\n\n'
        f'[[camera]]\nid = "avenue"\ninsee = "30189"\nsource = {json.dumps(source)}\nfps = {fps}\n'
        f"loop = {str(loop).lower()}\n{extra}\n"
        '[[camera.line]]\nid = "middle"\nfrom = [0.5, 1.0]\nto = [0.5, 0.02]\n'
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What the fleet knows of a camera."""

    state: CameraState | None
    reconnects: int


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window of a line in the fleet's store."""

    at_s: int
    window_s: int
    coverage: int
    counts: tuple[int | None, ...]


class Box:
    """One agent and the folder of its state."""

    def __init__(self, name: str, state: Path, child: Child) -> None:
        self.name, self.state, self.child = name, state, child

    def tally(self) -> Tally:
        """What it has counted so far; nothing before its first word."""
        return read_tally(self.state) or Tally()

    def frames(self) -> int:
        return sum(self.tally().frames.values())

    def crossings(self) -> int:
        return total_of(counts_of([self.tally()]))

    def pid_of(self, part: str) -> int:
        """The process of its eye or mouth."""
        found = [pid for pid in descendants_of(self.child.pid) if f"veilleur_agent.{part}" in command_of(pid)]
        assert len(found) == 1, f"{self.name} has {len(found)} processes called {part}"
        return found[0]

    def kill_part(self, part: str) -> None:
        """End its eye or mouth as a crash would, and wait until box has started another."""
        before = self.pid_of(part)
        os.kill(before, signal.SIGKILL)

        def is_another() -> bool:
            now = [pid for pid in descendants_of(self.child.pid) if f"veilleur_agent.{part}" in command_of(pid)]
            return bool(now) and before not in now

        wait_until(is_another, WITHIN_S, f"another {part}")

    def end(self) -> None:
        """End it in good order: windows closed, everything acknowledged."""
        self.child.interrupt()
        code = self.child.wait(ENDS_WITHIN_S)
        assert code == 0, self.child.told(f"{self.name} ended with {code}")


class Town:
    """A broker, a fleet and boxes, for as long as the block lasts."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder, self.models = folder, models
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.broker = Broker(folder / "broker")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.broker.start()
            stack.callback(self.broker.stop)
            command = program_command("veilleur-fleet", "run", "--data", str(self.folder / "fleet"))
            self.fleet = stack.enter_context(
                self._child("fleet", [*command, "--broker", self.broker.url, "--listen", "127.0.0.1:0"], speaks=True)
            )
            self.page = self.fleet.line(READY_WITHIN_S).rpartition(" ")[2]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def database(self) -> Path:
        return self.folder / "fleet" / "fleet.db"

    def box(self, site: str, *options: str, name: str = "box-1", broker_port: int | None = None) -> Box:
        """Start an agent with the sprite detector, under the bench policy, in its own folder."""
        state = self.folder / name
        state.mkdir(exist_ok=True)
        (self.folder / f"{name}.toml").write_text(site, encoding="utf-8")
        broker = f"mqtt://{self.broker.host}:{broker_port or self.broker.port}"
        places = ("--site", str(self.folder / f"{name}.toml"), "--state", str(state), "--models", str(self.models))
        command = program_command("veilleur-agent", "run", *places, "--model", "sprite", "--broker", broker)
        if lacking_here():
            command.append("--allow-unconfined")  # what is journeyed is the path; confinement has tests of its own
        child = self._child(name, [*command, "--policy", "bench", *options])
        return Box(name, state, self._stack.enter_context(child))

    def ledger(self, clock: Clock) -> Ledger:
        return Ledger(self.broker.host, self.broker.port, clock)

    def counts(self) -> Counts:
        """What the fleet's store holds."""
        return stored_in(self.database)[0]

    def total(self) -> int:
        return total_of(self.counts())

    def stored(self) -> set[Entry]:
        """Box, stream and number of every record in the store."""
        return stored_in(self.database)[1]

    def camera(self) -> Told:
        """What the fleet was last told of the one camera."""
        rows = self._asked("SELECT state, reconnects FROM cameras WHERE state IS NOT NULL")
        return Told(CameraState(rows[0][0]), rows[0][1]) if rows else Told(None, 0)

    def states(self) -> list[CameraState]:
        """Every state the one camera was ever said to be in, in order."""
        return [
            CameraState(row[0]) for row in self._asked("SELECT state FROM camera_health ORDER BY received_ms, at_s")
        ]

    def windows(self) -> list[WindowRow]:
        rows = self._asked(
            "SELECT at_s, window_s, coverage, person_lr, person_rl, bicycle_lr, bicycle_rl, car_lr, car_rl"
            " FROM crossing_windows ORDER BY at_s, position"
        )
        return [WindowRow(row[0], row[1], row[2], tuple(row[3:])) for row in rows]

    def balance(self, boxes: Sequence[Box], books: Books | None = None) -> Balance:
        """Compare the books; without a ledger, the store stands for the consumer."""
        stored = stored_in(self.database)[1]
        heard = books or Books(dict.fromkeys(stored, 1), 0, 0, None)
        return balance_of({box.name: box.tally() for box in boxes}, self.database, heard)

    def _asked(self, query: str) -> list[tuple[int, ...]]:
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as store:
            return store.execute(query).fetchall()

    def _child(self, name: str, command: list[str], *, speaks: bool = False) -> Child:
        environment = {"TMPDIR": str(self.temporary), "HOME": str(self.folder), "VEILLEUR_TRUST_CLOCK": "true"}
        return Child(name, command, self.folder / f"{name}.log", speaks=speaks, environment=environment)


def descendants_of(pid: int) -> Iterator[int]:
    """Children, their children and so on, as /proc tells."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int(
                    (entry / "stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[1]
                )
                children.setdefault(parent, []).append(int(entry.name))
    waiting = list(children.get(pid, ()))
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, ())


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
        )
    except OSError:
        return False


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
