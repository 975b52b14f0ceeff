"""Count recorded clips against a truth written by eye, and print the error per line, label and direction.

    .venv/bin/python benchmarks/footage.py [CLIP.toml ...] [--fps 5] [--footage DIR] [--model NAME] [--json]

A clip is a TOML like those in tests/footage (see its README to add one of your own city). The footage itself is looked
for beside the TOML, in --footage, in .cache/footage and in ../shared/footage, by name and SHA-256. At the clip's own
rate the bar is an error of at most max(1, 5 %) per line and direction, thinned with --fps max(1, 10 %).
"""

import argparse
import hashlib
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

from veilleur_agent.eye.address import address_of
from veilleur_agent.eye.capture import frames_of
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.records import Crossing
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Camera, Line
from veilleur_models.package import load

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "tests" / "footage"
NEAR_MS = 1500
"""How far a crossing's time may lie from the frames noted by eye and still be the same one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One crossing of the truth."""

    label: Label
    direction: Direction
    first_ms: float
    last_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one line, label and direction came to; ``label`` is None for all labels together."""

    clip: str
    line: str
    label: str
    direction: str
    truth: int
    counted: int
    missed: int
    invented: int
    within: bool


def main() -> int:
    """Count every clip; 0 when all are within the bar, 1 when not, 2 when none could be counted."""
    options = _options()
    console = Console(stderr=True)
    rows: list[Row] = []
    for path in options.clips or sorted(CLIPS.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        footage = _footage(document["clip"], [path.parent, *options.footage])
        if footage is None:
            console.print(f"{path.name}: its footage is not on this machine ({document['clip']['origin']}); left out")
            continue
        rows += _count(document, footage, options, console)
    if not rows:
        console.print("no footage to count: give --footage DIR")
        return 2
    if options.json:
        print(json.dumps([_as_dict(row) for row in rows]))
    else:
        _show(rows)
    wrong = [row for row in rows if not row.within]
    total = sum(abs(row.counted - row.truth) for row in rows if row.label == "all")
    truth = sum(row.truth for row in rows if row.label == "all")
    print(f"footage: {len(wrong)} line-directions outside the bar; sum of errors {total} of {truth} crossings")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--fps", type=float, help="thin to this many frames per second")
    parser.add_argument("--footage", type=Path, action="append", default=[])
    parser.add_argument("--model", default="nanodet-g-640x384")
    parser.add_argument("--models", type=Path, default=os.environ.get("VEILLEUR_MODEL_CACHE", ROOT / ".cache/models"))  # noqa: TID251 - a benchmark has no settings module
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _footage(clip: dict[str, str], folders: list[Path]) -> Path | None:
    for folder in (*folders, ROOT / ".cache" / "footage", ROOT.parent / "shared" / "footage"):
        path = folder / clip["name"]
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == clip["sha256"]:
            return path
    return None


def _count(document: dict[str, object], footage: Path, options: argparse.Namespace, console: Console) -> list[Row]:
    clip, lines = document["clip"], document["line"]
    camera = Camera(
        id="clip",
        insee="00000",
        source=str(footage),
        fps=min(30.0, options.fps or clip["fps"]),
        line=tuple(Line(line["id"], tuple(line["from"]), tuple(line["to"])) for line in lines),
    )
    package = load(Path(options.models) / options.model)
    pipeline = Pipeline(camera, count_score=package.card.thresholds.count)
    crossings: list[Crossing] = []
    frames = round(clip["frames"] * camera.fps / clip["fps"])
    first_ms = None
    with Detector(package) as detector:
        looked = detector.detect_each(frames_of(address_of(str(footage)), camera.fps))
        for frame, detections in progress(looked, total=frames, console=console, description=clip["name"]):
            first_ms = frame.at_ms if first_ms is None else first_ms
            crossings += pipeline.step(frame, detections).crossings
    crossings += pipeline.close()
    share = 0.10 if options.fps else 0.05
    rows = []
    for place, line in enumerate(lines):
        truth = [_seen(one, clip["fps"], first_ms or 0) for one in line["crossing"]]
        mine = [one for one in crossings if one.line == place]
        rows += list(_rows(clip["name"], line["id"], truth, mine, share))
    return rows


def _seen(row: dict[str, object], fps: float, first_ms: int) -> Seen:
    first, last = row["frames"]
    label, direction = Label[row["label"].upper()], Direction[row["direction"].upper()]
    return Seen(label, direction, first_ms + 1000 * first / fps, first_ms + 1000 * last / fps)


def _rows(clip: str, line: str, truth: list[Seen], mine: list[Crossing], share: float) -> Iterator[Row]:
    for direction in Direction:
        seen = [one for one in truth if one.direction is direction]
        counted = [one for one in mine if one.direction == direction]
        missed, invented = _unmatched(seen, counted)
        within = abs(len(counted) - len(seen)) <= max(1, share * len(seen))
        way = direction.name.lower()
        yield Row(clip, line, "all", way, len(seen), len(counted), missed, invented, within)
        by_truth, by_count = Counter(one.label for one in seen), Counter(one.label for one in counted)
        for label in sorted(by_truth | by_count):
            name = Label(label).name.lower()
            yield Row(clip, line, name, way, by_truth[label], by_count[label], 0, 0, within=True)


def _unmatched(seen: list[Seen], counted: list[Crossing]) -> tuple[int, int]:
    """Pair each crossing of the truth with the nearest in time that is free; return how many stay alone each side."""
    pairs = sorted(
        (max(one.first_ms - other.at_ms, other.at_ms - one.last_ms, 0), i, j)
        for i, one in enumerate(seen)
        for j, other in enumerate(counted)
    )
    left, right = set(range(len(seen))), set(range(len(counted)))
    for apart_ms, i, j in pairs:
        if apart_ms <= NEAR_MS and i in left and j in right:
            left.discard(i)
            right.discard(j)
    return len(left), len(right)


def _as_dict(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__slots__}


def _show(rows: list[Row]) -> None:
    table = Table("clip", "line", "label", "direction", "truth", "counted", "error", "missed", "invented", "bar")
    for row in rows:
        whole = row.label == "all"
        found = (str(row.missed), str(row.invented), "ok" if row.within else "MISSED") if whole else ("", "", "")
        numbers = (str(row.truth), str(row.counted), f"{row.counted - row.truth:+d}")
        table.add_row(row.clip, row.line, row.label, row.direction, *numbers, *found)
    Console(width=140).print(table)


if __name__ == "__main__":
    sys.exit(main())
