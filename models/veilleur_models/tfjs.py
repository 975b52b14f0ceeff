"""Re-encode a TensorFlow.js graph as a binary TensorFlow GraphDef, without TensorFlow.

    model.json (nodes) + model.bin (weights, fp16) ──graph_of──▶ Graph ──graphdef_of──▶ bytes OpenVINO's front end reads

Field numbers are those of TensorFlow's ``graph.proto``, ``node_def.proto``, ``attr_value.proto``, ``tensor.proto`` and
``tensor_shape.proto``; the wire format is Protocol Buffers' own (varints, lengths, fixed 32-bit floats).
"""

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from veilleur_models.errors import SourceRejectedError

Constant = npt.NDArray[Any]
"""float32 or int32, any shape."""

TYPE_NUMBERS = MappingProxyType(
    {"DT_FLOAT": 1, "DT_INT32": 3, "DT_STRING": 7, "DT_INT64": 9, "DT_BOOL": 10, "DT_HALF": 19}
)
STORED_TYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {"float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
)
GRAPH_PRODUCER = 1087
"""The TensorFlow graph version written down; any since 2.0 means the same to the reader."""


@dataclass(slots=True)
class Node:
    """One operation of the graph; ``attributes`` are TensorFlow.js' JSON, by name."""

    name: str
    operation: str
    inputs: list[str] = field(default_factory=list)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """Nodes by name, in order, and the values of the constant ones (a 0-d constant stays 0-d)."""

    nodes: dict[str, Node]
    constants: dict[str, Constant]

    def source_of(self, reference: str) -> Node:
        """Return the node behind an input such as ``name``, ``name:1`` or ``^name``."""
        return self.nodes[reference.lstrip("^").split(":")[0]]

    def add_constant(self, name: str, value: Constant) -> None:
        """Add a constant node, or give an old one a new value."""
        self.nodes[name] = Node(name, "Const")
        self.constants[name] = value

    def prune(self, outputs: tuple[str, ...]) -> None:
        """Drop every node that no output needs."""
        needed: set[str] = set()
        waiting = list(outputs)
        while waiting:
            node = self.source_of(waiting.pop())
            if node.name not in needed:
                needed.add(node.name)
                waiting.extend(node.inputs)
        self.nodes = {name: node for name, node in self.nodes.items() if name in needed}
        self.constants = {name: value for name, value in self.constants.items() if name in needed}


def graph_of(model: bytes, weights: bytes) -> Graph:
    """Read a TensorFlow.js graph model.

    Args:
        model: The bytes of its JSON.
        weights: All its weight files, one after the other.

    Raises:
        SourceRejectedError: It is not such a model, or its weights do not add up.
    """
    try:
        document = msgspec.json.decode(model)
        nodes = {
            item["name"]: Node(item["name"], item["op"], list(item.get("input", [])), dict(item.get("attr", {})))
            for item in document["modelTopology"]["node"]
        }
        entries = [entry for group in document["weightsManifest"] for entry in group["weights"]]
        constants, used = _constants_of(entries, weights)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SourceRejectedError(f"the TensorFlow.js graph cannot be read ({type(error).__name__})") from error
    if used != len(weights):
        raise SourceRejectedError(f"the TensorFlow.js graph uses {used} of {len(weights)} bytes of weights")
    return Graph(nodes, constants)


def _constants_of(entries: list[dict[str, Any]], weights: bytes) -> tuple[dict[str, Constant], int]:
    constants: dict[str, Constant] = {}
    offset = 0
    for entry in entries:
        stored = STORED_TYPES[entry.get("quantization", {}).get("dtype", entry["dtype"])]
        shape = tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(weights, stored, count, offset).reshape(shape)
        constants[entry["name"]] = values.astype(np.int32 if stored.kind == "i" else np.float32)
        offset += count * stored.itemsize
    return constants, offset


def graphdef_of(graph: Graph) -> bytes:
    """Encode ``graph`` as a binary ``GraphDef``.

    Raises:
        SourceRejectedError: A node has an attribute this encoder does not know.
    """
    body = b"".join(_message(1, _node(node, graph.constants.get(node.name))) for node in graph.nodes.values())
    return body + _message(4, _number(1, GRAPH_PRODUCER))


def _node(node: Node, constant: Constant | None) -> bytes:
    attributes = {name: _attribute(node, value) for name, value in node.attributes.items()}
    if node.operation == "Const":
        if constant is None:
            raise SourceRejectedError(f"the TensorFlow.js graph has no weights for its constant '{node.name}'")
        # The manifest, not the node, says how the value is stored: int64 constants are int32 there.
        kind = TYPE_NUMBERS["DT_INT32" if constant.dtype.kind == "i" else "DT_FLOAT"]
        attributes = {"dtype": _number(6, kind), "value": _message(8, _tensor(constant, kind))}
    parts = [_text(1, node.name), _text(2, node.operation), *(_text(3, name) for name in node.inputs)]
    parts += [_message(5, _text(1, name) + _message(2, value)) for name, value in attributes.items()]
    return b"".join(parts)


def _tensor(value: Constant, kind: int) -> bytes:
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return _number(1, kind) + _message(2, _shape(value.shape)) + _message(4, little.tobytes())


def _shape(sizes: tuple[int, ...]) -> bytes:
    return b"".join(_message(2, _number(1, size)) for size in sizes)


def _attribute(node: Node, value: dict[str, Any]) -> bytes:  # noqa: PLR0911 - one return per kind is the table
    match value:
        case {"type": str(name)} if name in TYPE_NUMBERS:
            return _number(6, TYPE_NUMBERS[name])
        case {"s": str(text)}:
            return _message(2, base64.b64decode(text))
        case {"i": number}:
            return _number(3, int(number))
        case {"f": number}:
            return _varint(4 << 3 | 5) + struct.pack("<f", float(number))
        case {"b": bool(flag)}:
            return _number(5, int(flag))
        case {"shape": {"dim": list(sizes)}}:
            return _message(7, _shape(tuple(int(size["size"]) for size in sizes)))
        case {"list": {"i": list(numbers)}}:
            return _message(1, _message(3, b"".join(_varint(int(number)) for number in numbers)))
        case {"list": {}}:
            return _message(1, b"")
        case {"tensor": {}}:
            return b""  # replaced: constants are written from the weights
    raise SourceRejectedError(f"the TensorFlow.js node '{node.name}' ({node.operation}) has an unknown attribute")


def _varint(number: int) -> bytes:
    remaining = number & 0xFFFF_FFFF_FFFF_FFFF  # negative numbers travel as 64-bit two's complement
    encoded = bytearray()
    while remaining > 0x7F:  # noqa: PLR2004 - seven bits a byte is the format
        encoded.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    encoded.append(remaining)
    return bytes(encoded)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _message(tag: int, body: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(body)) + body


def _text(tag: int, value: str) -> bytes:
    return _message(tag, value.encode())
