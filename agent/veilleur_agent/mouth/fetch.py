"""Ask the fleet's door: one question at a time, each with a limit of bytes and of time, at an address box looked up.

A document that broke off is asked for from there on. Nothing that comes is believed but its length: whoever asked
compares the hash.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from veilleur_agent.mouth.errors import CertificateRejectedError, FetchFailedError
from veilleur_contracts.messages import TWIN_BYTES_MAX, FetchFault, Pointer

ANSWER_WITHIN_S: Final = 60.0
"""For a whole answer, however slowly it comes."""
PART_WITHIN_S: Final = 15.0
ETAG_CHARACTERS_MAX: Final = 64
_OK: Final = 200
_PARTIAL: Final = 206
_NOT_CHANGED: Final = 304
_NOT_FOUND: Final = 404
_BEYOND: Final = 416


@dataclass(frozen=True, slots=True)
class Door:
    """Where the fleet hands out documents.

    Attributes:
        scheme: ``http`` or ``https``.
        host: As a person wrote it; for the head of each question.
        port: TCP port.
    """

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, seconds: for a whole answer, and for any part of it."""

    answer_s: float = ANSWER_WITHIN_S
    part_s: float = PART_WITHIN_S


class Fetcher:
    """Asks the door. Holds the beginning of one document that broke off.

    Args:
        door: Where it is.
        limits: Of time.
        tls: Makes what to connect with over ``https``, anew for each question; None: nobody is believed.
    """

    def __init__(
        self, door: Door, limits: Limits | None = None, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        self._tls = tls or _trusting_nobody
        self._door = door
        self._limits = limits or Limits()
        self._addresses: tuple[str, ...] = ()
        self._turn = 0
        self._begun: tuple[str, bytearray] = ("", bytearray())

    def lead_to(self, addresses: tuple[str, ...]) -> None:
        """Take note of where the door is, from the next question on."""
        self._addresses = addresses

    async def document(self, pointer: Pointer) -> bytes:
        """Fetch a document, from where it broke off.

        Raises:
            FetchFailedError: It cannot be had now; its hash is for the caller to compare.
        """
        sha256, got = self._begun
        if sha256 != pointer.sha256:
            got = bytearray()
        self._begun = (pointer.sha256, got)
        headers = {"Range": f"bytes={len(got)}-", "If-Range": f'"{pointer.sha256}"'} if got else {}
        async with self._asked(f"/v1/documents/{pointer.sha256}", headers) as answer:
            if answer.status_code != _PARTIAL:
                got.clear()
            elif not answer.headers.get("content-range", "").startswith(f"bytes {len(got)}-"):
                got.clear()
                raise FetchFailedError(FetchFault.REFUSED)
            if answer.status_code not in {_OK, _PARTIAL}:
                raise FetchFailedError(_fault_of(answer.status_code))
            await _read(answer, got, pointer.size_bytes)
        if len(got) < pointer.size_bytes:
            raise FetchFailedError(FetchFault.CUT_OFF)
        self._begun = ("", bytearray())
        return bytes(got)

    async def twin(self, box: str, etag: str | None) -> tuple[bytes, str | None] | None:
        """Ask what ``box`` should hold; None when that is what it was under ``etag``.

        Raises:
            FetchFailedError: It cannot be had now.
        """
        headers = {} if etag is None else {"If-None-Match": etag}
        async with self._asked(f"/v1/boxes/{box}/twin", headers) as answer:
            if answer.status_code == _NOT_CHANGED:
                return None
            if answer.status_code != _OK:
                raise FetchFailedError(_fault_of(answer.status_code))
            got = bytearray()
            await _read(answer, got, TWIN_BYTES_MAX)
            etag = answer.headers.get("etag", "")
            return bytes(got), etag if 0 < len(etag) <= ETAG_CHARACTERS_MAX else None

    def _context(self) -> ssl.SSLContext:
        try:
            return self._tls()
        except CertificateRejectedError:
            raise FetchFailedError(FetchFault.UNREACHABLE) from None

    @asynccontextmanager
    async def _asked(self, path: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """Ask one question and give its answer's head.

        Raises:
            FetchFailedError: Nobody answers, or the answer does not come to its end.
        """
        if not self._addresses:
            raise FetchFailedError(FetchFault.UNREACHABLE)
        address = self._addresses[self._turn % len(self._addresses)]
        host, door = (f"[{one}]" if ":" in one else one for one in (address, self._door.host))
        named = {"Host": f"{door}:{self._door.port}", "Accept-Encoding": "identity", **headers}
        is_answered = False
        try:
            async with (
                asyncio.timeout(self._limits.answer_s),
                httpx.AsyncClient(
                    timeout=self._limits.part_s, trust_env=False, verify=self._context(), headers=named
                ) as client,
                client.stream("GET", f"{self._door.scheme}://{host}:{self._door.port}{path}") as answer,
            ):
                is_answered = True
                yield answer
        except (httpx.HTTPError, httpx.StreamError, OSError):  # TimeoutError is one
            self._turn += 1
            raise FetchFailedError(FetchFault.CUT_OFF if is_answered else FetchFault.UNREACHABLE) from None


def _trusting_nobody() -> ssl.SSLContext:
    """Return what a client without certificates checks others by: there is nobody it would believe."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(answer: httpx.Response, got: bytearray, most: int) -> None:
    """Add the body to ``got``.

    Raises:
        FetchFailedError: It goes on after ``most`` bytes.
    """
    async for chunk in answer.aiter_raw():
        got += chunk
        if len(got) > most:
            got.clear()
            raise FetchFailedError(FetchFault.TOO_LONG)


def _fault_of(status: int) -> FetchFault:
    return FetchFault.NOT_THERE if status == _NOT_FOUND else FetchFault.REFUSED
