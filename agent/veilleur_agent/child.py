"""How a child of box begins and how it ends: hardened first, told by box alone, and never with a message of its own.

box ──python -P -m veilleur_agent.eye CONTROL LINK──▶ settle_in ▶ first_message ▶ confine ▶ work ▶ 0
                                                      └── a bug: child.crashed(error, module, line) ▶ 1
"""

import ctypes
import re
import resource
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.process import apply
from veilleur_agent.confine.profiles import Confinement
from veilleur_agent.confine.report import demand, report_of
from veilleur_agent.control import Confined, ControlClosedError, ControlEnd, Refused, RefusedReason
from veilleur_agent.events import Tell
from veilleur_agent.starts import Reach

EXIT_BUG: Final = 1
EXIT_REFUSED: Final = 2
START_WITHIN_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4

_T = TypeVar("_T")


def settle_in() -> None:
    """Leave no trace in a crash, do not outlive box, and leave signals to it.

    A SIGINT from a terminal and a SIGTERM from a service manager reach the whole group; box alone decides what ends
    when. Ends with box through ``PR_SET_PDEATHSIG``, prctl(2).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def sockets_of(arguments: list[str]) -> tuple[ControlEnd, socket.socket]:
    """Return the control end and the link that box handed over by number."""
    control, link = (socket.socket(fileno=int(number)) for number in arguments[1:3])
    link.settimeout(0)
    control.set_inheritable(False)
    link.set_inheritable(False)
    return ControlEnd(control), link


def confine(confinement: Confinement, process: str, reach: Reach, control: ControlEnd, tell: Tell) -> bool:
    """Give up every right that ``confinement`` does not name, try what must fail, and tell box what came of it.

    Nothing is loaded before this that starts a thread; see ``veilleur_agent.confine``.

    Returns:
        Whether to go on.
    """
    try:
        measured = apply(confinement)
        report = report_of(measured, confinement)
        control.say(Confined(report))
        tell(
            "child.confined",
            landlock=report.landlock_version,
            filter=report.filter_instructions,
            trials=len(report.trials),
            breaches=len(report.breaches),
        )
        demand(report, process, allow_unconfined=reach.allow_unconfined)
    except (ConfinementError, OSError):
        control.say(Refused(RefusedReason.CONFINEMENT, None))
        return False
    return True


def first_message(control: ControlEnd, hear: Callable[[], _T | None]) -> _T:
    """Wait for what box says first.

    Raises:
        ControlClosedError: It says nothing, or is gone.
    """
    readable, _, _ = select.select([control], [], [], START_WITHIN_S)
    message = hear() if readable else None
    if message is None:
        raise ControlClosedError("box said nothing")
    return message


def run_guarded(work: Callable[[], int], tell: Tell) -> int:
    """Run ``work``; a bug is told by its kind and place alone, because its message may hold anything.

    Returns:
        The exit code.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the one place where a bug ends, instead of a traceback nobody may see
        root = root_of(error)
        if isinstance(root, ControlClosedError):
            return EXIT_BUG  # box is gone, so there is nobody to tell
        module, line = _place_of(root)
        tell("child.crashed", error=slug_of(type(root).__name__), module=slug_of(module), line=line)
        return EXIT_BUG


def root_of(error: BaseException) -> BaseException:
    """Return the first error in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def slug_of(name: str) -> str:
    """Return a name of the program as an id."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-") or "unknown"


def _place_of(error: BaseException) -> tuple[str, int]:
    """Return where in our own code ``error`` passed last: module and line."""
    module, line = "unknown", 0
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if f"{Path(__file__).parent}" in code.co_filename:
            module, line = Path(code.co_filename).stem, trace.tb_lineno
        trace = trace.tb_next
    return module, line
