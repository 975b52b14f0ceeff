"""The sprite detector: a tiny graph that finds the simulator's sprites, so that any path runs with nothing downloaded.

    pixels ─average 2×2─▶ chroma ─compare with the palette─▶ hue matched ─▶ as bright as its surroundings? ─▶ colour

A sprite is a filled rectangle of ``PALETTE[label]``. Hue and saturation are compared, not the colour itself, so that
night (everything × 0.4), rain and compression leave them recognisable. Two sprites of one label are told apart by what
lies between them: a dark outline of 3 pixels or a gap of 6 (in the network's input). Subsampled colour smears over
both, so a cell must also be about as bright as the brightest matched cell near it.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from veilleur_contracts.messages import Label
from veilleur_models.quiet import silence_telemetry

if TYPE_CHECKING:
    import openvino

PALETTE = MappingProxyType(
    {
        Label.PERSON: (24, 24, 232),  # red
        Label.BICYCLE: (24, 232, 24),  # green
        Label.CAR: (232, 24, 24),  # blue
        Label.MOTORCYCLE: (24, 232, 232),  # yellow
        Label.BUS: (232, 24, 232),  # magenta
        Label.TRUCK: (232, 232, 24),  # cyan
    }
)
"""What to paint, as 8-bit ``(blue, green, red)``: six hues 60° apart, equally bright in their strongest channel."""

SMALLEST_OUTLINE_PX = 3
"""Dark outline, in pixels of the network's input, that always parts two sprites of one label …"""
SMALLEST_GAP_PX = 6
"""… and plain gap that does: across a bright one compression smears colour further."""

CELL_PX = 2
HUE_COSINE = 0.88
"""Cosine of 28°: just inside half the 60° between two hues, so a cell never matches two labels."""
SATURATION = 0.55
"""Least chroma, as a share of what the palette shows at the same brightness: half a sprite, half a grey street."""
DARKEST = 28.0
"""Brightness, 0..255, whose chroma a cell needs at least: below it noise makes hues (at night the palette has 93)."""
OUTLINE = 0.62
"""Least brightness, as a share of the brightest matched cell around: an outline that covers half a cell stays below."""
AROUND_CELLS = 5


def build_graph(width: int, height: int) -> "openvino.Model":
    """Build the network for an input of ``width`` × ``height`` pixels.

    Input ``image``: float32 ``(1, 3, height, width)``, BGR, 0..255. Output ``colour``: float32
    ``(1, 1, height / 2, width / 2)``, 0 where there is no sprite, else the label number plus 1.
    """
    silence_telemetry()
    import openvino as ov  # noqa: PLC0415 - only once telemetry is blocked
    from openvino import opset13 as op  # noqa: PLC0415 - only once telemetry is blocked

    image = op.parameter([1, 3, height, width], ov.Type.f32, name="image")
    image.output(0).get_tensor().set_names({"image"})
    blue, green, red = op.split(_cells(image), 1, 3).outputs()
    brightness = op.maximum(op.maximum(blue, green), red)
    named = _named((blue, green, red), brightness)
    lit = op.multiply(brightness, op.minimum(named, np.float32(1.0)))
    around = _brightest_along(_brightest_along(lit, 3, width // CELL_PX), 2, height // CELL_PX)
    clear = op.convert(op.greater(lit, op.multiply(around, np.float32(OUTLINE))), "f32")
    colour = op.multiply(named, clear)
    colour.output(0).get_tensor().set_names({"colour"})
    return ov.Model([op.result(colour)], [image], "sprite")


def _cells(image: "openvino.Node") -> "openvino.Output":
    """Average squares of 2 x 2 pixels: sums of four planes; pooling would pad the three colours to sixteen."""
    from openvino import opset13 as op  # noqa: PLC0415 - build_graph has blocked telemetry by now

    corners = op.split(op.space_to_depth(image, "blocks_first", CELL_PX), 1, CELL_PX**2).outputs()
    total = op.add(op.add(corners[0], corners[1]), op.add(corners[2], corners[3]))
    return op.multiply(total, np.float32(1 / CELL_PX**2)).output(0)


def _named(colours: "tuple[openvino.Output, ...]", brightness: "openvino.Node") -> "openvino.Node":
    """Return the number of the label whose hue each cell shows, plus 1; 0 for none."""
    from openvino import opset13 as op  # noqa: PLC0415 - build_graph has blocked telemetry by now

    def weighted(weights: npt.NDArray[np.float32]) -> "openvino.Node":
        terms = [op.multiply(one, weight) for one, weight in zip(colours, weights, strict=True)]
        return op.add(op.add(terms[0], terms[1]), terms[2])

    blue, green, red = colours
    squares = op.add(op.add(op.multiply(blue, blue), op.multiply(green, green)), op.multiply(red, red))
    grey = op.add(op.add(blue, green), red)
    # |chroma|² = |colour|² - sum² / 3
    length = op.sqrt(op.relu(op.subtract(squares, op.multiply(op.multiply(grey, grey), np.float32(1.0 / 3.0)))))
    directions, reach = _palette()
    bright = op.maximum(op.multiply(brightness, np.float32(reach)), np.float32(DARKEST * reach))
    least = op.maximum(op.multiply(length, np.float32(HUE_COSINE)), bright)
    named = None
    for number, direction in enumerate(directions, 1):
        # The direction has no grey in it, so the colour's share along it is its chroma's.
        matched = op.convert(op.greater(weighted(direction), least), "f32")
        name = op.multiply(matched, np.float32(number))
        named = name if named is None else op.maximum(named, name)
    return named


def _brightest_along(plane: "openvino.Node", axis: int, size: int) -> "openvino.Node":
    """Return the brightest of the ``AROUND_CELLS`` cells around each along one axis, which is ``size`` cells long.

    By shifted copies: pooling would pad the one plane to sixteen.
    """
    from openvino import opset13 as op  # noqa: PLC0415 - build_graph has blocked telemetry by now

    margin = np.zeros(4, np.int64)
    margin[axis] = AROUND_CELLS // 2
    padded = op.pad(plane, margin, margin, "constant", np.float32(0.0))
    brightest = plane
    for first in range(AROUND_CELLS):
        ends = (np.array([first], np.int64), np.array([first + size], np.int64))
        shifted = op.slice(padded, *ends, np.array([1], np.int64), np.array([axis], np.int64))
        brightest = op.maximum(brightest, shifted)
    return brightest


def _palette() -> tuple[npt.NDArray[np.float32], float]:
    """Unit direction of each label's chroma ``(6, 3)``, and the least chroma per brightness."""
    colours = np.array([PALETTE[label] for label in Label], dtype=np.float32)
    chroma = colours - colours.mean(axis=1, keepdims=True)
    length = np.linalg.norm(chroma, axis=1, keepdims=True)
    # Primary and secondary hues of one brightest and one darkest channel have chroma of the same length.
    return chroma / length, SATURATION * float((length[:, 0] / colours.max(axis=1)).min())
