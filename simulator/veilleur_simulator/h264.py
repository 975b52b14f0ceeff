"""H.264 films as cameras send them: access units read from a file, cut into RTP packets (RFC 6184).

FILE ─▶ read_film ─▶ Film (parameter sets, access units) ─▶ payloads_of ─▶ RTP payloads ≤ 1,400 bytes
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import av

from veilleur_simulator.errors import FilmRejectedError

CLOCK_HZ: Final = 90_000
PAYLOAD_MAX: Final = 1400
FILM_BYTES_MAX: Final = 512 * 1024 * 1024
SPS, PPS, IDR, FU_A = 7, 8, 5, 28
START_CODE: Final = b"\x00\x00\x01"


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture.

    Attributes:
        nals: Its NAL units, without start codes.
        decode_at: When it is decoded, ticks of 90 kHz from the first.
        show_at: When it is shown, the same ticks.
    """

    nals: tuple[bytes, ...] = field(repr=False)
    decode_at: int
    show_at: int


@dataclass(frozen=True, slots=True)
class Film:
    """A whole film in memory.

    Attributes:
        sps: Its sequence parameter set.
        pps: Its picture parameter set.
        units: Its pictures, in the order of decoding.
        length: Its length, ticks of 90 kHz.
        fps: Its nominal rate.
    """

    sps: bytes = field(repr=False)
    pps: bytes = field(repr=False)
    units: tuple[AccessUnit, ...] = field(repr=False)
    length: int
    fps: float

    def sdp_of_format(self) -> str:
        """Return the ``fmtp`` parameters of its session description."""
        sets = ",".join(base64.b64encode(one).decode("ascii") for one in (self.sps, self.pps))
        return f"packetization-mode=1;profile-level-id={self.sps[1:4].hex()};sprop-parameter-sets={sets}"


def read_film(path: Path) -> Film:
    """Read the H.264 pictures of ``path`` as they are coded; nothing is decoded.

    Raises:
        FilmRejectedError: Missing, not a film, not H.264, or too large to be held.
    """
    try:
        if path.stat().st_size > FILM_BYTES_MAX:
            raise FilmRejectedError(f"film {path} is larger than {FILM_BYTES_MAX >> 20} MiB; serve a shorter one")
        with av.open(str(path)) as container:
            return _film_of(path, container)
    except (OSError, av.error.FFmpegError) as error:
        raise FilmRejectedError(f"cannot read the film {path}: {error.strerror}") from None


def payloads_of(nal: bytes) -> Iterator[bytes]:
    """Cut one NAL unit into RTP payloads: itself when it fits, else FU-A fragments (RFC 6184, 5.8)."""
    if len(nal) <= PAYLOAD_MAX:
        yield nal
        return
    indicator, kind = nal[0] & 0xE0 | FU_A, nal[0] & 0x1F
    room = PAYLOAD_MAX - 2
    for at in range(1, len(nal), room):
        first, last = at == 1, at + room >= len(nal)
        yield bytes((indicator, first << 7 | last << 6 | kind)) + nal[at : at + room]


def _film_of(path: Path, container: "av.container.InputContainer") -> Film:
    if not container.streams.video or container.streams.video[0].codec_context.name != "h264":
        raise FilmRejectedError(f"film {path} is not H.264; render one with `veilleur-simulator street`")
    stream = container.streams.video[0]
    annexb = av.BitStreamFilterContext("h264_mp4toannexb", stream)
    ticks = float(stream.time_base or 0) * CLOCK_HZ
    units: list[AccessUnit] = []
    held: dict[int, bytes] = {}
    for packet in container.demux(stream):
        for part in annexb.filter(packet) if packet.size else ():
            # a NAL unit never ends in a zero byte, so what stands there belongs to the next start code
            nals = tuple(filter(None, (nal.rstrip(b"\x00") for nal in bytes(part).split(START_CODE))))
            held |= {nal[0] & 0x1F: nal for nal in nals if nal[0] & 0x1F in (SPS, PPS)}
            if part.dts is not None and part.pts is not None:
                units.append(AccessUnit(nals, round(part.dts * ticks), round(part.pts * ticks)))
    if not units or SPS not in held or PPS not in held:
        raise FilmRejectedError(f"film {path} holds no picture that can be sent")
    fps = float(stream.average_rate or 25)
    start = units[0].decode_at
    shifted = tuple(AccessUnit(one.nals, one.decode_at - start, one.show_at - start) for one in units)
    return Film(held[SPS], held[PPS], shifted, shifted[-1].decode_at + round(CLOCK_HZ / fps), fps)
