"""Encode redacted pictures: the only place on a box that does, and it takes nothing but ``RedactedFrame``.

RedactedFrame ─▶ lines and tracks drawn on it ─▶ H.264 ─▶ out.mp4.part ─▶ out.mp4
              └─▶ JPEG bytes ─▶ sealed by ``clip_store``
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Pixels, RedactedFrame, Tracks
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

if TYPE_CHECKING:
    from av.container import OutputContainer

CONTAINERS: Final = {".mp4": "mp4", ".mkv": "matroska"}
MILLISECONDS: Final = Fraction(1, 1000)
LINE_COLOUR: Final = (0, 220, 255)
LABEL_GROUND: Final = (48, 32, 16)
LABEL_LUMA: Final = 235
"""White, in limited range."""
LABEL_SCALE: Final = 0.5
LABEL_EDGE: Final = 4
TRACK_COLOURS: Final = {
    Label.PERSON: (80, 80, 255),
    Label.BICYCLE: (80, 220, 80),
    Label.CAR: (255, 140, 60),
    Label.MOTORCYCLE: (80, 220, 220),
    Label.BUS: (220, 80, 220),
    Label.TRUCK: (220, 220, 80),
}
"""Blue, green, red."""

LARGEST_SIDE_PX: Final = 4096
"""Of an H.264 picture that common players show."""


JPEG_QUALITY: Final = 85


class StillRejectedError(RejectedError):
    """A picture that cannot be encoded."""


class PreviewRejectedError(RejectedError):
    """The preview cannot be written there."""


class PreviewWriter:
    """Writes one preview; what stands at ``path`` is replaced only when the preview is whole.

    Args:
        path: Ends in .mp4 or .mkv.
        lines: Drawn on every picture.

    Raises:
        PreviewRejectedError: Nothing can be written there.
    """

    def __init__(self, path: Path, lines: Sequence[Line]) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._lines = tuple(lines)
        self._stream: VideoStream | None = None
        self._last_ms = -1
        self._first_ms = 0
        if path.suffix.lower() not in CONTAINERS:
            raise PreviewRejectedError(f"a preview ends in {' or '.join(CONTAINERS)}; {path.name} does not")
        try:
            self._part.touch()  # FFmpeg opens the file with the first picture: too late to refuse a wrong path
            self._container: OutputContainer = av.open(str(self._part), "w", format=CONTAINERS[path.suffix.lower()])
        except (av.error.FFmpegError, OSError) as error:
            fault = self._fault_of(error.strerror)
        else:
            return
        raise fault

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
            self._part.unlink(missing_ok=True)

    def write(self, frame: RedactedFrame, tracks: Tracks, totals: Mapping[str, Mapping[Direction, int]]) -> None:
        """Append one picture.

        Args:
            frame: Its time must be later than the last one's; one that is not is passed over.
            tracks: Drawn as boxes in the colour of their label; no id is ever drawn.
            totals: Crossings so far, by line and direction.

        Raises:
            TypeError: Somebody passes another kind of frame.
            PreviewRejectedError: It can no longer be written, as when the disk is full.
        """
        if type(frame) is not RedactedFrame:
            raise TypeError("only a RedactedFrame may be encoded")
        if self._stream is None:
            self._stream, self._first_ms = self._stream_of(frame), frame.at_ms
        if frame.at_ms <= self._last_ms:
            return
        self._last_ms = frame.at_ms
        drawn = frame.i420.copy()
        draw(drawn, self._lines, tracks, totals)
        image = av.VideoFrame.from_ndarray(drawn, format="yuv420p")
        if (image.width, image.height) != (self._stream.width, self._stream.height):
            image = image.reformat(self._stream.width, self._stream.height)
        image.pts, image.time_base = frame.at_ms - self._first_ms, MILLISECONDS
        self._encode(image)

    def close(self) -> None:
        """Finish the file and put it in its place.

        Raises:
            PreviewRejectedError: It could not be written to its end, or holds no picture.
        """
        if self._stream is None:
            self._container.close()
            self._part.unlink(missing_ok=True)
            return
        self._encode(None)
        try:
            self._container.close()
            self._part.replace(self._path)
        except (av.error.FFmpegError, OSError) as error:
            fault = self._fault_of(error.strerror)
        else:
            return
        raise fault

    def _stream_of(self, frame: RedactedFrame) -> VideoStream:
        rows, width = frame.i420.shape
        height = rows * 2 // 3
        shrink = max(1.0, max(width, height) / LARGEST_SIDE_PX)
        stream = self._container.add_stream("libx264", options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height = int(width / shrink) & ~1, int(height / shrink) & ~1
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = MILLISECONDS
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = Colorspace.ITU601
        return stream

    def _encode(self, image: av.VideoFrame | None) -> None:
        if self._stream is None:
            return
        try:
            for packet in self._stream.encode(image):
                self._container.mux(packet)
        except av.error.FFmpegError as error:
            fault = self._fault_of(error.strerror)
        else:
            return
        raise fault

    def _fault_of(self, reason: str | None) -> PreviewRejectedError:
        return PreviewRejectedError(
            f"cannot write the preview {self._path}: {reason or 'unknown reason'}; "
            "choose a folder that exists, can be written to and has room"
        )


def still_of(frame: RedactedFrame) -> bytes:
    """Return ``frame`` as JPEG, nothing drawn over it.

    Raises:
        TypeError: Somebody passes another kind of frame.
        StillRejectedError: It cannot be encoded.
    """
    if type(frame) is not RedactedFrame:
        raise TypeError("only a RedactedFrame may be encoded")
    picture = cv2.cvtColor(frame.i420, cv2.COLOR_YUV2BGR_I420)
    is_whole, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])  # noqa: TID251 - the one place that encodes a still
    if not is_whole:
        raise StillRejectedError("a picture of that shape cannot be encoded")
    return bytes(jpeg)


def draw(i420: Pixels, lines: Sequence[Line], tracks: Tracks, totals: Mapping[str, Mapping[Direction, int]]) -> None:
    """Draw lines and tracks into each plane of a picture: converting it to colours and back costs as much as coding."""
    for plane, part, channel in zip(planes_of(i420), (1, 2, 2), range(3), strict=True):
        _draw_tracks(plane, part, channel, tracks)
        for line in lines:
            _draw_line(plane, part, channel, line, totals.get(line.id, {}))


def _draw_tracks(plane: Pixels, part: int, channel: int, tracks: Tracks) -> None:
    high, wide = plane.shape
    boxes = (tracks.boxes * np.array([wide, high, wide, high])).astype(int).tolist()
    for (left, top, right, bottom), label, seen in zip(boxes, tracks.labels, tracks.seen, strict=True):
        shade = _yuv_of(TRACK_COLOURS[Label(int(label))])[channel]
        cv2.rectangle(plane, (left, top), (right, bottom), shade, 2 // part if seen else 1)


def _draw_line(plane: Pixels, part: int, channel: int, line: Line, counted: Mapping[Direction, int]) -> None:
    high, wide = plane.shape
    shade = _yuv_of(LINE_COLOUR)[channel]
    start, end = ((round(x * wide), round(y * high)) for x, y in (line.start, line.end))
    cv2.arrowedLine(plane, start, end, shade, 2 // part, cv2.LINE_AA, 0, 0.03)
    text = f"{line.id}  L>R {counted.get(Direction.LEFT_TO_RIGHT, 0)}  R>L {counted.get(Direction.RIGHT_TO_LEFT, 0)}"
    _draw_label(plane, part, channel, text, (part * min(start[0], end[0]) + 4, part * min(start[1], end[1]) - 6))


def _draw_label(plane: Pixels, part: int, channel: int, text: str, place: tuple[int, int]) -> None:
    """Write ``text`` on a ground of its own, so that it is read over fill as over the street, and within the frame.

    Args:
        plane: One plane; letters stand in the luma alone, whose points lie closer.
        part: Points of the frame to one of the plane.
        channel: Which plane.
        text: In plain ASCII.
        place: Where it begins, points of the frame.
    """
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, LABEL_SCALE, 1)
    left = max(LABEL_EDGE, min(place[0], plane.shape[1] * part - wide - LABEL_EDGE))
    base = max(high + LABEL_EDGE, place[1])
    corner, opposite = (left - LABEL_EDGE, base - high - LABEL_EDGE), (left + wide + LABEL_EDGE, base + below)
    first, last = ((x // part, y // part) for x, y in (corner, opposite))
    cv2.rectangle(plane, first, last, _yuv_of(LABEL_GROUND)[channel], cv2.FILLED)
    if part == 1:
        cv2.putText(plane, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, LABEL_SCALE, LABEL_LUMA, 1, cv2.LINE_AA)


def _yuv_of(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return Y, U, V in limited range (ITU-R BT.601) of blue, green, red."""
    blue, green, red = colour
    return (
        round(16 + 0.098 * blue + 0.504 * green + 0.257 * red),
        round(128 + 0.439 * blue - 0.291 * green - 0.148 * red),
        round(128 - 0.071 * blue - 0.368 * green + 0.439 * red),
    )
