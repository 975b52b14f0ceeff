"""Keep the latest frame of one camera at hand, and know at any time what the camera is doing.

    Source ─▶ (paced, if a file) ─▶ RawFrame ─▶ one place, newest wins ─▶ take()
      ▲                                 │
      └── backoff 1..60 s ◀── fault ────┘   connecting · live · stalled · frozen · auth_failed · backoff · ended

``frames_of`` is the other way to read: every chosen frame of a file, as fast as it is asked for, no clock.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from secrets import SystemRandom
from types import TracebackType
from typing import Final, Protocol, Self

from veilleur_agent.eye.address import Address, CameraError, CameraRefusedError, StreamCorruptError
from veilleur_agent.eye.connection import STALLED_AFTER_S, Backoff, FrozenWatch, UtcAnchor
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.source import Picture, open_source
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import CameraState

CLOSE_TIMEOUT_S: Final = 1.0
BEHIND_MAX_S: Final = 1.0


class Pictures(Protocol):
    """What a capture reads from: an open source."""

    def pictures(self, fps: float) -> Iterator[Picture]:
        """Yield pictures until the source ends; raises ``CameraError``."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(frozen=True, slots=True)
class CaptureCounters:
    """What a capture has done since it started.

    Attributes:
        frames: Frames chosen for analysis.
        frames_dropped: Of them, those that a newer one replaced before anybody took them.
        reconnects: Connections tried after the first.
        anchored: Times the camera's clock was tied to UTC anew.
    """

    frames: int = 0
    frames_dropped: int = 0
    reconnects: int = 0
    anchored: int = 0


class Capture:
    """One camera's thread. Holds one frame, the newest.

    Args:
        camera: Name the frames bear.
        address: Where the pictures come from.
        fps: Frames chosen per second.
        loop: Whether a file starts again when it ends.
        clock: Tells UTC and elapsed time.
        fresh: Called, in the camera's thread, whenever there is a frame to take or the state has changed.
        connect: Opens the address.
        wait: Waits so many seconds and returns True when the capture is being closed meanwhile; None: a real wait.
        jitter: Returns a number from 0 to 1, for the backoff.
    """

    def __init__(
        self,
        camera: str,
        address: Address,
        *,
        fps: float,
        clock: Clock,
        loop: bool = False,
        fresh: Callable[[], None] = lambda: None,
        connect: Callable[[Address], Pictures] = open_source,
        wait: Callable[[float], bool] | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self.camera = camera
        self._address = address
        self._fps = fps
        self._loop = loop
        self._clock = clock
        self._fresh = fresh
        self._connect = connect
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._backoff = Backoff(jitter or SystemRandom().random)
        self._lock = threading.Lock()
        self._newest: RawFrame | None = None
        self._state = CameraState.CONNECTING
        self._fault: CameraError | None = None
        self._bug: BaseException | None = None
        self._heard_s = clock.elapsed_s()
        self._counters = CaptureCounters()
        self._thread = threading.Thread(target=self._run, name=f"capture-{camera}", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """Stop soon: a camera that is silent at this moment is let go of when its read times out."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def take(self) -> RawFrame | None:
        """Return the newest frame not taken yet, None when there is none.

        Raises:
            BaseException: The bug that ended the camera's thread.
        """
        with self._lock:
            if self._bug is not None:
                raise self._bug
            frame, self._newest = self._newest, None
            return frame

    @property
    def has_frame(self) -> bool:
        """Whether ``take`` has something to give, be it a bug."""
        with self._lock:
            return self._newest is not None or self._bug is not None

    @property
    def state(self) -> CameraState:
        """What the camera is doing now."""
        with self._lock:
            silent_s = self._clock.elapsed_s() - self._heard_s
            is_stalled = self._state in {CameraState.LIVE, CameraState.FROZEN}
            if is_stalled and silent_s > max(STALLED_AFTER_S, 3 / self._fps):
                return CameraState.STALLED
            return self._state

    @property
    def fault(self) -> CameraError | None:
        """What ended the last connection; None while the camera is live."""
        with self._lock:
            return self._fault

    @property
    def counters(self) -> CaptureCounters:
        """What was done since the start."""
        with self._lock:
            return self._counters

    def _run(self) -> None:
        try:
            while self._watch_once():
                pass
        except BaseException as bug:  # noqa: BLE001 - carried to the thread that takes frames, which ends the process
            with self._lock:
                self._bug = bug
            self._fresh()

    def _watch_once(self) -> bool:
        """Connect, read until something ends it, wait if need be; tell whether to connect again."""
        self._become(CameraState.CONNECTING, self._fault)
        lap = _Lap(self._clock.elapsed_s())
        fault: CameraError | None = None
        try:
            with closing(self._connect(self._address)) as source:
                for picture in source.pictures(self._fps):
                    if not self._pace(picture, lap):
                        return False
                    self._place(picture, lap)
        except CameraError as error:
            fault = error
        if fault is None and not lap.pictures:
            fault = StreamCorruptError(f"{self._address.name} holds no picture: check it with a video player")
        return self._after(fault, lap)

    def _after(self, fault: CameraError | None, lap: "_Lap") -> bool:
        if self._closing.is_set():
            return False
        if lap.pictures and not self._address.is_live and not self._loop:
            self._become(CameraState.ENDED, fault)  # again from its start, it would be counted twice
            return False
        if fault is None:
            return True
        refused = isinstance(fault, CameraRefusedError)
        self._become(CameraState.AUTH_FAILED if refused else CameraState.BACKOFF, fault)
        lived_s = self._clock.elapsed_s() - lap.began_s if lap.pictures else 0.0
        if self._wait(self._backoff.delay_s(fault, lived_s)):
            return False
        with self._lock:
            self._counters = replace(self._counters, reconnects=self._counters.reconnects + 1)
        return True

    def _pace(self, picture: Picture, lap: "_Lap") -> bool:
        """Wait until a file's picture is due; False when the capture is being closed."""
        now_s = self._clock.elapsed_s()
        if not lap.pictures:
            lap.began_s = now_s - picture.pts_s
        early_s = lap.began_s + picture.pts_s - now_s
        if self._address.is_live or early_s <= 0:
            if early_s < -BEHIND_MAX_S and not self._address.is_live:
                lap.began_s = now_s - picture.pts_s  # never catch up in a burst
            return not self._closing.is_set()
        return not self._wait(early_s)

    def _place(self, picture: Picture, lap: "_Lap") -> None:
        """Put a picture where the newest frame lies."""
        now_s = self._clock.elapsed_s()
        at_ms = lap.anchor.at_ms(picture.pts_s, self._clock.now_ms())
        # A still scene in a rendered file is no fault of a camera.
        is_frozen = self._address.is_live and lap.frozen.is_frozen(picture, now_s)
        frame = RawFrame(self.camera, lap.pictures, at_ms, picture.i420)
        with self._lock:
            self._counters = replace(
                self._counters,
                frames=self._counters.frames + 1,
                frames_dropped=self._counters.frames_dropped + (self._newest is not None),
                anchored=self._counters.anchored + lap.anchor.times_anchored - lap.anchored,
            )
            self._newest = frame
            self._heard_s = now_s
            self._state, self._fault = (CameraState.FROZEN if is_frozen else CameraState.LIVE), None
        lap.anchored = lap.anchor.times_anchored
        lap.pictures += 1
        self._fresh()

    def _become(self, state: CameraState, fault: CameraError | None) -> None:
        with self._lock:
            self._state, self._fault = state, fault
        self._fresh()


class _Lap:
    """One connection, or one time through a file."""

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self.pictures = 0
        self.anchored = 0
        self.anchor = UtcAnchor()
        self.frozen = FrozenWatch(now_s)


def frames_of(address: Address, fps: float) -> Generator[RawFrame, None, None]:
    """Yield every chosen frame, as fast as it is asked for; the same file gives the same frames.

    Args:
        address: A file, as a rule; a live camera sends no faster than it sees, and cuts off who reads too slowly.
        fps: Frames chosen per second of the source's own time.

    Returns:
        Frames named after the address, ``at_ms`` from 0 at the first picture.

    Raises:
        CameraError: It cannot be opened; or, after everything that could be read, what is wrong with it.
    """
    number = -1
    with open_source(address) as source:
        for number, picture in enumerate(source.pictures(fps)):
            yield RawFrame(address.name, number, round(picture.pts_s * 1000), picture.i420)
    if number < 0:
        raise StreamCorruptError(f"{address.name} holds no picture: check it with a video player")
