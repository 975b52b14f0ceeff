"""The copy of a box's audit that the fleet holds: it grows by signed parts, and what a box takes back is alarmed."""

import pytest
from typer.testing import CliRunner

from audit_builders import chained, changed_entry, happenings, write_log
from fleet_builders import EITHER_ENGINE
from report_builders import OTHER_KEY, Reporting
from veilleur_contracts.audit_check import check_log
from veilleur_contracts.audit_copy import log_id_of
from veilleur_contracts.merkle import frontier_of, leaf_hash, subtrees_of
from veilleur_contracts.notes import BY_LOG, verifier_of
from veilleur_contracts.tiles import Tiles
from veilleur_contracts.topics import Up
from veilleur_fleet.audit import audit_app

LOOKALIKE = str(verifier_of("veilleur/ville/gare-01/audits", OTHER_KEY, BY_LOG))


@pytest.fixture
def box() -> Reporting:
    one = Reporting()
    one.note(*happenings(20)[1:])
    return one


def alarms(ask) -> list[tuple[str, int, int]]:
    return ask("SELECT kind, first_bad, last_bad FROM audit_alarms ORDER BY alarm_no")


def held(ask) -> list[bytes]:
    return [bytes(row[0]) for row in ask("SELECT raw FROM audit_entries ORDER BY place")]


@EITHER_ENGINE
def test_a_copy_grows_and_each_part_is_answered_with_how_far_it_goes(ledger, ask, box) -> None:
    log = log_id_of(str(box.verifier))
    first = ledger.store([box.part(0, 12)])
    assert [(one.log, one.upto) for one in first.copied] == [(log, 12)]
    again = ledger.store([box.part(0, 12), box.part(12, 20), box.part(10, 20)])
    assert [one.upto for one in again.copied] == [12, 20, 20]
    assert held(ask) == box.entries
    assert ask("SELECT size FROM audit_heads ORDER BY size") == [(12,), (20,)]
    assert alarms(ask) == []


def test_behind_a_hole_the_box_is_told_from_where_to_go_on(ledger, ask, box) -> None:
    ledger.store([box.part(0, 5)])
    assert [one.upto for one in ledger.store([box.part(9, 20)]).copied] == [5]
    assert len(held(ask)) == 5


@EITHER_ENGINE
def test_a_hole_that_was_pruned_is_passed_over_and_alarmed(ledger, ask) -> None:
    box = Reporting()
    box.note(*happenings(300)[1:])
    before = frontier_of(256, subtrees_of([leaf_hash(raw) for raw in box.entries[:256]]))
    ledger.store([box.part(0, 20)])
    assert [one.upto for one in ledger.store([box.part(256, 300, before=before)]).copied] == [300]
    assert alarms(ask) == [("dropped", 20, 255)]


@pytest.mark.parametrize(
    "tried",
    [
        pytest.param(
            (0, lambda one: [*one[:5], changed_entry(one[5], at_ms=1), *one[6:]], ("forked", 5, 5)), id="edited"
        ),
        pytest.param((12, lambda one: [*one[:14], *one[15:]], ("dropped", 14, 14)), id="dropped"),
        pytest.param((12, lambda one: [*one[:14], one[15], one[14], *one[16:]], ("dropped", 14, 14)), id="reordered"),
        pytest.param((0, lambda one: one[:8], ("truncated", 8, 11)), id="put-back"),
        pytest.param((0, lambda one: chained(happenings(9, 7)[1:], one[:8]), ("forked", 8, 8)), id="forked"),
    ],
)
def test_what_a_box_takes_back_is_alarmed_with_its_first_bad_entry_and_the_copy_stays(ledger, ask, box, tried) -> None:
    first, tampered, alarm = tried
    ledger.store([box.part(0, 12)])
    stored = ledger.store([box.part(first, None, tampered(box.entries))])
    assert stored.copied == [], "nothing is confirmed"
    assert alarms(ask) == [alarm]
    assert held(ask) == box.entries[:12]
    assert ask("SELECT count(*) FROM quarantine") == [(1,)], "the evidence is kept"
    assert [one.upto for one in ledger.store([box.part(12, 20)]).copied] == [20], "the true log goes on"


@EITHER_ENGINE
def test_a_fork_told_again_and_again_is_one_alarm_that_counts(ledger, ask, box) -> None:
    ledger.store([box.part(0, 12)])
    forked = box.part(0, None, chained(happenings(9, 7)[1:], box.entries[:8]))
    for _ in range(3):
        ledger.store([forked])
    assert ask("SELECT times FROM audit_alarms") == [(3,)]


@pytest.mark.parametrize("payload", [b"", b"rubbish", b"\x93" * 90], ids=["empty", "rubbish", "nested"])
def test_rubbish_is_alarmed_and_kept_apart(ledger, ask, box, payload) -> None:
    stored = ledger.store([box.delivery(Up.AUDIT, payload)])
    assert (stored.copied, stored.envelopes_refused) == ([], 1)
    assert alarms(ask) == [("refused-audit", -1, -1)]


def run(*words) -> tuple[int, str]:
    done = CliRunner().invoke(audit_app, [*map(str, words)], env={"COLUMNS": "300"})
    return done.exit_code, done.output


def test_a_copy_is_taken_away_and_the_boxs_own_log_compared_with_it(ledger, box, tmp_path) -> None:
    ledger.store([box.part(0, 12), box.part(12, 20)])
    folder = tmp_path / "copies"
    code, said = run("copy", "gare-01", folder, "--data", tmp_path / "fleet")
    assert code == 0, said
    assert "20 entries" in said
    assert check_log(Tiles(folder / "1"), box.verifier).is_whole
    code, said = run("verify", folder / "1", "--key", folder / "1" / "key")
    assert (code, "whole, and signed to the end" in said) == (0, True), said
    forked = tmp_path / "box"
    entries = chained(happenings(9, 7)[1:], box.entries[:8])
    write_log(forked, entries)
    code, said = run("verify", forked, "--key", folder / "1" / "key", "--copy", folder / "1")
    assert (code, "entry is 8" in said) == (1, True), said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("copy", "nobody", "x"), "holds no audit of nobody"),
        (("copy", "gare-01", "."), "is there already"),
        (("trust", "nobody", str(Reporting().verifier)), "no box called nobody"),
        (("trust", "gare-01", str(Reporting("quai-7").verifier)), "no key of the audit of gare-01"),
        (("trust", "gare-01", LOOKALIKE), "no key of the audit of gare-01"),
        (("trust", "gare-01", "rubbish"), "a verifier key is written"),
    ],
)
def test_what_cannot_be_copied_or_trusted_is_refused_with_one_sentence(ledger, box, tmp_path, words, sentence) -> None:
    ledger.store([box.part()])
    code, said = run(*words, "--data", tmp_path / "fleet")
    assert code == 1
    assert sentence in said
    assert "Traceback" not in said


def test_another_key_is_taken_once_a_person_accepts_it(ledger, ask, box, tmp_path) -> None:
    ledger.store([box.part()])
    again = Reporting(key=OTHER_KEY)
    assert ledger.store([again.part()]).copied == []
    for _ in range(2):
        code, said = run("trust", "gare-01", again.verifier, "--data", tmp_path / "fleet")
        assert code == 0, said
    assert [one.upto for one in ledger.store([again.part(), again.report()]).copied] == [1]
    assert ask("SELECT count(*) FROM reports") == [(1,)]
    assert ask("SELECT action FROM actions") == [("audit-key.trusted",)]


def test_neither_endless_audits_nor_endless_alarms_fill_the_disk(ledger, ask, box, monkeypatch) -> None:
    monkeypatch.setattr("veilleur_fleet.store.papers.ENTRIES_MAX", 12)
    monkeypatch.setattr("veilleur_fleet.store.papers.ALARMS_MAX", 2)
    ledger.store([box.part(0, 12), box.part(12, 20), *(box.part(0, size) for size in (3, 4, 5))])
    assert len(held(ask)) == 12
    assert alarms(ask) == [("refused-audit", -1, -1), ("truncated", 3, 11)]
