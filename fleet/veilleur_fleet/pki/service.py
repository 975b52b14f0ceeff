"""Authority and register together: what enrolment, renewal and the fleet's own commands ask for.

token ──invite──▶ person ──▶ box ──enrol(token, csr)──▶ certificate ──renew(serial, csr)──▶ certificate
"""

import hashlib
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.enrolment import EnrolmentRejectedError, Refusal, Token
from veilleur_contracts.rights import Holder, Role
from veilleur_fleet.access.actions import By
from veilleur_fleet.errors import EnrolmentRefusedError, PkiRejectedError
from veilleur_fleet.pki.authority import (
    LIFE,
    Authority,
    key_of_csr,
    key_pem_of,
    new_key,
    pem_of,
    serial_text,
)
from veilleur_fleet.pki.register import FLEET, Certified, Register

EVICTION_LIFE: Final = timedelta(minutes=5)


class Pki:
    """Issues and revokes.

    Args:
        authority: What signs.
        register: What remembers.
        clock: What time it is.
        life: Of client certificates.
    """

    def __init__(self, authority: Authority, register: Register, clock: Clock, life: timedelta = LIFE) -> None:
        self.authority = authority
        self.register = register
        self._clock = clock
        self._life = life

    def invite(self, holder: Holder, life: timedelta, by: By = FLEET) -> Token:
        """Return a new one-time token for ``holder``; the register keeps only its digest.

        Raises:
            PkiRejectedError: The name is another's, or no box's.
        """
        if holder.role is not Role.BOX:
            message = "only boxes enrol with a token; give others a certificate with veilleur-fleet pki issue"
            raise PkiRejectedError(message)
        token, now_ms = Token.make(self.authority.sha256), self._clock.now_ms()
        self.register.invite(holder, token.digest, now_ms, now_ms + round(life.total_seconds() * 1000), by)
        return token

    def enrol(self, token: str, csr: str) -> tuple[Holder, Certified]:
        """Exchange a token and a request for the first certificate.

        Raises:
            EnrolmentRefusedError: With the reason.
        """
        try:
            digest = Token.read(token).digest
        except EnrolmentRejectedError:
            raise EnrolmentRefusedError(Refusal.TOKEN_UNKNOWN) from None
        key = _key_of(csr)
        return self.register.enrol(digest, key_digest_of(key), self._clock.now_ms(), lambda of: self._sign(of, key))

    def renew(self, serial: str, csr: str) -> tuple[Holder, Certified]:
        """Give the holder of ``serial`` the next certificate, for the key of ``csr``.

        Raises:
            EnrolmentRefusedError: With the reason.
        """
        key = _key_of(csr)
        return self.register.renew(serial, key_digest_of(key), self._clock.now_ms(), lambda of: self._sign(of, key))

    def issue(self, holder: Holder, life: timedelta = LIFE, by: By = FLEET) -> tuple[Certified, str]:
        """Return a certificate and its private key (PEM) for a program on the fleet's side.

        Raises:
            PkiRejectedError: The name is another's.
        """
        key = new_key()
        made = self.register.issue(holder, self._clock.now_ms(), lambda of: self._sign(of, key.public_key(), life), by)
        return made, key_pem_of(key)

    def evicting(self, holder: Holder) -> str:
        """Return certificate and key (PEM) good for minutes, to take the place of ``holder`` at the broker.

        It is in no register: whoever holds it has no rights but the holder's name.
        """
        key = new_key()
        certificate = self.authority.issue(holder, key.public_key(), self._clock, EVICTION_LIFE)
        return pem_of(certificate) + key_pem_of(key)

    def crl(self) -> bytes:
        """Return the revocation list of now, PEM."""
        revoked = self.register.revoked(self._clock.now_ms())
        return self.authority.crl(((int(one.serial, 16), datetime_of(one.revoked_ms)) for one in revoked), self._clock)

    def _sign(self, holder: Holder, key: ec.EllipticCurvePublicKey, life: timedelta | None = None) -> Certified:
        certificate = self.authority.issue(holder, key, self._clock, life or self._life)
        return Certified(
            serial_text(certificate),
            key_digest_of(key),
            self._clock.now_ms(),
            round(certificate.not_valid_after_utc.timestamp() * 1000),
            pem_of(certificate),
        )


def key_digest_of(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key (SubjectPublicKeyInfo, DER)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _key_of(csr: str) -> ec.EllipticCurvePublicKey:
    try:
        return key_of_csr(csr)
    except PkiRejectedError:
        raise EnrolmentRefusedError(Refusal.CSR) from None
