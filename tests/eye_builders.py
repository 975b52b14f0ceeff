"""Small worlds for the tests of the eye: clips encoded on the spot, and a model that is built, not fetched."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.records import Detections, RawFrame
from veilleur_contracts.messages import Label
from veilleur_models.card import Card
from veilleur_models.catalogue import catalogue_directory, read_catalogue
from veilleur_models.package import GoldenSample, ModelPackage
from veilleur_models.quiet import silence_telemetry
from veilleur_models.sprite import PALETTE, build_graph

if TYPE_CHECKING:
    import openvino

Picture = npt.NDArray[np.uint8]
GREY = 110
FAST = {"libx264": {"preset": "veryfast"}}
"""Encoding as a camera does, which has no time either."""


def sprite_card() -> Card:
    return read_catalogue(catalogue_directory())["sprite"].card


@cache
def sprite_package() -> ModelPackage:
    """The sprite detector, as the build makes it, held in memory."""
    card = sprite_card()
    graph = build_graph(card.input.width, card.input.height)
    import openvino  # noqa: PLC0415 - build_graph has blocked telemetry by now

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(graph, path, compress_to_fp16=False)
        xml, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    golden = GoldenSample(np.zeros((card.input.height, card.input.width, 3), np.uint8), {}, 0.0)
    return ModelPackage(card, xml, weights, tuple(label.label for label in card.labels), golden)


FACE_SIDE_PX = 32
"""Side of the face that the white detector finds around every white spot, in pixels of its input."""


def white_faces_graph() -> "openvino.Model":
    """A network of faces to which a face is what is white: the inputs and outputs of the one that is shipped."""
    card = read_catalogue(catalogue_directory())["centerface"].card
    silence_telemetry()
    import openvino as ov  # noqa: PLC0415 - only once telemetry is blocked
    from openvino import opset13 as op  # noqa: PLC0415 - only once telemetry is blocked

    image = op.parameter(list(card.input.shape), ov.Type.f32, name="image")
    image.output(0).get_tensor().set_names({"image"})
    cells = op.avg_pool(image, [4, 4], [0, 0], [0, 0], [4, 4], exclude_pad=True)
    darkest = op.reduce_min(cells, op.constant(np.array([1], np.int64)), keep_dims=True)
    outputs = {
        "heat": op.clamp(op.multiply(op.subtract(darkest, np.float32(200)), np.float32(1 / 30)), 0.0, 1.0),
        "size": op.constant(np.full(card.outputs[1].shape, np.log(FACE_SIDE_PX / 4), np.float32)),
        "offset": op.constant(np.zeros(card.outputs[2].shape, np.float32)),
    }
    for name, node in outputs.items():
        node.output(0).get_tensor().set_names({name})
    return ov.Model([op.result(node) for node in outputs.values()], [image], "white")


@cache
def white_faces_package() -> ModelPackage:
    """The white detector under the card of the one that is shipped, held in memory."""
    card = read_catalogue(catalogue_directory())["centerface"].card
    graph = white_faces_graph()
    import openvino  # noqa: PLC0415 - white_faces_graph has blocked telemetry by now

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(graph, path, compress_to_fp16=False)
        xml, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    golden = GoldenSample(np.zeros((card.input.height, card.input.width, 3), np.uint8), {}, 0.0)
    return ModelPackage(card, xml, weights, ("face",), golden)


def a_street(width: int = 640, height: int = 384) -> Picture:
    """An empty grey street with a little texture, uint8, blue, green, red."""
    return _paving(width, height).copy()


@cache
def _paving(width: int, height: int) -> Picture:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.repeat((GREY + (rows // 16 + columns // 16) % 2 * 8).astype(np.uint8)[:, :, None], 3, axis=2)


def with_sprite(picture: Picture, label: Label, box: Sequence[float]) -> Picture:
    """Paint a sprite; ``box`` is in fractions of the picture."""
    high, wide = picture.shape[:2]
    x1, y1, x2, y2 = (round(value * side) for value, side in zip(box, (wide, high, wide, high), strict=True))
    painted = picture.copy()
    painted[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = PALETTE[label]
    return painted


def a_walk(steps: int, *, label: Label = Label.PERSON, width: int = 640, height: int = 384) -> Iterator[Picture]:
    """Somebody goes from left to right through the middle of the picture in ``steps`` pictures."""
    for step in range(steps):
        x = 0.08 + 0.84 * step / (steps - 1)
        yield with_sprite(a_street(width, height), label, (x - 0.03, 0.4, x + 0.03, 0.7))


def a_clip(
    path: Path,
    pictures: Iterable[Picture],
    *,
    rate: int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode ``pictures`` at ``rate`` frames a second."""
    with av.open(str(path), "w") as container:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=FAST.get(codec, {}) | (options or {}))
                stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], pixels
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
    return path


def a_frame(picture: Picture, *, camera: str = "gare", number: int = 0, at_ms: int = 0) -> RawFrame:
    """A frame that shows ``picture``; its sides must be even."""
    i420 = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
    return RawFrame(camera, number, at_ms, i420)


def detections_of(*found: tuple[Label, Sequence[float]], score: float = 0.9) -> Detections:
    """Detections with the given labels and boxes."""
    boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(found), score, np.float32), np.array([label for label, _ in found], np.int8))
