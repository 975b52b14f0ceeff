"""Show what is counted: every analysed frame redacted, its lines and tracks drawn over it, in a file.

(RawFrame, Detections, Tracks, totals) ─▶ faces ─▶ Redactor (frames wait) ─▶ RedactedFrame ─┐
                          ╎                                                                 ├─▶ PreviewWriter
                          └──────────────── waits as long ─▶ (Tracks, totals) ──────────────┘
"""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from veilleur_agent.eye.clips import PreviewWriter
from veilleur_agent.eye.detect import Detector, Look
from veilleur_agent.eye.records import Detections, RawFrame, RedactedFrame, Tracks
from veilleur_agent.eye.redact import Redactor
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

Totals = Mapping[str, Mapping[Direction, int]]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A frame whose faces are being looked for."""

    frame: RawFrame
    detections: Detections
    faces: Look


class Preview:
    """Writes one preview; holds the frames whose faces are looked for and those that the redactor holds back.

    Args:
        path: Where it is written.
        lines: Drawn on every picture.
        people: The detector of what is counted; asked again about a filled frame now and then, between its other looks.
        faces: A detector of faces that nobody else uses.

    Raises:
        PreviewRejectedError: It cannot be written there.
    """

    def __init__(self, path: Path, lines: Sequence[Line], people: Detector, faces: Detector) -> None:
        self._writer = PreviewWriter(path, lines)
        self._people = people
        self._faces = faces
        self._looked: deque[_Looked] = deque()
        self._drawn: deque[tuple[Tracks, Totals]] = deque()
        self._redactor = Redactor(self._left_in)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._writer)
        self._open.callback(self._abandon)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def show(self, frame: RawFrame, detections: Detections, tracks: Tracks, totals: Totals) -> None:
        """Take in one analysed frame, what was found in it, and what is to be drawn over it.

        Raises:
            PreviewRejectedError: The file can no longer be written.
        """
        # One lane of the network stays free for the self-check.
        while self._looked and len(self._looked) >= self._faces.in_flight - 1:
            self._redact(self._looked.popleft())
        self._looked.append(_Looked(frame, detections, self._faces.begin(frame)))
        self._drawn.append((tracks, totals))

    def close(self) -> None:
        """Show the frames that still wait: the source has ended, or the user has had enough.

        Raises:
            PreviewRejectedError: The file can no longer be written.
        """
        while self._looked:
            self._redact(self._looked.popleft())
        for shown in self._redactor.close():
            self._write(shown)

    def _redact(self, looked: _Looked) -> None:
        try:
            faces = looked.faces.result()
        except (TransientError, RejectedError):
            faces = None
        shown = self._redactor.redact(looked.frame, (looked.detections, faces))
        if shown is not None:
            self._write(shown)

    def _write(self, shown: RedactedFrame) -> None:
        tracks, totals = self._drawn.popleft()
        self._writer.write(shown, tracks, totals)

    def _left_in(self, frame: RawFrame) -> Detections:
        """Look for faces, and for people as sure as those that are counted, in a filled frame."""
        faces, people = self._faces.detect(frame), self._people.detect(frame)
        sure = (people.scores >= self._people.card.thresholds.count) & (people.labels == Label.PERSON)
        return Detections(
            np.concatenate([faces.boxes, people.boxes[sure]]),
            np.concatenate([faces.scores, people.scores[sure]]),
            np.concatenate([faces.labels, people.labels[sure]]),
        )

    def _abandon(self) -> None:
        while self._looked:
            self._looked.popleft().faces.abandon()
