"""Say who is exposed in a redacted picture, and what else is known of a clip: the judging half of ``redaction.py``.

original, shown ─▶ judge ─▶ people still found in what is shown, people surely there and not covered ─▶ Tally
└── without what the clip's TOML in tests/redaction names as something else
"""

import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from judge import Judge

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, Pixels, RawFrame, RedactedFrame
from veilleur_agent.eye.redact import FILL
from veilleur_agent.eye.targets import VEHICLES, cells_of, regions_of
from veilleur_contracts.messages import Label

ROOT = Path(__file__).parents[1]
VERDICTS = ROOT / "tests" / "redaction"
JUDGE_WIDTH = 1024
SEEN_LOW = 0.25
"""Least score of the judge in what is shown."""
SEEN_SURE = 0.4
"""Least score of the judge in the original for somebody who must be covered."""
COVERED = 0.9
HEAD = (0.2, 0.0, 0.8, 0.22)
"""Where the head is in the box of somebody upright, fractions of the box."""
TOUCHED = 0.3
"""Changed share of that from which deface is credited with a head."""
CHANGED_LUMA = 16
SAME_PLACE = 0.4
STALE = 0.03
"""Difference of the filled share from which a frame is not the one that was looked at."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What the judge takes for somebody and is not: a box, from one frame of the clip to another."""

    box: npt.NDArray[np.float64]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen by eye in one redacted frame, and how much of it was filled then."""

    exposed: bool
    filled: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a clip; frames are numbered at its own rate.

    Attributes:
        fps: That rate.
        things: What the judge takes for somebody and is not.
        looked: What was seen by eye.
        found: What the judge found in originals: it looks at each once, however often the clip is redacted.
    """

    fps: float
    things: tuple[Thing, ...]
    looked: dict[int, Look]
    found: dict[int, Detections] = field(default_factory=dict)

    def number_of(self, at_ms: int) -> int:
        """Position in the clip of the frame of that time."""
        return round(at_ms * self.fps / 1000)

    def things_in(self, number: int) -> list[Thing]:
        """What is known to be there in a frame."""
        return [thing for thing in self.things if thing.first <= number <= thing.last]


@dataclass(slots=True)
class Tally:
    """What the judge made of one program's output."""

    frames: int = 0
    person_frames: int = 0
    seen: list[tuple[int, float]] = field(default_factory=list)
    uncovered: list[tuple[int, float]] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    whole: int = 0
    doubts: dict[str, int] = field(default_factory=dict)

    @property
    def exposed(self) -> int:
        """Person-frames."""
        return len(self.seen) + len(self.uncovered)


def verdict_of(clip: Path) -> Verdict:
    """Read what is known of a clip; nothing when nobody has looked at it."""
    path = VERDICTS / f"{clip.stem}.toml"
    written = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    things = tuple(
        Thing(np.array(one["box"], np.float64), *one.get("frames", (0, sys.maxsize)))
        for one in written.get("thing", [])
    )
    looked = {one["number"]: Look(one["exposed"], one["filled"]) for one in written.get("frame", [])}
    return Verdict(written.get("clip", {}).get("fps", 10.0), things, looked)


def judge_for(frame: RawFrame) -> Judge:
    """Return a judge that sees frames of this shape enlarged."""
    height = round(JUDGE_WIDTH * frame.height / frame.width / 32) * 32
    return Judge(ROOT / ".cache" / "judge", JUDGE_WIDTH, height)


def judge_one(judge: Judge, original: RawFrame, shown: RedactedFrame, tally: Tally, verdict: Verdict) -> None:
    """Judge one frame before and after, and add what comes of it to ``tally``."""
    number = verdict.number_of(original.at_ms)
    things = verdict.things_in(number)
    filled = _filled_in(shown.i420)
    before, after = _found_in(original.i420, judge, verdict, number), judge.find(shown.i420, SEEN_LOW)
    persons = persons_in(before, SEEN_SURE, things)
    tally.person_frames += len(persons)
    for box, score in persons:
        if share_in(filled, _upper_half(box)) < COVERED:
            tally.uncovered.append((number, score))
    for box, score in persons_in(after, SEEN_LOW, things):
        if share_in(filled, box) < COVERED:
            tally.seen.append((number, score))
    tally.unchanged.append(_unchanged_beside(before, original.i420, shown.i420))


def _found_in(original: Pixels, judge: Judge, verdict: Verdict, number: int) -> Detections:
    if number not in verdict.found:
        verdict.found[number] = judge.find(original, SEEN_LOW)
    return verdict.found[number]


def persons_in(found: Detections, least: float, things: list[Thing]) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Boxes and scores of the people found, without what is known to be something else."""
    kept = (found.labels == Label.PERSON) & (found.scores >= least)
    pairs = zip(found.boxes[kept].astype(np.float64), found.scores[kept].tolist(), strict=True)
    return [(box, score) for box, score in pairs if not any(_overlap(box, one.box) >= SAME_PLACE for one in things)]


def _overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    whole = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / whole if whole > 0 else 0.0


def _upper_half(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([box[0], box[1], box[2], (box[1] + box[3]) / 2])


def _filled_in(i420: Pixels) -> npt.NDArray[np.bool_]:
    luma, blue, red = planes_of(i420)
    colour = (blue == FILL[1]) & (red == FILL[2])
    return (luma == FILL[0]) & colour.repeat(2, axis=0).repeat(2, axis=1)


def share_in(mask: npt.NDArray[np.bool_], box: npt.NDArray[np.float64]) -> float:
    """Return which share of a box is set in ``mask``; 1 when the box has no pixel."""
    rows, columns = mask.shape
    ((left, top, right, bottom),) = cells_of(box[None], columns, rows).tolist()
    part = mask[top:bottom, left:right]
    return float(part.mean()) if part.size else 1.0


def _unchanged_beside(found: Detections, before: Pixels, after: Pixels) -> float:
    """Share of the pixels that show no road user which are as they were."""
    light, shown = planes_of(before)[0], planes_of(after)[0]
    rows, columns = light.shape
    others = np.ones(light.shape, np.bool_)
    surely = found.scores >= np.where(np.isin(found.labels, VEHICLES), SEEN_SURE, SEEN_LOW)
    targets = regions_of(Detections(found.boxes[surely], found.scores[surely], found.labels[surely]))
    for left, top, right, bottom in cells_of(targets, columns, rows).tolist():
        others[top:bottom, left:right] = False
    return float((light == shown)[others].mean())


def head_of(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where the head is in the box of somebody upright."""
    size = np.tile(box[2:] - box[:2], 2)
    return np.tile(box[:2], 2) + size * HEAD


def looked_at(verdict: Verdict, sheets: dict[int, RedactedFrame]) -> dict[str, int]:
    """Return how many frames were looked at by eye, how many were exposed, and how many look otherwise by now."""
    shown = {number: sheets[number].filled_share for number in verdict.looked if number in sheets}
    return {
        "looked_at": len(verdict.looked),
        "exposed": sum(look.exposed for look in verdict.looked.values()),
        "stale": sum(abs(verdict.looked[number].filled - share) > STALE for number, share in shown.items()),
    }


def exposed_beside_faces(
    judge: Judge, before: Pixels, after: Pixels, verdict: Verdict, number: int
) -> tuple[int, list[float]]:
    """Return how many people are surely there, and the scores of those of whose head nothing was changed."""
    light, shown = (planes_of(picture)[0].astype(np.int16) for picture in (before, after))
    changed = np.abs(light - shown) > CHANGED_LUMA
    persons = persons_in(_found_in(before, judge, verdict, number), SEEN_SURE, verdict.things_in(number))
    return len(persons), [score for box, score in persons if share_in(changed, head_of(box)) < TOUCHED]
