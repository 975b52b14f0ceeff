"""NGSI-LD: entities that fit the smart data models, and a push that a real receiver takes or refuses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet_builders import Box, context, window
from veilleur_contracts.messages import Direction, Label, Quality
from veilleur_fleet.cli import cli
from veilleur_fleet.feeds.context_broker import (
    ContextBroker,
    ContextBrokerRejectedError,
    ContextBrokerUnavailableError,
)
from veilleur_fleet.feeds.ngsi import entities_at, slots_of
from veilleur_fleet.feeds.places import PublishedPlace
from veilleur_fleet.feeds.reading import CountedLine
from veilleur_fleet.feeds.series import Channel

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas" / "smart-data-models"
DAY = 20_352 * 86_400
SLOT = (DAY, 900)
PLACE = PublishedPlace("ville", "gare-parvis", "Gare, parvis", 4.3661, 43.8325)
KERB = CountedLine(1, "kerb", "30189", 63, DAY)


def channel(label, direction, *counts):
    return Channel(KERB, label, direction, 900, DAY, counts)


def street(towards=12, away=7, trucks=3):
    return [
        channel(Label.PERSON, Direction.LEFT_TO_RIGHT, towards, 1),
        channel(Label.PERSON, Direction.RIGHT_TO_LEFT, away, 1),
        channel(Label.TRUCK, Direction.LEFT_TO_RIGHT, trucks, 1),
        channel(Label.CAR, Direction.LEFT_TO_RIGHT, 0, 1),
    ]


def entities(*counts, slot=SLOT):
    return {entity["id"]: entity for entity in entities_at(PLACE, "Ville de Nîmes", street(*counts), slot)}


CROWD = "urn:ngsi-ld:CrowdFlowObserved:ville:gare-parvis:kerb"
TRUCK = "urn:ngsi-ld:TrafficFlowObserved:ville:gare-parvis:kerb:truck:lr"


def key_values(entity):
    """Return the short form that the schemas describe."""
    short = {}
    for name, value in entity.items():
        told = value.get("object", value.get("value")) if isinstance(value, dict) else value
        short[name] = told["@value"] if isinstance(told, dict) and "@value" in told else told
    return short


def faults_of(entity, kind):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    path = SCHEMAS / f"{kind}.schema.json"
    if not path.is_file():
        pytest.skip("the official schemas are not beside the repository")
    schema = json.loads(path.read_text(encoding="utf-8"))
    # The parts on other servers (name, address, place) are not fetched; those of the model itself are all here.
    schema["allOf"] = [part for part in schema["allOf"] if "$ref" not in part]
    assert schema["allOf"]
    return [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(entity)]


def test_one_slot_of_a_camera_is_told_whole() -> None:
    told = entities()
    assert len(told) == 4
    assert {name: told[CROWD][name]["value"] for name in ("peopleCount", "peopleCountTowards", "peopleCountAway")} == {
        "peopleCount": 19,
        "peopleCountTowards": 12,
        "peopleCountAway": 7,
    }
    assert key_values(told[TRUCK]) == {
        "id": TRUCK,
        "type": "TrafficFlowObserved",
        "vehicleType": "lorry",
        "dateObserved": "2025-09-21T00:00:00Z/2025-09-21T00:15:00Z",
        "dateObservedFrom": "2025-09-21T00:00:00Z",
        "dateObservedTo": "2025-09-21T00:15:00Z",
        "refDevice": "urn:ngsi-ld:Device:ville:gare-parvis",
        "intensity": 3,
        "name": "Gare, parvis",
        "dataProvider": "Ville de Nîmes",
        "location": {"type": "Point", "coordinates": [4.3661, 43.8325]},
    }
    assert "urn:ngsi-ld:Device:ville:gare-parvis" in told


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        pytest.param((None, 7), {"peopleCountAway"}, id="one-way-withheld"),
        pytest.param((12, None), {"peopleCountTowards"}, id="the-other-withheld"),
        pytest.param((None, None), set(), id="both-withheld"),
        pytest.param((0, 0), {"peopleCount", "peopleCountTowards", "peopleCountAway"}, id="nobody"),
    ],
)
def test_what_may_not_be_told_is_not_there(counts, names) -> None:
    assert {name for name in entities(*counts)[CROWD] if name.startswith("people")} == names


def test_a_vehicle_that_may_not_be_told_has_no_intensity() -> None:
    assert "intensity" not in entities(12, 7, None)[TRUCK]


def test_slots_follow_each_other_in_order() -> None:
    assert slots_of(street()) == [(DAY, 900), (DAY + 900, 900)]


@pytest.mark.parametrize("counts", [(12, 7, 3), (None, 7, None), (None, None, 0)])
def test_entities_fit_the_smart_data_models(counts) -> None:
    told = [entity for entity in entities(*counts).values() if entity["type"] != "Device"]
    assert {entity["id"]: faults_of(key_values(entity), entity["type"]) for entity in told} == {
        entity["id"]: [] for entity in told
    }


@pytest.mark.parametrize(
    ("which", "change"),
    [
        pytest.param(CROWD, {"peopleCount": None}, id="null"),
        pytest.param(CROWD, {"peopleCount": 1.5}, id="half-a-person"),
        pytest.param(CROWD, {"peopleCountAway": "<5"}, id="mark"),
        pytest.param(TRUCK, {"vehicleType": "truck"}, id="vehicle"),
        pytest.param(TRUCK, {"intensity": -1}, id="negative"),
        pytest.param(TRUCK, {"type": "Traffic"}, id="type"),
    ],
)
def test_an_entity_that_does_not_fit_is_seen(which, change) -> None:
    entity = key_values(entities()[which])
    assert faults_of({**entity, **change}, entity["type"])


class Receiver(BaseHTTPRequestHandler):
    """A context broker as far as HTTP goes: keeps what it takes, replaces it whole."""

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, dict(self.headers), said))
        if self.server.status < 300:
            self.server.held |= {entity["id"]: entity for entity in said}
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_values):
        """Say nothing."""


@pytest.fixture
def receiver():
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.asked, server.held, server.status = [], {}, 204
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def broker_of(receiver, **more):
    return ContextBroker.parse(f"http://127.0.0.1:{receiver.server_port}/orion/", **more)


def test_a_receiver_holds_what_was_pushed(receiver) -> None:
    broker_of(receiver, token="t0", contexts=("http://context",)).push(  # noqa: S106 - opens nothing
        list(entities().values())
    )
    path, headers, _ = receiver.asked[0]
    assert path == "/orion/ngsi-ld/v1/entityOperations/upsert"
    assert (headers["Content-Type"], headers["Authorization"]) == ("application/ld+json", "Bearer t0")
    assert {one: {**entity, "@context": None} for one, entity in receiver.held.items()} == {
        one: {**entity, "@context": None} for one, entity in entities().items()
    }
    assert receiver.held[TRUCK]["@context"][0] == "http://context"


def test_a_count_that_is_withheld_next_time_does_not_stay(receiver) -> None:
    broker = broker_of(receiver)
    broker.push(list(entities(12, 7, 3).values()))
    broker.push(list(entities(None, 7, 3).values()))
    assert "peopleCount" not in receiver.held[CROWD]
    assert "options" not in receiver.asked[1][0], "options=update would leave the last count in place"


def test_many_entities_go_in_several_batches(receiver) -> None:
    broker_of(receiver).push([{"id": f"urn:ngsi-ld:Device:{n}", "type": "Device"} for n in range(250)])
    assert [len(said) for _, _, said in receiver.asked] == [100, 100, 50]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, ContextBrokerUnavailableError),
        (503, ContextBrokerUnavailableError),
        (429, ContextBrokerUnavailableError),
        (207, ContextBrokerRejectedError),
        (302, ContextBrokerRejectedError),
        (400, ContextBrokerRejectedError),
        (401, ContextBrokerRejectedError),
    ],
)
def test_a_refusal_is_told_for_what_it_is(receiver, status, error) -> None:
    receiver.status = status
    with pytest.raises(error, match=f"answers {status}"):
        broker_of(receiver).push(list(entities().values()))


def test_nobody_there_may_be_tried_again(receiver) -> None:
    broker = broker_of(receiver)
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(ContextBrokerUnavailableError, match="does not answer"):
        broker.push(list(entities().values()))


@pytest.mark.parametrize(
    "text", ["broker:1026", "ftp://broker", "http://", "http://u:pw@broker", "http://b:x", "http://b?q"]
)
def test_an_address_that_is_none_is_refused_without_being_repeated(text) -> None:
    with pytest.raises(ContextBrokerRejectedError, match="is not an address") as caught:
        ContextBroker.parse(text)
    assert "pw" not in str(caught.value)


def push(tmp_path, address):
    places = tmp_path / "places.toml"
    places.write_text(
        'publisher = "Ville de Nîmes"\n[[place]]\ncontroller = "ville"\ncamera = "gare-parvis"\nname = "Gare"\n'
        "longitude = 4.3661\nlatitude = 43.8325\n",
        encoding="utf-8",
    )
    words = ["--data", tmp_path / "fleet", "--places", places, "--to-broker", address]
    words += ["--from", "2025-09-21T00:00:00Z", "--to", "2025-09-21T00:45:00Z"]
    return CliRunner().invoke(cli, ["push", "ngsi", *(str(word) for word in words)])


def test_the_command_pushes_slot_after_slot_from_a_store(receiver, ledger, tmp_path) -> None:
    street = context(lines=("kerb",), labels=(Label.PERSON, Label.CAR))
    trial = window(street, (9, 9, 9, 9), at_s=DAY + 1800, window_s=900, quality=Quality.QUARANTINED)
    first, second = (window(street, (8, None, n, 2), at_s=DAY + n * 900, window_s=900) for n in (0, 1))
    ledger.store([Box().says(street, first, second, trial)])
    done = push(tmp_path, f"http://127.0.0.1:{receiver.server_port}")
    assert done.exit_code == 0, done.output
    assert "12 entities" in done.output
    car = "urn:ngsi-ld:TrafficFlowObserved:ville:gare-parvis:kerb:car:lr"
    told = [{entity["id"]: key_values(entity) for entity in said} for _, _, said in receiver.asked]
    assert [slot[car].get("intensity") for slot in told] == [0, 1, None]
    assert [slot[CROWD].get("peopleCountTowards") for slot in told] == [8, 8, None]
    assert not any("peopleCountAway" in slot[CROWD] for slot in told)


def test_the_command_says_in_one_sentence_that_nobody_is_there(receiver, ledger, tmp_path) -> None:
    street = context(lines=("kerb",))
    ledger.store([Box().says(street, window(street, at_s=DAY, window_s=900))])
    receiver.shutdown()
    receiver.server_close()
    done = push(tmp_path, f"http://127.0.0.1:{receiver.server_port}")
    assert done.exit_code == 1
    assert "the context broker does not answer" in done.output
    assert isinstance(done.exception, SystemExit)
