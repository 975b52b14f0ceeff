"""Read a capture: which conversations there were, and every byte one side said.

pcap ─▶ Ethernet ─▶ IPv4 ─┬─▶ TCP: put together by sequence number ─▶ Flow, bytes
                          └─▶ anything else: payloads one after another
"""

import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FLOW_BYTES_MAX: Final = 64 * 1024 * 1024
_ETHERNET, _IPV4, _TCP, _UDP = 1, 0x0800, 6, 17


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One direction of a conversation."""

    protocol: str
    source: str
    source_port: int
    target: str
    target_port: int


@dataclass(slots=True)
class _Said:
    first: int | None = None
    data: bytearray = field(default_factory=bytearray)

    def put(self, sequence: int, payload: bytes, *, opens: bool) -> None:
        if opens or self.first is None:
            self.first = sequence + opens
        at = (sequence - self.first) & 0xFFFF_FFFF
        if opens or not payload or at + len(payload) > FLOW_BYTES_MAX:
            return
        self.data.extend(bytes(max(0, at + len(payload) - len(self.data))))
        self.data[at : at + len(payload)] = payload


def flows_of(path: Path) -> dict[Flow, bytes]:
    """Return what was said on each flow of a capture.

    Raises:
        ValueError: It is no capture of Ethernet.
    """
    data = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(data[:4])
    if order is None or struct.unpack(f"{order}I", data[20:24])[0] != _ETHERNET:
        message = f"{path.name} is no capture of Ethernet"
        raise ValueError(message)
    said: dict[Flow, _Said] = defaultdict(_Said)
    at = 24
    while at + 16 <= len(data):
        (length,) = struct.unpack(f"{order}I", data[at + 8 : at + 12])
        _take(data[at + 16 : at + 16 + length], said)
        at += 16 + length
    return {flow: bytes(one.data) for flow, one in said.items()}


def _take(packet: bytes, said: dict[Flow, _Said]) -> None:
    (kind,) = struct.unpack("!H", packet[12:14])
    if kind != _IPV4:
        said[Flow(f"ethernet {kind:#06x}", "", 0, "", 0)].put(0, b"", opens=False)
        return
    ip = packet[14:]
    head, total = (ip[0] & 15) * 4, int.from_bytes(ip[2:4])
    body = ip[head:total]
    source, target = (".".join(map(str, ip[at : at + 4])) for at in (12, 16))
    if ip[9] == _TCP:
        from_port, to_port, sequence = struct.unpack("!HHI", body[:8])
        flow = Flow("tcp", source, from_port, target, to_port)
        said[flow].put(sequence, body[(body[12] >> 4) * 4 :], opens=bool(body[13] & 2))
    elif ip[9] == _UDP:
        from_port, to_port = struct.unpack("!HH", body[:4])
        one = said[Flow("udp", source, from_port, target, to_port)]
        one.data.extend(body[8:])
    else:
        said[Flow(f"ip {ip[9]}", source, 0, target, 0)].data.extend(body)
