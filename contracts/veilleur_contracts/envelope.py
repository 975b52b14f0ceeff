"""Sign documents and tell who signed: a DSSE v1 envelope, read strictly, checked by ``securesystemslib``.

    document ──canonical──▶ payload ─┐
    type ────────────────────────────┴─PAE──▶ Ed25519 of each signer ──▶ envelope (JSON)

Imported only by who verifies or signs: the mouth carries envelopes as bytes and never opens one.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta
from securesystemslib.dsse import Envelope as DsseEnvelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import (  # type: ignore[attr-defined] # it re-exports them without saying so
    CryptoSigner,
    Key,
    Signature,
    SSlibKey,
)

from veilleur_contracts.ids import Sha256
from veilleur_contracts.policy_document import (
    POLICY_BYTES_MAX,
    Closed,
    MalformedDocumentError,
    PolicyRejectedError,
    TruncatedDocumentError,
    is_cut_off,
)

ENVELOPE_BYTES_MAX: Final = 2 * POLICY_BYTES_MAX
SIGNATURES_MAX: Final = 32
PUBLIC_KEY_BYTES: Final = 32


class ForgedError(PolicyRejectedError):
    """A signature of a known key does not fit: the document or the signature was changed."""


class WrongTypeError(PolicyRejectedError):
    """A genuine envelope, of another kind of document."""


class DocumentType(StrEnum):
    """What an envelope holds; part of what is signed, so one document cannot pass for another."""

    ROOT = "application/vnd.veilleur.root.v1+json"
    POLICY = "application/vnd.veilleur.policy.v1+json"
    STOP = "application/vnd.veilleur.stop.v1+json"
    CONTACT = "application/vnd.veilleur.contact.v1+json"
    REPORT = "application/vnd.veilleur.report.v1+json"


class SignatureLine(Closed, frozen=True):
    """One signature, in base64, and the id of its key."""

    keyid: Sha256
    sig: Annotated[str, Meta(max_length=128)]


class Envelope(Closed, frozen=True, rename="camel"):
    """A DSSE envelope as it is written: payload in base64, its type, its signatures."""

    payload: Annotated[str, Meta(max_length=ENVELOPE_BYTES_MAX)]
    payload_type: DocumentType
    signatures: Annotated[tuple[SignatureLine, ...], Meta(max_length=SIGNATURES_MAX)] = ()

    def content(self) -> bytes:
        """Return the document's bytes.

        Raises:
            MalformedDocumentError: The payload is not base64.
        """
        return _base64(self.payload, "payload")


def key_id_of(public: bytes) -> str:
    """Return the id of an Ed25519 key: the SHA-256 that ``securesystemslib`` gives it, so one key has one id."""
    return str(_key_of(public).keyid)


def seal(content: bytes, kind: DocumentType) -> Envelope:
    """Return an envelope around ``content`` that nobody has signed yet."""
    return Envelope(base64.standard_b64encode(content).decode("ascii"), kind)


def sign(envelope: Envelope, key: Ed25519PrivateKey) -> Envelope:
    """Return ``envelope`` with one more signature, in the place of an earlier one of the same key."""
    signed = DsseEnvelope(envelope.content(), envelope.payload_type.value, {}).sign(CryptoSigner(key))
    line = SignatureLine(signed.keyid, base64.standard_b64encode(bytes.fromhex(signed.signature)).decode("ascii"))
    others = (other for other in envelope.signatures if other.keyid != line.keyid)
    return msgspec.structs.replace(envelope, signatures=(*others, line))


def write_envelope(envelope: Envelope) -> bytes:
    """Return the bytes of ``envelope``."""
    return msgspec.json.encode(envelope) + b"\n"


def read_envelope(data: bytes, expected: DocumentType | None = None) -> Envelope:
    """Read an envelope; its signatures are not looked at yet.

    Args:
        data: At most ``ENVELOPE_BYTES_MAX``.
        expected: The kind of document the caller can use; None: any.

    Raises:
        TruncatedDocumentError: It stops too early.
        MalformedDocumentError: It is no envelope.
        WrongTypeError: It holds another kind of document.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        message = f"the envelope is {len(data)} bytes long; at most {ENVELOPE_BYTES_MAX} are read"
        raise MalformedDocumentError(message)
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if is_cut_off(data):
            message = f"the envelope is cut off after {len(data)} bytes; fetch it again"
            raise TruncatedDocumentError(message) from None
        if "payloadType" in str(error):
            message = f"the envelope holds no document we know; expected one of {', '.join(_short_names())}"
            raise WrongTypeError(message) from None
        message = f"this is not a signed document (a DSSE envelope): {str(error)[:200]}"
        raise MalformedDocumentError(message) from None
    if len({line.keyid for line in envelope.signatures}) != len(envelope.signatures):
        message = "the envelope has two signatures of one key; keep one of them"
        raise MalformedDocumentError(message)
    if expected is not None and envelope.payload_type is not expected:
        message = f"this is a signed {short_name(envelope.payload_type)}, where a {short_name(expected)} is expected"
        raise WrongTypeError(message)
    return envelope


def signers_of(envelope: Envelope, keys: Mapping[str, bytes]) -> frozenset[str]:
    """Return the ids of those among ``keys`` that signed ``envelope``.

    Args:
        envelope: As read; signatures of keys that are not in ``keys`` count for nothing.
        keys: Raw Ed25519 public keys, 32 bytes, by id.

    Raises:
        ForgedError: A signature that claims one of ``keys`` is not its.
    """
    dsse = DsseEnvelope(envelope.content(), envelope.payload_type.value, {})
    encoded = dsse.pae()
    signed = set()
    for line in envelope.signatures:
        public = keys.get(line.keyid)
        if public is None:
            continue
        signature = Signature(line.keyid, _base64(line.sig, "signature").hex())
        try:
            _key_of(public).verify_signature(signature, encoded)
        except UnverifiedSignatureError:
            message = (
                f"the signature of key {line.keyid[:12]} does not fit this {short_name(envelope.payload_type)}:"
                " one of the two was changed; ask the signer for the original"
            )
            raise ForgedError(message) from None
        signed.add(line.keyid)
    return frozenset(signed)


def short_name(kind: DocumentType) -> str:
    """Return ``policy`` for the type of policies, and so on."""
    return kind.value.removeprefix("application/vnd.veilleur.").split(".", 1)[0]


def check_public_key(public: bytes) -> None:
    """Refuse what is no Ed25519 public key.

    Raises:
        MalformedDocumentError: As said.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public)
    except ValueError:
        message = f"a public key is {PUBLIC_KEY_BYTES} bytes of Ed25519, not {len(public)}"
        raise MalformedDocumentError(message) from None


def _short_names() -> Iterable[str]:
    return (short_name(kind) for kind in DocumentType)


def _key_of(public: bytes) -> Key:
    check_public_key(public)
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        message = f"the {what} of the envelope is not base64"
        raise MalformedDocumentError(message) from None
