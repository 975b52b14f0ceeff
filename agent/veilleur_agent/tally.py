"""Under the bench profile: what the eye's line counters made, kept apart from the way the messages go.

eye ──Tallied (control)──▶ Tally ──▶ tally.json        compared by the demo with what the fleet has stored
mouth ─Numbered (control)─▶
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from veilleur_agent.atomic import replace_file
from veilleur_agent.control import Numbered, Tallied
from veilleur_contracts.messages import Direction
from veilleur_contracts.site import Camera

STREAMS_KEPT: Final = 256


@dataclass(slots=True)
class _Seen:
    """One camera: what eyes that are gone have made, and what the present one has."""

    before: Tallied
    now: Tallied


@dataclass(slots=True)
class Tally:
    """Counts of all cameras since box started; bounded by the site's cameras and lines, and the mouth's streams."""

    cameras: Sequence[Camera]
    path: Path
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _streams: dict[int, int] = field(default_factory=dict)
    _left: int = 0
    is_changed: bool = True

    def add(self, tallied: Tallied) -> None:
        """Take in what the present eye has made of one camera since it started."""
        camera = next((one for one in self.cameras if one.id == tallied.camera), None)
        if camera is None or not _fits(tallied, camera):
            return
        seen = self._seen.setdefault(camera.id, _Seen(_nothing(camera), _nothing(camera)))
        self.is_changed |= seen.now != tallied
        seen.now = tallied

    def add_numbers(self, numbered: Numbered) -> None:
        """Take in how far the mouth's streams have come; streams stay known when the mouth has forgotten them."""
        merged = dict(sorted({**self._streams, **numbered.streams}.items())[-STREAMS_KEPT:])
        self.is_changed |= merged != self._streams or numbered.left != self._left
        self._streams, self._left = merged, numbered.left

    def eye_ended(self) -> None:
        """Keep what the eye that is gone has made; the next one starts from zero."""
        for seen in self._seen.values():
            seen.before = _sum(seen.before, seen.now)
            seen.now = msgspec.structs.replace(
                seen.now, frames=0, counts=tuple((0,) * len(line) for line in seen.now.counts)
            )

    def write(self) -> None:
        """Put the file in place, whole.

        Raises:
            OSError: The disk refused.
        """
        replace_file(self.path, msgspec.json.format(msgspec.json.encode(self.document())), 0o644)
        self.is_changed = False

    def document(self) -> dict[str, Any]:  # JSON, for people and the demo
        """Return what is written."""
        totals = {camera.id: self._total_of(camera) for camera in self.cameras}
        return {
            "cameras": {camera.id: _by_line(camera, totals[camera.id]) for camera in self.cameras},
            "frames": {name: total.frames for name, total in totals.items()},
            "fps": {name: total.fps_x10 / 10 for name, total in totals.items()},
            "streams": {str(stream): last for stream, last in sorted(self._streams.items())},
            "left": self._left,
        }

    def _total_of(self, camera: Camera) -> Tallied:
        seen = self._seen.get(camera.id)
        return _nothing(camera) if seen is None else _sum(seen.before, seen.now)


def _nothing(camera: Camera) -> Tallied:
    cells = 2 * len(camera.label_set())
    return Tallied(camera.id, 0, 0, tuple((0,) * cells for _ in camera.line))


def _fits(tallied: Tallied, camera: Camera) -> bool:
    cells = 2 * len(camera.label_set())
    return len(tallied.counts) == len(camera.line) and all(len(line) == cells for line in tallied.counts)


def _sum(one: Tallied, other: Tallied) -> Tallied:
    counts = tuple(
        tuple(a + b for a, b in zip(first, second, strict=True))
        for first, second in zip(one.counts, other.counts, strict=True)
    )
    return Tallied(other.camera, one.frames + other.frames, other.fps_x10, counts)


def _by_line(camera: Camera, total: Tallied) -> dict[str, dict[str, dict[str, int]]]:
    ways = [way.name.lower() for way in Direction]
    return {
        line.id: {
            label.name.lower(): dict(zip(ways, counts[2 * place : 2 * place + 2], strict=True))
            for place, label in enumerate(camera.label_set())
        }
        for line, counts in zip(camera.line, total.counts, strict=True)
    }
