"""Follow road users from frame to frame: detections in, tracks out, nothing kept of those who left.

    Detections ─▶ riders ─▶ high scores ─▶ by overlap ──┐
                                low scores ─▶ by overlap ─┼─▶ Kalman ─▶ votes ─▶ Tracks
                               high scores ─▶ by distance ┘      ▲
                                             left over ─▶ births │ ends: unseen 2 s, or out of the picture

Two-stage association after ByteTrack (Zhang et al., 2022): what the detector is unsure of may continue a track, never
start one. The last stage is for low frame rates, where a small fast object's boxes no longer overlap.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.assign import assign, assign_pairs
from veilleur_agent.eye.boxes import Boxes, centred_of, corners_of, lies_within, overlaps, sizes_of, touching
from veilleur_agent.eye.kalman import Motion
from veilleur_agent.eye.records import Detections, Tracks
from veilleur_agent.eye.riders import FAMILY, TWICE, Candidates, candidates_of
from veilleur_agent.eye.roster import ID_BITS, empty_roster, roster_of
from veilleur_contracts.messages import Label

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

FASTEST: Final = np.array([2.0, 3.0, 4.0])
"""Sigma of speed at birth, sizes per second, by family: runner 5 m/s, cyclist 8 m/s, car 15 m/s in their sizes."""
SIGMAS: Final = 2.5
NEAREST: Final = 1.0
FARTHEST: Final = 2.5
FARTHEST_LOST: Final = 1.0
"""Radius of the gate by distance, in sizes: at least, at most, and at most for one lost, which could be anyone."""
UNLIKE: Final = 0.1
"""Cost of another label, and of each second unseen: decides between equals, forbids nothing."""
ALONE: Final = 0.9
ALIKE: Final = (0.6, 1.6)
"""Ratio of sizes within which two boxes may be one object seen twice: a third hidden, or a step nearer."""
PARKED_MS: Final = 1000
PART: Final = 0.85
"""Share of a box inside that of somebody just seen past which it is their head, their coat or their wheel; whoever is
really behind them is found where they show."""
IS_HEAVY: Final = FAMILY[Label.CAR] == FAMILY
_NOBODY: Final = np.empty(0, np.intp)
_NO_BOXES: Final = np.empty((0, 4))


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """What decides when an object is followed, told and forgotten.

    Attributes:
        count_score: Least score that starts a track; from the model's card.
        hits_to_confirm: Sightings before a track is told, two of them at ``count_score``.
        tentative_ms: A track not yet told ends when unseen longer.
        recent_ms: Low scores continue only tracks seen within it.
        lost_ms: A told track ends when unseen longer; until then it is predicted.
        life_ms: Longest life of an id; the object then goes on under a new one.
        tracks_max: Most objects followed at once; beyond it the surest are.
        overlap_high: Least overlap that pairs a sure detection with a track.
        overlap_low: The same for an unsure one.
        moved_sizes: Way, in object sizes, after which an object has moved.
    """

    count_score: float = 0.4
    hits_to_confirm: int = 3
    tentative_ms: int = 450
    recent_ms: int = 500
    lost_ms: int = 2000
    life_ms: int = 300_000
    tracks_max: int = 256
    overlap_high: float = 0.2
    overlap_low: float = 0.4
    moved_sizes: float = 0.5


class Tracker:
    """Follows the road users of one camera; holds at most ``tracks_max`` objects, in memory only.

    Args:
        aspect: Width of the frame over its height.
        settings: When an object is followed, told and forgotten.
    """

    def __init__(self, aspect: float, settings: TrackSettings | None = None) -> None:
        self._stretch = np.array([aspect, 1.0, aspect, 1.0])
        self._settings = settings or TrackSettings()
        self._at_ms = 0
        self._motion = Motion()
        self._roster = empty_roster()

    def update(self, detections: Detections, at_ms: int) -> Tracks:
        """Take in the detections of one frame.

        Args:
            detections: Everything found, down to the threshold of redaction.
            at_ms: Time of the frame, UTC milliseconds; when it goes back, everybody is forgotten.

        Returns:
            The objects told so far, those seen in this frame and those predicted to be still there.
        """
        step_ms = at_ms - self._at_ms
        if not 0 <= step_ms <= self._settings.lost_ms:
            self._motion, self._roster = Motion(), empty_roster()
            step_ms = 0
        self._at_ms = at_ms
        self._motion.predict(step_ms / 1000, self._roster.seen_ms < at_ms - step_ms)
        found = self._candidates(detections)
        rows, columns = self._pair(found)
        self._continue(rows, found.chosen(columns))
        self._end()
        free = np.ones(len(found), np.bool_)
        free[columns] = False
        self._give_birth(found, free)
        return self._told()

    def _candidates(self, detections: Detections) -> Candidates:
        boxes, scores, labels = (
            detections.boxes * self._stretch,
            detections.scores.astype(np.float64),
            detections.labels,
        )
        sides = boxes[:, 2:] - boxes[:, :2]
        whole = ((sides > 0) & np.isfinite(sides)).all(axis=1) & np.isfinite(scores)
        if not whole.all():
            boxes, scores, labels = boxes[whole], scores[whole], labels[whole]
        return candidates_of(boxes, scores, labels, self._parked())

    def _parked(self) -> Boxes:
        """Return the boxes of two-wheelers that stand without a rider."""
        roster = self._roster
        wheels = (~roster.moved & (FAMILY[roster.labels] == 1)).nonzero()[0]
        if not wheels.size:
            return _NO_BOXES
        stands = self._at_ms - roster.born_ms[wheels] >= PARKED_MS
        stands &= 3 * roster.ridden_hits[wheels] < roster.hits[wheels]
        return corners_of(self._motion.position[wheels[stands]])

    def _pair(self, found: Candidates) -> tuple[Places, Places]:
        """Return the rows of the tracks that go on and the columns of ``found`` they go on with, in three stages."""
        settings, roster = self._settings, self._roster
        if not len(roster.ids) or not len(found):
            return _NOBODY, _NOBODY
        sure, alone = found.scores >= settings.count_score, np.ones(len(roster.ids), np.bool_)
        rows, columns, shared = touching(corners_of(self._motion.position), found.boxes)
        costs = 1.0 - shared + self._unlike(found, rows, columns)
        likely = sure[columns] & (shared >= settings.overlap_high)
        first = assign_pairs(rows[likely], columns[likely], costs[likely], ALONE)
        alone[first[0]] = False
        likely = ~sure[columns] & (shared >= settings.overlap_low) & alone[rows]
        likely &= self._at_ms - roster.seen_ms[rows] <= settings.recent_ms
        second = assign_pairs(rows[likely], columns[likely], costs[likely], ALONE)
        alone[second[0]] = sure[first[1]] = False
        third = self._pair_by_distance(found, alone.nonzero()[0], sure.nonzero()[0])
        paired_rows, paired_columns = zip(first, second, third, strict=True)
        return np.concatenate(paired_rows), np.concatenate(paired_columns)

    def _pair_by_distance(self, found: Candidates, rows: Places, columns: Places) -> tuple[Places, Places]:
        """Pair the tracks ``rows`` with the detections ``columns`` that lie near, whether or not they overlap."""
        if not rows.size or not columns.size:
            return _NOBODY, _NOBODY
        costs = 0.8 * self._distances(found, rows, columns) + self._unlike(found, rows[:, None], columns)
        chosen, theirs = assign(costs, ALONE)
        return rows[chosen], columns[theirs]

    def _unlike(self, found: Candidates, rows: Places, columns: Places) -> Floats:
        """Return what is added to the cost of pairs: inf between a motor vehicle and anything else."""
        labels, theirs = self._roster.labels[rows], found.labels[columns]
        unseen_s = (self._at_ms - self._roster.seen_ms[rows]) / 1000
        costs: Floats = UNLIKE * (labels != theirs) + UNLIKE * unseen_s
        return np.where(IS_HEAVY[labels] == IS_HEAVY[theirs], costs, np.inf)

    def _distances(self, found: Candidates, rows: Places, columns: Places) -> Floats:
        """Return the distance of each pair as a share of the gate, inf beyond it or when sizes differ too much."""
        position, boxes = self._motion.position[rows], centred_of(found.boxes[columns])
        size, size_found = sizes_of(position), sizes_of(boxes)
        lost = self._at_ms - self._roster.seen_ms[rows] > self._settings.recent_ms
        gate = np.maximum(SIGMAS * self._motion.reach(rows), NEAREST * size)
        gate = np.minimum(gate, np.where(lost, FARTHEST_LOST, FARTHEST) * size)
        apart = np.linalg.norm(position[:, None, :2] - boxes[:, :2], axis=2) / gate[:, None]
        ratio = size_found / size[:, None]
        return np.where((apart < 1.0) & (ratio > ALIKE[0]) & (ratio < ALIKE[1]), apart, np.inf)

    def _continue(self, rows: Places, seen: Candidates) -> None:
        """Let the tracks ``rows`` go on with what is ``seen`` of each."""
        if not rows.size:
            return
        settings, roster = self._settings, self._roster
        self._motion.correct(rows, centred_of(seen.boxes))
        roster.votes[rows, seen.labels] += seen.weights
        roster.labels[rows] = roster.votes.take(rows, axis=0).argmax(axis=1)
        roster.hits[rows] += 1
        roster.sure_hits[rows] += seen.scores >= settings.count_score
        roster.ridden_hits[rows] += seen.ridden
        roster.seen_ms[rows] = self._at_ms
        still = rows[~roster.moved[rows]]
        if still.size:
            position = self._motion.position[still]
            way = np.linalg.norm(position[:, :2] - roster.origin[still], axis=1)
            roster.moved[still] = way > settings.moved_sizes * sizes_of(position)
        roster.told[rows] |= (roster.hits[rows] >= settings.hits_to_confirm) & (roster.sure_hits[rows] > 1)

    def _end(self) -> None:
        """End the tracks unseen too long or gone from the picture, and renew ids that have lived long enough."""
        settings, roster = self._settings, self._roster
        unseen_ms = self._at_ms - roster.seen_ms
        if unseen_ms.any():
            centre = self._motion.position[:, :2]
            inside = ((centre >= 0.0) & (centre <= self._stretch[:2])).all(axis=1)
            kept = unseen_ms <= np.where(roster.told, settings.lost_ms, settings.tentative_ms)
            kept &= inside | (unseen_ms == 0)
            if not kept.all():
                roster.keep(kept)
                self._motion.keep(kept)
        for row in (self._at_ms - roster.born_ms >= settings.life_ms).nonzero()[0].tolist():
            roster.ids[row] = secrets.randbits(ID_BITS)
            roster.born_ms[row] = self._at_ms
            roster.born[row] = corners_of(self._motion.position[row : row + 1])[0]
            roster.origin[row] = self._motion.position[row, :2]

    def _give_birth(self, found: Candidates, free: Mask) -> None:
        """Start tracks from sure detections left over, and from any two-wheeler, so that parked ones are known."""
        settings, roster = self._settings, self._roster
        wanted = free & ((found.scores >= settings.count_score) | (FAMILY[found.labels] == 1))
        places = wanted.nonzero()[0]
        room = settings.tracks_max - len(roster.ids)
        if not places.size or room <= 0:
            return
        places = places[~self._is_known(found.chosen(places))]
        places = places[np.argsort(-found.scores[places], kind="stable")][:room]
        born = found.chosen(places)
        self._motion.append(centred_of(born.boxes), FASTEST[FAMILY[born.labels]])
        self._roster.append(roster_of(born, self._at_ms, settings.count_score))

    def _is_known(self, found: Candidates) -> Mask:
        """Tell who is, or is a part of, somebody else of this very frame; a car before a bus is no part of it."""
        here = self._roster.seen_ms == self._at_ms
        theirs = corners_of(self._motion.position[here])
        family, ours = FAMILY[self._roster.labels[here]], FAMILY[found.labels]
        known = (overlaps(found.boxes, theirs) > TWICE) & (ours[:, None] == family[None, :])
        everybody, families = np.concatenate([theirs, found.boxes]), np.concatenate([family, ours])
        parts = lies_within(found.boxes, everybody, PART) & (ours[:, None] <= families) & (families < FAMILY[Label.CAR])
        np.fill_diagonal(parts[:, len(theirs) :], val=False)
        whole: Mask = known.any(axis=1) | parts.any(axis=1)
        return whole

    def _told(self) -> Tracks:
        roster, told = self._roster, self._roster.told.nonzero()[0]
        return Tracks(
            ids=roster.ids[told],
            boxes=(corners_of(self._motion.position.take(told, axis=0)) / self._stretch).astype(np.float32),
            labels=roster.labels[told],
            seen=roster.seen_ms[told] == self._at_ms,
            moved=roster.moved[told],
            born_boxes=(roster.born.take(told, axis=0) / self._stretch).astype(np.float32),
            born_ms=roster.born_ms[told],
        )
