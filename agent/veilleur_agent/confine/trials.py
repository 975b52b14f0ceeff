"""Try, inside a confined process, everything it must not be able to do, and what it must; say what happened.

TRIALS ──attempt──▶ Tried(number, outcome, errno) ──▶ report
"""

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from veilleur_agent.confine import attempts
from veilleur_agent.confine.attempts import AbsentError, opener
from veilleur_agent.confine.profiles import Confinement


class Outcome(IntEnum):
    """What became of an attempt."""

    REFUSED = 0
    ALLOWED = 1
    ABSENT = 2
    """The machine has no such thing, or there was nothing to try it on."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt.

    Attributes:
        number: What it is known by for ever; controls, which must be allowed, start at 100.
        what: What is tried, for people.
        attempt: Raises the ``OSError`` it met, ``AbsentError``, or returns when it could.
    """

    number: int
    what: str
    attempt: Callable[[Confinement], None]

    @property
    def is_control(self) -> bool:
        """Tell whether a confined process must be able to do this."""
        return self.number >= FIRST_CONTROL


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of trial ``number``; ``code`` is the ``errno`` it met, 0 when it met none."""

    number: int
    outcome: Outcome
    code: int


FIRST_CONTROL: Final = 100
LISTEN_UNBOUND: Final = 14
PASS_FILES: Final = 15
OPTIONAL: Final = frozenset({LISTEN_UNBOUND, PASS_FILES})
"""Left out for a process that is meant to do it."""

TRIALS: Final = (
    Trial(1, "TCP connection to a port that is not allowed", attempts.connect_elsewhere),
    Trial(2, "Multipath TCP socket", opener(socket.AF_INET, socket.SOCK_STREAM, attempts.IPPROTO_MPTCP)),
    Trial(3, "TCP Fast Open: connecting by sending", attempts.send_fast_open),
    Trial(4, "TCP Fast Open: asking for it", attempts.set_fast_open),
    Trial(5, "UDP socket", opener(socket.AF_INET, socket.SOCK_DGRAM)),
    Trial(6, "UNIX socket", opener(socket.AF_UNIX, socket.SOCK_STREAM)),
    Trial(7, "pair of UNIX sockets", attempts.pair_sockets),
    Trial(8, "VSOCK socket", opener(attempts.AF_VSOCK, socket.SOCK_STREAM)),
    Trial(9, "raw IP socket", opener(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
    Trial(10, "packet socket", opener(socket.AF_PACKET, socket.SOCK_RAW)),
    Trial(11, "netlink socket", opener(socket.AF_NETLINK, socket.SOCK_RAW)),
    Trial(12, "socket of another family", opener(attempts.AF_ALG, socket.SOCK_SEQPACKET)),
    Trial(13, "bind a TCP port that is not given", attempts.bind_port),
    Trial(LISTEN_UNBOUND, "listen without binding", attempts.listen_unbound),
    Trial(PASS_FILES, "pass an open file to another process", attempts.pass_files),
    Trial(16, "io_uring", attempts.set_up_ring),
    Trial(17, "run a program", attempts.execute),
    Trial(18, "start a process", attempts.start_process),
    Trial(19, "trace the parent", attempts.trace_parent),
    Trial(20, "read the parent's memory", attempts.read_parent_memory),
    Trial(21, "read the parent's environment", attempts.read_parent_environment),
    Trial(22, "take an open file of another process", attempts.take_descriptor),
    Trial(23, "signal the parent", attempts.signal_parent),
    Trial(24, "change identity", attempts.change_identity),
    Trial(25, "hold a capability", attempts.hold_capability),
    Trial(26, "gain privileges by running a program", attempts.gain_privileges),
    Trial(27, "System V shared memory", attempts.share_memory),
    Trial(28, "System V semaphore", attempts.share_semaphore),
    Trial(29, "System V message queue", attempts.share_queue),
    Trial(30, "POSIX message queue", attempts.share_named_queue),
    Trial(31, "kernel keyring", attempts.share_key),
    Trial(32, "attribute on a file", attempts.note_on_file),
    Trial(33, "user fault handling", attempts.handle_faults),
    Trial(34, "BPF program", attempts.load_program),
    Trial(35, "performance counter", attempts.watch_events),
    Trial(36, "another namespace", attempts.enter_namespaces),
    Trial(37, "mount", attempts.mount),
    Trial(38, "open /etc/passwd", attempts.open_system_file),
    Trial(39, "open another process's store", attempts.open_others),
    Trial(40, "open the code of a forbidden library", attempts.open_forbidden_library),
    Trial(41, "write in a folder open to all", attempts.write_in_shared_folder),
    Trial(42, "raise the limit on core files", attempts.dump_core),
    Trial(43, "be dumpable", attempts.become_dumpable),
    Trial(100, "TCP connection to an allowed port", attempts.connect_where_allowed),
    Trial(101, "write in its own folders", attempts.write_where_allowed),
    Trial(102, "start a thread", attempts.start_thread),
)
TRIAL_OF: Final = MappingProxyType({trial.number: trial for trial in TRIALS})

_ABSENT: Final = frozenset(
    {errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EOPNOTSUPP}
)


def trials_for(confinement: Confinement) -> tuple[Trial, ...]:
    """Return the trials of one process: what it is meant to do is not among what must be refused."""
    meant = set()
    if confinement.bind_ports:
        meant.add(LISTEN_UNBOUND)
    if confinement.may_pass_messages:
        meant.add(PASS_FILES)
    return tuple(trial for trial in TRIALS if trial.number not in meant)


def try_all(confinement: Confinement) -> tuple[Tried, ...]:
    """Try everything, in order; returns whatever happens."""
    return tuple(_try(trial, confinement) for trial in trials_for(confinement))


def breaches_of(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Return what was not as it must be: a way found open, or what must work found shut."""
    return tuple(one for one in tried if _is_breach(one))


def _is_breach(tried: Tried) -> bool:
    wrong = Outcome.REFUSED if TRIAL_OF[tried.number].is_control else Outcome.ALLOWED
    return tried.outcome is wrong


def _try(trial: Trial, confinement: Confinement) -> Tried:
    try:
        trial.attempt(confinement)
    except AbsentError:
        return Tried(trial.number, Outcome.ABSENT, 0)
    except OSError as error:
        code = error.errno or 0
        if trial.is_control or code in attempts.REFUSALS:
            return Tried(trial.number, Outcome.REFUSED, code)
        return Tried(trial.number, Outcome.ABSENT if code in _ABSENT else Outcome.ALLOWED, code)
    return Tried(trial.number, Outcome.ALLOWED, 0)
