"""DATEX II: a publication that fits the official schema, and what must not be in it is not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet_builders import Box, context, window
from veilleur_contracts.messages import Direction, Label, Quality
from veilleur_fleet.cli import cli
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.feeds.datex import publication
from veilleur_fleet.feeds.places import PublishedPlace
from veilleur_fleet.feeds.reading import CountedLine
from veilleur_fleet.feeds.series import Channel

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas" / "datex2-v3-json"
DAY = 20_352 * 86_400
PLACE = PublishedPlace("ville", "gare-parvis", "Gare, parvis", 4.3661, 43.8325)
KERB = CountedLine(1, "kerb", "30189", 63, DAY)


def channel(label, *counts, direction=Direction.LEFT_TO_RIGHT):
    return Channel(KERB, label, direction, 900, DAY, counts)


def told(*channels):
    return publication("Ville de Nîmes", [(PLACE, channels)], DAY + 3600)


@pytest.fixture
def faults_of():
    """Return what a validator says, reading the official files and nothing from a network."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    referencing = pytest.importorskip("referencing.jsonschema", reason="jsonschema is not installed")
    if not SCHEMAS.is_dir():
        pytest.skip("the official schemas are not beside the repository")
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.json")}
    common = files["DATEXII_3_Common.json"]["definitions"]["PayloadPublicationG"]["properties"]
    for name, one in list(common.items()):  # other publications, whose files are not there
        if one.get("$ref", "").split("#")[0] not in {"", *files}:
            del common[name]
    registry = referencing.EMPTY_REGISTRY.with_resources(
        (name, referencing.DRAFT4.create_resource(content)) for name, content in files.items()
    )
    validator = jsonschema.Draft4Validator(files["DATEXII_3_D2Payload.json"], registry=registry)
    return lambda message: [fault.message for fault in validator.iter_errors(message)]


def measurements(message):
    return message["payload"]["roaMeasuredDataPublication"]["siteMeasurements"]


def flow_of(message):
    quantity = measurements(message)[0]["physicalQuantity"][0]["physicalQuantity"]
    return quantity["roaSinglePhysicalQuantity"]["basicData"]["roaTrafficFlow"]


def test_a_flow_is_told_per_hour_beside_what_was_counted() -> None:
    assert flow_of(told(channel(Label.TRUCK, 3))) == {
        "forVehiclesWithCharacteristicsOf": {"vehicleType": [{"value": "lorry"}]},
        "vehicleFlow": {"vehicleFlowRate": 12, "numberOfInputValuesUsed": 3},
    }


def test_persons_and_what_may_not_be_told_are_left_out() -> None:
    message = told(channel(Label.PERSON, 50, 50), channel(Label.CAR, 7, None), channel(Label.BICYCLE, None, 0))
    parts = [
        (one["measurementTimeDefault"]["period"]["startOfPeriod"], [part["index"] for part in one["physicalQuantity"]])
        for one in measurements(message)
    ]
    assert parts == [("2025-09-21T00:00:00Z", [Label.CAR]), ("2025-09-21T00:15:00Z", [Label.BICYCLE])]


def test_an_empty_publication_is_refused() -> None:
    with pytest.raises(QueryRejectedError, match="nothing was counted"):
        told(channel(Label.PERSON, 50))


def test_a_publication_fits_the_official_schema(faults_of) -> None:
    other = channel(Label.CAR, 4, 5, direction=Direction.RIGHT_TO_LEFT)
    assert faults_of(told(*(channel(label, 7, None, 0) for label in Label), other)) == []


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda one: flow_of(one)["vehicleFlow"].update(vehicleFlowRate=1.5), id="half-a-vehicle"),
        pytest.param(lambda one: flow_of(one)["vehicleFlow"].update(vehicleFlowRate=None), id="null"),
        pytest.param(lambda one: flow_of(one)["vehicleFlow"].update(withheld=True), id="extra"),
        pytest.param(
            lambda one: flow_of(one).update(
                forVehiclesWithCharacteristicsOf={"vehicleType": [{"value": "pedestrian"}]}
            ),
            id="pedestrian",
        ),
        pytest.param(lambda one: measurements(one).clear(), id="empty"),
        pytest.param(lambda one: measurements(one)[0].pop("measurementTimeDefault"), id="no-time"),
    ],
)
def test_a_publication_that_does_not_fit_is_seen(faults_of, spoil) -> None:
    message = told(channel(Label.CAR, 7))
    spoil(message)
    assert faults_of(message)


def test_the_command_writes_what_a_store_holds(ledger, tmp_path, faults_of) -> None:
    street = context(lines=("kerb",), labels=(Label.PERSON, Label.CAR))
    trial = window(street, (9, 9, 9, 9), at_s=DAY + 900, window_s=900, quality=Quality.QUARANTINED)
    ledger.store([Box().says(street, window(street, (8, None, 5, 2), at_s=DAY, window_s=900), trial)])
    (tmp_path / "places.toml").write_text(
        'publisher = "Ville"\n[[place]]\ncontroller = "ville"\ncamera = "gare-parvis"\nname = "Gare"\n'
        "longitude = 4.3661\nlatitude = 43.8325\n",
        encoding="utf-8",
    )

    def run(before):
        words = ["--data", tmp_path / "fleet", "--places", tmp_path / "places.toml", "--out", tmp_path / "flow.json"]
        words += ["--from", "2025-09-21T00:00:00Z", "--to", before]
        return CliRunner().invoke(cli, ["export", "datex", *(str(word) for word in words)])

    done = run("2025-09-21T00:30:00Z")
    assert done.exit_code == 0, done.output
    message = json.loads((tmp_path / "flow.json").read_text(encoding="utf-8"))
    assert faults_of(message) == []
    assert [one["measurementSiteReference"]["idG"] for one in measurements(message)] == [
        "ville.gare-parvis.kerb.lr",
        "ville.gare-parvis.kerb.rl",
    ], "the quarantined slot is not there"
    assert flow_of(message)["vehicleFlow"] == {"vehicleFlowRate": 20, "numberOfInputValuesUsed": 5}
    refused = run("2025-09-23T00:00:00Z")
    assert refused.exit_code == 1
    assert "one day at most" in refused.output
