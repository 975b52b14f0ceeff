"""The key a box signs its audit with: made on the box at first start, never leaves it."""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from veilleur_agent.atomic import replace_file
from veilleur_contracts.errors import RejectedError

KEY_BYTES_MAX: Final = 4096
OTHERS_MAY: Final = 0o077


class AuditKeyRejectedError(RejectedError):
    """A key file that cannot be used; the sentence says why."""


def read_or_make_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in ``path``; make it, readable by its owner alone, where there is none.

    Raises:
        AuditKeyRejectedError: Not an Ed25519 key in PEM, or others may read it.
        OSError: The disk refuses.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        replace_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & OTHERS_MAY:
            message = f"{path.name} may be read by others; run `chmod 600` on it, or replace it"
            raise AuditKeyRejectedError(message)
        data = file.read(KEY_BYTES_MAX)
    try:
        loaded = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        message = f"{path.name} is no private key in PEM without passphrase"
        raise AuditKeyRejectedError(message) from None
    if not isinstance(loaded, Ed25519PrivateKey):
        message = f"{path.name} is no Ed25519 key"
        raise AuditKeyRejectedError(message)
    return loaded
