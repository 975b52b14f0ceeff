"""Fit NanoDet's TensorFlow.js graph to another input size and to the six road users, before it is converted.

    input 416×416, 80 labels ──retarget──▶ width×height ──keep_labels──▶ 6 labels

Keeping six of the eighty score channels makes the head a little cheaper and, above all, the promise literal: this
network cannot say anything else, whatever it is shown.
"""

import numpy as np
import numpy.typing as npt

from veilleur_models.errors import SourceRejectedError
from veilleur_models.tfjs import Graph, Node

INPUT = "input_1"
SHIPPED_SIDE = 416
STRIDES = (8, 16, 32)
SCORES = tuple(f"Identity{suffix}" for suffix in ("", "_1", "_2"))
EDGES = tuple(f"Identity{suffix}" for suffix in ("_3", "_4", "_5"))
EDGE_CHANNELS = 44
COCO_CHANNELS = (0, 1, 2, 3, 5, 7)
"""COCO-80 channels of person, bicycle, car, motorcycle, bus and truck, in Veilleur's label order."""


def retarget(graph: Graph, width: int, height: int) -> None:
    """Change the input to ``width`` × ``height`` (multiples of 32): placeholder, resizes, and the six flattenings."""
    sizes = [{"size": str(size)} for size in (1, 3, height, width)]
    graph.nodes[INPUT].attributes["shape"] = {"shape": {"dim": sizes}}
    for node in list(graph.nodes.values()):
        if node.operation == "ResizeBilinear":
            rows, columns = (int(size) for size in graph.constants[node.inputs[1]])
            scaled = np.array([rows * height // SHIPPED_SIDE, columns * width // SHIPPED_SIDE], dtype=np.int32)
            graph.add_constant(node.inputs[1], scaled)
    for names, channels in ((SCORES, len(COCO_CHANNELS)), (EDGES, EDGE_CHANNELS)):
        for name, stride in zip(names, STRIDES, strict=True):
            _flatten_to(graph, name, channels, (height // stride) * (width // stride))


def _flatten_to(graph: Graph, output: str, channels: int, cells: int) -> None:
    reshape = _above(graph, graph.nodes[output], "Reshape")
    shape = f"{output}/shape"
    graph.add_constant(shape, np.array([1, channels, cells], dtype=np.int32))
    # The graph computes this shape with SparseToDense, which OpenVINO's front end does not read.
    reshape.inputs[1] = shape
    reshape.attributes["Tshape"] = {"type": "DT_INT32"}


def keep_labels(graph: Graph) -> None:
    """Cut the head's last convolutions down to the score channels of the road users."""
    for name in SCORES:
        split = _above(graph, graph.nodes[name], "SplitV")
        sizes = graph.constants[split.inputs[1]]
        scores = int(sizes[0])
        kept = np.array([*COCO_CHANNELS, *range(scores, scores + int(sizes[1]))])
        add = _above(graph, split, "Add")
        convolution = _above(graph, add, "Conv2D")
        _keep_last_axis(graph, convolution.inputs[1], kept)
        _keep_last_axis(graph, add.inputs[1], kept)
        graph.add_constant(split.inputs[1], np.array([len(COCO_CHANNELS), sizes[1]], dtype=np.int32))


def _keep_last_axis(graph: Graph, name: str, kept: npt.NDArray[np.intp]) -> None:
    graph.add_constant(name, np.ascontiguousarray(graph.constants[name][..., kept]))


def _above(graph: Graph, node: Node, operation: str) -> Node:
    """Follow first inputs upwards to the nearest node of ``operation``."""
    above = node
    while above.inputs:
        above = graph.source_of(above.inputs[0])
        if above.operation == operation:
            return above
    raise SourceRejectedError(f"NanoDet's graph has no {operation} above its output '{node.name}'")
