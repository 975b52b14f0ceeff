"""The door of a real fleet: certificates are asked of all, given to the invited, and looked at each time."""

import json
import socket
import ssl
from datetime import timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fleet_builders import HandClock
from pki_builders import HOST, World, agglo_box, consumers, ville_box
from veilleur_contracts.enrolment import BODY_BYTES_MAX
from veilleur_contracts.rights import Role
from veilleur_fleet.door.enrolling import ADDRESSES_MAX, ASKED_A_MINUTE, Turnstile
from veilleur_fleet.pki.authority import key_pem_of

DAY = timedelta(days=1)
NOWHERE = "/v1/documents/" + "0" * 64


def request_for(key) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_a_turnstile_counts_each_address_and_forgets_with_the_minute() -> None:
    clock = HandClock()
    turnstile = Turnstile(clock, at_most=2)
    assert [turnstile.lets("a"), turnstile.lets("a"), turnstile.lets("a"), turnstile.lets("b")] == [
        True,
        True,
        False,
        True,
    ]
    clock.move(60)
    assert turnstile.lets("a")
    assert [turnstile.lets(str(number)) for number in range(ADDRESSES_MAX)][-1] is False


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


class Caller:
    """Asks at the door, with or without a certificate."""

    def __init__(self, world: World) -> None:
        self.base = f"https://localhost:{world.door_port}"
        self.world = world

    def ask(self, method: str, path: str, credentials: str | None = None, **more) -> httpx.Response:
        context = ssl.create_default_context(cadata=self.world.authority.pem)
        if credentials is not None:
            context = self.world.tls(credentials)
        with httpx.Client(verify=context, base_url=self.base, timeout=20, trust_env=False) as client:
            return client.request(method, path, **more)

    def enrol(self, token: str, key) -> httpx.Response:
        return self.ask("POST", "/v1/enrol", json={"token": token, "csr": request_for(key)})


@pytest.mark.processes
def test_a_box_enrols_at_the_door_fetches_renews_and_is_shut_out_when_revoked(world) -> None:
    token, other = (world.pki.invite(box, DAY).write() for box in (ville_box, agglo_box))
    consumer = world.credentials(consumers[Role.TRAFFIC])
    stranger = world.unregistered(ville_box)
    key, next_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    door = Caller(world)
    with world.running_fleet(VEILLEUR_FLEET_BROKER_FOR_BOXES="mqtts://broker.example.org"):
        assert door.ask("GET", "/v1/ca").text == world.authority.pem
        assert door.ask("GET", NOWHERE).status_code == 401
        assert door.ask("GET", NOWHERE, consumer).status_code == 403
        assert door.ask("GET", NOWHERE, stranger).status_code == 403
        issued = door.enrol(token, key).json()
        assert (issued["box"], issued["controller"]) == ("gare-01", "ville")
        assert issued["broker"] == "mqtts://broker.example.org:8883"
        assert door.enrol(token, next_key).json() == {"reason": "token-used"}
        credentials = issued["certificate"] + key_pem_of(key)
        assert door.ask("GET", NOWHERE, credentials).status_code == 404
        assert door.ask("GET", "/v1/boxes/gare-01/twin", credentials).status_code != 403
        assert door.ask("GET", "/v1/boxes/pont-02/twin", credentials).status_code == 403
        assert door.ask("POST", "/v1/renew", json={"csr": request_for(next_key)}).status_code == 401
        renewed = door.ask("POST", "/v1/renew", credentials, json={"csr": request_for(next_key)}).json()
        newer = renewed["certificate"] + key_pem_of(next_key)
        assert door.ask("GET", NOWHERE, newer).status_code == 404
        assert world.command("pki", "revoke", "gare-01").returncode == 0
        assert door.ask("GET", NOWHERE, newer).status_code == 403
        assert door.ask("POST", "/v1/renew", newer, json={"csr": request_for(next_key)}).status_code == 403
        assert "box.renewed" in (world.folder / "fleet.log").read_text()
        for secret in (token, other):
            assert secret not in (world.folder / "fleet.log").read_text()


@pytest.mark.processes
def test_what_is_no_request_is_refused_briefly_and_only_so_often(world) -> None:
    world.pki  # noqa: B018 - makes the authority
    door = Caller(world)
    context = ssl.create_default_context(cadata=world.authority.pem)
    with (
        world.running_fleet(),
        socket.create_connection((HOST, world.door_port), timeout=40) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as silent,
    ):
        bodies = [
            b"",
            b"{}",
            b'{"token":1,"csr":2}',
            b"[" * 8000,
            b"\xff",
            json.dumps({"token": "x", "csr": "", "more": 1}),
        ]
        answers = [door.ask("POST", "/v1/enrol", content=body) for body in bodies]
        assert {answer.status_code for answer in answers} == {400}
        assert {answer.text for answer in answers} == {'{"reason":"malformed"}'}
        assert door.ask("POST", "/v1/enrol", content=b"x" * (BODY_BYTES_MAX + 1)).status_code == 413
        codes = [door.ask("POST", "/v1/enrol", content=b"{}").status_code for _ in range(ASKED_A_MINUTE)]
        assert codes[-1] == 429
        assert door.ask("GET", "/v1/ca").status_code == 200
        assert silent.recv(1) == b""  # who says nothing is not waited for
