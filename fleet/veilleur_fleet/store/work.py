"""What travels through one transaction of the store: messages in, rows in between, acknowledgements out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from veilleur_contracts.messages import MessageClass, class_of_stream
from veilleur_fleet.store.boxes import BoxRow
from veilleur_fleet.store.cameras import WindowRow  # noqa: TC001 - one alias is not worth a TYPE_CHECKING block
from veilleur_fleet.store.streams import Held

POSITION_BITS: Final = 48
"""A record's key is its shard above these bits and its cursor in them."""

RecordRow = tuple[int, int, int, int, int, int, bytes]
RECORD_COLUMNS: Final = ("position", "box_no", "stream", "seq", "tag", "received_ms", "raw")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the broker gave it."""

    topic: str
    payload: bytes
    received_ms: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a box may now forget: everything of ``stream`` up to and with ``upto``."""

    controller: str
    box: str
    stream: int
    upto: int


@dataclass(frozen=True, slots=True)
class CopiedUpto:
    """How far our copy of an audit log goes: up to, and without, ``upto``."""

    controller: str
    box: str
    log: str
    upto: int


@dataclass(frozen=True, slots=True)
class Alarmed:
    """That a report or audit of ``box`` contradicts what is held, or cannot be used."""

    box: str
    kind: str


@dataclass(slots=True)
class Stored:
    """What one transaction did.

    Attributes:
        acknowledgements: One for each stream that was heard, duplicates included: an acknowledgement may get lost.
        records: Records stored, by class.
        duplicates: Numbers that were held already.
        lost: Numbers that a Gap says will never come.
        refused: Records put in quarantine, by box.
        envelopes_refused: Whole messages that were refused.
        held_back: Batches of which a part was not taken, because a bound of the box is reached.
        resolved: Windows whose Context came at last.
        copied: How far the copy of each audit log that was heard goes now.
        reports: Privacy reports that are new.
        alarms: What is wrong with reports and audits.
    """

    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    records: Counter[MessageClass] = field(default_factory=Counter)
    duplicates: int = 0
    lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    envelopes_refused: int = 0
    held_back: int = 0
    resolved: int = 0
    copied: list[CopiedUpto] = field(default_factory=list)
    reports: int = 0
    alarms: list[Alarmed] = field(default_factory=list)


@dataclass(slots=True)
class StreamRow:
    """One row of ``streams``, as the writer keeps it in mind."""

    held: Held
    heard_ms: int = 0
    stored: int = 0
    duplicates: int = 0
    lost: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its box, its stream, and the message it came in.

    Attributes:
        box: Who said it.
        stream: The stream.
        topic: Where the message came.
        received_ms: When it came.
        again: Whether it comes out of quarantine, and newer things may have been heard since.
    """

    box: BoxRow
    stream: int
    topic: str
    received_ms: int
    again: bool = False


class Work:
    """Rows to be written before the commit; bounded by the deliveries of one transaction."""

    def __init__(self) -> None:
        self.stored = Stored()
        self.records: list[RecordRow] = []
        self.windows: list[WindowRow] = []
        self.streams: dict[tuple[int, int], tuple[BoxRow, StreamRow]] = {}
        self.heard: dict[int, int] = {}
        self.bounds_moved: set[str] = set()
        self.shards: set[int] = set()
        self.learnt: set[tuple[str, int]] = set()

    def count(self, stream: int, records: int) -> None:
        """Count records of ``stream`` that got a cursor."""
        self.stored.records[class_of_stream(stream)] += records
