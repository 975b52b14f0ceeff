"""Break everything for ten minutes, and prove from a ledger of our own that nothing was lost or told twice.

    generator ─▶ mouths ─▶ fault proxy ─▶ broker ─▶ fleet ─▶ out/ ─▶ consumer          all real, all killed at random
        │                  (cut, half-open, throttled, 4 acks in 10 stolen)  │                  │
        └─▶ Said ═══════════════════════ compared with ═════════ fleet.db, read plainly ═══ its books

Disks fill up, clocks are a year wrong, and what a kill leaves half-written lies there at the next start.

python benchmarks/chaos.py [--seconds 600] [--seed N]    the last line says it all; 1 when something was lost or doubled
"""

import argparse
import contextlib
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack
from light_boxes import FIRST_S, Crew, Fact, LightBox, Pump, Said, limit_files

from veilleur_agent.mouth.errors import DiskRefusedError
from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.room import Bounds
from veilleur_contracts.clock import SystemClock
from veilleur_simulator.broker import Broker
from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.mqtt_faults import AckThief
from veilleur_simulator.network import ProxyBeside, proxy_to
from veilleur_simulator.processes import Child, free_port, wait_until

HERE: Final = Path(__file__).parent
YEAR_MS: Final = 365 * 86_400_000
SHIFTS_MS: Final = (-YEAR_MS, 0, YEAR_MS)
ACKS_STOLEN: Final = 0.4
CREWS: Final = 3
BOXES_A_CREW: Final = 8
SAID_HZ: Final = 100.0
PAUSE_S: Final = (0.3, 1.8)
SETTLING_S: Final = 10.0
"""Of the time given, about as long as it takes until the last acknowledgement has come."""
SETTLED_WITHIN_S: Final = 120.0
READY_WITHIN_S: Final = 60.0
TOLD_TAGS: Final = frozenset({2, 3, 11, 12, 13})
"""Of the records that ``LightBox`` says; a Birth and a Context are the box's own."""
_WINDOW, _COUNTS, _TIME = 2, 8, 2


@dataclass(frozen=True, slots=True)
class Books:
    """What one side holds: how often each fact came, and the crossings of them all."""

    facts: Counter[Fact]
    crossings: int


class World:
    """Broker, fleet, consumer and boxes, on the loopback and in one folder."""

    def __init__(self, folder: Path, chance: random.Random, stack: contextlib.ExitStack) -> None:
        self.folder, self.chance = folder, chance
        self.kills: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.crashes: list[str] = []
        self.thieves: list[AckThief] = []
        self.lock = threading.Lock()
        self.broker = Broker(folder / "broker")
        self.broker.start()
        stack.callback(self.broker.stop)
        self.proxy: ProxyBeside = stack.enter_context(proxy_to(self.broker.port, filters=self._thief))
        self.fleets_proxy: ProxyBeside = stack.enter_context(proxy_to(self.broker.port))
        self.page_port = free_port()
        self.share = ACKS_STOLEN
        self.fleet = self._started_fleet()
        self.consumer = self._started_consumer()
        self.boxes = [
            LightBox(f"box-{n:02d}", folder / "boxes", self.proxy.port, ("5", "3.1.1", "auto")[n % 3], chance)
            for n in range(CREWS * BOXES_A_CREW)
        ]
        self.crews = [Crew(self.boxes[n::CREWS], self.lock) for n in range(CREWS)]
        for crew in self.crews:
            crew.begin(chance.choice(SHIFTS_MS))
        stack.callback(self._end)

    def _end(self) -> None:
        for crew in self.crews:
            if crew.is_alive():
                crew.kill()
        self.consumer.kill()
        self.fleet.stop()

    def _thief(self) -> AckThief:
        self.thieves.append(AckThief(self.share, random.Random(self.chance.random())))
        return self.thieves[-1]

    @property
    def database(self) -> Path:
        """The fleet's."""
        return self.folder / "fleet" / "fleet.db"

    @property
    def books(self) -> Path:
        """The consumer's."""
        return self.folder / "books.db"

    def _started_fleet(self) -> Child:
        command = [sys.executable, str(HERE / "shifted_fleet.py"), str(self.chance.choice(SHIFTS_MS)), "run"]
        command += ["--data", str(self.folder / "fleet"), "--listen", f"127.0.0.1:{self.page_port}"]
        command += ["--broker", f"mqtt://127.0.0.1:{self.fleets_proxy.port}"]
        return Child("fleet", command, self.folder / "fleet.log")

    def _started_consumer(self) -> Child:
        command = [sys.executable, str(HERE / "chaos_consumer.py"), str(self.broker.port)]
        command += [f"http://127.0.0.1:{self.page_port}", str(self.books)]
        return Child("consumer", command, self.folder / "consumer.log")

    def tend(self) -> None:
        """Start again what has ended by itself; a consumer may, when the fleet does not answer it."""
        if self.consumer.exit_code is not None:
            self.consumer.stop()
            self.consumer = self._started_consumer()
        if self.fleet.exit_code is not None:
            self.crashes.append(self.fleet.told("the fleet ended by itself"))
            self.fleet.stop()
            self.fleet = self._started_fleet()
        for crew in self.crews:
            if crew.is_alive():
                continue
            if crew.events["mouth.refused"] > crew.refusals:
                self.faults["started on a full disk"] += 1  # it says so and ends, and box starts it again
            else:
                self.crashes.append(f"mouths ended by themselves: {dict(crew.events)}")
            crew.kill()
            crew.begin()

    def kill_broker(self) -> None:
        """The broker is gone with all it held in memory."""
        self.broker.kill()
        self.kills["broker"] += 1
        time.sleep(self.chance.uniform(0.0, 0.8))
        self.broker.start()

    def kill_fleet(self) -> None:
        """The fleet is gone in the middle of whatever it was doing, and its journal ends in half a frame."""
        self.fleet.kill()
        self.kills["fleet"] += 1
        half_write(self.database, self.chance)
        self.fleet = self._started_fleet()

    def kill_mouths(self) -> None:
        """A third of the mouths are gone; the next ones think it is another year."""
        crew = self.chance.choice(self.crews)
        crew.kill()
        self.kills["mouths"] += 1
        for box in crew.boxes:
            if self.chance.random() < 0.5:
                half_write(box.outbox, self.chance)
        crew.begin(self.chance.choice(SHIFTS_MS))

    def kill_consumer(self) -> None:
        """The consumer is gone, and must ask for what it missed."""
        self.consumer.kill()
        self.kills["consumer"] += 1
        self.consumer = self._started_consumer()

    def cut(self) -> None:
        """Every connection of boxes, or of the fleet, is reset."""
        proxy = self.chance.choice([self.proxy, self.fleets_proxy])
        proxy.cut()
        time.sleep(self.chance.uniform(0.0, 0.5))
        proxy.mend()
        self.faults["cut"] += 1

    def half_open(self) -> None:
        """Connections stay open and nothing passes; then they are reset."""
        proxy = self.chance.choice([self.proxy, self.fleets_proxy])
        proxy.fall_silent()
        time.sleep(self.chance.uniform(0.5, 3.0))
        proxy.cut()
        proxy.mend()
        self.faults["half-open"] += 1

    def throttle(self) -> None:
        """Everything is slow."""
        self.proxy.throttle(4000.0)
        time.sleep(self.chance.uniform(0.5, 2.0))
        self.proxy.mend()
        self.faults["throttled"] += 1

    def fill_disk(self) -> None:
        """No file of a crew, or of the fleet, may grow."""
        crew = self.chance.choice(self.crews)
        is_fleet = self.chance.random() < 0.5
        with contextlib.suppress(ProcessLookupError, PermissionError):
            limit_files(self.fleet.pid if is_fleet else crew.pid, 0 if not is_fleet else 65_536)
            time.sleep(self.chance.uniform(0.5, 2.0))
            limit_files(self.fleet.pid if is_fleet else crew.pid, -1)
            self.faults["disk full"] += 1

    def tear_copy(self) -> None:
        """A copy of an outbox, cut anywhere, opens to a part of what was said or is set aside."""
        box = self.chance.choice(self.boxes)
        torn = self.folder / "torn" / "outbox.sqlite"
        shutil.rmtree(torn.parent, ignore_errors=True)
        torn.parent.mkdir()
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                data = (box.outbox.parent / f"outbox.sqlite{suffix}").read_bytes()
                is_cut = (suffix == "-wal") == (self.chance.random() < 0.7)
                (torn.parent / f"outbox.sqlite{suffix}").write_bytes(
                    data[: self.chance.randrange(len(data) + 1)] if is_cut else data
                )
        with contextlib.suppress(DiskRefusedError):
            outbox = Outbox.open(torn, Bounds(), SystemClock())
            held = [row[0] for row in outbox._rows("SELECT body FROM record")]  # noqa: SLF001 - read past its door
            outbox.close()
            for body in held:
                fact = fact_of(box.name, msgpack.unpackb(body))
                if fact is not None and fact[2] > FIRST_S + box.said_count:
                    self.crashes.append("a torn outbox holds what was never said")
        self.faults["torn copies"] += 1


def half_write(database: Path, chance: random.Random) -> None:
    """Leave half a frame at the end of a journal, as a power cut in the middle of a write does."""
    journal = database.with_name(database.name + "-wal")
    with contextlib.suppress(FileNotFoundError), journal.open("ab") as file:
        file.write(chance.randbytes(chance.randrange(1, 4000)))


def fact_of(box: str, record: list[object]) -> Fact | None:
    """Return what tells a record from every other; None for those that boxes say of themselves."""
    tag = record[0]
    if not isinstance(tag, int) or tag not in TOLD_TAGS:
        return None
    at_s = record[_TIME]
    assert isinstance(at_s, int)  # noqa: S101 - a bench: what is stored was judged
    return box, tag, at_s


def read_books(rows: Iterator[tuple[str, bytes]]) -> Books:
    """Count facts with a plain MessagePack reader."""
    facts, crossings = Counter[Fact](), 0
    for box, raw in rows:
        record = msgpack.unpackb(raw)
        fact = fact_of(box, record)
        if fact is not None:
            facts[fact] += 1
            if record[0] == _WINDOW:
                crossings += sum(count or 0 for count in record[_COUNTS])
    return Books(facts, crossings)


def asked(path: Path, query: str) -> list[tuple[object, ...]]:
    """Ask a database in SQL, read only."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20.0)) as store:
        return store.execute(query).fetchall()


def wreak(world: World, pump: Pump, until_s: float) -> None:
    """Break things, one after the other, until the time is over."""
    menu: list[tuple[Callable[[], None], int]] = [
        (world.kill_broker, 4),
        (world.kill_fleet, 3),
        (world.kill_mouths, 5),
        (world.kill_consumer, 1),
        (world.cut, 3),
        (world.half_open, 1),
        (world.throttle, 1),
        (world.fill_disk, 2),
        (world.tear_copy, 1),
    ]
    while time.monotonic() < until_s:
        world.chance.choices([one for one, _ in menu], [weight for _, weight in menu])[0]()
        time.sleep(world.chance.uniform(*PAUSE_S))
        world.tend()
        if pump.error is not None:
            raise pump.error


def settle(world: World, pump: Pump) -> None:
    """Break nothing any more, and wait until everybody says that everything has arrived."""
    pump.is_speaking = False
    world.share = 0.0
    world.proxy.cut()  # new connections, which nobody steals from
    world.proxy.mend()

    def is_done() -> bool:
        world.tend()
        return all(box.is_done for box in world.boxes)

    with contextlib.suppress(PartFailedError):  # then the books say what is missing
        wait_until(is_done, SETTLED_WITHIN_S, "the end of the outboxes", every_s=0.1)
        wait_until(lambda: world.tend() or _caught_up(world), READY_WITHIN_S, "the consumer", every_s=0.1)


def _caught_up(world: World) -> bool:
    stored = asked(world.database, "SELECT count(*) FROM records")
    told = asked(world.books, "SELECT count(*) FROM told")
    return stored == told


def verdict(world: World, said: Said, seconds: float) -> tuple[str, bool]:
    """Hold the three books against each other; print what else there was, and return the last line."""
    store = read_books(iter(asked(world.database, "SELECT box, raw FROM records JOIN boxes USING (box_no)")))
    told = read_books(iter(asked(world.books, "SELECT box, record FROM told")))
    ((waiting,),) = asked(world.database, "SELECT count(*) FROM waiting")
    ((again,),) = asked(world.books, "SELECT count(*) FROM again")
    marks = asked(world.database, "SELECT total(duplicates), total(lost), total(refused) FROM streams")
    filtered, missing, refused = (int(one) for one in marks[0])
    ((summed,),) = asked(world.database, "SELECT total(count) FROM crossing_cells")
    lost = len(said.facts - store.facts.keys()) + len(said.facts - told.facts.keys())
    doubled = sum(books.facts.total() - len(books.facts) for books in (store, told))
    invented = len(store.facts.keys() - said.facts) + len(told.facts.keys() - said.facts)
    sums = {said.crossings, store.crossings, told.crossings, int(summed)}
    for crash in world.crashes:
        print(crash)
    print(f"said {len(said.facts):,} {dict(said.by_class)}; crossings {' = '.join(f'{one:,}' for one in sorted(sums))}")
    print(f"faults {dict(world.faults)}; acknowledgements stolen {sum(thief.stolen for thief in world.thieves):,}")
    print(f"{invented} invented, {waiting} waiting, {missing} in gaps, {refused} refused, {len(world.crashes)} crashes")
    is_fine = len(sums) == 1 and not (lost or doubled or invented or waiting or missing or refused or world.crashes)
    kills = ", ".join(f"{part} {count}" for part, count in sorted(world.kills.items()))
    line = (
        f"chaos {seconds:.0f} s: {world.kills.total()} kills ({kills}), {filtered:,} duplicates filtered by the fleet,"
        f" {again:,} by the consumer, {lost} lost, {doubled} duplicated: {'ok' if is_fine else 'FAILED'}"
    )
    return line, is_fine


def main() -> int:
    """Break, wait, compare; return 1 when anything is not as it was said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long it takes, about; the last ten are for settling"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choices; timing differs all the same")
    parser.add_argument("--keep", type=Path, help="an empty folder to leave everything in")
    options = parser.parse_args()
    began_s, chance, said = time.monotonic(), random.Random(options.seed), Said()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veilleur-chaos-")))
        world = World(folder.resolve(), chance, stack)
        pump = Pump(world.boxes, world.lock, SAID_HZ, lambda box: box.say(said))
        pump.start()
        stack.callback(pump.stop)
        wreak(world, pump, began_s + options.seconds - SETTLING_S)
        settle(world, pump)
        line, fine = verdict(world, said, time.monotonic() - began_s)
        if pump.error is not None:
            raise pump.error
    print(line)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
