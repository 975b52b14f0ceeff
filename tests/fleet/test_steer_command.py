"""``veilleur-fleet steer``, as people type it, beside a fleet that runs and without one."""

import asyncio
import hashlib

import aiomqtt
import httpx
import pytest
from typer.testing import CliRunner

from city_hall import CityHall
from fleet_builders import Box, birth
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import decode_twin
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.policy_document import document_sha256
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.cli import cli
from veilleur_fleet.store.database import open_database


@pytest.fixture(scope="module")
def hall(tmp_path_factory) -> CityHall:
    return CityHall(tmp_path_factory.mktemp("hall"), with_fleet=True)


@pytest.fixture
def data(tmp_path):
    open_database(tmp_path / "data", SystemClock()).close()
    return tmp_path / "data"


def steer(*words) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["steer", *map(str, words)], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def signed_in(file) -> str:
    """What `policy sign` calls a file's document, and `lifts` a stop."""
    return document_sha256(read_envelope(file.read_bytes()).content())


def test_a_root_a_policy_and_a_stop_are_published_and_listed(hall, data) -> None:
    assert steer("root", hall.root, "--data", data)[0] == 0
    policy = hall.policy(3)
    code, output = steer("publish", policy, "--data", data, "--as", "Jeanne Martin")
    assert (code, output) == (
        0,
        f"policy 3 published for the boxes of ville, document sha256 {signed_in(policy)}\n",
    )
    assert "was published before" in steer("publish", policy, "--data", data)[1]
    stop = hall.stop()
    assert steer("publish", stop, "--data", data)[1].startswith("stop published")
    lines = steer("list", "--data", data)[1].splitlines()
    told = {line.split("\t")[0]: line.split("\t")[2] for line in lines}
    assert told == {"root": signed_in(hall.root), "policy": signed_in(policy), "stop": signed_in(stop)}
    assert {line.split("\t")[0] for line in lines} == {"root", "policy", "stop"}
    assert sum("Jeanne Martin" in line for line in lines) == 1
    assert steer("status", "--data", data) == (0, "0 boxes, 0 as they should be\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["publish", "policy"], "the fleet knows no root yet", id="no-root"),
        pytest.param(["root", "policy"], "is no root", id="no-root-for-a-root"),
        pytest.param(["publish", "missing.json"], "cannot be read", id="no-such-file"),
        pytest.param(["publish", "draft"], "not a signed document", id="a-draft"),
        pytest.param(["status", "--data", "nowhere"], "there is no fleet's database", id="no-database"),
        pytest.param(["publish", "policy", "--data", "nowhere"], "there is no fleet's database", id="nowhere-to-write"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(hall, data, words, sentence) -> None:
    files = {"policy": hall.policy(3), "draft": hall.folder / "root.toml"}
    given = [] if "--data" in words else ["--data", data]
    code, output = steer(*(files.get(word, word) for word in words), *given)
    assert code == 1
    assert sentence in output
    assert output.count("\n") == 1


@pytest.mark.journey
async def test_a_running_fleet_tells_a_box_of_a_policy_and_hands_it_out(worlds, start_fleet, broker, hall, tmp_path):
    key = ("--word-key", str(hall.folder / "fleet.pem"), "--word-passphrase-file", str(hall.passphrase))
    fleet = await asyncio.to_thread(start_fleet, broker.port, *key, door="127.0.0.1:0")
    data, box = tmp_path / "data", Box()
    for words in (["root", hall.root], ["publish", hall.policy(1)]):
        assert (await asyncio.to_thread(steer, *words, "--data", data))[0] == 0
    topic = down_topic(box.controller, box.name, Down.TWIN)
    async with aiomqtt.Client("127.0.0.1", broker.port) as client, asyncio.timeout(worlds.DEADLINE_S):
        await client.publish(box.says(birth()).topic, Box().says(birth()).payload, qos=1)
        await client.subscribe(topic, qos=1)
        twin = decode_twin((await anext(client.messages)).payload)
    assert [one.kind for one in twin.documents] == ["policy", "contact"]
    async with httpx.AsyncClient(base_url=fleet.door) as door:
        for one in twin.documents:
            answer = await door.get(f"v1/documents/{one.sha256}")
            assert (hashlib.sha256(answer.content).hexdigest(), len(answer.content)) == (one.sha256, one.size_bytes)
        polled = await door.get(f"v1/boxes/{box.name}/twin")
        assert decode_twin(polled.content) == twin
        assert polled.headers["etag"] == f'"{twin.sequence}"'
        again = await door.get(f"v1/boxes/{box.name}/twin", headers={"If-None-Match": polled.headers["etag"]})
        assert again.status_code == 304
        assert (await door.get("v1/boxes/unheard-of/twin")).status_code == 404
    async with aiomqtt.Client("127.0.0.1", broker.port) as late, asyncio.timeout(worlds.DEADLINE_S):
        await late.subscribe(topic, qos=1)
        kept = await anext(late.messages)
    assert (kept.retain, decode_twin(kept.payload)) == (True, twin)
    assert "it has not said what it holds" in (await asyncio.to_thread(steer, "status", "--data", data))[1]


def test_a_key_without_its_passphrase_is_refused_before_anything_begins(hall, tmp_path) -> None:
    words = ["run", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    done = CliRunner().invoke(cli, [*words, "--word-key", str(hall.folder / "fleet.pem")])
    assert done.exit_code == 1
    assert "give the file of its passphrase with --word-passphrase-file" in done.output
