"""The real application under schemathesis: whatever is asked, it answers as ``openapi.json`` says, and stands."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from fleet_builders import NOW_MS, Box, birth, context, health, window
from house_builders import ROOT, House
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.routing.rules import Purpose, Route

PARVIS = context()
BOUNDED = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture
def house(database, clock, ledger):
    box = Box()
    ledger.store([box.says(birth(), health())])
    ledger.store([box.says(PARVIS, *(window(PARVIS, at_s=NOW_MS // 1000 - 50 + 5 * n) for n in range(5)))])
    house = House(database, clock, Access.REQUIRED)
    house.table.put(ROOT, [Route("x", frozenset({MessageClass.STATISTICS}), frozenset({Purpose.MOBILITY}))])
    return house


def operations_of(house):
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", house.app, headers=house.token("operator"))
    found = [one.ok() for one in schema.exclude(path="/v1/stream").get_all_operations()]  # the stream has no end
    assert len(found) >= 6
    return found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("role", ["operator", "consumer-x"])
def test_whatever_is_asked_is_answered_as_described(house, role, mode) -> None:
    token = house.token(role)
    for operation in operations_of(house):
        if mode is GenerationMode.NEGATIVE and not operation.query:
            continue  # there is nothing to say wrongly

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case) -> None:
            case.call_and_validate(headers=token, checks=CHECKS)

        ask()


def test_a_stranger_is_told_nothing_whatever_is_asked(house) -> None:
    for operation in operations_of(house):
        if operation.path == "/healthz":
            continue

        @BOUNDED
        @given(case=operation.as_strategy())
        def ask(case) -> None:
            assert case.call(headers={"authorization": "Bearer veilleur_x"}).status_code == 401

        ask()
