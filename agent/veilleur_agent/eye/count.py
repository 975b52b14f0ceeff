"""Count one file or stream, without any fleet: the engine of ``veilleur-agent count``.

SOURCE ─▶ capture ─▶ detect ─▶ pipeline ─▶ CountReport
             └──────────┴──────────┴─▶ preview (only when asked for)
"""

import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from veilleur_agent.eye.address import Address, CameraError, address_of
from veilleur_agent.eye.capture import Capture, frames_of
from veilleur_agent.eye.clips import PreviewWriter
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.preview import Preview, Sifted
from veilleur_agent.eye.records import Crossing, RawFrame
from veilleur_agent.eye.source import open_source
from veilleur_contracts.clock import Clock, SystemClock
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import is_slug
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Camera, Line, SiteRejectedError, check_line
from veilleur_models.package import ModelPackage

LINES_MAX: Final = 16
TEXT_SHOWN_MAX: Final = 60
FPS_MAX: Final = 60.0
PREVIEW_FPS_MAX: Final = 60.0
LOOK_AGAIN_S: Final = 1.0


class CountRejectedError(RejectedError):
    """What was asked cannot be counted: a ``--line``, ``--fps`` or ``--seconds`` that makes no sense."""


class Directions(msgspec.Struct, frozen=True):
    """Crossings each way, as seen from the line's first point looking at its second."""

    left_to_right: int = 0
    right_to_left: int = 0


class CountReport(msgspec.Struct, frozen=True):
    """What was counted.

    Attributes:
        source: The source, without account or query.
        frames: Frames analysed.
        seconds: Length of what was analysed, by the source's own time.
        lines: Crossings by line and label; every line and every label is there, 0 is a count.
    """

    source: str
    frames: int
    seconds: float
    lines: dict[str, dict[str, Directions]]


@dataclass(frozen=True, slots=True)
class Counted:
    """A report, and why it ends before its source does.

    Attributes:
        report: What could be counted.
        fault: What was wrong with the source; None when it was read to its end, or as long as was asked.
    """

    report: CountReport
    fault: CameraError | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a count has come.

    Attributes:
        frames: Frames analysed so far.
        seconds: Seconds of the source they stand for.
        expected_s: Seconds there will be; None when nobody knows.
    """

    frames: int
    seconds: float
    expected_s: float | None


def line_of(text: str) -> Line:
    """Read a line written ``kerb:0.1,0.6:0.9,0.6``.

    Raises:
        CountRejectedError: It is written otherwise, its name is no id, it has no length, or it leaves the frame.
    """
    shown = f"--line {text[:TEXT_SHOWN_MAX]!r}"
    parts = text.split(":")
    ends = [part.split(",") for part in parts[1:]]
    if len(parts) != 3 or any(len(end) != 2 for end in ends):  # noqa: PLR2004 - the form in the sentence below
        raise CountRejectedError(f"{shown} is not written like kerb:0.1,0.6:0.9,0.6 (name, first point, second point)")
    if not is_slug(parts[0]):
        raise CountRejectedError(f"{shown}: its name may hold a-z, 0-9 and inner hyphens, 32 at most")
    try:
        (x1, y1), (x2, y2) = ([float(number) for number in end] for end in ends)
    except ValueError:
        raise CountRejectedError(f"{shown}: its points are numbers from 0 to 1, like 0.1,0.6") from None
    line = Line(id=parts[0], start=(x1, y1), end=(x2, y2))
    try:
        check_line(line, "--line")
    except SiteRejectedError as error:
        raise CountRejectedError(str(error)) from None
    return line


def lines_of(texts: Sequence[str]) -> tuple[Line, ...]:
    """Read the lines of a command.

    Raises:
        CountRejectedError: One cannot be read, two have one name, there are none, or more than 16.
    """
    lines = tuple(line_of(text) for text in texts)
    names = [line.id for line in lines]
    for name in names:
        if names.count(name) > 1:
            raise CountRejectedError(f"--line {name} is there twice; every line has a name of its own")
    if not 1 <= len(lines) <= LINES_MAX:
        raise CountRejectedError(f"give 1 to {LINES_MAX} lines, like --line kerb:0.1,0.6:0.9,0.6")
    return lines


def count_source(
    source: str,
    lines: Sequence[Line],
    package: ModelPackage,
    *,
    fps: float = 5.0,
    seconds: float | None = None,
    preview: Path | None = None,
    preview_fps: float | None = None,
    faces: ModelPackage | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    clock: Clock | None = None,
) -> Counted:
    """Count ``source`` to its end, for ``seconds``, or until the user interrupts.

    Args:
        source: As ``address_of`` takes it; an account may stand in it and is never shown.
        lines: At least one.
        package: The model.
        fps: Frames analysed per second; a file gives the same frames every time.
        seconds: Longest stretch that is counted.
        preview: Where to write a redacted preview.
        preview_fps: Frames a second in it, a multiple of ``fps``: the same frames are analysed. None: those alone.
        faces: The model that finds faces; a preview needs it, a count does not.
        progress: Told of every frame.
        clock: For a live source.

    Raises:
        CountRejectedError: A rate or ``seconds`` is out of range, or a preview is asked for without ``faces``.
        SourceRejectedError: ``source`` is no address.
        CameraError: It gave no frame at all.
        DetectorRejectedError: The model cannot be run here.
        DetectorFailedError: The model failed; what it did not see cannot be counted.
        PreviewRejectedError: The preview cannot be written.
    """
    shown_fps = _shown_fps_of(fps, seconds, None if preview is None else preview_fps)
    address = address_of(source)
    expected_s = _expected_s(address, seconds)
    reading = _Reading(address, fps, shown_fps, seconds, clock or SystemClock())
    sifted = Sifted(reading.frames(), fps)
    camera = Camera(id="count", insee="00000", source=address.name, fps=fps, line=tuple(lines))
    pipeline = Pipeline(camera, count_score=package.card.thresholds.count)
    tally = _Tally(camera.line)
    with ExitStack() as stack:
        detector = stack.enter_context(Detector(package))
        shown = _preview_of(preview, faces, lines, detector, stack)
        try:
            for frame, detections in detector.detect_each(sifted.looked_at()):
                step = pipeline.step(frame, detections)
                tally.add(step.crossings)
                if shown is not None:
                    shown.show(frame, detections, step.tracks, tally.totals(), sifted.before(frame))
                reading.looked_at(frame)
                progress(Progress(reading.analysed, reading.seconds, expected_s))
        except KeyboardInterrupt:
            reading.interrupt()
        if shown is not None:
            shown.close(sifted.before(None))
    tally.add(pipeline.close())
    return Counted(CountReport(address.name, reading.analysed, round(reading.seconds, 3), tally.lines()), reading.fault)


def _shown_fps_of(fps: float, seconds: float | None, preview_fps: float | None) -> float:
    """Return how many frames a second are read; raises ``CountRejectedError``."""
    if not 0.0 < fps <= FPS_MAX or not (seconds is None or seconds > 0.0):
        raise CountRejectedError(f"--fps lies above 0 and up to {FPS_MAX:.0f}, --seconds above 0")
    shown_fps = fps if preview_fps is None else preview_fps
    times = shown_fps / fps
    if not 1.0 <= times <= PREVIEW_FPS_MAX / fps or not math.isclose(times, round(times)):
        raise CountRejectedError(f"--preview-fps is --fps or a multiple of it, up to {PREVIEW_FPS_MAX:.0f}")
    return shown_fps


def _preview_of(
    path: Path | None, faces: ModelPackage | None, lines: Sequence[Line], detector: Detector, stack: ExitStack
) -> Preview | None:
    if path is None:
        return None
    if faces is None:
        raise CountRejectedError("a preview is filled where faces are, and no model that finds them was given")
    writer = stack.enter_context(PreviewWriter(path, lines))
    return stack.enter_context(Preview(writer, detector, stack.enter_context(Detector(faces))))


def _expected_s(address: Address, seconds: float | None) -> float | None:
    if address.is_live:
        return seconds
    with open_source(address) as source:
        length_s = source.expected_s
    known_s = [value for value in (length_s, seconds) if value is not None]
    return min(known_s) if known_s else None


class _Reading:
    """The frames of one count: how far it has come and why it ended."""

    def __init__(self, address: Address, fps: float, shown_fps: float, limit_s: float | None, clock: Clock) -> None:
        self.fault: CameraError | None = None
        self.analysed = 0
        self.seconds = 0.0
        self._address = address
        self._fps = fps
        self._shown_fps = shown_fps
        self._limit_s = limit_s
        self._clock = clock
        self._first_ms: int | None = None

    def frames(self) -> Iterator[RawFrame]:
        """Yield frames until the source or the time is over; a fault ends them too, and is kept for the report."""
        live = self._address.is_live
        fps = self._shown_fps
        source = _newest_of(self._address, fps, self._clock) if live else frames_of(self._address, fps)
        try:
            with closing(source) as frames:
                for frame in frames:
                    self._first_ms = frame.at_ms if self._first_ms is None else self._first_ms
                    if self._limit_s is not None and frame.at_ms - self._first_ms >= self._limit_s * 1000:
                        return
                    yield frame
        except CameraError as error:
            if self._first_ms is None:
                raise
            self.fault = error

    def looked_at(self, frame: RawFrame) -> None:
        """Take note that ``frame`` is analysed."""
        self.analysed += 1
        self.seconds = (frame.at_ms - (self._first_ms or 0)) / 1000 + 1 / self._fps

    def interrupt(self) -> None:
        """Take note that the user has had enough; a live stream ends no other way."""
        if not self._address.is_live:
            self.fault = CountStoppedError(f"{self._address.name} was not counted to its end: interrupted")


class CountStoppedError(CameraError):
    """The user stopped a count before the file was over."""


def _newest_of(address: Address, fps: float, clock: Clock) -> Generator[RawFrame, None, None]:
    """Yield the frames of a live camera as they come, passing over those nobody had time for."""
    fresh = threading.Event()
    with Capture(address.name, address, fps=fps, clock=clock, fresh=fresh.set) as capture:
        while True:
            fresh.wait(LOOK_AGAIN_S)
            fresh.clear()
            frame = capture.take()
            if frame is not None:
                yield frame
            fault = capture.fault
            if fault is not None:
                raise fault


class _Tally:
    """Crossings so far."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._names = [line.id for line in lines]
        self._counts = {(name, label, way): 0 for name in self._names for label in Label for way in Direction}

    def add(self, crossings: Sequence[Crossing]) -> None:
        """Count ``crossings``."""
        for crossing in crossings:
            self._counts[self._names[crossing.line], crossing.label, crossing.direction] += 1

    def totals(self) -> dict[str, dict[Direction, int]]:
        """Return all labels together, by line and direction."""
        return {
            name: {way: sum(self._counts[name, label, way] for label in Label) for way in Direction}
            for name in self._names
        }

    def lines(self) -> dict[str, dict[str, Directions]]:
        """Return the counts as a report holds them."""
        return {
            name: {
                label.name.lower(): Directions(*(self._counts[name, label, way] for way in Direction))
                for label in Label
            }
            for name in self._names
        }
