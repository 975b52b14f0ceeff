"""A camera over a street whose geometry is known: metres to the picture, cars as boxes."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veilleur_contracts.site import Ground

ASPECT = 16 / 9
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PinholeCamera:
    """A camera that looks along +y of the street, ``tilt_deg`` below the horizon.

    Attributes:
        tilt_deg: Degrees.
        height_m: Above the ground.
        focal: Focal length, frame heights; 1.0 sees 53 degrees from top to bottom.
        roll_deg: How far it hangs to one side, degrees.
    """

    tilt_deg: float
    height_m: float = 7.0
    focal: float = 1.0
    roll_deg: float = 0.0

    def fractions_of(self, places: npt.ArrayLike) -> Floats:
        """Return where places ``(n, 3)``, metres (right, ahead, up), appear, fractions of the frame."""
        right, ahead, up = np.asarray(places, np.float64).T
        tilt, roll = math.radians(self.tilt_deg), math.radians(self.roll_deg)
        up = up - self.height_m
        depth = ahead * math.cos(tilt) - up * math.sin(tilt)
        down = -up * math.cos(tilt) - ahead * math.sin(tilt)
        x, y = self.focal * right / depth, self.focal * down / depth
        turned = np.stack([x * math.cos(roll) - y * math.sin(roll), x * math.sin(roll) + y * math.cos(roll)], axis=1)
        return turned / (ASPECT, 1.0) + 0.5

    def middle_m(self) -> float:
        """Return how far ahead the middle of the picture is."""
        return self.height_m / math.tan(math.radians(self.tilt_deg))

    def ground(self, places: list[tuple[float, float]] | None = None) -> Ground:
        """Return points of the ground as somebody would measure them: the corners of a wide rectangle."""
        middle = self.middle_m()
        known = places or [(-3, 0.8 * middle), (3, 0.8 * middle), (3, 1.4 * middle), (-3, 1.4 * middle)]
        image = self.fractions_of([(x, y, 0.0) for x, y in known])
        return Ground(tuple(map(tuple, image.tolist())), tuple((float(x), float(y)) for x, y in known))

    def car(self, right: float, ahead: float, heading_deg: float) -> Floats:
        """Return the box of a car 4.4 x 1.8 x 1.5 m, its middle on the ground at a place; fractions."""
        turn = math.radians(heading_deg)
        corners = [(x, y, z) for x in (-2.2, 2.2) for y in (-0.9, 0.9) for z in (0.0, 1.5)]
        places = [
            (right + x * math.cos(turn) - y * math.sin(turn), ahead + x * math.sin(turn) + y * math.cos(turn), z)
            for x, y, z in corners
        ]
        seen = self.fractions_of(places)
        return np.concatenate([seen.min(axis=0), seen.max(axis=0)])
