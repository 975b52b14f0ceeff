"""Logging in, changing a password and confirming for drivers in a real Chromium, as people do it."""

import shutil

import httpx
import pytest
from playwright.async_api import async_playwright, expect
from typer.testing import CliRunner

from house_builders import PASSWORD
from veilleur_fleet.cli import cli

pytestmark = [pytest.mark.browser, pytest.mark.journey]


@pytest.fixture
async def page():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        context = await browser.new_context(locale="en-GB", viewport={"width": 390, "height": 800})
        yield await context.new_page()
        await browser.close()


@pytest.fixture
def fleet(start_fleet, broker, tmp_path):
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    for name, role in (("jmartin", "operator"), ("crise-1", "consumer-crisis-room")):
        words = ["account", "add", name, "--holder", name, "--role", role, "--password-file", str(secret)]
        done = CliRunner().invoke(cli, [*words, "--data", str(tmp_path / "data")])
        assert done.exit_code == 0, done.output
    return start_fleet(broker.port)


async def log_in(page, name, password=PASSWORD) -> None:
    await page.get_by_label("Account").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def test_an_operator_logs_in_confirms_for_drivers_withdraws_and_logs_out(fleet, page) -> None:
    trouble = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    await page.goto(f"{fleet.url}?lang=en")
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await log_in(page, "jmartin")
    await expect(page.locator("#pulse")).to_have_text("Following live")
    assert trouble == []
    await page.get_by_role("link", name="What drivers are told").click()
    await page.get_by_label("Street").fill("Avenue Feuchères")
    await page.get_by_label("Points along it").fill("43.8325 4.3661 43.8345 4.3655")
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("rowheader", name="Object on the road")).to_be_visible()
    await expect(page.get_by_role("cell", name="jmartin")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.get_by_role("button", name="Withdraw").click()
    await expect(page.get_by_text("Nothing is told now.")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await page.goto(f"{fleet.url}notices")
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert trouble == []


async def test_a_wrong_password_is_said_and_a_consumer_sees_what_is_its_own(fleet, page) -> None:
    await page.goto(f"{fleet.url}services?lang=en")
    await log_in(page, "crise-1", "wrong wrong wrong")
    await expect(page.get_by_role("alert")).to_have_text("Name and password do not belong together.")
    await log_in(page, "crise-1")
    await expect(page.get_by_role("heading", name="Crisis room")).to_be_visible()
    await expect(page.get_by_role("heading", name="Municipal police")).to_have_count(0)
    await page.goto(f"{fleet.url}?lang=en")
    await expect(page.get_by_role("heading", name="This is not open to you")).to_be_visible()


async def test_no_page_can_be_framed_or_send_its_forms_elsewhere(fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url) as web:
        rules = (await web.get("/login")).headers["content-security-policy"]
    assert "form-action 'self'" in rules
    assert "frame-ancestors 'none'" in rules
