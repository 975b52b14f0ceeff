import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_models.errors import SourceRejectedError
from veilleur_models.quiet import silence_telemetry
from veilleur_models.tfjs import Graph, Node, _varint, graph_of, graphdef_of

silence_telemetry()

import openvino  # noqa: E402 - only once telemetry is blocked


def model(*nodes: dict, weights: list[dict]) -> bytes:
    return json.dumps({"modelTopology": {"node": list(nodes)}, "weightsManifest": [{"weights": weights}]}).encode()


def kind(name: str) -> dict:
    return {"type": name}


PLACEHOLDER = {
    "name": "x",
    "op": "Placeholder",
    "attr": {"dtype": kind("DT_FLOAT"), "shape": {"shape": {"dim": [{"size": "2"}, {"size": "3"}]}}},
}


def test_a_converted_graph_computes_what_the_original_says(tmp_path: Path) -> None:
    """Y = leaky(x * w + b), summed over axis 1: weights in fp16, a 0-d constant, an int32 axis, a float attribute."""
    document = model(
        PLACEHOLDER,
        {"name": "w", "op": "Const", "attr": {"dtype": kind("DT_FLOAT"), "value": {"tensor": {}}}},
        {"name": "b", "op": "Const", "attr": {"dtype": kind("DT_FLOAT"), "value": {"tensor": {}}}},
        {"name": "axis", "op": "Const", "attr": {"dtype": kind("DT_INT64"), "value": {"tensor": {}}}},
        {"name": "m", "op": "Mul", "input": ["x", "w"], "attr": {"T": kind("DT_FLOAT")}},
        {"name": "a", "op": "AddV2", "input": ["m", "b"], "attr": {"T": kind("DT_FLOAT")}},
        {"name": "l", "op": "LeakyRelu", "input": ["a"], "attr": {"T": kind("DT_FLOAT"), "alpha": {"f": 0.5}}},
        {
            "name": "y",
            "op": "Sum",
            "input": ["l", "axis"],
            "attr": {"T": kind("DT_FLOAT"), "Tidx": kind("DT_INT32"), "keep_dims": {"b": True}},
        },
        weights=[
            {"name": "w", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}},
            {"name": "b", "shape": [], "dtype": "float32"},
            {"name": "axis", "shape": [], "dtype": "int32"},
        ],
    )
    weights = np.array([1.5, -2.0, 0.25], "<f2").tobytes() + np.float32(-1).tobytes() + np.int32(1).tobytes()
    path = tmp_path / "graph.pb"
    path.write_bytes(graphdef_of(graph_of(document, weights)))
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = np.array([[1, 2, 3], [-4, 5, 6]], dtype=np.float32)
    linear = x * np.array([1.5, -2.0, 0.25], dtype=np.float32) - 1
    expected = np.where(linear > 0, linear, 0.5 * linear).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(compiled(x)[0], expected, rtol=1e-5)


def test_only_what_the_outputs_need_is_kept() -> None:
    graph = Graph(
        {
            "a": Node("a", "Const"),
            "b": Node("b", "Const"),
            "c": Node("c", "Split", ["a"]),
            "d": Node("d", "Identity", ["c:1"]),
        },
        {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)},
    )
    graph.prune(("d",))
    assert set(graph.nodes) == {"a", "c", "d"}
    assert set(graph.constants) == {"a"}


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_travel_as_protocol_buffers_write_them(number: int) -> None:
    encoded = _varint(number)
    value = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(encoded))
    assert value == number % 2**64
    assert all(byte & 0x80 for byte in encoded[:-1])
    assert not encoded[-1] & 0x80


@pytest.mark.parametrize(
    ("document", "weights"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"{}", b"", id="no topology"),
        pytest.param(b"[" * 5000, b"", id="deep"),
        pytest.param(model(PLACEHOLDER, weights=[{"name": "w", "shape": [9], "dtype": "float32"}]), b"123", id="short"),
        pytest.param(model(PLACEHOLDER, weights=[]), b"left over", id="too many weights"),
        pytest.param(model(PLACEHOLDER, weights=[{"name": "w", "shape": [1], "dtype": "string"}]), b"1", id="type"),
    ],
)
def test_what_is_no_such_graph_is_refused(document: bytes, weights: bytes) -> None:
    with pytest.raises(SourceRejectedError, match=r"TensorFlow\.js graph"):
        graph_of(document, weights)


def test_an_unknown_attribute_is_refused_by_node() -> None:
    graph = Graph({"n": Node("n", "Odd", attributes={"f": {"func": {"name": "g"}}})}, {})
    with pytest.raises(SourceRejectedError, match=r"'n' \(Odd\)"):
        graphdef_of(graph)
