"""Follow many boxes at once at constant velocity, over frames that come at any interval.

Each of centre x, centre y, width and height is a filter of its own (position, velocity), so a covariance is three
numbers and every step is plain arithmetic over all tracks. Lengths are in frame heights, times in seconds. Noise is
told in object sizes (the square root of the area), so that a far walker and a near lorry are followed alike.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import SIZE_MIN, sizes_of

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

ACCELERATION: Final = np.array([1.5, 1.5, 0.4, 0.4])
"""Square root of the spectral density of acceleration, sizes / s^1.5: a walker (size 1.1 m) who turns on the spot
changes 2.6 sizes/s, a car (2.5 m) that brakes at 5 m/s² 2 sizes/s; a box grows slower than it travels."""
MEASURED: Final = np.array([0.05, 0.05, 0.10, 0.10])
"""Standard deviation of a detection, sizes: a box edge is off by about one tenth, a centre by half of that."""
ODD: Final = 9.0
"""Square of the 3 sigma past which a width or height is taken for a part of the object and believed less."""


class Motion:
    """Filters of as many boxes as the caller appended and kept.

    Attributes:
        position: float64, shape ``(n, 4)``: centre x, centre y, width, height, frame heights.
        velocity: float64, shape ``(n, 4)``: the same per second.
        spread: float64, shape ``(n, 4, 3)``: variance of position, covariance, variance of velocity.
    """

    __slots__ = ("position", "spread", "velocity")

    def __init__(self) -> None:
        self.position: Floats = np.empty((0, 4))
        self.velocity: Floats = np.empty((0, 4))
        self.spread: Floats = np.empty((0, 4, 3))

    def __len__(self) -> int:
        return len(self.position)

    def append(self, boxes: Floats, fastest: Floats) -> None:
        """Start filters at ``boxes`` ``(n, 4)``; ``fastest`` ``(n,)`` is the sigma of speed, sizes per second."""
        size = sizes_of(boxes)[:, None]
        spread = np.zeros((len(boxes), 4, 3))
        spread[:, :, 0] = (MEASURED * size) ** 2
        spread[:, :2, 2] = (fastest[:, None] * size) ** 2
        spread[:, 2:, 2] = (0.3 * size) ** 2
        self.position = np.concatenate([self.position, boxes])
        self.velocity = np.concatenate([self.velocity, np.zeros((len(boxes), 4))])
        self.spread = np.concatenate([self.spread, spread])

    def keep(self, mask: Mask) -> None:
        """Forget the filters where ``mask`` is false."""
        self.position, self.velocity, self.spread = self.position[mask], self.velocity[mask], self.spread[mask]

    def predict(self, step_s: float, unseen: Mask) -> None:
        """Move every filter on by ``step_s`` seconds; an object not seen keeps its way but no longer changes size."""
        self.velocity[unseen, 2:] = 0.0
        push = (ACCELERATION * sizes_of(self.position)[:, None]) ** 2
        self.position += self.velocity * step_s
        np.maximum(self.position[:, 2:], SIZE_MIN, out=self.position[:, 2:])
        spread = self.spread
        spread[:, :, 0] += 2 * step_s * spread[:, :, 1] + step_s**2 * spread[:, :, 2] + push * (step_s**3 / 3)
        spread[:, :, 1] += step_s * spread[:, :, 2] + push * (step_s**2 / 2)
        spread[:, :, 2] += push * step_s

    def correct(self, rows: Places, boxes: Floats) -> None:
        """Take in the boxes ``(k, 4)`` seen for the filters ``rows`` ``(k,)``."""
        position, spread = self.position[rows], self.spread[rows]
        noise = (MEASURED * sizes_of(position)[:, None]) ** 2
        off = boxes - position
        total = spread[:, :, 0] + noise
        strangeness = off[:, 2:] ** 2 / (ODD * total[:, 2:])
        noise[:, 2:] *= np.maximum(1.0, strangeness)
        total[:, 2:] = spread[:, 2:, 0] + noise[:, 2:]
        # Part of it is hidden: the edge that came as expected tells the way, the cut one pretends another.
        low, high = off[:, :2] - off[:, 2:] / 2, off[:, :2] + off[:, 2:] / 2
        off[:, :2] = np.where(strangeness > 1.0, np.where(np.abs(low) < np.abs(high), low, high), off[:, :2])
        gain, drift = spread[:, :, 0] / total, spread[:, :, 1] / total
        self.position[rows] = position + gain * off
        self.velocity[rows] += drift * off
        np.maximum(self.position[:, 2:], SIZE_MIN, out=self.position[:, 2:])
        updated = np.empty_like(spread)
        updated[:, :, 0] = (1 - gain) * spread[:, :, 0]
        updated[:, :, 1] = (1 - gain) * spread[:, :, 1]
        updated[:, :, 2] = spread[:, :, 2] - drift * spread[:, :, 1]
        self.spread[rows] = updated

    def reach(self) -> Floats:
        """Return the sigma of where each centre may now be seen, frame heights; shape ``(n,)``."""
        noise = (MEASURED[0] * sizes_of(self.position)) ** 2
        reached: Floats = np.sqrt(self.spread[:, :2, 0].max(axis=1) + noise)
        return reached
