"""Turn a network's raw outputs into boxes, one decoder per form of output.

outputs by name ──decode──▶ DecodedBoxes (pixels of the network's input) ──Letterbox──▶ fractions of the frame
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_contracts.messages import Label
from veilleur_models.card import NOT_A_ROAD_USER, Card
from veilleur_models.errors import ModelOutputError
from veilleur_models.nms import CANDIDATE_LIMIT, kept_of, strongest_of

LARGEST_LOGIT = np.float32(80.0)
"""exp(80) times eleven bins still fits a float32; real distributions stay within 30."""

Floats = npt.NDArray[np.float32]
Outputs = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class DecodedBoxes:
    """What one inference found, strongest first.

    Attributes:
        boxes: float32, shape ``(n, 4)``, ``x1, y1, x2, y2`` in pixels of the network's input.
        scores: float32, shape ``(n,)``, 0..1.
        labels: int8, shape ``(n,)``: ``veilleur_contracts.messages.Label``, or -1 for what is no road user (a face).
    """

    boxes: Floats
    scores: Floats
    labels: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source frame lies inside the network's input: scaled by one factor, centred, padded.

    ::

        ┌──────── input ────────┐
        │ padding        top    │
        ├───────────────────────┤
        │ frame × scale         │  resized to content_width × content_height
        ├───────────────────────┤
        │ padding               │
        └───────────────────────┘

    Attributes:
        scale: Input pixels per source pixel.
        left: Columns of padding before the frame.
        top: Rows of padding above the frame.
        content_width: Columns that show the frame.
        content_height: Rows that show the frame.
        input_width: Columns of the network's input.
        input_height: Rows of the network's input.
    """

    scale: float
    left: int
    top: int
    content_width: int
    content_height: int
    input_width: int
    input_height: int

    def to_fractions(self, boxes: Floats) -> Floats:
        """Move boxes from pixels of the network's input to fractions of the source frame, clipped to it.

        Args:
            boxes: float32, shape ``(n, 4)``, ``x1, y1, x2, y2``.

        Returns:
            float32, shape ``(n, 4)``, 0..1; a box that lies in the padding becomes empty.
        """
        shift = np.array((self.left, self.top, self.left, self.top), dtype=np.float32)
        size = np.array((self.content_width, self.content_height) * 2, dtype=np.float32)
        fractions: Floats = np.clip((boxes - shift) / size, np.float32(0.0), np.float32(1.0))
        return fractions


class Decoder(Protocol):
    """Reads one form of output."""

    def decode(self, outputs: Outputs, threshold: float) -> DecodedBoxes:
        """Return the boxes whose score is above ``threshold``.

        Args:
            outputs: Raw float32 tensors by the names and with the shapes of the card.
            threshold: Lowest score, 0..1; ``card.thresholds`` holds the two that are meant.

        Raises:
            ModelOutputError: An output is missing, has another shape, or holds no finite numbers.
        """
        ...


def letterbox_of(width: int, height: int, card: Card) -> Letterbox:
    """Fit a source frame of ``width`` × ``height`` pixels into the input of ``card``.

    Raises:
        ValueError: A side is not above 0.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a frame of {width}x{height} pixels cannot be shown to a network")
    wide, high = card.input.width, card.input.height
    scale = min(wide / width, high / height)
    content_width = max(1, min(wide, round(width * scale)))
    content_height = max(1, min(high, round(height * scale)))
    return Letterbox(
        scale=scale,
        left=(wide - content_width) // 2,
        top=(high - content_height) // 2,
        content_width=content_width,
        content_height=content_height,
        input_width=wide,
        input_height=high,
    )


def decoder_of(card: Card) -> Decoder:
    """Return the decoder the card names.

    Raises:
        ModelOutputError: The card's outputs are not those of its decoder family.
    """
    match card.decoder:
        case "nanodet":
            return NanoDetDecoder(card)
        case "centerface":
            return CenterFaceDecoder(card)
        case "sprite":
            return SpriteDecoder(card)


class OutputReader:
    """Hands over raw outputs after checking that they are what the card promised."""

    def __init__(self, card: Card, names: tuple[str, ...]) -> None:
        self._model = card.name
        self._shapes = {output.name: output.shape for output in card.outputs}
        missing = [name for name in names if name not in self._shapes]
        if missing:
            raise ModelOutputError(f"{card.name}: its decoder '{card.decoder}' needs the output '{missing[0]}'")

    def read(self, outputs: Outputs, name: str) -> Floats:
        """Return output ``name``.

        Raises:
            ModelOutputError: It is missing or has another shape.
        """
        value = outputs.get(name)
        if value is None or value.shape != self._shapes[name]:
            found = "nothing" if value is None else "x".join(map(str, value.shape))
            wanted = "x".join(map(str, self._shapes[name]))
            raise ModelOutputError(f"{self._model}: output '{name}' should be {wanted} and is {found}")
        return value

    def check_finite(self, values: Floats, name: str) -> None:
        """Refuse NaN and infinities: compared with a threshold they would look like an empty street.

        Raises:
            ModelOutputError: One is there.
        """
        if not math.isfinite(values.sum()):
            raise ModelOutputError(f"{self._model}: output '{name}' holds numbers that are not finite")


class NanoDetDecoder:
    """NanoDet's head: per stride, sigmoid scores and, per side, a distribution over distances.

    ``scores_<stride>`` is ``(1, cells, channels)`` and ``edges_<stride>`` is ``(1, cells, 44)``: four sides
    (left, top, right, bottom) of 11 bins whose softmax expectation, times the stride, is the distance in pixels from
    the cell's centre ``(column + .5, row + .5) × stride``. Cells run row by row. Source: Generalized Focal Loss,
    arXiv:2006.04388, and NanoDet's own head (RangiLyu/nanodet, ``gfl_head.py``).
    """

    STRIDES = (8, 16, 32)
    BINS = 11
    OVERLAP = 0.6

    def __init__(self, card: Card) -> None:
        self._reader = OutputReader(card, tuple(f"{kind}_{s}" for s in self.STRIDES for kind in ("scores", "edges")))
        channels = np.array([label.channel for label in card.labels], dtype=np.intp)
        self._labels = np.array([label.number for label in card.labels], dtype=np.int8)
        self._groups = np.array([_group_of(number) for number in self._labels], dtype=np.int8)
        width = {output.name: output.shape[-1] for output in card.outputs}
        if channels.max() >= min(width[f"scores_{stride}"] for stride in self.STRIDES):
            raise ModelOutputError(f"{card.name}: a label names a channel the network does not have")
        whole = width["scores_8"] == channels.size and bool(np.all(channels == np.arange(channels.size)))
        self._channels = None if whole else channels
        self._columns = {stride: card.input.width // stride for stride in self.STRIDES}
        # One product gives the weighted sum of the bins' numbers and the sum of their weights.
        self._moments = np.stack((np.arange(self.BINS), np.ones(self.BINS)), axis=1).astype(np.float32)

    def decode(self, outputs: Outputs, threshold: float) -> DecodedBoxes:
        """See ``Decoder.decode``."""
        parts = [self._stride(outputs, stride, threshold) for stride in self.STRIDES]
        distances, centres, scores, kinds = (np.concatenate(column) for column in zip(*parts, strict=True))
        if scores.size > CANDIDATE_LIMIT:
            strongest = strongest_of(scores)
            distances, centres, scores, kinds = (part[strongest] for part in (distances, centres, scores, kinds))
        reach = self._expected(distances) * centres[:, 2:3]
        boxes = np.concatenate((centres[:, :2] - reach[:, :2], centres[:, :2] + reach[:, 2:]), axis=1)
        kept = kept_of(boxes, scores, self._groups[kinds], self.OVERLAP)
        return DecodedBoxes(boxes=boxes[kept], scores=scores[kept], labels=self._labels[kinds[kept]])

    def _stride(
        self, outputs: Outputs, stride: int, threshold: float
    ) -> tuple[Floats, Floats, Floats, npt.NDArray[np.intp]]:
        """Distances still as bins, centres with their stride, scores and label positions of one stride's candidates."""
        scores = self._reader.read(outputs, f"scores_{stride}")[0]
        edges = self._reader.read(outputs, f"edges_{stride}")[0]
        if self._channels is not None:
            scores = np.take(scores, self._channels, axis=1)
        self._reader.check_finite(scores, f"scores_{stride}")
        # Most cells see nothing: only what passes the threshold is worth a softmax.
        found = np.flatnonzero(scores > threshold)
        cells, kinds = np.divmod(found, scores.shape[1])
        rows, columns = np.divmod(cells, self._columns[stride])
        centres = np.empty((found.size, 3), dtype=np.float32)
        centres[:, 0] = (columns + 0.5) * stride
        centres[:, 1] = (rows + 0.5) * stride
        centres[:, 2] = stride
        return edges[cells], centres, scores.reshape(-1)[found], kinds

    def _expected(self, distances: Floats) -> Floats:
        self._reader.check_finite(distances, "edges")
        # Clipped rather than shifted by their largest: only what no trained network says is changed by it.
        weights = np.exp(np.clip(distances, -LARGEST_LOGIT, LARGEST_LOGIT)).reshape(-1, 4, self.BINS)
        moments = weights @ self._moments
        expected: Floats = moments[:, :, 0] / moments[:, :, 1]
        return expected


def _group_of(number: int) -> int:
    """Labels that one object may answer to at once: a van is car, bus and truck; a moped is bicycle and motorcycle."""
    if number in (Label.CAR, Label.BUS, Label.TRUCK):
        return int(Label.CAR)
    if number in (Label.BICYCLE, Label.MOTORCYCLE):
        return int(Label.BICYCLE)
    return number


class CenterFaceDecoder:
    """CenterFace's heads on a grid of 4 pixels: heat, logarithm of the size, offset of the centre.

    ``heat`` is ``(1, 1, h, w)``, ``size`` is ``(1, 2, h, w)`` as log(height, width) in cells, ``offset`` is
    ``(1, 2, h, w)`` as (y, x) in cells; centre = (cell + offset + .5) × 4. Source: arXiv:1911.03599 and the decoder
    published with it (Star-Clouds/CenterFace).
    """

    CELL = 4
    OVERLAP = 0.3
    LARGEST_LOG = 8.0
    """exp(8) cells are wider than any input; a larger answer would overflow."""

    def __init__(self, card: Card) -> None:
        self._reader = OutputReader(card, ("heat", "size", "offset"))

    def decode(self, outputs: Outputs, threshold: float) -> DecodedBoxes:
        """See ``Decoder.decode``; every label is -1, a face is never counted."""
        heat = self._reader.read(outputs, "heat")[0, 0]
        size = self._reader.read(outputs, "size")[0].reshape(2, -1)
        offset = self._reader.read(outputs, "offset")[0].reshape(2, -1)
        self._reader.check_finite(heat, "heat")
        found = np.flatnonzero(heat > threshold)
        scores = heat.reshape(-1)[found]
        if found.size > CANDIDATE_LIMIT:
            strongest = strongest_of(scores)
            found, scores = found[strongest], scores[strongest]
        cells = np.stack(np.divmod(found, heat.shape[1])).astype(np.float32)
        centres = (cells + offset[:, found] + np.float32(0.5)) * self.CELL
        halves = np.exp(np.minimum(size[:, found], np.float32(self.LARGEST_LOG))) * np.float32(self.CELL / 2)
        self._reader.check_finite(centres, "offset")
        self._reader.check_finite(halves, "size")
        boxes = np.concatenate((centres[::-1] - halves[::-1], centres[::-1] + halves[::-1])).T
        boxes = np.ascontiguousarray(boxes, dtype=np.float32)
        kept = kept_of(boxes, scores, np.zeros(scores.size, dtype=np.int8), self.OVERLAP)
        labels = np.full(kept.size, NOT_A_ROAD_USER, dtype=np.int8)
        return DecodedBoxes(boxes=boxes[kept], scores=scores[kept], labels=labels)


class SpriteDecoder:
    """The simulator's sprites: connected cells of one colour are one box.

    ``colour`` is ``(1, 1, h, w)`` on a grid of 2 pixels: 0 where a cell shows no sprite colour, else the label channel
    plus 1. The score is the share of its box that a component fills: near 1 for a whole rectangle, less for one that
    another covers in part. Cells touch by their sides only, so two sprites of one colour are two boxes as soon as one
    row or column of cells between them shows something else: a dark outline of 3 pixels does, or a gap of 6.
    """

    CELL = 2
    SMALLEST_SIDE_CELLS = 3
    SMALLEST_AREA_CELLS = 12

    def __init__(self, card: Card) -> None:
        self._reader = OutputReader(card, ("colour",))
        self._numbers = {label.channel + 1: label.number for label in card.labels}

    def decode(self, outputs: Outputs, threshold: float) -> DecodedBoxes:
        """See ``Decoder.decode``."""
        colour = self._reader.read(outputs, "colour")[0, 0]
        self._reader.check_finite(colour, "colour")
        plane = colour.astype(np.uint8)
        present = np.flatnonzero(np.bincount(plane.reshape(-1), minlength=256) >= self.SMALLEST_AREA_CELLS)
        parts = [self._components(plane, int(value)) for value in present if int(value) in self._numbers]
        stacked = np.concatenate(parts) if parts else np.empty((0, 6), dtype=np.float32)
        stacked = stacked[stacked[:, 4] > threshold]
        order = np.argsort(-stacked[:, 4], kind="stable")[:CANDIDATE_LIMIT]
        stacked = stacked[order]
        return DecodedBoxes(
            boxes=np.ascontiguousarray(stacked[:, :4]),
            scores=np.ascontiguousarray(stacked[:, 4]),
            labels=stacked[:, 5].astype(np.int8),
        )

    def _components(self, plane: npt.NDArray[np.uint8], value: int) -> Floats:
        """Rows of ``x1, y1, x2, y2, score, label``, in pixels of the input."""
        mask = np.equal(plane, value).view(np.uint8)
        # Only where the value occurs: the search for components takes as long as its plane is large.
        x, y, w, h = cv2.boundingRect(mask)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask[y : y + h, x : x + w], connectivity=4)
        found = stats[1:].astype(np.float32)  # row 0 is what lies between the sprites
        found[:, :2] += (x, y)
        left, top, wide, high, area = found.T
        rows = np.stack(
            (left, top, left + wide, top + high, area / (wide * high), np.full_like(area, self._numbers[value])), axis=1
        )
        rows[:, :4] *= self.CELL
        large = (np.minimum(wide, high) >= self.SMALLEST_SIDE_CELLS) & (area >= self.SMALLEST_AREA_CELLS)
        kept: Floats = rows[large]
        return kept
