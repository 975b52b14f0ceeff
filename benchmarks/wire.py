"""Measure what one count window costs on the wire, and how that stands to other ways of saying the same.

a window of 6 labels x 2 directions, three-digit counts ──▶ Batch of N ──▶ bytes / N   (envelope included)
the same fields ──▶ CBOR · JSON array · JSON with names · JSON that needs no Context

The costliest such window: counts of 256..999 take three bytes each in MessagePack, 100..255 only two. CBOR's size is
computed from RFC 8949 (held against cbor2 6's output once: the same to the byte).

python benchmarks/wire.py [--batch N] [--json]
"""

import argparse
import json
import random
import sys
from typing import Final

import msgspec

from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of, decode_batch, encode
from veilleur_contracts.topics import Up, up_topic

BAR_BYTES: Final = 60
PEER_EVENT_BYTES: Final = 1837
"""JSON of one event as a peer documents it; the figure of the design, not measured here. It tells of one object."""
STARTED_MS: Final = 1_790_000_000_000
CONTEXT: Final = m.Context(
    "gare-parvis",
    "30189",
    "00112233445566ff",
    "8899aabbccddeeff",
    "0123456789abcdef",
    tuple(m.Label),
    ("kerb", "cycle-lane"),
    (),
)
Plain = int | str | None | list["Plain"] | dict[str, "Plain"]


def windows(count: int, rng: random.Random) -> list[m.CrossingWindow]:
    """Return ``count`` windows of quarters of an hour, every count from 256 to 999."""
    number = context_number_of(CONTEXT)
    return [
        m.CrossingWindow(
            number,
            STARTED_MS // 1000 + 900 * (n // 2),
            900,
            n % 2,
            98,
            50,
            int(m.Quality.GATED),
            tuple(rng.randint(256, 999) for _ in range(12)),
        )
        for n in range(count)
    ]


def batch_of(records: list[m.CrossingWindow]) -> bytes:
    """Encode one batch deep into its stream, as a mouth sends it.

    Raises:
        MessageRejectedError: It is not one that the fleet would take.
    """
    stream = m.stream_of(m.MessageClass.STATISTICS, STARTED_MS)
    data = encode(m.Batch(stream, 1_000_000, tuple(msgspec.Raw(encode(one)) for one in records)))
    decode_batch(data)
    return data


def cbor_bytes(value: Plain) -> int:
    """Return how long ``value`` is in CBOR's preferred encoding (RFC 8949, sections 3 and 4.1)."""
    match value:
        case None:
            return 1
        case int():
            return _head_bytes(value if value >= 0 else -1 - value)
        case str():
            return _head_bytes(len(value.encode())) + len(value.encode())
        case list():
            return _head_bytes(len(value)) + sum(map(cbor_bytes, value))
        case dict():
            return _head_bytes(len(value)) + sum(cbor_bytes(name) + cbor_bytes(one) for name, one in value.items())


def _head_bytes(number: int) -> int:
    for most, size in ((23, 1), (0xFF, 2), (0xFFFF, 3), (0xFFFF_FFFF, 5)):
        if number <= most:
            return size
    return 9


def named(window: m.CrossingWindow) -> dict[str, Plain]:
    """Return ``window`` with the names of its fields, as JSON interfaces usually say things."""
    return dict(msgspec.structs.asdict(window)) | {"counts": list(window.counts)}


def self_contained(window: m.CrossingWindow) -> dict[str, Plain]:
    """Return ``window`` with everything that it refers to by number, cell by cell."""
    cells = iter(window.counts)
    said = named(window) | {
        "camera": CONTEXT.camera,
        "insee": CONTEXT.insee,
        "site": CONTEXT.site,
        "policy": CONTEXT.policy,
        "model": CONTEXT.model,
        "line": CONTEXT.lines[window.line],
        "counts": {
            m.Label(label).name.lower(): {way.name.lower(): next(cells) for way in m.Direction}
            for label in CONTEXT.labels
        },
    }
    del said["context"]
    return said


def json_bytes(value: Plain) -> int:
    """Return how long ``value`` is in JSON without a blank."""
    return len(json.dumps(value, separators=(",", ":")).encode())


def table(batch: int) -> list[tuple[str, float]]:
    """Return ``(way, bytes a window)`` for each way of saying the same windows, ours first."""
    records = windows(batch, random.Random(1))
    plain: list[Plain] = [json.loads(msgspec.json.encode(one)) for one in records]
    stream, first = m.stream_of(m.MessageClass.STATISTICS, STARTED_MS), 1_000_000
    arrays: list[Plain] = [1, stream, first, plain]
    payload = len(batch_of(records))
    topic = len(up_topic("ville", "gare-01", Up.EVENTS))
    names: list[Plain] = [named(one) for one in records]
    whole: list[Plain] = [self_contained(one) for one in records]
    return [
        (f"Veilleur, in a batch of {batch}", payload / batch),
        ("  with the topic, the MQTT head and a Context each time", _on_mqtt(payload, topic) / batch),
        ("  alone in a batch of 1", float(max(len(batch_of([one])) for one in records))),
        ("CBOR, the same arrays", cbor_bytes(arrays) / batch),
        ("JSON, the same arrays", json_bytes(arrays) / batch),
        ("CBOR with field names", cbor_bytes(names) / batch),
        ("JSON with field names", json_bytes(names) / batch),
        ("JSON that needs no Context", json_bytes(whole) / batch),
        ("a documented peer event, JSON (figure of the design)", float(PEER_EVENT_BYTES)),
    ]


def _on_mqtt(payload: int, topic: int) -> int:
    """Return the bytes of the whole PUBLISH at QoS 1 in MQTT 3.1.1, with the Context said before the windows."""
    body = 2 + topic + 2 + payload + len(encode(CONTEXT))
    return 1 + next(size for size in (1, 2, 3, 4) if body < 128**size) + body


def smallest_batch() -> int:
    """Return how many windows a batch must hold for the bar to be kept."""
    rng = random.Random(1)
    return next(n for n in range(1, m.BATCH_RECORDS_MAX + 1) if len(batch_of(windows(n, rng))) <= BAR_BYTES * n)


def main() -> int:
    """Measure, print what it comes to, and return 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=50, help="windows in a batch, 1 to 1000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    if not 1 <= asked.batch <= m.BATCH_RECORDS_MAX:
        parser.error(f"--batch {asked.batch}: give 1 to {m.BATCH_RECORDS_MAX}")
    rows = table(asked.batch)
    ours = rows[0][1]
    fine = ours <= BAR_BYTES
    if asked.json:
        sizes = {way.strip(): round(size, 2) for way, size in rows}
        print(
            json.dumps({"bytes": ours, "bar": BAR_BYTES, "from_batch_of": smallest_batch(), "table": sizes, "ok": fine})
        )
        return 0 if fine else 1
    for way, size in rows:
        print(f"{way:<58} {size:8.1f} B  {size / ours:5.1f} x")
    print(f"the bar is kept by every batch of {smallest_batch()} windows or more")
    print(f"{ours:.1f} B for a window of 6 x 2 three-digit counts (bar {BAR_BYTES}): {'ok' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
