"""The program as people start it: ready with an address, stopped in order, and clear when it cannot begin."""

import asyncio
import resource
import signal
import socket
import subprocess
import time

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from fleet_builders import Box, birth, context, health, window
from veilleur_fleet.cli import cli

pytestmark = pytest.mark.journey

KERB = context()


def said_by(command) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_gets_ready_works_and_stops_in_order(worlds, start_fleet, broker, number) -> None:
    fleet, box = start_fleet(broker.port), Box()
    async with worlds.listening(broker.port, box) as ear, httpx.AsyncClient(base_url=fleet.url) as web:
        await ear.say(box.says(KERB, window(KERB)))
        await worlds.until(lambda: ear.acks, "the acknowledgement")
        assert (await web.get("/healthz")).json() == {"status": "ok", "database": True, "broker": True}
        (item,) = (await web.get("/v1/counts")).json()["items"]
        assert item["counts"]["person"] == {"left_to_right": 1, "right_to_left": 0}
    assert await asyncio.to_thread(fleet.end, number) == 0
    assert "Traceback" not in fleet.log.read_text()
    assert "broker.connected" in {event["event"] for event in fleet.events()}


async def test_it_stops_in_order_while_people_follow_live(start_fleet, broker) -> None:
    fleet = start_fleet(broker.port)
    async with httpx.AsyncClient(base_url=fleet.url) as web, web.stream("GET", "/live") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: part"
        began_s = time.monotonic()
        assert await asyncio.to_thread(fleet.end) == 0
        assert time.monotonic() - began_s < 5
    assert "Traceback" not in fleet.log.read_text()


async def test_it_waits_for_room_on_a_full_disk_instead_of_ending(worlds, start_fleet, broker, monkeypatch) -> None:
    command = worlds.fleet_command
    monkeypatch.setattr(worlds, "fleet_command", lambda *words: ["prlimit", "--fsize=65536:", *command(*words)])
    fleet = start_fleet(broker.port, waits=True)
    await worlds.until(lambda: "store.awaited" in fleet.log.read_text(), "the waiting")
    assert "make room" in fleet.log.read_text()
    _, hard = resource.prlimit(fleet.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(fleet.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    await asyncio.to_thread(start_fleet.ready, fleet)
    assert await asyncio.to_thread(fleet.end) == 0


async def test_what_was_said_while_it_was_away_is_taken_in_when_it_comes_back(worlds, start_fleet, broker) -> None:
    box = Box()
    first = start_fleet(broker.port)
    await asyncio.to_thread(first.end)
    async with worlds.listening(broker.port, box) as ear:
        await ear.say(box.says(KERB, window(KERB)))
        assert ear.acks == []
        start_fleet(broker.port)
        await worlds.until(lambda: ear.acks, "the acknowledgement by the fleet that came back")
        assert ear.acks[0][2] == 2


async def test_live_events_tell_what_changed(worlds, start_fleet, broker) -> None:
    fleet, box = start_fleet(broker.port), Box()
    async with (
        worlds.listening(broker.port, box) as ear,
        httpx.AsyncClient(base_url=fleet.url, timeout=worlds.DEADLINE_S) as web,
        web.stream("GET", "/live?lang=en&period=1h") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts = _parts_of(answer)
        first = [await anext(parts) for _ in range(3)]
        assert [name for name, _ in first] == ["summary", "chart", "cameras"]
        now_s = int(time.time()) // 5 * 5  # noqa: TID251 - the program under test has the real clock
        await ear.say(box.says(birth(), health(at_s=now_s)))
        await ear.say(box.says(KERB, window(KERB, (41, *[0] * 11), at_s=now_s - 10)))
        while True:
            name, html = await anext(parts)
            if name == "cameras" and ">41<" in html:
                break


async def _parts_of(answer):
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            part = msgspec.json.decode(line.removeprefix("data: "))
            yield part["part"], part["html"]


def test_help_shows_examples() -> None:
    text = CliRunner().invoke(cli, ["run", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "veilleur-fleet run --data /var/lib/veilleur-fleet --broker mqtt://127.0.0.1:1883" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--broker", "http://x"], "write it like mqtt://127.0.0.1:1883", id="broker-scheme"),
        pytest.param(["--broker", "mqtt://u:hunter2@h:port"], "write it like mqtt://127.0.0.1:1883", id="broker-port"),
        pytest.param(["--listen", "8080"], "write it like 127.0.0.1:8080", id="listen"),
        pytest.param(["--listen", "127.0.0.1:99999"], "write it like 127.0.0.1:8080", id="port-too-high"),
        pytest.param(["--listen", "203.0.113.7:8080"], "give another address with --listen", id="not-our-address"),
        pytest.param(["--root-path", "/a b/"], "write it like /veilleur", id="root-path"),
        pytest.param(["--timezone", "Nimes"], "give one like Europe/Paris", id="timezone"),
        pytest.param(["--data", "/proc/nothing"], "give one that can be written with --data", id="data"),
    ],
)
def test_what_cannot_begin_says_why_and_what_to_do_in_one_sentence(worlds, tmp_path, arguments, sentence) -> None:
    data = [] if "--data" in arguments else ["--data", tmp_path]
    code, out, err = said_by(worlds.fleet_command("run", *data, "--listen", "127.0.0.1:0", *arguments))
    assert (code, out) == (1, "")
    assert err.startswith("veilleur-fleet: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert "hunter2" not in err


def test_an_address_that_is_taken_is_named(worlds, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = said_by(worlds.fleet_command("run", "--data", tmp_path, "--listen", f"127.0.0.1:{port}"))
    assert code == 1
    assert f"127.0.0.1:{port}" in err


async def test_a_broker_that_is_not_there_is_waited_for_and_the_page_says_so(worlds, start_fleet) -> None:
    fleet = start_fleet(worlds.free_port(), connected=False)
    async with httpx.AsyncClient(base_url=fleet.url) as web:
        assert (await web.get("/healthz")).status_code == 503
        assert "no connection to its broker" in (await web.get("/?lang=en")).text
    assert await asyncio.to_thread(fleet.end) == 0
    (event,) = [event for event in fleet.events() if event["event"] == "broker.unreachable"]
    assert "check its address" in event["reason"]


async def test_a_fleet_killed_again_and_again_loses_and_doubles_nothing(worlds, tmp_path, start_fleet, broker) -> None:
    """A box says a thousand windows, and again what is not acknowledged; the fleet is killed three times on the way."""
    box, many, first_s = Box(), 1000, worlds.SystemClock().now_ms() // 1000 // 5 * 5 - 6000
    said = [KERB, *(window(KERB, at_s=first_s + 5 * number) for number in range(many))]
    batches = [box.says(*said[start : start + 50], first_seq=start + 1) for start in range(0, len(said), 50)]
    fleet, kills, mark = start_fleet(broker.port), 0, 0
    async with worlds.listening(broker.port, box) as ear:
        end_s = time.monotonic() + 60
        while mark < len(said):
            assert time.monotonic() < end_s, f"acknowledged up to {mark} only"
            heard = len(ear.acks)
            for batch in batches[mark // 50 :]:
                await ear.say(batch)
            if kills < 3:
                await asyncio.to_thread(fleet.end, signal.SIGKILL)
                kills, fleet = kills + 1, start_fleet(broker.port)
            else:
                await worlds.until(lambda before=heard: len(ear.acks) > before, "any acknowledgement")
            mark = max((upto for _, _, upto in ear.acks), default=0)
    assert await asyncio.to_thread(fleet.end) == 0
    with worlds.open_database(tmp_path / "data", worlds.SystemClock()) as database:
        rows = worlds.read(database, "SELECT seq FROM records ORDER BY seq")
        assert rows == [(number,) for number in range(1, len(said) + 1)]
        assert worlds.read(database, "SELECT count(*), count(DISTINCT at_s) FROM crossing_windows") == [(many, many)]
        assert worlds.read(database, "SELECT max(position) & 0xFFFFFFFFFFFF FROM records") == [(len(said),)]
