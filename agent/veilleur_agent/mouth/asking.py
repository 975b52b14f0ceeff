"""Ask the fleet's door for certificates: a short question, a short answer, with limits of bytes and of time."""

import asyncio
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from veilleur_agent.mouth.errors import DoorRefusedError, DoorUnreachableError, DoorUntrustedError, Untrusted
from veilleur_contracts.enrolment import (
    ANSWER_BYTES_MAX,
    CA_PATH,
    ENROL_PATH,
    RENEW_PATH,
    EnrolRequest,
    Issued,
    Refusal,
    Refused,
    RenewRequest,
)

ANSWER_WITHIN_S: Final = 30.0
PART_WITHIN_S: Final = 10.0
_OK: Final = 200
_WHY: Final = {9: Untrusted.CLOCK_BEHIND, 10: Untrusted.CLOCK_AHEAD, 62: Untrusted.NAME, 64: Untrusted.NAME}
"""OpenSSL: not yet valid, has expired, hostname and address mismatch; anything else: another authority."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came.

    Attributes:
        status: Of HTTP.
        body: At most ``ANSWER_BYTES_MAX``.
        at_s: When the door says it is, UTC seconds; None: it does not say.
    """

    status: int
    body: bytes
    at_s: float | None


class Doorbell:
    """Asks at one door.

    Args:
        host: The door's, as a person wrote it.
        port: Its port.
        context: Whom to believe, and what to show.
        address: Where that is; None: the name is looked up.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, address: str | None = None) -> None:
        self._host = f"[{host}]" if ":" in host else host
        where = address or host
        self._base = f"https://{f'[{where}]' if ':' in where else where}:{port}"
        self._port = port
        self._context = context

    async def authority(self) -> Answer:
        """Ask whose fleet this is; raises as ``renew``."""
        return await self._ask("GET", CA_PATH, None)

    async def enrol(self, token: str, csr: str) -> Issued:
        """Exchange a token for the first certificate; raises as ``renew``."""
        return issued_in(await self._ask("POST", ENROL_PATH, msgspec.json.encode(EnrolRequest(token, csr))))

    async def renew(self, csr: str) -> Issued:
        """Ask for the next certificate.

        Raises:
            DoorRefusedError: The fleet says no, and why.
            DoorUnreachableError: Nobody answers, or not in full.
            DoorUntrustedError: Who answers is not the fleet this box believes.
        """
        return issued_in(await self._ask("POST", RENEW_PATH, msgspec.json.encode(RenewRequest(csr))))

    async def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        try:
            async with (
                asyncio.timeout(ANSWER_WITHIN_S),
                httpx.AsyncClient(
                    verify=self._context,
                    timeout=PART_WITHIN_S,
                    trust_env=False,
                    headers={"Host": f"{self._host}:{self._port}", "Accept-Encoding": "identity"},
                ) as client,
                client.stream(method, self._base + path, content=body) as answer,
            ):
                got = bytearray()
                async for chunk in answer.aiter_raw():
                    got += chunk
                    if len(got) > ANSWER_BYTES_MAX:
                        raise DoorUnreachableError("the fleet's answer is too long")
                return Answer(answer.status_code, bytes(got), _time_of(answer.headers.get("date", "")))
        except (httpx.HTTPError, OSError) as error:  # TimeoutError is one
            refused = _verification_of(error)
            if refused is not None:
                raise DoorUntrustedError(_WHY.get(refused.verify_code, Untrusted.AUTHORITY)) from None
            raise DoorUnreachableError(
                f"nobody answers at {self._base}: check the address, the network, and that the fleet runs"
            ) from None


def issued_in(answer: Answer) -> Issued:
    """Return the certificate in an answer.

    Raises:
        DoorRefusedError: There is none, and why.
    """
    try:
        if answer.status == _OK:
            return msgspec.json.decode(answer.body, type=Issued)
        reason = msgspec.json.decode(answer.body, type=Refused).reason
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reason = {401: Refusal.UNKNOWN_CERTIFICATE, 403: Refusal.REVOKED}.get(answer.status, Refusal.UNAVAILABLE)
    raise DoorRefusedError(reason)


def _verification_of(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _time_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
