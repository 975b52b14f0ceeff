"""Signed documents as the eye finds them: the folder they are put into, and what the audit says of each.

offers/<sha256>.dsse ──offered_in──▶ bytes ──(mandate)──▶ Standing, Standing ──changes_between──▶ audit
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from veilleur_agent.control import EyeWitnessed
from veilleur_contracts.audit import PolicyTaken, RootTaken, StopLifted, StopTaken
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX, read_envelope, short_name
from veilleur_contracts.policy_document import PolicyRejectedError, document_sha256
from veilleur_contracts.standing import Standing

OFFERS_MAX: Final = 64
"""Documents looked at in one turn; box keeps no more of them."""
_OFFER: Final = re.compile(r"^[0-9a-f]{64}\.dsse$")
_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def changes_between(before: Standing, after: Standing) -> Iterator[EyeWitnessed]:
    """Yield what the audit says of one document that was taken."""
    if after.root.version != before.root.version:
        yield RootTaken(after.root.version, document_sha256(read_envelope(after.roots[-1]).content()))
    stops, known = dict(after.stops), dict(before.stops)
    for sha256 in stops.keys() - known.keys():
        yield StopTaken(sha256, stops[sha256].role.value)
    verified = after.verified
    if verified is None or verified is before.verified:
        return
    signers = tuple(sorted(role.value for role in verified.signers))
    yield PolicyTaken(verified.policy.version, verified.sha256, signers, bool(verified.change.loosened))
    for sha256 in sorted(known.keys() - stops.keys()):
        yield StopLifted(sha256, verified.policy.version)


def offered_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the documents that lie in ``folder``, by their SHA-256; whatever is no regular file of that name is left.

    At most ``OFFERS_MAX``, each at most one byte longer than an envelope may be.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if _OFFER.fullmatch(path.name))
    except OSError:
        return
    for name in names[:OFFERS_MAX]:
        data = document_in(folder, name.removesuffix(".dsse"))
        if data is not None:
            yield name.removesuffix(".dsse"), data


def document_in(folder: Path, sha256: str) -> bytes | None:
    """Return the document that lies in ``folder`` under ``sha256``; None when there is none that has this hash.

    At most one byte longer than an envelope may be; no link is followed, and nothing that is no file is read.
    """
    try:
        descriptor = os.open(folder / f"{sha256}.dsse", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(ENVELOPE_BYTES_MAX + 1) if is_file else b""
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def reason_of(error: PolicyRejectedError) -> str:
    """Return the kind of a refusal as a word: ``under-signed``."""
    return _CAPITAL.sub("-", type(error).__name__.removesuffix("Error")).lower()


def kind_of(data: bytes) -> str:
    """Return what kind of document ``data`` claims to be, ``unknown`` when it is none."""
    try:
        return short_name(read_envelope(data).payload_type)
    except PolicyRejectedError:
        return "unknown"
