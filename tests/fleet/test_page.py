"""The page in a real Chromium: counts rise while one looks, in two languages, for keyboards, phones and the dark."""

import shutil
import time

import pytest
from playwright.async_api import async_playwright, expect

from fleet_builders import Box, birth, context, health, window
from veilleur_contracts import messages as m

pytestmark = [pytest.mark.browser, pytest.mark.journey]

KERB = context(lines=("kerb",), labels=(m.Label.PERSON, m.Label.BICYCLE))
CONTRAST = """
() => {
  const channel = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    const text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest(".sr, svg, noscript, .skip")) continue;
    const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${element.className}: ${text} ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


@pytest.fixture
async def chromium():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        await browser.close()


@pytest.fixture
async def town(worlds, start_fleet, broker):
    """A fleet, and one box that speaks the real wire."""
    fleet, box = start_fleet(broker.port), Box()
    async with worlds.listening(broker.port, box) as ear:
        yield Town(fleet, box, ear, worlds.until)
    fleet.end()


class Town:
    def __init__(self, fleet, box, ear, until) -> None:
        self.url, self.box, self.ear, self.until = fleet.url, box, ear, until
        self.now_s = int(time.time()) // 5 * 5  # noqa: TID251 - the program under test has the real clock

    async def say(self, *records) -> None:
        seen = len(self.ear.acks)
        await self.ear.say(self.box.says(*records))
        await self.until(lambda: len(self.ear.acks) > seen, "the acknowledgement")

    async def begin(self, profile="bench") -> None:
        await self.say(birth(profile), health(at_s=self.now_s))
        await self.say(KERB, window(KERB, (2, 0, None, 1), at_s=self.now_s - 15))


class Trouble(list):
    """Everything a browser complains about."""

    def watch(self, page) -> None:
        page.on("console", lambda message: self.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("requestfailed", lambda request: None if "/live" in request.url else self.append(request.url))
        page.on("request", lambda request: self.append(request.url) if "127.0.0.1" not in request.url else None)


def cell(page, direction="left_to_right", label="person"):
    return page.locator(f'[data-cell="gare-parvis/kerb/{label}/{direction}"]')


async def test_counts_rise_while_one_looks(chromium, town) -> None:
    trouble = Trouble()
    page = await chromium.new_page()
    trouble.watch(page)
    await page.goto(f"{town.url}?lang=en&period=1h")
    await expect(page.get_by_text("No camera has spoken yet")).to_be_visible()
    await expect(page.locator("#pulse")).to_have_text("Following live")
    await town.begin()
    await expect(cell(page)).to_have_text("2")
    await expect(cell(page, label="bicycle")).to_have_text("withheld")
    await expect(page.get_by_text("windows of 5 s, k = 1: demonstration only")).to_be_visible()
    await expect(page.locator(".state")).to_have_text("Live")
    await town.say(window(KERB, (5, 3, 0, 0), at_s=town.now_s - 10))
    await expect(cell(page)).to_have_text("7")
    await expect(cell(page, "right_to_left")).to_have_text("3")
    await expect(page.locator(".tile .figure").first).to_have_text("11+")
    assert trouble == []


async def test_a_camera_that_goes_blind_says_so_and_shows_no_nought(chromium, town) -> None:
    page = await chromium.new_page()
    await page.goto(f"{town.url}?lang=en&period=1h")
    await town.begin(profile="strictest")
    await expect(cell(page)).to_have_text("2")
    await expect(page.get_by_text("demonstration only")).to_have_count(0)
    await town.say(health(state=m.CameraState.AUTH_FAILED, at_s=town.now_s + 1))
    await expect(page.locator(".state")).to_have_text("Wrong password")
    await expect(page.locator(".no-observation")).to_contain_text("the street may be anything but empty")


async def test_on_a_phone_the_way_to_log_in_is_there_and_no_word_of_the_interface_is_torn(chromium, town) -> None:
    page = await chromium.new_page(viewport={"width": 390, "height": 800})
    await page.goto(f"{town.url}?lang=en")
    await page.get_by_role("link", name="Log in").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await expect(page.get_by_role("link", name="Log in")).to_have_count(0)
    await page.goto(f"{town.url}docs?lang=en")
    name = page.locator(".parameters code", has_text="controller").first
    assert (await name.bounding_box())["height"] < 30, "in one line"
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_an_open_table_and_the_focus_stay_while_counts_change(chromium, town) -> None:
    page = await chromium.new_page()
    await town.begin()
    await page.goto(f"{town.url}?lang=en&period=1h")
    await expect(page.locator("#pulse")).to_have_text("Following live")
    await page.get_by_text("The same as a table").click()
    await page.get_by_label("Camera name").focus()
    await page.keyboard.type("gare")
    await town.say(window(KERB, (40, 0, 0, 0), at_s=town.now_s - 10))
    await expect(cell(page)).to_have_text("42")
    await expect(page.locator("details.as-table")).to_have_attribute("open", "")
    await expect(page.get_by_label("Camera name")).to_be_focused()
    await expect(page.get_by_label("Camera name")).to_have_value("gare")
    assert "40" in await page.locator("details.as-table table").inner_text()


async def test_the_language_can_be_switched_and_is_kept(chromium, town) -> None:
    await town.begin()
    context_ = await chromium.new_context(locale="en-GB")
    page = await context_.new_page()
    await page.goto(town.url)
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await page.get_by_role("link", name="FR").click()
    await expect(page.locator("html")).to_have_attribute("lang", "fr")
    await expect(page.get_by_text("Politique de banc d’essai")).to_be_visible()  # noqa: RUF001 - French has it
    await page.get_by_role("link", name="1 heure").click()
    await expect(page.locator("html")).to_have_attribute("lang", "fr")
    await expect(page.locator(".periods [aria-current]")).to_have_text("1 heure")
    await context_.close()


async def test_everything_can_be_reached_with_the_keyboard_alone(chromium, town) -> None:
    await town.begin()
    page = await chromium.new_page()
    await page.goto(f"{town.url}?lang=en")
    reached = []
    for _ in range(14):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("(document.activeElement.textContent || document.activeElement.id).trim()"))
    assert reached[0] == "Skip to the counts"
    assert {"FR", "EN", "1 hour", "24 hours", "7 days", "The same as a table", "q", "Show"} <= set(reached)
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out_from_its_ground(chromium, town, scheme) -> None:
    await town.begin()
    await town.say(b"\x92\x63\x01")
    await town.say(health("quai-nord", state=m.CameraState.FROZEN, at_s=town.now_s))
    context_ = await chromium.new_context(color_scheme=scheme)
    page = await context_.new_page()
    await page.goto(f"{town.url}?lang=en&period=1h")
    await expect(page.locator("#pulse")).to_have_text("Following live")
    await page.get_by_text("The same as a table").click()
    assert await page.evaluate(CONTRAST) == []
    await context_.close()


@pytest.mark.parametrize("width", [320, 390, 1360])
async def test_nothing_runs_out_of_the_window(chromium, town, width) -> None:
    await town.begin()
    context_ = await chromium.new_context(viewport={"width": width, "height": 800})
    page = await context_.new_page()
    for path in ("?lang=fr", "docs?lang=fr"):
        await page.goto(f"{town.url}{path}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
    await context_.close()


async def test_the_page_works_without_scripts(chromium, town) -> None:
    await town.begin()
    context_ = await chromium.new_context(java_script_enabled=False)
    page = await context_.new_page()
    await page.goto(f"{town.url}?lang=en&period=1h")
    await expect(cell(page)).to_have_text("2")
    await context_.close()


async def test_a_lost_fleet_is_noticed_by_the_page(chromium, worlds, start_fleet, broker) -> None:
    fleet = start_fleet(broker.port)
    page = await chromium.new_page()
    await page.goto(f"{fleet.url}?lang=en")
    await expect(page.locator("#pulse")).to_have_text("Following live")
    assert await worlds.asyncio.to_thread(fleet.end) == 0
    await expect(page.locator("#pulse")).to_have_text("Connection lost, trying again")
