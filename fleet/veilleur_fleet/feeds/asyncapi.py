"""Write ``docs/asyncapi.json`` from the registry: every channel, and the JSON Schema of every record.

python -m veilleur_fleet.feeds.asyncapi > docs/asyncapi.json

The payloads are MessagePack; the schemas (draft-07, as AsyncAPI reads them) describe the arrays that any MessagePack
library gives. JSON is YAML too, so tools that ask for either read it.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum, IntFlag
from typing import Any, Final

import msgspec

from veilleur_contracts import messages as m
from veilleur_contracts.codec import encode
from veilleur_contracts.describe import records
from veilleur_contracts.examples import EXAMPLES
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.topics import ROOT, Down, Up
from veilleur_fleet.store.kinds import NAME_OF

VERSION: Final = "3.1.0"
OF_CAMERA: Final = frozenset({m.MessageClass.STATISTICS, m.MessageClass.AGGREGATE, m.MessageClass.EVENT})
_SCHEMAS: Final = "#/components/schemas/"
_PARAMETERS: Final = {
    "controller": {"description": "who answers for the cameras in law"},
    "shard": {
        "description": f"crc32(box) % {SHARDS}, CRC-32 as in zlib",
        "enum": [str(shard) for shard in range(SHARDS)],
    },
    "box": {"description": "the box"},
    "insee": {"description": "INSEE code of the camera's commune"},
    "camera": {"description": "the camera"},
}
_NUMBERS: Final[tuple[type[IntEnum] | type[IntFlag], ...]] = (
    *(m.Label, m.Direction, m.CameraState, m.Quality, m.GapReason, m.RoadLevel, m.EventKind, m.ViewFault),
)

Object = dict[str, Any]


def document() -> Object:
    """Return the whole AsyncAPI document."""
    channels = {**_box_channels(), **_consumer_channels()}
    return {
        "asyncapi": VERSION,
        "id": "urn:veilleur:v1",
        "info": {
            "title": "Veilleur",
            "version": f"1.{m.CONTRACT_REVISION}.0",
            "description": "What boxes say to the fleet, and what the fleet tells consumers. Each message is "
            "MessagePack: an array `[tag, *fields]` of bounded integers, short ids and lists of them. `null` in "
            "counts is withheld or not observed, never zero. QoS 1; subscribe with `+` and `#` in place of parameters.",
        },
        "defaultContentType": "application/msgpack",
        "channels": channels,
        "operations": _operations(channels),
        "x-numbers": {one.__name__: {str(int(said)): str(said.name).lower() for said in one} for one in _NUMBERS},
        "components": {"schemas": schemas(), "messages": _messages(), "parameters": _PARAMETERS},
    }


def schemas() -> dict[str, Object]:
    """Return the JSON Schema (draft-07) of each record and envelope, by name."""
    envelopes = (m.Batch, m.Ack, m.Published)
    _, raw = msgspec.json.schema_components([*records(), *envelopes], ref_template=_SCHEMAS + "{name}")
    found = {name: _as_draft_07(schema, _fields_of(name)) for name, schema in raw.items()}
    batch, published = found.pop("Batch"), found.pop("Published")
    for kind in m.MessageClass:
        found[f"Batch{kind.value}"] = _with_last(
            batch,
            title=f"Batch of class {kind.value}",
            last={"type": "array", "items": {"oneOf": [_ref(one.__name__) for one in _of_class(kind)]}},
        )
    for record in records():
        found[f"Published{record.__name__}"] = _with_last(
            published, title=f"Published {record.__name__}", last=_ref(record.__name__)
        )
    return dict(sorted(found.items()))


def _box_channels() -> dict[str, Object]:
    root = f"{ROOT}/{{controller}}/{{shard}}/{{box}}"
    spoken = (
        ("events", f"{root}/up/{Up.EVENTS.value}", "Statistics, and what the policy allows beyond them.", "SAE"),
        ("health", f"{root}/up/{Up.HEALTH.value}", "Health, without personal data.", "T"),
    )
    channels = {
        name: _channel(address, meaning, [f"Batch{kind}" for kind in kinds]) for name, address, meaning, kinds in spoken
    }
    stored = "What the fleet's database holds; only then does a box forget it."
    channels["acknowledgements"] = _channel(f"{root}/dn/{Down.ACK.value}", stored, ["Ack"])
    return channels


def _consumer_channels() -> dict[str, Object]:
    channels = {}
    for record, name in NAME_OF.items():
        kind = m.CLASS_OF.get(record, m.MessageClass.TECHNICAL)
        place = "{insee}/{camera}" if kind in OF_CAMERA else "{box}"
        address = f"{ROOT}/{{controller}}/out/{kind.value}/{place}/{name}"
        channels[f"out-{name}"] = _channel(address, _meaning_of(record), [f"Published{record.__name__}"])
    return channels


def _channel(address: str, meaning: str, names: list[str]) -> Object:
    return {
        "address": address,
        "description": meaning,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if f"{{{name}}}" in address
        },
    }


def _operations(channels: Iterable[str]) -> dict[str, Object]:
    """Return what the fleet does on each channel: it receives what boxes say and sends the rest."""
    received = {"events", "health"}
    return {
        f"{'take-in' if name in received else 'tell'}-{name}": {
            "action": "receive" if name in received else "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "bindings": {"mqtt": {"qos": 1, "retain": name == f"out-{NAME_OF[m.Context]}"}},
        }
        for name in channels
    }


def _messages() -> dict[str, Object]:
    return {
        name: {
            "name": name,
            "title": schema["title"],
            "contentType": "application/msgpack",
            "payload": _ref(name),
            "examples": [{"payload": payload} for payload in _examples_of(name)],
        }
        for name, schema in schemas().items()
        if name == "Ack" or name.startswith(("Batch", "Published"))
    }


def _examples_of(name: str) -> Iterator[Any]:
    """Yield one message of that name, as a MessagePack library reads it."""
    if name == "Ack":
        yield msgspec.msgpack.decode(encode(EXAMPLES[m.Ack]))
        return
    started_ms = 1_790_000_000_000
    if name.startswith("Batch"):
        kind = m.MessageClass(name.removeprefix("Batch"))
        said = tuple(msgspec.Raw(encode(EXAMPLES[one])) for one in _of_class(kind) if one is not m.Gap)
        yield _plain(m.Batch(m.stream_of(kind, started_ms), 41, said))
        return
    record = next(one for one in records() if name == f"Published{one.__name__}")
    stream = m.stream_of(m.CLASS_OF.get(record, m.MessageClass.STATISTICS), started_ms)
    yield _plain(m.Published(9001, "gare-01", stream, 42, msgspec.Raw(encode(EXAMPLES[record]))))


def _plain(message: m.Record) -> Any:
    return msgspec.msgpack.decode(encode(message))


def _of_class(kind: m.MessageClass) -> list[type[m.Record]]:
    """Return the records that may travel on a stream of ``kind``; a Gap may on each."""
    return [one for one in records() if one is m.Gap or m.CLASS_OF[one] is kind]


def _fields_of(name: str) -> tuple[str, ...]:
    struct: type[m.Record] = getattr(m, name)
    return ("tag", *struct.__struct_fields__)


def _meaning_of(record: type[m.Record]) -> str:
    return " ".join((record.__doc__ or "").split())


def _ref(name: str) -> Object:
    return {"$ref": _SCHEMAS + name}


def _as_draft_07(schema: Object, fields: tuple[str, ...]) -> Object:
    """Return an array schema of msgspec (2020-12) in the words of draft-07, each place with its name."""
    known = {key: value for key, value in schema.items() if key != "prefixItems"}
    items = [{"title": name, **item} for name, item in zip(fields, schema["prefixItems"], strict=True)]
    return {**known, "items": items, "additionalItems": False}


def _with_last(schema: Object, *, title: str, last: Object) -> Object:
    """Return ``schema`` with its last place, which holds encoded records, told apart."""
    *items, raw = schema["items"]
    bounds = {key: value for key, value in raw.items() if key in {"description", "maxItems", "title"}}
    return {**schema, "title": title, "items": [*items, last if "$ref" in last else {**bounds, **last}]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
