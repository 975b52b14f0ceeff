"""A town steered by documents: a fleet with a door and a key of its own, and boxes enrolled with a root."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Self

from city_hall import CityHall
from journeys.town import READY_WITHIN_S, Box, Town
from veilleur_agent.confine.process import lacking_here
from veilleur_contracts.messages import Strictness
from veilleur_fleet.steer.status import Seen, boxes_in
from veilleur_fleet.store.database import open_readers
from veilleur_simulator.processes import Child, free_port, program_command, wait_until

STEERED_WITHIN_S = 60.0


class SteeredTown(Town):
    """A broker, a fleet that steers, and boxes that ask it."""

    def __init__(self, folder: Path, models: Path, hall: CityHall) -> None:
        super().__init__(folder, models)
        self.hall = hall
        self.door_port = free_port()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.broker.start()
            stack.callback(self.broker.stop)
            self._stack = stack.pop_all()
        self.start_fleet()
        self.steer("root", self.hall.root)
        return self

    def start_fleet(self) -> None:
        key = ("--word-key", str(self.hall.folder / "fleet.pem"), "--word-passphrase-file", str(self.hall.passphrase))
        places = ("--broker", self.broker.url, "--listen", "127.0.0.1:0", "--door", f"127.0.0.1:{self.door_port}")
        command = program_command("veilleur-fleet", "run", "--data", str(self.folder / "fleet"), *places, *key)
        self.fleet = self._stack.enter_context(self._child("fleet", command, speaks=True))
        self.page = self.fleet.line(READY_WITHIN_S).rpartition(" ")[2]

    def restart_fleet(self) -> None:
        self.fleet.interrupt()
        self.fleet.wait(READY_WITHIN_S)
        self.start_fleet()

    def steer(self, *words: object) -> None:
        """Do what a person does with ``veilleur-fleet steer``, beside the fleet that runs."""
        command = program_command("veilleur-fleet", "steer", *map(str, words), "--data", str(self.folder / "fleet"))
        child = Child("steer", command, self.folder / "steer.log")
        with child:
            code = child.wait(READY_WITHIN_S)
            assert code == 0, child.told(f"steer ended with {code}")

    def steered_box(self, site: str, name: str = "box-1") -> Box:
        """Start an agent that knows a root and where the fleet is, and has no policy."""
        state = self.folder / name
        state.mkdir(exist_ok=True)
        (self.folder / f"{name}.toml").write_text(site, encoding="utf-8")
        places = ("--site", str(self.folder / f"{name}.toml"), "--state", str(state), "--models", str(self.models))
        fleet = ("--broker", self.broker.url, "--fleet", f"http://localhost:{self.door_port}")
        command = program_command("veilleur-agent", "run", *places, "--model", "sprite", *fleet)
        command += ["--root", str(self.hall.root), *(["--allow-unconfined"] if lacking_here() else [])]
        return Box(name, state, self._stack.enter_context(self._child(name, command)))

    def reported(self) -> dict[str, Any] | None:
        """What the one box said last that it holds."""
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as store:
            store.row_factory = sqlite3.Row
            row = store.execute("SELECT * FROM reported").fetchone()
        return None if row is None else dict(row)

    def says(self, *, after_ms: int = 0, **wanted: object) -> bool:
        """Whether the one box said last, and later than ``after_ms``, that it holds this."""
        said = self.reported()
        is_later = said is not None and said["received_ms"] > after_ms
        return said is not None and is_later and all(said[name] == value for name, value in wanted.items())

    def until_says(self, *, after_ms: int = 0, **wanted: object) -> None:
        words = ", ".join(f"{name} {value}" for name, value in wanted.items())
        wait_until(lambda: self.says(after_ms=after_ms, **wanted), STEERED_WITHIN_S, f"a box that says {words}")

    def until_runs_under(self, version: int) -> None:
        self.until_says(policy_version=version, why=Strictness.NONE, stops=0, running=1)

    def until_stopped(self, after_ms: int = 0) -> None:
        self.until_says(after_ms=after_ms, stops=1, why=Strictness.STOPPED, running=0, profile="stopped")

    def status(self) -> Seen:
        readers = open_readers(self.folder / "fleet")
        with readers.connect() as connection:
            (seen,) = boxes_in(connection)
        readers.dispose()
        return seen
