"""The DPO's pages: whose boxes a DPO sees, what differs, the audit and its forks, the PDF, and what is published."""

import asyncio
import re
import sqlite3

import msgspec
import pytest
import sqlalchemy as sa

from audit_builders import chained, happenings
from city_hall import CityHall
from fleet_builders import NOW_MS
from house_builders import House, form_token_in, log_in
from pdf_builders import text_of
from report_builders import OTHER_KEY, Reporting, a_report, confinement, within
from veilleur_contracts.audit import Process
from veilleur_contracts.audit_check import FaultKind
from veilleur_contracts.report import read_report
from veilleur_contracts.report_checks import CHECKS
from veilleur_contracts.report_words import word
from veilleur_contracts.topics import Up
from veilleur_fleet.store.documents import DocumentRow, TwinRow, put_document, put_twins

DAY_MS = 86_400_000


@pytest.fixture
def house(database, clock) -> House:
    one = House(database, clock)
    for name, role in (
        ("dpo1", "dpo-ville"),
        ("dpo2", "dpo-agglo"),
        ("op", "operator"),
        ("cons", "consumer-flood-risk"),
    ):
        one.add(name, role)
    return one


@pytest.fixture
def box() -> Reporting:
    return Reporting(now_ms=NOW_MS - 60_000)


def reported(ledger, box, report=None) -> None:
    """Let a box report, and send its audit up to the report."""
    told = box.report() if report is None else box.send_report(msgspec.structs.replace(report, made_ms=box.now_ms))
    ledger.store([told, box.part()])


async def seen(house, address, name="dpo1", lang="en", **query):
    async with house.browser() as web:
        await log_in(web, name)
        return await web.get(address, params={"lang": lang} | query)


async def test_a_dpo_sees_the_boxes_of_their_controller_and_an_operator_all(house, ledger, box) -> None:
    reported(ledger, box)
    reported(ledger, Reporting("quai-7", "agglo", now_ms=NOW_MS))
    pages = {name: await seen(house, "/dpo", name) for name in ("dpo1", "dpo2", "op")}
    boxes = {name: set(re.findall(r"/dpo/box/([a-z0-9-]+)\?", page.text)) for name, page in pages.items()}
    assert boxes == {"dpo1": {"gare-01"}, "dpo2": {"quai-7"}, "op": {"gare-01", "quai-7"}}
    assert (await seen(house, "/dpo/box/quai-7")).status_code == 404
    for address in ("/dpo", "/dpo/box/gare-01", "/dpo/act", "/dpo/box/gare-01/audit"):
        assert (await seen(house, address, "cons")).status_code == 403


@pytest.mark.parametrize("lang", ["fr", "en"])
async def test_a_box_shows_its_report_in_both_languages_with_nothing_that_differs(house, ledger, box, lang) -> None:
    reported(ledger, box)
    page = await seen(house, "/dpo/box/gare-01", lang=lang)
    assert page.status_code == 200
    text = page.text.replace("&#39;", "'")
    for check in CHECKS:
        assert check.claim(lang) in text
    assert 'class="differs"' not in text
    assert word("pass", lang) in text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script" not in text


async def test_what_is_measured_otherwise_than_declared_stands_out(house, ledger, box) -> None:
    report = a_report(
        confinement=(confinement(Process.EYE, 10001, breaches=(5,)), confinement(Process.MOUTH, 10002)),
    )
    reported(ledger, box, report)
    page = await seen(house, "/dpo/box/gare-01", lang="fr")
    assert re.findall(r'data-check="(\w+)"', page.text) == ["P01"]
    assert "1 (5)" in page.text
    assert "datagramme UDP" in page.text
    overview = await seen(house, "/dpo")
    assert "1 difference" in overview.text
    assert "P01" in overview.text


async def test_a_box_that_says_all_is_well_of_facts_that_are_not_is_found_out(house, ledger, box) -> None:
    lying = msgspec.structs.replace(within(a_report(), "access", view_served=True), checks=a_report().checks)
    reported(ledger, box, lying)
    page = await seen(house, "/dpo/box/gare-01")
    assert re.findall(r'data-check="(\w+)"', page.text) == ["P23"]


async def test_an_old_report_and_one_that_the_audit_does_not_tell_of_differ(house, ledger, box, clock) -> None:
    told = box.report()
    box.entries.pop()
    box.now_ms += 1000
    ledger.store([told, box.part()])
    assert re.findall(r'data-check="(\w+)"', (await seen(house, "/dpo/box/gare-01")).text) == ["F04"]
    clock.at_ms += DAY_MS + 3 * 3_600_000
    assert re.findall(r'data-check="(\w+)"', (await seen(house, "/dpo/box/gare-01")).text) == ["F02", "F04"]


async def test_the_audit_is_verified_and_shown_and_a_fork_named(house, ledger, box) -> None:
    box.note(*happenings(150)[1:])
    reported(ledger, box)
    page = await seen(house, "/dpo/box/gare-01/audit")
    assert "whole: order, chain and every signed head agree" in page.text
    assert "report-made" in page.text
    assert "before=51" in page.text
    older = await seen(house, "/dpo/box/gare-01/audit", before=51)
    assert "box-started" in older.text
    ledger.store([box.part(0, None, chained(happenings(9, 7)[1:], box.entries[:8]))])
    forked = await seen(house, "/dpo/box/gare-01/audit")
    assert "First bad entry 8" in forked.text
    assert re.findall(r'data-check="(\w+)"', (await seen(house, "/dpo/box/gare-01")).text) == ["F03"]


async def test_another_key_and_rubbish_are_shown_and_not_fatal(house, ledger, box) -> None:
    reported(ledger, box)
    thief = Reporting(key=OTHER_KEY, now_ms=NOW_MS)
    ledger.store([thief.report(), box.delivery(Up.PRIVACY, b"rubbish")])
    page = await seen(house, "/dpo/box/gare-01")
    assert "another key" in page.text
    assert "report refused" in page.text
    assert re.findall(r'data-check="(\w+)"', page.text) == ["F03"]


async def test_a_box_that_holds_another_policy_than_the_published_one_differs(house, ledger, box, database) -> None:
    with database.desk.begin() as connection:
        row = DocumentRow("a" * 64, "policy", "e" * 64, 5, NOW_MS, "op", 2)
        put_document(connection, row, b"{}")
        put_twins(connection, [TwinRow("gare-01", "ville", 1, (("policy", "a" * 64, 2),))])
    reported(ledger, box)
    page = await seen(house, "/dpo/box/gare-01")
    assert re.findall(r'data-check="(\w+)"', page.text) == ["F05"]
    assert "e" * 16 in page.text
    assert "b" * 16 in page.text


async def test_a_box_that_never_reported_says_so(house, ledger) -> None:
    ledger.store([Reporting(now_ms=NOW_MS).part()])
    page = await seen(house, "/dpo/box/gare-01")
    assert "This box has sent no report yet" in page.text
    assert (await seen(house, "/dpo/box/gare-01/report.pdf")).status_code == 404
    assert (await seen(house, "/dpo/box/gare-01/report.json")).status_code == 404
    assert (await seen(house, "/dpo/box/nobody")).status_code == 404


async def test_the_signed_report_can_be_taken_away_and_verified_elsewhere(house, ledger, box) -> None:
    reported(ledger, box)
    raw = await seen(house, "/dpo/box/gare-01/report.json")
    assert read_report(raw.content, box.verifier).identity.box == "gare-01"


@pytest.mark.parametrize("lang", ["fr", "en"])
async def test_the_pdf_says_what_the_page_says(house, ledger, box, lang) -> None:
    report = a_report(confinement=(confinement(Process.EYE, 10001, breaches=(5,)), confinement(Process.MOUTH, 10002)))
    reported(ledger, box, report)
    answer = await seen(house, "/dpo/box/gare-01/report.pdf", lang=lang)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == f'attachment; filename="veilleur-gare-01-{lang}.pdf"'
    text = re.sub(r"\s+", " ", text_of(answer.content))
    for words in (word("title", lang), word("law", lang), "Délibération 2026-042", word("fail", lang), "œil confiné"):
        assert words in text
    for check in CHECKS:
        assert f"{check.number} " in text


@pytest.fixture(scope="module")
def hall(tmp_path_factory):
    return CityHall(tmp_path_factory.mktemp("hall"))


async def send(web, data, lang="en", name="stop.json"):
    page = await web.get("/dpo/act", params={"lang": lang})
    form = {"form_token": form_token_in(page.text)}
    return await web.post("/dpo/act", params={"lang": lang}, data=form, files={"document": (name, data)})


async def test_a_dpo_publishes_what_was_signed_elsewhere_and_it_is_written_down(house, hall, ask) -> None:
    house.office.publish(hall.root.read_bytes(), "op")
    async with house.browser() as web:
        await log_in(web, "dpo1")
        page = await web.get("/dpo/act", params={"lang": "en"})
        assert "veilleur-fleet policy sign stop.toml --role dpo-ville --key dpo-ville.pem" in page.text
        assert (await send(web, b"rubbish")).status_code == 400
        assert "Choose the signed file first" in (await send(web, b"")).text
        assert "too long" in (await send(web, b" " * 300_000)).text
        done = await send(web, hall.stop().read_bytes())
        assert done.status_code == 200
        assert "Published" in done.text
        forged = await web.post("/dpo/act", data={"form_token": "0" * 64}, files={"document": ("a", b"x")})
        assert forged.status_code == 403
    actions = ask("SELECT who, action FROM actions WHERE action LIKE 'document.%' ORDER BY action_no")
    assert actions == [("op", "document.published"), ("dpo1", "document.refused"), ("dpo1", "document.published")]
    assert ask("SELECT capacity FROM actions WHERE who = 'dpo1' AND action = 'document.published'") == [("dpo-ville",)]
    assert ask("SELECT kind, published_by FROM documents ORDER BY published_ms, kind") == [
        ("root", "op"),
        ("stop", "dpo1"),
    ]


async def test_a_refusal_is_said_in_the_readers_language_with_the_exact_words_marked_as_english(house, hall) -> None:
    house.office.publish(hall.root.read_bytes(), "op")
    unsigned = hall.policy(3, signers=("operator",))
    async with house.browser() as web:
        await log_in(web, "dpo1")
        for data, sentence in (
            (unsigned.read_bytes(), "Il manque une signature ou un avis (visa) nécessaire."),
            (unsigned.read_bytes()[:200], "Le fichier est coupé"),
            (b"rubbish", "Le fichier ne contient pas de document signé"),
        ):
            page = await send(web, data, "fr")
            assert page.status_code == 400
            assert sentence in page.text.replace("&#39;", "'")
            assert re.search(r'<span class="words" lang="en">[^<]{10,}</span>', page.text)


async def test_an_alarm_of_the_audit_is_told_in_french(house, ledger, box) -> None:
    reported(ledger, box)
    ledger.store([Reporting(key=OTHER_KEY, now_ms=NOW_MS).report()])
    page = await seen(house, "/dpo/box/gare-01", lang="fr")
    assert "Une autre clé que celle qui est connue a signé\u202f: nouvel enrôlement, ou usurpation." in page.text


def test_every_kind_of_alarm_has_its_sentence() -> None:
    kinds = {*(kind.value for kind in FaultKind), "other-key", "refused-report", "refused-audit"}
    assert {kind for kind in kinds if word(f"told-{kind}", "fr") == f"told-{kind}"} == set()


async def test_nobody_publishes_without_a_name(database, clock) -> None:
    nobody = House(database, clock)
    async with nobody.browser() as web:
        page = await web.get("/dpo/act", params={"lang": "en"})
        assert "Only somebody who has logged in by name can publish" in page.text
        assert (await web.post("/dpo/act", files={"document": ("a", b"x")})).status_code in {303, 401}


async def test_while_a_document_waits_for_the_database_others_are_answered(house, hall, database, worlds) -> None:
    house.office.publish(hall.root.read_bytes(), "op")
    async with house.browser() as web:
        await log_in(web, "dpo1")
        held = database.desk.connect()
        held.begin()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send(web, hall.stop().read_bytes()))
            await worlds.until(lambda: database.desk.pool.checkedout() > 1, "publishing")
            assert (await web.get("/healthz")).status_code == 200
            assert not sending.done()
            held.close()
        assert "Published" in sending.result().text


async def test_what_the_database_does_not_take_is_not_called_refused(house, hall, database, ask) -> None:
    house.office.publish(hall.root.read_bytes(), "op")
    async with house.browser() as web:
        await log_in(web, "dpo1")

        def refuse(_connection) -> None:
            raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("database is locked"))

        sa.event.listen(database.desk, "begin", refuse)
        answer = await send(web, hall.stop().read_bytes())
        assert answer.status_code == 400
        assert "try again in a moment" in answer.text
        assert "a box would refuse" not in answer.text
    assert ask("SELECT count(*) FROM actions WHERE action = 'document.refused'") == [(0,)]
