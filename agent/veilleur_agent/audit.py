"""The one writer of a box's audit log: append, sign the head, prune; survives power cuts and full disks.

    what ─▶ entry ─fsync─▶ bundle ─▶ leaf hash ─fsync─▶ tile ─▶ (every hour, at shutdown) checkpoint ─▶ witnesses

Only ``box`` holds one. An entry counts once ``append`` has returned. A hash is written after its entry is safe, so an
entry without its hash was cut short by a crash, and a hash without its entry was not: that log is damaged.
"""

import contextlib
import fcntl
import os
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from veilleur_agent.atomic import replace_file
from veilleur_agent.audit_files import (
    AuditDamagedError,
    append_both,
    keep_note,
    mend,
    numbered,
    raise_levels,
    set_aside,
    size_of,
)
from veilleur_contracts.audit import (
    FIRST_PREV,
    DiskFull,
    Entry,
    LogMended,
    LogPruned,
    LogSetAside,
    What,
    chain_hash,
    decode_entry,
    encode_entry,
)
from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.merkle import consistency_proof, leaf_hash, root_of
from veilleur_contracts.notes import (
    BY_LOG,
    Checkpoint,
    NoteRejectedError,
    VerifierKey,
    read_checkpoint,
    sign_checkpoint,
    verifier_of,
)
from veilleur_contracts.report import Report, sign_report
from veilleur_contracts.tiles import ENTRIES, TILE_WIDTH, LogUnreadableError, Tiles, framed, tile_path

CHECKPOINT_EVERY_S: Final = 3600.0
RESERVE_BYTES: Final = 65_536
"""Kept free for the last words of a log on a full disk."""
PRUNED_AT_ONCE: Final = 4
KEPT_FOR: Final = timedelta(days=365)


class AuditBusyError(RejectedError):
    """Another process writes this log."""


class AuditUnwritableError(TransientError):
    """The entry was not written; the box must be strict until one is."""


class AuditLog:
    """An open log; holds one lock and no more than one bundle in memory."""

    def __init__(self, folder: Path, origin: str, key: Ed25519PrivateKey, clock: Clock) -> None:
        self._folder = folder
        self._origin = origin
        self._key = key
        self._clock = clock
        self._tiles = Tiles(folder)
        self._size = 0
        self._prev = FIRST_PREV
        self._lost = 0
        self._signed_size = -1
        self._signed_at_s = clock.elapsed_s()
        self._is_short = False
        self._lock = -1

    @classmethod
    def open(cls, folder: Path, origin: str, key: Ed25519PrivateKey, clock: Clock) -> Self:
        """Open the log in ``folder``, or begin one, and mend what a crash left half written.

        Args:
            folder: Where; made if missing.
            origin: Its name, as ``origin_of`` gives it.
            key: The box's audit key.
            clock: Of this machine.

        Raises:
            AuditDamagedError: What is there was not left by a crash; see ``open_or_begin_again``.
            AuditBusyError: It is open already.
            AuditUnwritableError: The disk refuses.
        """
        log = cls(folder, origin, key, clock)
        try:
            log._take_lock()
            mended = mend(log._tiles)
            log._size, log._prev = mended.size, mended.prev
            log._check_newest()
            replace_file(folder / "key", f"{log.verifier}\n".encode(), 0o644)
            log._keep_reserve()
        except OSError as error:
            log.close()
            message = f"cannot open the audit log in {folder.name}: {error.strerror}"
            raise AuditUnwritableError(message) from None
        except RejectedError:
            log.close()
            raise
        if mended.torn_bytes:
            log.append(LogMended(mended.torn_bytes))
        return log

    @classmethod
    def open_or_begin_again(cls, folder: Path, origin: str, key: Ed25519PrivateKey, clock: Clock) -> Self:
        """Open the log, or set a damaged one aside and begin another that says so in its first entry.

        Raises:
            AuditBusyError: It is open already.
            AuditUnwritableError: The disk refuses.
        """
        try:
            return cls.open(folder, numbered(origin, folder), key, clock)
        except AuditDamagedError:
            aside = set_aside(folder)
        log = cls.open(folder, numbered(origin, folder), key, clock)
        log.append(LogSetAside(size_of(Tiles(aside)), aside.name))
        return log

    @property
    def size(self) -> int:
        """How many entries were ever written."""
        return self._size

    @property
    def is_short(self) -> bool:
        """Whether the disk is so full that the reserve was used, or entries were lost: the box must be strict."""
        return self._is_short

    @property
    def verifier(self) -> VerifierKey:
        """What others need to check this log's checkpoints."""
        return verifier_of(self._origin, self._key, BY_LOG)

    @property
    def tiles(self) -> Tiles:
        """Its files, to be read."""
        return self._tiles

    def append(self, what: What) -> int:
        """Write what happened, safe against a power cut when this returns.

        Returns:
            The entry's index.

        Raises:
            AuditUnwritableError: It was not written; the entry that next is says how many are missing.
            AuditRejectedError: ``what`` is out of its bounds.
        """
        if self._lost:
            self._append_or_spend_reserve(DiskFull(self._lost))
            self._lost = 0
        index = self._append_or_spend_reserve(what)
        if self._is_short:
            self._keep_reserve()
        return index

    def is_checkpoint_due(self) -> bool:
        """Tell whether an hour has passed since the last one and something was written."""
        is_late = self._clock.elapsed_s() - self._signed_at_s >= CHECKPOINT_EVERY_S
        return is_late and self._signed_size != self._size

    def checkpoint(self) -> bytes:
        """Sign the head as it is now and keep it; call it when due and at shutdown.

        Returns:
            The note, to be published and given to the witnesses.

        Raises:
            AuditUnwritableError: The disk refuses.
        """
        self._signed_at_s = self._clock.elapsed_s()
        newest = self.newest_checkpoint()
        if newest is not None and self._signed_size == self._size:
            return newest
        try:
            raise_levels(self._tiles, self._size)
            note = sign_checkpoint(Checkpoint(self._origin, self._size, self.root()), self._key)
            keep_note(self._folder, note, self._size, self._today())
            replace_file(self._folder / "checkpoint", note, 0o644)
        except OSError as error:
            message = f"cannot keep a checkpoint of the audit log: {error.strerror}"
            raise AuditUnwritableError(message) from None
        self._signed_size = self._size
        return note

    def newest_checkpoint(self) -> bytes | None:
        """Return the newest note, with the cosignatures it got."""
        notes = list(self._tiles.notes())
        return notes[-1] if notes else None

    def keep_cosigned(self, note: bytes) -> None:
        """Keep a checkpoint of ours that came back with cosignatures.

        Raises:
            NoteRejectedError: It is not ours, or not of this log.
            AuditUnwritableError: The disk refuses.
        """
        head = read_checkpoint(note, self.verifier).checkpoint
        if head.size > self._size or root_of(head.size, self._tiles.subtree) != head.root:
            message = f"the checkpoint of {head.size} entries is not of this log"
            raise NoteRejectedError(message)
        try:
            keep_note(self._folder, note, head.size, self._today())
            if head.size == self._signed_size:
                replace_file(self._folder / "checkpoint", note, 0o644)
        except OSError as error:
            message = f"cannot keep a checkpoint of the audit log: {error.strerror}"
            raise AuditUnwritableError(message) from None

    def root(self) -> bytes:
        """Return the root of the tree of all entries, 32 bytes."""
        return root_of(self._size, self._tiles.subtree)

    def head_at(self, size: int) -> bytes:
        """Return the head of the first ``size`` entries, signed; unlike a checkpoint it is not kept."""
        return sign_checkpoint(Checkpoint(self._origin, size, root_of(size, self._tiles.subtree)), self._key)

    def signed(self, report: Report) -> bytes:
        """Return ``report`` signed with the key of this log."""
        return sign_report(report, self._key)

    def proof_since(self, old_size: int) -> tuple[bytes, ...]:
        """Return what shows a witness that the log only grew since ``old_size``."""
        return consistency_proof(old_size, self._size, self._tiles.subtree)

    def prune(self, kept_for: timedelta = KEPT_FOR) -> int:
        """Remove whole bundles whose last entry is older than ``kept_for`` and that a checkpoint covers.

        Their leaf hashes go with them; the hashes above stay, so that later roots and proofs can still be computed.
        At most ``PRUNED_AT_ONCE`` bundles go in one call, made once a day, so that a clock set wrong destroys little.

        Returns:
            Index of the first entry still kept.
        """
        bundles = self._tiles.bundles()
        oldest_ms = self._clock.now_ms() - int(kept_for.total_seconds() * 1000)
        gone = []
        for number in bundles[:-1][:PRUNED_AT_ONCE]:
            entries, _ = self._tiles.bundle(number)
            covered = (number + 1) * TILE_WIDTH <= self._signed_size
            if not covered or len(entries) < TILE_WIDTH or decode_entry(entries[-1]).at_ms >= oldest_ms:
                break
            gone.append(number)
        if gone:
            self.append(LogPruned((gone[-1] + 1) * TILE_WIDTH))
            for number in gone:
                tile_path(self._folder, ENTRIES, number).unlink(missing_ok=True)
                tile_path(self._folder, 0, number).unlink(missing_ok=True)
        return (gone[-1] + 1 if gone else bundles[0] if bundles else 0) * TILE_WIDTH

    def close(self) -> None:
        """Let go of the lock; sign a checkpoint first."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append_or_spend_reserve(self, what: What) -> int:
        try:
            return self._append(what)
        except OSError:
            self._is_short = True
        try:
            (self._folder / ".reserve").unlink(missing_ok=True)
            return self._append(what)
        except OSError as error:
            self._lost += 1
            message = f"the audit log cannot be written ({error.strerror}); the strictest profile holds until it can"
            raise AuditUnwritableError(message) from None

    def _append(self, what: What) -> int:
        data = encode_entry(Entry(self._size, self._clock.now_ms(), self._prev, what))
        append_both(self._tiles, self._size, framed(data), leaf_hash(data))
        self._size += 1
        self._prev = chain_hash(data)
        if self._size % TILE_WIDTH == 0:
            with contextlib.suppress(OSError):  # the entry is safe; ``root`` catches up, or says that it cannot
                raise_levels(self._tiles, self._size)
        return self._size - 1

    def _today(self) -> str:
        return datetime_of(self._clock.now_ms()).strftime("%Y%m%d")

    def _check_newest(self) -> None:
        newest = self.newest_checkpoint()
        if newest is None:
            return
        try:
            head = read_checkpoint(newest, self.verifier).checkpoint
            is_ours = head.size <= self._size and root_of(head.size, self._tiles.subtree) == head.root
        except (NoteRejectedError, LogUnreadableError) as error:
            message = f"the newest checkpoint of the audit log: {error}"
            raise AuditDamagedError(message) from None
        if not is_ours:
            message = f"the audit log has {self._size} entries and is not the one that was signed at {head.size}"
            raise AuditDamagedError(message)
        self._signed_size = head.size

    def _keep_reserve(self) -> None:
        """Set bytes aside for the last words, if the disk has them again."""
        reserve = self._folder / ".reserve"
        if reserve.exists() and reserve.stat().st_size == RESERVE_BYTES:
            return
        try:
            replace_file(reserve, os.urandom(RESERVE_BYTES))
        except OSError:
            self._is_short = True
        else:
            self._is_short = False

    def _take_lock(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process writes the audit log in {self._folder.name}; a box has one writer"
            raise AuditBusyError(message) from None
