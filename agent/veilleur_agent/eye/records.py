"""What the stages of the eye hand each other: records of arrays, pictures that never show themselves.

    capture ─▶ RawFrame ─▶ detect ─▶ Detections ─▶ track ─▶ Tracks ─▶ lines ─▶ Crossing ─▶ windows
                  ╎                      │
                  └───────▶ redact ◀─────┘ ─▶ RedactedFrame ─▶ clips

Coordinates are fractions of the frame, 0-1, y downwards; boxes are ``x1, y1, x2, y2``. Pictures are I420: the luma
plane, then the two quarter-size colour planes, as decoders deliver them, limited range, BT.601.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from veilleur_contracts.messages import Direction, Label

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One image from one camera at one time, as the camera gave it; it never leaves the eye.

    Attributes:
        camera: Which camera.
        number: Position among the frames the camera delivered since it connected.
        at_ms: UTC milliseconds.
        i420: uint8, shape ``(height * 3 // 2, width)``, both sides even.
    """

    camera: str
    number: int
    at_ms: int
    i420: Pixels = field(repr=False)

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.i420.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.i420.shape[0]) * 2 // 3


@dataclass(frozen=True, slots=True)
class RedactedFrame:
    """A frame in which nobody and no plate can be recognised; made by ``redact`` alone, and alone may be encoded.

    Attributes:
        camera: Which camera.
        number: As in the raw frame.
        at_ms: UTC milliseconds.
        i420: uint8, shape ``(height * 3 // 2, width)``.
        filled_share: Share of the picture that was filled, 0-1.
    """

    camera: str
    number: int
    at_ms: int
    i420: Pixels = field(repr=False)
    filled_share: float


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects found in one frame.

    Attributes:
        boxes: float32, shape ``(n, 4)``, ``x1, y1, x2, y2`` in fractions of the frame.
        scores: float32, shape ``(n,)``, 0-1.
        labels: int8, shape ``(n,)``, values of ``Label``.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Tracks:
    """The objects followed, as they stand at one frame; only confirmed ones.

    Attributes:
        ids: int64, shape ``(n,)``: random, known to this process alone, never sent anywhere.
        boxes: float32, shape ``(n, 4)``, fractions of the frame; predicted where ``seen`` is false.
        labels: int8, shape ``(n,)``: the label voted so far.
        seen: bool, shape ``(n,)``: found in this very frame, rather than predicted.
        moved: bool, shape ``(n,)``: has moved since it was born, so it is no cone, poster or rock.
        born_boxes: float32, shape ``(n, 4)``: where it was first seen, before it was sure enough to be told.
        born_ms: int64, shape ``(n,)``: when, UTC milliseconds.
    """

    ids: npt.NDArray[np.int64] = field(repr=False)
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]
    seen: npt.NDArray[np.bool_]
    moved: npt.NDArray[np.bool_]
    born_boxes: npt.NDArray[np.float32]
    born_ms: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Crossing:
    """One track went over one line, once.

    Attributes:
        line: Index of the line in the camera's list.
        label: What went over it.
        direction: Which way.
        at_ms: When, interpolated between frames, UTC milliseconds.
        track: Whose, for its speed alone; -1 when the tracker took two for each other.
    """

    line: int
    label: Label
    direction: Direction
    at_ms: int
    track: int = field(default=-1, repr=False, compare=False)


def no_detections() -> Detections:
    """Return the record of a frame in which nothing was found."""
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int8))
