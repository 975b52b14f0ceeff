"""Torture the counting on walks whose crossings are known exactly, beside the peers' functions on the same tracks.

    .venv/bin/python benchmarks/counting.py [--seeds 1] [--frames 20000] [--json] [--no-peer]

Each row is one way of walking, over vertical, horizontal, oblique and backward lines at 5 and 25 frames per second,
counted four times: from given ids and from noisy detections, by ours and by the peers (``supervision``'s LineZone,
``trackers``' ByteTrack). A row is exact when both directions agree with the truth. Then come stays in a zone, speeds
over the ground, the cost of one frame of 50 road users (tracker, four lines and four zones; the peer's: tracker and one
line), and memory over many frames. Exit 1 unless every row of ours is exact, speeds are right to 1 km/h, a frame costs
at most 1.5 ms on one core, and nothing grows.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tests_beside  # noqa: F401 - the walks are those of the tests: first of ours
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

from count_builders import (
    ASPECT,
    Torture,
    Walk,
    World,
    detections_of,
    straight,
    tally,
    torture,
    tracks_of,
)
from ground_builders import PinholeCamera
from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.lines import LineCounter
from veilleur_agent.eye.records import Detections, Tracks
from veilleur_agent.eye.speeds import Speedometer
from veilleur_agent.eye.track import Tracker
from veilleur_agent.eye.zones import Stay, ZoneWatch
from veilleur_contracts.messages import Label
from veilleur_contracts.site import Zone

ROOT = Path(__file__).parents[1]
PEERS = ("supervision==0.31.2", "trackers==2.6.1")
PEER_HOME = ROOT / ".cache" / "peers"
ANGLES = {"horizontal": 0.0, "vertical": math.pi / 2, "oblique": 0.6, "backward": math.pi}
RATES = (5.0, 25.0)
WIDTH, HEIGHT = 1280, 720
COST_BAR_MS = 1.5
SPEED_BAR_KMH = 1.0
GROWN_MAX_KIB = 2048
CROWD = 50
GIVEN_IDS_ONLY = ("no-id",)
ALL = frozenset(Label)


@dataclass
class Score:
    """Cases of one row that were exact, by who counted."""

    cases: int = 0
    lines: int = 0
    whole: int = 0
    peer_lines: int = 0
    peer_whole: int = 0


class Peer:
    """The peers' program in its own environment, asked one case at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.versions = json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - opened with a pipe below
        return self._process.stdout.readline()

    def ask(self, case: dict[str, object]) -> dict[str, object]:
        """Return the peer's counts and milliseconds per frame."""
        assert self._process.stdin is not None  # noqa: S101 - opened with a pipe below
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer: dict[str, object] = json.loads(self._read())
        return answer

    def exact(self, case: dict[str, object], truth: tuple[int, int]) -> bool:
        """Tell whether the peer counts ``case`` exactly, with either of its settings."""
        return list(truth) in list(self.ask(case)["counts"])


@contextmanager
def peer_of(console: Console, *, wanted: bool) -> Iterator[Peer | None]:
    """Start the peers' program, installing it the first time; None, and a word, where that cannot be done."""
    python = PEER_HOME / "bin" / "python"
    if not wanted or not _installed(python):
        console.print("peer not installed: its columns stay empty" if wanted else "peer not asked")
        yield None
        return
    with subprocess.Popen(
        [str(python), str(ROOT / "benchmarks" / "peer_counting.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        try:
            yield Peer(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()


def _installed(python: Path) -> bool:
    stamp = PEER_HOME / "pinned"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == " ".join(PEERS):
        return True
    venv.create(PEER_HOME, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", *PEERS]
    if subprocess.run(command, capture_output=True, check=False, timeout=600).returncode:
        return False
    stamp.write_text(" ".join(PEERS), encoding="utf-8")
    return True


def rows() -> Torture:
    """Return every way of walking of the tests, and those that make the cars' and short lines' case."""
    more: Torture = {
        "hidden-1.5s": ([straight((0, -3), (0, 3), hidden=((3.0, 4.5),))], (1, 0)),
        "cyclist": ([straight((0, -6), (0, 6), speed=3.5, label=Label.BICYCLE)], (1, 0)),
        "two-cars-in-file": (
            [straight((0, -9), (0, 9), speed=6, start_s=at, label=Label.CAR) for at in (0.0, 0.8)],
            (2, 0),
        ),
        "jitters-beside-it": ([Walk(((0, 0, -0.2), (60, 0, -0.2)))], (0, 0)),
        "short-line": ([straight((x, -3), (x, 3)) for x in (-1.0, 0.0, 1.0)], (1, 0)),
    }
    return torture() | more


def tracks_counted(world: World, frames: list[tuple[int, Tracks]]) -> tuple[int, int]:
    """Count tracks whose ids are given."""
    counter = LineCounter([world.line()], ALL, world.aspect)
    found = [one for at_ms, tracks in frames for one in counter.count(tracks, at_ms)]
    return tally(found + counter.close())


def detections_counted(world: World, frames: list[tuple[int, Detections]]) -> tuple[int, int]:
    """Track and count detections."""
    tracker, counter = Tracker(world.aspect), LineCounter([world.line()], ALL, world.aspect)
    found = [one for at_ms, seen in frames for one in counter.count(tracker.update(seen, at_ms), at_ms)]
    return tally(found + counter.close())


def case_of(world: World, mode: str, walks: list[Walk], frames: list[list[list[float]]]) -> dict[str, object]:
    """Return what the peer is asked: the line and the boxes in pixels."""
    line = world.line()
    ends = [[x * WIDTH, y * HEIGHT] for x, y in (line.start, line.end)]
    anchor = "CENTER" if walks[0].label is Label.CAR else "BOTTOM_CENTER"
    return {"mode": mode, "line": ends, "anchor": anchor, "fps": world.fps, "frames": frames}


def pixels(ids: list[int], labels: list[int], scores: list[float], boxes: np.ndarray) -> list[list[float]]:
    """Return one frame as the peer reads it."""
    scaled = (boxes.astype(np.float64) * (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist()
    return [[*row[:3], *row[3]] for row in zip(ids, labels, scores, scaled, strict=True)]


def tortured(name: str, walks: list[Walk], truth: tuple[int, int], world: World, peer: Peer | None) -> Score:
    """Count one case in every way."""
    score = Score(cases=1)
    given = list(world.tracks(walks))
    score.lines = int(tracks_counted(world, given) == truth)
    found = list(replace(world).detections(walks))
    has_whole = name not in GIVEN_IDS_ONLY
    score.whole = int(not has_whole or detections_counted(world, found) == truth)
    if peer is not None:
        told = [pixels(t.ids.tolist(), t.labels.tolist(), [0.8] * len(t), t.boxes) for _, t in given]
        score.peer_lines = int(peer.exact(case_of(world, "ids", walks, told), truth))
        seen = [pixels([-1] * len(d), d.labels.tolist(), d.scores.tolist(), d.boxes) for _, d in found]
        score.peer_whole = int(not has_whole or peer.exact(case_of(world, "detections", walks, seen), truth))
    return score


def tortured_row(name: str, walks: list[Walk], truth: tuple[int, int], seeds: int, peer: Peer | None) -> Score:
    """Count one way of walking at every angle, rate and seed."""
    total = Score()
    length = 0.8 if name == "short-line" else 5.0
    for angle in ANGLES.values():
        for fps in RATES:
            for seed in range(1, seeds + 1):
                world = World(angle=angle, fps=fps, jitter_ms=8, seed=seed, height=0.1, length=length)
                one = tortured(name, walks, truth, world, peer)
                for part in vars(total):
                    setattr(total, part, getattr(total, part) + getattr(one, part))
    return total


def stays_exact() -> tuple[int, int]:
    """Return of how many who come, stay, are hidden, get another id and go the stay is told to a second."""
    zone = Zone("square", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
    exact = cases = 0
    for stayed_s in (5, 20, 45, 100, 310):
        for fps in RATES:
            for hidden in ((), ((10.0, 13.0),)) if stayed_s > 5 else ((),):
                world = World(fps=fps, height=0.1, centre=(0.25 * ASPECT, 0.8))
                way = ((0.0, 10.0, 0.0), (5.0, 0.0, 0.0), (5.0 + stayed_s, 0.0, 0.0), (10.0 + stayed_s, 10.0, 0.0))
                tracker, watch = Tracker(ASPECT), ZoneWatch([zone], (Label.PERSON,), ASPECT)
                stays: list[Stay] = []
                for at_ms, seen in world.detections([Walk(way, hidden=hidden)]):
                    stays += watch.watch(tracker.update(seen, at_ms), at_ms)[1]
                stays += watch.close()
                inside_s = stayed_s + 2 * 0.25 * ASPECT / 0.2
                cases += 1
                exact += len(stays) == 1 and abs((stays[0].until_ms - stays[0].from_ms) / 1000 - inside_s) <= 1.0
    return exact, cases


def worst_speed() -> float:
    """Return the largest error, km/h, over four tilts, 10 to 90 km/h, across and askew, at 5 and 25 fps."""
    worst, rng = 0.0, np.random.default_rng(3)
    for tilt in (15.0, 25.0, 40.0, 60.0):
        camera = PinholeCamera(tilt, height_m=10 if tilt > 50 else 7)
        for kmh in range(10, 100, 10):
            for fps in RATES:
                for turn in (0.0, math.pi / 4):
                    speedometer = Speedometer(Ground(camera.ground(), ASPECT))
                    for number in range(int(2 * fps) + 1):
                        way = (number / fps - 1) * kmh / 3.6
                        place = (way * math.cos(turn), 1.1 * camera.middle_m() + way * math.sin(turn), 0.0)
                        if place[1] < 0.4 * camera.middle_m():
                            continue
                        x, y = camera.fractions_of([place])[0] + rng.normal(0, 0.001, 2)
                        speedometer.watch(
                            tracks_of([1], [[x - 0.03, y - 0.06, x + 0.03, y]]), round(number * 1000 / fps)
                        )
                    read = speedometer.kmh_of(1)
                    worst = max(worst, math.inf if read is None else abs(read - kmh))
    return worst


def soak(frames: int) -> dict[str, float]:
    """Follow people who come and go for many frames; return the most kept at once and what memory grew by."""
    rng = np.random.default_rng(11)
    tracker, counter = Tracker(ASPECT), LineCounter([World().line()], ALL, ASPECT)
    places, ways = rng.uniform(0, 1, (6, 2)), rng.normal(0, 0.02, (6, 2))
    most = settled_kib = 0
    for number in range(frames):
        places += ways
        gone = ((places < 0) | (places > 1)).any(axis=1) | (rng.random(6) < 0.01)
        places[gone], ways[gone] = rng.uniform(0, 1, (gone.sum(), 2)), rng.normal(0, 0.02, (gone.sum(), 2))
        boxes = np.hstack([places - np.array([0.02, 0.06]), places + np.array([0.02, 0.06])]) + rng.normal(
            0, 0.001, (6, 4)
        )
        told = tracker.update(detections_of(boxes, Label.PERSON, 0.8), number * 200)
        counter.count(told, number * 200)
        most = max(most, len(told))
        if number == frames // 4:
            settled_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled_kib
    return {"frames": frames, "most_tracks": most, "grown_kib": grown_kib}


def cost(peer: Peer | None) -> dict[str, float]:
    """Return core-milliseconds per frame of 50 walkers: ours with four lines and zones, the peer's with one line."""
    rng = np.random.default_rng(7)
    walks = []
    for _ in range(CROWD):
        place = rng.uniform(-6, 6, 2)
        walks.append(straight(tuple(place), *[tuple(np.clip(place + rng.normal(0, 2, 2), -7, 7)) for _ in range(12)]))
    world = World(fps=10.0, height=0.06, noise=0.02)
    lines = [replace(world, angle=angle).line(name) for name, angle in ANGLES.items()]
    zones = [Zone(f"z{n}", ((n / 4, 0.0), (n / 4 + 0.25, 0.0), (n / 4 + 0.25, 1.0), (n / 4, 1.0))) for n in range(4)]
    frames = [(at_ms, seen) for at_ms, seen in world.detections(walks) if len(seen) >= CROWD][:150]
    tracker, counter = Tracker(ASPECT), LineCounter(lines, ALL, ASPECT)
    watch = ZoneWatch(zones, tuple(Label), ASPECT)
    spent = []
    for at_ms, seen in frames:
        began = time.thread_time()
        told = tracker.update(seen, at_ms)
        counter.count(told, at_ms)
        watch.watch(told, at_ms)
        spent.append(time.thread_time() - began)
    figures = {"ours_ms": float(np.median(spent)) * 1000, "frames": float(len(frames))}
    if peer is not None:
        seen_all = [pixels([-1] * len(d), d.labels.tolist(), d.scores.tolist(), d.boxes) for _, d in frames]
        answer = peer.ask(case_of(world, "detections", walks, seen_all))
        figures["peer_ms"] = float(str(answer["median_ms"]))
    return figures


def table_of(scores: dict[str, Score], *, peer: bool) -> Table:
    """Return the report."""
    table = Table("walk", "cases", "lines", "tracker + lines", "LineZone", "ByteTrack + LineZone")
    for name, one in scores.items():
        theirs = (f"{one.peer_lines}", f"{one.peer_whole}") if peer else ("", "")
        table.add_row(name, f"{one.cases}", f"{one.lines}", f"{one.whole}", *theirs)
    return table


def main() -> int:
    """Run every row and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=1, help="worlds per row, line and rate")
    parser.add_argument(
        "--frames", type=int, default=20_000, help="frames of the memory row (the issue asks 10^6 once)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.add_argument("--no-peer", action="store_true", help="leave the peers out")
    options = parser.parse_args()
    console = Console(stderr=True)
    with peer_of(console, wanted=not options.no_peer) as peer:
        named = rows()
        scores = {
            name: tortured_row(name, *named[name], options.seeds, peer)
            for name in progress(named, description="walking", console=console)
        }
        figures = cost(peer)
        versions = peer.versions if peer else {}
    stays, speed, memory = stays_exact(), worst_speed(), soak(options.frames)
    missed = sum(2 * one.cases - one.lines - one.whole for one in scores.values())
    passed = missed == 0 and figures["ours_ms"] <= COST_BAR_MS and stays[0] == stays[1] and speed <= SPEED_BAR_KMH
    passed = passed and memory["grown_kib"] <= GROWN_MAX_KIB
    if options.json:
        report = {"rows": {name: vars(one) for name, one in scores.items()}, "cost": figures, "peers": versions}
        report |= {"stays_exact": stays, "worst_speed_kmh": speed, "memory": memory}
        print(json.dumps(report | {"missed": missed, "passed": passed}))
        return 0 if passed else 1
    console.print(table_of(scores, peer=bool(versions)))
    console.print(f"stays exact {stays[0]}/{stays[1]}; speeds within {speed:.2f} km/h (bar {SPEED_BAR_KMH}); {memory}")
    total = sum(2 * one.cases for one in scores.values())
    theirs = sum(one.peer_lines + one.peer_whole for one in scores.values())
    beside = f"; peers {theirs}/{total}, {figures['peer_ms']:.2f} ms" if versions else ""
    print(f"exact {total - missed}/{total}, {figures['ours_ms']:.2f} ms a frame of {CROWD} (bar {COST_BAR_MS}){beside}")
    return 0 if passed else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # noqa: TID251 - one core, before numpy's threads start
    sys.exit(main())
