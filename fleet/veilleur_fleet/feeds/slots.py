"""The rule by which windows become slots of one length: summed, rolled up where cells are withheld, else unknown.

    windows of an hour   8   nil   12   nil      told     8 + 12
    RollUp of the hour           9               withheld      9      slot = 29

A roll-up is the sum of the withheld cells of its hour (or of the hours of its day that had none), so a slot is known
only when every withheld cell in it stands in a roll-up that was told. Nothing here tells more than the wire does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.messages import Quality

HOUR_S: Final = 3600
DAY_S: Final = 86_400
OBSERVED_MIN: Final = 90
"""Percent of a slot that must have been observed: the share under which the eye itself flags a window."""
NOT_PUBLISHED: Final = Quality.QUARANTINED | Quality.CLOCK_UNSYNCED
"""A model on trial, or a time that may be wrong: such a window is stored, and published nowhere."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a window and its roll-ups have in common: the box, the Context and the line's place in it."""

    box_no: int
    context: int
    line: int


@dataclass(frozen=True, slots=True)
class SeenWindow:
    """One window of one line, as the store holds it.

    Attributes:
        source: Who said it.
        at_s: Its beginning, UTC.
        window_s: Its length.
        coverage: Percent really observed.
        quality: Sum of ``Quality`` flags.
        counted: Bit set of the labels counted.
        cells: Twelve counts in wire order; None is withheld, not observed or not counted.
        is_bench: Whether it was counted under the bench policy: files and rendered streets, no street of a city.
    """

    source: Source
    at_s: int
    window_s: int
    coverage: int
    quality: int
    counted: int
    cells: tuple[int | None, ...]
    is_bench: bool = False

    def is_published(self) -> bool:
        """Tell whether it may be counted with."""
        return not self.quality & NOT_PUBLISHED

    def hides(self, cell: int) -> bool:
        """Tell whether ``cell`` was observed and is withheld."""
        return self.cells[cell] is None and self.coverage > 0 and self.counts(cell)

    def counts(self, cell: int) -> bool:
        """Tell whether the label of ``cell`` was counted at all."""
        return bool(self.counted >> cell // 2 & 1)


RollUpKey = tuple[Source, int, int, int]
"""Whose, of which cell (0..11), from which second, how long."""
RollUps = Mapping[RollUpKey, Sequence[int | None]]


def by_slot(windows: Iterable[SeenWindow], step_s: int) -> dict[int, list[SeenWindow]]:
    """Return the windows of each slot of ``step_s`` seconds that has any, by its beginning."""
    slots: dict[int, list[SeenWindow]] = {}
    for window in windows:
        slots.setdefault(window.at_s // step_s * step_s, []).append(window)
    return slots


def count_of(windows: Sequence[SeenWindow], cell: int, slot: tuple[int, int], roll_ups: RollUps) -> int | None:
    """Return how many crossed during one slot; None when it was not measured or may not be told.

    Args:
        windows: Every window that began in the slot; each lies in it whole.
        cell: 0..11, label and direction in wire order.
        slot: Its beginning and its length, seconds; a length other than an hour or a day knows no roll-ups.
        roll_ups: Those of the line.
    """
    at_s, step_s = slot
    published = [window for window in windows if window.is_published() and window.counts(cell)]
    if sum(window.window_s * window.coverage for window in published) < OBSERVED_MIN * step_s:
        return None
    hidden = [window for window in windows if window.hides(cell)]
    told = sum(window.cells[cell] or 0 for window in published)
    if not hidden:
        return told
    sources = {window.source for window in windows}
    # The sums of two Contexts, or of a window that is not published, cannot be told from those we want.
    if len(sources) > 1 or not all(window.is_published() for window in hidden):
        return None
    withheld = _withheld(hidden, cell, at_s, step_s, roll_ups)
    return None if withheld is None else told + withheld


def _withheld(hidden: Sequence[SeenWindow], cell: int, at_s: int, step_s: int, roll_ups: RollUps) -> int | None:
    """Return the sum of the withheld cells of a slot; None when some of them stand in no roll-up that was told."""
    if step_s not in {HOUR_S, DAY_S}:
        return None
    source, total, left = hidden[0].source, 0, 0
    for hour_s, hour in by_slot(hidden, HOUR_S).items():
        told = _told(roll_ups, (source, cell, hour_s, HOUR_S), len(hour))
        total += told or 0
        left += 0 if told is not None else len(hour)
    if not left:
        return total
    rest = _told(roll_ups, (source, cell, at_s, DAY_S), left) if step_s == DAY_S else None
    return None if rest is None else total + rest


def _told(roll_ups: RollUps, key: RollUpKey, cells: int) -> int | None:
    """Return a roll-up that was told once, and can be the sum of ``cells`` cells of at least 1."""
    found = roll_ups.get(key, ())
    if len(found) != 1 or found[0] is None or found[0] < cells:
        return None
    return found[0]
