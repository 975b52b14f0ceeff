"""Share one detector among many cameras: whose newest frame is looked at next.

    Capture ─┐ newest frame of each           ┌─▶ Analysed ─▶ next()
    Capture ─┼──▶ whose turn? ──▶ Detector ──▶┤    (or why not)
    Capture ─┘    earliest due    a few at once

Nothing waits in line: a camera has at most one frame being looked at and one waiting, which newer ones replace. When
the machine cannot keep up, every camera keeps the same share of the rate it asked for.
"""

import threading
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from veilleur_agent.eye.records import Detections, RawFrame
from veilleur_contracts.errors import RejectedError, TransientError


class Frames(Protocol):
    """What a scheduler takes frames from: a ``Capture``."""

    @property
    def camera(self) -> str:
        """Its name."""
        ...

    @property
    def has_frame(self) -> bool:
        """Whether ``take`` has something to give."""
        ...

    def take(self) -> RawFrame | None:
        """Return the newest frame not taken yet."""
        ...


class Looks(Protocol):
    """What looks at frames: a ``Detector``."""

    @property
    def in_flight(self) -> int:
        """How many at once."""
        ...

    def submit(self, frame: RawFrame) -> Future[Detections]:
        """Begin to look at a frame."""
        ...


@dataclass(frozen=True, slots=True)
class Analysed:
    """One frame that was looked at.

    Attributes:
        frame: The frame.
        detections: What was found; None when it could not be looked at: then nobody knows what it showed.
        fault: Why it could not; None when it could.
    """

    frame: RawFrame
    detections: Detections | None
    fault: TransientError | RejectedError | None


class Turns:
    """Whose turn it is, by start-time fair queueing (Goyal, Vin and Cheng, 1996): equal shares of what each asked for.

    A camera's turn is due one period after its last one. One that had no frame for a while is due at once, but is
    given nothing back for the turns it missed.
    """

    def __init__(self) -> None:
        self._period_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}
        self._virtual_s = 0.0

    def add(self, camera: str, fps: float) -> None:
        """Let ``camera`` take part, ``fps`` turns a second."""
        self._period_s[camera] = 1 / fps
        self._due_s[camera] = self._virtual_s

    def remove(self, camera: str) -> None:
        """Let ``camera`` take part no longer."""
        del self._period_s[camera], self._due_s[camera]

    def next(self, ready: Collection[str]) -> str | None:
        """Return whose turn it is among ``ready`` and count it as taken; None when nobody is ready."""
        if not ready:
            return None
        due_s = {camera: max(self._due_s[camera], self._virtual_s) for camera in ready}
        camera = min(due_s, key=lambda one: (due_s[one], one))
        self._virtual_s = due_s[camera]
        self._due_s[camera] = due_s[camera] + self._period_s[camera]
        return camera


class Scheduler:
    """Gives the detector frames and hands on what it finds. Holds one frame per camera, those being looked at.

    Args:
        detector: Looks at the frames.
    """

    def __init__(self, detector: Looks) -> None:
        self._detector = detector
        self._turns = Turns()
        self._captures: dict[str, Frames] = {}
        self._looking: set[str] = set()
        self._done: deque[tuple[RawFrame, Future[Detections]]] = deque()
        self._changed = threading.Condition()

    def add(self, capture: Frames, fps: float) -> None:
        """Take the frames of ``capture`` from now on, ``fps`` a second where the machine can."""
        with self._changed:
            self._captures[capture.camera] = capture
            self._turns.add(capture.camera, fps)

    def remove(self, camera: str) -> None:
        """Take no more frames of ``camera``; the one being looked at still comes."""
        with self._changed:
            del self._captures[camera]
            self._turns.remove(camera)

    def wake(self) -> None:
        """Look again whose turn it is: a camera has a new frame, or its state has changed; safe from any thread."""
        with self._changed:
            self._changed.notify()

    def next(self, wait_s: float) -> Analysed | None:
        """Return the next frame that was looked at, None when there is none within ``wait_s`` seconds or when woken.

        Frames of one camera come in their order.

        Raises:
            BaseException: A bug in a camera's thread, in the detector or in its decoder.
        """
        with self._changed:
            self._dispatch()
            if not self._done:
                self._changed.wait(wait_s)
                self._dispatch()
            if not self._done:
                return None
            frame, future = self._done.popleft()
            self._looking.discard(frame.camera)
            self._dispatch()
        try:
            return Analysed(frame, future.result(), None)
        except (TransientError, RejectedError) as fault:
            return Analysed(frame, None, fault)

    def _dispatch(self) -> None:
        """Begin to look at frames while there is room for them."""
        while len(self._looking) < self._detector.in_flight:
            ready = [name for name, one in self._captures.items() if name not in self._looking and one.has_frame]
            camera = self._turns.next(ready)
            frame = None if camera is None else self._captures[camera].take()
            if camera is None or frame is None:
                return
            self._looking.add(camera)
            self._detector.submit(frame).add_done_callback(partial(self._finish, frame))

    def _finish(self, frame: RawFrame, future: Future[Detections]) -> None:
        with self._changed:
            self._done.append((frame, future))
            self._changed.notify()
