"""The real Mosquitto with the generated configuration: who may do what, who gets in, and who is seen out."""

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import aiomqtt
import pytest

import pki_builders as build
from pki_builders import HOST, World, agglo_box, consumers, fleet, needs_mosquitto, ville_box
from veilleur_contracts.ids import shard_of
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.rights import Role, holder_of
from veilleur_fleet.access.command import by_server
from veilleur_fleet.pki.authority import key_pem_of, make_authority, new_key, pem_of
from veilleur_fleet.pki.evict import EvictionFailedError, connect_packet, take_place
from veilleur_fleet.pki.service import Pki
from veilleur_fleet.routing.rules import Purpose, Route

S = MessageClass.STATISTICS
pytestmark = [pytest.mark.processes, needs_mosquitto]

A, B = f"ville/{shard_of('gare-01')}/gare-01", f"agglo/{shard_of('pont-02')}/pont-02"
COLUMNS = ("ville box", "agglo box", "fleet", "control centre", "traffic", "statistics", "technical", "stranger")
WHO = dict(
    zip(
        COLUMNS,
        (
            ville_box,
            agglo_box,
            fleet,
            consumers[Role.CONTROL_CENTRE],
            consumers[Role.TRAFFIC],
            consumers[Role.STATISTICS],
            consumers[Role.TECHNICAL],
            holder_of(Role.BOX, "stranger", "ville"),
        ),
        strict=True,
    )
)
MATRIX = {
    #                                       ville agglo fleet centre traf stat tech stranger
    f"{A}/up/ev": "                         say    -    hear    -    -    -    -    -",
    f"{A}/up/health": "                     say    -    hear    -    -    -    -    -",
    f"{A}/up/status": "                     say    -    hear    -    -    -    -    -",
    f"{A}/up/no-such-channel": "            -      -    hear    -    -    -    -    -",
    f"{A}/up": "                            -      -    hear    -    -    -    -    -",
    f"{A}/dn/ack": "                        hear   -    say     -    -    -    -    -",
    f"{A}/dn/twin": "                       hear   -    say     -    -    -    -    -",
    f"{A}/dn/no-such-channel": "            -      -    -       -    -    -    -    -",
    f"{B}/up/ev": "                         -      say  hear    -    -    -    -    -",
    f"{B}/dn/ack": "                        -      hear say     -    -    -    -    -",
    f"agglo/{A.split('/', 1)[1]}/up/ev": "  -      -    hear    -    -    -    -    -",
    f"ville/{shard_of('pont-02')}/gare-01/up/ev": " - -  hear    -    -    -    -    -",
    "ville/out/S/30189/gare-parvis/win": "  -      -    say     hear hear hear -    -",
    "ville/out/A/30189/gare-parvis/road": " -      -    say     hear hear -    -    -",
    "ville/out/E/30189/gare-parvis/stay": " -      -    say     hear -    -    -    -",
    "ville/out/T/gare-01/health": "         -      -    say     hear -    -    hear -",
    "agglo/out/S/30189/pont/win": "         -      -    say     -    -    -    -    -",
    "agglo/out/T/pont-02/health": "         -      -    say     -    -    -    -    -",
    "anything/else": "                      -      -    -       -    -    -    -    -",
}
REFUSED, NOBODY_LISTENS = 0x87, 0x10


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def topic_of(name: str) -> str:
    return name if name == "anything/else" else f"veilleur/v1/{name}"


def allowed(action: str) -> set[tuple[str, str]]:
    return {
        (who, topic_of(name))
        for name, cells in MATRIX.items()
        for who, cell in zip(COLUMNS, cells.split(), strict=True)
        if cell == action
    }


async def enter_all(world: World, stack: AsyncExitStack, version: int) -> dict[str, build.Client]:
    """Let everybody connect; the stranger has a certificate that nobody remembers giving."""
    credentials = {
        who: world.unregistered(holder) if who == "stranger" else world.credentials(holder)
        for who, holder in WHO.items()
    }
    world.lay_out()
    stack.enter_context(world.broker())
    return {who: await stack.enter_async_context(world.client(one, version)) for who, one in credentials.items()}


@pytest.mark.parametrize("version", [5, 3])
async def test_everybody_says_and_hears_what_the_matrix_allows_and_nothing_else(world, version) -> None:
    topics = [topic_of(name) for name in MATRIX]
    async with AsyncExitStack() as stack:
        clients = await enter_all(world, stack, version)
        onlooker = await stack.enter_async_context(world.onlooker())
        for client in clients.values():
            for topic in ("#", *topics):
                await client.subscribe(topic, qos=1)
        heard = set()
        for topic in topics:
            await onlooker.say(topic)
            heard |= {(who, one) for who, client in clients.items() for one in await client.heard()}
        assert heard == allowed("hear")
        await onlooker.subscribe("#", qos=1)
        said = set()
        for who, client in clients.items():
            for topic in topics:
                code = await client.say(topic)
                passed = topic in await onlooker.heard()
                assert version == 3 or (code in {0, NOBODY_LISTENS} if passed else code == REFUSED)
                said |= {(who, topic)} if passed else set()
        assert said == allowed("say")


async def test_a_last_will_says_no_more_than_its_box_may(world) -> None:
    credentials = world.credentials(ville_box)
    world.lay_out()
    with world.broker():
        will = aiomqtt.Will(topic_of(f"{B}/up/ev"), b"x", qos=1)
        async with world.onlooker() as onlooker:
            await onlooker.subscribe("veilleur/#", qos=1)
            with contextlib.suppress(aiomqtt.MqttError):
                async with world.client(credentials, will=will) as box:
                    box._client._sock.shutdown(socket.SHUT_RDWR)  # no farewell, so the will is read out
                    await cut_off(box)
            async with world.client(credentials) as box:
                await box.say(topic_of(f"{A}/up/ev"), b"after")
            assert topic_of(f"{B}/up/ev") not in await onlooker.heard()


async def test_a_stolen_certificate_neither_writes_as_another_box_nor_takes_its_place(world) -> None:
    theirs, stolen = world.credentials(agglo_box), world.credentials(ville_box)
    world.lay_out()
    with world.broker():
        async with world.client(theirs) as victim, world.client(stolen, identifier=agglo_box.name) as thief:
            assert await thief.say(topic_of(f"{B}/up/ev")) == REFUSED
            assert await thief.say(topic_of(f"{A}/up/ev")) != REFUSED
            assert await victim.say(topic_of(f"{B}/up/ev")) != REFUSED


async def cut_off(client: aiomqtt.Client) -> None:
    """Wait for the end of a connection, which raises."""
    async with asyncio.timeout(60):
        async for _ in client.messages:
            pass


def test_who_has_no_good_certificate_does_not_get_in(world, tmp_path) -> None:
    good = world.credentials(ville_box)
    other = make_authority(tmp_path / "other", "another passphrase", world.clock, "other")
    key = new_key()
    foreign = pem_of(other.issue(ville_box, key.public_key(), world.clock)) + key_pem_of(key)
    server = pem_of(world.authority.issue_server([HOST], key.public_key(), world.clock)) + key_pem_of(key)
    world.lay_out()
    with world.broker():
        let_in = enter(world, world.tls(good))
        assert let_in is not None
        let_in.close()
        anonymous = ssl.create_default_context(cadata=world.authority.pem)
        expired = world.tls(world.unregistered(ville_box, timedelta(minutes=-1)))
        for context in (anonymous, world.tls(foreign), world.tls(server), expired, None):
            assert enter(world, context) is None


def test_a_box_s_certificate_is_no_broker_s(world) -> None:
    """What is stolen from a box must not let its thief play the broker to other boxes."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (world.folder / "stolen.pem").write_text(world.credentials(ville_box))
    server.load_cert_chain(world.folder / "stolen.pem")
    ours = ssl.create_default_context(cadata=world.authority.pem)
    ours.check_hostname = False
    ends = ssl.MemoryBIO(), ssl.MemoryBIO()
    box, thief = ours.wrap_bio(*ends), server.wrap_bio(*reversed(ends), server_side=True)
    for side in (box, thief):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        box.do_handshake()


async def test_taking_the_place_of_a_box_ends_its_connection(world) -> None:
    credentials = world.credentials(ville_box)
    world.lay_out()
    with world.broker():
        async with world.client(credentials) as box:
            pem = world.authority.pem
            await asyncio.to_thread(take_place, HOST, world.port, ville_box.name, world.pki.evicting(ville_box), pem)
            with pytest.raises(aiomqtt.MqttError):
                await cut_off(box)
    with pytest.raises(EvictionFailedError, match="cannot be reached"):
        await asyncio.to_thread(take_place, HOST, world.port, ville_box.name, world.pki.evicting(ville_box), pem)


def still_in(session: socket.socket) -> bool:
    """Tell whether a raw MQTT connection stands, by a ping."""
    try:
        session.sendall(b"\xc0\x00")
        return session.recv(2) == b"\xd0\x00"
    except OSError:
        return False


def enter(world: World, context: ssl.SSLContext | None, resumed: ssl.SSLSession | None = None) -> socket.socket | None:
    """Connect as the ville box by hand, without TLS when there is no context; None when the broker refuses."""
    session = socket.create_connection((HOST, world.port), timeout=5)
    try:
        if context is not None:
            session = context.wrap_socket(session, server_hostname=HOST, session=resumed)
        session.sendall(connect_packet(ville_box.name))
        if session.recv(4) == b"\x20\x02\x00\x00":
            return session
    except OSError:
        pass
    session.close()
    return None


def gets_in(world: World, context: ssl.SSLContext) -> bool:
    session = enter(world, context)
    if session is not None:
        session.close()
    return session is not None


def test_a_revoked_box_is_out_within_a_minute_and_stays_out(world) -> None:
    context = world.tls(world.credentials(ville_box))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose sessions could be resumed without a certificate
    world.lay_out()
    world.close()
    with world.broker():
        process = world.fleet()
        try:
            build.wait_until(lambda: world.fleet_said("broker.connected"), "the fleet at the broker", 40)
            box = enter(world, context)
            assert box is not None
            assert still_in(box)
            began = time.monotonic()
            done = world.command("pki", "revoke", ville_box.name)
            assert (done.returncode, done.stderr) == (0, "")
            build.wait_until(lambda: not still_in(box), "the end of the revoked box's connection", 60)
            assert time.monotonic() - began < 60
            resumed = box.session
            box.close()
            build.wait_until(lambda: not gets_in(world, context), "its being refused", 60)
            assert enter(world, context, resumed) is None
            assert time.monotonic() - began < 60
            assert ville_box.name not in (world.broker_folder / "acl").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(build.DEADLINE_S) == 0


async def test_a_box_of_yesterday_whose_certificate_ended_loses_its_connection(world) -> None:
    """A broker looks at a certificate when a connection begins, and never again."""
    short = Pki(world.authority, world.pki.register, world.clock, timedelta(seconds=3))
    key = new_key()
    made = short.register.issue(ville_box, world.clock.now_ms(), lambda of: short._sign(of, key.public_key()))
    world.lay_out()
    world.close()
    with world.broker():
        async with world.client(made.pem + key_pem_of(key)) as box:
            process = world.fleet()
            try:
                with pytest.raises(aiomqtt.MqttError):
                    await cut_off(box)
            finally:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, build.DEADLINE_S) == 0


async def test_a_service_hears_what_is_routed_to_it_for_as_long_as_it_is(world) -> None:
    credentials = world.credentials(holder_of(Role.SERVICE, "traffic-control", None))
    told = [Route("traffic-control", frozenset({S}), frozenset({Purpose.MOBILITY}), communes=frozenset({"30258"}))]
    world.table.put(by_server(), told)
    world.lay_out()
    kinds = (
        "S/30258/quai/crossings",
        "S/30258/quai/stays",
        "S/30189/gare/crossings",
        "E/30258/quai/event",
        "T/b/birth",
    )
    topics = [topic_of(f"{whose}/out/{kind}") for whose in ("ville", "agglo") for kind in kinds]
    async with AsyncExitStack() as stack:
        stack.enter_context(world.broker())
        service = await stack.enter_async_context(world.client(credentials))
        onlooker = await stack.enter_async_context(world.onlooker())
        await service.subscribe("#", qos=1)

        async def hears() -> set[str]:
            for topic in topics:
                await onlooker.say(topic)
            return await service.heard()

        assert await hears() == {topic for topic in topics if topic.endswith("30258/quai/crossings")}
        assert await service.say(topics[0]) == REFUSED
        world.table.put(by_server(), [])
        assert world.files.refresh()
        async with asyncio.timeout(build.DEADLINE_S):
            while await hears():
                pass  # until the broker has read its list again
