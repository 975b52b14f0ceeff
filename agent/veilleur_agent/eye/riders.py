"""Make one road user of a rider and what they ride, and one of what the detector found twice.

    person  ┌──┐                     ┌────┐
            │  │     rider's feet    │    │   one BICYCLE (or MOTORCYCLE), the union of both boxes
    bicycle┌┼──┼┐    end above the ▶ │    │
           └┴──┴┘    tyres           └────┘

Somebody who walks in front of a parked bicycle has their feet below its tyres; somebody who walks behind it looks like
a rider in a single frame, which is why the caller says where two-wheelers are parked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import Boxes, areas_of, overlaps, shared_areas
from veilleur_contracts.messages import Label

Places = npt.NDArray[np.intp]

FAMILY: Final = np.array([0, 1, 2, 1, 2, 2], np.int8)
"""Of each ``Label``: 0 people, 1 two-wheelers, 2 motor vehicles; detectors confuse labels within one."""
TWICE: Final = 0.6
"""Overlap past which two detections of a family are one object, as decoders hold it for those of one label."""
PARKED: Final = 0.5
"""Overlap with a parked two-wheeler past which a detection is that two-wheeler."""
MERGED_WEIGHT: Final = 2.0
"""Votes of a wheel beside its rider's: a rider's wheels are missed in about half the frames, a walker rarely shows any,
so wheels seen are about three times the evidence that wheels not seen are (log-likelihood 2.3 against 0.6)."""
TALL: Final = (1.05, 2.2)
FEET: Final = (-0.15, 1.12)
ASTRIDE: Final = 0.6
"""From bodies and machines, in heights of the machine's box: from a rider's head to the tyres it is 1.05 (from above)
to 2.2 of them, whatever part of the legs the detector gave to whom; a person's box ends on the pedals, or at the saddle
when the machine hides the legs, never below the tyres; and at least this share of its width is over the machine.
Somebody further away whose feet end at the saddle is smaller only by their distance, and so too tall."""
WITHIN: Final = 0.75
"""Share of the lesser box inside a rider's past which it is a part of the rider found again."""
ABREAST: Final = 0.7
APART: Final = 0.3
"""Two people make a couple's box when each is at least this tall in it, and they share at most so much: parts of one
person are shorter, or share more. A box between two people shares at least so much with each."""
COVERED: Final = 0.9
"""Share covered by the two past which a box between them is nobody: people abreast are further apart, and who stands
behind them shows above."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The road users that may stand behind the detections of one frame.

    Attributes:
        boxes: float64, shape ``(n, 4)``, ``x1, y1, x2, y2``, frame heights.
        scores: float64, shape ``(n,)``, 0-1.
        labels: int8, shape ``(n,)``, values of ``Label``.
        weights: float64, shape ``(n,)``: how much each says for its label.
        ridden: bool, shape ``(n,)``: a rider and a two-wheeler in one.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    weights: npt.NDArray[np.float64]
    ridden: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, places: npt.NDArray[np.intp]) -> "Candidates":
        """Return those at ``places``, in that order."""
        boxes = self.boxes.take(places, axis=0)
        return Candidates(boxes, self.scores[places], self.labels[places], self.weights[places], self.ridden[places])


def candidates_of(
    boxes: Boxes, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], parked: Boxes
) -> Candidates:
    """Merge riders with what they ride, then drop what was found twice.

    Args:
        boxes: float64, shape ``(n, 4)``, corners, frame heights in both directions; each with an area.
        scores: float64, shape ``(n,)``.
        labels: int8, shape ``(n,)``.
        parked: float64, shape ``(p, 4)``: where two-wheelers are known to stand without a rider.
    """
    ridden = np.zeros(len(scores), np.bool_)
    pairs = _pairs_of(boxes, scores, labels, parked)
    if not pairs:
        return _once_each(Candidates(boxes, scores, labels, scores, ridden))
    boxes, scores, weights = boxes.copy(), scores.copy(), scores.copy()
    kept = np.ones(len(scores), np.bool_)
    for person, wheel in pairs:
        boxes[wheel, :2] = np.minimum(boxes[wheel, :2], boxes[person, :2])
        boxes[wheel, 2:] = np.maximum(boxes[wheel, 2:], boxes[person, 2:])
        weights[wheel] = scores[person] + MERGED_WEIGHT * scores[wheel]
        scores[wheel] = max(scores[wheel], scores[person])
        ridden[wheel], kept[person] = True, False
    return _once_each(Candidates(boxes, scores, labels, weights, ridden).chosen(kept.nonzero()[0]))


def _pairs_of(boxes: Boxes, scores: Boxes, labels: npt.NDArray[np.int8], parked: Boxes) -> list[tuple[int, int]]:
    """Return ``(person, wheel)`` of every rider, each once at most; the surest and closest first."""
    wheels = (FAMILY[labels] == 1).nonzero()[0]
    if wheels.size and len(parked):
        wheels = wheels[overlaps(boxes[wheels], parked).max(axis=1) < PARKED]
    people = (labels == int(Label.PERSON)).nonzero()[0]
    if not people.size or not wheels.size:
        return []
    fits = _fits(boxes[people], boxes[wheels]) * scores[people][:, None] * scores[wheels][None, :]
    pairs: list[tuple[int, int]] = []
    while fits.size and (best := int(fits.argmax())) >= 0 and fits.flat[best] > 0:
        row, column = divmod(best, fits.shape[1])
        pairs.append((int(people[row]), int(wheels[column])))
        fits[row, :] = fits[:, column] = 0.0
    return pairs


def _fits(people: Boxes, wheels: Boxes) -> Boxes:
    """Return how well each person sits on each wheel, 0 where they do not; shape ``(people, wheels)``."""
    p, w = people[:, None, :], wheels[None, :, :]
    tall, long = w[..., 3] - w[..., 1], w[..., 2] - w[..., 0]
    apart = np.abs((p[..., 0] + p[..., 2]) - (w[..., 0] + w[..., 2])) / 2
    above, feet = (w[..., 3] - p[..., 1]) / tall, (p[..., 3] - w[..., 1]) / tall
    over = np.minimum(p[..., 2], w[..., 2]) - np.maximum(p[..., 0], w[..., 0])
    sits = (above > TALL[0]) & (above < TALL[1]) & (feet > FEET[0]) & (feet < FEET[1])
    sits &= (over > ASTRIDE * (p[..., 2] - p[..., 0])) & (apart < 0.5 * np.maximum(long, 0.5 * tall))
    fits: Boxes = np.where(sits, 1.0 / (1.0 + apart / np.maximum(long, 1e-9)), 0.0)
    return fits


@dataclass(frozen=True, slots=True)
class _Sharing:
    """Two and two of ``found`` that share area, each two both ways round: few do in most streets.

    Attributes:
        found: Everybody.
        ones: intp, shape ``(p,)``: one of each two.
        others: The other.
        shared: float64, shape ``(p,)``: the area they share.
        areas: float64, shape ``(n,)``: of everybody.
    """

    found: Candidates
    ones: Places
    others: Places
    shared: Boxes
    areas: Boxes

    def chosen(self, pairs: npt.NDArray[np.bool_]) -> "_Sharing":
        """Return those of ``pairs`` alone."""
        return _Sharing(self.found, self.ones[pairs], self.others[pairs], self.shared[pairs], self.areas)


def _sharing(found: Candidates) -> _Sharing:
    """Return who shares more than ``APART`` of the lesser: less is of no consequence to anybody."""
    shared, areas = shared_areas(found.boxes, found.boxes), areas_of(found.boxes)
    ones, others = (shared > 0.0).nonzero()
    both = _Sharing(found, ones, others, shared[ones, others], areas)
    return both.chosen((ones != others) & (both.shared > APART * np.minimum(areas[ones], areas[others])))


def _once_each(found: Candidates) -> Candidates:
    """Drop the boxes of couples, the lesser of two of a family that share nearly all, and what is part of a rider."""
    sharing = _sharing(found)
    if not sharing.ones.size:
        return found
    kept = np.ones(len(found), np.bool_)
    kept[_couples(sharing)] = False
    _drop_found_twice(sharing, kept)
    return found if kept.all() else found.chosen(kept.nonzero()[0])


def _drop_found_twice(sharing: _Sharing, kept: npt.NDArray[np.bool_]) -> None:
    """Take from ``kept`` whoever is one with somebody better who is kept: a rider before all, then the surer one."""
    ones, others, shared, areas = sharing.ones, sharing.others, sharing.shared, sharing.areas
    ridden, family = sharing.found.ridden, FAMILY[sharing.found.labels]
    same = shared / (areas[ones] + areas[others] - shared) > TWICE
    same &= family[ones] == family[others]
    if ridden.any():
        light = family < FAMILY[Label.CAR]
        same |= (shared >= WITHIN * areas[ones]) & ridden[others] & light[ones]
        same |= (shared >= WITHIN * areas[others]) & ridden[ones] & light[others]
    if not same.any():
        return
    rank = np.empty(len(kept), np.intp)
    rank[np.lexsort((-sharing.found.scores, ~ridden))] = np.arange(len(kept))
    lesser = (same & (rank[ones] > rank[others])).nonzero()[0]
    for pair in lesser[rank[ones[lesser]].argsort(kind="stable")].tolist():
        if kept[others[pair]]:
            kept[ones[pair]] = False


def _couples(sharing: _Sharing) -> Places:
    """Return who is a box around or between two people who were each found by themselves, and more surely."""
    is_person, scores = sharing.found.labels == int(Label.PERSON), sharing.found.scores
    people = is_person[sharing.ones] & is_person[sharing.others]
    people &= scores[sharing.ones] > scores[sharing.others]
    sharing = sharing.chosen(people)
    if np.bincount(sharing.others, minlength=1).max() < 2:  # noqa: PLR2004 - both share a part of it
        return sharing.ones[:0]
    return np.concatenate([_around(sharing), _between(sharing)])


def _around(sharing: _Sharing) -> Places:
    """Return which boxes hold two surer people nearly as tall as themselves, who stand apart."""
    boxes = sharing.found.boxes
    tall = boxes[:, 3] - boxes[:, 1]
    inner = sharing.shared >= WITHIN * sharing.areas[sharing.ones]
    inner &= tall[sharing.ones] > ABREAST * tall[sharing.others]
    sharing = sharing.chosen(inner)
    around = []
    for place in (np.bincount(sharing.others) > 1).nonzero()[0].tolist():
        people = boxes[sharing.ones[sharing.others == place]]
        if overlaps(people, people).min() < APART:
            around.append(place)
    return np.array(around, np.intp)


def _between(sharing: _Sharing) -> Places:
    """Return which boxes two surer ones cover, each a good part: nobody stands there in one depth with them."""
    boxes, areas = sharing.found.boxes, sharing.areas
    parts = sharing.chosen(sharing.shared > APART * areas[sharing.others])
    count = np.bincount(parts.others, minlength=len(areas))
    places = (count > 1).nonzero()[0]
    if not places.size:
        return places
    # In order of the box and then of its share, its two largest parts are the last ones.
    order = np.lexsort((parts.shared, parts.others))
    last = count.cumsum()[places] - 1
    first, second = order[last], order[last - 1]
    one, other = boxes[parts.ones[first]], boxes[parts.ones[second]]
    low = np.maximum(np.maximum(one[:, :2], other[:, :2]), boxes[places, :2])
    high = np.minimum(np.minimum(one[:, 2:], other[:, 2:]), boxes[places, 2:])
    twice = np.prod(np.maximum(high - low, 0.0), axis=1)
    covered: npt.NDArray[np.bool_] = parts.shared[first] + parts.shared[second] - twice > COVERED * areas[places]
    return places[covered.nonzero()[0]]
