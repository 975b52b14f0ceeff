"""What consumers have not been told yet: records after the published mark, with the topic each belongs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.codec import decode_record, encode
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.messages import AnyRecord, Context, Published, class_of_stream
from veilleur_contracts.topics import out_technical_topic, out_topic
from veilleur_fleet.store.cameras import as_context
from veilleur_fleet.store.database import reading
from veilleur_fleet.store.kinds import NAME_OF, OfContext, OfSensor
from veilleur_fleet.store.tables import boxes, contexts, records, shards
from veilleur_fleet.store.work import POSITION_BITS

SLICE: Final = 50
"""As many as one publication waits for, so that shards told beside each other take short turns."""
_CONTEXTS_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for consumers.

    Attributes:
        cursor: Its place in its shard.
        topic: Where consumers find it.
        payload: An encoded ``Published``.
        retain: Whether the broker keeps it for those who come later: a camera's Context, without which its windows
            cannot be read.
    """

    cursor: int
    topic: str
    payload: bytes
    retain: bool


class Outgoings:
    """Reads what is to be published. Keeps ``_CONTEXTS_KEPT`` Contexts in mind."""

    def __init__(self, readers: sa.Engine, only: Sequence[int] = tuple(range(SHARDS))) -> None:
        self._readers = readers
        self._only = tuple(only)
        self._contexts: dict[tuple[int, int], Context] = {}

    def behind(self) -> list[tuple[int, int, int]]:
        """Return ``(shard, published, last)`` of each of our shards with something to publish.

        Raises:
            StoreUnavailableError: The database does not answer now.
        """
        query = sa.select(shards.c.shard, shards.c.published, shards.c.last).where(
            shards.c.published < shards.c.last, shards.c.shard.in_(self._only)
        )
        with reading(self._readers) as connection:
            return [(row.shard, row.published, row.last) for row in connection.execute(query.order_by(shards.c.shard))]

    def after(self, shard: int, cursor: int) -> list[Outgoing]:
        """Return the next messages of ``shard`` after ``cursor``, in order, ``SLICE`` at most.

        Raises:
            StoreUnavailableError: The database does not answer now.
        """
        start = shard << POSITION_BITS
        query = (
            sa.select(records, boxes.c.box, boxes.c.controller)
            .join_from(records, boxes, records.c.box_no == boxes.c.box_no)
            .where(records.c.position > start + cursor, records.c.position < start + (1 << POSITION_BITS))
            .order_by(records.c.position)
            .limit(SLICE)
        )
        with reading(self._readers) as connection:
            return [self._outgoing_of(connection, row) for row in connection.execute(query)]

    def topic_of(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]], record: AnyRecord) -> str:
        """Return where consumers find ``record``, which stands in ``row``."""
        kind, context = NAME_OF[type(record)], self.context_of(connection, row.box_no, record)
        if isinstance(record, OfSensor):
            return out_topic(row.controller, class_of_stream(row.stream), record.insee, record.sensor, kind)
        if context is None:
            return out_technical_topic(row.controller, row.box, kind)
        return out_topic(row.controller, class_of_stream(row.stream), context.insee, context.camera, kind)

    def context_of(self, connection: sa.Connection, box_no: int, record: AnyRecord) -> Context | None:
        """Return what ``record`` of the box refers to; None: it is a whole box's."""
        if isinstance(record, OfContext):
            return self._context(connection, box_no, record.context)
        return record if isinstance(record, Context) else None

    def _outgoing_of(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> Outgoing:
        record = decode_record(row.raw)
        cursor = row.position & ((1 << POSITION_BITS) - 1)
        told = Published(cursor, row.box, row.stream, row.seq, msgspec.Raw(row.raw))
        topic = self.topic_of(connection, row, record)
        return Outgoing(cursor, topic, encode(told), isinstance(record, Context))

    def _context(self, connection: sa.Connection, box_no: int, number: int) -> Context:
        context = self._contexts.get((box_no, number))
        if context is None:
            query = sa.select(contexts.c.raw).where(contexts.c.box_no == box_no, contexts.c.number == number)
            context = as_context(connection.execute(query).scalar_one())
            if len(self._contexts) >= _CONTEXTS_KEPT:
                self._contexts.clear()
            self._contexts[(box_no, number)] = context
        return context
