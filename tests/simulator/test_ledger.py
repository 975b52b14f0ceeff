from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import encode, encode_record
from veilleur_contracts.messages import CrossingWindow, MessageClass, Published, stream_of
from veilleur_contracts.topics import out_topic
from veilleur_simulator.broker import broker_in
from veilleur_simulator.ledger import Ledger
from veilleur_simulator.processes import wait_until

WITHIN_S = 10.0
TOPIC = out_topic("ville", MessageClass.STATISTICS, "30189", "place", "crossings")
STREAM = stream_of(MessageClass.STATISTICS, 1000)


def told(seq: int, counts: tuple[int | None, ...]) -> bytes:
    window = CrossingWindow(7, 1_800_000_000, 5, 0, 100, 50, 0, counts)
    return encode(Published(seq, "box-1", STREAM, seq, msgspec.Raw(encode_record(window))))


def test_keeps_the_books_of_what_consumers_are_told(tmp_path: Path) -> None:
    clock = SystemClock()
    messages = [told(1, (0, 0)), told(2, (2, None)), told(2, (2, None)), told(3, (1, 4)), b"no message"]
    with broker_in(tmp_path) as broker, Ledger(broker.host, broker.port, clock) as ledger:
        began_s = clock.elapsed_s()
        fleet = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        fleet.connect(broker.host, broker.port)
        fleet.loop_start()
        for message in messages:
            fleet.publish(TOPIC, message, qos=1)
        fleet.publish("veilleur/v1/ville/0/box-1/up/ev", b"not for consumers", qos=1)
        wait_until(
            lambda: sum(ledger.books().seen.values()) == 4 and ledger.books().refused == 1, WITHIN_S, "all of it"
        )
        fleet.disconnect()
        fleet.loop_stop()
        books = ledger.books()
    assert books.seen == {("box-1", STREAM, 1): 1, ("box-1", STREAM, 2): 2, ("box-1", STREAM, 3): 1}
    assert books.duplicated == 1
    assert books.crossings == 7
    assert books.first_count_s is not None
    assert books.first_count_s >= began_s
