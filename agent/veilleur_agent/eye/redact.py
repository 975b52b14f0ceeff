"""Make a frame in which nobody and no plate can be recognised: the only place where a ``RedactedFrame`` is made.

    RawFrame, what each detector found, what moves ─▶ regions ─▶ Hold ─┐ (what was, is and will be found)
        ╎                                                              ▼
        └──▶ DELAY_FRAMES looks wait ──────────────────▶ dilated ─▶ constant fill ─▶ self-check ─▶ RedactedFrame
                                                                       any doubt ─▶ all of it filled ─┘
    frames passed over between two looks: what moves in them is watched, the networks do not look; all that is covered
    at the look before, at the look after and on the way from one to the other is filled

Filled, never blurred: attackers trained on redacted digits read most of them through a mosaic or a Gaussian, and guess
as blindly as chance at a constant fill (``benchmarks/attack.py``). One colour for all, so that not even the mean of
what was there remains.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.hold import DELAY_FRAMES, FOUND_AHEAD_FRAMES, Hold
from veilleur_agent.eye.movers import Movers
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, Pixels, RawFrame, RedactedFrame
from veilleur_agent.eye.targets import Cells, Regions, cells_of, dilated_of, reaching_edges, regions_of
from veilleur_contracts.errors import RejectedError, TransientError

Check = Callable[[RawFrame], Detections]
"""Looks for faces, or whatever must not be there, in a picture; raises what a detector raises."""
Readable = Callable[[RawFrame], bool]
"""Tells whether a picture shows enough for a detector to be believed when it finds nobody."""

FILL: Final = (126, 128, 128)
"""Y, U, V of middle grey in limited range (ITU-R BT.601)."""
CHECKED_EVERY: Final = 10
"""One frame in so many is looked at again when it is filled; every other time one sooner: frames passed over have their
turn too where they are every second one."""
LOOKS_APART_MS: Final = 250
"""Most time between two looks for the frames between to be believed: the 200 ms at which a box looks, and jitter."""
PASSED_OVER_MAX: Final = 15
"""Frames between two looks: a camera gives no more than 60 a second."""
NOTHING_LEFT: Final = 0.9
"""Filled share of a box from which what a self-check finds there is the fill itself: nothing else is left to see."""
EXPLAINED_AFTER: Final = DELAY_FRAMES - FOUND_AHEAD_FRAMES
"""Looks after which it is asked whether what moved was somebody who had been found before and was found again: it must
be known before it is first filled, back in time."""
REGIONS_MAX: Final = 256
"""More regions than that is no street: the whole frame is filled."""
FLICKER: Final = 0.0005
"""Share of the frame under which what moves in one frame alone is noise; who is too fast to be followed is larger."""


class Doubt(Enum):
    """Why a whole frame was filled."""

    UNSEEN = "no detections to trust: late, failed, or of another frame"
    CROWDED = "more regions than any street shows"
    UNFOLLOWED = "too few looks to trust after it to know who was there already"
    UNREADABLE = "dark, covered or flat: nobody could be found in it"
    EXPOSED = "the self-check found somebody in what was to be shown"
    UNCHECKED = "the self-check failed"


BLIND: Final = (Doubt.UNSEEN, Doubt.UNREADABLE)
"""Of a frame in which nobody could have been found: it uses up nothing of the time for which those before are held."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame that waits.

    Attributes:
        frame: As it came.
        doubt: Why all of it is filled.
        turn: Looks taken in until it came, blind ones too.
        seen: The same without the blind ones.
        is_kept: It will be kept as a still.
        before_ms: Of a frame passed over: time of the look before it.
        after_ms: And of the look after it; None of a frame that was looked at.
    """

    frame: RawFrame
    doubt: Doubt | None
    turn: int
    seen: int
    is_kept: bool = False
    before_ms: int = 0
    after_ms: int | None = None


class Redactor:
    """Fills the frames of one camera; holds those of ``DELAY_FRAMES`` looks, and where somebody was lately.

    Args:
        check: Looks at what is about to be shown: one frame in ``CHECKED_EVERY``, every kept one, and after it found
            something every frame until it finds nothing.
        readable: Asked about every frame; one that is not readable is filled whole.

    Attributes:
        shown: Frames handed out.
        doubts: Whole frames filled, by reason.
        checked: Frames looked at again.
    """

    def __init__(self, check: Check, readable: Readable) -> None:
        self.shown = 0
        self.checked = 0
        self.doubts: Counter[Doubt] = Counter()
        self._check = check
        self._readable = readable
        self._hold = Hold(REGIONS_MAX)
        self._movers = Movers()
        self._moving = Hold(REGIONS_MAX, growth=0.0, flicker=FLICKER)
        self._seen_ms: deque[int] = deque(maxlen=EXPLAINED_AFTER + 2)
        self._waiting: deque[_Waiting] = deque()
        self._passed_over: list[RawFrame] = []
        self._looked: _Waiting | None = None
        self._covered = np.empty((0, 4))
        self._turn = 0
        self._seen = 0
        self._shape: tuple[int, ...] = ()
        self._to_check = 0

    def redact(
        self, frame: RawFrame, found: Sequence[Detections | None], *, is_kept: bool = False
    ) -> list[RedactedFrame]:
        """Take in a frame that was looked at; return what is due, with everybody and every plate filled.

        Args:
            frame: Left as it is; frames come in their order, and none is left out.
            found: By each detector in this very frame, down to its threshold of redaction; what any of them found is
                filled. None for one that cannot be trusted (late, failed, of another frame): then all is filled.
            is_kept: It will be kept as a still: it is looked at again whatever its number.

        Returns:
            The frame looked at ``DELAY_FRAMES`` looks ago, and those passed over until the next look; nothing at first.
        """
        regions, doubt = self._taken(frame, found)
        is_cut = frame.i420.shape != self._shape
        self._shape = frame.i420.shape
        if doubt not in BLIND:
            self._seen += 1
            self._hold.add(frame.at_ms, reaching_edges(dilated_of(regions)), is_cut=is_cut)
        self._covered = self._hold.at(0, frame.at_ms)
        moving = self._movers.find(frame, self._covered)
        if doubt not in BLIND:
            self._moving.add(frame.at_ms, _bounded(reaching_edges(dilated_of(moving))), is_cut=is_cut)
            self._explain(frame.at_ms)
        self._turn += 1
        looked = _Waiting(frame, doubt, self._turn, self._seen, is_kept)
        self._settle(looked)
        self._waiting.append(looked)
        self._looked = looked
        due = sum(one.turn <= self._turn - DELAY_FRAMES for one in self._waiting)
        return [self._shown() for _ in range(due)]

    def pass_over(self, frame: RawFrame) -> list[RedactedFrame]:
        """Take in a frame that nobody looks at, because one just before it was and one soon after it will be.

        It is shown only if those two looks can be trusted and lie ``LOOKS_APART_MS`` apart at most; else it is filled
        whole. One that comes too late after a look is itself a frame that nobody could have been found in.

        Args:
            frame: As for ``redact``.

        Returns:
            As ``redact``; nothing, unless it came too late.
        """
        before = self._looked
        too_late = before is None or frame.at_ms - before.frame.at_ms >= LOOKS_APART_MS
        if too_late or len(self._passed_over) == PASSED_OVER_MAX:
            return self.redact(frame, ())
        self._movers.pass_over(frame, self._covered)
        self._passed_over.append(frame)
        return []

    def close(self) -> list[RedactedFrame]:
        """Return the frames that still wait, at the end of a stream; no look comes after the last ones passed over."""
        self._settle(None)
        return [self._shown() for _ in range(len(self._waiting))]

    def _explain(self, at_ms: int) -> None:
        """Leave out of what moves whoever is known by now to have been covered there, between two sightings."""
        self._seen_ms.append(at_ms)
        if len(self._seen_ms) == self._seen_ms.maxlen:
            before_ms, then_ms, *_ = self._seen_ms
            self._moving.explain(EXPLAINED_AFTER, self._hold, before_ms, then_ms)

    def _settle(self, after: _Waiting | None) -> None:
        """Queue the frames passed over, now that it is known what was found after them."""
        before = self._looked
        if before is not None:
            self._waiting += [_settled(frame, before, after) for frame in self._passed_over]
        self._passed_over.clear()

    def _taken(self, frame: RawFrame, found: Sequence[Detections | None]) -> tuple[Regions, Doubt | None]:
        trusted = [one for one in found if one is not None and _is_sound(one)]
        regions = np.concatenate([np.empty((0, 4)), *(regions_of(one) for one in trusted)])
        if not found or len(trusted) < len(found):
            return regions, Doubt.UNSEEN
        if not self._readable(frame):
            return regions, Doubt.UNREADABLE
        return _bounded(regions), Doubt.CROWDED if len(regions) > REGIONS_MAX else None

    def _shown(self) -> RedactedFrame:
        waiting = self._waiting.popleft()
        frame, doubt, back = waiting.frame, waiting.doubt, self._seen - waiting.seen
        if back < FOUND_AHEAD_FRAMES and self._turn - waiting.turn >= DELAY_FRAMES:
            doubt = doubt or Doubt.UNFOLLOWED
        i420 = frame.i420.copy()
        if doubt is None:
            regions = np.concatenate([_covered_at(waiting, hold, back) for hold in (self._hold, self._moving)])
            filled = fill(i420, cells_of(regions, frame.width // 2, frame.height // 2))
            doubt = self._checked(frame, i420, filled, is_kept=waiting.is_kept)
        if doubt is not None:
            self.doubts[doubt] += 1
            filled = fill(i420, np.array([[0, 0, frame.width // 2, frame.height // 2]]))
        self.shown += 1
        return RedactedFrame(frame.camera, frame.number, frame.at_ms, i420, float(filled.mean()))

    def _checked(self, frame: RawFrame, i420: Pixels, filled: npt.NDArray[np.bool_], *, is_kept: bool) -> Doubt | None:
        """Look at what is about to be shown, when it is its turn; return what speaks against showing it."""
        self._to_check -= 1
        if self._to_check > 0 and not is_kept:
            return None
        self.checked += 1
        self._to_check = 0
        try:
            left = self._check(RawFrame(frame.camera, frame.number, frame.at_ms, i420))
        except (TransientError, RejectedError):
            return Doubt.UNCHECKED
        if _is_any_visible(left, filled):
            return Doubt.EXPOSED
        self._to_check = CHECKED_EVERY - self.checked % 2
        return None


def _settled(frame: RawFrame, before: _Waiting, after: _Waiting | None) -> _Waiting:
    """Return a frame passed over with what its two looks let it be believed."""
    looks = [before, *([] if after is None else [after])]
    doubts = [look.doubt for look in looks if look.doubt is not None]
    first_ms, last_ms = before.frame.at_ms, looks[-1].frame.at_ms
    is_between = first_ms <= frame.at_ms <= last_ms and 0 < last_ms - first_ms <= LOOKS_APART_MS
    is_alike = all(look.frame.i420.shape == frame.i420.shape for look in looks)
    doubt = doubts[0] if doubts else None if is_between and is_alike else Doubt.UNSEEN
    return _Waiting(frame, doubt, before.turn, before.seen, before_ms=first_ms, after_ms=last_ms)


def _covered_at(waiting: _Waiting, hold: Hold, back: int) -> Regions:
    if waiting.after_ms is None:
        return hold.at(back, waiting.frame.at_ms)
    return hold.between(back, waiting.frame.at_ms, waiting.before_ms, waiting.after_ms)


def fill(i420: Pixels, cells: Cells, colour: tuple[int, int, int] = FILL) -> npt.NDArray[np.bool_]:
    """Write one colour over all of ``cells``, in all three planes, so that nothing of what was there remains.

    Args:
        i420: Written to.
        cells: As ``targets.cells_of`` returns them.
        colour: Y, U, V. Boxes fill with ``FILL`` alone; the attack test tries others.

    Returns:
        Which cells are filled, bool, shape ``(height / 2, width / 2)``.
    """
    planes = planes_of(i420)
    filled = np.zeros(planes[1].shape, np.bool_)
    for left, top, right, bottom in cells.tolist():
        filled[top:bottom, left:right] = True
        for plane, value, part in zip(planes, colour, (2, 1, 1), strict=True):
            plane[top * part : bottom * part, left * part : right * part] = value
    return filled


def _bounded(regions: Regions) -> Regions:
    """Return no more than ``REGIONS_MAX`` regions that cover all of ``regions``: the last one covers what is beyond."""
    if len(regions) <= REGIONS_MAX:
        return regions
    rest = regions[REGIONS_MAX - 1 :]
    return np.concatenate([regions[: REGIONS_MAX - 1], [[*rest[:, :2].min(axis=0), *rest[:, 2:].max(axis=0)]]])


def _is_sound(found: Detections) -> bool:
    """Tell whether what a detector found can be boxes at all: finite, and no corner on the wrong side of the other."""
    return bool(np.isfinite(found.boxes).all() and (found.boxes[:, 2:] >= found.boxes[:, :2]).all())


def _is_any_visible(left: Detections, filled: npt.NDArray[np.bool_]) -> bool:
    """Tell whether a self-check found something that is not the fill itself."""
    if not _is_sound(left):
        return True
    rows, columns = filled.shape
    parts = (
        filled[top:bottom, left:right]
        for left, top, right, bottom in cells_of(left.boxes.astype(np.float64), columns, rows).tolist()
    )
    return any(part.size and part.mean() < NOTHING_LEFT for part in parts)
