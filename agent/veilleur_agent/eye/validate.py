"""Compare what is counted in a clip with somebody's own tally of it: how much is found, and how much of it is true.

    clip ─▶ capture ─▶ detect ─▶ pipeline ─▶ crossings ─┐
    tally.toml: lines, totals or each crossing ─────────┴─▶ right, missed, invented by label ─▶ Validated

The tally has the form of the files in tests/footage. Where it names the frames of each crossing, a counted one is right
when its label, line and direction are and it lies within 1.5 s of them. Where it holds totals alone, as many are right
as there are in both, cell by cell: an error each way in one cell goes unseen.
"""

import hashlib
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_agent.eye.address import address_of
from veilleur_agent.eye.capture import frames_of
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.records import Crossing
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import LineId
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import (
    VALIDATED_MIN,
    Camera,
    DirectionName,
    LabelName,
    Line,
    Point,
    SiteRejectedError,
    Validated,
    check_line,
)
from veilleur_models.package import ModelPackage

TALLY_BYTES_MAX: Final = 1_048_576
NEAR_MS: Final = 1500
"""How far the time of a counted crossing may lie from the frames noted by eye and still be the same one."""
Z: Final = 1.6448536
"""The 95th percentile of the normal distribution."""
_READ_BYTES: Final = 1 << 20

_Count = Annotated[int, Meta(ge=0, le=1_000_000)]
_Frame = Annotated[int, Meta(ge=0, le=100_000_000)]


class TallyRejectedError(RejectedError):
    """A tally that cannot be used, or a clip it does not speak of."""


class Noted(msgspec.Struct, frozen=True):
    """One crossing as somebody noted it: between which two frames it happened."""

    label: LabelName
    direction: DirectionName
    frames: tuple[_Frame, _Frame]


class TalliedLine(msgspec.Struct, frozen=True):
    """One line with what crossed it; ``crossing`` when each was noted, else ``totals``."""

    id: LineId
    start: Point | None = msgspec.field(name="from", default=None)
    end: Point | None = msgspec.field(name="to", default=None)
    totals: dict[LabelName, dict[DirectionName, _Count]] = {}
    crossing: Annotated[tuple[Noted, ...], Meta(max_length=10_000)] = ()


class Clip(msgspec.Struct, frozen=True):
    """Which clip a tally speaks of."""

    name: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]
    sha256: str | None = None
    fps: Annotated[float, Meta(gt=0.0, le=240.0)] | None = None


class Tally(msgspec.Struct, frozen=True):
    """What somebody counted; keys that are not named here are for people."""

    line: Annotated[tuple[TalliedLine, ...], Meta(min_length=1, max_length=16)]
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How one label was counted, all lines and directions together.

    Attributes:
        true: How many crossed.
        counted: How many were counted.
        right: How many of those counted had crossed.
    """

    true: int
    counted: int
    right: int

    @property
    def validated(self) -> Validated | None:
        """What a site may say of it, None when it was measured on too little."""
        if self.true < VALIDATED_MIN or not self.counted:
            return None
        return Validated(round(self.right / self.true, 4), round(self.right / self.counted, 4), self.true)


def read_tally(path: Path) -> Tally:
    """Read somebody's tally.

    Raises:
        TallyRejectedError: Not there, too long, not TOML, or not of that form.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TALLY_BYTES_MAX + 1)
    except OSError as error:
        raise TallyRejectedError(f"the tally {path} cannot be read: {error.strerror}") from None
    if len(data) > TALLY_BYTES_MAX:
        raise TallyRejectedError(f"the tally {path} is longer than {TALLY_BYTES_MAX} bytes")
    try:
        tally = msgspec.convert(tomllib.loads(data.decode("utf-8")), Tally)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TallyRejectedError(f"the tally {path} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise TallyRejectedError(f"the tally {path}: {error}; see tests/footage for its form") from None
    for line in tally.line:
        if not line.crossing and not line.totals:
            raise TallyRejectedError(f"the tally {path}: line {line.id} has neither totals nor crossings")
    return tally


def footage_of(tally: Tally, beside: Path) -> Path:
    """Return the clip that ``tally`` speaks of, which lies in the folder ``beside``.

    Raises:
        TallyRejectedError: It names none, or none of that name and content lies there.
    """
    if tally.clip is None:
        raise TallyRejectedError("the tally names no clip: give the clip, and the tally with --truth")
    path = beside / tally.clip.name
    check_clip(tally, path)
    return path


def check_clip(tally: Tally, path: Path) -> None:
    """Refuse a clip that is not the one ``tally`` was made of, where it says which.

    Raises:
        TallyRejectedError: It is another, or it cannot be read.
    """
    if tally.clip is None or tally.clip.sha256 is None:
        return
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
    except OSError as error:
        message = f"the clip {path} cannot be read: {error.strerror}"
        raise TallyRejectedError(f"{message}; put it beside the tally, or give it with --truth TALLY") from None
    if digest.hexdigest() != tally.clip.sha256:
        raise TallyRejectedError(f"{path} is not the clip that was tallied: its SHA-256 is another")


def camera_of(tally: Tally, clip: Path, fps: float, camera: Camera | None = None) -> Camera:
    """Return the camera that counts ``clip`` over the lines of ``tally``.

    Args:
        tally: Somebody's.
        clip: What is counted.
        fps: Frames analysed per second, where ``camera`` does not say.
        camera: One of a site, whose lines, labels and rate are taken; the tally then names its lines.

    Raises:
        TallyRejectedError: A line has no ends and no such camera gives it any, or nobody can cross it.
    """
    if camera is not None:
        known = {line.id: line for line in camera.line}
        missing = [line.id for line in tally.line if line.id not in known]
        if missing:
            raise TallyRejectedError(f"camera {camera.id} has no line {missing[0]}: the tally and the site must agree")
        lines = tuple(known[line.id] for line in tally.line)
        return msgspec.structs.replace(camera, source=str(clip), line=lines, zone=(), ground=None)
    return Camera(id="validate", insee="00000", source=str(clip), fps=fps, line=tuple(map(_line_of, tally.line)))


def crossings_in(
    clip: Path, camera: Camera, package: ModelPackage, progress: Callable[[int], None] = lambda _: None
) -> list[Crossing]:
    """Count ``clip`` from its first frame to its last; times are milliseconds since the first.

    Raises:
        CameraError: It is no clip.
        DetectorRejectedError: The model cannot be run here.
    """
    pipeline = Pipeline(camera, count_score=package.card.thresholds.count)
    crossings: list[Crossing] = []
    first_ms = None
    with Detector(package) as detector:
        looked = detector.detect_each(frames_of(address_of(str(clip)), camera.fps))
        for number, (frame, detections) in enumerate(looked, 1):
            first_ms = frame.at_ms if first_ms is None else first_ms
            crossings += pipeline.step(frame, detections).crossings
            progress(number)
    crossings += pipeline.close()
    start_ms = first_ms or 0
    return [Crossing(one.line, one.label, one.direction, one.at_ms - start_ms) for one in crossings]


def scores_of(tally: Tally, crossings: Sequence[Crossing], fps: float | None) -> dict[Label, Score]:
    """Compare ``crossings`` with ``tally``: for each label in either, how it was counted.

    Args:
        tally: Somebody's, its lines in the order of the crossings' indices.
        crossings: Counted, milliseconds since the first frame.
        fps: Frames per second of the clip, in which the tally's frames are numbered; None: only totals can be compared.
    """
    true, counted, right = Counter[Label](), Counter[Label](), Counter[Label]()
    for index, line in enumerate(tally.line):
        for label in Label:
            for direction in Direction:
                mine = [c.at_ms for c in crossings if (c.line, c.label, c.direction) == (index, label, direction)]
                many, found = _compared(line, label, direction, mine, fps)
                true[label] += many
                counted[label] += len(mine)
                right[label] += found
    return {label: Score(true[label], counted[label], right[label]) for label in Label if true[label] or counted[label]}


def interval_of(right: int, many: int) -> tuple[float, float]:
    """Return the 90 % interval of a share of ``right`` in ``many`` (Wilson, 1927); 0 to 1 for nothing at all."""
    if not many:
        return 0.0, 1.0
    share, z2 = right / many, Z**2
    middle = (share + z2 / (2 * many)) / (1 + z2 / many)
    reach = Z * math.sqrt(share * (1 - share) / many + z2 / (4 * many**2)) / (1 + z2 / many)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _compared(
    line: TalliedLine, label: Label, direction: Direction, mine: Sequence[int], fps: float | None
) -> tuple[int, int]:
    """Return how many truly crossed in one cell, and how many of ``mine`` are right."""
    noted = [
        one.frames for one in line.crossing if _is(one.label, label) and Direction[one.direction.upper()] is direction
    ]
    if line.crossing and fps is not None:
        spans = [(1000 * first / fps, 1000 * last / fps) for first, last in noted]
        return len(spans), _paired(spans, mine)
    if line.crossing:
        many = len(noted)
    else:
        ways = next((ways for name, ways in line.totals.items() if _is(name, label)), {})
        many = sum(count for name, count in ways.items() if Direction[name.upper()] is direction)
    return many, min(many, len(mine))


def _paired(spans: Sequence[tuple[float, float]], at_ms: Iterable[int]) -> int:
    """Return how many of ``spans`` and times can be paired one to one, the nearest first."""
    pairs = sorted(
        (max(first - at, at - last, 0), i, j) for i, (first, last) in enumerate(spans) for j, at in enumerate(at_ms)
    )
    taken: set[int] = set()
    used: set[int] = set()
    for apart_ms, i, j in pairs:
        if apart_ms <= NEAR_MS and i not in taken and j not in used:
            taken.add(i)
            used.add(j)
    return len(taken)


def _is(name: str, label: Label) -> bool:
    return Label[name.upper()] is label


def _line_of(line: TalliedLine) -> Line:
    if line.start is None or line.end is None:
        raise TallyRejectedError(f"line {line.id} of the tally has no ends: give from and to, or --site and --camera")
    found = Line(line.id, line.start, line.end)
    try:
        check_line(found, "the tally")
    except SiteRejectedError as error:
        raise TallyRejectedError(str(error)) from None
    return found
