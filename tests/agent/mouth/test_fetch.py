"""What the mouth asks at the door: limits of bytes and of time, a fetch that goes on, and a word for what fails."""

import hashlib

import pytest

from door_double import ENDLESS, HANG, NOT_THERE, door_double, whole
from veilleur_agent.mouth.errors import FetchFailedError
from veilleur_agent.mouth.fetch import Door, Fetcher, Limits
from veilleur_agent.mouth.fetched import Fetched
from veilleur_contracts.messages import FetchFault, Pointer

RAW = b"a signed document, as far as anybody here knows" * 40
SHA256 = hashlib.sha256(RAW).hexdigest()
POINTER = Pointer("policy", SHA256, len(RAW))
PATH = f"/v1/documents/{SHA256}"
HALF = len(RAW) // 2


def fetcher_at(port: int, *addresses: str, answer_s: float = 20.0, part_s: float = 10.0) -> Fetcher:
    fetcher = Fetcher(Door("http", "fleet.example", port), Limits(answer_s, part_s))
    fetcher.lead_to(addresses or ("127.0.0.1",))
    return fetcher


async def test_a_document_is_asked_for_by_its_hash_and_by_the_name_a_person_wrote() -> None:
    async with door_double() as door:
        door.answers[PATH] = [whole(RAW)]
        assert await fetcher_at(door.port).document(POINTER) == RAW
    ((path, headers),) = door.asked
    assert path == PATH
    assert (headers["host"], headers["accept-encoding"]) == (f"fleet.example:{door.port}", "identity")


async def test_a_door_known_by_its_ipv6_address_is_named_as_http_asks_for() -> None:
    async with door_double() as door:
        door.answers[PATH] = [whole(RAW)]
        fetcher = Fetcher(Door("http", "2001:db8::1", door.port))
        fetcher.lead_to(("127.0.0.1",))
        await fetcher.document(POINTER)
    assert door.asked[0][1]["host"] == f"[2001:db8::1]:{door.port}"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        pytest.param(NOT_THERE, FetchFault.NOT_THERE, id="404"),
        pytest.param(whole(b"", status="503 Busy"), FetchFault.REFUSED, id="busy"),
        pytest.param(whole(b"", status="302 Found", more="Location: /x\r\n"), FetchFault.REFUSED, id="sent-elsewhere"),
        pytest.param(whole(RAW + b"x"), FetchFault.TOO_LONG, id="too-long"),
        pytest.param(ENDLESS, FetchFault.TOO_LONG, id="endless"),
        pytest.param(whole(RAW[:-5]), FetchFault.CUT_OFF, id="too-short"),
        pytest.param(whole(RAW[:HALF], length=len(RAW)), FetchFault.CUT_OFF, id="cut-off"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", FetchFault.UNREACHABLE, id="no-http"),
        pytest.param(b"", FetchFault.UNREACHABLE, id="closes"),
        pytest.param(
            whole(RAW, status="206 Partial", more="Content-Range: bytes 5-9/10\r\n"), FetchFault.REFUSED, id="middle"
        ),
    ],
)
async def test_what_goes_wrong_has_a_name(answer, fault) -> None:
    async with door_double() as door:
        door.answers[PATH] = [answer]
        with pytest.raises(FetchFailedError) as failed:
            await fetcher_at(door.port).document(POINTER)
    assert failed.value.fault is fault


async def test_an_answer_that_does_not_end_is_given_up_and_gone_on_with() -> None:
    async with door_double() as door:
        rest = whole(
            RAW[HALF:], status="206 Partial", more=f"Content-Range: bytes {HALF}-{len(RAW) - 1}/{len(RAW)}\r\n"
        )
        door.answers[PATH] = [whole(RAW[:HALF], length=len(RAW)) + HANG, rest]
        fetcher = fetcher_at(door.port, answer_s=0.5)
        with pytest.raises(FetchFailedError) as failed:
            await fetcher.document(POINTER)
        assert failed.value.fault is FetchFault.CUT_OFF
        assert await fetcher.document(POINTER) == RAW
    assert door.asked[1][1]["range"] == f"bytes={HALF}-"
    assert door.asked[1][1]["if-range"] == f'"{SHA256}"'


async def test_a_door_that_starts_again_from_the_beginning_is_understood() -> None:
    async with door_double() as door:
        door.answers[PATH] = [whole(RAW[:HALF], length=len(RAW)), whole(RAW)]
        fetcher = fetcher_at(door.port)
        with pytest.raises(FetchFailedError):
            await fetcher.document(POINTER)
        assert await fetcher.document(POINTER) == RAW


async def test_where_nobody_listens_and_where_nobody_knows_the_way_is_unreachable() -> None:
    async with door_double() as door:
        pass
    for fetcher in (fetcher_at(door.port), Fetcher(Door("http", "fleet.example", door.port))):
        with pytest.raises(FetchFailedError) as failed:
            await fetcher.document(POINTER)
        assert failed.value.fault is FetchFault.UNREACHABLE


async def test_after_a_failure_the_next_address_is_tried() -> None:
    async with door_double() as door:
        door.answers[PATH] = [whole(RAW)]
        fetcher = fetcher_at(door.port, "127.0.0.2", "127.0.0.1")
        with pytest.raises(FetchFailedError):
            await fetcher.document(POINTER)
        assert await fetcher.document(POINTER) == RAW


async def test_a_twin_is_asked_for_with_its_etag() -> None:
    async with door_double() as door:
        path = "/v1/boxes/gare-01/twin"
        door.answers[path] = [
            whole(b"twin", more='ETag: "7"\r\n'),
            whole(b"", status="304 Not Modified"),
            whole(b"twin", more=f"ETag: {'7' * 100}\r\n"),
            NOT_THERE,
        ]
        fetcher = fetcher_at(door.port)
        assert await fetcher.twin("gare-01", None) == (b"twin", '"7"')
        assert await fetcher.twin("gare-01", '"7"') is None
        assert await fetcher.twin("gare-01", None) == (b"twin", None), "an ETag as long as that is none"
        with pytest.raises(FetchFailedError):
            await fetcher.twin("gare-01", None)
    assert door.asked[1][1]["if-none-match"] == '"7"'


def test_the_store_keeps_what_its_name_says_and_nothing_else(tmp_path) -> None:
    store = Fetched(tmp_path)
    store.put(SHA256, RAW)
    assert store.holds(SHA256)
    with pytest.raises(FetchFailedError) as failed:
        store.put("0" * 64, RAW)
    assert failed.value.fault is FetchFault.WRONG_HASH
    (tmp_path / f"{'1' * 64}.dsse").write_bytes(b"damaged")
    (tmp_path / ".half-written").write_bytes(b"x")
    again = Fetched(tmp_path)
    assert again.names() == sorted(["1" * 64, SHA256])
    assert (again.holds(SHA256), again.holds("1" * 64), again.holds("2" * 64)) == (True, False, False)
    again.keep_only({SHA256})
    assert [path.name for path in tmp_path.iterdir()] == [f"{SHA256}.dsse"]
    assert again.holds(SHA256)


def test_a_disk_that_refuses_is_a_fault_of_its_own(tmp_path) -> None:
    store = Fetched(tmp_path / "nowhere")
    with pytest.raises(FetchFailedError) as failed:
        store.put(SHA256, RAW)
    assert failed.value.fault is FetchFault.DISK
    assert store.names() == []
    store.keep_only(set())
