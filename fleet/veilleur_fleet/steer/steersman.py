"""Keep the boxes' twins up to date and tell each box of its own, for as long as the fleet runs.

    standings, boxes ──round──▶ word signed, twins ──tell──▶ dn/twin, retained
                    (each second, when something changed)

The truth is in the database: a broker that forgot what it retained is told again with the next connection.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.codec import encode
from veilleur_contracts.envelope import DocumentType, key_id_of, read_envelope, seal, sign, write_envelope
from veilleur_contracts.ids import shard_of
from veilleur_contracts.messages import TWIN_DOCUMENTS_MAX, Pointer, Twin
from veilleur_contracts.policy_document import (
    Contact,
    Controller,
    PolicyRejectedError,
    Role,
    canonical,
    decode_document,
    document_sha256,
)
from veilleur_contracts.standing import Standing
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.metrics import Alarm
from veilleur_fleet.steer.desk import standings_in
from veilleur_fleet.steer.twins import Pointers, pointers_of, word_for
from veilleur_fleet.store.database import EVERY_SHARD, UNAVAILABLE
from veilleur_fleet.store.documents import (
    DocumentRow,
    StandingRow,
    TwinRow,
    document_of,
    forget_contacts,
    put_document,
    put_standing,
    put_twins,
    standing_of,
    twins_in,
)
from veilleur_fleet.store.tables import boxes, standings
from veilleur_fleet.tell import Said, Speaker

LOOK_EVERY_S: Final = 1.0
REFUSED_PAUSE_S: Final = 10.0
WORDS_KEPT: Final = 8
"""A box may still be fetching the one before the last."""
THE_FLEET: Final = "the fleet"


class Steersman:
    """Writes twins and says them. Holds the sequence that each box was told on this connection.

    Args:
        desk: Writes beside the fleet's writer.
        readers: Only reads.
        clock: For dates, and for how old a word is.
        key: Signs the fleet's word; None: it gives none, and boxes hear of the fleet only from their mouth.
        shards: Whose boxes are ours: of two workers that told the same box, the slower would leave it the older twin.
    """

    def __init__(
        self,
        desk: sa.Engine,
        readers: sa.Engine,
        clock: Clock,
        key: Ed25519PrivateKey | None,
        shards: Sequence[int] = EVERY_SHARD,
    ) -> None:
        self._desk = desk
        self._readers = readers
        self._clock = clock
        self._key = key
        self._shards = frozenset(shards)
        self._log = structlog.get_logger()
        self._alarm = Alarm(clock)
        self._seen: object = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Look for what changed, for ever."""
        while True:
            try:
                if await asyncio.to_thread(self.turn):
                    self._changed.set()
            except (*UNAVAILABLE, PolicyRejectedError) as error:
                self._note_kept(error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def tell(self, speaker: Speaker) -> None:
        """Tell every box of its twin on a new connection, and again of each change; for ever."""
        told: dict[str, int] = {}
        while True:
            self._changed.clear()
            try:
                twins = await asyncio.to_thread(self._twins)
            except UNAVAILABLE as error:
                self._note_kept(error)
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            rows = [row for row in twins.values() if told.get(row.box) != row.sequence]
            refused = await speaker.say([said_of(row) for row in rows])
            if refused:
                if self._alarm.is_due("refused"):
                    self._log.warning("twin.refused", count=refused, remedy="give the fleet's account that right")
                await asyncio.sleep(REFUSED_PAUSE_S)
                continue
            told.update((row.box, row.sequence) for row in rows)
            await self._changed.wait()

    def _note_kept(self, error: Exception) -> None:
        if self._alarm.is_due("kept"):
            self._log.warning("twins.kept", reason=str(getattr(error, "orig", error)))

    def turn(self) -> bool:
        """Sign what is due and write the twins that are to be others; tell whether there was any."""
        with self._readers.connect() as connection:
            seen = (_state_of(connection), self._clock.now_ms() // 60_000)
        if seen == self._seen:
            return False
        with self._desk.begin() as connection:
            found = standings_in(connection)
            pointers = {controller: self._pointers(connection, controller, found[controller]) for controller in found}
            did_change = self._write_twins(connection, pointers)
            words = (standing_of(connection, controller.value) for controller in found)
            said = frozenset(row.contact for row in words if row is not None and row.contact is not None)
            forget_contacts(connection, said, WORDS_KEPT)
            state = _state_of(connection)
        self._seen = (state, seen[1])
        return did_change

    def _pointers(self, connection: sa.Connection, controller: Controller, standing: Standing) -> Pointers:
        """Return what boxes of ``controller`` should hold, with a word that is signed now if it is due."""
        row = standing_of(connection, controller.value)
        raw = None if row is None or row.contact is None else document_of(connection, row.contact)
        if row is not None and self._may_sign(standing):
            last = None if raw is None else decode_document(read_envelope(raw).content(), Contact)
            word = word_for(controller, standing, last, datetime_of(self._clock.now_ms()))
            raw = raw if word is None else self._say(connection, controller, row, word)
        pointers = pointers_of(standing, raw)
        if len(pointers) > TWIN_DOCUMENTS_MAX:
            raise PolicyRejectedError(f"{len(pointers)} documents are in force for {controller.value}: too many")
        return pointers

    def _may_sign(self, standing: Standing) -> bool:
        if self._key is None:
            return False
        held = standing.root.roles.get(Role.FLEET)
        knows = held is not None and key_id_of(self._key.public_key().public_bytes_raw()) in held.keys
        if not knows and self._alarm.is_due("key"):
            self._log.warning("fleet.key_unknown", remedy="name its public half in the root: --public fleet=FILE.pub")
        return knows

    def _say(self, connection: sa.Connection, controller: Controller, row: StandingRow, word: Contact) -> bytes:
        if self._key is None:
            raise ValueError("a fleet without a key has no word")
        content = canonical(word)
        raw = write_envelope(sign(seal(content, DocumentType.CONTACT), self._key))
        sha256, now_ms = hashlib.sha256(raw).hexdigest(), self._clock.now_ms()
        entry = DocumentRow(sha256, "contact", document_sha256(content), None, now_ms, THE_FLEET, len(raw))
        put_document(connection, entry, raw)
        put_standing(connection, controller.value, StandingRow(row.pinned, row.kept, sha256, row.changed_ms))
        return raw

    def _write_twins(self, connection: sa.Connection, pointers: dict[Controller, Pointers]) -> bool:
        held = twins_in(connection)
        rows = []
        for box, controller in connection.execute(sa.select(boxes.c.box, boxes.c.controller)).all():
            wanted = pointers.get(controller) if shard_of(box) in self._shards else None
            before = held.get(box)
            if wanted is None or (before is not None and before.documents == wanted):
                continue
            sequence = max(self._clock.now_ms(), 0 if before is None else before.sequence + 1)
            rows.append(TwinRow(box, controller, sequence, wanted))
        put_twins(connection, rows)
        return bool(rows)

    def _twins(self) -> dict[str, TwinRow]:
        with self._readers.connect() as connection:
            return {box: row for box, row in twins_in(connection).items() if shard_of(box) in self._shards}


def twin_in(row: TwinRow) -> Twin:
    """Return what a box is told."""
    return Twin(row.sequence, tuple(Pointer(*one) for one in row.documents))


def said_of(row: TwinRow) -> Said:
    """Return the message that tells a box of its twin."""
    return Said(down_topic(row.controller, row.box, Down.TWIN), encode(twin_in(row)), retain=True)


def _state_of(connection: sa.Connection) -> object:
    """Return what changes whenever a twin may have to."""
    steered = connection.execute(
        sa.select(standings.c.controller, standings.c.changed_ms, standings.c.contact).order_by(standings.c.controller)
    ).all()
    return (tuple(map(tuple, steered)), connection.execute(sa.select(sa.func.count()).select_from(boxes)).scalar())
