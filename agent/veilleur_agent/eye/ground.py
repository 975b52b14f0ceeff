"""Where points of the picture lie on the ground, in metres, and how well that is known.

    four or more points known in both ─▶ homography (normalised DLT) ─▶ metres of a foot, and the error of the fit

The method is Hartley's normalised direct linear transformation (Hartley and Zisserman, Multiple View Geometry, 2nd ed.,
algorithm 4.2). It holds for what stands on one plane, below the horizon, through a lens without much distortion.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.site import Ground as GroundPoints

POINTS_MIN: Final = 4
SINGULAR: Final = 1e-6
"""Ratio of the last but one singular value to the first under which more than one homography fits."""
ERROR_MAX: Final = 0.05
"""Root mean square error of the fit, as a share of the spread of the points, past which some are wrong."""
NEAR_HORIZON: Final = 0.05
"""Depth of a point, as a share of the shallowest point given, under which its place is noise."""

Floats = npt.NDArray[np.float64]


class GroundRejectedError(RejectedError):
    """Points that fix no plane, or do not agree on one."""


class Ground:
    """The plane of one camera's street.

    Args:
        points: Places known in the picture and on the ground.
        aspect: Width of the frame over its height.

    Attributes:
        error_m: Root mean square distance on the ground between the points given and where the fit puts them; with four
            points it is 0 whatever they are, and says nothing.
        worst: Index of the point that fits worst.

    Raises:
        GroundRejectedError: Fewer than four points, points on one line, or points that do not agree.
    """

    def __init__(self, points: GroundPoints, aspect: float) -> None:
        image, metres = np.array(points.image, np.float64), np.array(points.metres, np.float64)
        if len(image) != len(metres) or len(image) < POINTS_MIN:
            message = f"the ground has {len(image)} points in the picture and {len(metres)} in metres"
            raise GroundRejectedError(f"{message}; give at least {POINTS_MIN}, each once in both")
        self._stretch = np.array([aspect, 1.0])
        self._matrix = _homography(image * self._stretch, metres)
        depths = self._depths(image)
        if (depths <= 0).any() and (depths >= 0).any():
            message = "the points of the ground lie on both sides of its horizon; check their order"
            raise GroundRejectedError(message)
        self._matrix *= np.sign(depths[0])
        self._least_depth = NEAR_HORIZON * float(np.abs(depths).min())
        off = np.linalg.norm(self.metres_of(image) - metres, axis=1)
        self.error_m, self.worst = float(np.sqrt(np.mean(off**2))), int(off.argmax())
        spread = float(np.linalg.norm(metres.std(axis=0)))
        if self.error_m > ERROR_MAX * spread:
            message = f"the points of the ground do not agree: {self.error_m:.2f} m off on average, the worst is"
            raise GroundRejectedError(f"{message} number {self.worst + 1}, {off[self.worst]:.2f} m; measure it again")

    def metres_of(self, points: Floats) -> Floats:
        """Return where on the ground points of the picture lie.

        Args:
            points: float64, shape ``(n, 2)``, fractions of the frame.

        Returns:
            float64, shape ``(n, 2)``, metres; NaN for what lies at or above the horizon.
        """
        mapped = self._homogeneous(points)
        depth = mapped[:, 2:]
        metres: Floats = np.where(depth > self._least_depth, mapped[:, :2] / np.where(depth == 0, 1.0, depth), np.nan)
        return metres

    def _homogeneous(self, points: Floats) -> Floats:
        stretched = points * self._stretch
        mapped: Floats = np.column_stack([stretched, np.ones(len(points))]) @ self._matrix.T
        return mapped

    def _depths(self, points: Floats) -> Floats:
        depths: Floats = self._homogeneous(points)[:, 2]
        return depths


def _homography(image: Floats, metres: Floats) -> Floats:
    """Return the 3 x 3 matrix that takes ``image`` to ``metres``, least squares over the points.

    Raises:
        GroundRejectedError: The points do not fix one.
    """
    (image, from_image), (metres, from_metres) = _normalised(image), _normalised(metres)
    x, y, one = image[:, 0], image[:, 1], np.ones(len(image))
    u, v, nil = metres[:, 0], metres[:, 1], np.zeros((len(image), 3))
    place = np.column_stack([x, y, one])
    equations = np.vstack([np.hstack([place, nil, -u[:, None] * place]), np.hstack([nil, place, -v[:, None] * place])])
    _, strengths, rows = np.linalg.svd(equations)
    matrix = rows[-1].reshape(3, 3)
    if strengths[7] < SINGULAR * strengths[0] or abs(np.linalg.det(matrix)) < SINGULAR:
        message = "the points of the ground fix no plane: three of four lie on one line, or two are one"
        raise GroundRejectedError(f"{message}; give the corners of something wide, like a crossing or a parking bay")
    homography: Floats = np.linalg.inv(from_metres) @ matrix @ from_image
    return homography / np.linalg.norm(homography)


def _normalised(points: Floats) -> tuple[Floats, Floats]:
    """Return points about the origin at a mean distance of √2, and the matrix that took them there.

    Raises:
        GroundRejectedError: They are all one point.
    """
    middle = points.mean(axis=0)
    reach = float(np.linalg.norm(points - middle, axis=1).mean())
    if reach == 0:
        message = "the points of the ground are all one point; give the corners of something wide"
        raise GroundRejectedError(message)
    scale = np.sqrt(2) / reach
    matrix = np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
    return (points - middle) * scale, matrix
