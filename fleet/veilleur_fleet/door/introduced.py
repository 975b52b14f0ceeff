"""Tell the door's routes whose certificate a connection came with; uvicorn does not.

TLS handshake ──▶ connection_made ──▶ scope["extensions"]["tls"]["client_cert_chain"], as the ASGI TLS extension has it
"""

import asyncio
import ssl
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from veilleur_fleet.prompt import PromptProtocol

CONNECTION_S: Final = 300.0


class IntroducingProtocol(PromptProtocol):
    """HTTP/1.1 that knows who came, and lets nobody stay for long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Look at the certificate, once for the connection."""
        super().connection_made(transport)
        session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        der = None if session is None else session.getpeercert(binary_form=True)
        chain = [] if der is None else [ssl.DER_cert_to_PEM_cert(der)]
        self.app: Any = _Introduced(self.app, chain)
        self._ending = self.loop.call_later(CONNECTION_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget when it was to end."""
        self._ending.cancel()
        super().connection_lost(exc)


class _Introduced:
    """An application whose every question carries the certificate of its connection."""

    def __init__(self, app: ASGIApp, chain: list[str]) -> None:
        self._app = app
        self._chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the question on."""
        extensions = {**scope.get("extensions", {}), "tls": {"client_cert_chain": self._chain}}
        await self._app({**scope, "extensions": extensions}, receive, send)
