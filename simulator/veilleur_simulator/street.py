"""Draw a street: sprites on their paths over a textured background, with the light, weather and faults asked for.

    background ─▶ + sprites, far to near ─▶ + occluders ─▶ shifted view ─▶ light, rain, noise ─▶ fault ─▶ BGR picture

A picture depends on the scenario and the moment alone, so any moment can be drawn without those before it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_contracts.messages import Label
from veilleur_models.sprite import PALETTE
from veilleur_simulator.backdrop import backdrop_of
from veilleur_simulator.motion import SIZE_M, journeys_of
from veilleur_simulator.scenario import Fault, Ground, Scenario

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

MARGIN: Final = 0.12
"""Share of the frame drawn beyond each edge, so that a nudged camera finds a street there."""
OUTLINE_PX: Final = 3
"""Dark border around each sprite: two of one colour that overlap stay two (the sprite detector needs 3 pixels)."""
OUTLINE: Final[Colour] = (26, 24, 24)
DUMPED: Final[Colour] = (72, 84, 96)
OCCLUDER: Final[Colour] = (56, 54, 52)
NOISE_BANK: Final = 8
RAIN_STREAKS: Final = 500


class Street:
    """One scenario, ready to be drawn at any moment of it.

    Args:
        scenario: What happens.
        palette: BGR colour of each label's sprite; the sprite detector's own unless a test asks for another.
    """

    def __init__(self, scenario: Scenario, palette: Mapping[Label, Colour] = PALETTE) -> None:
        frame = scenario.street
        self._scenario = scenario
        self._pinhole = scenario.pinhole()
        self._palette = palette
        self._left, self._top = round(frame.width * MARGIN), round(frame.height * MARGIN)
        self._journeys = sorted(journeys_of(scenario), key=lambda journey: journey.from_s)
        self._comes_s = np.array([journey.from_s for journey in self._journeys])
        self._goes_s = np.array([journey.to_s for journey in self._journeys])
        self._backdrop = backdrop_of(scenario, self._left, self._top)
        chance = np.random.default_rng([frame.seed, 0x5EED])
        grain = chance.normal(0.0, frame.noise, (NOISE_BANK, frame.height, frame.width))
        self._brighter = np.clip(grain, 0, 255).round().astype(np.uint8)
        self._darker = np.clip(-grain, 0, 255).round().astype(np.uint8)

    @property
    def scenario(self) -> Scenario:
        """What is drawn."""
        return self._scenario

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture of the film, in order."""
        frame = self._scenario.street
        for number in range(round(frame.seconds * frame.fps)):
            yield self.picture(number / frame.fps)

    def boxes(self, at_s: float) -> list[tuple[Label, Box]]:
        """Return what is on the street at ``at_s``, far to near: label and box in fractions of the un-nudged frame."""
        found: list[tuple[float, Label, Box]] = []
        for place in ((self._comes_s <= at_s) & (at_s < self._goes_s)).nonzero()[0].tolist():
            journey = self._journeys[place]
            ground = journey.at(at_s)
            if ground is not None:
                depth, box = self._upright(ground, SIZE_M[journey.label])
                found.append((depth, journey.label, box))
        return [(label, box) for _, label, box in sorted(found, key=lambda one: -one[0])]

    def picture(self, at_s: float) -> Picture:
        """Draw the street at ``at_s``.

        Returns:
            uint8, shape ``(height, width, 3)``, BGR.
        """
        fault = self._fault_at(at_s)
        if fault is not None and fault.kind == "frozen":
            return self.picture(fault.from_s - 1.0 / self._scenario.street.fps)
        picture = self._weathered(self._lit(self._seen(self._drawn(at_s), at_s), at_s, fault), at_s)
        if fault is not None and fault.kind == "covered":
            picture[:] = (22, 24, 26)
        if fault is not None and fault.kind == "defocused":
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self._scenario.street.width / 90), dtype=np.uint8)
        return self._grained(picture, at_s)

    def _upright(self, ground: Ground, size_m: tuple[float, float]) -> tuple[float, Box]:
        x, foot, depth = (float(value) for value in self._pinhole.project(np.array([ground]))[0])
        wide, high = self._pinhole.size_of(*size_m, depth)
        return depth, (x - wide / 2, foot - high, x + wide / 2, foot)

    def _drawn(self, at_s: float) -> Picture:
        """Draw the street on a canvas larger than the frame."""
        canvas = self._backdrop.copy()
        for dumped in self._scenario.dumped:
            if dumped.from_s <= at_s < (dumped.to_s or float("inf")):
                self._paint(canvas, self._upright(dumped.at, dumped.size_m)[1], DUMPED)
        for label, box in self.boxes(at_s):
            self._paint(canvas, box, self._palette[label])
        for occluder in self._scenario.occluder:
            self._paint(canvas, occluder.box, OCCLUDER)
        return canvas

    def _paint(self, canvas: Picture, box: Box, colour: Colour) -> None:
        frame = self._scenario.street
        x1, x2 = (round(x * frame.width) + self._left for x in (box[0], box[2]))
        y1, y2 = (round(y * frame.height) + self._top for y in (box[1], box[3]))
        # rectangle() takes its corners as inside
        cv2.rectangle(
            canvas, (x1 - OUTLINE_PX, y1 - OUTLINE_PX), (x2 + OUTLINE_PX - 1, y2 + OUTLINE_PX - 1), OUTLINE, -1
        )
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, -1)

    def _seen(self, canvas: Picture, at_s: float) -> Picture:
        """Cut the frame out of the canvas, where the camera looks at ``at_s``."""
        frame = self._scenario.street
        moved = [nudge.by for nudge in self._scenario.nudge if nudge.at_s <= at_s]
        left = self._left - round(sum(by[0] for by in moved) * frame.width)
        top = self._top - round(sum(by[1] for by in moved) * frame.height)
        left, top = min(max(left, 0), 2 * self._left), min(max(top, 0), 2 * self._top)
        return canvas[top : top + frame.height, left : left + frame.width].copy()

    def _fault_at(self, at_s: float) -> Fault | None:
        return next((fault for fault in self._scenario.fault if fault.from_s <= at_s < fault.to_s), None)

    def _lit(self, picture: Picture, at_s: float, fault: Fault | None) -> Picture:
        lights = self._scenario.light
        gain = float(np.interp(at_s, [one.at_s for one in lights], [one.gain for one in lights])) if lights else 1.0
        if fault is not None and fault.kind == "dark":
            gain *= 0.03
        return picture if gain == 1.0 else np.asarray(cv2.convertScaleAbs(picture, alpha=gain), dtype=np.uint8)

    def _weathered(self, picture: Picture, at_s: float) -> Picture:
        rain = self._scenario.street.rain
        if rain == 0.0:
            return picture
        height, width = picture.shape[:2]
        chance = np.random.default_rng([self._scenario.street.seed, 0xAA, round(at_s * 1000)])
        wet = picture.copy()
        for x, y, long in chance.random((round(RAIN_STREAKS * rain), 3)):
            start = (round(x * width), round(y * height))
            cv2.line(wet, start, (start[0] - 2, start[1] + 8 + round(long * height / 20)), (205, 200, 200), 1)
        return np.asarray(cv2.addWeighted(picture, 0.65, wet, 0.35, 0.0), dtype=np.uint8)

    def _grained(self, picture: Picture, at_s: float) -> Picture:
        if self._scenario.street.noise == 0.0:
            return picture
        chance = np.random.default_rng([self._scenario.street.seed, 0x66, round(at_s * 1000)])
        which, by = int(chance.integers(NOISE_BANK)), int(chance.integers(picture.shape[1]))
        brighter, darker = (np.roll(bank[which], by, axis=1) for bank in (self._brighter, self._darker))
        lifted = cv2.add(picture, cv2.merge([brighter] * 3))
        return np.asarray(cv2.subtract(lifted, cv2.merge([darker] * 3)), dtype=np.uint8)
