"""Turn what was counted along time into bars, with places where nothing was observed left visibly empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.messages import Label
from veilleur_fleet.store.counts import Slot, Span

SLOTS_S: Final = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
BARS_MAX: Final = 60
BARS_MIN: Final = 12
HEIGHT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One label's part of a bar; y grows downwards, as in SVG."""

    label: Label
    count: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One slot.

    Attributes:
        place: 0 for the leftmost.
        at_s: Its beginning, UTC.
        pieces: From the foot of the bar up; labels with none are left out.
        counts: Crossings of each label; None when all are withheld.
        observed: Whether any line was observed at all; if not, the counts say nothing.
        withheld: Cells withheld, so not in the bar.
    """

    place: int
    at_s: int
    pieces: tuple[Piece, ...]
    counts: dict[Label, int | None]
    observed: bool
    withheld: int

    @property
    def total(self) -> int:
        """Return the crossings that were told."""
        return sum(count for count in self.counts.values() if count is not None)


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars side by side, ``HEIGHT`` high at ``top`` crossings.

    Attributes:
        bars: In order of time, without a hole.
        top: What the top of the chart stands for.
        slot_s: Seconds in each bar.
        labels: Labels that are shown.
    """

    bars: tuple[Bar, ...]
    top: int
    slot_s: int
    labels: tuple[Label, ...]

    @property
    def total(self) -> int:
        """Return the crossings of all bars."""
        return sum(bar.total for bar in self.bars)

    @property
    def withheld(self) -> int:
        """Return the cells withheld in all bars."""
        return sum(bar.withheld for bar in self.bars)


def slot_s_of(span: Span) -> int:
    """Return the shortest slot that holds a whole window and needs no more than ``BARS_MAX`` bars."""
    reach_s = span.end_s - span.first_s
    for slot_s in SLOTS_S:
        if slot_s >= span.longest_s and reach_s <= slot_s * (BARS_MAX - 1):
            return slot_s
    return SLOTS_S[-1]


def chart_of(slots: Sequence[Slot], slot_s: int, end_s: int, labels: Sequence[Label]) -> Chart:
    """Lay out ``slots``.

    Args:
        slots: Those with any window, in order.
        slot_s: Seconds in each.
        end_s: Where the chart ends, UTC; what is missing up to there was not observed.
        labels: Labels to show, from the foot up.
    """
    found = {slot.at_s: slot for slot in slots}
    last = max((end_s - 1) // slot_s * slot_s, slots[-1].at_s) if slots else end_s // slot_s * slot_s
    first = min(slots[0].at_s if slots else last, last - (BARS_MIN - 1) * slot_s)
    first = max(first, last - (BARS_MAX - 1) * slot_s)
    shown = [found.get(at_s, at_s) for at_s in range(first, last + slot_s, slot_s)]
    top = nice_top(max((_told(slot, labels) for slot in shown if isinstance(slot, Slot)), default=0))
    bars = tuple(_bar_of(place, slot, top, labels) for place, slot in enumerate(shown))
    return Chart(bars, top, slot_s, tuple(labels))


def nice_top(highest: int) -> int:
    """Return the next of 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, … that holds ``highest``: all have a whole half."""
    scale = 1
    while True:
        for step in (4, 6, 8, 10, 20):
            if highest <= step * scale:
                return step * scale
        scale *= 10


def _told(slot: Slot, labels: Sequence[Label]) -> int:
    return sum(slot.labels.get(label) or 0 for label in labels)


def _bar_of(place: int, slot: Slot | int, top: int, labels: Sequence[Label]) -> Bar:
    if isinstance(slot, int):
        return Bar(place, slot, (), {}, observed=False, withheld=0)
    y, pieces = HEIGHT, []
    for label in labels:
        count = slot.labels.get(label) or 0
        if count:
            height = round(count / top * HEIGHT, 2)
            y = round(y - height, 2)
            pieces.append(Piece(label, count, y, height))
    counts = {label: slot.labels.get(label) for label in labels}
    return Bar(place, slot.at_s, tuple(pieces), counts, observed=slot.observed_s > 0, withheld=slot.withheld)
