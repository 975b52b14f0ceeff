"""Documents put before the eye: a folder that box keeps small, and that the eye only reads.

    --policy FILE, veilleur-agent offer ──put_offer──▶ offers/<sha256>.dsse ──▶ eye ──Dealt──▶ remove_offer

A name is the SHA-256 of the bytes, so that nobody can put one document in the place of another.
"""

import hashlib
from pathlib import Path
from typing import Final

from veilleur_agent.atomic import replace_file
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX
from veilleur_contracts.errors import RejectedError

OFFERS_MAX: Final = 32
SUFFIX: Final = ".dsse"


class OfferRejectedError(RejectedError):
    """A document that cannot be put before the eye; the sentence says why."""


def read_document(path: Path, what: str) -> bytes:
    """Return the bytes of a signed document, whatever they say.

    Args:
        path: Where.
        what: What the error calls it: ``the policy``.

    Raises:
        OfferRejectedError: It cannot be read, is empty, or too long to be one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        raise OfferRejectedError(f"{what} {path} cannot be read: {error.strerror}") from None
    if not data or len(data) > ENVELOPE_BYTES_MAX:
        raise OfferRejectedError(
            f"{what} {path} is no signed document: it is empty, or over {ENVELOPE_BYTES_MAX} bytes"
        )
    return data


def put_offer(folder: Path, data: bytes) -> str:
    """Put a document before the eye and return its SHA-256.

    Raises:
        OfferRejectedError: Too many wait already.
        OSError: The disk refuses.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    waiting = {path.name for path in folder.glob(f"*{SUFFIX}")}
    if len(waiting - {f"{sha256}{SUFFIX}"}) >= OFFERS_MAX:
        raise OfferRejectedError(f"{OFFERS_MAX} documents wait in {folder} already: is the box running?")
    replace_file(folder / f"{sha256}{SUFFIX}", data, 0o644)
    return sha256


def remove_offer(folder: Path, sha256: str) -> None:
    """Take a document away that the eye has dealt with; one that is gone already is no fault.

    Raises:
        OSError: The disk refuses.
    """
    (folder / f"{sha256}{SUFFIX}").unlink(missing_ok=True)
