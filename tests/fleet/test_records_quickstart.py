"""The quick-start client of the documents, run as it stands: killed and cut off, its books hold everything once."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fleet_builders import NOW_MS, Box, context, window
from veilleur_fleet.cli import cli
from veilleur_fleet.routing.rules import TEMPLATE

CLIENT = Path(__file__).parents[2] / "docs" / "quickstart_hypervisor.py"
KERB = context()

pytestmark = pytest.mark.journey


def told_as(record) -> dict:
    """Return ``record`` as JSON tells it."""
    return json.loads(json.dumps(msgspec.structs.asdict(record)))


@pytest.fixture
def token(tmp_path):
    """A token of a service, to which what boxes count is routed, made before the fleet first runs."""
    where = ("--data", str(tmp_path / "data"))
    made = CliRunner().invoke(cli, ["token", "new", "hypervisor", "--role", "consumer-traffic-control", *where])
    file, routes = tmp_path / "token.txt", tmp_path / "routes.toml"
    file.write_text(made.output)
    routes.write_text(TEMPLATE)
    assert CliRunner().invoke(cli, ["route", "set", str(routes), *where]).exit_code == made.exit_code == 0
    return file


@pytest.fixture
def start_client(tmp_path, token):
    """Start the client as a process, with books of its own that outlive it."""
    started = []

    def start(fleet_url) -> subprocess.Popen:
        command = [sys.executable, str(CLIENT), fleet_url.rstrip("/"), str(token)]
        with (tmp_path / "client.log").open("ab") as log:
            process = subprocess.Popen([*command, str(tmp_path / "books.db")], stdout=subprocess.DEVNULL, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def books(tmp_path):
    """What the client holds, read beside it."""

    def read() -> list[tuple]:
        with contextlib.closing(sqlite3.connect(tmp_path / "books.db", timeout=5)) as held:
            if not held.execute("SELECT 1 FROM sqlite_master").fetchall():
                return []
            rows = held.execute("SELECT box, stream, seq, data FROM told").fetchall()
            return [(box, int(stream), seq, json.loads(data)["record"]) for box, stream, seq, data in rows]

    return read


async def test_its_books_are_exact_after_kills_of_consumer_broker_and_fleet(
    worlds, start_fleet, start_client, broker, books
) -> None:
    boxes = [Box(name=f"gare-{number:02d}", started_ms=NOW_MS + number) for number in range(4)]
    said: dict[tuple[str, int, int], list] = {}

    async def say(rounds: int) -> None:
        """Let every box say ``rounds`` windows, again and again until the fleet acknowledges them."""
        async with worlds.listening(broker.port, *boxes) as ear:
            for _ in range(rounds):
                for box in boxes:
                    records = [window(KERB, at_s=100 + 5 * len(said))] if box.said else [KERB]
                    await ear.say(box.says(*records))
                    seq = sum(box.said.values())
                    said[box.name, box.stream(), seq] = told_as(records[0])
            marks = {(box.name, box.stream(), sum(box.said.values())) for box in boxes}
            await worlds.until(lambda: marks <= set(ear.acks), "the acknowledgement")

    async def all_held() -> None:
        await worlds.until(lambda: len(books()) >= len(said), "what the client missed")

    fleet = start_fleet(broker.port)
    client = start_client(fleet.url)
    await say(5)
    await all_held()

    client.kill()
    client.wait()
    await say(7)
    client = start_client(fleet.url)
    await all_held()

    broker.kill()  # what it held for anybody is gone with it
    broker.start()
    await worlds.until(lambda: fleet.log.read_text().count("broker.connected") >= 2, "the fleet's return")
    await say(7)
    await all_held()

    await asyncio.to_thread(fleet.end, 9)
    client.kill()
    client.wait()
    fleet = start_fleet(broker.port)
    start_client(fleet.url)
    await say(5)
    await all_held()

    held = Counter((box, stream, seq) for box, stream, seq, _ in books())
    assert set(held) == set(said), "0 lost, nothing invented"
    assert set(held.values()) == {1}, "0 duplicated"
    assert {(box, stream, seq): record for box, stream, seq, record in books()} == said


def test_it_needs_nothing_of_ours_and_is_short_enough_to_copy() -> None:
    lines = [line for line in CLIENT.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 30
    assert not [line for line in lines if "import" in line and "veilleur" in line]
