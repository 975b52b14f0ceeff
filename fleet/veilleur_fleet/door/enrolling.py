"""Give boxes their certificates at the door.

box ──GET /v1/ca─────▶ whose fleet this is      nobody is asked who he is
box ──POST /v1/enrol─▶ token, request ──▶ certificate   the token says who
box ──POST /v1/renew─▶ request ──▶ certificate          the certificate of the connection says who
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from veilleur_contracts.clock import Clock
from veilleur_contracts.enrolment import (
    BODY_BYTES_MAX,
    CA_PATH,
    ENROL_PATH,
    RENEW_PATH,
    EnrolRequest,
    Issued,
    Refusal,
    Refused,
    RenewRequest,
)
from veilleur_contracts.rights import Holder
from veilleur_fleet.door.admitting import serial_of
from veilleur_fleet.errors import EnrolmentRefusedError
from veilleur_fleet.pki.register import Certified
from veilleur_fleet.pki.service import Pki

BODY_WITHIN_S: Final = 10.0
ASKED_A_MINUTE: Final = 30
"""By one address, enrolments and renewals together; a token has 128 random bits, so this only spares the fleet work."""
ADDRESSES_MAX: Final = 4096
_STATUS: Final = {
    Refusal.MALFORMED: 400,
    Refusal.CSR: 400,
    Refusal.TOKEN_UNKNOWN: 403,
    Refusal.TOKEN_USED: 403,
    Refusal.TOKEN_EXPIRED: 403,
    Refusal.REVOKED: 403,
    Refusal.UNKNOWN_CERTIFICATE: 403,
    Refusal.TOO_MANY: 429,
    Refusal.UNAVAILABLE: 503,
}

_T = TypeVar("_T", EnrolRequest, RenewRequest)


class Turnstile:
    """Counts who asked in this minute; bounded, and forgets everybody when the minute is over.

    Args:
        clock: Tells the minutes.
        at_most: How often one address may ask.
    """

    def __init__(self, clock: Clock, at_most: int = ASKED_A_MINUTE) -> None:
        self._clock = clock
        self._at_most = at_most
        self._minute = -1
        self._asked: dict[str, int] = {}

    def lets(self, address: str) -> bool:
        """Tell whether ``address`` may ask once more."""
        minute = int(self._clock.elapsed_s() // 60)
        if minute != self._minute:
            self._minute, self._asked = minute, {}
        count = self._asked.get(address, 0)
        if count >= self._at_most or (not count and len(self._asked) >= ADDRESSES_MAX):
            return False
        self._asked[address] = count + 1
        return True


def enrolment_routes(pki: Pki, broker: str, clock: Clock) -> list[BaseRoute]:
    """Return the addresses at which certificates are given.

    Args:
        pki: Issues them.
        broker: Where boxes are to speak, ``mqtts://host:port``.
        clock: For the turnstile.
    """
    turnstile = Turnstile(clock)
    log = structlog.get_logger()

    async def authority(_: Request) -> Response:
        return PlainTextResponse(pki.authority.pem)

    async def issue(request: Request, event: str, work: Callable[[], tuple[Holder, Certified]]) -> Response:
        try:
            holder, made = await asyncio.to_thread(work)
        except EnrolmentRefusedError as error:
            log.warning("enrolment.refused", reason=error.reason.value, address=_address_of(request))
            return _refusal(error.reason)
        except sa.exc.SQLAlchemyError:
            return _refusal(Refusal.UNAVAILABLE)
        log.info(event, box=holder.name, controller=holder.controller)
        issued = Issued(made.pem, pki.authority.pem, holder.name, holder.controller or "", broker)
        return Response(msgspec.json.encode(issued), media_type="application/json")

    async def enrol(request: Request) -> Response:
        try:
            asked = await _body_of(request, EnrolRequest, turnstile)
        except EnrolmentRefusedError as error:
            return _refusal(error.reason)
        return await issue(request, "box.enrolled", lambda: pki.enrol(asked.token, asked.csr))

    async def renew(request: Request) -> Response:
        serial = serial_of(request.scope)
        try:
            asked = await _body_of(request, RenewRequest, turnstile)
        except EnrolmentRefusedError as error:
            return _refusal(error.reason)
        return await issue(request, "box.renewed", lambda: pki.renew(serial or "", asked.csr))

    return [
        Route(CA_PATH, authority, methods=["GET"]),
        Route(ENROL_PATH, enrol, methods=["POST"]),
        Route(RENEW_PATH, renew, methods=["POST"]),
    ]


async def _body_of(request: Request, kind: type[_T], turnstile: Turnstile) -> _T:
    """Read the body: short, in time, and of that kind."""
    if not turnstile.lets(_address_of(request)):
        raise EnrolmentRefusedError(Refusal.TOO_MANY)
    data = b""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > BODY_BYTES_MAX:
                    raise HTTPException(413, "a request for a certificate is shorter than this")
        return msgspec.json.decode(data, type=kind)
    except TimeoutError:
        raise HTTPException(408, "the request did not come in time") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ClientDisconnect):
        raise EnrolmentRefusedError(Refusal.MALFORMED) from None


def _refusal(reason: Refusal) -> Response:
    return Response(msgspec.json.encode(Refused(reason)), _STATUS[reason], media_type="application/json")


def _address_of(request: Request) -> str:
    return "unknown" if request.client is None else request.client.host
