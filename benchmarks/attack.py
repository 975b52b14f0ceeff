"""Attack the fill: can what was redacted be read from what is left, by somebody who trains on pictures redacted so?

    .venv/bin/python benchmarks/attack.py [--json]

    1,797 handwritten digits ─▶ I420 crops ─▶ redacted in one way ─▶ attackers trained and tried on it ─▶ accuracy
                                                                     (3-fold, all pixels of all three planes)

A digit stands for whatever identifies: ten possibilities, far fewer than there are people, so that what survives here
is less than what would identify. Shipped is the constant fill, as the box makes it: once by the fill alone, once by the
whole ``Redactor`` with the surroundings left in. Both must stay at chance: below the accuracy that guessing reaches
once in 10,000 trials. The controls, a mosaic and a Gaussian whose sigma is half the crop, must be read: attackers that
cannot do that prove nothing. A mean fill is shown for what it tells: the amount of ink, which is more than chance; no
box uses it. Exit 1 when any of it fails.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, RawFrame, no_detections
from veilleur_agent.eye.redact import FILL, Redactor, fill

CROP = 32
FRAME = 96
FOLDS = 3
LUCK = 1e-4
"""Chance that guessing alone passes the bound."""
READ_MIN = 0.3
"""Accuracy that a control must reach: three times what guessing does."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Way:
    """One way of redacting an I420 crop.

    Attributes:
        name: What to call it.
        role: shipped, control, or told (shown, and judged by nobody).
        redact: Returns a picture of its own; any size, the same for every crop.
    """

    name: str
    role: str
    redact: Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True)
class Row:
    """What one way of redacting lets through.

    Attributes:
        way: Its name.
        role: As of the way.
        accuracy: The best attacker's.
        attacker: Which that was.
        bound: What guessing exceeds once in 10,000 trials.
        passed: As it should be.
    """

    way: str
    role: str
    accuracy: float
    attacker: str
    bound: float
    passed: bool


def main() -> int:
    """Attack every way of redacting; 0 when the shipped ones hold and the controls do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    rows = attack(every_way(), lambda ways: progress(ways, description="attacking", console=console))
    if options.json:
        print(json.dumps([{name: getattr(row, name) for name in Row.__slots__} for row in rows]))
    else:
        _show(rows)
    missed = [row.way for row in rows if not row.passed]
    shipped = max(row.accuracy for row in rows if row.role == "shipped")
    control = min(row.accuracy for row in rows if row.role == "control")
    verdict = f"MISSED by {', '.join(missed)}" if missed else "ok"
    print(
        f"attack: {shipped:.3f} read through what ships (bound {rows[0].bound:.3f}), "
        f"{control:.3f} at least through the controls: {verdict}"
    )
    return 1 if missed else 0


def attack(ways: list[Way], each: Callable[[list[Way]], Iterable[Way]] = list) -> list[Row]:
    """Redact every digit in each of ``ways``, and let every attacker try."""
    digits = load_digits()
    truth = digits.target
    crops = [crop_of(image) for image in digits.images]
    bound = float(binom.ppf(1 - LUCK, len(truth), np.bincount(truth).max() / len(truth))) / len(truth)
    rows = []
    for way in each(ways):
        seen = np.stack([way.redact(crop).reshape(-1) for crop in crops]).astype(np.float32)
        accuracy, attacker = max(_accuracies(seen, truth))
        passed = {"shipped": accuracy <= bound, "control": accuracy >= READ_MIN, "told": True}[way.role]
        rows.append(Row(way.name, way.role, round(accuracy, 4), attacker, round(bound, 4), passed))
    return rows


def every_way() -> list[Way]:
    """Return what boxes do, what they might do, and what they must not."""
    return [
        Way("constant fill", "shipped", _filled_with(FILL)),
        Way("Redactor, surroundings left", "shipped", _redacted),
        Way("mean fill", "told", lambda crop: _filled_with(_mean_of(crop))(crop)),
        Way("nothing done", "told", lambda crop: crop),
        Way("Gaussian, sigma half the crop", "control", lambda crop: _each_plane(crop, _blurred)),
        Way("mosaic 4 x 4", "control", lambda crop: _each_plane(crop, lambda plane: _mosaic(plane, 4))),
    ]


def crop_of(image: npt.NDArray[np.float64]) -> Pixels:
    """Return an I420 picture of ``CROP`` x ``CROP`` pixels with the digit in its light and its colours."""
    large = cv2.resize((image / 16.0).astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_CUBIC).clip(0.0, 1.0)
    i420 = np.empty((CROP * 3 // 2, CROP), np.uint8)
    luma, blue, red = planes_of(i420)
    luma[:] = 40 + large * 180
    blue[:] = 128 + cv2.resize(large, (CROP // 2, CROP // 2), interpolation=cv2.INTER_AREA) * 40
    red[:] = 128 - cv2.resize(large, (CROP // 2, CROP // 2), interpolation=cv2.INTER_AREA) * 30
    return i420


def _filled_with(colour: tuple[int, int, int]) -> Callable[[Pixels], Pixels]:
    def way(crop: Pixels) -> Pixels:
        i420 = crop.copy()
        fill(i420, np.array([[0, 0, CROP // 2, CROP // 2]]), colour)
        return i420

    return way


def _mean_of(crop: Pixels) -> tuple[int, int, int]:
    light, blue, red = (round(float(plane.mean())) for plane in planes_of(crop))
    return light, blue, red


def _redacted(crop: Pixels) -> Pixels:
    """Let the box's own ``Redactor`` take a frame in which the crop was found, and return all that it shows."""
    i420 = _surroundings()
    left = (FRAME - CROP) // 2
    for place, plane, part in zip(planes_of(i420), planes_of(crop), (1, 2, 2), strict=True):
        place[left // part : (left + CROP) // part, left // part : (left + CROP) // part] = plane
    box = np.array([[left, left, left + CROP, left + CROP]], np.float32) / FRAME
    found = Detections(box, np.ones(1, np.float32), np.full(1, -1, np.int8))
    redactor = Redactor(lambda _: no_detections(), lambda _: True)
    redactor.redact(RawFrame("attacked", 0, 0, i420), (found,))
    (shown,) = redactor.close()
    if shown.filled_share == 1.0:
        raise RuntimeError("the whole frame was filled: that would prove nothing about the fill of a region")
    return shown.i420


def _surroundings() -> Pixels:
    i420 = np.full((FRAME * 3 // 2, FRAME), 128, np.uint8)
    i420[:FRAME] = np.linspace(40, 200, FRAME, dtype=np.uint8)
    return i420


def _each_plane(crop: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    i420 = crop.copy()
    for plane in planes_of(i420):
        plane[:] = change(plane)
    return i420


def _blurred(plane: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), len(plane) / 2, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _mosaic(plane: Pixels, tiles: int) -> Pixels:
    small = cv2.resize(plane, (tiles, tiles), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _accuracies(seen: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> list[tuple[float, str]]:
    """Return each attacker's share of digits read; every digit is tried by attackers trained on others."""
    # Pixels that never vary tell nothing, and there are many.
    varying = seen[:, seen.std(axis=0) > 0]
    if not varying.size:
        varying = seen[:, :1]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1)
    results = []
    # More threads than one wait for each other longer than such small products take.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it has learnt by then is what it knows
        for name, attacker in _attackers().items():
            read = cross_val_predict(make_pipeline(StandardScaler(), attacker), varying, truth, cv=folds)
            results.append((float((read == truth).mean()), name))
    return results


def _attackers() -> dict[str, object]:
    return {
        "logistic": LogisticRegression(max_iter=100),
        "neighbours": KNeighborsClassifier(5),
        "network": MLPClassifier((64,), max_iter=40, random_state=1),
    }


def _show(rows: list[Row]) -> None:
    table = Table("way", "role", "read", "by", "guessing", "")
    for row in rows:
        wanted = {"shipped": f"<= {row.bound:.3f}", "control": f">= {READ_MIN:.3f}", "told": ""}[row.role]
        told = "" if row.role == "told" else "ok" if row.passed else "MISSED"
        table.add_row(row.way, row.role, f"{row.accuracy:.3f}", row.attacker, wanted, told)
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
