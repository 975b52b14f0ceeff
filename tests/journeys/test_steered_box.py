"""From a DPO's desk to a camera: what is published reaches a real, confined box, and only if it is signed."""

import hashlib
import sys
from pathlib import Path

import aiomqtt
import pytest

from city_hall import CityHall
from journeys.steered import SteeredTown
from journeys.town import site_of
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import encode
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.messages import Pointer, Refusal, Strictness, Twin
from veilleur_contracts.policy_document import document_sha256
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.steer.steersman import twin_in
from veilleur_fleet.store.database import open_desk
from veilleur_fleet.store.documents import DocumentRow, put_document, twin_of

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
STOPPED_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def hall(tmp_path_factory) -> CityHall:
    return CityHall(tmp_path_factory.mktemp("hall"), with_fleet=True)


@pytest.fixture
def steered(tmp_path, models, hall):
    with SteeredTown(tmp_path, models, hall) as town:
        yield town


def content_of(document: Path) -> str:
    return document_sha256(read_envelope(document.read_bytes()).content())


def test_a_stop_closes_the_cameras_within_a_minute_and_outlives_every_restart(steered, hall, street_film) -> None:
    clock, site = SystemClock(), site_of(str(street_film), loop=True)
    box = steered.steered_box(site)
    steered.until_says(policy_version=0, why=Strictness.NO_POLICY)
    steered.steer("publish", hall.policy(1))
    steered.until_runs_under(1)
    assert steered.status().trouble == ""

    stop = hall.stop()
    began_s = clock.elapsed_s()
    steered.steer("publish", stop, "--as", "DPO of the city")
    steered.until_stopped()
    took_s = clock.elapsed_s() - began_s
    sys.stdout.write(f"\nfrom the DPO's command to the fleet's knowing that no camera is read: {took_s:.1f} s\n")
    assert took_s < STOPPED_WITHIN_S
    assert (steered.status().reported, steered.status().trouble) == ("policy 1, 1 stop", "")

    now_ms = clock.now_ms()
    box.kill_part("mouth")
    box.kill_part("eye")
    steered.restart_fleet()
    steered.until_stopped(after_ms=now_ms)
    box.end()

    lifting = hall.policy(2, changes=[("[scope] ", f'lifts = ["{content_of(stop)}"]\n[scope] ')])
    steered.steer("publish", lifting)  # while the box is away
    steered.steered_box(site)
    steered.until_runs_under(2)
    assert steered.status().trouble == ""


async def test_a_corrupted_fleet_cannot_loosen_what_a_box_may_do(steered, hall, street_film) -> None:
    steered.steer("publish", hall.policy(1))
    box = steered.steered_box(site_of(str(street_film), loop=True))
    steered.until_runs_under(1)
    loose = hall.policy(2, signers=("operator",), changes=[("person_cell_min = 5", "person_cell_min = 3")])
    sha256 = await tell_past_the_desk(steered, loose.read_bytes())
    steered.until_says(refused=sha256[:16], refusal=Refusal.UNDER_SIGNED)
    assert steered.says(policy_version=1, why=Strictness.NONE, running=1, stops=0)
    box.end()


async def tell_past_the_desk(town: SteeredTown, raw: bytes) -> str:
    """Do what a fleet in the wrong hands would: tell a box of a document that no honest one would publish."""
    sha256 = hashlib.sha256(raw).hexdigest()
    engine = open_desk(town.folder / "fleet")
    with engine.begin() as connection:
        row = twin_of(connection, "box-1")
        assert row is not None
        put_document(connection, DocumentRow(sha256, "policy", "0" * 64, 2, 0, "nobody", len(raw)), raw)
    engine.dispose()
    twin = twin_in(row)
    worse = Twin(twin.sequence + 1, (*twin.documents, Pointer("policy", sha256, len(raw))))
    async with aiomqtt.Client(town.broker.host, town.broker.port) as client:
        await client.publish(down_topic("ville", "box-1", Down.TWIN), encode(worse), qos=1, retain=True)
    return sha256
