"""A model's card: what it is, what it eats, what it says, how well, and what it must not be used for."""

from typing import Annotated, Literal

import msgspec

from veilleur_contracts.messages import Label
from veilleur_models.errors import ModelRejectedError

CARD_FILE = "card.toml"
CARD_LIMIT_BYTES = 64 * 1024
FILE_LIMIT_BYTES = 64 * 1024 * 1024

ROAD_USERS = tuple(label.name.lower() for label in Label)
"""Names a card may give a road user; the position is the ``Label`` number that travels in arrays and on the wire."""

NOT_A_ROAD_USER = -1
"""Label number of what is found only to be covered (a face); it can never be counted."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_@/.+-]+$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Side = Annotated[int, msgspec.Meta(ge=32, le=4096, multiple_of=32)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0.0, le=60_000.0)]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a card: closed, so that a misspelt key is an error."""


class SourceFile(Record, frozen=True):
    """One file taken from a registry package."""

    path: Text
    sha256: Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=FILE_LIMIT_BYTES)]


class Source(Record, frozen=True):
    """Where the network comes from; ``registry`` is ``none`` when this repository makes it."""

    registry: Literal["npm", "pypi", "none"]
    package: Text
    release: Text
    upstream: Text
    files: Annotated[tuple[SourceFile, ...], msgspec.Meta(max_length=8)] = ()


class InputContract(Record, frozen=True):
    """What the network must be fed: ``(pixel - mean) / scale`` per channel, in ``colour`` order."""

    name: Word
    width: Side
    height: Side
    colour: Literal["BGR", "RGB"]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)]
    layout: Literal["NCHW"] = "NCHW"
    element: Literal["f32"] = "f32"
    letterbox: bool = True

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, channels, rows, columns."""
        return (1, 3, self.height, self.width)


class OutputContract(Record, frozen=True):
    """One named output and its shape."""

    name: Word
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=1_000_000)], ...], msgspec.Meta(max_length=5)]


class LabelChannel(Record, frozen=True):
    """Which score channel of the network means which label; every other channel is never read."""

    channel: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    label: Literal["person", "bicycle", "car", "motorcycle", "bus", "truck", "face"]

    @property
    def number(self) -> int:
        """Veilleur's label number, ``NOT_A_ROAD_USER`` for a face."""
        return ROAD_USERS.index(self.label) if self.label in ROAD_USERS else NOT_A_ROAD_USER


class Thresholds(Record, frozen=True):
    """Lowest score that counts, and the lower one that is enough to be covered."""

    count: Share
    redact: Share


class Accuracy(Record, frozen=True):
    """One measurement of quality; ``how`` says with which command and thresholds."""

    precision: Literal["FP32", "INT8"]
    data: Text
    images: Count
    ap: Share
    ap50: Share
    how: Text
    ap50_by_label: dict[str, Share] = {}


class Latency(Record, frozen=True):
    """Median time of one inference on one core of ``machine``."""

    precision: Literal["FP32", "INT8"]
    median_ms: Milliseconds
    machine: Text


class Calibration(Record, frozen=True):
    """The images that set INT8 ranges: named, pinned, and available to any fresh machine."""

    registry: Literal["pypi"]
    package: Text
    release: Text
    licence: Text
    frames: Count
    how: Text
    files: Annotated[tuple[SourceFile, ...], msgspec.Meta(min_length=1, max_length=8)]


class FileProof(Record, frozen=True):
    """What a file of the package must be, to the byte."""

    sha256: Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=FILE_LIMIT_BYTES)]


class Built(Record, frozen=True):
    """What the build adds to a catalogue card: the precision it shipped, its files, and the code that made them."""

    precision: Literal["FP32", "INT8"]
    openvino: Text
    why: Text
    recipe: Digest
    files: dict[str, FileProof]
    latency: Latency | None = None
    agreement: Share | None = None


class Card(Record, frozen=True):
    """A model's sheet: what it is, what it eats, what it says, how well, and what it must not be used for."""

    format: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{1,47}$")]
    title: Text
    version: Annotated[str, msgspec.Meta(pattern=r"^\d{1,4}\.\d{1,4}\.\d{1,4}$")]
    purpose: Literal["road-users", "faces"]
    decoder: Literal["nanodet", "centerface", "sprite"]
    licence: Text
    biometric_capable: bool
    source: Source
    input: InputContract
    outputs: Annotated[tuple[OutputContract, ...], msgspec.Meta(min_length=1, max_length=12)]
    labels: Annotated[tuple[LabelChannel, ...], msgspec.Meta(min_length=1, max_length=len(ROAD_USERS))]
    thresholds: Thresholds
    limits: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=20)]
    accuracy: Annotated[tuple[Accuracy, ...], msgspec.Meta(max_length=12)] = ()
    latency: Annotated[tuple[Latency, ...], msgspec.Meta(max_length=12)] = ()
    calibration: Calibration | None = None
    built: Built | None = None

    def __post_init__(self) -> None:
        """Refuse what the types alone let through."""
        if self.biometric_capable:
            raise ValueError("a model that can identify a person (biometric_capable = true) has no place in Veilleur")
        if self.thresholds.redact > self.thresholds.count:
            raise ValueError("thresholds.redact must not be above thresholds.count: what is counted is also covered")
        if any(value <= 0.0 for value in self.input.scale):
            raise ValueError("input.scale must be above 0")


def card_of(text: bytes, origin: str) -> Card:
    """Decode a card.

    Args:
        text: The bytes of a ``card.toml``.
        origin: What to call it in an error.

    Raises:
        ModelRejectedError: It is too long, no TOML, or not a card.
    """
    if len(text) > CARD_LIMIT_BYTES:
        raise ModelRejectedError(f"{origin} is larger than {CARD_LIMIT_BYTES} bytes: that is no model card")
    try:
        return msgspec.toml.decode(text, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelRejectedError(f"{origin} is not a valid model card: {error}") from error
    except RecursionError as error:
        raise ModelRejectedError(f"{origin} is not a valid model card: it is nested too deeply") from error
