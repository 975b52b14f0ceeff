"""Read a box's own audit for a person on the spot: verified by the key beside it, the newest entries last."""

from collections import deque
from pathlib import Path

import msgspec

from veilleur_contracts.audit import Entry, decode_entry
from veilleur_contracts.audit_check import Findings, check_log
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.notes import read_verifier
from veilleur_contracts.tiles import LogUnreadableError, Tiles

KEY_CHARACTERS_MAX = 512


class NoAuditError(RejectedError):
    """There is no audit log to be read."""


def look_into(folder: Path, last: int) -> tuple[Findings, list[Entry]]:
    """Verify the log in ``folder`` and return its ``last`` entries, oldest first; it may be written meanwhile.

    Raises:
        NoAuditError: There is none, or it cannot be read.
        RejectedError: Its key or an entry is none.
    """
    try:
        with (folder / "key").open(encoding="ascii", errors="replace") as file:
            verifier = read_verifier(file.read(KEY_CHARACTERS_MAX).strip())
        tiles = Tiles(folder)
        findings = check_log(tiles, verifier)
        entries: deque[Entry] = deque(maxlen=last)
        for number in tiles.bundles():
            entries.extend(decode_entry(data) for data in tiles.bundle(number)[0])
    except (OSError, LogUnreadableError):
        raise NoAuditError(f"no audit can be read in {folder}: give the --state of a box that has run") from None
    return findings, list(entries)


def said_of(entry: Entry) -> tuple[str, str]:
    """Return the kind of an entry, and its fields for a person."""
    fields = msgspec.to_builtins(entry.what)
    kind = fields.pop("kind")
    return kind, ", ".join(f"{name} {_short(value)}" for name, value in fields.items())


def _short(value: object) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) < 64 else f"{text[:16]}…"  # noqa: PLR2004 - a SHA-256
