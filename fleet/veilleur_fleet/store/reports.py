"""Read what boxes reported, and the copies of their audits, for people who ask; nothing is written here."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.audit import Entry, decode_entry
from veilleur_contracts.merkle import leaf_hash
from veilleur_contracts.tiles import TILE_WIDTH, Tiles
from veilleur_fleet.store.documents import twin_of
from veilleur_fleet.store.tables import (
    audit_alarms,
    audit_entries,
    audit_heads,
    audit_logs,
    boxes,
    cameras,
    documents,
    reports,
)

ALARMS_SHOWN: Final = 100
HEADS_READ: Final = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """One box, as far as it was heard.

    Attributes:
        box_no: Its key.
        box: Its name.
        controller: Whose.
        communes: INSEE codes of its cameras.
    """

    box_no: int
    box: str
    controller: str
    communes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeptReport:
    """One report as it came: when, what was signed, with which key."""

    sha256: str
    made_ms: int
    received_ms: int
    key: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class AuditAlarm:
    """Something that a box told and that contradicts what is held, or cannot be used."""

    kind: str
    first: int
    last: int
    sentence: str
    found_ms: int
    again_ms: int
    times: int

    @property
    def is_of_entries(self) -> bool:
        """Whether it names entries of the audit."""
        return self.first >= 0


@dataclass(frozen=True, slots=True)
class LogCopy:
    """The copy of one log.

    Attributes:
        log_no: Its key.
        key: Its verifier key.
        trusted_by: Who believes that key.
        first_seen_ms: When it was first heard.
        heard_ms: When it was last heard.
        kept_from: Index of its first entry.
        size: Index after its last.
    """

    log_no: int
    key: str
    trusted_by: str
    first_seen_ms: int
    heard_ms: int
    kept_from: int
    size: int


def boxes_of(connection: sa.Connection, controllers: Collection[str] | None) -> list[Seen]:
    """Return the boxes of ``controllers`` (None: of all), by controller, first commune and name."""
    query = sa.select(boxes.c.box_no, boxes.c.box, boxes.c.controller).order_by(boxes.c.controller, boxes.c.box)
    if controllers is not None:
        query = query.where(boxes.c.controller.in_(list(controllers)))
    communes: dict[int, set[str]] = {}
    for box_no, insee in connection.execute(sa.select(cameras.c.box_no, cameras.c.insee).distinct()):
        if insee:
            communes.setdefault(box_no, set()).add(insee)
    found = [Seen(row[0], row[1], row[2], tuple(sorted(communes.get(row[0], ())))) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one.controller, one.communes[:1], one.box))


def newest_reports(connection: sa.Connection, box_nos: Collection[int]) -> dict[int, KeptReport]:
    """Return the report of each box that came last; by the box's own clock it may be older, or from years ahead."""
    newest = (
        sa.select(sa.func.max(reports.c.report_no))
        .where(reports.c.box_no.in_(list(box_nos)))
        .group_by(reports.c.box_no)
    )
    query = sa.select(
        reports.c.box_no, reports.c.sha256, reports.c.made_ms, reports.c.received_ms, reports.c.key, reports.c.raw
    ).where(reports.c.report_no.in_(newest))
    rows = connection.execute(query).all()
    return {row[0]: KeptReport(row[1], row[2], row[3], row[4], bytes(row[5])) for row in rows}


def alarms_of(connection: sa.Connection, box_nos: Collection[int]) -> dict[int, list[AuditAlarm]]:
    """Return the newest alarms of each box; however many a box has, it hides none of another's."""
    names = ("box_no", "kind", "first_bad", "last_bad", "sentence", "found_ms", "again_ms", "times")
    latest = audit_alarms.c.again_ms.desc()
    place = sa.func.row_number().over(partition_by=audit_alarms.c.box_no, order_by=latest).label("place")
    theirs = audit_alarms.c.box_no.in_(list(box_nos))
    ranked = sa.select(*(audit_alarms.c[name] for name in names), place).where(theirs).subquery()
    query = sa.select(*(ranked.c[name] for name in names)).where(ranked.c.place <= ALARMS_SHOWN)
    found: dict[int, list[AuditAlarm]] = {}
    for box_no, *about in connection.execute(query.order_by(ranked.c.box_no, ranked.c.place)).all():
        found.setdefault(box_no, []).append(AuditAlarm(*about))
    return found


def logs_of(connection: sa.Connection, box_no: int) -> list[LogCopy]:
    """Return the copies of a box's logs, the one heard last first."""
    names = ("log_no", "key", "trusted_by", "first_seen_ms", "heard_ms", "kept_from", "size")
    query = sa.select(*(audit_logs.c[name] for name in names)).where(audit_logs.c.box_no == box_no)
    return [LogCopy(*row) for row in connection.execute(query.order_by(audit_logs.c.heard_ms.desc()))]


def policy_for(connection: sa.Connection, box: str) -> str | None:
    """Return the SHA-256 of what was signed in the policy that ``box`` should hold; None: the fleet published none."""
    twin = twin_of(connection, box)
    wanted = [] if twin is None else [sha256 for kind, sha256, _ in twin.documents if kind == "policy"]
    if not wanted:
        return None
    found = connection.execute(sa.select(documents.c.content).where(documents.c.sha256 == wanted[-1])).scalar()
    return None if found is None else str(found)


def sizes_of(connection: sa.Connection, box_nos: Collection[int]) -> Mapping[int, int]:
    """Return how many entries are held of each box, all its logs together."""
    query = sa.select(audit_logs.c.box_no, sa.func.sum(audit_logs.c.size)).group_by(audit_logs.c.box_no)
    rows = connection.execute(query.where(audit_logs.c.box_no.in_(list(box_nos))))
    return {row[0]: int(row[1]) for row in rows}


def entries_of(connection: sa.Connection, log_no: int, first: int, upto: int) -> list[Entry]:
    """Return the entries of a copy from ``first`` up to ``upto``, without it."""
    query = (
        sa.select(audit_entries.c.raw)
        .where(audit_entries.c.log_no == log_no, audit_entries.c.place >= first, audit_entries.c.place < upto)
        .order_by(audit_entries.c.place)
    )
    return [decode_entry(bytes(row[0])) for row in connection.execute(query)]


class StoredTiles(Tiles):
    """A copy in the database, read as the files of a log are, so that one verifier judges both."""

    def __init__(self, connection: sa.Connection, copy: LogCopy) -> None:
        super().__init__(Path(f"copy-{copy.log_no}"))
        self._connection = connection
        self._copy = copy

    def bundles(self) -> list[int]:
        """Return the indices of the bundles there are, in order."""
        last = -(-self._copy.size // TILE_WIDTH)
        return list(range(self._copy.kept_from // TILE_WIDTH, last))

    def bundle(self, index: int) -> tuple[list[bytes], int]:
        """Return the entries of a bundle; nothing is ever torn here."""
        first = index * TILE_WIDTH
        query = (
            sa.select(audit_entries.c.raw)
            .where(audit_entries.c.log_no == self._copy.log_no)
            .where(audit_entries.c.place >= first, audit_entries.c.place < first + TILE_WIDTH)
            .order_by(audit_entries.c.place)
        )
        return [bytes(row[0]) for row in self._connection.execute(query)], 0

    def hashes(self, level: int, index: int) -> list[bytes]:
        """Return the leaf hashes of a bundle; those above are computed by whoever needs them."""
        return [leaf_hash(raw) for raw in self.bundle(index)[0]] if level == 0 else []

    def notes(self) -> Iterator[bytes]:
        """Give the newest heads, oldest first; none of a copy that does not begin at 0, whose roots nobody can tell."""
        if self._copy.kept_from:
            return
        query = (
            sa.select(audit_heads.c.note)
            .where(audit_heads.c.log_no == self._copy.log_no)
            .order_by(audit_heads.c.size.desc())
            .limit(HEADS_READ)
        )
        yield from reversed([bytes(row[0]) for row in self._connection.execute(query)])
