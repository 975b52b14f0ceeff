"""Start a PostgreSQL server of our own, on a socket in a temporary folder and nowhere else; and kill and revive it.

PostgresServer.start ─▶ initdb, postgres -k FOLDER      .kill ─▶ as a power cut, and .start again: same data

PostgreSQL refuses to run as root, so root starts it as the account that Debian's package makes for it, or as nobody.
"""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from veilleur_simulator.errors import PartFailedError, PostgresUnavailableError
from veilleur_simulator.processes import Child, wait_until

READY_WITHIN_S: Final = 60.0
INIT_WITHIN_S: Final = 120
STOP_WITHIN_S: Final = 20.0
PLACES: Final = Path("/usr/lib/postgresql")
USER: Final = "veilleur"
PORT: Final = 5432
"""Of the socket's name alone: nothing listens on the network."""


class PostgresServer:
    """One server, whose folder goes when it is removed.

    Args:
        durable: Whether a commit waits for the disk; without, tests are faster and a power cut may cost data.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._programs = programs_folder()
        if self._programs is None:
            raise PostgresUnavailableError("PostgreSQL is not installed; `apt-get install postgresql` brings it")
        self._account = _account()
        self._durable = durable
        # Short, and not below a folder of root's: a socket's path is at most 107 bytes, and its owner must reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="veilleur-pg-", dir="/tmp"))
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._child: Child | None = None

    def url(self, name: str = "postgres") -> str:
        """Return the address of its database ``name``."""
        return f"postgresql://{USER}@/{name}?host={self.folder}&port={PORT}"

    def start(self) -> None:
        """Make its files when there are none yet, start it, and wait until it answers.

        Raises:
            PostgresUnavailableError: It did not come up.
        """
        data = self.folder / "data"
        if not data.exists():
            self._run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "100"}
        if not self._durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*self._as_account(), str(self._program("postgres")), "-D", str(data), "-p", str(PORT), *settings]
        child = Child("PostgreSQL", command, self.folder / "server.log", folder=Path("/"))
        try:
            wait_until(lambda: child.exit_code is not None or self._answers(), READY_WITHIN_S, "PostgreSQL's answer")
            child.check()
        except PartFailedError as error:
            child.kill()
            raise PostgresUnavailableError(child.told(str(error))) from None
        self._child = child

    def kill(self) -> None:
        """End it as a power cut would; its sessions end when they notice."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def remove(self) -> None:
        """Stop it and delete its folder."""
        if self._child is not None:
            self._child.interrupt()  # its "fast" shutdown: sessions are cut off
            with contextlib.suppress(PartFailedError):  # then by force
                self._child.wait(STOP_WITHIN_S)
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _program(self, name: str) -> Path:
        return (self._programs or Path()) / name

    def _as_account(self) -> list[str]:
        """Return what changes to the account and has the kernel end the server when this process is killed."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise PostgresUnavailableError("setpriv of util-linux is not here, and PostgreSQL must not run as root")
        account = []
        if self._account is not None:
            account = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"]
        return [setpriv, "--pdeathsig", "QUIT", *account, "--"]

    def _run(self, name: str, *arguments: str | Path) -> None:
        command = [*self._as_account(), str(self._program(name)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False, cwd="/", timeout=INIT_WITHIN_S, text=True)
        if done.returncode:
            raise PostgresUnavailableError(f"{name} failed: {done.stderr.strip()[-500:]}")

    def _answers(self) -> bool:
        command = [str(self._program("pg_isready")), "-q", "-h", str(self.folder), "-p", str(PORT)]
        return subprocess.run(command, check=False, timeout=READY_WITHIN_S).returncode == 0


@contextlib.contextmanager
def postgresql_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server for as long as the block lasts.

    Raises:
        PostgresUnavailableError: It is not installed, or did not come up.
    """
    server = PostgresServer(durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def programs_folder() -> Path | None:
    """Return where PostgreSQL's programs are, the newest version's; None when it is not installed."""
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return None if elsewhere is None else Path(elsewhere).resolve().parent


def _account() -> pwd.struct_passwd | None:
    """Return whom root lets the server run as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")
