"""Paint what never moves in a street: sky, house fronts, paving, kerbs; textured, so that a shifted view shows.

All of it is grey or nearly: no colour that the sprite detector knows.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_simulator.camera import Pinhole
from veilleur_simulator.scenario import Scenario

Picture = npt.NDArray[np.uint8]

SKY: Final = (190, 184, 176)
GROUND: Final = (112, 116, 118)
JOINT: Final = (94, 97, 98)
WINDOW: Final = (78, 74, 70)
PAVING_M: Final = 4
FARTHEST_M: Final = 80
MARKS: Final = 400
CANARY_ROWS: Final = 16
CANARY_COLUMNS: Final = 64


def backdrop_of(scenario: Scenario, left: int, top: int) -> Picture:
    """Paint the backdrop on a canvas with ``left`` columns and ``top`` rows beyond each edge of the frame.

    Returns:
        uint8, shape ``(height + 2 top, width + 2 left, 3)``, BGR.
    """
    frame, pinhole = scenario.street, scenario.pinhole()
    chance = np.random.default_rng([frame.seed, 0xBAC])
    canvas: Picture = np.full((frame.height + 2 * top, frame.width + 2 * left, 3), GROUND, dtype=np.uint8)
    ahead = pinhole.project(np.array([[0.0, float(FARTHEST_M)]]))[0]
    horizon = max(0, round(float(ahead[1]) * frame.height) + top)
    canvas[:horizon] = SKY
    _pave(canvas, pinhole, left, top)
    _mark(canvas, pinhole, (left, top), chance)
    _build(canvas, horizon, chance)
    # fine grain everywhere gives corners to find and nothing to count
    grain = chance.normal(0.0, 5.0, canvas.shape[:2]).round().astype(np.int16)
    canvas = np.clip(canvas.astype(np.int16) + grain[..., None], 0, 255).astype(np.uint8)
    if frame.canary:
        y, x = top + frame.height // 16, left + frame.width // 16
        canvas[y : y + CANARY_ROWS, x : x + CANARY_COLUMNS] = canary_of(frame.seed)[..., None]
    return canvas


def canary_of(seed: int) -> Picture:
    """Return the pattern that must never be found outside a picture: uint8, 16 rows of 64 grey levels."""
    chance = np.random.default_rng([seed, 0xCA])
    return chance.integers(20, 236, (CANARY_ROWS, CANARY_COLUMNS), dtype=np.uint8)


def _pave(canvas: Picture, pinhole: Pinhole, left: int, top: int) -> None:
    """Draw the joints of the paving, every ``PAVING_M`` metres, in perspective."""
    ends: list[tuple[tuple[float, float], tuple[float, float]]] = []
    nearest = max(2.0, 1.0 - pinhole.height_m)
    for metres in range(-FARTHEST_M, FARTHEST_M + 1, PAVING_M):
        ends.append(((float(metres), nearest), (float(metres), float(FARTHEST_M))))
        if metres >= nearest:
            ends.append(((-float(FARTHEST_M), float(metres)), (float(FARTHEST_M), float(metres))))
    for ground in ends:
        points = pinhole.project(np.array(ground))
        if (points[:, 2] <= 0.0).any():
            continue
        (x1, y1), (x2, y2) = points[:, :2] * (pinhole.width, pinhole.height) + (left, top)
        cv2.line(canvas, (round(x1), round(y1)), (round(x2), round(y2)), JOINT, 1, cv2.LINE_AA)


def _mark(canvas: Picture, pinhole: Pinhole, origin: tuple[int, int], chance: np.random.Generator) -> None:
    """Lay slabs, covers and patches of tar on the ground: corners by which a shifted view can be told."""
    for _ in range(MARKS):
        x, z = float(chance.uniform(-FARTHEST_M / 2, FARTHEST_M / 2)), float(chance.uniform(2.0, FARTHEST_M))
        wide, deep = chance.uniform(0.3, 1.6, 2)
        corners = pinhole.project(np.array([[x, z], [x + wide, z], [x + wide, z + deep], [x, z + deep]]))
        if (corners[:, 2] <= 0.0).any():
            continue
        grey = int(chance.integers(80, 160))
        quad = (corners[:, :2] * (pinhole.width, pinhole.height) + origin).round().astype(np.int32)
        cv2.fillPoly(canvas, [quad], (grey, grey, grey))


def _build(canvas: Picture, horizon: int, chance: np.random.Generator) -> None:
    """Stand house fronts with windows along the horizon."""
    x, width = 0, canvas.shape[1]
    while x < width and horizon > 0:
        wide = int(chance.integers(width // 14, width // 7))
        roof = int(chance.integers(0, max(1, horizon // 2)))
        grey = int(chance.integers(120, 175))
        cv2.rectangle(canvas, (x, roof), (x + wide, horizon), (grey - 8, grey - 4, grey), -1)
        step = max(8, wide // 4)
        for wx in range(x + step // 3, x + wide - step // 2, step):
            for wy in range(roof + step // 3, horizon - step, step):
                cv2.rectangle(canvas, (wx, wy), (wx + step // 2, wy + step // 2), WINDOW, -1)
        x += wide
