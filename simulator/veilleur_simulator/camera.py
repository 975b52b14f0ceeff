"""A pinhole camera over a flat street: metres on the ground to fractions of the frame, and back.

      camera, ``height_m`` above the ground, looking down by ``tilt_deg``
        ◤
        │ ╲                    x: metres to the right, z: metres ahead, on the ground
        │   ╲
────────┴─────╲──────▶ z
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pinhole:
    """Where the camera stands and how it looks.

    Attributes:
        height_m: Above the ground.
        tilt_deg: Below the horizon.
        hfov_deg: Horizontal field of view.
        width: Of the frame, pixels.
        height: Of the frame, pixels.
    """

    height_m: float
    tilt_deg: float
    hfov_deg: float
    width: int
    height: int

    @property
    def focal_px(self) -> float:
        """Focal length, pixels."""
        return self.width / 2 / math.tan(math.radians(self.hfov_deg) / 2)

    def homography(self) -> Array:
        """Return the 3 × 3 matrix H: ``(fx·w, fy·w, w) = H (x, z, 1)``, metres to fractions of the frame.

        ``w`` is the depth along the optical axis, metres.
        """
        sine, cosine = math.sin(math.radians(self.tilt_deg)), math.cos(math.radians(self.tilt_deg))
        focal = self.focal_px
        depth = np.array([0.0, cosine, self.height_m * sine])
        across = np.array([1.0, 0.0, 0.0])
        down = np.array([0.0, -sine, self.height_m * cosine])
        return np.stack(
            [focal / self.width * across + 0.5 * depth, focal / self.height * down + 0.5 * depth, depth], axis=0
        )

    def project(self, ground: Array) -> Array:
        """Return where ground points appear.

        Args:
            ground: float64, shape ``(n, 2)``, metres (x, z).

        Returns:
            float64, shape ``(n, 3)``: fractions of the frame and depth in metres.
        """
        homogeneous = np.column_stack([ground, np.ones(len(ground))]) @ self.homography().T
        return np.column_stack([homogeneous[:, :2] / homogeneous[:, 2:], homogeneous[:, 2]])

    def unproject(self, points: Array) -> Array:
        """Return the ground points, metres, seen at ``points``: float64, shape ``(n, 2)``, fractions of the frame."""
        ground = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(self.homography()).T
        return np.asarray(ground[:, :2] / ground[:, 2:], dtype=np.float64)

    def size_of(self, width_m: float, height_m: float, depth_m: float) -> tuple[float, float]:
        """Return how large something upright appears ``depth_m`` away, fractions of the frame."""
        scale = self.focal_px / depth_m
        return width_m * scale / self.width, height_m * scale / self.height
