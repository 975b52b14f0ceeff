"""Find road users: one compiled model, shared by all cameras.

    RawFrame ─▶ letterbox (I420, the network's size) ─▶ colour planes ─▶ [ normalise · network ] ─▶ decode ─▶ Detections
                  OpenCV, plane by plane                  OpenCV            one OpenVINO graph         fractions

The frame is made small before its colours are converted, and both by OpenCV: measured on one core for a frame of
768x576, 0.15 ms to resize the I420 planes, 0.12 ms to make colour planes of the result; the graph then takes no longer
than with the floats that it was built for. Having the graph do both costs 2.4 ms (it converts every pixel of the large
frame first; 3.3 ms at 1920x1080), having it convert the small frame 0.4 ms. One graph serves every size of frame.

A frame that could not be looked at is an error, never an empty ``Detections``: a dead detector must not look like an
empty street.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
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

    Nothing of it runs in Python but what the caller calls: OpenVINO's own threads infer, the caller shows and decodes.
    Handing frames to Python threads was measured at 1.1 ms a frame more.

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
        # One resize takes 0.1 ms: waking OpenCV's own threads for it costs more than it saves.
        cv2.setNumThreads(1)
        compiled = _compiled_of(package, threads, device)
        # One more than are computed at once, so that the next one waits inside OpenVINO while an answer is decoded.
        self.in_flight = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        self._idle: SimpleQueue[Lane] = SimpleQueue()
        for _ in range(self.in_flight):
            self._idle.put(Lane(compiled, self.card))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the network; what was begun must be finished or abandoned before."""
        self._idle = SimpleQueue()

    def begin(self, frame: RawFrame) -> "Look":
        """Begin to look at ``frame``; waits while ``in_flight`` looks are neither finished nor abandoned.

        Raises:
            ValueError: The frame is no I420 picture.
        """
        lane = self._idle.get()
        try:
            lane.begin(frame)
        except BaseException:  # whatever it was: the lane goes back, and it is raised again
            self._idle.put(lane)
            raise
        return Look(frame, lane, self._idle)

    def detect(self, frame: RawFrame) -> Detections:
        """Look at one frame and wait for what is found.

        Returns:
            Everything down to the card's threshold of redaction.

        Raises:
            DetectorFailedError: The computation failed.
            ModelOutputError: The network answered something that cannot be read.
        """
        return self.begin(frame).result()

    def detect_each(self, frames: Iterable[RawFrame]) -> Iterator[tuple[RawFrame, Detections]]:
        """Look at every frame, ``in_flight`` at a time, and yield them in their order; raises as ``detect``."""
        begun: deque[Look] = deque()
        try:
            for frame in frames:
                begun.append(self.begin(frame))
                if len(begun) == self.in_flight:
                    look = begun.popleft()
                    yield look.frame, look.result()
            while begun:
                look = begun.popleft()
                yield look.frame, look.result()
        finally:
            for look in begun:
                look.abandon()


class Look:
    """One frame being looked at; finish or abandon it, once."""

    def __init__(self, frame: RawFrame, lane: "Lane", idle: "SimpleQueue[Lane]") -> None:
        self.frame = frame
        self._lane = lane
        self._idle = idle

    def is_done(self, wait_s: float) -> bool:
        """Tell whether ``result`` would answer at once, be it by an error; waits for that at most ``wait_s``."""
        return self._lane.is_done(wait_s)

    def result(self) -> Detections:
        """Wait for what is found, and make room for another frame; raises as ``Detector.detect``."""
        try:
            return self._lane.result()
        finally:
            self._idle.put(self._lane)

    def abandon(self) -> None:
        """Wait until the network is done with the frame, and forget it."""
        with suppress(DetectorFailedError):
            self._lane.wait()
        self._idle.put(self._lane)


class Lane:
    """One inference request with its input canvas and decoder; looks at one frame at a time."""

    def __init__(self, compiled: "openvino.CompiledModel", card: Card) -> None:
        import openvino  # noqa: PLC0415 - _compiled_of has blocked telemetry by now

        self._card = card
        self._decoder: Decoder = decoder_of(card)
        self._request = compiled.create_infer_request()
        self._canvas = canvas_of(card)
        high, wide = card.input.height, card.input.width
        self._mixed = np.empty((high, wide, 3), np.uint8)
        colours = np.empty((1, 3, high, wide), np.uint8)
        self._colours = list(colours[0])
        self._conversion = {"BGR": cv2.COLOR_YUV2BGR_I420, "RGB": cv2.COLOR_YUV2RGB_I420}[card.input.colour]
        self._request.set_input_tensor(openvino.Tensor(colours, shared_memory=True))
        # Views: the request writes into them.
        self._outputs = {output.name: self._request.get_tensor(output.name).data for output in card.outputs}
        self._fit: Letterbox = letterbox_of(card.input.width, card.input.height, card)
        self._places: tuple[Pixels, ...] = ()
        self._size = (0, 0)
        self._is_begun = False

    def begin(self, frame: RawFrame) -> None:
        """Show a frame to the network."""
        planes = planes_of(frame.i420)
        if (frame.width, frame.height) != self._size:
            self._fit_to(frame.width, frame.height)
        interpolation = cv2.INTER_AREA if self._fit.scale < ALIASES_BELOW else cv2.INTER_LINEAR
        for source, place in zip(planes, self._places, strict=True):
            cv2.resize(source, place.shape[::-1], dst=place, interpolation=interpolation)
        cv2.cvtColor(self._canvas, self._conversion, dst=self._mixed)
        cv2.split(self._mixed, self._colours)
        try:
            self._request.start_async()
        except RuntimeError:
            self._is_begun = False  # ``wait`` says so
        else:
            self._is_begun = True

    def is_done(self, wait_s: float) -> bool:
        """See ``Look.is_done``."""
        try:
            return not self._is_begun or bool(self._request.wait_for(round(wait_s * 1000)))
        except RuntimeError:
            return True  # failed: ``wait`` says so

    def wait(self) -> None:
        """Wait for the network.

        Raises:
            DetectorFailedError: The computation failed.
        """
        if self._is_begun:
            with suppress(RuntimeError):
                self._request.wait()
                return
        # Out here, without OpenVINO's message, which holds paths.
        raise DetectorFailedError(f"{self._card.name}: the computation failed; restart the agent if it happens again")

    def result(self) -> Detections:
        """See ``Look.result``."""
        self.wait()
        found = self._decoder.decode(self._outputs, self._card.thresholds.redact)
        boxes = self._fit.to_fractions(found.boxes)
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if whole.all():
            return Detections(boxes, found.scores, found.labels)
        return Detections(boxes[whole], found.scores[whole], found.labels[whole])

    def _fit_to(self, width: int, height: int) -> None:
        self._fit = fit = even_letterbox_of(width, height, self._card)
        self._canvas[:] = canvas_of(self._card)
        self._places = tuple(
            plane[
                fit.top // part : (fit.top + fit.content_height) // part,
                fit.left // part : (fit.left + fit.content_width) // part,
            ]
            for plane, part in zip(planes_of(self._canvas), (1, 2, 2), strict=True)
        )
        self._size = (width, height)


def even_letterbox_of(width: int, height: int, card: Card) -> Letterbox:
    """Fit a frame into the network's input on even pixels, as I420 needs; moves it by one pixel at most."""
    fit = letterbox_of(width, height, card)
    wide, high = fit.content_width + fit.content_width % 2, fit.content_height + fit.content_height % 2
    left, top = (fit.input_width - wide) // 2, (fit.input_height - high) // 2
    return replace(fit, content_width=wide, content_height=high, left=left - left % 2, top=top - top % 2)


def canvas_of(card: Card) -> Pixels:
    """An input that shows nothing but padding."""
    canvas = np.full((card.input.height * 3 // 2, card.input.width), COLOURLESS, np.uint8)
    canvas[: card.input.height] = round(16 + card.input.pad * 219 / 255)  # limited range, ITU-R BT.601
    return canvas


def _compiled_of(package: ModelPackage, threads: int | None, device: str) -> "openvino.CompiledModel":
    silence_telemetry()
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

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
    """Put the normalisation in front of the network, so that bytes go in."""
    from openvino import Layout, Type  # noqa: PLC0415 - as in _compiled_of
    from openvino.preprocess import PrePostProcessor  # noqa: PLC0415 - as in _compiled_of

    steps = PrePostProcessor(graph)
    picture = steps.input(card.input.name)
    picture.tensor().set_element_type(Type.u8).set_layout(Layout(card.input.layout))
    picture.model().set_layout(Layout(card.input.layout))
    picture.preprocess().convert_element_type(Type.f32).mean(list(card.input.mean)).scale(list(card.input.scale))
    return steps.build()
