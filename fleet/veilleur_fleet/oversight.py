"""What a DPO is shown: each box's report judged again, beside what the fleet itself holds of it.

reports ──verified again──▶ judged: P by its facts, F by key, age, audit copy ──▶ Look ──▶ pages, PDF
audit copy ──check_log──▶ Findings
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.audit import Entry, ReportMade
from veilleur_contracts.audit_check import Findings, check_log
from veilleur_contracts.notes import read_verifier
from veilleur_contracts.policy_document import PolicyRejectedError
from veilleur_contracts.report import Outcome, Report, read_report
from veilleur_contracts.report_checks import CHECK_OF, Judged, judged
from veilleur_contracts.report_rules import Finding
from veilleur_fleet.store import reports as store
from veilleur_fleet.store.reports import AuditAlarm, KeptReport, LogCopy, Seen, StoredTiles

FRESH_MS: Final = 26 * 3_600_000
"""A box reports daily; two hours are for the way."""
ENTRIES_A_PAGE: Final = 100
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Look:
    """One box at a glance.

    Attributes:
        box: Which.
        kept: Its newest report; None: it has sent none.
        report: The same, read.
        judgements: Its checks.
        alarms: What contradicts it.
        entries: Entries held of its audit.
    """

    box: Seen
    kept: KeptReport | None
    report: Report | None
    judgements: tuple[Judged, ...]
    alarms: tuple[AuditAlarm, ...]
    entries: int

    @property
    def differing(self) -> tuple[Judged, ...]:
        """The checks in which what is declared and what is measured differ."""
        return tuple(one for one in self.judgements if one.differs)


@dataclass(frozen=True, slots=True)
class AuditLook:
    """The copy of one log, verified.

    Attributes:
        copy: Which.
        findings: What the verification found.
        entries: Some of it, the newest first.
        older: Index to ask for next; None: there are no older ones.
    """

    copy: LogCopy
    findings: Findings
    entries: tuple[Entry, ...]
    older: int | None


class Oversight:
    """Answers what is asked about reports and audits; keeps nothing.

    Args:
        readers: An engine that cannot write.
    """

    def __init__(self, readers: sa.Engine) -> None:
        self._readers = readers

    def looks(self, controllers: Collection[str] | None, now_ms: int) -> list[Look]:
        """Return every box of ``controllers`` (None: of all), by controller, commune and name."""
        with self._readers.connect() as connection:
            found = store.boxes_of(connection, controllers)
            numbers = [one.box_no for one in found]
            kept = store.newest_reports(connection, numbers)
            alarms, sizes = store.alarms_of(connection, numbers), store.sizes_of(connection, numbers)
        return [
            _look(one, kept.get(one.box_no), tuple(alarms.get(one.box_no, ())), sizes.get(one.box_no, 0), now_ms)
            for one in found
        ]

    def look(self, box: str, controllers: Collection[str] | None, now_ms: int) -> Look | None:
        """Return one box, with what only a reading of its whole audit tells; None: there is none of that name."""
        with self._readers.connect() as connection:
            found = next((one for one in store.boxes_of(connection, controllers) if one.box == box), None)
            if found is None:
                return None
            kept = store.newest_reports(connection, [found.box_no]).get(found.box_no)
            alarms = tuple(store.alarms_of(connection, [found.box_no]).get(found.box_no, ()))
            logs = store.logs_of(connection, found.box_no)
            size = sum(one.size for one in logs)
            look = _look(found, kept, alarms, size, now_ms)
            if kept is None or look.report is None:
                return look
            copy = next((one for one in logs if one.key == kept.key), None)
            findings = None if copy is None else _verified(connection, copy)
            announced = copy is not None and _announces(connection, copy, kept.sha256)
            policy = _policy_check(look.report, store.policy_for(connection, box))
        deep = (_audit_check(findings, alarms), _announced_check(copy, kept, is_announced=announced), policy)
        others = tuple(one for one in look.judgements if one.check.number not in {"F03", "F04"})
        return Look(found, kept, look.report, (*others, *deep), alarms, size)

    def audit(self, box: Seen, before: int | None) -> list[AuditLook]:
        """Return the copies of a box's logs, verified, with entries below index ``before`` (None: the newest)."""
        with self._readers.connect() as connection:
            return [_audit_look(connection, copy, before) for copy in store.logs_of(connection, box.box_no)]


def _look(box: Seen, kept: KeptReport | None, alarms: tuple[AuditAlarm, ...], entries: int, now_ms: int) -> Look:
    if kept is None:
        return Look(box, None, None, (), alarms, entries)
    try:
        report = read_report(kept.raw, read_verifier(kept.key))
    except PolicyRejectedError:
        failed = Judged(CHECK_OF["F01"], Finding(Outcome.FAIL, kept.key[-16:], "?"))
        return Look(box, kept, None, (failed,), alarms, entries)
    judgements = (*judged(report), _key_check(kept), _age_check(kept, now_ms), _audit_check(None, alarms))
    return Look(box, kept, report, judgements, alarms, entries)


def _key_check(kept: KeptReport) -> Judged:
    key = read_verifier(kept.key).key_id.hex()
    return Judged(CHECK_OF["F01"], Finding(Outcome.PASS, key, key))


def _age_check(kept: KeptReport, now_ms: int) -> Judged:
    age_h = (now_ms - kept.received_ms) / HOUR_MS
    outcome = Outcome.PASS if now_ms - kept.received_ms <= FRESH_MS else Outcome.FAIL
    return Judged(CHECK_OF["F02"], Finding(outcome, f"≤ {FRESH_MS // HOUR_MS} h", f"{age_h:.1f} h"))


def _audit_check(findings: Findings | None, alarms: tuple[AuditAlarm, ...]) -> Judged:
    """Judge the copy by its alarms, and by a whole reading where there was one."""
    bad = [f"{one.kind} {one.first}" for one in alarms if one.is_of_entries or one.kind == "other-key"]
    if findings is not None:
        bad += [f"{one.kind.value} {one.first}" for one in findings.faults]
    size = "" if findings is None else str(findings.size)
    if bad:
        return Judged(CHECK_OF["F03"], Finding(Outcome.FAIL, size, ", ".join(dict.fromkeys(bad))[:200]))
    is_read = findings is not None
    return Judged(CHECK_OF["F03"], Finding(Outcome.PASS if is_read else Outcome.UNTESTED, size, size))


def _announced_check(copy: LogCopy | None, kept: KeptReport, *, is_announced: bool) -> Judged:
    sha256 = kept.sha256[:16]
    if is_announced:
        return Judged(CHECK_OF["F04"], Finding(Outcome.PASS, sha256, sha256))
    is_early = copy is None or copy.size == 0 or copy.heard_ms < kept.received_ms
    return Judged(CHECK_OF["F04"], Finding(Outcome.UNTESTED if is_early else Outcome.FAIL, sha256, "?"))


def _policy_check(report: Report, published: str | None) -> Judged:
    """Judge whether the box holds what the fleet published; a fleet that publishes nothing says nothing."""
    held = "none" if report.law is None else report.law.sha256[:16]
    if published is None:
        return Judged(CHECK_OF["F05"], Finding(Outcome.UNTESTED, "?", held))
    outcome = Outcome.PASS if report.law is not None and report.law.sha256 == published else Outcome.FAIL
    return Judged(CHECK_OF["F05"], Finding(outcome, published[:16], held))


def _verified(connection: sa.Connection, copy: LogCopy) -> Findings:
    return check_log(StoredTiles(connection, copy), read_verifier(copy.key))


def _announces(connection: sa.Connection, copy: LogCopy, sha256: str) -> bool:
    upto = copy.size
    while upto > copy.kept_from:
        first = max(copy.kept_from, upto - ENTRIES_A_PAGE)
        for entry in store.entries_of(connection, copy.log_no, first, upto):
            if isinstance(entry.what, ReportMade) and entry.what.sha256 == sha256:
                return True
        upto = first
    return False


def _audit_look(connection: sa.Connection, copy: LogCopy, before: int | None) -> AuditLook:
    upto = copy.size if before is None else min(before, copy.size)
    first = max(copy.kept_from, upto - ENTRIES_A_PAGE)
    entries = store.entries_of(connection, copy.log_no, first, upto)
    older = first if first > copy.kept_from else None
    return AuditLook(copy, _verified(connection, copy), tuple(reversed(entries)), older)
