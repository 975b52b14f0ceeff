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

from veilleur_agent.eye.boxes import Boxes, areas_of, lies_within, overlaps, shared_areas
from veilleur_contracts.messages import Label

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
        return Candidates(
            self.boxes[places], self.scores[places], self.labels[places], self.weights[places], self.ridden[places]
        )


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
    boxes, scores, weights = boxes.copy(), scores.copy(), scores.copy()
    ridden = np.zeros(len(scores), np.bool_)
    kept = np.ones(len(scores), np.bool_)
    for person, wheel in _pairs_of(boxes, scores, labels, parked):
        boxes[wheel, :2] = np.minimum(boxes[wheel, :2], boxes[person, :2])
        boxes[wheel, 2:] = np.maximum(boxes[wheel, 2:], boxes[person, 2:])
        weights[wheel] = scores[person] + MERGED_WEIGHT * scores[wheel]
        scores[wheel] = max(scores[wheel], scores[person])
        ridden[wheel], kept[person] = True, False
    return _once_each(Candidates(boxes, scores, labels, weights, ridden).chosen(np.flatnonzero(kept)))


def _pairs_of(boxes: Boxes, scores: Boxes, labels: npt.NDArray[np.int8], parked: Boxes) -> list[tuple[int, int]]:
    """Return ``(person, wheel)`` of every rider, each once at most; the surest and closest first."""
    people = np.flatnonzero(labels == int(Label.PERSON))
    wheels = np.flatnonzero(FAMILY[labels] == 1)
    if wheels.size and len(parked):
        wheels = wheels[overlaps(boxes[wheels], parked).max(axis=1) < PARKED]
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


def _once_each(found: Candidates) -> Candidates:
    """Drop the lesser of two of a family that share nearly all their area, and what lies within a rider's box."""
    if len(found) < 2:  # noqa: PLR2004  (a pair takes two)
        return found
    found = _without_couples(found)
    order = np.lexsort((-found.scores, ~found.ridden))
    boxes, family, ridden = found.boxes[order], FAMILY[found.labels[order]], found.ridden[order]
    same = (overlaps(boxes, boxes) > TWICE) & (family[:, None] == family[None, :])
    if ridden.any():
        within = lies_within(boxes, boxes, WITHIN) & ridden[None, :] & (family[:, None] < FAMILY[Label.CAR])
        same |= within | (within.T & ridden[:, None])
    if same.sum() == len(order):
        return found
    kept = np.ones(len(order), np.bool_)
    for place in range(1, len(order)):
        kept[place] = not np.any(same[place, :place] & kept[:place])
    return found.chosen(np.sort(order[kept]))


def _without_couples(found: Candidates) -> Candidates:
    """Drop the boxes around or between two people who were each found by themselves, and more surely."""
    people = np.flatnonzero(found.labels == int(Label.PERSON))
    if len(people) < 3:  # noqa: PLR2004  (two and the box that is nobody's)
        return found
    boxes, scores = found.boxes[people], found.scores[people]
    surer = scores[:, None] > scores[None, :]
    tall = boxes[:, 3] - boxes[:, 1]
    inner = lies_within(boxes, boxes, WITHIN) & surer & (tall[:, None] > ABREAST * tall[None, :])
    around = [
        place
        for place in np.flatnonzero(inner.sum(axis=0) > 1).tolist()
        if overlaps(boxes[inner[:, place]], boxes[inner[:, place]]).min() < APART
    ]
    nobody = _between(boxes, surer)
    nobody[around] = True
    kept = np.ones(len(found), np.bool_)
    kept[people[nobody]] = False
    return found.chosen(np.flatnonzero(kept))


def _between(boxes: Boxes, surer: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell which boxes two surer ones cover, each a good part: nobody stands there in one depth with them."""
    areas, shared = areas_of(boxes), shared_areas(boxes, boxes) * surer
    first, second = np.argsort(shared, axis=0)[-2:]
    low = np.maximum(np.maximum(boxes[first, :2], boxes[second, :2]), boxes[:, :2])
    high = np.minimum(np.minimum(boxes[first, 2:], boxes[second, 2:]), boxes[:, 2:])
    twice = np.prod(np.maximum(high - low, 0.0), axis=1)
    one, other = shared[first, np.arange(len(boxes))], shared[second, np.arange(len(boxes))]
    between: npt.NDArray[np.bool_] = (one + other - twice > COVERED * areas) & (np.minimum(one, other) > APART * areas)
    return between
