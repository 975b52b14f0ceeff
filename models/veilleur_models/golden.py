"""A golden sample: one drawn picture and what the network answered, so that another CPU can be checked against it.

drawn picture ──network──▶ raw outputs ──some values kept──▶ golden.npz ┄┄ self-test on a box: the same within 5 %
"""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from veilleur_models.card import Card
from veilleur_models.package import GoldenOutput, GoldenSample

SPREAD_VALUES = 64
"""Values taken at even distances over each output …"""
STRONGEST_VALUES = 32
"""… and the largest ones, where something was found."""
TOLERANCE = 0.05
"""CPUs differ in how they round INT8 (with and without VNNI); a wrong weight or a wrong input differs by far more."""


def drawn_picture(card: Card) -> npt.NDArray[np.uint8]:
    """Draw ramps, checks and sprites: integer arithmetic alone, so the same on every machine.

    Returns:
        uint8, shape ``(height, width, 3)``, to be read in the network's order of colours.
    """
    rows, columns = np.mgrid[0 : card.input.height, 0 : card.input.width]
    ramp = (rows * 3 + columns * 2) % 256
    checks = ((rows // 16 + columns // 16) % 2) * 90 + 60
    picture = np.stack((ramp, checks, 255 - ramp), axis=2).astype(np.uint8)
    colours = ((24, 24, 232), (24, 232, 24), (232, 24, 24), (24, 232, 232), (232, 24, 232), (232, 232, 24))
    for index, colour in enumerate(colours):
        left, top = 30 + index * card.input.width // 7, 60 + (index % 3) * 90
        picture[top - 6 : top + 86, left - 6 : left + 46] = 12
        picture[top : top + 80, left : left + 40] = colour
    return picture


def sample_of(
    pixels: npt.NDArray[np.uint8], outputs: Mapping[str, npt.NDArray[np.float32]], tolerance: float = TOLERANCE
) -> GoldenSample:
    """Keep some values of ``outputs``, which the network answered to ``pixels``."""
    kept = {}
    for name, value in outputs.items():
        flat = value.reshape(-1)
        spread = np.linspace(0, flat.size - 1, min(SPREAD_VALUES, flat.size)).astype(np.int64)
        strongest = np.argsort(-np.abs(flat), kind="stable")[:STRONGEST_VALUES]
        positions = np.unique(np.concatenate((spread, strongest.astype(np.int64))))
        kept[name] = GoldenOutput(positions=positions, values=flat[positions].astype(np.float32))
    return GoldenSample(pixels=pixels, outputs=kept, tolerance=tolerance)


def difference_of(golden: GoldenSample, outputs: Mapping[str, npt.NDArray[np.float32]]) -> float:
    """Largest difference of any kept value, as a share of its output's largest kept value.

    Returns:
        0 when all are equal; infinity when an output is missing, too short, or not finite. At most
        ``golden.tolerance`` on a box whose runtime computes what was built.
    """
    worst = 0.0
    for name, kept in golden.outputs.items():
        answer = outputs.get(name)
        if answer is None or answer.size <= int(kept.positions.max(initial=0)):
            return float("inf")
        values = answer.reshape(-1)[kept.positions]
        if not np.isfinite(values).all():
            return float("inf")
        largest = max(float(np.abs(kept.values).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(values - kept.values).max(initial=0.0)) / largest)
    return worst


def archive_of(sample: GoldenSample) -> bytes:
    """Encode a sample as the package's ``golden.npz``."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "pixels": sample.pixels,
        "tolerance": np.array(sample.tolerance, dtype=np.float64),
    }
    for name, kept in sample.outputs.items():
        arrays[f"{name}.positions"] = kept.positions
        arrays[f"{name}.values"] = kept.values
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
