"""Take in what boxes report of themselves and the parts of their audit; contradictions become alarms, never losses.

up/privacy ──verified, closed──▶ reports
up/audit ────follow──▶ audit_entries, audit_heads ──▶ Copied(upto), after the commit
               └──▶ audit_alarms (forked, dropped, put back, another key)      what is refused ▶ quarantine
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from veilleur_contracts.audit import origin_of
from veilleur_contracts.audit_check import Fault, FaultKind
from veilleur_contracts.audit_copy import AuditPart, PartRejectedError, decode_part, log_id_of
from veilleur_contracts.audit_follow import CopyFaultError, Followed, Head, follow
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.merkle import HASH_BYTES
from veilleur_contracts.notes import BY_LOG, NoteRejectedError, VerifierKey, read_verifier
from veilleur_contracts.policy_document import PolicyRejectedError, document_sha256
from veilleur_contracts.report import open_report, read_report
from veilleur_fleet.store.boxes import BoxRow
from veilleur_fleet.store.connection import Cursor
from veilleur_fleet.store.work import Alarmed, CopiedUpto, Delivery, Work

REPORTS_KEPT: Final = 400
"""For each box: a year of daily ones, and some of changes."""
LOGS_MAX: Final = 32
"""For each box: a log is begun again after damage, and seldom."""
ENTRIES_MAX: Final = 500_000
"""For one log: ten years at more than a hundred entries a day; a box cannot fill the fleet's disk with signed noise."""
ALARMS_MAX: Final = 1000
"""For one box; beyond it no other is kept."""
FIRST_SEEN: Final = "first-seen"
SENTENCE_CHARACTERS_MAX: Final = 300
NO_ENTRY: Final = -1


class _OtherKeyError(Exception):
    """Signed with a key that is not the box's, as far as the fleet knows."""


@dataclass(frozen=True, slots=True)
class _Log:
    log_no: int | None
    head: Head


class Papers:
    """Rows of reports and audit copies. Keeps nothing in mind.

    Args:
        cursor: Of the writer.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def take_report(self, work: Work, box: BoxRow, delivery: Delivery) -> str | None:
        """Store a report once; return why it is refused, None when it is not."""
        try:
            claimed = open_report(delivery.payload)
            if (claimed.identity.box, claimed.identity.controller) != (box.box, box.controller):
                return self._refuse(
                    work, box, "refused-report", "a report of another box than its topic names", delivery
                )
            key = key_of(claimed.identity.key, box.controller, box.box)
            report = read_report(delivery.payload, key)
            self._begun(self._log_of(box, key), box, key, delivery.received_ms)
        except (PolicyRejectedError, NoteRejectedError) as error:
            return self._refuse(work, box, "refused-report", str(error), delivery)
        except _OtherKeyError:
            return self._refuse(work, box, "other-key", "a report signed with a key that is not this box's", delivery)
        sha256 = document_sha256(read_envelope(delivery.payload).content())
        self._cursor.execute(
            "INSERT INTO reports (box_no, sha256, made_ms, received_ms, key, raw) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (box_no, sha256) DO NOTHING",
            (box.box_no, sha256, report.made_ms, delivery.received_ms, str(key), delivery.payload),
        )
        if self._cursor.rowcount:
            self._forget_old_reports(box)
            work.stored.reports += 1
        return None

    def take_part(self, work: Work, box: BoxRow, delivery: Delivery) -> str | None:
        """Store the new entries of a part; return why it is refused, None when it is not."""
        try:
            part = decode_part(delivery.payload)
            key = key_of(part.key, box.controller, box.box)
            log = self._log_of(box, key)
            _check_room(part)
            followed = self._follow(log, part)
        except (PartRejectedError, NoteRejectedError) as error:
            return self._refuse(work, box, "refused-audit", str(error), delivery)
        except _OtherKeyError:
            return self._refuse(work, box, "other-key", "an audit signed with a key that is not this box's", delivery)
        except CopyFaultError as error:
            self._alarm(work, box, error.fault, delivery.received_ms)
            return error.fault.sentence
        upto = log.head.size
        if followed is not None:
            self._note_hole(work, box, log.head, followed, delivery.received_ms)
            log = self._begun(log, box, key, delivery.received_ms)
            self._store(log, part, followed, delivery.received_ms)
            upto = followed.head.size
        work.stored.copied.append(CopiedUpto(box.controller, box.box, log_id_of(part.key), upto))
        return None

    def _follow(self, log: _Log, part: AuditPart) -> Followed | None:
        return follow(
            log.head,
            part,
            held=lambda first, upto: self._held(log.log_no, first, upto),
            known=lambda size: self._root(log.log_no, size),
        )

    def _log_of(self, box: BoxRow, key: VerifierKey) -> _Log:
        """Return our copy of the log with ``key``; it may be about to begin: the box's first, or by a known key.

        Raises:
            _OtherKeyError: The box is known by another key.
        """
        rows = self._cursor.execute(
            "SELECT log_no, key, kept_from, size, prev, frontier FROM audit_logs WHERE box_no = ?", (box.box_no,)
        ).fetchall()
        for log_no, text, kept_from, size, prev, frontier in rows:
            if text == str(key):
                return _Log(log_no, Head(kept_from, size, prev, _hashes_of(bytes(frontier))))
        is_known = any(read_verifier(row[1]).public == key.public for row in rows)
        if (rows and not is_known) or len(rows) >= LOGS_MAX:
            raise _OtherKeyError
        return _Log(None, Head())

    def _begun(self, log: _Log, box: BoxRow, key: VerifierKey, now_ms: int) -> _Log:
        """Return ``log`` with its row, made now if there was none."""
        if log.log_no is not None:
            return log
        found = self._cursor.execute(
            "INSERT INTO audit_logs (box_no, key, trusted_by, first_seen_ms, heard_ms, kept_from, size, prev, frontier)"
            " VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?) RETURNING log_no",
            (box.box_no, str(key), FIRST_SEEN, now_ms, now_ms, log.head.prev, b""),
        ).fetchone()
        return replace(log, log_no=found[0])

    def _store(self, log: _Log, part: AuditPart, followed: Followed, now_ms: int) -> None:
        head = followed.head
        first = head.size - len(followed.fresh)
        self._cursor.executemany(
            "INSERT INTO audit_entries (log_no, place, raw) VALUES (?, ?, ?)",
            [(log.log_no, index, raw) for index, raw in enumerate(followed.fresh, first)],
        )
        self._cursor.execute(
            "INSERT INTO audit_heads (log_no, size, root, note, received_ms) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (log_no, size) DO NOTHING",
            (log.log_no, followed.signed.size, followed.signed.root, part.note, now_ms),
        )
        self._cursor.execute(
            "UPDATE audit_logs SET heard_ms = ?, kept_from = ?, size = ?, prev = ?, frontier = ? WHERE log_no = ?",
            (now_ms, head.kept_from, head.size, head.prev, b"".join(head.frontier), log.log_no),
        )

    def _note_hole(self, work: Work, box: BoxRow, before: Head, followed: Followed, now_ms: int) -> None:
        """Alarm when the box has pruned entries that were never copied."""
        if before.size and followed.head.kept_from > before.size:
            first, last = before.size, followed.head.kept_from - 1
            sentence = f"entries {first} to {last} were pruned on the box before they were copied"
            self._alarm(work, box, Fault(first, last, FaultKind.DROPPED, sentence), now_ms)

    def _held(self, log_no: int | None, first: int, upto: int) -> Sequence[bytes]:
        rows = self._cursor.execute(
            "SELECT raw FROM audit_entries WHERE log_no = ? AND place >= ? AND place < ? ORDER BY place",
            (log_no, first, upto),
        ).fetchall()
        return [bytes(row[0]) for row in rows]

    def _root(self, log_no: int | None, size: int) -> bytes | None:
        row = self._cursor.execute(
            "SELECT root FROM audit_heads WHERE log_no = ? AND size = ?", (log_no, size)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _refuse(self, work: Work, box: BoxRow, kind: str, sentence: str, delivery: Delivery) -> str:
        values = (kind, NO_ENTRY, NO_ENTRY, sentence[:SENTENCE_CHARACTERS_MAX])
        self._note_alarm(work, box, values, delivery.received_ms)
        return sentence

    def _alarm(self, work: Work, box: BoxRow, fault: Fault, now_ms: int) -> None:
        self._note_alarm(work, box, (fault.kind.value, fault.first, fault.last, fault.sentence), now_ms)

    def _note_alarm(self, work: Work, box: BoxRow, values: tuple[str, int, int, str], now_ms: int) -> None:
        """Keep an alarm, ``(kind, first, last, sentence)``, once, however often it comes."""
        work.stored.alarms.append(Alarmed(box.box, values[0]))
        many = self._cursor.execute("SELECT count(*) FROM audit_alarms WHERE box_no = ?", (box.box_no,)).fetchone()[0]
        if many >= ALARMS_MAX:
            return
        self._cursor.execute(
            "INSERT INTO audit_alarms (box_no, kind, first_bad, last_bad, sentence, found_ms, again_ms, times)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (box_no, kind, first_bad, last_bad) DO UPDATE SET"
            " times = audit_alarms.times + 1, again_ms = excluded.again_ms, sentence = excluded.sentence",
            (box.box_no, *values, now_ms, now_ms),
        )

    def _forget_old_reports(self, box: BoxRow) -> None:
        self._cursor.execute(
            "DELETE FROM reports WHERE box_no = ? AND report_no NOT IN"
            " (SELECT report_no FROM reports WHERE box_no = ? ORDER BY report_no DESC LIMIT ?)",
            (box.box_no, box.box_no, REPORTS_KEPT),
        )


def key_of(text: str, controller: str, box: str) -> VerifierKey:
    """Return the key of a log of ``box``.

    Raises:
        NoteRejectedError: It is no key of a log, or of another box's.
    """
    key = read_verifier(text)
    origin = origin_of(controller, box)
    if key.kind != BY_LOG or not (key.name == origin or key.name.startswith(f"{origin}/")):
        message = f"{key.name[:100]} is no key of the audit of {box}"
        raise NoteRejectedError(message)
    return key


def _check_room(part: AuditPart) -> None:
    """Refuse what would make a log longer than any box of ours writes.

    Raises:
        PartRejectedError: As said.
    """
    if part.upto > ENTRIES_MAX:
        message = f"an audit of {part.upto} entries is longer than the {ENTRIES_MAX} that are kept of a box"
        raise PartRejectedError(message)


def _hashes_of(frontier: bytes) -> tuple[bytes, ...]:
    return tuple(frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES))
