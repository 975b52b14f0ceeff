"""Let a box come back after a week, and see that no other box waits for it.

    a week in its outbox ──▶ mouth ──┐
    light boxes, one thing a time ───┴─▶ broker ─▶ fleet ─▶ out/ ─▶ a consumer's clock      p99 before · during

Everything is real: the outbox is filled as the link fills it, the mouth is a process, Mosquitto and the fleet are.
What is measured is from the moment when a light box's eye says a thing until a consumer of ``out/`` has it.

python benchmarks/drain.py [--days 7] [--heavy] [--boxes 12]
"""

import argparse
import contextlib
import math
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec
import paho.mqtt.client as mqtt
from light_boxes import FIRST_S, Crew, LightBox, Pump, Said

from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.room import Bounds
from veilleur_contracts import messages as m
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of, encode
from veilleur_contracts.ids import shard_of
from veilleur_simulator.broker import Broker
from veilleur_simulator.processes import Child, program_command

P99_BAR_S: Final = 0.250
PERSON_WINDOW_S: Final = 1200
HEALTH_S: Final = 60
SAID_HZ: Final = 20.0
UNDISTURBED_S: Final = 30.0
DRAINED_WITHIN_S: Final = 900.0
TOLD_WITHIN_S: Final = 60.0
LABELS: Final = tuple(range(6))


@dataclass(frozen=True, slots=True)
class Load:
    """What a box says in a week.

    Attributes:
        cameras: How many cameras it has.
        lines: Lines of each.
        zones: Zones of each, with occupancy, stays of four labels and object-time.
        window_s: Length of the windows: where persons are counted, the shipped length is 1,200 s.
    """

    cameras: int = 16
    lines: int = 4
    zones: int = 0
    window_s: int = PERSON_WINDOW_S


LATE: Final = "week-01"
HEAVY: Final = Load(zones=1, window_s=600)
"""A zone more on each camera, and windows half as long as those of the shipped strictest profile."""


class Stopwatch:
    """A consumer of ``out/`` that notes when each thing of the light boxes came."""

    def __init__(self, port: int) -> None:
        self.said_at_s: dict[tuple[str, int], float] = {}
        self.took: list[tuple[float, float]] = []
        self.drained = 0
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("veilleur/v1/+/out/#", qos=1)
        self._client.on_message = self._note
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ready.wait(20)

    def close(self) -> None:
        """Listen no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:  # paho's own
        now_s = time.monotonic()
        _, _, box, _, _, record = msgpack.unpackb(message.payload)
        if not box.startswith("box-"):
            self.drained += 1
        elif (said_at_s := self.said_at_s.pop((box, record[2]), None)) is not None:
            self.took.append((said_at_s, now_s - said_at_s))

    def p99_s(self, from_s: float, to_s: float) -> tuple[float, int]:
        """Return the 99th percentile of what was said in that time, and how many those were."""
        took = sorted(took for said_at_s, took in list(self.took) if from_s <= said_at_s < to_s)
        took += [math.inf for said_at_s in list(self.said_at_s.values()) if from_s <= said_at_s < to_s]
        return (took[math.ceil(0.99 * len(took)) - 1] if took else math.inf), len(took)


def week_of(load: Load, days: float, chance: random.Random) -> Iterator[m.Record]:
    """Yield what a box says while it is cut off, in the order in which it says it."""
    start_s = 1_790_000_000 // 86_400 * 86_400
    contexts = [
        m.Context(
            f"drain-{n:02d}", "30189", "0" * 16, "1" * 16, "2" * 16, LABELS,
            tuple(f"line-{k}" for k in range(load.lines)), tuple(f"zone-{k}" for k in range(load.zones)),
        )
        for n in range(load.cameras)
    ]  # fmt: skip
    yield from contexts
    for at_s in range(start_s, start_s + int(days * 86_400), HEALTH_S):
        for one in contexts:
            yield m.CameraHealth(one.camera, at_s, 1, 50, 0, chance.randrange(100))
        if (at_s - start_s) % load.window_s == 0:
            for one in contexts:
                yield from _windows_of(one, at_s, load, chance)


def _windows_of(context: m.Context, at_s: int, load: Load, chance: random.Random) -> Iterator[m.Record]:
    number, window_s = context_number_of(context), load.window_s
    for line in range(load.lines):
        counts = tuple(
            None if cell < 4 and chance.random() < 0.2 else chance.choice((0, 7, 45, 180, 320)) for cell in range(12)
        )
        yield m.CrossingWindow(number, at_s, window_s, line, 98, 50, 0, counts)
    for zone in range(load.zones):
        yield m.OccupancyWindow(number, at_s, window_s, zone, 98, 0, tuple(chance.randrange(20) for _ in range(12)))
        for label in (2, 3, 4, 5):
            stays = tuple(chance.randrange(12) for _ in range(8))
            yield m.StayWindow(number, at_s, window_s, zone, 98, 0, label, stays, 0)
        yield m.ObjectWindow(number, at_s, window_s, zone, 98, 0, 1200)


def fill(box: LightBox, load: Load, days: float) -> tuple[int, int]:
    """Put a week into the outbox of ``box``; return how many records and bytes that are."""
    outbox = Outbox.open(box.outbox, Bounds(), SystemClock())
    records = 0
    batch: list[m.Carried] = []
    for records, record in enumerate(week_of(load, days, random.Random(3)), start=1):
        batch.append(m.Carried(1, records, msgspec.Raw(encode(record))))
        if len(batch) == 4000:
            outbox.store(batch)
            batch.clear()
    outbox.store(batch)
    size = outbox.size_bytes
    outbox.close()
    return records, size


def names_of(boxes: int) -> list[str]:
    """Return names of other boxes, of which two share the shard of the late one: consumers are told shard by shard."""
    names = [f"box-{n:03d}" for n in range(1000)]
    beside = [name for name in names if shard_of(name) == shard_of(LATE)][:2]
    return beside + [name for name in names if name not in beside][: boxes - len(beside)]


def rest(pump: Pump, until: Any, within_s: float) -> bool:
    """Wait until ``until``, or the time is over; show what went wrong in the pump."""
    ends_s = time.monotonic() + within_s
    while not until() and time.monotonic() < ends_s:
        if pump.error is not None:
            raise pump.error
        time.sleep(0.05)
    return bool(until())


def run(folder: Path, load: Load, days: float, boxes: int) -> int:
    """Measure; print what it comes to; return 1 when a bar is missed."""
    with contextlib.ExitStack() as stack:
        broker = Broker(folder / "broker")
        broker.start()
        stack.callback(broker.stop)
        command = program_command("veilleur-fleet", "run", "--data", str(folder / "fleet"), "--broker", broker.url)
        command += ["--listen", "127.0.0.1:0"]
        fleet = stack.enter_context(Child("fleet", command, folder / "fleet.log", speaks=True))
        fleet.line(60)
        watch, said, lock = Stopwatch(broker.port), Said(), threading.Lock()
        stack.callback(watch.close)
        chance = random.Random(1)
        others = [LightBox(name, folder / "boxes", broker.port, "auto", chance) for name in names_of(boxes)]
        late = LightBox(LATE, folder / "boxes", broker.port, "auto", chance)
        records, size = fill(late, load, days)
        print(f"a week of {load.cameras} cameras: {records:,} records, {size / 1e6:.1f} MB in the outbox", flush=True)

        def speak(box: LightBox) -> None:
            watch.said_at_s[box.name, FIRST_S + box.said_count + 1] = time.monotonic()
            box.say(said)

        crew, late_crew = Crew(others, lock, patient=True), Crew([late], lock, patient=True)
        crew.begin()
        stack.callback(crew.kill)
        pump = Pump(others, lock, SAID_HZ, speak)
        pump.start()
        stack.callback(pump.stop)
        rest(pump, lambda: len(watch.took) > 5 * SAID_HZ, 60.0)
        began_s = time.monotonic()
        rest(pump, lambda: False, UNDISTURBED_S)
        back_s = time.monotonic()
        late_crew.begin()
        stack.callback(late_crew.kill)
        held = lambda: _held(late.outbox)  # noqa: E731 - two words
        is_drained = rest(pump, lambda: held() == 0, DRAINED_WITHIN_S)
        done_s = time.monotonic()
        pump.is_speaking = False
        rest(pump, lambda: not watch.said_at_s and watch.drained >= records, TOLD_WITHIN_S)
        told = watch.drained
        before_s, before = watch.p99_s(began_s, back_s)
        during_s, during = watch.p99_s(back_s, done_s)
        stored = _stored(folder / "fleet" / "fleet.db")
    fine = is_drained and min(stored, told) >= records and during_s <= P99_BAR_S
    print(
        f"p99 undisturbed {before_s * 1000:.0f} ms of {before:,}, during the drain {during_s * 1000:.0f} ms of"
        f" {during:,} (bar {P99_BAR_S * 1000:.0f}), ratio {during_s / before_s:.2f}"
    )
    rate = size / (done_s - back_s) / 1000
    print(
        f"drain: {stored:,} of {records:,} records in {done_s - back_s:.1f} s ({rate:.0f} kB/s),"
        f" {told:,} told by the end, p99 of other boxes {during_s * 1000:.0f} ms: {'ok' if fine else 'FAILED'}"
    )
    return 0 if fine else 1


def _held(outbox: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{outbox.as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
        return int(database.execute("SELECT count(*) FROM record").fetchone()[0])


def _stored(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20.0)) as store:
        query = "SELECT count(*) FROM records JOIN boxes USING (box_no) WHERE box = 'week-01' AND tag != 4"
        return int(store.execute(query).fetchone()[0])


def main() -> int:
    """Read what is asked, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=7.0, help="how long the box was cut off")
    parser.add_argument("--heavy", action="store_true", help="a zone on each camera, and windows of ten minutes")
    parser.add_argument("--boxes", type=int, default=12, help="others that speak meanwhile")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="veilleur-drain-") as folder:
        return run(Path(folder).resolve(), HEAVY if asked.heavy else Load(), asked.days, asked.boxes)


if __name__ == "__main__":
    sys.exit(main())
