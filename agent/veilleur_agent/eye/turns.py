"""Tell two who met at a line and went through each other, when the tracker made both of them turn back.

id 1  ──▶ ──▶ ┃ ◀── ◀──  id 2        before
id 1  ◀── ◀── ┃ ──▶ ──▶  id 2        after: nobody walks so; the ids changed hands on the line
"""

from dataclasses import dataclass
from typing import Final

from veilleur_contracts.messages import Label

TURN_BANDS: Final = 3.0
"""How near the line, in half-bands, somebody turns back to be of interest: two frames of a walker at 5 fps."""
TURNS_MAX: Final = 64
MET_MS: Final = 600
MET_BANDS: Final = 4.0
"""Two met if they turned at most this long and this far apart; four half-bands are one size of the object."""
RATIO: Final = 2.0
"""Each leaves as fast as the other came, within this ratio."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody came near a line and left on the side they came from.

    Attributes:
        line: Which line.
        side: Theirs: -1 left, +1 right.
        label: What they are.
        at_ms: When they were deepest.
        along: Where then, along the line, frame heights.
        depth: How far from the line then, negative beyond it.
        band: Half-width of their band.
        entry_speed: How fast they came, frame heights per second.
        exit_speed: How fast they left.
        paused: Whether they took longer than that speed explains.
    """

    line: int
    side: int
    label: Label
    at_ms: float
    along: float
    depth: float
    band: float
    entry_speed: float
    exit_speed: float
    paused: bool


def went_through(one: Turn, other: Turn) -> bool:
    """Tell whether two that turned back met, neither pausing, and each left as the other came."""
    if one.line != other.line or one.side == other.side or one.paused or other.paused:
        return False
    band = (one.band + other.band) / 2
    met = abs(one.at_ms - other.at_ms) <= MET_MS and abs(one.along - other.along) <= MET_BANDS * band
    met = met and one.depth + other.depth <= 2 * band
    return met and _alike(one.exit_speed, other.entry_speed) and _alike(other.exit_speed, one.entry_speed)


def _alike(speed: float, other: float) -> bool:
    return speed > 0 and other > 0 and 1 / RATIO <= speed / other <= RATIO
