"""The three planes inside an I420 picture, without copying it."""

from veilleur_agent.eye.records import Pixels


def planes_of(i420: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Return luma and the two colour planes of a picture as views into it.

    Args:
        i420: uint8, shape ``(height * 3 // 2, width)``, even sides, C-contiguous.

    Returns:
        uint8 ``(height, width)``, then twice uint8 ``(height / 2, width / 2)``; what is written to them is written to
        the picture.

    Raises:
        ValueError: The array is no such picture.
    """
    rows, width = i420.shape
    height = rows * 2 // 3
    if height * 3 != rows * 2 or height % 2 or width % 2 or not i420.flags.c_contiguous:
        raise ValueError("not an I420 picture: even sides, one contiguous array of height * 3 / 2 rows")
    flat = i420.reshape(-1)
    luma, quarter = height * width, height * width // 4
    shape = (height // 2, width // 2)
    return i420[:height], flat[luma : luma + quarter].reshape(shape), flat[luma + quarter :].reshape(shape)
