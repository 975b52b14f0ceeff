"""Every check of a privacy report, spoilt one fact at a time; the numbers, sentences and proofs; the bounds."""

import re
from pathlib import Path

import msgspec
import pytest

from report_builders import KEY, OTHER_KEY, a_camera, a_report, confinement, key_of, permitting, sha256_of, within
from veilleur_contracts.audit import Process
from veilleur_contracts.envelope import DocumentType, ForgedError, read_envelope, seal, sign, write_envelope
from veilleur_contracts.policy_document import MalformedDocumentError, PolicyRejectedError, canonical
from veilleur_contracts.report import (
    ENVELOPE_BYTES_MAX,
    REPORT_BYTES_MAX,
    Destination,
    Outcome,
    Said,
    StopInForce,
    fitted,
    open_report,
    read_report,
    shortened,
    sign_report,
)
from veilleur_contracts.report_checks import CHECK_OF, CHECKS, judged
from veilleur_contracts.report_describe import table_of, with_checks
from veilleur_contracts.report_html import html_of
from veilleur_contracts.report_paper import paper_of
from veilleur_contracts.report_words import TRIALS, WORDS, trial, word

ROOT = Path(__file__).parents[2]
GOOD = a_report()
DAY_MS = 86_400_000
KEPT = {"has_store": True, "items": 3, "size_bytes": 900}
FOUR_DAYS_AGO = GOOD.made_ms - 4 * DAY_MS


def spoilt(part: str, **changes):
    return within(GOOD, part, **changes)


def with_cameras(*cameras, **changes):
    return a_report(cameras=cameras, **changes)


def failed(report) -> set[str]:
    return {one.check.number for one in judged(report) if one.finding.outcome is Outcome.FAIL}


def untested(report) -> set[str]:
    return {one.check.number for one in judged(report) if one.finding.outcome is Outcome.UNTESTED}


def test_in_a_good_report_every_check_holds() -> None:
    assert failed(GOOD) == untested(GOOD) == set()
    assert [one.number for one in GOOD.checks] == [one.number for one in CHECKS if one.judge is not None]
    assert not any(one.differs for one in judged(GOOD))


@pytest.mark.parametrize(
    ("number", "report"),
    [
        ("P01", a_report(confinement=(confinement(Process.EYE, 1, breaches=(5, 17)), confinement(Process.MOUTH, 2)))),
        ("P02", a_report(confinement=(confinement(Process.EYE, 1), confinement(Process.MOUTH, 2, breaches=(40,))))),
        (
            "P03",
            a_report(
                confinement=(confinement(Process.EYE, 1), confinement(Process.MOUTH, 2, missing=("landlock",))),
            ),
        ),
        ("P03", spoilt("access", allow_unconfined=True)),
        ("P04", a_report(confinement=(confinement(Process.EYE, 0), confinement(Process.MOUTH, 0)))),
        ("P05", spoilt("identity", profile="bench")),
        ("P05", spoilt("law", why_strict="expired")),
        ("P06", spoilt("law", legal_references=())),
        ("P07", with_cameras(a_camera(said=Said("bench", "none", runs=True)))),
        ("P08", with_cameras(permitting(masks_decided=False, masks=0))),
        ("P09", with_cameras(a_camera(window_s=900))),
        ("P09", with_cameras(a_camera(window_s=600, labels=("car",)))),
        ("P10", with_cameras(permitting(person_cell_min=2))),
        ("P11", with_cameras(permitting(classes=("E", "S", "T")))),
        ("P11", with_cameras(permitting(classes=("A", "S", "T")))),
        ("P12", a_report(models=(msgspec.structs.replace(GOOD.models[0], biometric_capable=True),))),
        ("P13", a_report(models=(msgspec.structs.replace(GOOD.models[0], sha256="d" * 64),))),
        ("P13", a_report(models=(msgspec.structs.replace(GOOD.models[0], sha256=None, declared_sha256=None),))),
        ("P13", a_report(models=())),
        ("P14", spoilt("redaction", fill="gaussian")),
        (
            "P15",
            within(
                with_cameras(permitting(keep_images=True, retention_days=3)),
                "retention",
                oldest_ms=FOUR_DAYS_AGO,
                **KEPT,
            ),
        ),
        ("P16", within(GOOD, "retention", oldest_ms=GOOD.made_ms, **KEPT)),
        ("P17", spoilt("egress", destinations=GOOD.egress.destinations * 2)),
        ("P17", spoilt("egress", destinations=())),
        ("P17", spoilt("egress", destinations=(Destination("fleet.nimes.lan", 8443, (), "door"),))),
        ("P18", spoilt("egress", link_bytes=591_495)),
        ("P19", spoilt("egress", link_cuts=1)),
        ("P20", spoilt("egress", output_dropped_bytes=9)),
        ("P21", spoilt("audit", is_short=True)),
        ("P21", spoilt("audit", checkpoint="")),
        ("P22", spoilt("access", open_files=("secrets",))),
        ("P23", spoilt("access", view_served=True)),
        ("P24", spoilt("access", swaps_in_clear=4096)),
        ("P25", spoilt("identity", clock_set=False)),
    ],
)
def test_one_spoilt_fact_fails_its_check_and_no_other(number, report) -> None:
    assert failed(report) == {number}
    finding = next(one.finding for one in judged(report) if one.check.number == number)
    assert finding.declared != finding.measured


@pytest.mark.parametrize(
    ("report", "numbers"),
    [
        pytest.param(a_report(law=None), {"P05", "P06"}, id="no-policy"),
        pytest.param(
            a_report(law=None, cameras=(permitting(classes=("E", "T"), events=("wrong-way",)),)),
            {"P05", "P06", "P11"},
            id="events-without-a-policy",
        ),
    ],
)
def test_without_a_policy_nothing_rests_on_one(report, numbers) -> None:
    assert failed(report) == numbers


@pytest.mark.parametrize(
    ("report", "numbers"),
    [
        pytest.param(a_report(confinement=()), {"P01", "P02", "P03", "P04"}, id="nobody-has-tried"),
        pytest.param(with_cameras(a_camera(said=None)), {"P07"}, id="the-eye-is-silent"),
    ],
)
def test_what_nobody_measured_is_not_judged(report, numbers) -> None:
    assert untested(report) == numbers
    assert failed(report) == set()


@pytest.mark.parametrize(
    ("camera", "holds"),
    [
        (a_camera(said=Said("strictest", "audit-unwritable", runs=True)), True),
        (a_camera(said=Said("stopped", "stopped", runs=False)), True),
        (msgspec.structs.replace(permitting(profile="stopped"), said=Said("strictest", "none", runs=True)), False),
    ],
)
def test_an_eye_that_is_stricter_than_the_documents_obeys_them(camera, holds) -> None:
    assert ("P07" in failed(with_cameras(camera))) is not holds


def test_a_file_may_run_without_masks_and_no_camera_shortens_nothing() -> None:
    assert "P08" not in failed(with_cameras(msgspec.structs.replace(permitting(masks_decided=False), source="file")))
    assert failed(a_report(cameras=())) == set()


def test_pictures_frozen_for_justice_may_be_older_and_kept_where_none_may() -> None:
    assert failed(within(GOOD, "retention", oldest_ms=None, frozen=3, **KEPT)) == set()


def test_a_box_that_says_otherwise_than_its_facts_differs() -> None:
    claimed = msgspec.structs.replace(spoilt("access", swaps_in_clear=1), checks=GOOD.checks)
    assert [one.check.number for one in judged(claimed) if one.differs] == ["P24"]
    denied = msgspec.structs.replace(GOOD, checks=spoilt("access", swaps_in_clear=1).checks)
    assert [one.check.number for one in judged(denied) if one.differs] == ["P24"]


def test_every_check_has_its_own_number_two_sentences_and_a_proof_that_exists() -> None:
    assert len(CHECK_OF) == len(CHECKS)
    for check in CHECKS:
        assert re.fullmatch(r"[PF]\d\d", check.number)
        assert check.claim("fr") != check.claim("en")
        assert (ROOT / check.proof).is_file(), f"{check.number} names a proof that is not there"
        assert (check.judge is None) is check.number.startswith("F")


def test_the_tables_in_the_documents_are_made_of_the_checks() -> None:
    text = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    assert with_checks(text) == text, "run: make docs"
    assert all(table_of(lang) in text for lang in ("fr", "en"))


def test_a_report_comes_back_as_it_was_signed_and_by_its_key_alone() -> None:
    envelope = sign_report(GOOD, KEY)
    assert read_report(envelope, key_of("gare-01")) == open_report(envelope) == GOOD
    other = key_of("gare-01", key=OTHER_KEY)
    with pytest.raises(ForgedError, match="not signed with the key"):
        read_report(envelope, other)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x93\x01\x02", id="not-json"),
        pytest.param(sign_report(GOOD, KEY)[:-40], id="cut-off"),
        pytest.param(b" " * (ENVELOPE_BYTES_MAX + 1), id="too-long"),
        pytest.param(write_envelope(sign(seal(canonical(GOOD), DocumentType.STOP), KEY)), id="another-type"),
        pytest.param(
            write_envelope(
                sign(seal(canonical(GOOD).replace(b'"format":1', b'"format": 1'), DocumentType.REPORT), KEY)
            ),
            id="not-canonical",
        ),
        pytest.param(
            write_envelope(sign(seal(canonical(GOOD).replace(b'"format":1', b'"format":2'), DocumentType.REPORT), KEY)),
            id="another-format",
        ),
    ],
)
def test_rubbish_is_refused(data) -> None:
    with pytest.raises(PolicyRejectedError):
        read_report(data, key_of("gare-01"))


def test_a_changed_report_is_refused() -> None:
    envelope = read_envelope(sign_report(GOOD, KEY))
    changed = seal(canonical(spoilt("access", swaps_in_clear=0, exports=5)), DocumentType.REPORT)
    forged = write_envelope(msgspec.structs.replace(changed, signatures=envelope.signatures))
    with pytest.raises(ForgedError):
        read_report(forged, key_of("gare-01"))


def test_the_largest_report_fits_its_bound_and_a_larger_one_is_never_signed() -> None:
    cameras = tuple(a_camera(id=f"camera-{number:02d}") for number in range(64))
    assert len(canonical(a_report(cameras=cameras))) < REPORT_BYTES_MAX
    long = shortened("é" * 5000)
    assert len(long) == 400
    assert long.endswith("…")
    assert shortened("short") == "short"
    with pytest.raises(MalformedDocumentError):
        sign_report(a_report(cameras=cameras * 2), KEY)


def test_the_longest_words_of_a_policy_on_the_largest_box_still_fit() -> None:
    every = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
    watches = ("lines", "one-way", "zones", "limits", "objects", "road", "speeds")
    long_permitted = msgspec.structs.replace(
        a_camera().permitted,
        classes=("A", "E", "S", "T"),
        events=("bulky-object", "stopped-vehicle", "wrong-way"),
        aggregates=("crowd-band", "road-state"),
    )
    cameras = tuple(
        a_camera(id=f"{number:02d}" + "x" * 30, labels=every, watches=watches, permitted=long_permitted)
        for number in range(64)
    )
    words = "\U0001d538" * 400
    law = msgspec.structs.replace(
        GOOD.law,
        purpose=words,
        decision=words,
        legal_references=(words[:200],) * 12,
        opinions=(msgspec.structs.replace(GOOD.law.opinions[0], text=words),) * 8,
        stops=(StopInForce("dpo-ville", GOOD.law.issued, "f" * 64),) * 32,
    )
    largest = a_report(cameras=cameras, law=law, models=GOOD.models * 16)
    assert len(canonical(largest)) > REPORT_BYTES_MAX
    assert len(sign_report(fitted(largest), KEY)) < ENVELOPE_BYTES_MAX
    assert fitted(GOOD) is GOOD


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_report_reads_in_both_languages(lang) -> None:
    report = a_report(
        cameras=(a_camera(), a_camera(id="quai", said=None)),
        confinement=(confinement(Process.EYE, 1, breaches=(5, 100)), confinement(Process.MOUTH, 2)),
        law=msgspec.structs.replace(GOOD.law, why_strict="expired"),
    )
    paper = paper_of(report, judged(report), sha256_of(sign_report(report, KEY)), lang)
    text = html_of(paper)
    assert word("title", lang) in text
    assert "œil confiné" in text
    assert trial(5, lang) in text
    assert [one.number for one in paper.checks if one.differs] == ["P01", "P05"]
    assert "<script" not in text
    for check in CHECKS:
        assert (check.claim(lang) in msgspec_free(text)) is (check.judge is not None)


def msgspec_free(text: str) -> str:
    return text.replace("&#x27;", "'")


def test_a_text_of_the_policy_cannot_be_markup() -> None:
    report = within(GOOD, "law", purpose="<b>tout</b>")
    assert "<b>tout" not in html_of(paper_of(report, judged(report), "0" * 64, "fr"))


def test_every_word_has_both_languages_and_takes_the_same_values() -> None:
    for fr, en in (*WORDS.values(), *TRIALS.values()):
        assert fr
        assert en
        assert set(re.findall(r"{(\w+)}", fr)) == set(re.findall(r"{(\w+)}", en))
    assert word("unheard-of", "fr") == "unheard-of"
    assert trial(99, "en") == "99"
