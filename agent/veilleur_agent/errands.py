"""What a command has to tell the audit: box writes it when it runs; when it does not, the command, under box's lock.

    veilleur-agent clips … ──put──▶ errands/<sha256>.json ──▶ box ─▶ clerk ─▶ audit; then the file is gone
                           └──(no box runs)──▶ AuditLog

Nothing is exported, frozen or released before the audit says so.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from veilleur_agent.atomic import replace_file
from veilleur_agent.audit import AuditLog, AuditUnwritableError
from veilleur_agent.audit_key import read_or_make_key
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.preflight import lock_state
from veilleur_contracts.audit import ClipsExported, ClipsFrozen, ClipsReleased, origin_of
from veilleur_contracts.clock import Clock
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.site import read_site

ERRANDS_MAX: Final = 16
ERRAND_BYTES_MAX: Final = 4096
WITHIN_S: Final = 20.0
LOOK_EVERY_S: Final = 0.05
_SUFFIX: Final = ".json"

Errand = ClipsExported | ClipsFrozen | ClipsReleased


class NotAuditedError(TransientError):
    """The audit could not be told, so nothing was done."""


class NotTheBoxError(RejectedError):
    """The folder is no box's, or another user's."""


def errands_of(state: Path) -> Path:
    """Return the folder of what waits for box to be written down."""
    return state.resolve() / "errands"


def check_user(state: Path) -> None:
    """Refuse who is not the user of the box: what they write there, box could not read.

    Raises:
        NotTheBoxError: That, or no box has run in ``state``.
    """
    try:
        owner = (state / "documents").stat().st_uid
    except OSError:
        raise NotTheBoxError(f"no box has run in {state}: give the --state of one that has") from None
    if os.geteuid() != owner:
        raise NotTheBoxError(f"the box in {state} runs as user {owner}: run this command as that user (sudo -u)")


def write_down(state: Path, what: Errand, clock: Clock, within_s: float = WITHIN_S) -> None:
    """Have the audit of the box in ``state`` say ``what``; it says so when this returns.

    Raises:
        NotAuditedError: The audit cannot be written, or the box does not answer.
        RejectedError: The state folder, its site or its key cannot be used.
    """
    with _lock_of(state) as is_ours:
        if is_ours:
            _write_ourselves(state, what, clock)
            return
    data = msgspec.json.encode(what)
    path = errands_of(state) / f"{hashlib.sha256(data).hexdigest()}{_SUFFIX}"
    try:
        replace_file(path, data, 0o644)
    except OSError as error:
        raise NotAuditedError(f"the box cannot be told: {error.strerror}: {path.parent}; nothing was done") from None
    until_s = clock.elapsed_s() + within_s
    pause = threading.Event()
    while path.exists():
        if clock.elapsed_s() > until_s:
            path.unlink(missing_ok=True)
            raise NotAuditedError(
                f"the box did not write it into its audit within {within_s:.0f} s, so nothing was done: see its log "
                "for audit.refused, and make room on the disk"
            )
        pause.wait(LOOK_EVERY_S)


def errands_in(folder: Path) -> Iterator[tuple[Path, Errand | None]]:
    """Yield what waits, at most ``ERRANDS_MAX``, None for what is no errand."""
    for path in sorted(folder.glob(f"*{_SUFFIX}"))[:ERRANDS_MAX]:
        try:
            with path.open("rb") as file:
                yield path, msgspec.json.decode(file.read(ERRAND_BYTES_MAX + 1), type=Errand)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield path, None


@contextmanager
def _lock_of(state: Path) -> Iterator[bool]:
    """Hold the lock of the box while no box does; tell whether it is held."""
    try:
        lock = lock_state(state)
    except StartRefusedError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)


def _write_ourselves(state: Path, what: Errand, clock: Clock) -> None:
    site = read_site(state / "documents" / "site.toml").site
    try:
        key = read_or_make_key(state / "audit-key.pem")
        log = AuditLog.open_or_begin_again(state / "audit", origin_of(site.controller, site.box), key, clock)
        try:
            log.append(what)
            log.checkpoint()
        finally:
            log.close()
    except (AuditUnwritableError, OSError) as error:
        raise NotAuditedError(f"the audit cannot be written, so nothing was done: {error}") from None
