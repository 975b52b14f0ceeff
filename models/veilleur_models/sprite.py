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

    def number(value: float) -> object:
        return op.constant(np.float32(value))

    image = op.parameter([1, 3, height, width], ov.Type.f32, name="image")
    image.output(0).get_tensor().set_names({"image"})
    cells = op.avg_pool(image, [CELL_PX] * 2, [0, 0], [0, 0], [CELL_PX] * 2, exclude_pad=True)
    blue, green, red = op.split(cells, 1, 3).outputs()
    brightness = op.maximum(op.maximum(blue, green), red)
    squares = op.add(op.add(op.multiply(blue, blue), op.multiply(green, green)), op.multiply(red, red))
    grey = op.add(op.add(blue, green), red)
    # |chroma|² = |colour|² - sum² / 3, channel by channel: reductions over so few channels are slow on a CPU.
    length = op.sqrt(op.relu(op.subtract(squares, op.multiply(op.multiply(grey, grey), number(1.0 / 3.0)))))
    directions, reach = _palette()
    # The directions have no grey in them, so the colour's share along them is its chroma's.
    along = op.convolution(cells, op.constant(directions), [1, 1], [0, 0], [0, 0], [1, 1])
    # Everything but the comparison with the six directions is the same for all labels: one plane instead of six.
    floor = number(DARKEST * reach)
    least = op.maximum(
        op.multiply(length, number(HUE_COSINE)), op.maximum(op.multiply(brightness, number(reach)), floor)
    )
    matched = op.convert(op.greater(along, least), "f32")
    names = op.constant(np.arange(1, len(PALETTE) + 1, dtype=np.float32).reshape(1, -1, 1, 1))
    named = op.reduce_max(op.multiply(matched, names), op.constant(np.array([1], dtype=np.int64)), keep_dims=True)
    lit = op.multiply(brightness, op.minimum(named, number(1.0)))
    half = AROUND_CELLS // 2
    around = op.max_pool(lit, [1, 1], [1, 1], [half, half], [half, half], [AROUND_CELLS] * 2).output(0)
    clear = op.convert(op.greater(lit, op.multiply(around, number(OUTLINE))), "f32")
    colour = op.multiply(named, clear)
    colour.output(0).get_tensor().set_names({"colour"})
    return ov.Model([op.result(colour)], [image], "sprite")


def _palette() -> tuple[npt.NDArray[np.float32], float]:
    """Unit direction of each label's chroma ``(6, 3, 1, 1)``, and the least chroma per brightness."""
    colours = np.array([PALETTE[label] for label in Label], dtype=np.float32)
    chroma = colours - colours.mean(axis=1, keepdims=True)
    length = np.linalg.norm(chroma, axis=1, keepdims=True)
    # Primary and secondary hues of one brightest and one darkest channel have chroma of the same length.
    return (chroma / length).reshape(-1, 3, 1, 1), SATURATION * float((length[:, 0] / colours.max(axis=1)).min())
