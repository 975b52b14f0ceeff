"""Lay a privacy report out for people, in French or English: titles, rows and checks; whoever shows it draws them.

Report + judged checks ──paper_of──▶ Paper(sections of rows, checks) ──▶ HTML on the box · HTML and PDF in the fleet
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.report import CameraFacts, ConfinementFacts, Law, Outcome, Report
from veilleur_contracts.report_checks import Judged, Lang
from veilleur_contracts.report_words import WORDS, trial, word

FIRST_CONTROL: Final = 100
"""Trials from this number on are of what a process needs."""
REFUSED: Final = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what it is about, what it says, and whether it is to be seen to."""

    label: str
    text: str
    is_alarming: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one title."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check as people read it; ``unit`` says what its numbers count, where they do."""

    number: str
    claim: str
    unit: str
    declared: str
    measured: str
    outcome: str
    proof: str
    differs: bool
    is_judged: bool


@dataclass(frozen=True, slots=True)
class Paper:
    """A whole report.

    Attributes:
        lang: Of its words.
        title: What it is.
        of: Whose.
        sections: In the order of the report.
        checks: Every check, by number.
        note: What the paper is for.
    """

    lang: Lang
    title: str
    of: str
    sections: tuple[Section, ...]
    checks: tuple[CheckRow, ...]
    note: str


def paper_of(report: Report, judgements: Sequence[Judged], sha256: str, lang: Lang) -> Paper:
    """Return ``report`` as people read it.

    Args:
        report: As it was verified.
        judgements: Its checks, judged.
        sha256: Of the document that was signed.
        lang: In which language.
    """
    parts = (
        ("summary", _summary(judgements, lang)),
        ("identity", _identity(report, sha256, lang)),
        ("law", _law(report.law, lang)),
        ("cameras", _cameras(report.cameras, lang)),
        ("models", _models(report, lang)),
        ("redaction", _redaction(report, lang)),
        ("retention", _retention(report, lang)),
        ("egress", _egress(report, lang)),
        ("confinement", _confinement(report.confinement, lang)),
        ("access", _access(report, lang)),
        ("audit", _audit(report, lang)),
    )
    sections = tuple(Section(word(key, lang), tuple(rows)) for key, rows in parts)
    of = word("of_box", lang, box=report.identity.box)
    checks = tuple(_check(one, lang) for one in judgements)
    return Paper(lang, word("title", lang), of, sections, checks, word("register", lang))


def check_heads(lang: Lang) -> tuple[str, ...]:
    """Return the heads of the columns of checks."""
    return tuple(word(key, lang) for key in ("check", "claim", "declared", "measured", "outcome", "proof"))


def at(at_ms: int) -> str:
    """Write an instant so that it is the same for every reader."""
    return f"{datetime_of(at_ms):%Y-%m-%d %H:%M} UTC"


def _summary(judgements: Sequence[Judged], lang: Lang) -> Iterator[Row]:
    label = word("checks", lang)
    failed = [one.check.number for one in judgements if one.differs]
    untested = [one.check.number for one in judgements if one.finding.outcome is Outcome.UNTESTED and not one.differs]
    if failed:
        which = ", ".join(failed)
        yield Row(label, word("some_fail", lang, n=len(failed), of=len(judgements), which=which), is_alarming=True)
    else:
        yield Row(label, word("all_hold", lang, n=len(judgements) - len(untested)))
    if untested:
        yield Row(label, word("untested", lang, n=len(untested), which=", ".join(untested)))


def _identity(report: Report, sha256: str, lang: Lang) -> Iterator[Row]:
    facts = report.identity
    yield Row(word("box", lang), facts.box)
    yield Row(word("whose", lang), word(facts.controller, lang))
    yield Row(word("made", lang), f"{at(report.made_ms)} ({word(report.why.value, lang)})")
    yield Row(word("started", lang), at(facts.started_ms))
    yield Row(word("agent", lang), facts.agent)
    yield Row(word("profile", lang), word(facts.profile, lang), is_alarming=facts.profile == "bench")
    yield Row(word("site", lang), facts.site_sha256)
    yield Row(word("clock", lang), _yes(facts.clock_set, lang), is_alarming=not facts.clock_set)
    yield Row(word("key", lang), facts.key)
    yield Row(word("signature", lang), sha256)


def _law(law: Law | None, lang: Lang) -> Iterator[Row]:
    if law is None:
        yield Row(word("law", lang), word("no_policy", lang), is_alarming=True)
        return
    yield Row(word("version", lang), f"{law.version}, SHA-256 {law.sha256}")
    yield Row(word("valid", lang), f"{law.issued:%Y-%m-%d} → {law.expires:%Y-%m-%d}")
    yield Row(word("purpose", lang), law.purpose)
    yield Row(word("references", lang), " ; ".join(law.legal_references))
    yield Row(word("decision", lang), law.decision)
    yield Row(word("signers", lang), _words(law.signers, lang))
    for one in law.opinions:
        said = {"role": word(one.role, lang), "day": one.day, "opinion": word(one.opinion, lang)}
        yield Row(word("opinion", lang, **said), one.text)
    for stop in law.stops:
        text = f"{word(stop.role, lang)}, {stop.issued:%Y-%m-%d %H:%M} UTC, {stop.sha256[:16]}"
        yield Row(word("stop", lang), text, is_alarming=True)
    if law.why_strict is not None:
        yield Row(word("why_strict", lang), word(law.why_strict, lang), is_alarming=True)
    yield Row(word("root", lang), str(law.root_version))


def _cameras(cameras: Iterable[CameraFacts], lang: Lang) -> Iterator[Row]:
    for one in cameras:
        label = word("camera", lang, id=one.id, insee=one.insee)
        counted = {"labels": _words(one.labels, lang), "watches": _words(one.watches, lang)}
        yield Row(label, word("camera_facts", lang, source=one.source, window_s=one.window_s, **counted))
        yield Row("", _permitted(one, lang))
        said = one.said
        if said is None:
            yield Row("", word("camera_silent", lang))
        else:
            why = "" if said.why == "none" else f" ({word(said.why, lang)})"
            runs = word("runs" if said.runs else "stands", lang)
            differs = said.profile != one.permitted.profile
            held = word("camera_said", lang, profile=word(said.profile, lang), why=why, runs=runs)
            yield Row("", held, is_alarming=differs)


def _permitted(camera: CameraFacts, lang: Lang) -> str:
    may = camera.permitted
    masks = str(may.masks) if may.masks else word("masks_none" if may.masks_decided else "masks_undecided", lang)
    images = word("images_days", lang, n=may.retention_days) if may.keep_images else word("none", lang)
    return word(
        "camera_permitted",
        lang,
        profile=word(may.profile, lang),
        classes=", ".join(may.classes),
        k=may.person_cell_min,
        person_s=may.person_window_s,
        masks=masks,
        images=images,
        events=_words(may.events, lang),
        aggregates=_words(may.aggregates, lang),
    )


def _models(report: Report, lang: Lang) -> Iterator[Row]:
    if not report.models:
        yield Row(word("models", lang), word("none", lang), is_alarming=True)
    for one in report.models:
        text = word(
            "model_facts",
            lang,
            labels=_words(one.labels, lang),
            able=_yes(one.biometric_capable, lang),
            in_use=_yes(one.in_use, lang),
            sha256=one.sha256 or "?",
        )
        yield Row(one.name, text, is_alarming=one.biometric_capable or one.sha256 != one.declared_sha256)


def _redaction(report: Report, lang: Lang) -> Iterator[Row]:
    facts = report.redaction
    shares = {"people": facts.people_percent, "vehicle": facts.vehicle_percent, "dilation": facts.dilation_percent}
    yield Row(word("fill", lang), word(facts.fill, lang))
    yield Row(word("targets", lang), word("targets_facts", lang, **shares))
    yield Row(word("self_check", lang), word("self_check_facts", lang, n=facts.checked_every))
    yield Row(word("attack", lang), facts.attack_test)


def _retention(report: Report, lang: Lang) -> Iterator[Row]:
    kept = report.retention
    if not kept.has_store and not kept.items:
        yield Row(word("store", lang), word("no_store", lang))
        return
    yield Row(word("store", lang), word("store_facts", lang, n=kept.items, size=kept.size_bytes))
    yield Row(word("oldest", lang), word("none", lang) if kept.oldest_ms is None else at(kept.oldest_ms))
    yield Row(word("frozen", lang), str(kept.frozen))


def _egress(report: Report, lang: Lang) -> Iterator[Row]:
    facts = report.egress
    for one in facts.destinations:
        yield Row(word(one.what, lang), f"{one.host}:{one.port} ({', '.join(one.addresses) or '?'})")
    yield Row(word("camera_ports", lang), ", ".join(map(str, facts.camera_ports)) or word("none", lang))
    sent = {"bytes": facts.sent_bytes, "messages": facts.sent_messages, "refused": facts.refused_messages}
    yield Row(word("sent", lang, since=at(facts.since_ms)), word("sent_facts", lang, **sent))
    link = {"bytes": facts.link_bytes, "records": facts.link_records, "most": facts.link_bytes_per_day_max}
    yield Row(word("link", lang), word("link_facts", lang, **link))
    refused = {"cuts": facts.link_cuts, "rejects": facts.rejects, "dropped": facts.output_dropped_bytes}
    yield Row(
        word("rejects", lang),
        word("rejects_facts", lang, **refused),
        is_alarming=bool(facts.link_cuts or facts.output_dropped_bytes),
    )


def _confinement(processes: Iterable[ConfinementFacts], lang: Lang) -> Iterator[Row]:
    for facts in processes:
        forbidden = [one for one in facts.trials if one.number < FIRST_CONTROL]
        text = word(
            "process_facts",
            lang,
            uid=facts.uid,
            landlock=facts.landlock_version,
            filter=facts.filter_instructions,
            refused=sum(one.outcome == REFUSED for one in forbidden),
            tried=len(forbidden),
        )
        yield Row(word("process", lang, name=word(facts.process.value, lang)), text)
        for number in facts.breaches:
            kind = "breach" if number < FIRST_CONTROL else "control"
            yield Row(word(kind, lang, n=number), trial(number, lang), is_alarming=True)


def _access(report: Report, lang: Lang) -> Iterator[Row]:
    facts = report.access
    yield Row(word("users", lang), str(facts.box_uid))
    opened = ", ".join(facts.open_files) or word("none", lang)
    yield Row(word("open_files", lang), opened, is_alarming=bool(facts.open_files))
    yield Row(word("exports", lang), str(facts.exports))
    yield Row(word("served", lang), _yes(facts.view_served, lang), is_alarming=facts.view_served)
    yield Row(word("swap", lang), str(facts.swaps_in_clear), is_alarming=facts.swaps_in_clear > 0)


def _audit(report: Report, lang: Lang) -> Iterator[Row]:
    yield Row(word("entries", lang), str(report.audit.size), is_alarming=report.audit.is_short)
    yield Row(word("head", lang), " ".join(report.audit.checkpoint.split("\n")[:3]))


def _check(one: Judged, lang: Lang) -> CheckRow:
    outcome = one.finding.outcome
    said = word("fail", lang) if one.differs else word("pass" if outcome is Outcome.PASS else "not_judged", lang)
    unit = f"unit-{one.check.number}"
    return CheckRow(
        one.check.number,
        one.check.claim(lang),
        word(unit, lang) if unit in WORDS else "",
        one.finding.declared,
        one.finding.measured,
        said,
        one.check.proof,
        one.differs,
        outcome is not Outcome.UNTESTED,
    )


def _words(keys: Iterable[str], lang: Lang) -> str:
    return ", ".join(word(key, lang) for key in keys) or word("none", lang)


def _yes(is_so: bool, lang: Lang) -> str:  # noqa: FBT001 - its one meaning is in its name
    return word("yes" if is_so else "no", lang)
