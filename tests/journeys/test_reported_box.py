"""From what a real box measured of itself to the DPO's page and paper; and a box that tries to take its past back."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import paho.mqtt.publish
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from city_hall import CityHall
from journeys.steered import SteeredTown
from journeys.town import WITHIN_S, Box, Town, site_of
from pdf_builders import text_of
from veilleur_contracts.topics import Up, up_topic
from veilleur_simulator.processes import Child, program_command, wait_until

pytestmark = [pytest.mark.journey, pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture
def page() -> Iterator[Page]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> CityHall:
    return CityHall(tmp_path_factory.mktemp("hall"), with_fleet=True)


def asked(town: Town, query: str) -> list[tuple]:
    with closing(sqlite3.connect(f"{town.database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as store:
        return store.execute(query).fetchall()


def held(town: Town) -> int:
    return asked(town, "SELECT coalesce(max(size), 0) FROM audit_logs")[0][0]


def reports(town: Town) -> int:
    return asked(town, "SELECT count(*) FROM reports")[0][0]


def started(town: Town, film: Path, hall: CityHall, policy: Path) -> Box:
    """Start the box under a signed policy and wait for its next report and the audit that tells of it."""
    before, copied = reports(town), held(town)
    box = town.box(site_of(str(film), loop=True), "--policy", str(policy), "--root", str(hall.root))
    wait_until(lambda: reports(town) > before, WITHIN_S, "a report in the fleet")
    wait_until(lambda: held(town) > copied or alarms(town), WITHIN_S, "the audit in the fleet")
    return box


def alarms(town: Town) -> list[str]:
    return [row[0] for row in asked(town, "SELECT kind FROM audit_alarms ORDER BY alarm_no")]


def test_a_box_reports_a_dpo_reads_and_nobody_changes_either(town, street_film, hall, page) -> None:
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in {"error", "warning"} else None)
    policy = hall.policy(1)
    box = started(town, street_film, hall, policy)
    read_in_both_languages(town, page)
    refuse_a_tampered_report(town, page)
    box.end()
    shutil.copytree(box.state, town.folder / "yesterday")
    started(town, street_film, hall, policy).end()
    assert alarms(town) == ["refused-report"], "a box that stops and starts contradicts nothing"
    shutil.rmtree(box.state)
    shutil.copytree(town.folder / "yesterday", box.state)
    put_back = started(town, street_film, hall, policy)
    wait_until(lambda: "forked" in alarms(town), WITHIN_S, "the alarm")
    page.goto(f"{town.page}dpo/box/box-1/audit?lang=fr")
    expect(page.get_by_text("histoire récrite").first).to_be_visible()
    put_back.end()
    assert trouble == []


def read_in_both_languages(town: Town, page: Page) -> None:
    """A DPO looks: the list, the report with its differences, and the paper; in French and English."""
    for lang, purpose, differs in (("fr", "Finalité", "ÉCART"), ("en", "Purpose", "DIFFERS")):
        page.goto(f"{town.page}dpo?lang={lang}")
        page.get_by_role("link", name="box-1", exact=True).click()
        expect(page.get_by_role("rowheader", name=purpose, exact=True)).to_be_visible()
        expect(page.get_by_text("Connaître les déplacements").first).to_be_visible()
        expect(page.locator('[data-check="P04"]')).to_contain_text(
            "3"
        )  # one user runs all three in a test: said, not hidden
        assert page.locator('[data-check="F01"], [data-check="F03"], [data-check="F04"]').count() == 0
        answer = httpx.get(f"{town.page}dpo/box/box-1/report.pdf", params={"lang": lang}, timeout=20)
        text = re.sub(r"\s+", " ", text_of(answer.content))
        assert "Connaître les déplacements" in text
        assert differs in text


def refuse_a_tampered_report(town: Town, page: Page) -> None:
    """Somebody with access to the broker puts a changed report in the place of the true one."""
    (raw,) = asked(town, "SELECT raw FROM reports ORDER BY report_no LIMIT 1")[0]
    tampered = raw.replace(b'"sig":"', b'"sig":"AAAA', 1)
    where = (up_topic("ville", "box-1", Up.PRIVACY), tampered)
    paho.mqtt.publish.single(where[0], where[1], qos=1, retain=True, hostname=town.broker.host, port=town.broker.port)
    wait_until(lambda: alarms(town) == ["refused-report"], WITHIN_S, "the alarm")
    page.goto(f"{town.page}dpo/box/box-1?lang=en")
    expect(page.get_by_text("report refused").first).to_be_visible()
    expect(page.get_by_text("Connaître les déplacements").first).to_be_visible()


def test_a_dpo_stops_a_box_from_the_page_with_a_key_that_stays_at_home(
    tmp_path, models, street_film, hall, page
) -> None:
    with SteeredTown(tmp_path, models, hall) as town:
        town.steer("publish", hall.policy(1))
        box = town.steered_box(site_of(str(street_film), loop=True))
        town.until_runs_under(1)
        know_a_dpo(town)
        page.goto(f"{town.page}dpo/act?lang=en")
        page.locator('input[name="name"]').fill("jdupont")
        page.locator('input[name="password"]').fill(PASSWORD)
        page.locator("main form button").click()
        page.get_by_label("Signed stop or policy").set_input_files(hall.stop())
        page.get_by_role("button", name="Publish").click()
        expect(page.get_by_role("alert")).to_contain_text("Published")
        town.until_stopped()
        wait_until(lambda: "stopped" in newest(town, page), WITHIN_S, "a report that tells of the stop")
        published = asked(town, "SELECT who, capacity FROM actions WHERE action = 'document.published'")
        assert [tuple(row) for row in published][-1] == ("jdupont", "dpo-ville"), "after those of the command line"
        box.end()


PASSWORD = "trois petits chats"  # noqa: S105 - of nobody


def know_a_dpo(town: Town) -> None:
    """Make the DPO's account, as whoever runs the server does."""
    secret = town.folder / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    secret.chmod(0o600)
    words = (
        "account",
        "add",
        "jdupont",
        "--holder",
        "J. Dupont",
        "--role",
        "dpo-ville",
        "--password-file",
        str(secret),
    )
    with Child(
        "account",
        program_command("veilleur-fleet", *words, "--data", str(town.folder / "fleet")),
        town.folder / "account.log",
    ) as one:
        assert one.wait(WITHIN_S) == 0


def newest(town: Town, page: Page) -> str:
    """What the newest report says of the camera, as the DPO reads it."""
    page.goto(f"{town.page}dpo/box/box-1?lang=en")
    return page.get_by_text("The eye holds it to").first.inner_text()
