"""Run a network on one picture at a time, on the CPU: for building, judging and self-tests, not for the street."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_models.card import Card
from veilleur_models.decode import Letterbox, letterbox_of
from veilleur_models.quiet import silence_telemetry

if TYPE_CHECKING:
    import openvino

Picture = npt.NDArray[np.uint8]
Blob = npt.NDArray[np.float32]


class Network:
    """A compiled graph and the card that says what to feed it."""

    def __init__(self, graph: "openvino.Model", card: Card, threads: int = 0) -> None:
        silence_telemetry()
        import openvino  # noqa: PLC0415 - only once telemetry is blocked

        # float32 everywhere: a CPU with bfloat16 units would otherwise answer something else than the card says.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._compiled = openvino.Core().compile_model(graph, "CPU", settings)
        self._names = [output.any_name for output in self._compiled.outputs]
        self.card = card

    def infer(self, blob: Blob) -> dict[str, npt.NDArray[np.float32]]:
        """Return the raw outputs by name; ``blob`` is what ``blob_of`` makes."""
        answer = self._compiled(blob)
        return {name: np.array(answer[index]) for index, name in enumerate(self._names)}


def blob_of(picture: Picture, card: Card) -> tuple[Blob, Letterbox]:
    """Letterbox and normalise a picture for a network.

    Args:
        picture: uint8, shape ``(rows, columns, 3)``, blue, green, red.
        card: Names the size, the order of colours, mean and scale.

    Returns:
        float32, shape ``(1, 3, height, width)``, and how the picture lies in it.
    """
    fit = letterbox_of(picture.shape[1], picture.shape[0], card)
    canvas = np.full((fit.input_height, fit.input_width, 3), card.input.pad, dtype=np.uint8)
    resized = cv2.resize(picture, (fit.content_width, fit.content_height), interpolation=cv2.INTER_LINEAR)
    canvas[fit.top : fit.top + fit.content_height, fit.left : fit.left + fit.content_width] = resized
    if card.input.colour == "RGB":
        canvas = canvas[:, :, ::-1]
    return pixels_to_blob(canvas, card), fit


def pixels_to_blob(pixels: Picture, card: Card) -> Blob:
    """Normalise pixels that have the network's size and order of colours already."""
    mean = np.array(card.input.mean, dtype=np.float32)
    scale = np.array(card.input.scale, dtype=np.float32)
    normalised = (pixels.astype(np.float32) - mean) / scale
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])
