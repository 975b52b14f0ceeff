"""Who was invited, who holds which certificate, and which are revoked; each step one transaction.

invite ──▶ enrolments ──enrol, once──▶ certificates ──renew──▶ certificates ──revoke──▶ on the CRL
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from veilleur_contracts.enrolment import Refusal
from veilleur_contracts.rights import Holder, Role
from veilleur_fleet.access.actions import By, note
from veilleur_fleet.errors import EnrolmentRefusedError, PkiRejectedError
from veilleur_fleet.store.tables import boxes, certificates, enrolments, identities

RENEWALS_A_DAY_MAX: Final = 24
DAY_MS: Final = 86_400_000
KEPT_AFTER_END_MS: Final = 400 * DAY_MS
"""Certificates that have ended are kept a while, for who asks who was who."""
LISTED_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate as the register keeps it.

    Attributes:
        serial: Hexadecimal.
        key_digest: SHA-256 of its public key.
        issued_ms: When it was made.
        expires_ms: When it ends.
        pem: The certificate.
    """

    serial: str
    key_digest: str
    issued_ms: int
    expires_ms: int
    pem: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that must not be let in any more, although it has not ended."""

    serial: str
    name: str
    revoked_ms: int


@dataclass(frozen=True, slots=True)
class Listed:
    """What a person is shown of one holder.

    Attributes:
        holder: Who.
        expires_ms: End of the newest certificate that is good; None: there is none.
        invited_until_ms: End of the newest token not used yet; None: there is none.
        is_revoked: Whether there is no good certificate, and the newest was revoked.
    """

    holder: Holder
    expires_ms: int | None
    invited_until_ms: int | None
    is_revoked: bool


Sign = Callable[[Holder], Certified]
FLEET: Final = By("fleet", "server")
"""Who issues what the fleet needs itself."""


class Register:
    """The tables of identity.

    Args:
        desk: An engine whose transactions take the write lock when they begin.
        readers: An engine to read with; None: the same.
    """

    def __init__(self, desk: sa.Engine, readers: sa.Engine | None = None) -> None:
        self._desk = desk
        self._readers = readers or desk

    def invite(self, holder: Holder, digest: str, now_ms: int, expires_ms: int, by: By = FLEET) -> None:
        """Keep the digest of a new token for ``holder``; older tokens of his that were not used are withdrawn.

        Raises:
            PkiRejectedError: The name belongs to another controller or role.
        """
        with self._desk.begin() as transaction:
            self._settle(transaction, holder, now_ms)
            _withdraw(transaction, holder.name, now_ms)
            note(transaction, now_ms, by, "box.invited", {"name": holder.name, "controller": holder.controller})
            transaction.execute(
                sa.insert(enrolments).values(digest=digest, name=holder.name, created_ms=now_ms, expires_ms=expires_ms)
            )

    def enrol(self, digest: str, key_digest: str, now_ms: int, sign: Sign) -> tuple[Holder, Certified]:
        """Use a token for a key; the same token with the same key gives the same certificate again.

        Raises:
            EnrolmentRefusedError: The token is unknown, used, withdrawn or over.
        """
        with self._desk.begin() as transaction:
            row = transaction.execute(
                sa.select(enrolments, identities.c.role, identities.c.controller)
                .join_from(enrolments, identities, enrolments.c.name == identities.c.name)
                .where(enrolments.c.digest == digest)
            ).one_or_none()
            if row is None:
                raise EnrolmentRefusedError(Refusal.TOKEN_UNKNOWN)
            if row.withdrawn_ms is not None or row.expires_ms <= now_ms:
                raise EnrolmentRefusedError(Refusal.TOKEN_EXPIRED)
            holder = Holder(row.name, Role(row.role), row.controller)
            if row.used_ms is not None:
                again = _good_of_key(transaction, row.name, key_digest, now_ms)
                if row.key_digest != key_digest or again is None:
                    raise EnrolmentRefusedError(Refusal.TOKEN_USED)
                return holder, again
            use = sa.update(enrolments).where(enrolments.c.digest == digest, enrolments.c.used_ms.is_(None))
            if transaction.execute(use.values(used_ms=now_ms, key_digest=key_digest)).rowcount != 1:
                raise EnrolmentRefusedError(Refusal.TOKEN_USED)
            return holder, _keep(transaction, holder, sign)

    def renew(self, serial: str, key_digest: str, now_ms: int, sign: Sign) -> tuple[Holder, Certified]:
        """Give the holder of ``serial`` the next certificate; asked again for the same key, the same one.

        Raises:
            EnrolmentRefusedError: Nobody's certificate, a revoked or ended one, or too many in one day.
        """
        with self._desk.begin() as transaction:
            holder = _holder_of(transaction, serial, now_ms)
            again = _good_of_key(transaction, holder.name, key_digest, now_ms)
            if again is not None:
                return holder, again
            many = sa.select(sa.func.count()).select_from(certificates)
            many = many.where(certificates.c.name == holder.name, certificates.c.issued_ms > now_ms - DAY_MS)
            if transaction.execute(many).scalar_one() >= RENEWALS_A_DAY_MAX:
                raise EnrolmentRefusedError(Refusal.TOO_MANY)
            return holder, _keep(transaction, holder, sign)

    def issue(self, holder: Holder, now_ms: int, sign: Sign, by: By = FLEET) -> Certified:
        """Keep a certificate that was asked for on the fleet's own machine.

        Raises:
            PkiRejectedError: The name belongs to another controller or role.
        """
        with self._desk.begin() as transaction:
            self._settle(transaction, holder, now_ms)
            made = _keep(transaction, holder, sign)
            note(transaction, now_ms, by, "certificate.issued", {"name": holder.name, "serial": made.serial})
            return made

    def revoke(self, name: str, now_ms: int, by: By = FLEET) -> int:
        """Revoke every certificate of ``name`` that is good, and withdraw its tokens; return how many certificates.

        Raises:
            PkiRejectedError: Nobody is called so.
        """
        with self._desk.begin() as transaction:
            known = sa.select(identities.c.name).where(identities.c.name == name)
            if transaction.execute(known).one_or_none() is None:
                message = f"nobody is called {name}: veilleur-fleet pki list says who is"
                raise PkiRejectedError(message)
            _withdraw(transaction, name, now_ms)
            good = sa.update(certificates).where(certificates.c.name == name, *_good(now_ms))
            many = transaction.execute(good.values(revoked_ms=now_ms)).rowcount
            note(transaction, now_ms, by, "certificate.revoked", {"name": name, "certificates": many})
            return many

    def holder_of(self, serial: str, now_ms: int) -> Holder:
        """Return who holds the certificate ``serial``.

        Raises:
            EnrolmentRefusedError: Nobody's certificate, or a revoked or ended one.
        """
        with self._readers.connect() as connection:
            return _holder_of(connection, serial, now_ms)

    def holders(self, now_ms: int) -> Sequence[Holder]:
        """Return everybody who holds a good certificate, by name."""
        query = (
            sa.select(identities.c.name, identities.c.role, identities.c.controller)
            .where(identities.c.name.in_(sa.select(certificates.c.name).where(*_good(now_ms))))
            .order_by(identities.c.name)
        )
        with self._readers.connect() as connection:
            return [Holder(row.name, Role(row.role), row.controller) for row in connection.execute(query)]

    def revoked(self, now_ms: int) -> Sequence[Revoked]:
        """Return every revoked certificate that has not ended, the oldest first."""
        query = (
            sa.select(certificates.c.serial, certificates.c.name, certificates.c.revoked_ms)
            .where(certificates.c.revoked_ms.is_not(None), certificates.c.expires_ms > now_ms - DAY_MS)
            .order_by(certificates.c.revoked_ms, certificates.c.serial)
        )
        with self._readers.connect() as connection:
            return [Revoked(row.serial, row.name, row.revoked_ms) for row in connection.execute(query)]

    def listed(self, now_ms: int) -> Sequence[Listed]:
        """Return everybody, by name."""
        good = sa.select(certificates.c.name, sa.func.max(certificates.c.expires_ms)).where(*_good(now_ms))
        gone = sa.select(certificates.c.name).where(certificates.c.revoked_ms.is_not(None)).distinct()
        open_ = sa.select(enrolments.c.name, sa.func.max(enrolments.c.expires_ms)).where(
            enrolments.c.used_ms.is_(None), enrolments.c.withdrawn_ms.is_(None), enrolments.c.expires_ms > now_ms
        )
        with self._readers.connect() as connection:
            ends = {row[0]: row[1] for row in connection.execute(good.group_by(certificates.c.name))}
            revoked = {row[0] for row in connection.execute(gone)}
            invited = {row[0]: row[1] for row in connection.execute(open_.group_by(enrolments.c.name))}
            everybody = connection.execute(sa.select(identities).order_by(identities.c.name).limit(LISTED_MAX)).all()
        return [
            Listed(
                Holder(row.name, Role(row.role), row.controller),
                ends.get(row.name),
                invited.get(row.name),
                row.name in revoked and row.name not in ends,
            )
            for row in everybody
        ]

    def forget_ended(self, now_ms: int) -> int:
        """Delete certificates that ended long ago and tokens that are over; return how many rows went."""
        before = now_ms - KEPT_AFTER_END_MS
        with self._desk.begin() as transaction:
            gone = transaction.execute(sa.delete(certificates).where(certificates.c.expires_ms < before)).rowcount
            return gone + transaction.execute(sa.delete(enrolments).where(enrolments.c.expires_ms < before)).rowcount

    def _settle(self, transaction: sa.Connection, holder: Holder, now_ms: int) -> None:
        """Bind the name to its role and controller, the first time; refuse another, for ever after."""
        found = transaction.execute(sa.select(identities).where(identities.c.name == holder.name)).one_or_none()
        heard = sa.select(boxes.c.controller).where(boxes.c.box == holder.name)
        owner = transaction.execute(heard).scalar() if holder.role is Role.BOX else None
        owner = owner if found is None else found.controller
        if (found is not None or owner is not None) and owner != holder.controller:
            message = f"{holder.name} belongs to {owner or 'every controller'}: choose another name"
            raise PkiRejectedError(message)
        if found is None:
            values = {"role": holder.role.value, "controller": holder.controller, "created_ms": now_ms}
            transaction.execute(sa.insert(identities).values(name=holder.name, **values))


def _good(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return certificates.c.revoked_ms.is_(None), certificates.c.expires_ms > now_ms


def _good_of_key(transaction: sa.Connection, name: str, key_digest: str, now_ms: int) -> Certified | None:
    """Return the newest good certificate of ``name`` for that key."""
    query = (
        sa.select(certificates)
        .where(certificates.c.name == name, certificates.c.key_digest == key_digest, *_good(now_ms))
        .order_by(certificates.c.issued_ms.desc())
        .limit(1)
    )
    row: Any = transaction.execute(query).one_or_none()
    return None if row is None else Certified(row.serial, row.key_digest, row.issued_ms, row.expires_ms, row.pem)


def _holder_of(transaction: sa.Connection, serial: str, now_ms: int) -> Holder:
    row = transaction.execute(
        sa.select(certificates.c.revoked_ms, certificates.c.expires_ms, identities)
        .join_from(certificates, identities, certificates.c.name == identities.c.name)
        .where(certificates.c.serial == serial)
    ).one_or_none()
    if row is None or row.expires_ms <= now_ms:
        raise EnrolmentRefusedError(Refusal.UNKNOWN_CERTIFICATE)
    if row.revoked_ms is not None:
        raise EnrolmentRefusedError(Refusal.REVOKED)
    return Holder(row.name, Role(row.role), row.controller)


def _withdraw(transaction: sa.Connection, name: str, now_ms: int) -> None:
    transaction.execute(
        sa.update(enrolments)
        .where(enrolments.c.name == name, enrolments.c.used_ms.is_(None), enrolments.c.withdrawn_ms.is_(None))
        .values(withdrawn_ms=now_ms)
    )


def _keep(transaction: sa.Connection, holder: Holder, sign: Sign) -> Certified:
    made = sign(holder)
    transaction.execute(
        sa.insert(certificates).values(
            serial=made.serial,
            name=holder.name,
            key_digest=made.key_digest,
            issued_ms=made.issued_ms,
            expires_ms=made.expires_ms,
            pem=made.pem,
        )
    )
    return made
