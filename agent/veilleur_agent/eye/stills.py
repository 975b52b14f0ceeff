"""Take one redacted still of a camera every so often: only around that moment are its frames redacted.

    Analysed ─▶ due? ─▶ faces ─▶ Redactor: WARM_FRAMES before, the still, DELAY_FRAMES after ─▶ RedactedFrame
                                    any doubt: all of it filled, and nothing is kept

The frames before let it see who moves and who was lost a moment ago; those after, who is found only then.
"""

from dataclasses import dataclass
from typing import Final

from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.hold import GAP_FRAMES
from veilleur_agent.eye.preview import FACES_EVERY, is_readable, left_in
from veilleur_agent.eye.records import Detections, RawFrame, RedactedFrame
from veilleur_agent.eye.redact import Redactor
from veilleur_agent.eye.scheduler import Analysed, Look, Looks
from veilleur_contracts.errors import RejectedError, TransientError

WARM_FRAMES: Final = 2 * GAP_FRAMES
"""Frames redacted before the one that is kept; even, so that faces are looked for in that one."""
SHOWS_NOTHING: Final = 0.999
"""Filled share from which a picture shows nothing: somebody was unsure, and all of it was filled."""


@dataclass(frozen=True, slots=True)
class Detectors:
    """What an eye looks with: a detector of road users, and one of faces where stills are to be kept."""

    people: Detector
    faces: Detector | None = None


class Spared:
    """A detector that keeps one of its places free, so that a filled frame can be looked at between the others.

    Args:
        detector: Has two places at least.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.in_flight = detector.in_flight - 1

    def begin(self, frame: RawFrame) -> Look:
        """Begin to look at a frame, as the detector does."""
        return self._detector.begin(frame)


def looks_of(detectors: Detectors) -> Looks:
    """Return what the scheduler gives frames to."""
    return detectors.people if detectors.faces is None else Spared(detectors.people)


class Checks:
    """What looks for faces, and looks at filled frames again; shared by all cameras, used from one thread.

    Args:
        people: The detector of what is counted, with a place to spare.
        faces: A detector of faces.
    """

    def __init__(self, people: Detector, faces: Detector) -> None:
        self._people = people
        self._faces = faces

    def faces_in(self, frame: RawFrame) -> Detections | None:
        """Return the faces in a frame, None when it could not be looked at."""
        try:
            return self._faces.detect(frame)
        except (TransientError, RejectedError):
            return None

    def left_in(self, frame: RawFrame) -> Detections:
        """Look for faces and people in a filled frame; raises what a detector raises."""
        return left_in(self._people, self._faces, frame)


class Stills:
    """The stills of one camera; holds a redactor's frames while one is taken, nothing between.

    Args:
        still_s: One every so many seconds, or as fast as redacting allows.
        checks: Looks for faces and at what is filled.

    Attributes:
        withheld: Stills that would have shown nothing, or in which somebody might have been seen.
    """

    def __init__(self, still_s: float, checks: Checks) -> None:
        self._every_s = still_s
        self._checks = checks
        self._redactor: Redactor | None = None
        self._begun_s: float | None = None
        self._taken = 0
        self._shown = 0
        self.withheld = 0

    def take(self, analysed: Analysed, now_s: float) -> RedactedFrame | None:
        """Take in an analysed frame, masks burnt in, in its order; return the still when there is one.

        Args:
            analysed: The frame; one that could not be looked at makes those around it doubtful.
            now_s: Elapsed seconds.
        """
        if self._redactor is None:
            if self._begun_s is not None and now_s - self._begun_s < self._every_s:
                return None
            self._redactor, self._begun_s = Redactor(self._checks.left_in, is_readable), now_s
            self._taken = self._shown = 0
        due = self._redacted(self._redactor, analysed)
        self._taken += 1
        if not due:
            return None
        (shown,) = due
        self._shown += 1
        if self._shown <= WARM_FRAMES:
            return None
        self._redactor = None
        if shown.filled_share >= SHOWS_NOTHING:
            self.withheld += 1
            return None
        return shown

    def drop(self) -> None:
        """Forget the frames that wait: the view is not to be trusted, or nothing may be kept."""
        self._redactor = None

    def _redacted(self, redactor: Redactor, analysed: Analysed) -> list[RedactedFrame]:
        frame = analysed.frame
        found = [analysed.detections]
        if self._taken % FACES_EVERY == 0 and analysed.detections is not None:
            found.append(self._checks.faces_in(frame))
        return redactor.redact(frame, found, is_kept=self._taken == WARM_FRAMES)
