"""Hold three independent books against each other: the agents' line counters, the fleet's store, a consumer's ledger.

line counters ─▶ tally.json ─┐
outbox ─▶ fleet ─▶ fleet.db ─┼─▶ Balance: counts equal? anything lost? anything twice?
out/ ─────────▶ Ledger ──────┘
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.ledger import Books, Entry

TALLY_BYTES_MAX: Final = 1_048_576

Counts = dict[str, dict[str, dict[str, int]]]
"""Camera → line → label → crossings, both ways together."""


class Tally(msgspec.Struct, frozen=True):
    """What the line counters and the outbox of one box say, as ``tally.json`` holds it.

    Attributes:
        cameras: Camera → line → label → direction → crossings since the start.
        frames: Camera → frames analysed since the start.
        fps: Camera → frames analysed per second.
        streams: Stream → last sequence number given out.
    """

    cameras: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    frames: dict[str, int] = {}
    fps: dict[str, float] = {}
    streams: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Balance:
    """What came out of holding the books against each other.

    Attributes:
        agent: Counts by the line counters.
        fleet: Counts in the fleet's store.
        lost: Sequence numbers given out for which the store has no record, and records that no consumer was told.
        duplicated: Messages that a consumer was told more than once.
        fps: Camera → frames analysed per second.
    """

    agent: Counts
    fleet: Counts
    lost: int
    duplicated: int
    fps: dict[str, float] = field(default_factory=dict)

    @property
    def is_even(self) -> bool:
        """Whether nothing is missing and nothing is there twice."""
        return self.agent == self.fleet and self.lost == 0 and self.duplicated == 0

    @property
    def crossings(self) -> int:
        """All crossings by the line counters."""
        return total_of(self.agent)

    def cameras(self) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
        """Return camera → line → label → ``{"agent": n, "fleet": n}``."""
        told: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
        for whose, counts in (("agent", self.agent), ("fleet", self.fleet)):
            for camera, lines in counts.items():
                for line, labels in lines.items():
                    for label, count in labels.items():
                        cell = (
                            told.setdefault(camera, {}).setdefault(line, {}).setdefault(label, {"agent": 0, "fleet": 0})
                        )
                        cell[whose] = count
        return told


def read_tally(state: Path) -> Tally | None:
    """Return the tally of the box whose state is in ``state``; None while it has written none.

    Raises:
        PartFailedError: It is there and cannot be read.
    """
    try:
        with (state / "tally.json").open("rb") as file:
            return msgspec.json.decode(file.read(TALLY_BYTES_MAX), type=Tally)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise PartFailedError(f"{state.name}: tally.json cannot be read: {error}") from None


def counts_of(tallies: Iterable[Tally]) -> Counts:
    """Return the counts of ``tallies``; what was never crossed is left out."""
    counts: Counts = {}
    for tally in tallies:
        for camera, lines in tally.cameras.items():
            for line, labels in lines.items():
                for label, ways in labels.items():
                    if total := sum(ways.values()):
                        counts.setdefault(camera, {}).setdefault(line, {})[label] = total
    return counts


def total_of(counts: Counts) -> int:
    """Return all crossings of ``counts`` together."""
    return sum(count for lines in counts.values() for labels in lines.values() for count in labels.values())


def stored_in(database: Path) -> tuple[Counts, set[Entry]]:
    """Read the fleet's store as anybody may: its counts, and which sequence numbers of which streams it holds.

    Raises:
        PartFailedError: It cannot be read.
    """
    try:
        store = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            counts: Counts = {}
            for camera, line, label, total in store.execute(
                "SELECT camera, line, label, SUM(count) FROM crossing_cells GROUP BY 1, 2, 3 HAVING SUM(count) > 0"
            ):
                counts.setdefault(camera, {}).setdefault(line, {})[label] = total
            rows = store.execute("SELECT box, stream, seq FROM records JOIN boxes USING (box_no)").fetchall()
        finally:
            store.close()
    except sqlite3.Error as error:
        raise PartFailedError(f"the fleet's store cannot be read: {error}") from None
    return counts, {(box, stream, seq) for box, stream, seq in rows}


def balance_of(tallies: Mapping[str, Tally], database: Path, books: Books) -> Balance:
    """Hold the books against each other; ``tallies`` are by box."""
    counts, stored = stored_in(database)
    given_out = {
        (box, int(stream), seq)
        for box, tally in tallies.items()
        for stream, last in tally.streams.items()
        for seq in range(1, last + 1)
    }
    fps = {camera: rate for tally in tallies.values() for camera, rate in tally.fps.items()}
    lost = len(given_out - stored) + len(stored - books.seen.keys())
    return Balance(counts_of(tallies.values()), counts, lost, books.duplicated, fps)
