"""Walks whose crossings are known exactly, told as tracks or as noisy detections.

A walk is written in the frame of its line: ``along`` from the line's middle towards its end, ``across`` to its right,
both in heights of the walker. The world turns, mirrors and places it, so one walk tests a line at every angle.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.records import Crossing, Detections, Tracks
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

ASPECT = 16 / 9
START_MS = 1_700_000_000_000
WALK = 0.8
"""Heights per second: 1.4 m/s of somebody 1.75 m tall."""
MEET_S = 3 / WALK
"""When somebody who starts three heights from the line gets there."""


@dataclass(frozen=True)
class Walk:
    """One road user's way: ``(seconds, along, across)`` corners, straight between them.

    Attributes:
        corners: The way; it exists from the first to the last.
        label: What it is.
        hidden: Spans of seconds in which nothing sees it.
        ids: ``(from second, id)``: the ids a tracker gave it; empty for one that keeps its own.
        seen_share: Share of frames in which it is seen at all.
    """

    corners: tuple[tuple[float, float, float], ...]
    label: Label = Label.PERSON
    hidden: tuple[tuple[float, float], ...] = ()
    ids: tuple[tuple[float, int], ...] = ()
    seen_share: float = 1.0

    def at(self, second: float) -> tuple[float, float] | None:
        times = [corner[0] for corner in self.corners]
        if not times[0] <= second <= times[-1] or any(start <= second < end for start, end in self.hidden):
            return None
        along = float(np.interp(second, times, [corner[1] for corner in self.corners]))
        across = float(np.interp(second, times, [corner[2] for corner in self.corners]))
        return along, across

    def id_at(self, second: float, own: int) -> int:
        return next((one for start, one in reversed(self.ids) if second >= start), own)


def straight(*places: tuple[float, float], speed: float = WALK, start_s: float = 0.0, **more: object) -> Walk:
    """A walk through ``(along, across)`` places at an even ``speed``, heights per second."""
    corners = [(start_s, *places[0])]
    for place in places[1:]:
        corners.append((corners[-1][0] + max(math.dist(corners[-1][1:], place) / speed, 1e-3), *place))
    return Walk(tuple(corners), **more)


@dataclass
class World:
    """Where the line lies and how the walks are seen.

    Attributes:
        angle: Direction of the line, radians, clockwise as seen (y is down).
        height: Of a walker, frame heights.
        length: Of the line, in heights of a walker.
        fps: Frames per second.
        noise: Standard deviation of a box's place, in its sizes; of its sides, twice that.
        jitter_ms: Frames come this much early or late.
        seed: Of the noise.
    """

    angle: float = 0.0
    height: float = 0.12
    length: float = 5.0
    fps: float = 10.0
    noise: float = 0.02
    jitter_ms: int = 0
    aspect: float = ASPECT
    seed: int = 1
    mirrored: bool = False
    centre: tuple[float, float] = (0.5 * ASPECT, 0.5)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def place(self, along: float, across: float) -> tuple[float, float]:
        """Return where a place in the line's frame lies, frame heights."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        across = -across if self.mirrored else across
        x, y = along * self.height, across * self.height
        return self.centre[0] + x * c - y * s, self.centre[1] + x * s + y * c

    def line(self, name: str = "line") -> Line:
        half = self.length / 2
        ends = [self.place(-half, 0.0), self.place(half, 0.0)]
        return Line(name, *((x / self.aspect, y) for x, y in ends))

    def box(self, walk: Walk, place: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return the true box, fractions of the frame."""
        x, y = self.place(*place)
        if walk.label in {Label.CAR, Label.BUS, Label.TRUCK}:
            wide, tall, below = 2.0 * self.height, 1.0 * self.height, 0.5
        else:
            wide, tall, below = 0.41 * self.height, self.height, 0.0
        return (x - wide / 2) / self.aspect, y - (1 - below) * tall, (x + wide / 2) / self.aspect, y + below * tall

    def blur(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Add a detector's noise."""
        if not len(boxes):
            return boxes.reshape(0, 4)
        size = np.sqrt((boxes[:, 2] - boxes[:, 0]) * self.aspect * (boxes[:, 3] - boxes[:, 1]))[:, None]
        shift = self.rng.normal(0, self.noise, (len(boxes), 2)) * size
        grow = self.rng.normal(0, self.noise, (len(boxes), 2)) * size
        noise = np.concatenate([shift - grow, shift + grow], axis=1)
        return boxes + noise / (self.aspect, 1.0, self.aspect, 1.0)

    def times(self, walks: Sequence[Walk], after_s: float = 3.5) -> Iterator[tuple[float, int]]:
        """Yield ``(second, at_ms)`` of every frame, until everybody has been gone for a while."""
        end = max(walk.corners[-1][0] for walk in walks) + after_s
        for number in range(int(end * self.fps) + 1):
            late = int(self.rng.integers(-self.jitter_ms, self.jitter_ms + 1)) if self.jitter_ms else 0
            at_ms = round(number * 1000 / self.fps) + late
            yield at_ms / 1000, START_MS + at_ms

    def _seen(self, walks: Sequence[Walk], second: float) -> list[tuple[int, Walk, tuple[float, float]]]:
        found = []
        for number, walk in enumerate(walks, 1):
            place = walk.at(second)
            if place is not None and self.rng.random() < walk.seen_share:
                found.append((walk.id_at(second, number), walk, place))
        return found

    def tracks(self, walks: Sequence[Walk]) -> Iterator[tuple[int, Tracks]]:
        """Yield the walks as tracks whose ids are given."""
        born: dict[int, tuple[npt.NDArray[np.float64], int]] = {}
        for second, at_ms in self.times(walks):
            seen = self._seen(walks, second)
            boxes = self.blur(np.array([self.box(walk, place) for _, walk, place in seen], np.float64))
            for (one, _, _), box in zip(seen, boxes, strict=True):
                born.setdefault(one, (box, at_ms))
            ids = [one for one, _, _ in seen]
            yield at_ms, tracks_of(ids, boxes, [walk.label for _, walk, _ in seen], [born[one] for one in ids])

    def detections(
        self, walks: Sequence[Walk], scores: tuple[float, float] = (0.5, 0.9)
    ) -> Iterator[tuple[int, Detections]]:
        """Yield the walks as a detector would find them, in any order."""
        for second, at_ms in self.times(walks):
            seen = self._seen(walks, second)
            self.rng.shuffle(seen)
            boxes = self.blur(np.array([self.box(walk, place) for _, walk, place in seen], np.float64))
            yield at_ms, detections_of(boxes, [walk.label for _, walk, _ in seen], self.rng.uniform(*scores, len(seen)))


def tracks_of(
    ids: Sequence[int],
    boxes: npt.ArrayLike,
    labels: Sequence[Label] | Label = Label.PERSON,
    born: Sequence[tuple[npt.NDArray[np.float64], int]] | None = None,
    *,
    seen: bool = True,
) -> Tracks:
    """Tracks that have all moved, born where they are unless told."""
    count = len(ids)
    array = np.asarray(boxes, np.float32).reshape(count, 4)
    named = [labels] * count if isinstance(labels, Label) else labels
    return Tracks(
        ids=np.array(ids, np.int64),
        boxes=array,
        labels=np.array([int(label) for label in named], np.int8),
        seen=np.full(count, seen),
        moved=np.ones(count, np.bool_),
        born_boxes=array if born is None else np.array([box for box, _ in born], np.float32).reshape(count, 4),
        born_ms=np.array([0 if born is None else at_ms for _, at_ms in (born or [((), 0)] * count)], np.int64),
    )


def detections_of(
    boxes: npt.ArrayLike, labels: Sequence[Label] | Label = Label.PERSON, scores: npt.ArrayLike | float = 0.8
) -> Detections:
    """Detections of one frame."""
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    named = [labels] * len(array) if isinstance(labels, Label) else labels
    return Detections(
        array,
        np.broadcast_to(np.asarray(scores, np.float32), len(array)).copy(),
        np.array([int(label) for label in named], np.int8),
    )


def tally(crossings: Sequence[Crossing]) -> tuple[int, int]:
    """Return how many went left to right, and right to left."""
    rightward = sum(one.direction is Direction.LEFT_TO_RIGHT for one in crossings)
    return rightward, len(crossings) - rightward


def swaying(start_s: float, count: int) -> tuple[tuple[float, float, float], ...]:
    return tuple((start_s + number / 2, 0.0, 0.05 * (-1) ** number) for number in range(count))


def swapped_at(across: float) -> list[Walk]:
    """Two who meet ``across`` the line and leave with each other's id."""
    there = Walk(((0, 0, across - 3), (2 * MEET_S, 0, across + 3)), ids=((0, 1), (MEET_S, 2)))
    back = Walk(((0, 0.1, across + 3), (2 * MEET_S, 0.1, across - 3)), ids=((0, 2), (MEET_S, 1)))
    return [there, back]


def crowd(there: int, back: int, seed: int = 5) -> list[Walk]:
    """So many each way within twelve seconds, a body's width apart from those abreast of them."""
    rng = np.random.default_rng(seed)
    walks = []
    for number in range(there + back):
        way = -1 if number < there else 1
        along, drift, start_s = rng.uniform(-2, 2), rng.uniform(-0.3, 0.3), rng.uniform(0, 12)
        walks.append(straight((along, 3.0 * way), (along + drift, -3.0 * way), start_s=start_s))
    return walks


Torture = dict[str, tuple[list[Walk], tuple[int, int]]]


def torture() -> Torture:
    """Return, by name, walks and how many of them go left to right and right to left."""
    return {
        "over": ([straight((0, -3), (0, 3))], (1, 0)),
        "back": ([straight((0, 3), (0, -3))], (0, 1)),
        "at-a-slant": ([straight((-2, -2), (2, 2))], (1, 0)),
        "u-turn-over-and-back": ([straight((0, -3), (0, 1.2), (0.3, 1.2), (0.3, -3))], (1, 1)),
        "turns-before-the-line": ([straight((0, -3), (0, -0.5), (0.3, -0.5), (0.3, -3))], (0, 0)),
        "loiters-on-it-and-goes-back": ([Walk(((0, 0, -3), *swaying(3.75, 40), (27, 0, -3)))], (0, 0)),
        "loiters-on-it-and-goes-over": ([Walk(((0, 0, -3), *swaying(3.75, 40), (27, 0, 3)))], (1, 0)),
        "stands-on-it": ([Walk(((0, 0, 0), (60, 0, 0)))], (0, 0)),
        "flickers": ([straight((0, -3), (0, 3), seen_share=0.6)], (1, 0)),
        "hidden-1s": ([straight((0, -3), (0, 3), hidden=((3.25, 4.25),))], (1, 0)),
        "hidden-2s": ([straight((0, -3), (0, 3), hidden=((2.75, 4.75),))], (1, 0)),
        "born-on-it": ([straight((0, 0), (0, 3))], (0, 0)),
        "born-just-before-it": ([straight((0, -0.35), (0, 3))], (1, 0)),
        "born-just-beyond-it": ([straight((0, 0.35), (0, 3))], (0, 0)),
        "lost-just-beyond-it": ([straight((0, -3), (0, 0.1))], (1, 0)),
        "lost-on-it-under-way": ([straight((0, -3), (0, -0.05))], (1, 0)),
        "lost-on-it-standing": ([Walk(((0, 0, -3), (3.7, 0, -0.05), (9, 0, -0.05)))], (0, 0)),
        "lost-well-before-it": ([straight((0, -3), (0, -1))], (0, 0)),
        "three-side-by-side": ([straight((x, -3), (x, 3)) for x in (-0.45, 0, 0.45)], (3, 0)),
        "walks-along-it": ([straight((-3, -0.4), (3, -0.4))], (0, 0)),
        "passes-its-end": ([straight((-3.5, -3), (-3.5, 3))], (0, 0)),
        "goes-round-its-end": ([straight((-1, -2), (-3.5, -1), (-3.5, 1), (0, 2), (0, -2))], (0, 1)),
        "new-id-on-it": ([straight((0, -3), (0, 3), ids=((0, 1), (3.75, 7)))], (1, 0)),
        "new-id-once-hidden": ([straight((0, -3), (0, 3), ids=((0, 1), (3.75, 7)), hidden=((3.1, 4.4),))], (1, 0)),
        "new-id-on-it-and-back": ([straight((0, -3), (0, 0), (0, -3), ids=((0, 1), (3.75, 7)))], (0, 0)),
        "no-id": ([straight((0, -3), (0, 3), ids=((0, -1),))], (0, 0)),
        "ids-swapped-on-it": (swapped_at(0.0), (1, 1)),
        "ids-swapped-in-the-band": (swapped_at(-0.15), (1, 1)),
        "ids-swapped-near-it": (swapped_at(0.3), (1, 1)),
        "ids-swapped-far-from-it": (swapped_at(1.5), (1, 1)),
        "fast-car": ([straight((0, -9), (0, 9), speed=8, label=Label.CAR)], (1, 0)),
        "two-abreast-each-way": (
            [straight((x, -3), (x, 3)) for x in (-0.5, 0.5)] + [straight((x, 3), (x, -3)) for x in (0.0, 1.0)],
            (2, 2),
        ),
        "crowd": (crowd(12, 9), (12, 9)),
    }
