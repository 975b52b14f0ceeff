"""Serve the page and the door: uvicorn, bound before anything is begun, ended when ``Fleet`` says so."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from veilleur_fleet.door.introduced import IntroducingProtocol
from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.prompt import PromptProtocol
from veilleur_fleet.settings import ListenAddress

BACKLOG: Final = 128
FAREWELL_S: Final = 3
CONNECTIONS_MAX: Final = 512
"""Twice those who may follow live, and far below the files that a process may have open."""


class Server(uvicorn.Server):
    """uvicorn, but for signals: ``Fleet`` decides when to stop, and in which order.

    Args:
        app: What is served.
        ready: Called when it is.
        farewell: Called first when it ends, to let go of those who would stay for ever.
        limit: How many connections at a time; more are answered 503.
        tls: The server's certificate, and whose clients' it checks; None: plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        ready: Callable[[], None],
        farewell: Callable[[], None] = lambda: None,
        limit: int = CONNECTIONS_MAX,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=FAREWELL_S,
            h11_max_incomplete_event_size=16_384,
            limit_concurrency=limit,
            http=PromptProtocol if tls is None else IntroducingProtocol,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        super().__init__(config)
        self._ready = ready
        self._farewell = farewell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def end(self) -> None:
        """Let those who would stay go, and stop serving."""
        self._farewell()
        self.should_exit = True


def listen(address: ListenAddress, option: str) -> socket.socket:
    """Bind an address before anything else is begun.

    Args:
        address: Which.
        option: What it is given with, for the error: ``--listen``.

    Raises:
        SettingsRejectedError: It cannot be bound.
    """
    try:
        return socket.create_server((address.host, address.port), backlog=BACKLOG, family=_family_of(address.host))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"cannot listen on {address.host}:{address.port}: {reason}; give another address with {option}"
        raise SettingsRejectedError(message) from None


def url_of(listening: socket.socket, root: str = "", scheme: str = "http") -> str:
    """Return the address as a browser on this machine writes it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{root}/"


def _family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
