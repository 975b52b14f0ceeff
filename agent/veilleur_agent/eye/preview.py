"""Show what is counted: every analysed frame, redacted, with the tracks and totals of that very frame.

(RawFrame, Detections, Tracks, totals) ─▶ faces ─▶ Redactor (frames wait) ─▶ RedactedFrame ─┐
(RawFrame passed over between them, ───────────────────▲                                    │
 the Tracks and totals of the last one)                                                     │
                          ╎                                                                 ├─▶ Writer (clips)
                          └──────────────── waits as long ─▶ (Tracks, totals) ──────────────┘
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

import cv2
import numpy as np

from veilleur_agent.eye.camera_health import BLIND_SHARE, BLOCK, SMALL_WIDTH, texture_of
from veilleur_agent.eye.detect import Detector, Look
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, RawFrame, RedactedFrame, Tracks
from veilleur_agent.eye.redact import Redactor
from veilleur_agent.eye.source import Slots
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.messages import Direction, Label

FACES_EVERY: Final = 2
"""Faces are looked for in one look of so many: the redactor covers them in those before and after. A face has a person
around it, who is looked for in all; it costs more than the person does."""
CONTRAST_MIN: Final = 16
"""Grey levels between the darkest and the lightest hundredth of a picture under which nobody is believed not to be
there. vtest.avi darkened to 17 levels leaves nobody of 809 to be seen, darkened to 11 levels 42."""
SAMPLED: Final = 3
"""Rows and columns of the small picture of which one is looked at for that."""

Totals = Mapping[str, Mapping[Direction, int]]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A frame, what was found in it (None when it is passed over), and its faces when they are being looked for."""

    frame: RawFrame
    detections: Detections | None
    faces: Look | None


class Writer(Protocol):
    """Whatever takes redacted frames, in their order, with what may be drawn over them."""

    def write(self, frame: RedactedFrame, tracks: Tracks, totals: Totals) -> None:
        """Take one."""


class Preview:
    """Redacts what is shown; holds the frames whose faces are looked for and those that the redactor holds back.

    Args:
        writer: Given every frame once; the caller closes it.
        people: The detector of what is counted; asked again about a filled frame now and then, between its other looks.
        faces: A detector of faces that nobody else uses.

    Attributes:
        redactor: Counts what it has shown, and why it filled whole frames.
    """

    def __init__(self, writer: Writer, people: Detector, faces: Detector) -> None:
        self._writer = writer
        self._faces = faces
        self._looked: deque[_Looked] = deque()
        self._in_flight = 0
        self._shown = 0
        self._last: tuple[Tracks, Totals] | None = None
        self._drawn: deque[tuple[Tracks, Totals]] = deque()
        self.redactor = Redactor(partial(left_in, people, faces), is_readable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._looked:
            faces = self._looked.popleft().faces
            if faces is not None:
                faces.abandon()

    def show(
        self,
        frame: RawFrame,
        detections: Detections,
        tracks: Tracks,
        totals: Totals,
        passed_over: Iterable[RawFrame] = (),
    ) -> None:
        """Take in one analysed frame, what was found in it, and what is to be drawn over it.

        Args:
            frame: In its order.
            detections: Down to the threshold of redaction.
            tracks: As they stand at this frame.
            totals: The same.
            passed_over: What came between the last analysed frame and this one and is shown unlooked at, with what was
                drawn on the last; see ``Redactor.pass_over``.

        Raises:
            PreviewRejectedError: The file can no longer be written.
        """
        self._pass_over(passed_over)
        self._last = tracks, totals
        looks_now = self._shown % FACES_EVERY == 0
        self._shown += 1
        # One lane of the network stays free for the self-check.
        while looks_now and self._in_flight >= self._faces.in_flight - 1:
            self._redact(self._looked.popleft())
        if looks_now:
            self._in_flight += 1
        self._looked.append(_Looked(frame, detections, self._faces.begin(frame) if looks_now else None))
        self._drawn.append((tracks, totals))

    def _pass_over(self, frames: Iterable[RawFrame]) -> None:
        for frame in frames:
            if self._last is not None:
                self._looked.append(_Looked(frame, None, None))
                self._drawn.append(self._last)

    def close(self, passed_over: Iterable[RawFrame] = ()) -> None:
        """Show the frames that still wait: the source has ended, or the user has had enough.

        Args:
            passed_over: What came after the last analysed frame.

        Raises:
            PreviewRejectedError: The file can no longer be written.
        """
        self._pass_over(passed_over)
        while self._looked:
            self._redact(self._looked.popleft())
        self._write_all(self.redactor.close())

    def _redact(self, looked: _Looked) -> None:
        if looked.detections is None:
            self._write_all(self.redactor.pass_over(looked.frame))
            return
        found: list[Detections | None] = [looked.detections]
        if looked.faces is not None:
            self._in_flight -= 1
            try:
                found.append(looked.faces.result())
            except (TransientError, RejectedError):
                found.append(None)
        self._write_all(self.redactor.redact(looked.frame, found))

    def _write_all(self, due: Iterable[RedactedFrame]) -> None:
        for shown in due:
            tracks, totals = self._drawn.popleft()
            self._writer.write(shown, tracks, totals)


class Sifted:
    """Parts the frames to be looked at from those that are only shown; holds what came between.

    Args:
        frames: In their order.
        fps: How many of a second of them are looked at: the first of each ``1 / fps`` seconds.
    """

    def __init__(self, frames: Iterable[RawFrame], fps: float) -> None:
        self._frames = frames
        self._slots = Slots(fps)
        self._between: deque[RawFrame] = deque()

    def looked_at(self) -> Iterator[RawFrame]:
        """Yield the frames to be looked at."""
        for frame in self._frames:
            if self._slots.takes(frame.at_ms / 1000):
                yield frame
            else:
                self._between.append(frame)

    def before(self, frame: RawFrame | None) -> Iterator[RawFrame]:
        """Yield the others that came before ``frame``, all that are left when it is None; each once."""
        while self._between and (frame is None or self._between[0].number < frame.number):
            yield self._between.popleft()


def left_in(people: Detector, faces: Detector, frame: RawFrame) -> Detections:
    """Look for faces, and for people as sure as those that are counted, in a filled frame."""
    look = faces.begin(frame)
    try:
        found = people.detect(frame)
    except BaseException:  # whatever it was: the faces' lane goes back, and it is raised again
        look.abandon()
        raise
    seen = look.result()
    sure = (found.scores >= people.card.thresholds.count) & (found.labels == Label.PERSON)
    return Detections(
        np.concatenate([seen.boxes, found.boxes[sure]]),
        np.concatenate([seen.scores, found.scores[sure]]),
        np.concatenate([seen.labels, found.labels[sure]]),
    )


def is_readable(frame: RawFrame) -> bool:
    """Tell whether ``frame`` shows more than noise: one dark, in fog or covered shows nobody, whoever is there."""
    size = (SMALL_WIDTH, max(BLOCK, round(SMALL_WIDTH * frame.height / frame.width)))
    small = cv2.resize(planes_of(frame.i420)[0], size, interpolation=cv2.INTER_AREA)
    darkest, lightest = np.percentile(small[::SAMPLED, ::SAMPLED], (1, 99))
    return bool(lightest - darkest >= CONTRAST_MIN) and texture_of(np.asarray(small, np.uint8)) >= BLIND_SHARE
