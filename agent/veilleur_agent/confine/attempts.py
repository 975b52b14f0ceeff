"""The single attempts: each does one thing a confined process must not, or must, be able to do.

An attempt returns when it could, raises the ``OSError`` it met when it could not, and ``AbsentError`` when there is
nothing to try. Nothing leaves the machine and nothing stays behind: connections go to loopback, calls are made with
arguments that do nothing where they are allowed, and a limit that could be changed is set back.
"""

import contextlib
import ctypes
import errno
import os
import resource
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from veilleur_agent.confine import kernel
from veilleur_agent.confine.profiles import Confinement

LOOPBACK: Final = "127.0.0.1"
UNGIVEN_PORT: Final = 47001
CONNECT_S: Final = 1.0
IPPROTO_MPTCP: Final = 262
AF_ALG: Final = 38
AF_VSOCK: Final = 40
TCP_FASTOPEN_CONNECT: Final = 30
PEEK: Final = 2
"""``PTRACE_PEEKDATA``: answers ESRCH for a process nobody traces, and touches nothing."""
UNLIKELY_KEY: Final = 0x7665696C
SESSION_KEYRING: Final = -3
OPEN_TO_ALL: Final = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - not used, only tried
REFUSALS: Final = frozenset({errno.EPERM, errno.EACCES})


class AbsentError(Exception):
    """There is nothing here to try it on."""


def _refused() -> PermissionError:
    return PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _each(attempt: Callable[[Path], None], paths: Iterable[Path]) -> None:
    """Try every path; return when one gave way, else raise a refusal, else say that none is there."""
    refusal = None
    for path in paths:
        try:
            attempt(path)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP, errno.EISDIR}:
                refusal = error
        else:
            return
    if refusal is None:
        raise AbsentError
    raise refusal


def _open(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _close(opened: socket.socket) -> None:
    opened.close()


def port_outside(confinement: Confinement) -> int:
    """Return a port that ``confinement`` does not allow to connect to."""
    return next(port for port in range(9, 65536) if port not in confinement.connect_ports)


# Ways out, and in.


def connect_elsewhere(confinement: Confinement) -> None:
    """Connect by plain TCP to a port that is not allowed."""
    _connect(port_outside(confinement))


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(CONNECT_S)
        sock.connect((LOOPBACK, port))


def send_fast_open(confinement: Confinement) -> None:
    """Connect by sending: TCP Fast Open does not pass where Landlock looks."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(CONNECT_S)
        sock.sendto(b"?", socket.MSG_FASTOPEN, (LOOPBACK, port_outside(confinement)))


def set_fast_open(_: Confinement) -> None:
    """Ask that the next connection be a Fast Open."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)


def opener(family: int, kind: int, protocol: int = 0) -> Callable[[Confinement], None]:
    """Return the attempt to open one kind of socket."""

    def attempt(_: Confinement) -> None:
        _close(socket.socket(family, kind, protocol))

    return attempt


def pair_sockets(_: Confinement) -> None:
    """Make a pair of sockets; one of datagrams can be pointed at any other."""
    for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        one.close()


def pass_files(_: Confinement) -> None:
    """Call ``sendmsg``, which can hand an open file to who holds the other end."""
    kernel.call("sendmsg", -1, None, 0)


def bind_port(confinement: Confinement) -> None:
    """Take a port of loopback that was not given; that somebody has it already would be no refusal."""
    port = next(port for port in range(UNGIVEN_PORT, UNGIVEN_PORT + 1000) if port not in confinement.bind_ports)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind((LOOPBACK, port))


def listen_unbound(_: Confinement) -> None:
    """Listen without binding: the kernel picks a port, and Landlock does not look."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.listen(1)


# Programs, other processes, other identities.


def execute(_: Confinement) -> None:
    """Run a program; there is none at this place, so that nothing runs where it is allowed."""
    kernel.call("execve", b"/nonexistent", None, None)


def start_process(_: Confinement) -> None:
    """Start a child process."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def trace_parent(_: Confinement) -> None:
    """Look into the parent's memory as a debugger does."""
    kernel.call("ptrace", PEEK, os.getppid(), None, None)


def read_parent_memory(_: Confinement) -> None:
    """Copy a byte out of the parent; address 0 holds none."""
    byte = ctypes.create_string_buffer(1)
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(byte), 1)
    there = (ctypes.c_uint64 * 2)(0, 1)
    kernel.call("process_vm_readv", os.getppid(), ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)


def read_parent_environment(_: Confinement) -> None:
    """Read the parent's environment."""
    _open(Path(f"/proc/{os.getppid()}/environ"))


def take_descriptor(_: Confinement) -> None:
    """Take an open file of another process."""
    kernel.call("pidfd_getfd", -1, 0, 0)


def signal_parent(_: Confinement) -> None:
    """Send the parent signal 0, which only asks whether one may."""
    os.kill(os.getppid(), 0)


def change_identity(_: Confinement) -> None:
    """Set the uids to what they are."""
    kernel.call("setresuid", -1, -1, -1)


def hold_capability(_: Confinement) -> None:
    """Hold any capability."""
    if not any(kernel.capabilities()):
        raise _refused()


def gain_privileges(_: Confinement) -> None:
    """Be able to gain privileges by running a program."""
    if kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS):
        raise _refused()


# Memory and messages found by a key or a name.


def share_memory(_: Confinement) -> None:
    """Look for a System V shared memory that nobody made."""
    kernel.call("shmget", UNLIKELY_KEY, 1, 0)


def share_semaphore(_: Confinement) -> None:
    """Look for a System V semaphore that nobody made."""
    kernel.call("semget", UNLIKELY_KEY, 1, 0)


def share_queue(_: Confinement) -> None:
    """Look for a System V message queue that nobody made."""
    kernel.call("msgget", UNLIKELY_KEY, 0)


def share_named_queue(_: Confinement) -> None:
    """Look for a POSIX message queue that nobody made."""
    kernel.call("mq_open", b"veilleur-trial", os.O_RDONLY, 0, None)


def share_key(_: Confinement) -> None:
    """Ask for the session's keyring."""
    kernel.call("keyctl", 0, SESSION_KEYRING, 0)


def note_on_file(_: Confinement) -> None:
    """Put an attribute on a file, which another process reads without opening it."""
    kernel.call("fsetxattr", -1, b"user.trial", b"", 0, 0)


# Doors into the kernel.


def set_up_ring(_: Confinement) -> None:
    """Set up an io_uring, whose calls no filter sees."""
    kernel.call("io_uring_setup", 0, None)


def handle_faults(_: Confinement) -> None:
    """Handle page faults, with a flag that does not exist."""
    kernel.call("userfaultfd", 1 << 30)


def load_program(_: Confinement) -> None:
    """Load a BPF program; the command does not exist."""
    kernel.call("bpf", 0x7FFF, None, 0)


def watch_events(_: Confinement) -> None:
    """Open a performance counter described nowhere."""
    kernel.call("perf_event_open", None, 0, -1, -1, 0)


def enter_namespaces(_: Confinement) -> None:
    """Leave no namespace at all for a new one."""
    kernel.call("unshare", 0)


def mount(_: Confinement) -> None:
    """Mount nothing on nothing."""
    kernel.call("mount", None, None, None, 0, None)


# Files.


def open_system_file(_: Confinement) -> None:
    """Open a file that any process may read."""
    _open(Path("/etc/passwd"))


def open_others(confinement: Confinement) -> None:
    """Open the stores of the other processes."""
    _each(_open, confinement.forbidden_paths)


def open_forbidden_library(confinement: Confinement) -> None:
    """Open the code of a library this process must never have, wherever one lies."""
    names = [Path(folder) / name / "__init__.py" for folder in sys.path for name in confinement.forbidden_imports]
    _each(_open, names)


def write_in_shared_folder(_: Confinement) -> None:
    """Write where everyone may: a file without a name, gone when it is closed."""

    def attempt(folder: Path) -> None:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    _each(attempt, OPEN_TO_ALL)


def dump_core(_: Confinement) -> None:
    """Raise the limit on core files, and set it back."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    wanted = (ctypes.c_uint64 * 2)(1, 1 if limits[1] == 0 else limits[1] % (1 << 64))
    kernel.call("prlimit64", 0, resource.RLIMIT_CORE, ctypes.addressof(wanted), None)
    resource.setrlimit(resource.RLIMIT_CORE, limits)


def become_dumpable(_: Confinement) -> None:
    """Be dumpable, or become it, and set it back."""
    if kernel.prctl(kernel.PR_GET_DUMPABLE):
        return
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


# What must go on working.


def connect_where_allowed(confinement: Confinement) -> None:
    """Connect to every allowed port on loopback; nobody need listen there."""
    if not confinement.connect_ports:
        raise AbsentError
    for port in confinement.connect_ports:
        try:
            _connect(port)
        except OSError as error:
            if error.errno in REFUSALS:
                raise


def write_where_allowed(confinement: Confinement) -> None:
    """Write a file in every folder of its own, and remove it."""
    if not confinement.read_write:
        raise AbsentError
    for folder in confinement.read_write:
        name = folder / f".trial-{secrets.token_hex(8)}"
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        finally:
            with contextlib.suppress(OSError):
                name.unlink()


def start_thread(_: Confinement) -> None:
    """Start a thread; without one no library here works."""
    thread = threading.Thread(target=lambda: None, name="trial")
    try:
        thread.start()
    except RuntimeError:
        raise _refused() from None
    thread.join()
