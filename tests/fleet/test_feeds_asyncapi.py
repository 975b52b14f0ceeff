"""The AsyncAPI document is the registry: generated, whole, official in form, and its schemas refuse what we refuse."""

import copy
import json
import re
from pathlib import Path

import msgspec
import pytest

from veilleur_contracts import messages as m
from veilleur_contracts.codec import encode
from veilleur_contracts.describe import records
from veilleur_contracts.examples import EXAMPLES
from veilleur_contracts.topics import Down, Up, down_topic, out_technical_topic, out_topic, up_topic
from veilleur_fleet.feeds.asyncapi import document
from veilleur_fleet.store.kinds import NAME_OF

ASYNCAPI_JSON = Path(__file__).parents[2] / "docs" / "asyncapi.json"
OFFICIAL = Path(__file__).parents[3] / "shared" / "schemas" / "asyncapi" / "asyncapi-3.1.0.schema.json"


@pytest.fixture
def written():
    return json.loads(ASYNCAPI_JSON.read_text(encoding="utf-8"))


@pytest.fixture
def faults_of():
    """Return what a JSON Schema validator says about a value, under the schema of that name."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

    def ask(value, name, schemas):
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        return [fault.message for fault in jsonschema.Draft7Validator(whole).iter_errors(value)]

    return ask


@pytest.fixture
def is_official():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    if not OFFICIAL.is_file():
        pytest.skip("the official schemas are not beside the repository")
    validator = jsonschema.Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))
    return validator.is_valid


def references(value):
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def test_the_committed_document_is_the_generated_one(written) -> None:
    assert written == document(), "run: python -m veilleur_fleet.feeds.asyncapi > docs/asyncapi.json"


def test_every_reference_leads_somewhere(written) -> None:
    found = set(references(written))
    assert found
    for reference in found:
        place = written
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_record_is_told_on_the_topic_the_fleet_uses(written) -> None:
    values = {"controller": "ville", "shard": "9", "box": "gare-01", "insee": "30189", "camera": "gare-parvis"}
    told = {}
    for channel in written["channels"].values():
        assert set(channel["parameters"]) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        told[channel["address"].format(**values)] = set(channel["messages"])
    shard = up_topic("ville", "gare-01", Up.EVENTS).split("/")[3]
    expected = {
        up_topic("ville", "gare-01", Up.EVENTS): {"BatchS", "BatchA", "BatchE"},
        up_topic("ville", "gare-01", Up.HEALTH): {"BatchT"},
        down_topic("ville", "gare-01", Down.ACK): {"Ack"},
    }
    expected = {topic.replace(f"/{shard}/", "/9/"): names for topic, names in expected.items()}
    for record, name in NAME_OF.items():
        kind = m.CLASS_OF.get(record, m.MessageClass.TECHNICAL)
        if kind is m.MessageClass.TECHNICAL:
            topic = out_technical_topic("ville", "gare-01", name)
        else:
            topic = out_topic("ville", kind, "30189", "gare-parvis", name)
        expected[topic] = {f"Published{record.__name__}"}
    assert told == expected


def test_the_document_has_the_official_form(is_official, written) -> None:
    assert is_official(written)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda one: one.pop("info"), id="no-info"),
        pytest.param(lambda one: one.update(asyncapi="2.6.0"), id="another-version"),
        pytest.param(lambda one: one["channels"]["events"].update(publish={}), id="words-of-version-2"),
        pytest.param(lambda one: one["operations"]["take-in-events"].update(action="publish"), id="action"),
        pytest.param(lambda one: one["components"]["schemas"]["Ack"].update(maxItems="3"), id="schema"),
    ],
)
def test_a_spoilt_document_is_seen(is_official, written, spoil) -> None:
    spoil(written)
    assert not is_official(written)


def plain(record):
    return msgspec.msgpack.decode(encode(record))


def test_the_schemas_take_every_example(faults_of, written) -> None:
    schemas = written["components"]["schemas"]
    for record in records():
        assert faults_of(plain(EXAMPLES[record]), record.__name__, schemas) == []
    for name, message in written["components"]["messages"].items():
        for example in message["examples"]:
            assert faults_of(example["payload"], name, schemas) == [], name


@pytest.mark.parametrize(
    ("record", "place", "value"),
    [
        pytest.param(m.CrossingWindow, 0, 3, id="another-tag"),
        pytest.param(m.CrossingWindow, 2, -1, id="negative"),
        pytest.param(m.CrossingWindow, 3, 0, id="a-window-of-nothing"),
        pytest.param(m.CrossingWindow, 5, 101, id="percent"),
        pytest.param(m.CrossingWindow, 8, [1.5], id="float"),
        pytest.param(m.CrossingWindow, 8, ["<5"], id="text-for-a-count"),
        pytest.param(m.Context, 1, "Gare Parvis", id="camera"),
        pytest.param(m.Context, 2, "3018", id="insee"),
        pytest.param(m.Gap, 3, 9, id="reason"),
    ],
)
def test_the_schemas_refuse_what_the_codec_refuses(faults_of, written, record, place, value) -> None:
    spoilt = plain(EXAMPLES[record])
    spoilt[place] = value
    assert faults_of(spoilt, record.__name__, written["components"]["schemas"])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(spoilt, record)


def test_a_record_that_is_too_long_or_in_the_wrong_company_is_refused(faults_of, written) -> None:
    schemas = written["components"]["schemas"]
    assert faults_of([*plain(EXAMPLES[m.Ack]), 1], "Ack", schemas)
    batch = copy.deepcopy(written["components"]["messages"]["BatchS"]["examples"][0]["payload"])
    batch[3].append(plain(EXAMPLES[m.StreetEvent]))
    assert faults_of(batch, "BatchS", schemas)
