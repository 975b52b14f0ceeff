"""Follow road users from frame to frame: detections in, tracks out, nothing kept of those who left.

    Detections ─▶ riders ─▶ high scores ─▶ by overlap ──┐
                                low scores ─▶ by overlap ─┼─▶ Kalman ─▶ votes ─▶ Tracks
                               high scores ─▶ by distance ┘      ▲
                                             left over ─▶ births │ ends: unseen 2 s, or out of the picture

Two-stage association after ByteTrack (Zhang et al., 2022): what the detector is unsure of may continue a track, never
start one. The last stage is for low frame rates, where a small fast object's boxes no longer overlap.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.assign import assign
from veilleur_agent.eye.boxes import Boxes, centred_of, corners_of, lies_within, overlaps, sizes_of
from veilleur_agent.eye.kalman import Motion
from veilleur_agent.eye.records import Detections, Tracks
from veilleur_agent.eye.riders import FAMILY, TWICE, Candidates, candidates_of
from veilleur_agent.eye.rows import Rows
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
ID_BITS: Final = 63


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


@dataclass(slots=True)
class _Roster(Rows):
    """What is known of each object besides its motion; arrays of one length, bounded by ``tracks_max``."""

    ids: npt.NDArray[np.int64]
    votes: Floats
    hits: npt.NDArray[np.int64]
    sure_hits: npt.NDArray[np.int64]
    ridden_hits: npt.NDArray[np.int64]
    born_ms: npt.NDArray[np.int64]
    seen_ms: npt.NDArray[np.int64]
    born: Floats
    origin: Floats
    moved: Mask
    told: Mask


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
        self._roster = _empty_roster()

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
            self._motion, self._roster = Motion(), _empty_roster()
            step_ms = 0
        self._at_ms = at_ms
        self._motion.predict(step_ms / 1000, self._roster.seen_ms < at_ms - step_ms)
        found = self._candidates(detections)
        free = np.ones(len(found), np.bool_)
        for rows, columns in self._pairings(found, free):
            self._continue(rows, columns, found)
        self._end()
        self._give_birth(found, free)
        return self._told()

    def _candidates(self, detections: Detections) -> Candidates:
        boxes = detections.boxes.astype(np.float64) * self._stretch
        scores = detections.scores.astype(np.float64)
        whole = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
        whole &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return candidates_of(boxes[whole], scores[whole], detections.labels[whole], self._parked())

    def _parked(self) -> Boxes:
        """Return the boxes of two-wheelers that stand without a rider."""
        roster = self._roster
        stands = ~roster.moved & (self._at_ms - roster.born_ms >= PARKED_MS) & (3 * roster.ridden_hits < roster.hits)
        stands &= FAMILY[roster.votes.argmax(axis=1)] == 1
        return corners_of(self._motion.position[stands])

    def _pairings(self, found: Candidates, free: Mask) -> Iterator[tuple[Places, Places]]:
        """Yield the rows and columns paired in each stage; marks in ``free`` the detections that remain."""
        settings, roster = self._settings, self._roster
        alone = np.ones(len(roster.ids), np.bool_)
        if not len(alone) or not len(found):
            return
        unseen_ms = self._at_ms - roster.seen_ms
        likely = self._likelihoods(found, unseen_ms)
        sure = found.scores >= settings.count_score
        shared = overlaps(corners_of(self._motion.position), found.boxes)
        recent = unseen_ms <= settings.recent_ms
        apart = self._distances(found, unseen_ms)
        stages = (
            (np.where(shared >= settings.overlap_high, 1.0 - shared, np.inf), alone, sure),
            (np.where(shared >= settings.overlap_low, 1.0 - shared, np.inf), recent, ~sure),
            (apart, alone, sure),
        )
        for costs, tracks, wanted in stages:
            rows, columns = np.flatnonzero(tracks & alone), np.flatnonzero(wanted & free)
            place = np.ix_(rows, columns)
            chosen, theirs = assign(costs[place] + likely[place], ALONE)
            rows, columns = rows[chosen], columns[theirs]
            alone[rows] = free[columns] = False
            yield rows, columns

    def _likelihoods(self, found: Candidates, unseen_ms: npt.NDArray[np.int64]) -> Floats:
        """Return what is added to the cost of each pair: inf between a motor vehicle and anything else."""
        labels = self._roster.votes.argmax(axis=1)
        heavy, heavy_found = FAMILY[labels] == 2, FAMILY[found.labels] == 2  # noqa: PLR2004  (FAMILY says it)
        costs = UNLIKE * (labels[:, None] != found.labels[None, :]) + UNLIKE * (unseen_ms / 1000)[:, None]
        likely: Floats = np.where(heavy[:, None] == heavy_found[None, :], costs, np.inf)
        return likely

    def _distances(self, found: Candidates, unseen_ms: npt.NDArray[np.int64]) -> Floats:
        """Return the distance of each pair as a share of the gate, inf beyond it or when sizes differ too much."""
        position = self._motion.position
        size, size_found = sizes_of(position), sizes_of(centred_of(found.boxes))
        most = np.where(unseen_ms > self._settings.recent_ms, FARTHEST_LOST, FARTHEST) * size
        gate = np.clip(SIGMAS * self._motion.reach(), NEAREST * size, most)
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        apart = np.linalg.norm(position[:, None, :2] - centres[None], axis=2) / gate[:, None]
        ratio = size_found[None, :] / size[:, None]
        distances: Floats = np.where((apart < 1.0) & (ratio > ALIKE[0]) & (ratio < ALIKE[1]), 0.8 * apart, np.inf)
        return distances

    def _continue(self, rows: Places, columns: Places, found: Candidates) -> None:
        """Let the tracks ``rows`` go on with the detections ``columns``."""
        if not rows.size:
            return
        settings, roster = self._settings, self._roster
        self._motion.correct(rows, centred_of(found.boxes[columns]))
        roster.votes[rows, found.labels[columns]] += found.weights[columns]
        roster.hits[rows] += 1
        roster.sure_hits[rows] += found.scores[columns] >= settings.count_score
        roster.ridden_hits[rows] += found.ridden[columns]
        roster.seen_ms[rows] = self._at_ms
        way = np.linalg.norm(self._motion.position[rows, :2] - roster.origin[rows], axis=1)
        roster.moved[rows] |= way > settings.moved_sizes * sizes_of(self._motion.position[rows])
        roster.told[rows] |= (roster.hits[rows] >= settings.hits_to_confirm) & (roster.sure_hits[rows] > 1)

    def _end(self) -> None:
        """End the tracks unseen too long or gone from the picture, and renew ids that have lived long enough."""
        settings, roster, centre = self._settings, self._roster, self._motion.position[:, :2]
        unseen_ms = self._at_ms - roster.seen_ms
        inside = ((centre >= 0.0) & (centre <= self._stretch[:2])).all(axis=1)
        kept = unseen_ms <= np.where(roster.told, settings.lost_ms, settings.tentative_ms)
        kept &= inside | (unseen_ms == 0)
        if not kept.all():
            roster.keep(kept)
            self._motion.keep(kept)
        for row in np.flatnonzero(self._at_ms - roster.born_ms >= settings.life_ms).tolist():
            roster.ids[row] = secrets.randbits(ID_BITS)
            roster.born_ms[row] = self._at_ms
            roster.born[row] = corners_of(self._motion.position[row : row + 1])[0]
            roster.origin[row] = self._motion.position[row, :2]

    def _give_birth(self, found: Candidates, free: Mask) -> None:
        """Start tracks from sure detections left over, and from any two-wheeler, so that parked ones are known."""
        settings, roster = self._settings, self._roster
        wanted = free & ((found.scores >= settings.count_score) | (FAMILY[found.labels] == 1))
        places = np.flatnonzero(wanted)
        room = settings.tracks_max - len(roster.ids)
        if not places.size or room <= 0:
            return
        places = places[~self._is_known(found.chosen(places))]
        places = places[np.argsort(-found.scores[places], kind="stable")][:room]
        born = found.chosen(places)
        self._motion.append(centred_of(born.boxes), FASTEST[FAMILY[born.labels]])
        self._roster.append(_roster_of(born, self._at_ms, settings.count_score))

    def _is_known(self, found: Candidates) -> Mask:
        """Tell who is, or is a part of, somebody else of this very frame; a car before a bus is no part of it."""
        here = self._roster.seen_ms == self._at_ms
        theirs = corners_of(self._motion.position[here])
        family, ours = FAMILY[self._roster.votes[here].argmax(axis=1)], FAMILY[found.labels]
        known = (overlaps(found.boxes, theirs) > TWICE) & (ours[:, None] == family[None, :])
        everybody, families = np.concatenate([theirs, found.boxes]), np.concatenate([family, ours])
        parts = lies_within(found.boxes, everybody, PART) & (ours[:, None] <= families) & (families < FAMILY[Label.CAR])
        np.fill_diagonal(parts[:, len(theirs) :], val=False)
        whole: Mask = known.any(axis=1) | parts.any(axis=1)
        return whole

    def _told(self) -> Tracks:
        roster, told = self._roster, self._roster.told
        return Tracks(
            ids=roster.ids[told],
            boxes=(corners_of(self._motion.position[told]) / self._stretch).astype(np.float32),
            labels=roster.votes[told].argmax(axis=1).astype(np.int8),
            seen=roster.seen_ms[told] == self._at_ms,
            moved=roster.moved[told],
            born_boxes=(roster.born[told] / self._stretch).astype(np.float32),
            born_ms=roster.born_ms[told],
        )


def _empty_roster() -> _Roster:
    nobody = np.empty(0)
    none = Candidates(np.empty((0, 4)), nobody, nobody.astype(np.int8), nobody, nobody.astype(np.bool_))
    return _roster_of(none, 0, 1.0)


def _roster_of(born: Candidates, at_ms: int, count_score: float) -> _Roster:
    """Return the roster of objects seen for the first time."""
    count = len(born)
    votes = np.zeros((count, len(Label)))
    votes[np.arange(count), born.labels] = born.weights
    return _Roster(
        ids=np.array([secrets.randbits(ID_BITS) for _ in range(count)], np.int64),
        votes=votes,
        hits=np.ones(count, np.int64),
        sure_hits=(born.scores >= count_score).astype(np.int64),
        ridden_hits=born.ridden.astype(np.int64),
        born_ms=np.full(count, at_ms, np.int64),
        seen_ms=np.full(count, at_ms, np.int64),
        born=born.boxes,
        origin=centred_of(born.boxes)[:, :2],
        moved=np.zeros(count, np.bool_),
        told=np.zeros(count, np.bool_),
    )
