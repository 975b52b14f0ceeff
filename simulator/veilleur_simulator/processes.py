"""Start a part as a process of its own, wait until it is ready, end it and nothing else.

    Child ── stdout: one line "ready" ──▶ whoever started it      its log: a file; its last lines are shown on failure
          ◀─ stdin: closed when the parent goes, however it goes

Every child leads a process group of its own, so that ending it ends what it started, and only that. Start children from
the main thread: a tied child ends with the thread that started it.
"""

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

from veilleur_simulator.errors import PartFailedError

STOP_WITHIN_S: Final = 10.0
TAIL_LINES: Final = 12
TAIL_BYTES: Final = 16_384
LINE_BYTES_MAX: Final = 4096
LOOPBACK: Final = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port of the loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Tell whether ``port`` of the loopback can be listened on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wait_until(ready: Callable[[], bool], within_s: float, what: str, every_s: float = 0.02) -> None:
    """Look again and again until ``ready``.

    Raises:
        PartFailedError: It was not within ``within_s``; the sentence names ``what``.
    """
    deadline_s = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline_s:
            raise PartFailedError(f"{what} did not happen within {within_s:g} s")
        time.sleep(every_s)


class Child:
    """A process that was started here, with its log in a file.

    Args:
        name: What errors call it.
        command: The program and its arguments.
        log: Where its stderr (and its stdout, unless ``speaks``) goes; None: to the stderr of this process.
        speaks: Whether its stdout is a pipe to be read with ``line``.
        environment: Variables beside those of this process.
        folder: Where it runs; None: here.

    Raises:
        PartFailedError: There is no such program.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path | None,
        *,
        speaks: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._output: IO[bytes] | None = None
        with contextlib.ExitStack() as stack:
            sink = sys.stderr.fileno() if log is None else stack.enter_context(log.open("ab"))
            try:
                self._process = subprocess.Popen(
                    [*tie(), *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if speaks else sink,
                    stderr=sink,
                    env={**os.environ, **(environment or {})},  # noqa: TID251 - handed on whole, nothing is read here
                    cwd=folder,
                    start_new_session=True,
                )
            except OSError as error:
                raise PartFailedError(f"{name} cannot be started: {error.strerror}") from None
        self._output = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with (minus the signal's number when one ended it); None while it runs."""
        if self._process.returncode is not None:
            return self._process.returncode
        # not reaped here: as long as it is not, its id names its group and nobody else's
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def line(self, within_s: float) -> str:
        """Read the one line it says when it is ready.

        Raises:
            PartFailedError: It ended, or said nothing in time.
        """
        if self._output is None:
            raise PartFailedError(f"{self.name} was not started to speak")
        said = b""
        deadline_s = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while not said.endswith(b"\n") and len(said) < LINE_BYTES_MAX:
                if not selector.select(deadline_s - time.monotonic()):
                    raise PartFailedError(self.told(f"{self.name} was not ready within {within_s:g} s"))
                byte = os.read(self._output.fileno(), 1)
                if not byte:
                    raise PartFailedError(self.told(f"{self.name} ended before it was ready"))
                said += byte
        return said.decode("utf-8", "replace").strip()

    def check(self) -> None:
        """Raise ``PartFailedError`` with the last lines of the log if it has ended."""
        if self.exit_code is not None:
            raise PartFailedError(self.told(f"{self.name} ended with exit code {self.exit_code}"))

    def told(self, sentence: str) -> str:
        """Return ``sentence`` with the last lines of the log under it."""
        tail = "" if self.log is None else tail_of(self.log)
        return f"{sentence}; its last lines:\n{tail}" if tail else sentence

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL to its group)."""
        self._end_group()

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C would, and do not wait."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGINT)

    def stop(self, within_s: float = STOP_WITHIN_S) -> int:
        """Ask it to end, wait, then end whatever is left of its group by force; return its exit code."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(PartFailedError):  # then by force
            self.wait(within_s)
        return self._end_group()

    def wait(self, within_s: float) -> int:
        """Wait until it ends by itself, and return its exit code.

        Raises:
            PartFailedError: It did not in time.
        """
        wait_until(lambda: self.exit_code is not None, within_s, f"the end of {self.name}")
        return self.exit_code or 0

    def _end_group(self) -> int:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it is gone, which is what was wanted
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self._close()
        return self._process.returncode

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._output):
            if pipe is not None:
                pipe.close()


def tie() -> list[str]:
    """Return what makes the kernel end a child when this process is killed, where util-linux is there to ask for it."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def program_command(program: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our programs: the one installed beside this interpreter.

    Raises:
        PartFailedError: It is not installed.
    """
    found = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    if found is None:
        raise PartFailedError(f"{program} is not installed; run `make setup`")
    return [found, *arguments]


def tail_of(log: Path) -> str:
    """Return the last lines of ``log``, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line[:400]}" for line in lines[-TAIL_LINES:])
