"""Remember where somebody was, is and will be, so that one frame in which nobody is found uncovers nobody.

    boxes found, frame by frame ─▶ Hold ─▶ boxes to cover at a frame some frames back

        found ──▶ lost:  moves on and grows for HELD_FRAMES      (hold)
        not yet ──▶ found: moves back and grows for FOUND_AHEAD_FRAMES (back-fill: frames wait to be shown)
        found ──▶ lost ──▶ found: drawn between the two
        between two frames that are looked at: all that is covered in either, and the way from one to the other

Nothing of a picture is kept here. A path is boxes that follow each other; it decides how boxes move and never whether
they are covered: every box is, whether it follows another or not.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import areas_of, lies_within, overlaps
from veilleur_agent.eye.sightings import (
    STEP_MS_MAX,
    Box,
    Sighting,
    area_of,
    carried_on,
    drawn_between,
    grown_by,
    hull_of,
    reaches_edge,
    shift_of,
    speed_of,
)

Regions = npt.NDArray[np.float64]

HELD_FRAMES: Final = 5
"""Frames for which a box is still covered after nothing was found there."""
FOUND_AHEAD_FRAMES: Final = 5
"""Frames for which a box is covered before anything is found there."""
GAP_FRAMES: Final = HELD_FRAMES + FOUND_AHEAD_FRAMES
"""Frames apart that two sightings may be to belong together: everything between them is covered."""
DELAY_FRAMES: Final = 7
"""Frames that wait to be shown: those, and two more by which to tell how whoever is found moves."""
GROWTH: Final = 0.05
"""What a box that is not found grows by on each side with every frame, as a share of its size."""
FOLLOWED_OVERLAP: Final = 0.3
"""Overlap from which a box follows another."""
FOLLOWED_SIZES: Final = 1.0
"""The same for those that do not overlap enough: distance of the centres, in sizes."""
ALIKE: Final = 1.6
"""Ratio of sizes up to which a box may follow another by distance."""
SPEED_OVER: Final = 3
"""Sightings over which a speed is taken: boxes flicker by more than a person walks in one frame."""
WHOLLY: Final = 1.0 - 1e-6
"""Share of a box that lies in another one from which all of it does."""
STEADIED_FRAMES: Final = 2
"""Frames before and after from which a box at the edge of the frame is completed."""
SIZE_MIN: Final = 1e-6


@dataclass(slots=True)
class _Path:
    """Boxes that follow each other: position of the frame, its time, the box; bounded by what ``Hold`` still shows.

    Attributes:
        seen: Those, the oldest first.
        unexplained: Position of the last of them that nothing else covers, as far as it has been asked.
    """

    seen: deque[Sighting] = field(default_factory=lambda: deque(maxlen=HELD_FRAMES + DELAY_FRAMES + 1))
    unexplained: int = -1

    def is_explained(self, asked: int) -> bool:
        """Tell whether something else covers every box of it; none seen after the position ``asked`` is known to be."""
        return self.unexplained < self.seen[0][0] and self.seen[-1][0] <= asked

    def at(self, position: int, at_ms: int, growth: float) -> Box | None:
        """Return what to cover of it at a frame, None when it is too far from every sighting."""
        before = [one for one in self.seen if one[0] <= position]
        after = [one for one in self.seen if one[0] > position]
        if before and before[-1][0] == position:
            return self._steadied(before, after)
        since = position - before[-1][0] if before else GAP_FRAMES
        until = after[0][0] - position if after else GAP_FRAMES
        if before and after and since + until <= GAP_FRAMES:
            return grown_by(drawn_between(before[-1], after[0], at_ms), growth * min(since, until))
        if before and since <= HELD_FRAMES:
            return carried_on(before[-1], speed_of(before[-SPEED_OVER:]), at_ms, growth * since)
        if after and until <= FOUND_AHEAD_FRAMES:
            return carried_on(after[0], speed_of(after[:SPEED_OVER]), at_ms, growth * until)
        return None

    @staticmethod
    def _steadied(before: Sequence[Sighting], after: Sequence[Sighting]) -> Box:
        """Return the box of the last one of ``before``, and what its neighbours say of that moment with it.

        At the edge of the frame boxes are those of what is left of somebody: there, what was covered beside it in time
        is covered too.
        """
        box = before[-1][2]
        beside = [one[2] for one in (*before[-3:-1], *after[:2]) if abs(one[0] - before[-1][0]) <= STEADIED_FRAMES]
        if reaches_edge(box):
            return hull_of([box, *beside])
        if len(before) > 1 and after and after[0][0] - before[-2][0] == 2:  # noqa: PLR2004 - the frames beside it
            return hull_of([box, (before[-2][2] + after[0][2]) / 2])
        return box


class Hold:
    """What to cover of one camera's frames; remembers boxes of ``HELD_FRAMES + DELAY_FRAMES`` frames.

    Args:
        boxes_max: Most boxes taken from one frame; what is beyond it is the caller's to refuse.
        growth: What a box that is not found grows by on each side with every frame, as a share of its size.
        flicker: Area, as a share of the frame, under which a box that follows none and that none follows is left out.
    """

    def __init__(self, boxes_max: int, *, growth: float = GROWTH, flicker: float = 0.0) -> None:
        self._boxes_max = boxes_max
        self._growth = growth
        self._flicker = flicker
        self._paths: list[_Path] = []
        self._position = -1
        self._last_ms = 0
        self._follows_from = 0
        self._asked = -1

    def add(self, at_ms: int, found: Regions, *, is_cut: bool = False) -> None:
        """Take in the boxes of the next frame.

        Args:
            at_ms: Its time. More than ``STEP_MS_MAX`` after the last one, or not after it, is a cut.
            found: float64, shape ``(n, 4)``, ``x1, y1, x2, y2``, fractions of the frame, each with an area.
            is_cut: The frame shows another view: what was seen before is covered on, and nobody is followed from there.

        Raises:
            ValueError: More boxes than ``boxes_max``.
        """
        if len(found) > self._boxes_max:
            raise ValueError(f"{len(found)} boxes in one frame, more than {self._boxes_max}")
        self._position += 1
        if is_cut or not 0 < at_ms - self._last_ms <= STEP_MS_MAX:
            self._follows_from = self._position
        self._last_ms = at_ms
        oldest = self._position - HELD_FRAMES - DELAY_FRAMES
        self._paths = [path for path in self._paths if path.seen[-1][0] >= oldest]
        free = set(range(len(found)))
        for path, number in self._followed(at_ms, found):
            path.seen.append((self._position, at_ms, found[number]))
            free.discard(number)
        for number in sorted(free):
            path = _Path()
            path.seen.append((self._position, at_ms, found[number]))
            self._paths.append(path)

    def at(self, back: int, at_ms: int) -> Regions:
        """Return what to cover at an earlier frame.

        Args:
            back: How many frames before the last one added, 0 to ``DELAY_FRAMES``.
            at_ms: Its time.

        Returns:
            float64, shape ``(n, 4)``; may reach over the edges of the frame.
        """
        covered = (path.at(self._position - back, at_ms, self._growth) for path in self._told())
        return np.array([box for box in covered if box is not None], np.float64).reshape(-1, 4)

    def explain(self, back: int, other: "Hold", before_ms: int, at_ms: int) -> None:
        """Learn where another hold covers what was found here; a path all of whose boxes it covers is no longer told.

        Args:
            back: How many frames before the last one added; the same every time, and asked after every frame added.
            other: Given the same frames.
            before_ms: Time of the frame before that one.
            at_ms: And of that one.
        """
        self._asked = self._position - back
        here = [(path, one[2]) for path in self._paths for one in path.seen if one[0] == self._asked]
        if not here:
            return
        covers = other.throughout(back, before_ms, at_ms)
        within = lies_within(np.array([box for _, box in here]), covers, WHOLLY)
        for (path, _), by_each in zip(here, within, strict=True):
            if not by_each.any():
                path.unexplained = self._asked

    def throughout(self, back: int, before_ms: int, at_ms: int) -> Regions:
        """Return what of those found before and found again covers an earlier frame and all between it and the last.

        Who is between two sightings at a frame is covered ``FOUND_AHEAD_FRAMES`` before and ``HELD_FRAMES`` after it.

        Args:
            back: How many frames before the last one added.
            before_ms: Time of the frame before that one; there may be others between them.
            at_ms: Time of that one.

        Returns:
            float64, shape ``(n, 4)``; a frame counts as between two sightings if it is one itself.
        """
        position = self._position - back
        ends = [
            (path, path.at(position - 1, before_ms, self._growth), path.at(position, at_ms, self._growth))
            for path in self._told()
            if path.seen[0][0] <= position <= path.seen[-1][0]
        ]
        covered = [_common(path, position, first, then) for path, first, then in ends]
        return np.array([box for box in covered if box is not None], np.float64).reshape(-1, 4)

    def between(self, back: int, at_ms: int, before_ms: int, after_ms: int) -> Regions:
        """Return what to cover of a frame that lies between an earlier one and the one that was added after it.

        Args:
            back: How many frames before the last one added the earlier one is, 1 to ``DELAY_FRAMES``.
            at_ms: Time of the frame.
            before_ms: Time of the earlier one.
            after_ms: Time of the one after it.

        Returns:
            float64, shape ``(n, 4)``: each box found in either frame lies in one of these.
        """
        position, share = self._position - back, (at_ms - before_ms) / (after_ms - before_ms)
        ends = [
            (path, path.at(position, before_ms, self._growth), path.at(position + 1, after_ms, self._growth))
            for path in self._told()
        ]
        covered = [_spanned(path, position, first, then, share) for path, first, then in ends]
        return np.array([box for box in covered if box is not None], np.float64).reshape(-1, 4)

    def _told(self) -> list[_Path]:
        own = [path for path in self._paths if not path.is_explained(self._asked)]
        return [path for path in own if len(path.seen) > 1 or area_of(path.seen[0][2]) >= self._flicker]

    def _followed(self, at_ms: int, found: Regions) -> list[tuple[_Path, int]]:
        """Pair paths with the boxes that follow them, the likeliest first, each once."""
        oldest = max(self._follows_from, self._position - GAP_FRAMES)
        alive = [path for path in self._paths if path.seen[-1][0] >= oldest]
        if not alive or not len(found):
            return []
        expected = np.array([_moved(path, at_ms) for path in alive])
        likeness = _likeness_of(expected, found)
        pairs: list[tuple[_Path, int]] = []
        taken_paths, taken_boxes = set[int](), set[int]()
        for flat in np.argsort(-likeness, axis=None, kind="stable").tolist():
            one, other = divmod(flat, len(found))
            if likeness[one, other] <= 0.0:
                break
            if one not in taken_paths and other not in taken_boxes:
                taken_paths.add(one)
                taken_boxes.add(other)
                pairs.append((alive[one], other))
        return pairs


def _spanned(path: _Path, position: int, first: Box | None, then: Box | None, share: float) -> Box | None:
    """Return what covers somebody between two frames: all of both and of the way where they were found in either.

    Found in neither, they are where time has them, as in a frame in which they were not found.
    """
    is_found = any(one[0] in (position, position + 1) for one in path.seen)
    if first is None or then is None:
        return (then if first is None else first) if is_found else None
    return hull_of([first, then]) if is_found else first + (then - first) * share


def _common(path: _Path, position: int, first: Box | None, then: Box | None) -> Box | None:
    """Return what of ``then`` is covered on all the way from ``first``, as ``_spanned`` has it."""
    if then is None or any(one[0] in (position - 1, position) for one in path.seen):
        return then
    if first is None:
        return None
    return np.concatenate([np.maximum(first[:2], then[:2]), np.minimum(first[2:], then[2:])])


def _likeness_of(expected: Regions, found: Regions) -> Regions:
    """How likely each box follows each expected one: 1-2 by overlap, 0-1 by distance, 0 not at all."""
    shared = overlaps(expected, found)
    sizes, others = np.sqrt(areas_of(expected))[:, None], np.sqrt(areas_of(found))[None, :]
    apart = np.linalg.norm(_centres(expected)[:, None, :] - _centres(found)[None, :, :], axis=2)
    near = 1.0 - apart / (FOLLOWED_SIZES * np.maximum(sizes, SIZE_MIN))
    alike = np.maximum(sizes, others) <= ALIKE * np.minimum(sizes, others)
    likeness: Regions = np.where(shared >= FOLLOWED_OVERLAP, 1.0 + shared, np.where(alike, near, 0.0))
    return likeness


def _moved(path: _Path, at_ms: int) -> Box:
    _, seen_ms, box = path.seen[-1]
    return box + shift_of(box, speed_of(list(path.seen)[-SPEED_OVER:]), at_ms - seen_ms)


def _centres(boxes: Regions) -> Regions:
    centres: Regions = (boxes[:, :2] + boxes[:, 2:]) / 2
    return centres
