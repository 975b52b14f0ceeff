"""Follow many boxes at once at constant velocity, over frames that come at any interval.

Each of centre x, centre y, width and height is a filter of its own (position, velocity), so a covariance is three
numbers and every step is plain arithmetic over all tracks. Lengths are in frame heights, times in seconds. Noise is
told in object sizes (the square root of the area), so that a far walker and a near lorry are followed alike.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import SIZE_MIN

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

ACCELERATION: Final = np.array([1.5, 1.5, 0.4, 0.4])
"""Square root of the spectral density of acceleration, sizes / s^1.5: a walker (size 1.1 m) who turns on the spot
changes 2.6 sizes/s, a car (2.5 m) that brakes at 5 m/s² 2 sizes/s; a box grows slower than it travels."""
MEASURED: Final = np.array([0.05, 0.05, 0.10, 0.10])
"""Standard deviation of a detection, sizes: a box edge is off by about one tenth, a centre by half of that."""
STRETCHED: Final = 0.3
"""Sigma of the speed at which a width or height changes at birth, sizes per second."""
ODD: Final = 9.0
"""Square of the 3 sigma past which a width or height is taken for a part of the object and believed less."""
_PUSH: Final = ACCELERATION**2
_NOISE: Final = MEASURED**2


class Motion:
    """Filters of as many boxes as the caller appended and kept.

    One array holds them all, so that a row is fetched, corrected and put back at once. Its layers, each ``(n, 4)``
    for centre x, centre y, width and height: position, velocity, variance of position, covariance, variance of
    velocity; frame heights and seconds.
    """

    __slots__ = ("_layers",)

    def __init__(self) -> None:
        self._layers: Floats = np.empty((5, 0, 4))

    def __len__(self) -> int:
        return int(self._layers.shape[1])

    @property
    def position(self) -> Floats:
        """Centre x, centre y, width, height, frame heights; float64, shape ``(n, 4)``, a view."""
        position: Floats = self._layers[0]
        return position

    @property
    def velocity(self) -> Floats:
        """The same per second."""
        velocity: Floats = self._layers[1]
        return velocity

    def append(self, boxes: Floats, fastest: Floats) -> None:
        """Start filters at ``boxes`` ``(n, 4)``; ``fastest`` ``(n,)`` is the sigma of speed, sizes per second."""
        born = np.zeros((5, len(boxes), 4))
        area = _areas_of(boxes)
        born[0] = boxes
        born[2] = _NOISE * area
        born[4, :, :2] = fastest[:, None] ** 2 * area
        born[4, :, 2:] = STRETCHED**2 * area
        self._layers = np.concatenate([self._layers, born], axis=1)

    def keep(self, mask: Mask) -> None:
        """Forget the filters where ``mask`` is false."""
        self._layers = self._layers[:, mask]

    def predict(self, step_s: float, unseen: Mask) -> None:
        """Move every filter on by ``step_s`` seconds; an object not seen keeps its way but no longer changes size."""
        position, velocity, variance, covariance, variance_speed = self._layers
        velocity[unseen, 2:] = 0.0
        push = _PUSH * _areas_of(position)
        position += step_s * velocity
        np.maximum(position[:, 2:], SIZE_MIN, out=position[:, 2:])
        variance += 2 * step_s * covariance + step_s**2 * variance_speed + step_s**3 / 3 * push
        covariance += step_s * variance_speed + step_s**2 / 2 * push
        variance_speed += step_s * push

    def correct(self, rows: Places, boxes: Floats) -> None:
        """Take in the boxes ``(k, 4)`` seen for the filters ``rows`` ``(k,)``."""
        layers = self._layers.take(rows, axis=1)
        position, variance, covariance = layers[0], layers[2], layers[3]
        off = boxes - position
        noise = _NOISE * _areas_of(position)
        total = variance + noise
        strangeness = off[:, 2:] ** 2 / (ODD * total[:, 2:])
        if (strangeness > 1.0).any():
            total[:, 2:] = variance[:, 2:] + noise[:, 2:] * np.maximum(1.0, strangeness)
            off[:, :2] = np.where(strangeness > 1.0, _edge_off(off), off[:, :2])
        gain, drift = gains = layers[2:4] / total
        layers[:2] += gains * off
        np.maximum(position[:, 2:], SIZE_MIN, out=position[:, 2:])
        layers[4] -= drift * covariance
        layers[2:4] *= 1 - gain
        self._layers[:, rows] = layers

    def reach(self, rows: Places) -> Floats:
        """Return the sigma of where each centre of ``rows`` may now be seen, frame heights; shape ``(k,)``."""
        noise = _NOISE[0] * _areas_of(self._layers[0, rows])[:, 0]
        reached: Floats = np.sqrt(self._layers[2, rows, :2].max(axis=1) + noise)
        return reached


def _areas_of(boxes: Floats) -> Floats:
    """Return the squares of the sizes of ``boxes`` ``cx, cy, w, h``; shape ``(n, 1)``."""
    areas: Floats = np.maximum(boxes[:, 2:3] * boxes[:, 3:], SIZE_MIN**2)
    return areas


def _edge_off(off: Floats) -> Floats:
    """Return how far the better edge of each side is off; shape ``(n, 2)``.

    A part of the object is hidden: the edge that came as expected tells the way, the cut one pretends another.
    """
    low, high = off[:, :2] - off[:, 2:] / 2, off[:, :2] + off[:, 2:] / 2
    edge: Floats = np.where(np.abs(low) < np.abs(high), low, high)
    return edge
