"""The RTSP server as a process of its own: started by a command, its address on the first line of stdout.

    rtsp_in(...) ─▶ veilleur-simulator rtsp FILM ─▶ {"url": "rtsp://127.0.0.1:PORT/TOKEN/NAME"}

The password comes in through the environment of the process, never on a command line that everybody can read.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from veilleur_contracts.clock import SystemClock
from veilleur_simulator.errors import RtspUnavailableError
from veilleur_simulator.h264 import Film
from veilleur_simulator.lifeline import end_of_life
from veilleur_simulator.processes import Child, module_command
from veilleur_simulator.rtsp import RtspServer, Stream
from veilleur_simulator.rtsp_auth import Account

READY_WITHIN_S: Final = 30.0
PASSWORD_VARIABLE: Final = "VEILLEUR_SIMULATOR_RTSP_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Served:
    """A stream that is being served.

    Attributes:
        url: Its address, without credentials.
        port: The port in it.
        token: The one-time token in it.
        child: The process that serves it.
    """

    url: str
    port: int
    token: str
    child: Child


async def serve(
    film: Film, name: str, account: Account | None, *, loops: bool, port: int, tell: Callable[[str], None]
) -> None:
    """Serve ``film`` until this process should end; ``tell`` is handed the address as one JSON line."""
    token = secrets.token_hex(16)
    over = end_of_life()
    try:
        async with RtspServer(Stream(film, f"/{token}/{name}", account, loops), SystemClock(), port) as server:
            tell(msgspec.json.encode({"url": server.url, "port": server.port, "token": token}).decode())
            await over.wait()
    except OSError as error:
        raise RtspUnavailableError(f"cannot serve at port {port}: {error.strerror}; give another --port") from None


@contextlib.contextmanager
def rtsp_in(
    directory: Path,
    film: Path,
    name: str = "street",
    *,
    account: Account | None = None,
    loops: bool = True,
    port: int = 0,
) -> Iterator[Served]:
    """Serve ``film`` from a process of its own for as long as the block lasts.

    Raises:
        PartFailedError: It did not come up.
    """
    command = module_command("veilleur_simulator", "rtsp", str(film), "--name", name, "--port", str(port))
    command += [] if loops else ["--once"]
    environment = {}
    if account is not None:
        command += ["--user", account.user]
        environment = {PASSWORD_VARIABLE: account.password}
    with Child("the RTSP server", command, directory / "rtsp.log", speaks=True, environment=environment) as child:
        said = msgspec.json.decode(child.line(READY_WITHIN_S), type=dict[str, str | int])
        yield Served(str(said["url"]), int(said["port"]), str(said["token"]), child)
