"""The REST interface and the page over HTTP: what is answered, what is refused and how, and what browsers are told."""

import re

import httpx
import pytest

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, birth, context, entrance_of, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of
from veilleur_fleet.access.actions import Actions
from veilleur_fleet.app import health_of
from veilleur_fleet.ingest import Standing
from veilleur_fleet.interval import Factors, interval_of
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.oversight import Oversight
from veilleur_fleet.web.app import web_app
from veilleur_fleet.web.dpo import Office
from veilleur_fleet.web.languages import languages_of
from veilleur_fleet.web.live import READERS_MAX, Live
from veilleur_fleet.web.pages import Painter, Place

NOW_S = NOW_MS // 1000
pytestmark = EITHER_ENGINE
KERB = context(lines=("kerb", "lane"))
QUAY = context("quai-nord", labels=(m.Label.BICYCLE,), insee="30258")


class World:
    def __init__(self, database, clock, root="") -> None:
        self.standing, self.live, self.metrics = Standing(connected=True), Live(), Metrics()
        painter = Painter(
            database.readers,
            languages_of("Europe/Paris"),
            live=self.live,
            clock=clock,
            place=Place(root, "mqtt://broker:1883", "Europe/Paris"),
            connected=lambda: self.standing.connected,
        )
        health, entrance = health_of(database.readers, self.standing), entrance_of(database, clock)
        office = Office(Oversight(database.readers), Actions(database.desk, clock))
        self.app = web_app(painter, database.readers, self.metrics, health, entrance, office=office)

    def client(self):
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fleet")


@pytest.fixture
def world(database, clock):
    return World(database, clock)


@pytest.fixture
def ask_fleet(world):
    async def ask(path, **headers):
        async with world.client() as client:
            return await client.get(path, headers=headers)

    return ask


@pytest.fixture
def filled(ledger):
    box = Box()
    ledger.store(
        [
            box.says(birth(), health()),
            box.says(
                KERB,
                QUAY,
                *(window(KERB, (n, None, *[0] * 10), at_s=NOW_S - 50 + 5 * n, line=n % 2) for n in range(6)),
                window(QUAY, (4, 2), at_s=NOW_S - 10),
            ),
        ]
    )
    return box


@pytest.mark.usefixtures("filled")
async def test_counts_are_told_window_by_window_and_withheld_is_null(ask_fleet) -> None:
    answer = (await ask_fleet("/v1/counts?camera=gare-parvis&line=kerb&limit=1")).json()
    assert answer["items"] == [
        {
            "controller": "ville",
            "insee": "30189",
            "camera": "gare-parvis",
            "line": "kerb",
            "at": "2026-09-21T14:12:30Z",
            "window_s": 5,
            "coverage": 100,
            "fps": 5.0,
            "quality": [],
            "counts": {
                "person": {"left_to_right": 0, "right_to_left": None},
                **{
                    label: {"left_to_right": 0, "right_to_left": 0}
                    for label in ("bicycle", "car", "motorcycle", "bus", "truck")
                },
            },
            "low": {},
            "high": {},
        }
    ]
    assert answer["next"] is not None


async def test_a_validated_label_has_its_interval_and_the_others_none(ledger, ask_fleet) -> None:
    validated = m.Validation(context_number_of(KERB), (900, 950, 200, *[None] * 15))
    seen = window(KERB, (100, None, 7, *[0] * 9))
    ledger.store([Box().says(KERB, validated, seen)])
    (item,) = (await ask_fleet("/v1/counts")).json()["items"]
    low, high = interval_of(100, Factors(900, 950, 200))
    assert item["low"] == {"person": {"left_to_right": low, "right_to_left": None}}
    assert item["high"] == {"person": {"left_to_right": high, "right_to_left": None}}
    assert low <= 106 <= high
    totals = (await ask_fleet("/v1/totals?line=kerb")).json()["items"]
    bounds = {(one["label"], one["direction"]): (one["low"], one["high"]) for one in totals}
    assert bounds["person", "left_to_right"] == (low, high)
    assert bounds["person", "right_to_left"] == bounds["bicycle", "left_to_right"] == (None, None)


async def test_the_page_shows_the_interval_and_what_is_wrong_with_the_view(ledger, ask_fleet) -> None:
    box = Box()
    validated = m.Validation(context_number_of(KERB), (900, 950, 200, *[None] * 15))
    alarm = m.ViewAlarm("gare-parvis", NOW_S - 5, m.ViewFault.MOVED, 34)
    ledger.store([box.says(KERB, validated, window(KERB, (100, 0, 7, *[0] * 9))), box.says(health(), alarm)])
    low, high = interval_of(100, Factors(900, 950, 200))
    english, french = (await ask_fleet("/?lang=en")).text, (await ask_fleet("/?lang=fr")).text
    assert re.search(rf">{low}.{high}</abbr>", english)
    assert "camera moved" in english
    assert "caméra déplacée" in french


async def test_a_view_that_is_good_again_is_no_longer_wrong(ledger, ask_fleet) -> None:
    box = Box()
    alarms = (
        m.ViewAlarm("gare-parvis", NOW_S - at_s, faults, 0) for at_s, faults in ((5, m.ViewFault.COVERED), (2, 0))
    )
    ledger.store([box.says(KERB, window(KERB)), box.says(health(), *alarms)])
    page = (await ask_fleet("/?lang=en")).text
    assert "gare-parvis" in page
    assert "camera covered" not in page


@pytest.mark.usefixtures("filled")
async def test_pages_follow_each_other_without_a_gap_or_an_overlap(ask_fleet) -> None:
    seen, cursor = [], ""
    for _ in range(10):
        answer = (await ask_fleet(f"/v1/counts?limit=2{cursor}")).json()
        seen += [(item["camera"], item["line"], item["at"]) for item in answer["items"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    everything = (await ask_fleet("/v1/counts")).json()
    assert everything["next"] is None
    assert seen == [(item["camera"], item["line"], item["at"]) for item in everything["items"]]
    assert len(set(seen)) == 7


@pytest.mark.parametrize(
    ("question", "many"),
    [
        ("camera=quai-nord", 1),
        ("controller=agglo", 0),
        ("line=lane", 3),
        ("from=2026-09-21T14:13:00Z", 1),
        ("to=2026-09-21T14:12:35Z", 1),
        ("from=2026-09-21T16:12:35%2B02:00&to=2026-09-21T14:12:45Z", 2),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_filters_narrow_what_is_told(ask_fleet, question, many) -> None:
    assert len((await ask_fleet(f"/v1/counts?{question}")).json()["items"]) == many


@pytest.mark.usefixtures("filled")
async def test_a_label_that_is_asked_for_is_the_only_one_told(ask_fleet) -> None:
    items = (await ask_fleet("/v1/counts?label=bicycle&label=car")).json()["items"]
    assert {tuple(item["counts"]) for item in items if item["camera"] == "gare-parvis"} == {("bicycle", "car")}
    assert {tuple(item["counts"]) for item in items if item["camera"] == "quai-nord"} == {("bicycle",)}


@pytest.mark.usefixtures("filled")
async def test_totals_sum_what_was_told_and_say_what_was_withheld(ask_fleet) -> None:
    items = (await ask_fleet("/v1/totals?camera=gare-parvis&label=person")).json()["items"]
    assert [(item["line"], item["direction"], item["count"], item["withheld"]) for item in items] == [
        ("kerb", "left_to_right", 0 + 2 + 4, 0),
        ("kerb", "right_to_left", None, 3),
        ("lane", "left_to_right", 1 + 3 + 5, 0),
        ("lane", "right_to_left", None, 3),
    ]


async def test_streams_say_what_was_stored_filtered_lost_and_refused(ask_fleet, filled, ledger) -> None:
    ledger.store([filled.says(KERB, b"\x91\x63", kind=m.MessageClass.STATISTICS)])
    ledger.store([filled.says(KERB, first_seq=1)])
    ledger.store([filled.says(m.Gap(12, 20, 0), kind=m.MessageClass.STATISTICS, first_seq=12)])
    items = (await ask_fleet("/v1/streams?box=gare-01")).json()["items"]
    statistics = next(item for item in items if item["class"] == "S")
    assert statistics["stream"] == str(filled.stream())
    assert {name: statistics[name] for name in ("stored_upto", "stored", "duplicates", "lost", "refused")} == {
        "stored_upto": 20,
        "stored": 11,
        "duplicates": 1,
        "lost": 9,
        "refused": 1,
    }
    first = (await ask_fleet("/v1/streams?limit=1")).json()
    second = (await ask_fleet(f"/v1/streams?limit=1&cursor={first['next']}")).json()
    assert [page["items"][0]["class"] for page in (first, second)] == ["T", "S"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        pytest.param("counts?limit=0", "limit: .*1", id="limit-too-low"),
        pytest.param("counts?limit=1001", "limit: .*1000", id="limit-too-high"),
        pytest.param("counts?limit=many", "limit: .*integer", id="limit-no-number"),
        pytest.param("counts?label=horse", "label: 'horse' is no label; known are person", id="label"),
        pytest.param("counts?from=2020", "from: write a time with its zone", id="time"),
        pytest.param("counts?to=2026-10-01T12:00:00", "to: write a time with its zone", id="time-without-zone"),
        pytest.param("counts?from=" + "9" * 60, "from: .*40", id="time-too-long"),
        pytest.param("counts?camera=Gare%20Parvis", "camera: .*pattern", id="camera"),
        pytest.param("counts?cursor=xyz", "cursor .*begin again", id="cursor"),
        pytest.param("counts?cursor=%C3%A9", "cursor .*begin again", id="cursor-not-ascii"),
        pytest.param("streams?cursor=AAAA", "cursor .*begin again", id="stream-cursor"),
        pytest.param("counts?camra=gare-parvis", "'camra' is no parameter here; known are", id="misspelt"),
        pytest.param("totals?box=gare-01", "'box' is no parameter here; known are", id="of-another"),
        pytest.param("streams?limit=1&limit=2", "limit: give it once", id="twice"),
        pytest.param("stream?clas=S", "'clas' is no parameter here; known are", id="misspelt-stream"),
        pytest.param("counts?label=car" + "&label=car" * 6, "label: .*6", id="too-many-labels"),
    ],
)
async def test_a_question_that_cannot_be_answered_gets_one_clear_sentence(ask_fleet, question, sentence) -> None:
    answer = await ask_fleet(f"/v1/{question}")
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert re.search(sentence, answer.json()["error"])


async def test_an_address_nobody_knows_is_refused_in_the_form_of_who_asked(ask_fleet) -> None:
    program = await ask_fleet("/v1/nothing")
    assert (program.status_code, list(program.json())) == (404, ["error"])
    person = await ask_fleet("/nothing?lang=fr")
    assert person.status_code == 404
    assert "Revenir aux comptages" in person.text


async def test_nothing_but_get_is_answered(world) -> None:
    async with world.client() as client:
        answer = await client.post("/v1/counts", json={})
    assert (answer.status_code, answer.json()) == (405, {"error": "only GET is answered here"})


@pytest.mark.parametrize(
    ("connected", "writable", "status"), [(True, True, 200), (False, True, 503), (True, False, 503)]
)
async def test_health_says_what_works(world, ask_fleet, connected, writable, status) -> None:
    world.standing.connected, world.standing.writable = connected, writable
    answer = await ask_fleet("/healthz")
    assert answer.status_code == status
    assert answer.json() == {
        "status": "ok" if status == 200 else "degraded",
        "database": writable,
        "broker": connected,
    }


async def test_metrics_are_prometheus_text(world, ask_fleet, ledger) -> None:
    world.metrics.add(ledger.store([Box().says(KERB, b"\x91\x63")]))
    answer = await ask_fleet("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'veilleur_fleet_records_total{class="S"} 1.0' in answer.text
    assert "veilleur_fleet_refused_records_total 1.0" in answer.text
    assert "gare" not in answer.text


async def test_the_description_of_the_interface_needs_no_other_server(ask_fleet) -> None:
    described = (await ask_fleet("/v1/openapi.json")).json()
    assert set(described["paths"]) == {
        *("/v1/counts", "/v1/totals", "/v1/streams", "/v1/records", "/v1/stream"),
        *("/v1/feeds/cifs", "/v1/schemas", "/healthz", "/metrics"),
    }
    page = (await ask_fleet("/docs?lang=en")).text
    assert "GET /v1/counts" in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/counts", "/static/page.js", "/nothing"])
async def test_a_browser_is_told_to_load_nothing_from_elsewhere(ask_fleet, path) -> None:
    policy = (await ask_fleet(path)).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.usefixtures("filled")
async def test_the_page_holds_no_script_or_style_of_its_own(ask_fleet) -> None:
    for path in ("/", "/?period=7d", "/docs", "/nothing"):
        page = (await ask_fleet(path)).text
        assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []


@pytest.mark.usefixtures("filled")
async def test_the_page_can_be_read_without_scripts(ask_fleet) -> None:
    page = (await ask_fleet("/?lang=en")).text
    assert "windows of 5 s, k = 1: demonstration only" in page
    assert "gare-parvis" in page
    assert re.search(r'data-cell="gare-parvis/lane/person/left_to_right"><span class="count[^"]*">9<', page)
    assert "withheld" in page


@pytest.mark.parametrize(
    ("path", "accepts", "lang"),
    [
        ("/", "fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("/", "en-GB,en;q=0.9", "en"),
        ("/", "de-DE,de;q=0.9", "fr"),
        ("/", "de;q=0.9,en;q=0.3,fr;q=0.2", "en"),
        ("/", ";;q=x,,en", "en"),
        ("/?lang=en", "fr", "en"),
        ("/?lang=tlh", "en", "en"),
        ("/", "", "fr"),
    ],
)
async def test_the_language_is_the_one_asked_for_then_the_one_accepted(ask_fleet, path, accepts, lang) -> None:
    page = (await ask_fleet(path, **{"accept-language": accepts})).text
    assert f'<html lang="{lang}">' in page
    assert re.search(rf'hreflang="{lang}" aria-current="true"', page)


async def test_an_empty_fleet_says_what_to_do(ask_fleet) -> None:
    page = (await ask_fleet("/?lang=en")).text
    assert "No camera has spoken yet" in page
    assert "veilleur-agent run --site site.toml --broker mqtt://broker:1883" in page


async def test_a_lost_broker_is_told_on_the_page(world, ask_fleet) -> None:
    world.standing.connected = False
    assert "no connection to its broker" in (await ask_fleet("/?lang=en")).text


@pytest.mark.parametrize("query", ["period=2y", "page=-1", "page=999999", "q=" + "a" * 40, "q=%3Cscript%3E"])
async def test_a_page_that_cannot_be_shown_says_so(ask_fleet, query) -> None:
    answer = await ask_fleet(f"/?lang=en&{query}")
    assert answer.status_code == 400
    assert "This cannot be shown" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.usefixtures("filled")
async def test_everything_works_below_a_path_of_a_proxy(database, clock) -> None:
    world = World(database, clock, root="/veilleur")
    async with world.client() as client:
        page = (await client.get("/veilleur/?lang=en")).text
        links = set(re.findall(r'(?:href|src|action|data-live)="([^"#]+)"', page))
        assert links
        assert all(link.startswith("/veilleur/") for link in links), links
        for link in links - {link for link in links if "/live" in link}:
            assert (await client.get(link.replace("&amp;", "&"))).status_code == 200, link
        assert (await client.get("/v1/counts")).status_code == 200, "a proxy that cuts the path off"
        assert (await client.get("/veilleur/v1/nothing")).headers["content-type"] == "application/json"


async def test_one_reader_too_many_is_sent_away_politely(world, ask_fleet) -> None:
    world.live._readers = READERS_MAX
    answer = await ask_fleet("/live")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


@pytest.mark.usefixtures("filled")
async def test_many_readers_of_one_scope_cost_one_drawing(world, ask_fleet, monkeypatch) -> None:
    from veilleur_fleet.web import pages  # noqa: PLC0415 - to count what it calls

    looks = []
    monkeypatch.setattr(pages, "look", lambda *values, real=pages.look: looks.append(1) or real(*values))
    for _ in range(5):
        await ask_fleet("/?lang=fr")
    assert len(looks) == 1
    world.live.touch()
    await ask_fleet("/?lang=fr")
    assert len(looks) == 2
