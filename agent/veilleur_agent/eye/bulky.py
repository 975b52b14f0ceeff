"""Find a bulky object left on the street: scenery that was not there, stays, and is no road user.

    luma ─▶ edges of log luma ─▶ short mean (a minute) ──┐
                             └─▶ long mean (hours) ──────┴─▶ new edges ─▶ age ─▶ blobs ─▶ LeftObject

Edges of the logarithm do not change when the light does; a mean over a minute forgets passers-by and rain. An edge is
new where the short mean has one that the long mean lacks. The long mean does not learn where something new is aging, so
what was left does not fade into the scenery. Where a road user is known to be, nothing ages: who waits for a bus is no
object, nor is a parked car. Kept over a restart: boxes, times and a coarse signature of edges, never a picture.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.records import RawFrame
from veilleur_contracts.errors import RejectedError

SMALL_WIDTH: Final = 320
SHORT_S: Final = 60.0
LONG_S: Final = 4 * 3600.0
LEARNING_S: Final = 600.0
"""The long mean is learnt fast at first; until then nothing is new."""
EDGE: Final = 0.06
"""Length of a mean gradient of log luma, per pixel, from which it is an edge."""
NEW: Final = 0.5
"""Share of an edge that the long mean must lack."""
FORGET: Final = 3.0
"""How much faster age goes than it comes, where the edge is gone."""
CLOSE_PX: Final = 7
SIDE_MIN: Final = 0.02
SIDE_MAX: Final = 0.35
"""Sides of a bulky object, fractions of the frame's width: above a bag, below a change of the whole scene."""
FILL_MIN: Final = 0.12
"""Share of a blob's box that new edges must fill: an outline does, a thin shadow line does not."""
ROUND_MIN: Final = 0.12
"""Least over greatest eigenvalue of the new edges' structure tensor: an outline has edges every way, a shadow's border
that stands still while the others travel has one direction."""
SIGNATURE: Final = 8
SAME: Final = 0.6
GONE_S: Final = 120.0
OBJECTS_MAX: Final = 32
STEP_MAX_S: Final = 30.0
LOG_LUMA: Final = np.log(np.maximum(np.arange(256, dtype=np.float32) - 12.0, 4.0))

Field = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]


class BulkyRejectedError(RejectedError):
    """Checkpointed objects that cannot be read."""


@dataclass(frozen=True, slots=True)
class LeftObject:
    """An object that has been left long enough to be told, or one of those that has gone.

    Attributes:
        box: Fractions of the frame; it never leaves the eye, only the zone it lies in does.
        since_ms: When it was left, UTC milliseconds, to the minute.
        until_ms: When it was last seen.
        over: Whether it has gone.
    """

    box: Box
    since_ms: int
    until_ms: int
    over: bool


class _Known(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    box: Box
    since_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    seen_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    signature: Annotated[bytes, Meta(min_length=SIGNATURE**2 * 2, max_length=SIGNATURE**2 * 2)]
    missing_s: float = 0.0
    booked_ms: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


@dataclass(frozen=True, slots=True)
class Lying:
    """A while that a told object has lain there; ``box`` in fractions of the frame, times in UTC milliseconds."""

    box: Box
    from_ms: int
    until_ms: int


class LeftObjects:
    """The objects left in the view of one camera. Holds five small fields and at most ``OBJECTS_MAX`` objects.

    Args:
        after_s: How long something must have been left before it is told.
    """

    def __init__(self, after_s: float = 1800.0) -> None:
        self._after_s = after_s
        self._size = (0, 0)
        self._short = self._long = np.zeros((2, 0, 0), np.float32)
        self._age = np.zeros((0, 0), np.float32)
        self._watched_s = 0.0
        self._last_ms: int | None = None
        self._known: list[_Known] = []

    def watch(self, frame: RawFrame, boxes: npt.NDArray[np.float32]) -> list[LeftObject]:
        """Take one observed frame, about every second or slower; return what is newly told and what has gone.

        Args:
            frame: As analysed, in a view that is neither blind nor moved.
            boxes: float32, shape ``(n, 4)``, fractions: all road users found now, sure or not.
        """
        edges = self._edges_of(frame)
        passed_s = 0.0 if self._last_ms is None else min(STEP_MAX_S, max(0.0, (frame.at_ms - self._last_ms) / 1000))
        self._last_ms = frame.at_ms
        busy = self._busy(boxes)
        self._learn(edges, busy, passed_s)
        if self._watched_s < LEARNING_S:
            return []
        return [*self._gone(frame.at_ms, busy, passed_s), *self._found(frame.at_ms)]

    def lain(self) -> list[Lying]:
        """Return how long objects have lain there since the last call; the first time, since they were left."""
        found = []
        for one in self._known:
            from_ms = max(one.booked_ms, one.seen_ms - round(GONE_S * 1000)) if one.booked_ms else one.since_ms
            if from_ms < one.seen_ms:
                found.append(Lying(one.box, from_ms, one.seen_ms))
                one.booked_ms = one.seen_ms
        return found

    def checkpoint(self) -> bytes:
        """Return the objects as bytes: boxes, times, signatures of edges."""
        return msgspec.msgpack.encode(self._known)

    def restore(self, data: bytes) -> None:
        """Take up the objects of a checkpoint; the scenery itself is learnt anew, with them in it.

        Raises:
            BulkyRejectedError: Damaged.
        """
        try:
            known = msgspec.msgpack.decode(data, type=Annotated[list[_Known], Meta(max_length=OBJECTS_MAX)])
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of left objects is damaged; those still there are taken for scenery"
            raise BulkyRejectedError(message) from None
        self._known = [one for one in known if 0.0 <= one.box[0] < one.box[2] <= 1.0 and 0.0 <= one.box[1] < one.box[3]]

    def _edges_of(self, frame: RawFrame) -> Field:
        size = (SMALL_WIDTH, max(1, round(SMALL_WIDTH * frame.height / frame.width)))
        if size != self._size:
            self._size = size
            self._short = np.zeros((2, *size[::-1]), np.float32)
            self._long = np.zeros((2, *size[::-1]), np.float32)
            self._age = np.zeros(size[::-1], np.float32)
            self._watched_s = 0.0
        small = cv2.resize(frame.i420[: frame.height], size, interpolation=cv2.INTER_AREA)
        light = cv2.GaussianBlur(cv2.LUT(small, LOG_LUMA), (0, 0), 1.0)
        edges = np.empty((2, *size[::-1]), np.float32)
        cv2.Sobel(light, cv2.CV_32F, 1, 0, dst=edges[0], scale=1 / 8)
        cv2.Sobel(light, cv2.CV_32F, 0, 1, dst=edges[1], scale=1 / 8)
        return edges

    def _busy(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return where road users are, a tenth wider than their boxes."""
        busy = np.zeros(self._size[::-1], bool)
        width, height = self._size
        for x1, y1, x2, y2 in boxes.tolist():
            dx, dy = (x2 - x1) * 0.1, (y2 - y1) * 0.1
            left, top = max(0, int((x1 - dx) * width)), max(0, int((y1 - dy) * height))
            busy[top : int((y2 + dy) * height) + 2, left : int((x2 + dx) * width) + 2] = True
        return busy

    def _learn(self, edges: Field, busy: npt.NDArray[np.bool_], passed_s: float) -> None:
        """Follow the edges in both means, but not under road users, nor, in the long one, where something ages."""
        if self._watched_s == 0.0:
            self._short[:] = edges
            self._long[:] = edges
        self._watched_s += passed_s
        still = (~busy).astype(np.float32)
        self._short += (edges - self._short) * (still * _share(passed_s, SHORT_S))
        learning = self._watched_s < LEARNING_S
        settled = still if learning else still * (self._age < SHORT_S)
        rate = _share(passed_s, LEARNING_S / 4 if learning else LONG_S)
        new = self._new_edges()
        self._long += (self._short - self._long) * (settled * rate)
        if not learning:
            self._age += still * np.where(new, np.float32(passed_s), np.float32(-FORGET * passed_s))
            np.clip(self._age, 0.0, 2 * self._after_s, out=self._age)

    def _new_edges(self) -> npt.NDArray[np.bool_]:
        lacking = self._short - self._long
        length, lack = cv2.magnitude(*self._short), cv2.magnitude(*lacking)
        new: npt.NDArray[np.bool_] = (length > EDGE) & (lack > NEW * length) & (lack > EDGE)
        return new

    def _found(self, at_ms: int) -> list[LeftObject]:
        old = (self._age >= self._after_s).astype(np.uint8)
        if not old.any():
            return []
        closed = cv2.morphologyEx(old, cv2.MORPH_CLOSE, np.ones((CLOSE_PX, CLOSE_PX), np.uint8))
        _, _, blobs, _ = cv2.connectedComponentsWithStats(closed)
        told = []
        for x, y, w, h, _ in blobs[1:].tolist():
            new = self._object_in((x, y, x + w, y + h), old, at_ms)
            if new is not None and len(self._known) < OBJECTS_MAX:
                self._known.append(new)
                told.append(LeftObject(new.box, new.since_ms, at_ms, over=False))
        return told

    def _object_in(self, place: tuple[int, int, int, int], old: npt.NDArray[np.uint8], at_ms: int) -> _Known | None:
        width, height = self._size
        x1, y1, x2, y2 = place
        box = (x1 / width, y1 / height, x2 / width, y2 / height)
        aged = old[y1:y2, x1:x2] > 0
        sides = (x2 - x1, y2 - y1)
        fits = min(sides) >= SIDE_MIN * width and max(sides) <= SIDE_MAX * width and aged.mean() >= FILL_MIN
        if not fits or any(_meet(box, one.box) for one in self._known):
            return None
        if roundness_of(self._short[:, y1:y2, x1:x2][:, aged].T) < ROUND_MIN:
            return None
        aged_s = float(np.median(self._age[y1:y2, x1:x2][aged]))
        return _Known(box, at_ms - round(aged_s * 1000), at_ms, self._signature(box))

    def _gone(self, at_ms: int, busy: npt.NDArray[np.bool_], passed_s: float) -> list[LeftObject]:
        told, kept = [], []
        for one in self._known:
            x1, y1, x2, y2 = self._pixels(one.box)
            if busy[y1:y2, x1:x2].mean() > 1 / 4:
                kept.append(one)
                continue
            if _alike(one.signature, self._signature(one.box)) >= SAME:
                one.seen_ms, one.missing_s = at_ms, 0.0
            else:
                one.missing_s += passed_s
            if one.missing_s > GONE_S:
                # its outline has aged beyond its box too, and would be found as another object
                around = np.s_[..., max(0, y1 - CLOSE_PX) : y2 + CLOSE_PX, max(0, x1 - CLOSE_PX) : x2 + CLOSE_PX]
                self._age[around] = 0.0
                self._long[around] = self._short[around]
                told.append(LeftObject(one.box, one.since_ms, one.seen_ms, over=True))
            else:
                kept.append(one)
        self._known = kept
        return told

    def _pixels(self, box: Box) -> tuple[int, int, int, int]:
        width, height = self._size
        x1, y1 = int(box[0] * width), int(box[1] * height)
        return x1, y1, max(x1 + 1, round(box[2] * width)), max(y1 + 1, round(box[3] * height))

    def _signature(self, box: Box) -> bytes:
        """Return the edges of ``box`` on an 8 x 8 grid, direction and strength in 16 bits a cell: no picture."""
        x1, y1, x2, y2 = self._pixels(box)
        edges = self._short[:, y1:y2, x1:x2].transpose(1, 2, 0).copy()
        cells = cv2.resize(edges, (SIGNATURE, SIGNATURE), interpolation=cv2.INTER_AREA)
        scaled = np.clip(np.asarray(cells) * 400.0, -127, 127).astype(np.int8)
        return bytes(scaled.tobytes())


def roundness_of(gradients: Field) -> float:
    """Return the least over the greatest eigenvalue of the gradients' structure tensor, 0 (one direction) to 1.

    Args:
        gradients: float32, shape ``(n, 2)``.
    """
    least, greatest = np.linalg.eigvalsh(gradients.T @ gradients)
    return float(least / greatest) if greatest > 0 else 0.0


def _share(passed_s: float, constant_s: float) -> np.float32:
    return np.float32(1.0 - np.exp(-passed_s / constant_s))


def _alike(one: bytes, other: bytes) -> float:
    """Return the correlation of two signatures, -1..1."""
    first, second = (np.frombuffer(data, np.int8).astype(np.float32) for data in (one, other))
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths > 0 else 0.0


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
