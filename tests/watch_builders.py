"""A street that is drawn, seen by the real detector and watched by a whole lookout, by a clock moved by hand."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from box_builders import HandClock
from eye_builders import a_frame, sprite_package
from veilleur_agent.events import check_event
from veilleur_agent.eye.checkpoint import SavedCamera
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.lookout import Lookout
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.settings import EyeSettings, Hashes
from veilleur_contracts.codec import decode_record, encode_record
from veilleur_contracts.messages import CameraState, Record
from veilleur_contracts.policy import BENCH, Permissions
from veilleur_contracts.site import Camera, Identity, Site
from veilleur_simulator.scenario import Scenario
from veilleur_simulator.street import Street

START_MS = 1_790_000_100_000 // 86_400_000 * 86_400_000
"""Midnight, UTC: windows and the scenario's seconds begin together."""

AHEAD = 2
"""Pictures drawn before they are needed."""

_R = TypeVar("_R", bound=Record)


def camera_of(scenario: Scenario, **keys: object) -> Camera:
    """The camera that films ``scenario``, with its lines and zones; ``keys`` are more of the site's."""
    keys = {"line": scenario.line, "zone": scenario.zone, "fps": 5.0, **keys}
    return Camera(id="avenue", insee="30189", source="/street", **keys)


class StreetPost:
    """A lookout over a drawn street: it is shown pictures, and keeps what it says and logs."""

    def __init__(
        self,
        scenario: Scenario,
        detector: Detector,
        *,
        camera: Camera | None = None,
        permissions: Permissions = BENCH,
        window_s: int | None = None,
        saved: SavedCamera | None = None,
    ) -> None:
        self.street = Street(scenario)
        self.camera = camera or camera_of(scenario)
        self.clock = HandClock(START_MS)
        self.said: list[Record] = []
        self.logged: list[str] = []
        self._detector = detector
        site = Site(site=Identity("box-1", "ville", window_s), camera=(self.camera,))
        hashes = Hashes("0" * 16, "1" * 16, "2" * 16)
        settings = EyeSettings(
            site,
            permissions,
            trusts_clock=True,
            package=sprite_package(),
            hashes=hashes,
            passwords={},
            checkpoint=Path("/nowhere"),
        )
        self.lookout = Lookout(self.camera, settings, self.clock, self._log)
        if saved is not None:
            self.lookout.restore(saved)
        self._numbers = self._count()

    def watch(self, from_s: float, to_s: float, *, every_s: float = 0.2) -> None:
        """Show it the street from one second of the scenario to another."""
        self.watch_at(np.arange(from_s, to_s - 1e-9, every_s).tolist())

    def watch_at(self, moments_s: Iterable[float]) -> None:
        """Show it the street at some moments, in order."""
        for frame, found in self._detector.detect_each(self._drawn(moments_s)):
            self.clock.advance((frame.at_ms - self.clock.at_ms) / 1000)
            self.lookout.take(Analysed(frame, found, None), CameraState.LIVE)
            self._hear(self.lookout.due(self.clock.at_ms, synced=True))

    def _drawn(self, moments_s: Iterable[float]) -> Iterator[RawFrame]:
        """Draw the next pictures while those before them are looked at."""
        with ThreadPoolExecutor(1) as hand:
            ahead: deque[Future[RawFrame]] = deque()
            for at_s in moments_s:
                ahead.append(hand.submit(self._frame, at_s))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _frame(self, at_s: float) -> RawFrame:
        at_ms = START_MS + round(at_s * 1000)
        return a_frame(self.street.picture(at_s), camera="avenue", number=next(self._numbers), at_ms=at_ms)

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on with nothing seen, so that the last window closes."""
        self.clock.advance(seconds)
        self._hear(self.lookout.due(self.clock.at_ms, synced=True))

    def finish(self) -> None:
        """Stop it in good order."""
        self._hear(self.lookout.finish())

    def of(self, kind: type[_R]) -> list[_R]:
        """Everything of one kind that it has said."""
        return [record for record in self.said if isinstance(record, kind)]

    def second_of(self, at_s: int) -> int:
        """The scenario's second that a record's time stands for."""
        return at_s - START_MS // 1000

    def _hear(self, records: list[Record]) -> None:
        for record in records:
            assert decode_record(encode_record(record)) == record
        self.said += records

    def _log(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None, f"{event} would be dropped by box"
        self.logged.append(event)

    @staticmethod
    def _count() -> Iterator[int]:
        yield from range(1 << 62)


def changed(scenario: Scenario, **parts: object) -> Scenario:
    """The same street with other ``parts``; those of ``street`` may be given by their own names."""
    frame = {name: parts.pop(name) for name in list(parts) if name in scenario.street.__struct_fields__}
    street = msgspec.structs.replace(scenario.street, **frame)
    return msgspec.structs.replace(scenario, street=street, **parts)
