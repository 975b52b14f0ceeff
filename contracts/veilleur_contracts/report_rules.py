"""Judge a privacy report: for each check, what was declared, what was measured, and whether the two agree. Pure.

    Report ──judge──▶ Finding(outcome, declared, measured)

The box judges itself, and the fleet judges the same facts again: a box that says otherwise of itself is found out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.audit import Process
from veilleur_contracts.policy import PERSON_WINDOW_S, STRICTEST, VEHICLE_WINDOW_S
from veilleur_contracts.report import CameraFacts, ConfinementFacts, Outcome, Report

DAY_MS: Final = 86_400_000
DAY_S: Final = 86_400
SLACK_MS: Final = 3_600_000
"""Retention runs hourly, so the oldest item may be that much older than its days."""
PERSONS: Final = frozenset({"person", "bicycle"})
CLOSED_FILLS: Final = frozenset({"constant"})
BENCH: Final = "bench"
STOPPED: Final = "stopped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to.

    Attributes:
        outcome: As the facts show it.
        declared: What should be, in short words that are the same in every language.
        measured: What is.
    """

    outcome: Outcome
    declared: str = ""
    measured: str = ""


Judge = Callable[[Report], Finding]


def confined(process: Process) -> Judge:
    """Return what judges whether ``process`` found everything refused that must be."""

    def judge(report: Report) -> Finding:
        facts = _of_process(report, process)
        if facts is None:
            return Finding(Outcome.UNTESTED, "0", "?")
        breaches = ", ".join(map(str, facts.breaches))
        return _found(not facts.breaches, "0", f"{len(facts.breaches)} ({breaches})" if breaches else "0")

    return judge


def kernel_confines(report: Report) -> Finding:
    """Judge whether the kernel has what it takes, and nobody allowed to go on without."""
    if not report.confinement:
        return Finding(Outcome.UNTESTED, "Landlock + seccomp", "?")
    lacks = sorted({one for facts in report.confinement for one in facts.missing if one != "landlock-scope"})
    versions = min(facts.landlock_version for facts in report.confinement)
    measured = ", ".join(lacks) or f"Landlock {versions} + seccomp"
    if report.access.allow_unconfined:
        return Finding(Outcome.FAIL, "Landlock + seccomp", f"{measured}; allow-unconfined")
    return _found(not lacks, "Landlock + seccomp", measured)


def users_apart(report: Report) -> Finding:
    """Judge whether eye and mouth run as users of their own."""
    uids = [facts.uid for facts in report.confinement]
    if len(uids) < 2:  # noqa: PLR2004 - two processes to tell apart
        return Finding(Outcome.UNTESTED, "3", "?")
    users = {report.access.box_uid, *uids}
    return _found(len(users) == 1 + len(uids), "3", str(len(users)))


def policy_holds(report: Report) -> Finding:
    """Judge whether a signed policy is in force."""
    if report.law is None:
        return Finding(Outcome.FAIL, "signed", report.identity.profile)
    declared = f"{report.law.version} ({report.law.sha256[:16]})"
    if report.law.why_strict is not None:
        return Finding(Outcome.FAIL, declared, report.law.why_strict)
    return _found(report.identity.profile == "signed", declared, report.identity.profile)


def policy_founded(report: Report) -> Finding:
    """Judge whether the policy names its purpose, its texts and its signers."""
    law = report.law
    if law is None:
        return Finding(Outcome.FAIL, "signed", "0")
    measured = f"{len(law.legal_references)} / {', '.join(law.signers)}"
    return _found(bool(law.purpose and law.legal_references and law.signers), "1+", measured)


def eye_obeys(report: Report) -> Finding:
    """Judge whether the eye holds each camera to what the documents say."""
    unheard = [one.id for one in report.cameras if one.said is None]
    other = [one for one in report.cameras if one.said is not None and not _obeys(one)]
    declared = _profiles((one.id, one.permitted.profile) for one in report.cameras)
    if other:
        measured = _profiles((one.id, one.said.profile) for one in other if one.said is not None)
        return Finding(Outcome.FAIL, _profiles((one.id, one.permitted.profile) for one in other), measured)
    if unheard:
        return Finding(Outcome.UNTESTED, declared, "?")
    return Finding(Outcome.PASS, declared, declared)


def masks_decided(report: Report) -> Finding:
    """Judge whether no street camera runs in which nobody decided what to mask."""
    street = [one for one in report.cameras if one.source != "file"]
    loose = [one.id for one in street if not one.permitted.masks_decided and (one.said is None or one.said.runs)]
    return _found(not loose, str(len(street)), ", ".join(loose) or str(len(street)))


def windows_long(report: Report) -> Finding:
    """Judge whether no window is shorter than the law's precedent and the policy."""
    short = [f"{one.id} {one.window_s} s" for one in report.cameras if one.window_s < _shortest(one)]
    declared = f"{PERSON_WINDOW_S} s / {VEHICLE_WINDOW_S} s"
    shortest = min((one.window_s for one in report.cameras), default=0)
    return _found(not short, declared, ", ".join(short) or f"{shortest} s")


def small_counts(report: Report) -> Finding:
    """Judge whether small numbers of persons are withheld."""
    least = min((one.permitted.person_cell_min for one in report.cameras), default=STRICTEST.person_cell_min)
    return _found(least >= 3, "k ≥ 3", f"k = {least}")  # noqa: PLR2004 - the lowest that a signature can allow


def classes_founded(report: Report) -> Finding:
    """Judge whether what goes beyond statistics rests on a visa or an authorisation."""
    loose = [
        f"{one.id} {name}"
        for one in report.cameras
        for name, grounds in (("A", one.permitted.aggregates), ("E", one.permitted.events))
        if name in one.permitted.classes and (not grounds or report.law is None)
    ]
    told = sorted({name for one in report.cameras for name in one.permitted.classes})
    return _found(not loose, "T, S", ", ".join(loose) or ", ".join(told))


def nothing_identifies(report: Report) -> Finding:
    """Judge whether no model in the store could identify a person."""
    able = [one.name for one in report.models if one.biometric_capable]
    return _found(not able, "0", ", ".join(able) or "0")


def models_genuine(report: Report) -> Finding:
    """Judge whether the weights of the models are those of their cards."""
    if not any(one.in_use for one in report.models):
        return Finding(Outcome.FAIL, "1+", "0")
    other = [one for one in report.models if one.sha256 is None or one.sha256 != one.declared_sha256]
    declared = ", ".join(f"{one.name} {(one.declared_sha256 or '?')[:16]}" for one in other or report.models)
    return _found(
        not other, declared, ", ".join(f"{one.name} {(one.sha256 or 'none')[:16]}" for one in other) or declared
    )


def fill_closed(report: Report) -> Finding:
    """Judge whether what is redacted is filled, and not only blurred."""
    return _found(report.redaction.fill in CLOSED_FILLS, "constant", report.redaction.fill)


def oldest_in_time(report: Report) -> Finding:
    """Judge whether the oldest image kept is within its days."""
    kept = report.retention
    days = max((one.permitted.retention_days for one in report.cameras), default=0)
    if kept.oldest_ms is None:
        return Finding(Outcome.PASS, f"{days} d", "0")
    age_ms = report.made_ms - kept.oldest_ms
    return _found(age_ms <= days * DAY_MS + SLACK_MS, f"{days} d", f"{age_ms / DAY_MS:.1f} d")


def nothing_kept_unasked(report: Report) -> Finding:
    """Judge whether no image is kept where no camera may keep any."""
    may = any(one.permitted.keep_images for one in report.cameras)
    kept = report.retention
    loose = kept.items - kept.frozen
    return _found(may or loose <= 0, "1+" if may else "0", str(loose))


def one_way_out(report: Report) -> Finding:
    """Judge whether the mouth speaks to one broker, and to one door and one gateway at most."""
    kinds = [one.what for one in report.egress.destinations]
    places = [f"{one.what} {one.host}:{one.port}" for one in report.egress.destinations]
    holds = "broker" in kinds and len(set(kinds)) == len(kinds)
    return _found(holds, "broker (+ door, gateway)", ", ".join(places) or "0")


def link_within_budget(report: Report) -> Finding:
    """Judge whether no more came over the link than it can let through since box started."""
    egress = report.egress
    days = 1 + max(0, report.made_ms - egress.since_ms) // DAY_MS
    most = egress.link_bytes_per_day_max * days
    return _found(egress.link_bytes <= most, f"≤ {most} B", f"{egress.link_bytes} B")


def nobody_cut(report: Report) -> Finding:
    """Judge whether eye and mouth kept to the closed messages."""
    return _found(report.egress.link_cuts == 0, "0", str(report.egress.link_cuts))


def output_registered(report: Report) -> Finding:
    """Judge whether the children wrote nothing but registered events."""
    dropped = report.egress.output_dropped_bytes
    return _found(dropped == 0, "0 B", f"{dropped} B")


def audit_written(report: Report) -> Finding:
    """Judge whether the audit is written and its head signed."""
    size = str(report.audit.size)
    if not report.audit.checkpoint:
        return Finding(Outcome.FAIL, size, "0")
    return _found(not report.audit.is_short, size, f"< {size}" if report.audit.is_short else size)


def files_private(report: Report) -> Finding:
    """Judge whether keys, secrets and the folders of the children are closed to others."""
    return _found(not report.access.open_files, "0", ", ".join(report.access.open_files) or "0")


def view_closed(report: Report) -> Finding:
    """Judge whether no picture is served, redacted or not."""
    return _found(not report.access.view_served, "0", str(int(report.access.view_served)))


def memory_stays(report: Report) -> Finding:
    """Judge whether memory cannot be written to a disk in the clear."""
    return _found(report.access.swaps_in_clear == 0, "0", str(report.access.swaps_in_clear))


def clock_set(report: Report) -> Finding:
    """Judge whether a time source holds the clock."""
    return _found(report.identity.clock_set, "1", str(int(report.identity.clock_set)))


def _of_process(report: Report, process: Process) -> ConfinementFacts | None:
    return next((facts for facts in report.confinement if facts.process is process), None)


def _obeys(camera: CameraFacts) -> bool:
    """Tell whether the eye holds a camera to no more than the documents; a stricter eye obeys too."""
    said, permitted = camera.said, camera.permitted
    if said is None or said.profile == permitted.profile:
        return True
    return said.profile == STOPPED or (said.profile == STRICTEST.profile and permitted.profile != STOPPED)


def _shortest(camera: CameraFacts) -> int:
    if PERSONS & set(camera.labels):
        return max(PERSON_WINDOW_S, camera.permitted.person_window_s)
    return max(VEHICLE_WINDOW_S, camera.permitted.vehicle_window_s)


def _profiles(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {profile}" for name, profile in pairs)


def _found(holds: bool, declared: str, measured: str) -> Finding:  # noqa: FBT001 - its one meaning is in its name
    return Finding(Outcome.PASS if holds else Outcome.FAIL, declared, measured)
