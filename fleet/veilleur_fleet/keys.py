"""Keys of people who sign: made here, kept in an encrypted file of their own, read when they sign."""

import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from veilleur_contracts.authority import PublicKey
from veilleur_contracts.envelope import check_public_key, key_id_of
from veilleur_contracts.errors import RejectedError

FILE_BYTES_MAX: Final = 8192
PASSPHRASE_CHARACTERS_MIN: Final = 12
OTHERS_MAY: Final = 0o077


class KeyRejectedError(RejectedError):
    """A key or passphrase that cannot be used; the sentence says why."""


def make_key(path: Path, holder: str, passphrase: str) -> tuple[PublicKey, Path]:
    """Make a key for ``holder`` in ``path``, encrypted, and its public half beside it (``.pub``).

    Raises:
        KeyRejectedError: The file is there already, cannot be written, or the passphrase is too short.
    """
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        message = f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters; a few words are easy to remember"
        raise KeyRejectedError(message)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    try:
        public = msgspec.convert({"holder": holder, "public": key.public_key().public_bytes_raw().hex()}, PublicKey)
    except msgspec.ValidationError as error:
        message = f"the holder's name cannot be used: {error}"
        raise KeyRejectedError(message) from None
    beside = path.with_suffix(".pub")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        beside.write_bytes(msgspec.json.encode(public) + b"\n")
    except FileExistsError:
        message = f"{path} is there already; a key is never overwritten: choose another name"
        raise KeyRejectedError(message) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise KeyRejectedError(message) from None
    return public, beside


def read_key(path: Path, passphrase: str) -> Ed25519PrivateKey:
    """Read the key in ``path``.

    Raises:
        KeyRejectedError: No such file, others may read it, wrong passphrase, or not an Ed25519 key.
    """
    data = _bytes_of(path, secret=True)
    try:
        key = load_pem_private_key(data, passphrase.encode())
    except TypeError:
        message = f"{path} is not encrypted; make a key with `veilleur-fleet policy key new`"
        raise KeyRejectedError(message) from None
    except ValueError:
        message = f"{path} cannot be opened with this passphrase, or is no private key"
        raise KeyRejectedError(message) from None
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{path} is no Ed25519 key; make one with `veilleur-fleet policy key new`"
        raise KeyRejectedError(message)
    return key


def fleet_key_of(path: Path | None, passphrase_file: Path | None) -> Ed25519PrivateKey | None:
    """Read the fleet's own key; None when there is none.

    Raises:
        KeyRejectedError: As ``read_key``, or its passphrase is not given.
    """
    if path is None:
        return None
    if passphrase_file is None:
        message = f"{path} is encrypted: give the file of its passphrase with --word-passphrase-file"
        raise KeyRejectedError(message)
    return read_key(path, read_passphrase(passphrase_file))


def read_public(path: Path) -> tuple[str, PublicKey]:
    """Read the public half in ``path`` and return it with its id.

    Raises:
        KeyRejectedError: As ``read_key``.
    """
    try:
        public = msgspec.json.decode(_bytes_of(path, secret=False), type=PublicKey)
        check_public_key(bytes.fromhex(public.public))
    except (msgspec.DecodeError, UnicodeDecodeError, RejectedError):
        message = f"{path} is no public key; give the .pub file that `veilleur-fleet policy key new` wrote"
        raise KeyRejectedError(message) from None
    return key_id_of(bytes.fromhex(public.public)), public


def read_passphrase(path: Path) -> str:
    """Read a passphrase from the first line of a file that its owner alone may read.

    Raises:
        KeyRejectedError: No such file, others may read it, or it is empty.
    """
    text = _bytes_of(path, secret=True).decode("utf-8", "replace").splitlines()
    if not text or not text[0]:
        message = f"{path} holds no passphrase on its first line"
        raise KeyRejectedError(message)
    return text[0]


def read_secret_bytes(path: Path) -> bytes:
    """Read a file that its owner alone may read.

    Raises:
        KeyRejectedError: No such file, others may read it, or it is too long.
    """
    return _bytes_of(path, secret=True)


def _bytes_of(path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & OTHERS_MAY:
                message = f"{path} may be read by others; run `chmod 600 {path}`"
                raise KeyRejectedError(message)
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise KeyRejectedError(message) from None
    if len(data) > FILE_BYTES_MAX:
        message = f"{path} is too long to be a key"
        raise KeyRejectedError(message)
    return data
