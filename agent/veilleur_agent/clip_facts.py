"""What the clip store of a box really holds, measured: for the privacy report and for a person on the spot.

clips/, freezes/ ──measure──▶ StoreFacts(oldest item, bytes, days by camera, frozen days)      no picture is opened
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from veilleur_agent.clip_store import ClipStore
from veilleur_agent.eye.retention import CameraDay, Lain, Reckoning, begin, reckon
from veilleur_agent.freezes import last_days_of, read_freezes
from veilleur_contracts.messages import ClipsHeld

AT_S_MAX: Final = 0xFFFF_FFFF
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What lies in the store.

    Attributes:
        lain: Every camera's day.
        now: The reckoning that ages are read off.
        size_bytes: All sealed pictures together.
        frozen: Last day of each freeze.
    """

    lain: tuple[Lain, ...]
    now: Reckoning
    size_bytes: int
    frozen: Mapping[CameraDay, date]

    @property
    def oldest_s(self) -> float | None:
        """Age of the oldest picture that is not frozen, seconds; None when there is none."""
        ages = [age_of(one, self.now) for one in self.lain if one.births and (one.camera, one.day) not in self.frozen]
        return max(ages, default=None)

    @property
    def oldest_frozen_s(self) -> float | None:
        """The same of those that are."""
        ages = [age_of(one, self.now) for one in self.lain if one.births and (one.camera, one.day) in self.frozen]
        return max(ages, default=None)

    @property
    def days(self) -> dict[str, tuple[date, ...]]:
        """The days kept, by camera."""
        found: dict[str, tuple[date, ...]] = {}
        for one in self.lain:
            found[one.camera] = (*found.get(one.camera, ()), one.day)
        return found

    @property
    def without_key(self) -> int:
        """Days that nobody can open any more, and that have not gone yet."""
        return sum(1 for one in self.lain if one.births is None)


def facts_of(store: ClipStore, freezes: Path, now: Reckoning) -> StoreFacts:
    """Look into a store whose reckoning is known.

    Raises:
        OSError: It is there and cannot be read.
    """
    lain = tuple(store.lain())
    lies = {(one.camera, one.day) for one in lain}
    frozen = {key: until for key, until in last_days_of(read_freezes(freezes)).items() if key in lies}
    return StoreFacts(lain, now, store.size_bytes(), frozen)


def held_of(facts: StoreFacts, at_s: int, faults: int) -> ClipsHeld:
    """Return what is said of a store on the wire.

    Args:
        facts: As measured.
        at_s: When, by the clock, right or wrong.
        faults: Sum of ``ClipFault``.
    """
    oldest_s = None if facts.oldest_s is None else min(int(facts.oldest_s), AT_S_MAX)
    size_mib = min(-(-facts.size_bytes // MIB), MIB)
    return ClipsHeld(min(max(at_s, 0), AT_S_MAX), len(facts.lain), len(facts.frozen), oldest_s, size_mib, faults)


def measure(clips: Path, freezes: Path, now_ms: int) -> StoreFacts:
    """Look into a store; where there is none, nothing is kept.

    Args:
        clips: Folder of the store.
        freezes: Folder of the freezes.
        now_ms: The clock, UTC milliseconds.

    Raises:
        OSError: It is there and cannot be read.
    """
    store = ClipStore(clips)
    before = store.reckoning()
    now = begin(now_ms, store.lain(), is_set=True) if before is None else reckon(before, now_ms, 0, is_set=False)
    return facts_of(store, freezes, now)


def age_of(one: Lain, now: Reckoning) -> float:
    """Return the age of a day's first picture, seconds; 0 where its key is gone."""
    return 0.0 if one.births is None else max(0.0, (now.aged - one.births[0]) / 1000)
