"""Many light boxes for chaos and drain: nothing is seen, but what is said goes the whole real way.

    generator ──Hold, EyeEnd──▶ link ──▶ Mouth · outbox · uplink (a worker process, ended at will) ──▶ broker ──▶ fleet
        │
        └─▶ Said: who said what, kept here and nowhere else; no store of ours is asked

python benchmarks/light_boxes.py SHIFT_MS PATIENT CONTROL_FD:LINK_FD ...      a worker, started by ``Crew``
"""

import asyncio
import random
import resource
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from veilleur_agent.budget import Budget
from veilleur_agent.control import ControlClosedError, ControlEnd, Numbered, control_pair, from_child, to_mouth
from veilleur_agent.events import teller_to
from veilleur_agent.hold import Hold
from veilleur_agent.link import Allowances, EyeEnd, link_pair
from veilleur_agent.mouth.app import Mouth
from veilleur_agent.mouth.inflight import Patience
from veilleur_agent.starts import CameraBudget, MouthStart, Reach
from veilleur_contracts import messages as m
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of
from veilleur_simulator.processes import tie

PATIENCE: Final = Patience(ack_s=2.0, ack_max_s=4.0, retry_s=0.25, retry_max_s=1.0)
"""A street waits minutes where a bench of one minute waits seconds."""
FIRST_S: Final = 1_790_000_000
"""What stands as a time in the first thing that a box says; from there on it counts."""
BOUNDLESS: Final = Budget(1e6, 1 << 30)

Fact = tuple[str, int, int]
"""Box, tag of the record, and the number that stands in it as a time: what tells it from every other."""


class ShiftedClock(SystemClock):
    """The clock of this machine, set wrongly."""

    def __init__(self, shift_ms: int) -> None:
        self._shift_ms = shift_ms

    def now_ms(self) -> int:
        """Return UTC milliseconds since 1970, plus the shift."""
        return super().now_ms() + self._shift_ms


@dataclass(slots=True)
class Said:
    """The independent ledger: every fact that was handed to a box, and the sum of all crossings told."""

    facts: set[Fact] = field(default_factory=set)
    crossings: int = 0
    by_class: Counter[str] = field(default_factory=Counter)


class LightBox:
    """One box: its eye's end of the link, played here, and what its mouth is given."""

    def __init__(self, name: str, folder: Path, port: int, version: str, chance: random.Random) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)
        self.outbox = self.folder / "outbox.sqlite"
        self._port, self._version, self._chance = port, version, chance
        ours, self.link = link_pair()
        self._ours = ours
        self.hold = Hold(SystemClock().now_ms())
        self.eye = EyeEnd(ours, self.hold, SystemClock(), Allowances({}, BOUNDLESS, SystemClock()))
        self._context = m.Context(
            f"{name}-cam", "30189", "0" * 16, "1" * 16, "2" * 16, tuple(range(6)), ("kerb",), ("square",)
        )
        self._number = context_number_of(self._context)
        self.control: ControlEnd | None = None
        self.left: int | None = None
        self.said_count = 0
        self.hold.say(self._context)
        self.hold.saved()

    def start(self) -> MouthStart:
        """Return what its mouth is given."""
        return MouthStart(
            agent="0.1.0",
            box=self.name,
            controller="ville",
            state=str(self.folder),
            profile="bench",
            host="127.0.0.1",
            addresses=("127.0.0.1",),
            port=self._port,
            user=None,
            password=None,
            version=self._version,
            budgets=(CameraBudget(f"{self.name}-cam", 1e6, 1 << 30),),
            outbox_bytes_max=256 << 20,
            outbox_age_max_s=30 * 86_400,
            reach=Reach((self._port,), (), (), (), allow_unconfined=True),
            disk_within_s=60.0,
        )

    def say(self, said: Said) -> int:
        """Say one thing more, and write it down; return its number."""
        self.said_count += 1
        record = self._record(FIRST_S + self.said_count)
        said.facts.add((self.name, type(record).__struct_config__.tag, FIRST_S + self.said_count))
        said.by_class[m.CLASS_OF[type(record)].value] += 1
        if isinstance(record, m.CrossingWindow):
            said.crossings += sum(count or 0 for count in record.counts)
        self.hold.say(record)
        self.hold.saved()
        return FIRST_S + self.said_count

    def _record(self, n: int) -> m.Record:
        draw = self._chance.random()
        if draw < 0.6:
            counts = tuple(None if self._chance.random() < 0.1 else self._chance.randrange(50) for _ in range(12))
            return m.CrossingWindow(self._number, n, 900, 0, 98, 50, 0, counts)
        if draw < 0.8:
            return m.CameraHealth(f"{self.name}-cam", n, 1, 50, 0, n % 900)
        if draw < 0.88:
            return m.ViewAlarm(f"{self.name}-cam", n, 8, 34)
        if draw < 0.94:
            return m.RoadState(self._number, n, 300, 0, 1, 840, 31, 25)
        return m.StreetEvent(self._number, n, 1, 0, n, 0)

    def pump(self) -> None:
        """Move what waits, and hear how far the mouth is."""
        self.eye.pump()
        if self.control is None:
            return
        try:
            while (heard := self.control.hear(from_child())) is not None:
                if isinstance(heard, Numbered):
                    self.left = heard.left
        except ControlClosedError:
            self.control.close()
            self.control = None

    @property
    def is_done(self) -> bool:
        """Whether the fleet has acknowledged everything, as far as its mouth has told."""
        return not self.hold and self.left == 0


class Crew:
    """Some boxes whose mouths share one process, so that many can be ended at once; start it from the main thread."""

    def __init__(self, boxes: Sequence[LightBox], lock: threading.Lock, *, patient: bool = False) -> None:
        self.boxes, self._lock, self._patient = boxes, lock, patient
        self._process: subprocess.Popen[bytes] | None = None
        self.events: Counter[str] = Counter()
        self.refusals = 0

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None  # noqa: S101 - a bench: started before it is asked
        return self._process.pid

    def begin(self, shift_ms: int = 0) -> None:
        """Start the mouths, with their clocks set wrongly by ``shift_ms``."""
        theirs, fds, told = [], [], []
        self.refusals = self.events["mouth.refused"]
        with self._lock:
            for box in self.boxes:
                ours, other = control_pair()
                box.control, box.left = ControlEnd(ours), None
                box.control.say(box.start())
                theirs.append(other)
                fds += [other.fileno(), box.link.fileno()]
                told.append(f"{other.fileno()}:{box.link.fileno()}")
        self._process = subprocess.Popen(
            [*tie(), sys.executable, __file__, str(shift_ms), str(int(self._patient)), *told],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for other in theirs:
            other.close()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None  # noqa: S101 - a bench: started before it is asked
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def _listen(self, pipe: IO[bytes]) -> None:
        try:
            for line in pipe:
                event = line.partition(b'"event":"')[2].partition(b'"')[0] or line.partition(b'"event": "')[2][:40]
                self.events[event.partition(b'"')[0].decode("ascii", "replace") or line.decode("utf-8", "replace")] += 1
        except ValueError:
            return  # it was closed under us: killed


class Pump:
    """Moves everybody's link in a thread of its own, and says so many things a second."""

    def __init__(
        self, boxes: Sequence[LightBox], lock: threading.Lock, rate_hz: float, saying: Callable[[LightBox], None]
    ) -> None:
        self._boxes, self._lock, self._rate_hz, self._saying = boxes, lock, rate_hz, saying
        self._ends = threading.Event()
        self.is_speaking = True
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        clock, chance = SystemClock(), random.Random(11)
        owed, before_s = 0.0, clock.elapsed_s()
        try:
            while not self._ends.wait(0.01):
                now_s = clock.elapsed_s()
                owed, before_s = owed + (now_s - before_s) * self._rate_hz, now_s
                with self._lock:
                    while owed >= 1:
                        owed -= 1
                        if self.is_speaking:
                            self._saying(chance.choice(self._boxes))
                    for box in self._boxes:
                        box.pump()
        except BaseException as error:  # noqa: BLE001 - shown by the main thread, which is waiting
            self.error = error


def limit_files(pid: int, most_bytes: int) -> None:
    """Let a running process write no file beyond ``most_bytes``: a disk that is full; -1: as far as it likes."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most_bytes < 0 else most_bytes, hard))


async def _speak(pair: str, clock: ShiftedClock, patience: Patience | None) -> None:
    control_fd, link_fd = (int(number) for number in pair.split(":"))
    control, link = ControlEnd(socket.socket(fileno=control_fd)), socket.socket(fileno=link_fd)
    link.settimeout(0)
    select.select([control], [], [], 10.0)
    start = control.hear(to_mouth())
    assert isinstance(start, MouthStart)  # noqa: S101 - our own parent
    await Mouth(start, control, link, teller_to(sys.stdout), clock=clock, patience=patience).run()


async def _worker(shift_ms: int, patient: int, pairs: Sequence[str]) -> None:
    clock = ShiftedClock(shift_ms)
    async with asyncio.TaskGroup() as tasks:
        for pair in pairs:
            tasks.create_task(_speak(pair, clock, None if patient else PATIENCE), name=pair)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    asyncio.run(_worker(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
