"""Let boxes through the door that the fleet knows now, and nobody else; what is open to all is named one by one.

scope["extensions"]["tls"] ─▶ serial ─▶ register: whose, revoked, ended? ─▶ route, with scope["veilleur.holder"]
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from cryptography import x509
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from veilleur_contracts.enrolment import CA_PATH, ENROL_PATH
from veilleur_contracts.rights import Holder, Role
from veilleur_fleet.errors import EnrolmentRefusedError
from veilleur_fleet.pki.authority import serial_text

OPEN: Final = frozenset({CA_PATH, ENROL_PATH})
OF_BOXES: Final = "/v1/boxes/"
"""What comes next is a box's name, and what stands there is for that box alone."""
HOLDER: Final = "veilleur.holder"

WhoHolds = Callable[[str], Holder]
"""Returns who holds the certificate with a serial; raises ``EnrolmentRefusedError``. May wait for the disk."""


class Admitting:
    """Asks who comes, before any route does.

    Args:
        app: The door's routes.
        who_holds: Knows certificates.
    """

    def __init__(self, app: ASGIApp, who_holds: WhoHolds) -> None:
        self._app = app
        self._who_holds = who_holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is open, and whom the register knows."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        refusal = await self._admit(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    async def _admit(self, scope: Scope) -> PlainTextResponse | None:
        serial = serial_of(scope)
        if serial is None:
            return PlainTextResponse("come with a certificate of this fleet\n", 401)
        try:
            holder = await asyncio.to_thread(self._who_holds, serial)
        except EnrolmentRefusedError as error:
            return PlainTextResponse(f"{error}\n", 403)
        except sa.exc.SQLAlchemyError:
            return PlainTextResponse("nobody can be known right now: come again\n", 503)
        if holder.role is not Role.BOX:
            return PlainTextResponse("this door is for boxes\n", 403)
        if scope["path"].startswith(OF_BOXES) and scope["path"].removeprefix(OF_BOXES).split("/")[0] != holder.name:
            return PlainTextResponse("this is another box's\n", 403)
        scope[HOLDER] = holder
        return None


def serial_of(scope: Scope) -> str | None:
    """Return the serial of the certificate that a connection came with, which TLS has verified; None: it had none."""
    tls: dict[str, Any] = scope.get("extensions", {}).get("tls", {})
    chain = tls.get("client_cert_chain", [])
    return serial_text(x509.load_pem_x509_certificate(chain[0].encode())) if chain else None
