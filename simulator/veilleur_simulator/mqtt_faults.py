"""Let acknowledgements of the fleet get lost on their way to a box, as a broker that dies between two hops would.

    broker ──PUBLISH …/dn/ack──▶ AckThief ──▶ box        a share of them is kept, and the broker told that it came
           ◀──────PUBACK────────    │

It reads MQTT's fixed header and topic alone, 3.1.1 and 5 alike, and hands everything on whole packet by packet.
"""

import random
from typing import Final

ACK_SUFFIX: Final = b"/dn/ack"
PACKET_BYTES_MAX: Final = 1_048_576
_PUBLISH: Final = 3
_LENGTH_BYTES_MAX: Final = 4


class Framer:
    """Cuts a stream of bytes into whole MQTT packets; holds at most one that is not whole."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the packets that are whole now.

        Raises:
            ValueError: These are no packets of MQTT, or one is longer than ``PACKET_BYTES_MAX``.
        """
        data, packets = self._rest + chunk, list[bytes]()
        while (size := _size_of(data)) is not None and size <= len(data):
            packets.append(data[:size])
            data = data[size:]
        self._rest = data
        return packets


class AckThief:
    """Keeps a share of the acknowledgements of one connection.

    Args:
        share: Of them, 0-1.
        chance: Decides which.
    """

    def __init__(self, share: float, chance: random.Random) -> None:
        self._share, self._chance = share, chance
        self._out, self._back = Framer(), Framer()
        self.stolen = 0

    def out(self, chunk: bytes) -> bytes:
        """Return what goes on to the broker."""
        return b"".join(self._out.feed(chunk))

    def back(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Return what goes on to the box, and what the broker is told in its place."""
        passed, answers = list[bytes](), list[bytes]()
        for packet in self._back.feed(chunk):
            number = _number_of_ack(packet)
            if number is None or self._chance.random() >= self._share:
                passed.append(packet)
                continue
            self.stolen += 1
            if number:
                answers.append(b"\x40\x02" + number)
        return b"".join(passed), b"".join(answers)


def _size_of(data: bytes) -> int | None:
    """Return how long the packet is that ``data`` begins with; None when that cannot be told yet."""
    size = shift = 0
    for place in range(1, len(data)):
        size |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            if size > PACKET_BYTES_MAX:
                raise ValueError("a packet of MQTT is longer than anything of ours")
            return 1 + place + size
        if place == _LENGTH_BYTES_MAX:
            raise ValueError("this is no packet of MQTT")
    return None


def _number_of_ack(packet: bytes) -> bytes | None:
    """Return the packet number of a publication of an acknowledgement, empty at QoS 0; None for all else."""
    if packet[0] >> 4 != _PUBLISH:
        return None
    start = 1
    while packet[start] & 0x80:
        start += 1
    start += 1
    length = int.from_bytes(packet[start : start + 2], "big")
    end = start + 2 + length
    if not packet[start + 2 : end].endswith(ACK_SUFFIX):
        return None
    return packet[end : end + 2] if packet[0] & 0x06 else b""
