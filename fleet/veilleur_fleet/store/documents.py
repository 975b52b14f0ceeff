"""Rows of ``documents``, ``standings`` and ``twins``, read and written with SQLAlchemy Core.

A few rows are written when people decide something, beside the writer of what boxes say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_fleet.store.tables import documents, standings, twins


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One published document, without its bytes.

    Attributes:
        sha256: Of its bytes.
        kind: root, policy, stop or contact.
        content: SHA-256 of what was signed.
        version: Of a root or policy.
        published_ms: When.
        published_by: Whoever did it, as they are called.
        size_bytes: How long it is.
    """

    sha256: str
    kind: str
    content: str
    version: int | None
    published_ms: int
    published_by: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StandingRow:
    """What follows for one controller.

    Attributes:
        pinned: SHA-256 of the root the fleet began with.
        kept: As ``standing.keep`` writes it.
        contact: SHA-256 of the fleet's last word.
        changed_ms: When a document changed it last.
    """

    pinned: str
    kept: bytes
    contact: str | None
    changed_ms: int


@dataclass(frozen=True, slots=True)
class TwinRow:
    """What one box should hold.

    Attributes:
        box: Which.
        controller: Whose.
        sequence: Rises with every change.
        documents: Kind, SHA-256 and size of each, in the order to take them.
    """

    box: str
    controller: str
    sequence: int
    documents: tuple[tuple[str, str, int], ...]


_POINTERS: Final = msgspec.json.Decoder(tuple[tuple[str, str, int], ...])


def document_of(connection: sa.Connection, sha256: str) -> bytes | None:
    """Return the bytes of a document, None when it was never published."""
    raw = connection.execute(sa.select(documents.c.raw).where(documents.c.sha256 == sha256)).scalar()
    return None if raw is None else str(raw).encode()


def documents_in(connection: sa.Connection, at_most: int) -> list[DocumentRow]:
    """Return what was published, the newest first; the fleet's own words apart."""
    columns = [column for column in documents.c if column.name != "raw"]
    query = sa.select(*columns).where(documents.c.kind != "contact")
    query = query.order_by(documents.c.published_ms.desc(), documents.c.sha256).limit(at_most)
    return [DocumentRow(**row) for row in connection.execute(query).mappings()]


def put_document(connection: sa.Connection, row: DocumentRow, raw: bytes) -> None:
    """Keep a document; one that is kept already stays as it is."""
    if document_of(connection, row.sha256) is None:
        values = {name: getattr(row, name) for name in DocumentRow.__dataclass_fields__}
        connection.execute(sa.insert(documents).values(raw=raw.decode(), **values))


def standing_of(connection: sa.Connection, controller: str) -> StandingRow | None:
    """Return what follows for ``controller``; None while there is no root."""
    columns = (standings.c.pinned, standings.c.kept, standings.c.contact, standings.c.changed_ms)
    row = connection.execute(sa.select(*columns).where(standings.c.controller == controller)).first()
    return None if row is None else StandingRow(row.pinned, str(row.kept).encode(), row.contact, row.changed_ms)


def put_standing(connection: sa.Connection, controller: str, row: StandingRow) -> None:
    """Keep what follows for ``controller``."""
    connection.execute(sa.delete(standings).where(standings.c.controller == controller))
    connection.execute(
        sa.insert(standings).values(
            controller=controller,
            pinned=row.pinned,
            kept=row.kept.decode(),
            contact=row.contact,
            changed_ms=row.changed_ms,
        )
    )


def forget_contacts(connection: sa.Connection, but: frozenset[str], at_most: int) -> int:
    """Delete the fleet's oldest words beyond ``at_most``, whatever is in ``but`` apart; return how many went."""
    query = sa.select(documents.c.sha256).where(documents.c.kind == "contact").order_by(documents.c.published_ms.desc())
    old = [sha256 for (sha256,) in connection.execute(query).all()[at_most:] if sha256 not in but]
    for sha256 in old:
        connection.execute(sa.delete(documents).where(documents.c.sha256 == sha256))
    return len(old)


def twins_in(connection: sa.Connection) -> dict[str, TwinRow]:
    """Return what each box should hold."""
    query = sa.select(twins.c.box, twins.c.controller, twins.c.sequence, twins.c.documents)
    return {row["box"]: _twin_row(row) for row in connection.execute(query).mappings()}


def twin_of(connection: sa.Connection, box: str) -> TwinRow | None:
    """Return what ``box`` should hold; None when nobody has said."""
    query = sa.select(twins.c.box, twins.c.controller, twins.c.sequence, twins.c.documents)
    row = connection.execute(query.where(twins.c.box == box)).mappings().first()
    return None if row is None else _twin_row(row)


def put_twins(connection: sa.Connection, rows: Sequence[TwinRow]) -> None:
    """Write what boxes should hold."""
    if not rows:
        return
    # Two statements for a whole city, since boxes wait meanwhile [measured, 1,200 boxes: 0.1 s, and one by one 0.8 s].
    gone = sa.delete(twins).where(twins.c.box == sa.bindparam("old"))
    connection.execute(gone, [{"old": row.box} for row in rows])
    written = {row.documents: msgspec.json.encode(row.documents).decode() for row in rows}
    connection.execute(
        sa.insert(twins),
        [
            {
                "box": row.box,
                "controller": row.controller,
                "sequence": row.sequence,
                "documents": written[row.documents],
            }
            for row in rows
        ],
    )


def _twin_row(row: sa.RowMapping) -> TwinRow:
    return TwinRow(row["box"], row["controller"], row["sequence"], _POINTERS.decode(row["documents"]))
