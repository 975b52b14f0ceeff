"""What is known of each object that is followed, besides its motion."""

import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import centred_of
from veilleur_agent.eye.riders import Candidates
from veilleur_agent.eye.rows import Rows
from veilleur_contracts.messages import Label

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ID_BITS: Final = 63


@dataclass(slots=True)
class Roster(Rows):
    """One row per object, as many as the caller appended and kept.

    Attributes:
        ids: int64: random.
        votes: float64, shape ``(n, labels)``: what its sightings say for each label.
        labels: int8: the label with most votes.
        hits: int64: sightings.
        sure_hits: int64: those at the score that counts.
        ridden_hits: int64: those as a rider and a two-wheeler in one.
        born_ms: int64: first seen, or given its id, UTC milliseconds.
        seen_ms: int64: last seen.
        born: float64, shape ``(n, 4)``: box at birth, corners, frame heights.
        origin: float64, shape ``(n, 2)``: its centre.
        moved: bool: has left its origin.
        told: bool: sure enough to be told.
    """

    ids: npt.NDArray[np.int64]
    votes: Floats
    labels: npt.NDArray[np.int8]
    hits: npt.NDArray[np.int64]
    sure_hits: npt.NDArray[np.int64]
    ridden_hits: npt.NDArray[np.int64]
    born_ms: npt.NDArray[np.int64]
    seen_ms: npt.NDArray[np.int64]
    born: Floats
    origin: Floats
    moved: Mask
    told: Mask


def empty_roster() -> Roster:
    """Return the roster of nobody."""
    nobody = np.empty(0)
    none = Candidates(np.empty((0, 4)), nobody, nobody.astype(np.int8), nobody, nobody.astype(np.bool_))
    return roster_of(none, 0, 1.0)


def roster_of(born: Candidates, at_ms: int, count_score: float) -> Roster:
    """Return the roster of objects seen for the first time."""
    count = len(born)
    votes = np.zeros((count, len(Label)))
    votes[np.arange(count), born.labels] = born.weights
    return Roster(
        ids=np.array([secrets.randbits(ID_BITS) for _ in range(count)], np.int64),
        votes=votes,
        labels=born.labels.copy(),
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
