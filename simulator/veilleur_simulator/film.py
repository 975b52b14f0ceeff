"""Write a drawn street as an H.264 film; it shows nobody, since every picture in it was drawn here.

Street ─▶ pictures ─▶ H.264 (no B-frames, so that it can also be served live) ─▶ FILE, whole or not at all
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from veilleur_simulator.errors import FilmRejectedError
from veilleur_simulator.street import Street

KEYFRAME_EVERY_S = 2.0
QUALITY_CRF = 18


def _told_nobody(_done: int, _of: int) -> None:
    """Show no progress."""


def write_film(
    street: Street, out: Path, *, lossless: bool = False, on_picture: Callable[[int, int], None] = _told_nobody
) -> None:
    """Write the whole scenario to ``out`` (MP4).

    Args:
        street: What is drawn.
        out: Where to; it appears when complete, never half-written.
        lossless: Keep every luma byte as drawn, for what is searched for later.
        on_picture: Told how many pictures are done, and of how many.

    Raises:
        FilmRejectedError: ``out`` cannot be written.
    """
    part = out.with_name(f".{out.name}.part")
    try:
        _encode(street, part, lossless, on_picture)
        part.replace(out)
    except (OSError, av.error.FFmpegError) as error:
        raise FilmRejectedError(f"cannot write the film {out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _encode(street: Street, part: Path, lossless: bool, on_picture: Callable[[int, int], None]) -> None:  # noqa: FBT001 - private, named at its one call
    frame = street.scenario.street
    rate = Fraction(frame.fps).limit_denominator(1000)
    total = round(frame.seconds * frame.fps)
    options = {"preset": "veryfast", "bf": "0", "g": str(max(1, round(frame.fps * KEYFRAME_EVERY_S)))}
    options |= {"qp": "0"} if lossless else {"crf": str(QUALITY_CRF)}
    with av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        if not isinstance(stream, VideoStream):  # the type checker cannot see that libx264 encodes pictures
            raise FilmRejectedError("libx264 gave no video stream; reinstall PyAV")
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.time_base = 1 / rate
        for number, picture in enumerate(street.pictures()):
            image = av.VideoFrame.from_ndarray(picture, format="bgr24")
            image.pts, image.time_base = number, 1 / rate
            container.mux(stream.encode(image))
            on_picture(number + 1, total)
        container.mux(stream.encode())
