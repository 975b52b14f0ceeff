"""Where documents are published: judged as a box would judge them, kept, and never sent when a box would refuse them.

    document ──publish──▶ offered to the standing of each controller it speaks of ──▶ documents, standings
                              └── one of them refuses: nothing is kept, and one sentence says why

A fleet can only carry documents: boxes verify them again, and know nothing of this module's opinion.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.authority import ROOT_BYTES_MAX, Root, verify_stop
from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.envelope import DocumentType, Envelope, read_envelope, short_name
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.policy_document import (
    Controller,
    Policy,
    PolicyRejectedError,
    decode_document,
    document_sha256,
)
from veilleur_contracts.standing import Standing, enrol, keep, offer, recall
from veilleur_fleet.access.actions import By, note
from veilleur_fleet.drafts import DraftRejectedError, check_filled_in
from veilleur_fleet.drafts import document_of as read_written
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.store.database import UNAVAILABLE
from veilleur_fleet.store.documents import (
    DocumentRow,
    StandingRow,
    document_of,
    put_document,
    put_standing,
    standing_of,
)

WHO_CHARACTERS_MAX: Final = 100


class PublicationRefusedError(RejectedError):
    """A document that is not published; the sentence says why.

    Attributes:
        why: Name of the error that a box, or the fleet, would raise of it; empty where there is no other.
    """

    def __init__(self, sentence: str, why: str = "") -> None:
        super().__init__(sentence)
        self.why = why


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published.

    Attributes:
        kind: root, policy or stop.
        sha256: Of the document that was signed, as ``policy sign`` says it and as ``lifts`` names a stop.
        version: Of a root or policy.
        controllers: Whose boxes will be given it.
        is_new: Whether it was not published before.
    """

    kind: str
    sha256: str
    version: int | None
    controllers: tuple[Controller, ...]
    is_new: bool


class Desk:
    """The documents of one fleet; holds nothing but the way to them.

    Args:
        engine: Writes beside the fleet: ``Database.desk``, or ``open_desk`` of a folder.
        clock: For the dates of documents.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def publish(self, document: bytes, who: str, capacity: str = "server") -> Publication:
        """Publish a signed policy, stop or root, and note who did; boxes are told within seconds.

        Args:
            document: An envelope.
            who: Who does it, as a person would say it.
            capacity: In what capacity; ``server``: by a command.

        Raises:
            PublicationRefusedError: A box would refuse it, or the fleet has no root to judge it by.
            StoreUnavailableError: The database does not take it now; nothing was kept.
        """
        try:
            with self._engine.begin() as connection:
                return self._publish(connection, document, By(who[:WHO_CHARACTERS_MAX], capacity))
        except (PolicyRejectedError, DraftRejectedError) as error:
            raise PublicationRefusedError(str(error), type(error).__name__) from None
        except UNAVAILABLE as error:
            reason = getattr(error, "orig", error)
            raise StoreUnavailableError(f"the database did not take the document: {reason}; try again") from None

    def standings(self) -> dict[Controller, Standing]:
        """Return what follows for each controller from what was published; empty while there is no root."""
        with self._engine.connect() as connection:
            return standings_in(connection)

    def _publish(self, connection: sa.Connection, document: bytes, by: By) -> Publication:
        envelope = read_envelope(document)
        kind = envelope.payload_type
        sha256 = hashlib.sha256(document).hexdigest()
        if kind is DocumentType.CONTACT:
            raise PublicationRefusedError("a word from the fleet is said by the fleet itself; publish what people sign")
        before = standings_in(connection)
        is_new = document_of(connection, sha256) is None
        if not before and kind is not DocumentType.ROOT:
            raise PublicationRefusedError("the fleet knows no root yet: give it with `veilleur-fleet steer root FILE`")
        if is_new:
            check_filled_in(read_written(envelope))
        after = self._judged(envelope, document, before) if is_new else {}
        version = version_in(envelope)
        row = DocumentRow(
            sha256,
            short_name(kind),
            document_sha256(envelope.content()),
            version,
            self._clock.now_ms(),
            by.who,
            len(document),
        )
        put_document(connection, row, document)
        for controller, standing in after.items():
            self._put(connection, controller, standing, sha256)
        if is_new:
            note(connection, row.published_ms, by, "document.published", {"kind": row.kind, "sha256": row.content})
        return Publication(row.kind, row.content, version, tuple(sorted(after)), is_new)

    def _judged(
        self, envelope: Envelope, document: bytes, before: Mapping[Controller, Standing]
    ) -> dict[Controller, Standing]:
        """Return the standings that ``document`` makes of ``before``.

        Raises:
            PolicyRejectedError: A box of a controller that it speaks of would refuse it.
        """
        if not before:
            return {controller: enrol(document, controller) for controller in Controller}
        now = datetime_of(self._clock.now_ms())
        concerned = concerned_by(envelope, document, before)
        return {controller: offer(before[controller], document, now) for controller in concerned}

    def _put(self, connection: sa.Connection, controller: Controller, standing: Standing, sha256: str) -> None:
        row = standing_of(connection, controller.value)
        pinned, contact = (sha256, None) if row is None else (row.pinned, row.contact)
        now_ms = self._clock.now_ms()
        changed_ms = now_ms if row is None else max(now_ms, row.changed_ms + 1)
        put_standing(connection, controller.value, StandingRow(pinned, keep(standing), contact, changed_ms))


def standings_in(connection: sa.Connection) -> dict[Controller, Standing]:
    """Return what follows for each controller, verified again from the pinned root on.

    Raises:
        PolicyRejectedError: The database was tampered with.
    """
    found = {}
    for controller in Controller:
        row = standing_of(connection, controller.value)
        pinned = None if row is None else document_of(connection, row.pinned)
        if row is not None and pinned is not None:
            found[controller] = recall(row.kept, pinned)
    return found


def concerned_by(
    envelope: Envelope, document: bytes, standings: Mapping[Controller, Standing]
) -> tuple[Controller, ...]:
    """Return whose boxes must be given a document: everybody a root, and of the others those it speaks of.

    A policy for one controller that follows a policy for both takes something from the other, whose boxes must know.
    """
    if envelope.payload_type is DocumentType.ROOT:
        return tuple(standings)
    if envelope.payload_type is DocumentType.STOP:
        stop, _ = verify_stop(document, next(iter(standings.values())).root)
        return tuple(sorted(stop.scope.controllers))
    scope = decode_document(envelope.content(), Policy).scope.controllers
    followed = {
        controller
        for controller, standing in standings.items()
        if standing.policy is not None and standing.policy.scope.controllers & scope
    }
    return tuple(sorted(scope | followed))


def version_in(envelope: Envelope) -> int | None:
    """Return the version of a root or policy that was judged good; None of a document that has none."""
    if envelope.payload_type not in {DocumentType.ROOT, DocumentType.POLICY}:
        return None
    if envelope.payload_type is DocumentType.ROOT:
        return decode_document(envelope.content(), Root, ROOT_BYTES_MAX).version
    return decode_document(envelope.content(), Policy).version
