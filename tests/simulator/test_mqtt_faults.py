import random

import pytest

from veilleur_simulator.mqtt_faults import AckThief, Framer


def publish(topic: bytes, payload: bytes, number: int | None) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (b"" if number is None else number.to_bytes(2, "big")) + payload
    size, left = b"", len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        size += bytes([low | (0x80 if left else 0)])
        if not left:
            return bytes([0x30 if number is None else 0x32]) + size + body


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_packets_come_out_whole_however_they_are_cut(cut: int) -> None:
    packets = [publish(b"a/b", bytes(n), 7) for n in (0, 5, 200, 20_000)]
    stream = b"".join(packets)
    framer = Framer()
    found = [one for at in range(0, len(stream), cut) for one in framer.feed(stream[at : at + cut])]
    assert found == packets


def test_a_stolen_acknowledgement_is_answered_in_the_boxs_name_and_all_else_passes() -> None:
    thief = AckThief(1.0, random.Random(1))
    other = publish(b"veilleur/v1/ville/3/box/dn/twin", b"x", 5)
    passed, told = thief.back(publish(b"veilleur/v1/ville/3/box/dn/ack", b"y" * 300, 258) + other + b"\xd0\x00")
    assert (passed, told, thief.stolen) == (other + b"\xd0\x00", b"\x40\x02\x01\x02", 1)
    assert thief.back(publish(b"a/dn/ack", b"", None)) == (b"", b"")
    assert thief.out(b"\xc0\x00\xc0") == b"\xc0\x00"


def test_a_thief_of_nothing_steals_nothing() -> None:
    thief = AckThief(0.0, random.Random(1))
    packet = publish(b"a/dn/ack", b"", 1)
    assert thief.back(packet) == (packet, b"")


@pytest.mark.parametrize("rubbish", [b"\x30\xff\xff\xff\xff\x01", b"\x30\xff\xff\xff\x7f"])
def test_what_is_no_mqtt_is_refused(rubbish: bytes) -> None:
    with pytest.raises(ValueError, match="packet of MQTT"):
        Framer().feed(rubbish)
