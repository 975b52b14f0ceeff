"""An RTSP server on the loopback, over rendered or recorded films: RTSP 1.0, H.264 in RTP, interleaved over TCP.

    camera of a site ──OPTIONS DESCRIBE SETUP PLAY──▶ RtspServer
                     ◀── $ channel length RTP ──────  (RFC 2326 10.12; RFC 6184; digest, RFC 2617)

Every player gets the film from its first picture, at its own pace, again and again when it loops. The address is
``rtsp://127.0.0.1:PORT/TOKEN/NAME``: the token is made at each start and tells that nobody real is filmed here.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from veilleur_contracts.clock import Clock
from veilleur_simulator.h264 import CLOCK_HZ, IDR, Film, payloads_of
from veilleur_simulator.processes import LOOPBACK
from veilleur_simulator.rtsp_auth import Account, Challenge

REQUEST_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 65_536
PLAYERS_MAX: Final = 32
IDLE_WITHIN_S: Final = 120.0
SEND_WITHIN_S: Final = 10.0
REPORT_EVERY: Final = 5 * CLOCK_HZ
PAYLOAD_TYPE: Final = 96
READY_WITHIN_S: Final = 20.0
NTP_OFFSET_S: Final = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""
METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"
INTERLEAVED: Final = ord("$")

Answer = tuple[str, dict[str, str], str]
"""Status, headers and body."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a player; header names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stream:
    """What is served, and to whom.

    Attributes:
        film: The film.
        path: ``/TOKEN/NAME``.
        account: Who may watch; None: everybody.
        loops: Whether it begins again when it ends.
    """

    film: Film
    path: str
    account: Account | None
    loops: bool


class RtspServer:
    """Serves one stream on the loopback for as long as the block lasts."""

    def __init__(self, stream: Stream, clock: Clock, port: int = 0) -> None:
        self._stream, self._clock, self._wanted = stream, clock, port
        self._players: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, without credentials."""
        return f"rtsp://{LOOPBACK}:{self.port}{self._stream.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._joined, LOOPBACK, self._wanted, limit=REQUEST_BYTES_MAX)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        players = tuple(self._players)
        for writer in tuple(self._players.values()):
            writer.transport.abort()  # each player sees the end of its connection
        await asyncio.gather(*players)
        await self._server.wait_closed()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._players) >= PLAYERS_MAX:
            writer.transport.abort()
            return
        self._players[task] = writer
        try:
            await _Player(self._stream, self._clock, reader, writer).serve()
        except* (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.transport.abort()  # the player went away or speaks no RTSP; the server goes on
        finally:
            del self._players[task]
            writer.close()


class _Player:
    """One connection: answers requests and, once playing, sends the film."""

    def __init__(
        self, stream: Stream, clock: Clock, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._stream, self._clock, self._reader, self._writer = stream, clock, reader, writer
        self._session = secrets.token_hex(8)
        self._challenge = Challenge()
        self._channel: int | None = None
        self._sender = RtpSender(secrets.randbits(32))

    async def serve(self) -> None:
        """Answer until TEARDOWN, the end of the film or of the connection."""
        async with asyncio.TaskGroup() as group:
            film: asyncio.Task[None] | None = None
            while (request := await self._next()) is not None:
                status, headers, body = self._answered(request)
                await self._send(_response(status, request, headers, body))
                if request.method == "TEARDOWN":
                    break
                if request.method == "PLAY" and status.startswith("200") and film is None:
                    film = group.create_task(self._play(), name="rtsp-film")
            if film is not None:
                film.cancel()

    def _answered(self, request: Request) -> Answer:
        """Decide the answer: status, headers and body."""
        if request.method == "OPTIONS":
            return "200 OK", {"Public": METHODS}, ""
        path = "/" + request.url.split("://", 1)[-1].partition("/")[2]
        if path.rstrip("/") not in {self._stream.path, f"{self._stream.path}/track1"}:
            return "404 Not Found", {}, ""
        account = self._stream.account
        if account is not None and not self._challenge.is_met(account, request.method, request.headers):
            return "401 Unauthorized", {"WWW-Authenticate": self._challenge.text}, ""
        return self._granted(request)

    def _granted(self, request: Request) -> Answer:
        """Answer somebody who may watch."""
        match request.method:
            case "DESCRIBE":
                base = request.url.rstrip("/") + "/"
                return "200 OK", {"Content-Type": "application/sdp", "Content-Base": base}, self._description()
            case "SETUP":
                return self._set_up(request.headers.get("transport", ""))
            case "PLAY" if self._channel is None:
                return "455 Method Not Valid in This State", {}, ""
            case "PLAY" | "GET_PARAMETER" | "TEARDOWN":
                return "200 OK", {"Session": self._session}, ""
        return "501 Not Implemented", {"Public": METHODS}, ""

    def _set_up(self, transport: str) -> Answer:
        parts = dict(part.strip().partition("=")[::2] for part in transport.split(";"))
        channels = parts.get("interleaved", "0-1").split("-")[0]
        if "RTP/AVP/TCP" not in parts or not channels.isdigit() or int(channels) > 254:  # noqa: PLR2004 - one byte, and the next
            return "461 Unsupported Transport", {}, ""
        self._channel = int(channels)
        agreed = f"RTP/AVP/TCP;unicast;interleaved={self._channel}-{self._channel + 1}"
        return "200 OK", {"Transport": agreed, "Session": f"{self._session};timeout=60"}, ""

    def _description(self) -> str:
        film = self._stream.film
        lines = (
            "v=0",
            f"o=- {int(self._session[:8], 16)} 1 IN IP4 {LOOPBACK}",
            "s=veilleur-simulator",
            f"c=IN IP4 {LOOPBACK}",
            "t=0 0",
            "a=control:*",
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
            f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
            f"a=fmtp:{PAYLOAD_TYPE} {film.sdp_of_format()}",
            f"a=framerate:{film.fps:g}",
            "a=control:track1",
        )
        return "\r\n".join(lines) + "\r\n"

    async def _next(self) -> Request | None:
        """Read one request; what the player says on the interleaved channels (RTCP) is passed over."""
        async with asyncio.timeout(IDLE_WITHIN_S):
            while True:
                first = await self._reader.read(1)
                if not first:
                    return None
                if first[0] != INTERLEAVED:
                    break
                head = await self._reader.readexactly(3)
                await self._reader.readexactly(int.from_bytes(head[1:], "big"))
            text = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("ascii", "replace")
            request = _request_of(text)
            length = request.headers.get("content-length", "0")
            if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                raise ValueError("a request body of no sensible length")
            await self._reader.readexactly(int(length))
        return request

    async def _play(self) -> None:
        """Send the film at its own pace, and hang up when it is over."""
        started_s, shift, reported = self._clock.elapsed_s(), 0, -REPORT_EVERY
        film, channel = self._stream.film, self._channel or 0
        while True:
            for unit in film.units:
                late_s = started_s + (shift + unit.decode_at) / CLOCK_HZ - self._clock.elapsed_s()
                if late_s > 0:
                    await asyncio.sleep(late_s)
                nals = unit.nals
                if nals[-1][0] & 0x1F == IDR and not any(nal == film.sps for nal in nals):
                    nals = (film.sps, film.pps, *nals)
                if shift + unit.decode_at - reported >= REPORT_EVERY:
                    reported = shift + unit.decode_at
                    report = self._sender.report(self._clock.now_ms(), shift + unit.show_at)
                    await self._send(_framed(channel + 1, report))
                packets = self._sender.packets(nals, shift + unit.show_at)
                await self._send(b"".join(_framed(channel, packet) for packet in packets))
            shift += film.length
            if not self._stream.loops:
                self._writer.close()
                return

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(SEND_WITHIN_S):
            await self._writer.drain()


class RtpSender:
    """Numbers RTP packets of one source (RFC 3550) and reports on them."""

    def __init__(self, source: int) -> None:
        self._source = source.to_bytes(4, "big")
        self._number = secrets.randbits(16)
        self._offset = secrets.randbits(32)
        self._packets = self._octets = 0

    def packets(self, nals: tuple[bytes, ...], show_at: int) -> Iterator[bytes]:
        """Return the packets of one picture; the last one bears the marker."""
        payloads = [payload for nal in nals for payload in payloads_of(nal)]
        stamp = ((self._offset + show_at) & 0xFFFF_FFFF).to_bytes(4, "big")
        for index, payload in enumerate(payloads):
            marked = PAYLOAD_TYPE | (0x80 if index + 1 == len(payloads) else 0)
            self._number = (self._number + 1) & 0xFFFF
            self._packets, self._octets = self._packets + 1, self._octets + len(payload)
            yield bytes((0x80, marked)) + self._number.to_bytes(2, "big") + stamp + self._source + payload

    def report(self, now_ms: int, show_at: int) -> bytes:
        """Return a sender report (RTCP): which wall-clock time the picture's time stamp stands for."""
        seconds, rest_ms = divmod(now_ms, 1000)
        ntp = ((seconds + NTP_OFFSET_S) << 32) + (rest_ms << 32) // 1000
        body = self._source + (ntp & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "big")
        body += ((self._offset + show_at) & 0xFFFF_FFFF).to_bytes(4, "big")
        body += (self._packets & 0xFFFF_FFFF).to_bytes(4, "big") + (self._octets & 0xFFFF_FFFF).to_bytes(4, "big")
        return b"\x80\xc8" + (len(body) // 4).to_bytes(2, "big") + body


def _framed(channel: int, packet: bytes) -> bytes:
    return bytes((INTERLEAVED, channel)) + len(packet).to_bytes(2, "big") + packet


def _request_of(text: str) -> Request:
    """Read the request line and the headers.

    Raises:
        ValueError: It is no RTSP request.
    """
    first, *rest = text.strip("\r\n").split("\r\n")
    method, url, version = first.split(" ")
    if not version.startswith("RTSP/1."):
        raise ValueError("no RTSP request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Request(method, url, headers)


def _response(status: str, request: Request, headers: Mapping[str, str], body: str) -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', '0')}", "Server: veilleur-simulator"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii")
