"""Every record that REST tells has a JSON Schema of its own: its example passes, and what is none does not."""

import json

import jsonschema
import msgspec
import pytest

from house_builders import House
from veilleur_contracts import messages as m
from veilleur_contracts.codec import encode
from veilleur_contracts.examples import EXAMPLES
from veilleur_fleet.feeds.schemas import told_schemas
from veilleur_fleet.store.kinds import NAME_OF

SCHEMAS = told_schemas()
KINDS = [pytest.param(kind, id=name) for kind, name in NAME_OF.items()]


def told(kind) -> dict:
    """Return the example of ``kind`` as REST tells it."""
    return json.loads(json.dumps(msgspec.structs.asdict(EXAMPLES[kind])))


def is_valid(kind, record) -> bool:
    return jsonschema.Draft202012Validator(SCHEMAS[NAME_OF[kind]]).is_valid(record)


def test_there_is_a_schema_for_every_kind_and_each_is_one() -> None:
    assert set(SCHEMAS) == set(NAME_OF.values())
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_passes_and_goes_round_to_the_same_bytes(kind) -> None:
    record = told(kind)
    assert is_valid(kind, record)
    back = kind(*(_hashable(record[name]) for name in kind.__struct_fields__))
    assert encode(back) == encode(EXAMPLES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_such_record_does_not_pass(kind) -> None:
    record = told(kind)
    first = kind.__struct_fields__[0]
    assert not is_valid(kind, record | {"plate": "AB-123-CD"})
    assert not is_valid(kind, {name: value for name, value in record.items() if name != first})
    assert not is_valid(kind, record | {first: {"deep": 1}})
    assert not is_valid(kind, record | {first: -1})
    assert not is_valid(kind, list(record.values()))


def test_a_record_passes_no_schema_but_its_own() -> None:
    for kind in NAME_OF:
        passed = {
            name for name, schema in SCHEMAS.items() if jsonschema.Draft202012Validator(schema).is_valid(told(kind))
        }
        assert passed == {NAME_OF[kind]}


async def test_the_schemas_are_served_to_whoever_has_a_token(database, clock) -> None:
    house = House(database, clock)
    async with house.browser(**house.token("consumer-x")) as web:
        served = (await web.get("/v1/schemas")).json()
    assert served == json.loads(json.dumps(SCHEMAS))
    assert served["event"]["properties"]["kind"]["maximum"] == max(m.EventKind)


def _hashable(value):
    return tuple(_hashable(one) for one in value) if isinstance(value, list) else value
