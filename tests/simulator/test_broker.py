import socket
from pathlib import Path
from typing import get_args

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from veilleur_simulator.broker import Broker, Kind, broker_in, kind_of, mosquitto_path
from veilleur_simulator.errors import BrokerUnavailableError
from veilleur_simulator.processes import wait_until

WITHIN_S = 10.0
KINDS = [
    pytest.param(
        kind,
        id=kind,
        marks=pytest.mark.skipif(kind == "mosquitto" and not mosquitto_path(), reason="no Mosquitto here"),
    )
    for kind in get_args(Kind)
]


def pass_one_message(broker: Broker) -> bytes:
    received: list[bytes] = []
    subscribed: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "test", protocol=mqtt.MQTTv311)
    client.on_message = lambda *args: received.append(args[2].payload)
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        wait_until(client.is_connected, WITHIN_S, "a connection")
        client.subscribe("veilleur/#", qos=1)
        wait_until(lambda: bool(subscribed), WITHIN_S, "a subscription")
        client.publish("veilleur/v1/test", b"payload", qos=1)
        wait_until(lambda: bool(received), WITHIN_S, "the message")
    finally:
        client.disconnect()
        client.loop_stop()
    return received[0]


def refuses(broker: Broker) -> bool:
    try:
        socket.create_connection((broker.host, broker.port), timeout=1.0).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_passes_a_message_is_killed_comes_back_on_the_same_port_and_ends(tmp_path: Path, kind: Kind) -> None:
    with broker_in(tmp_path, kind) as broker:
        url = broker.url
        assert pass_one_message(broker) == b"payload"
        broker.kill()
        wait_until(lambda: refuses(broker), WITHIN_S, "a closed port")
        broker.start()
        assert broker.url == url
        assert pass_one_message(broker) == b"payload"
        child = broker.child
    assert child.exit_code == 0
    assert refuses(broker)


@pytest.mark.parametrize("kind", KINDS)
def test_listens_on_the_loopback_alone(tmp_path: Path, kind: Kind) -> None:
    with broker_in(tmp_path, kind) as broker:
        listening = [
            line.split()[1]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == broker.port
        ]
    assert listening == [f"0100007F:{broker.port:04X}"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_is_taken_is_told_with_the_last_lines(tmp_path: Path, kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = Broker(tmp_path, kind, port=taken.getsockname()[1])
        with pytest.raises(BrokerUnavailableError, match=r"no broker came up at mqtt://127\.0\.0\.1"):
            broker.start()


def test_an_unknown_kind_of_broker_is_refused() -> None:
    assert [kind_of(name) for name in ("mosquitto", "amqtt", None)] == ["mosquitto", "amqtt", None]
    with pytest.raises(BrokerUnavailableError, match="no broker called rabbit; use mosquitto or amqtt"):
        kind_of("rabbit")


def test_a_broker_that_does_not_run_says_so(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.stop()
    with pytest.raises(BrokerUnavailableError, match="not running"):
        broker.kill()
