"""The door: boxes fetch documents by their hash, and go on where a fetch broke off."""

import hashlib
import subprocess

import httpx
import pytest

from veilleur_contracts.rights import Holder, Role
from veilleur_fleet.app import library_of
from veilleur_fleet.door.admitting import HOLDER
from veilleur_fleet.door.app import door_app
from veilleur_fleet.door.documents import document_routes, twin_routes
from veilleur_fleet.store.documents import DocumentRow, put_document

RAW = b'{"payload":"' + b"abcd" * 500 + b'"}'
SHA256 = hashlib.sha256(RAW).hexdigest()
ADDRESS = f"/v1/documents/{SHA256}"


@pytest.fixture
async def box(database):
    """What a box holds in its hand: a client at the door."""
    with database.desk.begin() as connection:
        put_document(connection, DocumentRow(SHA256, "policy", "0" * 64, 1, 0, "somebody", len(RAW)), RAW)
    app = door_app(document_routes(library_of(database.readers)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://door") as client:
        yield client


async def test_a_document_is_fetched_by_its_hash_and_its_hash_is_its_etag(box) -> None:
    answer = await box.get(ADDRESS)
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (200, RAW, f'"{SHA256}"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await box.get(ADDRESS, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_fetch_goes_on_where_it_broke_off(box) -> None:
    rest = await box.get(ADDRESS, headers={"Range": "bytes=100-", "If-Range": f'"{SHA256}"'})
    assert (rest.status_code, rest.content) == (206, RAW[100:])
    assert rest.headers["content-range"] == f"bytes 100-{len(RAW) - 1}/{len(RAW)}"
    beyond = await box.get(ADDRESS, headers={"Range": f"bytes={len(RAW)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(RAW)}")
    other = await box.get(ADDRESS, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, RAW)


@pytest.mark.parametrize("address", [f"/v1/documents/{'0' * 64}", "/v1/documents/x", "/", "/v1/documents/%00", "/docs"])
async def test_what_is_not_there_is_said_in_a_sentence(box, address) -> None:
    answer = await box.get(address)
    assert answer.status_code == 404
    assert answer.text.count("\n") == 1


@pytest.mark.parametrize(("asks", "status"), [("gare-01", 404), ("gare-02", 403)])
async def test_a_box_that_is_known_is_told_of_its_own_documents_only(asks, status) -> None:
    app = door_app(twin_routes(lambda _: None))

    async def known(scope, receive, send) -> None:
        await app({**scope, HOLDER: Holder("gare-01", Role.BOX, "ville")}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=known), base_url="http://door") as client:
        assert (await client.get(f"/v1/boxes/{asks}/twin")).status_code == status


async def test_nothing_is_left_at_the_door(box) -> None:
    assert (await box.post(ADDRESS, content=b"x")).status_code == 405


@pytest.mark.processes
def test_a_fleet_says_where_its_door_is_and_keeps_it_to_this_machine(worlds, start_fleet, tmp_path) -> None:
    fleet = start_fleet(worlds.free_port(), connected=False, door="127.0.0.1:0")
    assert httpx.get(f"{fleet.door}v1/documents/{SHA256}", timeout=10).status_code == 404
    assert fleet.end() == 0
    command = worlds.fleet_command("run", "--data", tmp_path / "other", "--door", "203.0.113.7:80")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 1
    assert "give a loopback address with --door" in refused.stderr
