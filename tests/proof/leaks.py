"""Look for a picture in bytes, in every form in which one might get out.

bytes ─┬─ unwrapped (base64, hexadecimal, zlib) ─▶ again
       ├─ as it is: runs of the canary's pixels, in four layouts
       ├─ as a picture: anything that decodes as JPEG, PNG or WebP
       ├─ smaller: rows of the frame at a half, a quarter, an eighth, by correlation
       └─ dense: a KiB that reads like compressed or encrypted data
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from veilleur_simulator.backdrop import CANARY_COLUMNS, CANARY_ROWS

Pixels = npt.NDArray[np.uint8]

RUN_PX: Final = 16
"""So many pixels in a row, of 216 grey levels each, are found by chance in nothing."""
ALIKE: Final = 0.97
"""Correlation of a row from which it is the frame's: for 40 values and more, chance gets nowhere near."""
SCALES: Final = (2, 4, 8)
PICTURE_PX_MIN: Final = 8
STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF")
DENSE_BYTES: Final = 1024
DENSE_BITS: Final = 7.5
"""Entropy of 1,024 bytes: random ones have 7.8, JPEG 7.6 and more, our messages under 6.5 (measured)."""
DEPTH_MAX: Final = 2
UNWRAPPED_MAX: Final = 16 * 1024 * 1024
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\-_]{64,}={0,2}")
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){48,}")


class Form(Enum):
    """In which form something was found."""

    AS_IT_IS = "raw"
    PICTURE = "decoded"
    SMALLER = "downscaled"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Canary:
    """What is looked for: runs of pixels, and rows of the frame made smaller, each float64 with mean 0 and norm 1."""

    runs: tuple[bytes, ...]
    rows: tuple[npt.NDArray[np.float64], ...]


def canary_in(film: Path) -> Canary:
    """Read the canary off the first frame of a film, as any reader of the film has it."""
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    top, left = frame.height // 16, frame.width // 16
    runs: list[bytes] = []
    for form in ("gray", "bgr24", "rgb24", "yuv420p"):
        picture = np.atleast_3d(frame.to_ndarray(format=form))
        patch = picture[top : top + CANARY_ROWS, left : left + CANARY_COLUMNS]
        runs += [row[at : at + RUN_PX].tobytes() for row in patch for at in range(0, CANARY_COLUMNS - RUN_PX, RUN_PX)]
    return Canary(tuple(dict.fromkeys(runs)), tuple(_rows_of(frame.to_ndarray(format="gray"), top)))


def _rows_of(grey: Pixels, top: int) -> Iterator[npt.NDArray[np.float64]]:
    height, width = grey.shape
    for scale in SCALES:
        for how in (cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LINEAR):
            small = cv2.resize(grey, (width // scale, height // scale), interpolation=how).astype(np.float64)
            for row in range(top // scale, (top + CANARY_ROWS) // scale):
                values = small[row] - small[row].mean()
                yield values / np.linalg.norm(values)


def found_in(data: bytes, canary: Canary, *, may_be_dense: bool = False) -> set[Form]:
    """Return every form in which a picture is in ``data``.

    Args:
        data: Whatever was sent or written.
        canary: What was filmed.
        may_be_dense: It holds hashes, keys or packed tables by right, so density says nothing.
    """
    found: set[Form] = set()
    for layer in _layers(data, DEPTH_MAX):
        if any(run in layer for run in canary.runs):
            found.add(Form.AS_IT_IS)
        if _holds_picture(layer):
            found.add(Form.PICTURE)
        if _holds_row(layer, canary.rows):
            found.add(Form.SMALLER)
    if not may_be_dense and densest(data) > DENSE_BITS:
        found.add(Form.DENSE)
    return found


def _layers(data: bytes, depth: int) -> Iterator[bytes]:
    yield data
    if depth == 0:
        return
    for match in _BASE64.finditer(data):
        text = match[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for before in range(4):  # letters before it may read as its own
            whole = text[before : len(text) - ((len(text) - before) % 4 == 1)]
            yield from _layers(base64.b64decode(whole + b"=" * (-len(whole) % 4)), depth - 1)
    for match in _HEX.finditer(data):
        for before in range(2):
            whole = match[0][before : before + (len(match[0]) - before) // 2 * 2]
            yield from _layers(binascii.unhexlify(whole), depth - 1)
    for at in _places(data, b"\x78"):
        inside = _inflated(data[at:])
        if inside:
            yield from _layers(inside, depth - 1)


def _inflated(data: bytes) -> bytes:
    if data[1:2] not in {b"\x01", b"\x5e", b"\x9c", b"\xda"}:
        return b""
    try:
        inside = zlib.decompressobj().decompress(data, UNWRAPPED_MAX)
    except zlib.error:
        return b""
    return inside if len(inside) >= RUN_PX else b""


def _places(data: bytes, start: bytes) -> Iterator[int]:
    at = data.find(start)
    while at >= 0:
        yield at
        at = data.find(start, at + 1)


def _holds_picture(data: bytes) -> bool:
    for start in STARTS:
        for at in _places(data, start):
            picture = cv2.imdecode(np.frombuffer(data, np.uint8, offset=at), cv2.IMREAD_GRAYSCALE)
            if picture is not None and min(picture.shape) >= PICTURE_PX_MIN:
                return True
    return False


def _holds_row(data: bytes, rows: tuple[npt.NDArray[np.float64], ...]) -> bool:
    values = np.frombuffer(data, np.uint8).astype(np.float64)
    sums, squares = (np.concatenate([[0.0], np.cumsum(one)]) for one in (values, values**2))
    for row in rows:
        width = len(row)
        if len(values) < width:
            continue
        total, square = (one[width:] - one[:-width] for one in (sums, squares))
        spread = np.sqrt(np.maximum(square - total**2 / width, 0.0))
        alike = fftconvolve(values, row[::-1], mode="valid")
        if (alike[spread > width**0.5] > ALIKE * spread[spread > width**0.5]).any():
            return True
    return False


def densest(data: bytes) -> float:
    """Return the highest entropy of any KiB of ``data``, bits per byte; 0 when it is shorter."""
    bits = 0.0
    for at in range(0, len(data) - DENSE_BYTES + 1, DENSE_BYTES // 4):
        counts = np.bincount(np.frombuffer(data, np.uint8, DENSE_BYTES, at), minlength=256)
        shares = counts[counts > 0] / DENSE_BYTES
        bits = max(bits, float(-(shares * np.log2(shares)).sum()))
    return bits
