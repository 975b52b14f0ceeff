"""Find road users: one compiled model, shared by all cameras.

    RawFrame ─▶ letterbox (I420, the network's size) ─▶ [ colour · normalise · network ] ─▶ decode ─▶ Detections
                  OpenCV, plane by plane                   one OpenVINO graph                 fractions of the frame

The frame is made small before it is made BGR: measured on one core, resizing the I420 planes and converting colour and
range in the graph costs 0.3 ms a frame (768x576 to 640x384), against 2.4 ms for resizing in the graph, which converts
every pixel of the large frame first (3.3 ms at 1920x1080). It also needs one graph, whatever the cameras' sizes.

A frame that could not be looked at is an error, never an empty ``Detections``: a dead detector must not look like an
empty street.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import cv2
import numpy as np

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, Pixels, RawFrame
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_models.card import Card
from veilleur_models.decode import Decoder, Letterbox, decoder_of, letterbox_of
from veilleur_models.package import ModelPackage
from veilleur_models.quiet import silence_telemetry

if TYPE_CHECKING:
    import openvino

COLOURLESS: Final = 128
ALIASES_BELOW: Final = 0.5
"""Scale below which a bilinear resize passes pixels over, so that area averaging is worth its 0.7 ms at 1920x1080."""


class DetectorRejectedError(RejectedError):
    """This model cannot be run on this machine."""


class DetectorFailedError(TransientError):
    """One frame could not be looked at; nothing is known about what it showed."""


class Detector:
    """Runs the model on as many frames at once as the machine serves best, and holds no more than those.

    Args:
        package: A verified model.
        threads: Cores it may use; None: all.
        device: OpenVINO's name of what computes.

    Attributes:
        card: Sheet of the model.
        in_flight: Frames looked at at once.

    Raises:
        DetectorRejectedError: OpenVINO cannot compile it here.
    """

    def __init__(self, package: ModelPackage, *, threads: int | None = None, device: str = "CPU") -> None:
        self.card: Card = package.card
        # One resize takes 0.2 ms: waking OpenCV's own threads for it costs more than it saves.
        cv2.setNumThreads(1)
        compiled = _compiled_of(package, threads, device)
        self.in_flight = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._lanes: SimpleQueue[_Lane] = SimpleQueue()
        for _ in range(self.in_flight):
            self._lanes.put(_Lane(compiled, self.card))
        self._places = BoundedSemaphore(self.in_flight)
        self._pool = ThreadPoolExecutor(self.in_flight, thread_name_prefix="detect")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is in flight and stop."""
        self._pool.shutdown(cancel_futures=True)

    def submit(self, frame: RawFrame) -> "Future[Detections]":
        """Begin to look at ``frame``; waits while ``in_flight`` frames are being looked at.

        Returns:
            What was found, down to the card's threshold of redaction; or ``DetectorFailedError``, or the decoder's
            ``ModelOutputError``.
        """
        self._places.acquire()
        try:
            future = self._pool.submit(self._look, frame)
        except RuntimeError:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future

    def detect(self, frame: RawFrame) -> Detections:
        """Look at one frame and wait for what is found.

        Raises:
            DetectorFailedError: The computation failed.
            ModelOutputError: The network answered something that cannot be read.
        """
        return self.submit(frame).result()

    def detect_each(self, frames: Iterable[RawFrame]) -> Iterator[tuple[RawFrame, Detections]]:
        """Look at every frame, ``in_flight`` at a time, and yield them in their order; raises as ``detect``."""
        begun: deque[tuple[RawFrame, Future[Detections]]] = deque()
        for frame in frames:
            begun.append((frame, self.submit(frame)))
            if len(begun) == self.in_flight:
                first, found = begun.popleft()
                yield first, found.result()
        for frame, found in begun:
            yield frame, found.result()

    def _look(self, frame: RawFrame) -> Detections:
        lane = self._lanes.get()
        try:
            return lane.look(frame)
        finally:
            self._lanes.put(lane)


class _Lane:
    """One inference request with its input canvas and decoder; looks at one frame at a time."""

    def __init__(self, compiled: "openvino.CompiledModel", card: Card) -> None:
        import openvino  # noqa: PLC0415  # _compiled_of has blocked telemetry by now

        self._card = card
        self._decoder: Decoder = decoder_of(card)
        self._request = compiled.create_infer_request()
        self._canvas = _canvas_of(card)
        rows, columns = self._canvas.shape
        tensor = openvino.Tensor(self._canvas.reshape(1, rows, columns, 1), shared_memory=True)
        self._request.set_input_tensor(tensor)
        self._outputs = {
            output.name: self._request.get_tensor(output.name).data for output in card.outputs
        }  # views: the request writes into them
        self._size = (0, 0)
        self._fit: Letterbox = even_letterbox_of(card.input.width, card.input.height, card)

    def look(self, frame: RawFrame) -> Detections:
        self._show(frame)
        try:
            self._request.start_async()
            self._request.wait()
        except RuntimeError:
            fault = DetectorFailedError(f"{self._card.name}: the computation failed on a frame of {frame.camera}")
        else:
            found = self._decoder.decode(self._outputs, self._card.thresholds.redact)
            boxes = self._fit.to_fractions(found.boxes)
            whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            return Detections(boxes[whole], found.scores[whole], found.labels[whole])
        raise fault

    def _show(self, frame: RawFrame) -> None:
        if (frame.width, frame.height) != self._size:
            self._size = (frame.width, frame.height)
            self._fit = even_letterbox_of(frame.width, frame.height, self._card)
            self._canvas[:] = _canvas_of(self._card)
        fit = self._fit
        interpolation = cv2.INTER_AREA if fit.scale < ALIASES_BELOW else cv2.INTER_LINEAR
        for source, canvas, part in zip(planes_of(frame.i420), planes_of(self._canvas), (1, 2, 2), strict=True):
            left, top, wide, high = (
                side // part for side in (fit.left, fit.top, fit.content_width, fit.content_height)
            )
            canvas[top : top + high, left : left + wide] = cv2.resize(source, (wide, high), interpolation=interpolation)


def even_letterbox_of(width: int, height: int, card: Card) -> Letterbox:
    """Fit a frame into the network's input on even pixels, as I420 needs; moves it by one pixel at most."""
    fit = letterbox_of(width, height, card)
    wide, high = fit.content_width + fit.content_width % 2, fit.content_height + fit.content_height % 2
    left, top = (fit.input_width - wide) // 2, (fit.input_height - high) // 2
    return replace(fit, content_width=wide, content_height=high, left=left - left % 2, top=top - top % 2)


def _canvas_of(card: Card) -> Pixels:
    """An input that shows nothing but padding."""
    canvas = np.full((card.input.height * 3 // 2, card.input.width), COLOURLESS, np.uint8)
    canvas[: card.input.height] = round(16 + card.input.pad * 219 / 255)  # limited range, ITU-R BT.601
    return canvas


def _compiled_of(package: ModelPackage, threads: int | None, device: str) -> "openvino.CompiledModel":
    silence_telemetry()
    import openvino  # noqa: PLC0415  # only once telemetry is blocked

    core = openvino.Core()
    # float32: a CPU with bfloat16 units would otherwise answer something else than the card was measured with.
    settings: dict[str, str | int] = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        graph = core.read_model(package.xml, package.weights)
        return core.compile_model(_with_preprocessing(graph, package.card), device, settings)
    except RuntimeError:
        fault = DetectorRejectedError(
            f"{package.card.name} cannot be run on {device}: build it again with 'veilleur-models build'"
        )
    raise fault


def _with_preprocessing(graph: "openvino.Model", card: Card) -> "openvino.Model":
    """Put colour conversion and normalisation in front of the network."""
    from openvino import Layout, Type  # noqa: PLC0415  # as in _compiled_of
    from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: PLC0415  # the same

    steps = PrePostProcessor(graph)
    picture = steps.input(card.input.name)
    picture.tensor().set_element_type(Type.u8).set_color_format(ColorFormat.I420_SINGLE_PLANE)
    picture.tensor().set_spatial_static_shape(card.input.height, card.input.width)
    picture.model().set_layout(Layout(card.input.layout))
    colour = {"BGR": ColorFormat.BGR, "RGB": ColorFormat.RGB}[card.input.colour]
    picture.preprocess().convert_color(colour).convert_element_type(Type.f32)
    picture.preprocess().mean(list(card.input.mean)).scale(list(card.input.scale))
    return steps.build()
