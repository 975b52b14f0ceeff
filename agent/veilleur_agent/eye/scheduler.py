"""Share one detector among many cameras: whose newest frame is looked at next.

    Capture ─┐ newest frame of each           ┌─▶ Analysed ─▶ next()
    Capture ─┼──▶ whose turn? ──▶ Detector ──▶┤    (or why not)
    Capture ─┘    earliest due    a few at once

Nothing waits in line: a camera has at most one frame being looked at and one waiting, which newer ones replace. When
the machine cannot keep up, every camera keeps the same share of the rate it asked for.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass
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


class Look(Protocol):
    """One frame being looked at."""

    @property
    def frame(self) -> RawFrame:
        """Which."""
        ...

    def is_done(self, wait_s: float) -> bool:
        """Tell whether ``result`` would answer at once; waits for that at most ``wait_s``."""
        ...

    def result(self) -> Detections:
        """Wait for what is found, and make room for another frame."""
        ...

    def abandon(self) -> None:
        """Forget it, and make room for another frame."""
        ...


class Looks(Protocol):
    """What looks at frames: a ``Detector``."""

    @property
    def in_flight(self) -> int:
        """How many at once."""
        ...

    def begin(self, frame: RawFrame) -> Look:
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
    """Gives the detector frames and hands on what it finds. Holds the frames being looked at, one per camera.

    All of it but ``wake`` belongs to one thread.

    Args:
        detector: Looks at the frames.
    """

    def __init__(self, detector: Looks) -> None:
        self._detector = detector
        self._turns = Turns()
        self._captures: dict[str, Frames] = {}
        self._looks: dict[str, Look] = {}  # oldest first
        self._woken = threading.Event()

    def add(self, capture: Frames, fps: float) -> None:
        """Take the frames of ``capture`` from now on, ``fps`` a second where the machine can."""
        self._captures[capture.camera] = capture
        self._turns.add(capture.camera, fps)

    def remove(self, camera: str) -> None:
        """Take no more frames of ``camera``; the one being looked at still comes."""
        del self._captures[camera]
        self._turns.remove(camera)

    def forget(self, camera: str) -> None:
        """Abandon the frame of ``camera`` that is being looked at, if there is one."""
        look = self._looks.pop(camera, None)
        if look is not None:
            look.abandon()

    def wake(self) -> None:
        """Look again whose turn it is: a camera has a new frame, or its state has changed; safe from any thread."""
        self._woken.set()

    def next(self, wait_s: float) -> Analysed | None:
        """Return the next frame that was looked at, None when there is none within ``wait_s`` seconds or when woken.

        Frames of one camera come in their order.

        Raises:
            BaseException: A bug in a camera's thread, in the detector or in its decoder.
        """
        self._woken.clear()
        self._dispatch()
        if not self._looks:
            self._woken.wait(wait_s)
            return None
        look = self._finished(wait_s)
        if look is None:
            return None
        del self._looks[look.frame.camera]
        try:
            analysed = Analysed(look.frame, look.result(), None)
        except (TransientError, RejectedError) as fault:
            analysed = Analysed(look.frame, None, fault)
        self._dispatch()
        return analysed

    def close(self) -> None:
        """Abandon what is being looked at."""
        for look in self._looks.values():
            look.abandon()
        self._looks.clear()

    def _finished(self, wait_s: float) -> Look | None:
        """Return a look that is done, the oldest if need be after waiting for it."""
        for look in self._looks.values():
            if look.is_done(0.0):
                return look
        # Whatever becomes fresh meanwhile waits for this one: 13 ms at most, and no thread has to be woken for it.
        oldest = next(iter(self._looks.values()))
        return oldest if oldest.is_done(wait_s) else None

    def _dispatch(self) -> None:
        """Begin to look at frames while there is room for them."""
        while len(self._looks) < self._detector.in_flight:
            ready = [name for name, one in self._captures.items() if name not in self._looks and one.has_frame]
            camera = self._turns.next(ready)
            frame = None if camera is None else self._captures[camera].take()
            if camera is None or frame is None:
                return
            self._looks[camera] = self._detector.begin(frame)
