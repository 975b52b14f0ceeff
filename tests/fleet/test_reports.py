"""Privacy reports in the fleet: verified, kept once; what is no report of a box is shown, kept apart, and no more."""

import msgspec
import pytest
import sqlalchemy as sa

from fleet_builders import EITHER_ENGINE
from report_builders import KEY, OTHER_KEY, Reporting, a_report, within
from veilleur_contracts.audit_copy import encode_part
from veilleur_contracts.report import sign_report
from veilleur_contracts.topics import Up, up_topic
from veilleur_fleet.store.reports import ALARMS_SHOWN, alarms_of, newest_reports
from veilleur_fleet.store.tables import audit_alarms
from veilleur_fleet.store.work import Delivery

pytestmark = EITHER_ENGINE


@pytest.fixture
def box() -> Reporting:
    return Reporting()


def alarms(ask) -> list[tuple[str, int]]:
    return ask("SELECT kind, times FROM audit_alarms ORDER BY alarm_no")


def test_a_report_is_kept_once_however_often_it_comes(ledger, ask, box) -> None:
    told = box.report()
    assert ledger.store([told]).reports == 1
    assert ledger.store([told, told]).reports == 0, "a retained message comes at every connection"
    assert ask("SELECT box, made_ms FROM reports JOIN boxes USING (box_no)") == [("gare-01", box.now_ms)]
    assert alarms(ask) == []
    assert ask("SELECT count(*) FROM quarantine") == [(0,)]


def test_reports_of_a_year_are_kept_and_those_before_forgotten(ledger, ask, box, monkeypatch) -> None:
    monkeypatch.setattr("veilleur_fleet.store.papers.REPORTS_KEPT", 3)
    for _ in range(5):
        box.now_ms += 1000
        ledger.store([box.report()])
    assert [row[0] - box.now_ms for row in ask("SELECT made_ms FROM reports ORDER BY made_ms")] == [-2000, -1000, 0]


def test_the_newest_report_is_the_one_that_came_last_whatever_the_clock_of_the_box_said(
    ledger, ask, box, database, monkeypatch
) -> None:
    monkeypatch.setattr("veilleur_fleet.store.papers.REPORTS_KEPT", 2)
    right_ms, year_ms = box.now_ms, 365 * 86_400_000
    for box.now_ms in (right_ms + year_ms, right_ms - year_ms, right_ms):
        ledger.store([box.report()])
    with database.readers.connect() as connection:
        (newest,) = newest_reports(connection, [1]).values()
    assert newest.made_ms == right_ms
    assert [row[0] - right_ms for row in ask("SELECT made_ms FROM reports ORDER BY report_no")] == [-year_ms, 0]


def test_a_box_of_many_alarms_hides_none_of_another_boxs(ledger, box, database) -> None:
    loud, quiet = Reporting("gare-02"), box
    ledger.store([quiet.report(), loud.report(), Delivery(up_topic("ville", "gare-01", Up.PRIVACY), b"rubbish", 1000)])
    with database.desk.begin() as connection:
        rows = [
            {"box_no": 2, "kind": "forked", "first_bad": n, "last_bad": n, "sentence": "x"}
            | {"found_ms": 2000 + n, "again_ms": 2000 + n, "times": 1}
            for n in range(30 * ALARMS_SHOWN)
        ]
        connection.execute(sa.insert(audit_alarms), rows)
    with database.readers.connect() as connection:
        found = alarms_of(connection, [1, 2])
    assert [one.kind for one in found[1]] == ["refused-report"]
    newest = 30 * ALARMS_SHOWN - 1
    assert [one.first for one in found[2]] == list(range(newest, newest - ALARMS_SHOWN, -1))


def tampered(_box) -> bytes:
    envelope = sign_report(a_report(), KEY)
    return envelope.replace(b'"sig":"', b'"sig":"AAAA', 1)


def of_another_box(_box) -> bytes:
    return sign_report(a_report("gare-02"), KEY)


def of_another_controllers_key(_box) -> bytes:
    report = within(a_report(), "identity", key=str(Reporting(controller="agglo").verifier))
    return sign_report(report, KEY)


@pytest.mark.parametrize(
    "payload_of",
    [
        pytest.param(lambda _: b"rubbish", id="rubbish"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"{" * 5000, id="nested"),
        tampered,
        of_another_box,
        of_another_controllers_key,
        pytest.param(lambda box: encode_part(box.audit_part()), id="an-audit-for-a-report"),
    ],
)
def test_what_is_no_report_of_the_box_is_alarmed_and_kept_apart_and_the_good_one_stays(
    ledger, ask, box, payload_of
) -> None:
    ledger.store([box.report()])
    stored = ledger.store([box.delivery(Up.PRIVACY, payload_of(box))])
    assert (stored.reports, stored.envelopes_refused, [one.kind for one in stored.alarms]) == (0, 1, ["refused-report"])
    assert ask("SELECT count(*) FROM reports") == [(1,)]
    assert ask("SELECT count(*) FROM quarantine") == [(1,)]
    assert alarms(ask) == [("refused-report", 1)]


def test_a_forged_first_report_does_not_make_its_key_the_boxs(ledger, ask, box) -> None:
    forged = within(a_report(), "identity", key=str(Reporting(key=OTHER_KEY).verifier))
    ledger.store([box.delivery(Up.PRIVACY, sign_report(forged, KEY))])
    assert ask("SELECT count(*) FROM audit_logs") == [(0,)]
    assert ledger.store([box.report()]).reports == 1


def test_another_key_than_the_first_is_refused_for_reports_and_audits(ledger, ask, box) -> None:
    ledger.store([box.report(), box.part()])
    thief = Reporting(key=OTHER_KEY)
    stored = ledger.store([thief.report(), thief.part()])
    assert (stored.reports, stored.copied, stored.envelopes_refused) == (0, [], 2)
    assert alarms(ask) == [("other-key", 2)]
    assert ask("SELECT key FROM audit_logs") == [(str(box.verifier),)]


def test_a_head_signed_for_another_log_begins_none(ledger, box) -> None:
    ledger.store([box.part()])
    name = f"{box.verifier.name}/2"
    again = msgspec.structs.replace(box.audit_part(), key=str(type(box.verifier)(name, 1, box.verifier.public)))
    stored = ledger.store([box.delivery(Up.AUDIT, encode_part(again))])
    assert [one.kind for one in stored.alarms] == ["refused-audit"], "its head is signed for the other log"
