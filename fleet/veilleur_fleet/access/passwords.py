"""Passwords are kept as scrypt digests (RFC 7914), each with its own salt and the costs it was made with."""

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Final

from veilleur_fleet.errors import AccessRejectedError

CHARACTERS_MIN: Final = 12
CHARACTERS_MAX: Final = 256
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_PARTS: Final = 6
_MEMORY_BYTES: Final = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Costs:
    """What guessing costs.

    Attributes:
        log_n: Memory, as a power of two of 128·r bytes.
        r: Size of a block.
        p: How often it is all done.
    """

    log_n: int
    r: int
    p: int


COSTS: Final = Costs(15, 8, 3)
"""32 MiB and three passes (OWASP Password Storage Cheat Sheet, 2024)."""


def check_password(password: str, account: str) -> None:
    """Refuse a password that is easily guessed.

    Raises:
        AccessRejectedError: Too short, too long, or made of the account's name.
    """
    if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
        message = f"a password has {CHARACTERS_MIN} to {CHARACTERS_MAX} characters; a few words are easy to remember"
        raise AccessRejectedError(message)
    if not password.lower().replace(account.lower(), "").strip():
        message = "a password is more than the account's name repeated"
        raise AccessRejectedError(message)


def digest_of(password: str, costs: Costs = COSTS) -> str:
    """Return what is kept of ``password``."""
    salt = os.urandom(_SALT_BYTES)
    digest = _scrypt(password, salt, costs)
    kept = (base64.b64encode(part).decode("ascii") for part in (salt, digest))
    return "$".join(("scrypt", str(costs.log_n), str(costs.r), str(costs.p), *kept))


def is_password(password: str, kept: str) -> bool:
    """Tell whether ``kept`` was made of ``password``, in a time that does not say how nearly."""
    try:
        salt, digest, costs = _read(kept)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(_scrypt(password, salt, costs), digest)


def _read(kept: str) -> tuple[bytes, bytes, Costs]:
    parts = kept.split("$")
    if len(parts) != _PARTS or parts[0] != "scrypt":
        message = "not made by digest_of"
        raise ValueError(message)
    log_n, r, p = (int(part) for part in parts[1:4])
    salt, digest = (base64.b64decode(part, validate=True) for part in parts[4:])
    return salt, digest, Costs(log_n, r, p)


def _scrypt(password: str, salt: bytes, costs: Costs) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << costs.log_n,
        r=costs.r,
        p=costs.p,
        dklen=_DIGEST_BYTES,
        maxmem=_MEMORY_BYTES,
    )
