"""Read a stretch of one shard again, for a consumer that missed some of it.

    shard:  1 2 3 4 5 6 7 8 9 ...        cursors, rising by one, given out with the commit that stores the record
    consumer holds ■ ■ ■ □ □ □ ...       after=3 ──▶ 4, 5, 6, ... as they were, or will be, told on ``out/``

There is one writer and a reader sees whole commits, so nothing ever appears behind a cursor that was read past.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.codec import decode_record, encode
from veilleur_contracts.messages import AnyRecord, Context, MessageClass, Published, class_of_stream
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.store.keeping import ORDINALS
from veilleur_fleet.store.kinds import NAME_OF
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.tables import boxes, records, shards
from veilleur_fleet.store.work import POSITION_BITS

LIMIT_MAX: Final = 1000
SCANNED_MAX: Final = 10_000
"""Records looked at for one question: a filter that nothing passes must not read a whole city's year."""

Passes = Callable[[MessageClass, str, AnyRecord, Context | None], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of which shard are meant; None leaves a thing open.

    Attributes:
        shard: The shard, 0..15.
        after: The last cursor the consumer has; 0: none.
        kind: Class of the stream that a record stands in.
        controller: Who answers for the box.
    """

    shard: int
    after: int
    kind: MessageClass | None = None
    controller: str | None = None

    @property
    def is_everything(self) -> bool:
        """Tell whether no record of the shard is left out."""
        return self.kind is None and self.controller is None


@dataclass(frozen=True, slots=True)
class Told:
    """One record with everything it is told with.

    Attributes:
        cursor: Its place in its shard.
        controller: Who answers for its box.
        box: Who said it.
        stream: The stream it stands in.
        seq: Its number there.
        kind: The class of that stream.
        name: What the topics call its kind.
        received_ms: When the fleet received it.
        topic: Where it is published.
        payload: The ``Published`` message, byte for byte as on MQTT.
        record: What it says.
    """

    cursor: int
    controller: str
    box: str
    stream: int
    seq: int
    kind: MessageClass
    name: str
    received_ms: int
    topic: str
    payload: bytes
    record: AnyRecord


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page of one shard.

    Attributes:
        told: Records in order of their cursor.
        upto: Everything wanted up to this cursor has been told; where the next page begins.
        last: Last cursor given out when this was read.
    """

    told: list[Told]
    upto: int
    last: int


class Past:
    """Reads records back as consumers are told them."""

    def __init__(self, readers: sa.Engine) -> None:
        self._readers = readers
        self._outgoings = Outgoings(readers)

    def ends(self) -> dict[int, int]:
        """Return the last cursor given out of each shard that has given out any."""
        with self._readers.connect() as connection:
            return {row.shard: row.last for row in connection.execute(sa.select(shards.c.shard, shards.c.last))}

    def after(self, wanted: Wanted, limit: int, passes: Passes | None = None) -> Stretch:
        """Return the next records that are ``wanted``, ``limit`` at most.

        Args:
            wanted: Which ones.
            limit: How many at most.
            passes: Told class, controller, record and Context; only what it says yes to is returned.

        Raises:
            QueryRejectedError: The cursor is one that this shard has not given out yet.
        """
        start = wanted.shard << POSITION_BITS
        with self._readers.connect() as connection:
            last = connection.execute(sa.select(shards.c.last).where(shards.c.shard == wanted.shard)).scalar() or 0
            if wanted.after > last:
                raise QueryRejectedError(
                    f"after: shard {wanted.shard} has given out cursors up to {last} only; the fleet's database was"
                    " replaced or restored, so begin again with after=0"
                )
            end = last if wanted.is_everything and passes is None else self._end(connection, wanted, last)
            query = (
                sa.select(records, boxes.c.box, boxes.c.controller)
                .join_from(records, boxes, records.c.box_no == boxes.c.box_no)
                .where(records.c.position.between(start + wanted.after + 1, start + end))
            )
            if wanted.kind is not None:
                query = query.where(
                    records.c["class"].in_([number for number, kind in ORDINALS.items() if kind is wanted.kind])
                )
            if wanted.controller is not None:
                query = query.where(boxes.c.controller == wanted.controller)
            query = query.order_by(records.c.position)
            rows = connection.execute(query.limit(limit) if passes is None else query)
            told = list(itertools.islice(self._told(connection, rows, passes), limit))
            rows.close()
        return Stretch(told, told[-1].cursor if len(told) == limit else end, last)

    def _end(self, connection: sa.Connection, wanted: Wanted, last: int) -> int:
        """Return the cursor up to which is looked; beyond it a filter would read too much at once.

        Cursors have holes, where records were forgotten or a backup was restored, so rows are counted and not cursors.
        """
        start = wanted.shard << POSITION_BITS
        query = (
            sa.select(records.c.position)
            .where(records.c.position.between(start + wanted.after + 1, start + last))
            .order_by(records.c.position)
            .offset(SCANNED_MAX - 1)
            .limit(1)
        )
        found = connection.execute(query).scalar()
        return last if found is None else int(found) - start

    def _told(
        self, connection: sa.Connection, rows: Iterable[sa.Row[tuple[object, ...]]], passes: Passes | None
    ) -> Iterator[Told]:
        for row in rows:
            record = decode_record(row.raw)
            if passes is not None:
                context = self._outgoings.context_of(connection, row.box_no, record)
                if not passes(class_of_stream(row.stream), row.controller, record, context):
                    continue
            yield self._told_of(connection, row, record)

    def _told_of(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]], record: AnyRecord) -> Told:
        cursor = row.position & ((1 << POSITION_BITS) - 1)
        return Told(
            cursor,
            row.controller,
            row.box,
            row.stream,
            row.seq,
            class_of_stream(row.stream),
            NAME_OF[type(record)],
            row.received_ms,
            self._outgoings.topic_of(connection, row, record),
            encode(Published(cursor, row.box, row.stream, row.seq, msgspec.Raw(row.raw))),
            record,
        )
