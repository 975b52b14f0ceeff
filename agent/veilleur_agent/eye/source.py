"""Read pictures from one address: open, choose by time, decode what is chosen, hand over as I420.

    Address ─▶ open_source ─▶ packets ─┬─▶ decoder ─▶ chosen by PTS ─▶ I420 ─▶ Picture
                                       └─ not chosen, and nothing refers to it: never decoded

Every fault of FFmpeg is told in our own words: its messages carry the camera's password.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from veilleur_agent.eye.address import (
    Address,
    CameraError,
    CameraMissingError,
    CameraRefusedError,
    CameraSilentError,
    CameraUnreachableError,
    Kind,
    StreamCorruptError,
)
from veilleur_agent.eye.records import Pixels

if TYPE_CHECKING:  # they cannot be subscripted, or are not needed, when the program runs
    from av.packet import Packet
    from av.video.stream import VideoStream

OPEN_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 5.0
LONGEST_SIDE_PX: Final = 8192
SHORTEST_SIDE_PX: Final = 16
FAULTS_IN_A_ROW_MAX: Final = 250
"""Ten seconds at 25 frames a second: longer than any camera takes to its next key picture."""

USUAL_RATE: Final = 25
SLOT_SLACK: Final = 1e-6
FORMATS: Final = "avi,mov,matroska,mpegts,mpeg,mpegvideo,h264,hevc,m4v,mjpeg,mpjpeg,flv,ogg,asf,nut,rtsp,v4l2"
"""Container formats we open: no playlists, which would send the reader to other addresses."""

PROTOCOLS: Final = {
    Kind.FILE: "file",
    Kind.DEVICE: "file",
    Kind.RTSP: "rtsp,rtp,tcp",
    Kind.HTTP: "http,https,httpproxy,tcp,tls",
}
DECLARES_FRAMES: Final = frozenset({"avi", "mov,mp4,m4a,3gp,3g2,mj2"})
DECLARES_DURATION: Final = frozenset({"matroska,webm"})


@dataclass(frozen=True, slots=True)
class Picture:
    """One chosen picture.

    Attributes:
        pts_s: Seconds since the first picture of this connection, by the source's own clock.
        i420: uint8, shape ``(height * 3 // 2, width)``, even sides, limited range.
        is_key: It was coded on its own.
    """

    pts_s: float
    i420: Pixels = field(repr=False)
    is_key: bool


class Slots:
    """Chooses, of pictures that come at any rate, the first of each ``1 / fps`` seconds."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._taken: int | None = None

    def takes(self, pts_s: float) -> bool:
        """Tell whether this picture, shown after all those asked about before, is chosen."""
        slot = self._slot_of(pts_s)
        if self._taken is not None and self._taken >= slot > self._taken - self._fps:
            return False
        self._taken = slot  # also when the clock went back by more than a second: a new count begins
        return True

    def may_take(self, pts_s: float, lasts_s: float) -> bool:
        """Tell whether a picture shown ``lasts_s`` after its predecessor is the first of its slot; needs no order."""
        return self._slot_of(pts_s) != self._slot_of(pts_s - lasts_s)

    def _slot_of(self, pts_s: float) -> int:
        return math.floor(pts_s * self._fps + SLOT_SLACK)


def open_source(address: Address) -> "Source":
    """Connect to ``address``.

    Raises:
        CameraError: It gives no video; which kind says why.
    """
    av.logging.set_level(None)  # FFmpeg prints URLs, and URLs hold passwords
    began_s = time.monotonic()
    try:
        return Source(address, _container_of(address))
    except av.error.FFmpegError as error:
        fault = fault_of(error, address, time.monotonic() - began_s, is_open=False)
    # Raised out here, so that the fault has no __context__ to carry FFmpeg's message along.
    raise fault


def _container_of(address: Address) -> InputContainer:
    options = {
        "protocol_whitelist": PROTOCOLS[address.kind],
        "format_whitelist": FORMATS,
        "max_pixels": str(LONGEST_SIDE_PX * LONGEST_SIDE_PX),
        "analyzeduration": "2000000",
    }
    formats = {Kind.RTSP: "rtsp", Kind.DEVICE: "v4l2"}
    if address.is_live:
        options["fpsprobesize"] = "0"  # do not watch two seconds only to guess the frame rate
    if address.kind is Kind.RTSP:
        options["rtsp_transport"] = "tcp"
    if address.kind is Kind.HTTP:
        # A multipart MJPEG carries no times of its own; FFmpeg would invent 25 pictures a second.
        options["use_wallclock_as_timestamps"] = "1"
    patience = (OPEN_TIMEOUT_S, READ_TIMEOUT_S) if address.is_live else None
    return av.open(address.url(), format=formats.get(address.kind), options=options, timeout=patience)


class Source:
    """An open source. Holds one packet and the decoder's own pictures, nothing else.

    Attributes:
        address: Where the pictures come from.
        undecodable: Packets and pictures so far that could not be read.
        expected_s: Length of a file in seconds, when it says so.
    """

    def __init__(self, address: Address, container: InputContainer) -> None:
        self.address = address
        self.undecodable = 0
        self._container = container
        self._packets = 0
        self._heard_s = 0.0
        if not container.streams.video:
            container.close()
            raise StreamCorruptError(f"{address.name} holds no video; give a video file or a camera's video stream")
        self._stream: VideoStream = container.streams.video[0]
        self._tick_s = float(self._stream.time_base or 0)
        self._check_size(self._stream.codec_context.width, self._stream.codec_context.height)
        # One thread a camera: threads of one decoder cost more cores in all, and add delay.
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"max_pixels": str(LONGEST_SIDE_PX * LONGEST_SIDE_PX)}
        length = container.duration
        self.expected_s = length / av.time_base if length and not address.is_live else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection and the decoder."""
        self._container.close()

    def pictures(self, fps: float) -> Iterator[Picture]:
        """Yield at most ``fps`` pictures a second of the source's own time, in the order they are shown.

        Raises:
            CameraError: The source fell silent, hung up, or is damaged; a file tells of its damage at its end.
        """
        slots = Slots(fps)
        origin_s: float | None = None
        for frame in self._frames(slots):
            at_s = self._time_of(frame)
            origin_s = at_s if origin_s is None else origin_s
            if slots.takes(at_s - origin_s):
                yield Picture(at_s - origin_s, i420_of(frame), bool(frame.key_frame))
        self._check_end()

    def _frames(self, slots: Slots) -> Iterator[VideoFrame]:
        """Decode what may be chosen and what that depends on."""
        context = self._stream.codec_context
        is_intra = context.codec.intra_only
        origin_s: float | None = None
        before_s: float | None = None
        bad_in_a_row = 0
        for packet in self._read():
            shown_s, sent_s = self._seconds_of(packet.pts), self._seconds_of(packet.dts)
            wanted = True
            if origin_s is not None and shown_s is not None and sent_s is not None and before_s is not None:
                wanted = slots.may_take(shown_s - origin_s, sent_s - before_s)
            before_s = sent_s
            if is_intra and not wanted:
                continue
            # The decoder passes over a picture only when no other refers to it, so this is always safe.
            context.skip_frame = "DEFAULT" if wanted else "NONREF"
            frames = self._decoded(packet)
            bad_in_a_row = bad_in_a_row + 1 if frames is None else 0
            if bad_in_a_row > FAULTS_IN_A_ROW_MAX:
                raise StreamCorruptError(f"{self.address.name} sends video that cannot be decoded: check its encoder")
            for frame in frames or ():
                origin_s = self._time_of(frame) if origin_s is None else origin_s
                yield frame

    def _decoded(self, packet: "Packet[VideoStream]") -> list[VideoFrame] | None:
        """The sound pictures of a packet, None when it cannot be decoded."""
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.undecodable += 1
            return None
        sound = [frame for frame in frames if not frame.is_corrupt]
        self.undecodable += len(frames) - len(sound)
        for frame in sound:
            self._check_size(frame.width, frame.height)
        return sound

    def _read(self) -> "Iterator[Packet[VideoStream]]":
        packets = self._container.demux(self._stream)
        while True:
            began_s = time.monotonic()
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                fault = fault_of(error, self.address, time.monotonic() - began_s, is_open=True)
            else:
                if packet is None:
                    return
                if packet.pts is not None:
                    self._packets += 1
                yield packet
                continue
            raise fault

    def _seconds_of(self, ticks: int | None) -> float | None:
        return None if ticks is None else ticks * self._tick_s

    def _time_of(self, frame: VideoFrame) -> float:
        """Seconds on the source's clock; where a picture bears no time, one picture after the last."""
        at_s = self._seconds_of(frame.pts)
        if at_s is None:
            at_s = self._heard_s + 1 / float(self._stream.average_rate or USUAL_RATE)
        self._heard_s = at_s
        return at_s

    def _check_size(self, width: int, height: int) -> None:
        # 0 x 0: the size is not known before the first key picture.
        if (width or height) and not all(SHORTEST_SIDE_PX <= side <= LONGEST_SIDE_PX for side in (width, height)):
            raise StreamCorruptError(
                f"{self.address.name} is {width}x{height} pixels; sides from {SHORTEST_SIDE_PX} to {LONGEST_SIDE_PX}"
                " can be read: choose another stream of this camera"
            )

    def _check_end(self) -> None:
        """A camera never ends, and a file ends where it said it would, with nothing unreadable on the way."""
        name = self.address.name
        if self.address.is_live:
            raise CameraSilentError(f"{name} ended its stream: check the camera; we keep trying")
        kind = self._container.format.name
        promised = self._stream.frames if kind in DECLARES_FRAMES else 0
        if self._packets < promised:
            raise StreamCorruptError(
                f"{name} is cut short: {self._packets} of {promised} frames are there; copy the file again"
            )
        whole_s = (self.expected_s or 0.0) if kind in DECLARES_DURATION and len(self._container.streams) == 1 else 0.0
        if self._heard_s < whole_s * 0.98 - 1.0:
            raise StreamCorruptError(
                f"{name} is cut short: {self._heard_s:.0f} of {whole_s:.0f} s are there; copy the file again"
            )
        if self.undecodable:
            raise StreamCorruptError(
                f"{name} is damaged: {self.undecodable} pictures could not be decoded; copy the file again"
            )


def i420_of(frame: VideoFrame) -> Pixels:
    """Return a decoded frame as I420, limited range, even sides.

    What is I420 in limited range already is copied as it is: its colour matrix (BT.601 or BT.709) differs by a few
    levels of hue, which no detector minds, and converting it would cost more than all other work on the frame.
    """
    is_full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    width, height = frame.width & ~1, frame.height & ~1
    if frame.format.name != "yuv420p" or is_full_range or (width, height) != (frame.width, frame.height):
        frame = frame.reformat(
            width, height, "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        )
    return np.asarray(frame.to_ndarray(), dtype=np.uint8)


def fault_of(error: av.error.FFmpegError, address: Address, waited_s: float, *, is_open: bool) -> CameraError:
    """Say in our own words what FFmpeg found; its own message is dropped, for it holds the URL.

    Args:
        error: What it raised.
        address: What was being read.
        waited_s: How long it took: when time runs out FFmpeg names whatever it was about.
        is_open: Whether pictures may have come before.
    """
    name = address.name
    is_network = address.kind in {Kind.RTSP, Kind.HTTP}
    fault: CameraError
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        fault = CameraRefusedError(f"{name} refused the name or password: check the account and its password")
    elif isinstance(error, av.error.FileNotFoundError | av.error.HTTPNotFoundError | av.error.IsADirectoryError):
        what = "has no such stream" if is_network else "is not there, or is no file"
        fault = CameraMissingError(f"{name} {what}: check the path")
    elif isinstance(error, av.error.PermissionError):
        fault = CameraMissingError(f"{name} may not be read: check its permissions")
    elif address.is_live and (waited_s >= READ_TIMEOUT_S * 0.95 or isinstance(error, av.error.ExitError)):
        fault = CameraSilentError(f"{name} sent nothing for {waited_s:.0f} s: check the camera and the network")
    elif is_network and is_open:
        fault = CameraSilentError(f"{name} hung up: check the camera; it may serve too many viewers")
    elif is_network and not isinstance(error, av.error.InvalidDataError):
        fault = CameraUnreachableError(f"nobody answers at {name}: check the address, the port and the network")
    else:
        fault = StreamCorruptError(f"{name} is no video we can read, or is damaged: check it with a video player")
    return fault
