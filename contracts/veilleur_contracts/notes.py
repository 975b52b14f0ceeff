"""Signed heads of a log: C2SP signed notes, tlog-checkpoints and the cosignatures of witnesses.

    veilleur/ville/gare-01/audit           origin: which log
    20852                                  how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2f…=       root of the tree of that many

    — veilleur/ville/gare-01/audit Az3g…   signed by the box
    — dpo-ville jWbPPw…                    cosigned by a witness, with the time

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (all v1, Ed25519).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.merkle import HASH_BYTES

NOTE_BYTES_MAX: Final = 65_536
SIGNATURES_MAX: Final = 16
SIZE_DIGITS_MAX: Final = 15
BY_LOG: Final = 0x01
"""Signature type of a log over its note."""
BY_WITNESS: Final = 0x04
"""Signature type of a witness over note and time."""
KEY_ID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64
TIME_BYTES: Final = 8

_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,14}")


class NoteRejectedError(RejectedError):
    """A checkpoint, signature or key that cannot be used; the sentence says why."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What one must know of a log or witness to check its signatures: ``name+id+base64(type ‖ public key)``.

    Attributes:
        name: Of the log (its origin) or the witness.
        kind: ``BY_LOG`` or ``BY_WITNESS``.
        public: Raw Ed25519 public key, 32 bytes.
    """

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ newline ‖ type ‖ public key)."""
        text = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(text).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the key as it is written and given on a command line."""
        material = base64.standard_b64encode(bytes([self.kind]) + self.public).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{material}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log at one size.

    Attributes:
        origin: Which log.
        size: How many entries.
        root: Root of the tree of that many, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.standard_b64encode(self.root).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose signatures were looked at.

    Attributes:
        checkpoint: What is signed.
        witnesses: When each known witness cosigned, UTC seconds, by name.
        note: The bytes it came in.
    """

    checkpoint: Checkpoint
    witnesses: Mapping[str, int]
    note: bytes


def verifier_of(name: str, key: Ed25519PrivateKey, kind: int) -> VerifierKey:
    """Return what others need to check the signatures of ``key`` under ``name``."""
    check_name(name)
    return VerifierKey(name, kind, key.public_key().public_bytes_raw())


def read_verifier(text: str) -> VerifierKey:
    """Read a key as ``str`` of a ``VerifierKey`` writes it.

    Raises:
        NoteRejectedError: It is no such key, or its id is not its own.
    """
    parts = text.strip().split("+", 2)
    try:
        name, key_id, encoded = parts
        material = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        message = "a verifier key is written NAME+ID+BASE64, as in the log's file `key`"
        raise NoteRejectedError(message) from None
    if len(material) != 1 + HASH_BYTES or material[0] not in {BY_LOG, BY_WITNESS}:
        message = f"the key of {name[:100]} is no Ed25519 key of a log or witness"
        raise NoteRejectedError(message)
    check_name(name)
    key = VerifierKey(name, material[0], material[1:])
    if key.key_id.hex() != key_id:
        message = f"the key of {name} carries the id {key_id[:16]}, and its own is {key.key_id.hex()}: copy it again"
        raise NoteRejectedError(message)
    return key


def check_name(name: str) -> None:
    """Refuse a name that cannot stand in a note.

    Raises:
        NoteRejectedError: Empty, too long, or it holds a space or a plus.
    """
    if not _NAME.fullmatch(name) or not name.isprintable():
        message = "a log or witness is named by 1 to 200 characters without space or plus"
        raise NoteRejectedError(message)


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Return a note of ``checkpoint`` signed by the log itself, whose key is named like its origin."""
    verifier = verifier_of(checkpoint.origin, key, BY_LOG)
    text = checkpoint.text()
    line = _signature_line(verifier, key.sign(text.encode()))
    return f"{text}\n{line}".encode()


def cosign(note: bytes, name: str, key: Ed25519PrivateKey, at_s: int) -> bytes:
    """Return ``note`` with the cosignature of a witness, in the place of its earlier one.

    The witness must have seen that the log only grew since the last one it cosigned: by ``is_consistent``, or by
    reading the whole log.

    Args:
        note: A checkpoint signed by its log.
        name: The witness.
        key: Its key, used for nothing else.
        at_s: When, UTC seconds.
    """
    text, lines = _split_note(note)
    verifier = verifier_of(name, key, BY_WITNESS)
    signature = at_s.to_bytes(TIME_BYTES, "big") + key.sign(_cosigned_message(text, at_s))
    others = [line for line in lines if not _is_by(line, verifier)]
    return (text + "\n" + "".join(others) + _signature_line(verifier, signature)).encode()


def read_checkpoint(note: bytes, log: VerifierKey, witnesses: Iterable[VerifierKey] = ()) -> SignedCheckpoint:
    """Read a checkpoint and check its signatures.

    Args:
        note: As it came.
        log: The key of the log it must be signed by.
        witnesses: Keys of witnesses whose cosignatures are looked for; others are passed over.

    Raises:
        NoteRejectedError: Not a checkpoint, of another log, not signed by ``log``, or a signature of a known key is
            not its.
    """
    text, lines = _split_note(note)
    checkpoint = _parse_text(text)
    if checkpoint.origin != log.name:
        message = f"this is a checkpoint of {checkpoint.origin[:100]}, not of {log.name}"
        raise NoteRejectedError(message)
    is_signed = False
    cosigned: dict[str, int] = {}
    for line in lines:
        for key in (log, *witnesses):
            if not _is_by(line, key):
                continue
            at_s = _check_line(line, key, text)
            if key.kind == BY_LOG:
                is_signed = True
            else:
                cosigned[key.name] = at_s
    if not is_signed:
        message = f"the checkpoint of size {checkpoint.size} is not signed by {log.name} with the key given"
        raise NoteRejectedError(message)
    return SignedCheckpoint(checkpoint, cosigned, note)


def _cosigned_message(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _signature_line(key: VerifierKey, signature: bytes) -> str:
    return f"— {key.name} {base64.standard_b64encode(key.key_id + signature).decode('ascii')}\n"


def _split_note(note: bytes) -> tuple[str, list[str]]:
    if len(note) > NOTE_BYTES_MAX:
        message = f"a checkpoint is at most {NOTE_BYTES_MAX} bytes long"
        raise NoteRejectedError(message)
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError:
        message = "this is no checkpoint: not UTF-8 text"
        raise NoteRejectedError(message) from None
    text, blank, signatures = whole.rpartition("\n\n")
    lines = signatures.splitlines(keepends=True)
    well_formed = all(line.startswith("— ") and line.endswith("\n") and line.count(" ") == 2 for line in lines)  # noqa: PLR2004 - dash, name, signature
    if not blank or not lines or not well_formed or len(lines) > SIGNATURES_MAX:
        message = "this is no checkpoint: its text, an empty line and 1 to 16 signature lines are expected"
        raise NoteRejectedError(message)
    return text + "\n", lines


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[-1] or not _SIZE.fullmatch(lines[1]):  # noqa: PLR2004 - three lines and an end
        message = "this is no checkpoint: three lines are expected, origin, size and root"
        raise NoteRejectedError(message)
    root = _decoded(lines[2])
    if len(root) != HASH_BYTES:
        message = f"the root of a checkpoint is {HASH_BYTES} bytes in base64"
        raise NoteRejectedError(message)
    checkpoint = Checkpoint(lines[0], int(lines[1]), root)
    if checkpoint.text() != text:
        message = "this checkpoint is not written in the one way there is"
        raise NoteRejectedError(message)
    return checkpoint


def _is_by(line: str, key: VerifierKey) -> bool:
    _, name, encoded = line.rstrip("\n").split(" ")
    return name == key.name and _decoded(encoded)[:KEY_ID_BYTES] == key.key_id


def _check_line(line: str, key: VerifierKey, text: str) -> int:
    """Check one signature; return its time, 0 for a log."""
    signature = _decoded(line.rstrip("\n").split(" ")[2])[KEY_ID_BYTES:]
    at_s = 0
    message = text.encode()
    if key.kind == BY_WITNESS:
        at_s = int.from_bytes(signature[:TIME_BYTES], "big")
        signature = signature[TIME_BYTES:]
        message = _cosigned_message(text, at_s)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        said = f"the signature of {key.name} does not fit this checkpoint: one of the two was changed"
        raise NoteRejectedError(said) from None
    return at_s


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
