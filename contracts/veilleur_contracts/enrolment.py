"""How a box gets its certificate from the fleet, and the next one: what is said, and its bounds.

    box ──GET /v1/ca──────▶ fleet    the authority's certificate, which must be the one the token names
    box ──POST /v1/enrol──▶ fleet    EnrolRequest(token, csr)  ──▶ Issued
    box ──POST /v1/renew──▶ fleet    RenewRequest(csr), with its certificate ──▶ Issued

The private key never leaves the box.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import Slug

TOKEN_CHARACTERS: Final = 83
SECRET_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 32
BODY_BYTES_MAX: Final = 8192
ANSWER_BYTES_MAX: Final = 32_768
FINGERPRINT_PREFIX: Final = "sha256:"
CA_PATH: Final = "/v1/ca"
ENROL_PATH: Final = "/v1/enrol"
RENEW_PATH: Final = "/v1/renew"
RENEW_AFTER: Final = 2 / 3
"""Share of a certificate's life after which its holder asks for the next."""

_PREFIX: Final = "vt1"
_SECRET_CHARACTERS: Final = 26
_FINGERPRINT_CHARACTERS: Final = 52
Pem = Annotated[str, Meta(max_length=8192)]


class EnrolmentRejectedError(RejectedError):
    """A token or fingerprint that is not written as ours are."""


class Refusal(StrEnum):
    """Why the fleet issues no certificate."""

    MALFORMED = "malformed"
    TOKEN_UNKNOWN = "token-unknown"  # noqa: S105 - a reason
    TOKEN_USED = "token-used"  # noqa: S105 - a reason
    TOKEN_EXPIRED = "token-expired"  # noqa: S105 - a reason
    REVOKED = "revoked"
    UNKNOWN_CERTIFICATE = "unknown-certificate"
    CSR = "csr"
    TOO_MANY = "too-many"
    UNAVAILABLE = "unavailable"


class EnrolmentMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A thing that box and fleet say about certificates, in JSON."""


class EnrolRequest(EnrolmentMessage, frozen=True):
    """A box asks for its first certificate.

    Attributes:
        token: The one-time token.
        csr: PKCS #10 in PEM; only its key is looked at, the names come from the token.
    """

    token: Annotated[str, Meta(max_length=TOKEN_CHARACTERS)]
    csr: Pem

    def __repr__(self) -> str:
        """Show nothing: it holds a token."""
        return "EnrolRequest(…)"


class RenewRequest(EnrolmentMessage, frozen=True):
    """A box asks for its next certificate, over a connection with the one it has."""

    csr: Pem


class Issued(EnrolmentMessage, frozen=True):
    """A certificate.

    Attributes:
        certificate: PEM.
        ca: The authority's, PEM.
        box: The name in it.
        controller: Who answers for the box's cameras.
        broker: Where the box speaks: ``mqtts://host:port``.
    """

    certificate: Pem
    ca: Pem
    box: Slug
    controller: Slug
    broker: Annotated[str, Meta(max_length=300)]


class Refused(EnrolmentMessage, frozen=True):
    """No certificate."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class Token:
    """A one-time token: a secret, and which authority its fleet has, so that a box tells it to no other.

    Attributes:
        secret: 16 random bytes.
        ca_sha256: SHA-256 of the authority's certificate (DER).
    """

    secret: bytes
    ca_sha256: bytes

    @classmethod
    def make(cls, ca_sha256: bytes) -> Self:
        """Return a new one."""
        return cls(secrets.token_bytes(SECRET_BYTES), ca_sha256)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what ``write`` wrote.

        Raises:
            EnrolmentRejectedError: It is no such text; the sentence does not repeat it.
        """
        parts = text.strip().split(".")
        lengths = [len(part) for part in parts]
        if len(parts) == 3 and parts[0] == _PREFIX and lengths[1:] == [_SECRET_CHARACTERS, _FINGERPRINT_CHARACTERS]:  # noqa: PLR2004 - prefix, secret, fingerprint
            try:
                found = cls(_from_base32(parts[1]), _from_base32(parts[2]))
            except ValueError:  # what is no base32, and what is no ASCII
                found = None
            if found is not None and found.write() == text.strip():
                return found
        message = "this is no enrolment token: copy the whole line that veilleur-fleet pki token printed"
        raise EnrolmentRejectedError(message)

    def write(self) -> str:
        """Return it as a person copies it."""
        return f"{_PREFIX}.{_to_base32(self.secret)}.{_to_base32(self.ca_sha256)}"

    @property
    def digest(self) -> str:
        """SHA-256 of the secret: all the fleet keeps. 128 random bits need no salt and no slow hash."""
        return hashlib.sha256(self.secret).hexdigest()

    def __repr__(self) -> str:
        """Show nothing: it is a secret."""
        return "Token(…)"


def read_fingerprint(text: str) -> bytes:
    """Read ``sha256:`` and 64 hexadecimal digits, with or without colons between them.

    Raises:
        EnrolmentRejectedError: It is written otherwise.
    """
    digits = text.strip().lower().removeprefix(FINGERPRINT_PREFIX).replace(":", "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != FINGERPRINT_BYTES:
        message = "a fingerprint is sha256: and 64 hexadecimal digits, as veilleur-fleet pki list prints it"
        raise EnrolmentRejectedError(message)
    return found


def write_fingerprint(ca_sha256: bytes) -> str:
    """Return a fingerprint as people read it."""
    return FINGERPRINT_PREFIX + ca_sha256.hex()


def _to_base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
