"""Call the kernel by number: no library wraps Landlock or seccomp on a bare Debian."""

import ctypes
import functools
import os
import platform
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.syscalls import NUMBERS

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_PTRACER: Final = 0x59616D61
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
CAPABILITY_VERSION_3: Final = 0x20080522
"""``_LINUX_CAPABILITY_VERSION_3`` of ``linux/capability.h``: two words of 32 bits per set."""

type_of_argument = int | bytes | ctypes.Array[ctypes.c_char] | None


class Architecture(StrEnum):
    """The two machines whose system call numbers are known here."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


def this_architecture() -> Architecture:
    """Return the architecture of this machine.

    Raises:
        ConfinementError: It is neither; the numbers of its system calls are not known.
    """
    machine = platform.machine()
    try:
        return Architecture(machine)
    except ValueError:
        raise ConfinementError(
            f"a process cannot be confined on {machine}: only x86_64 and aarch64 are known"
        ) from None


def number_of(name: str, architecture: Architecture) -> int | None:
    """Return the number of system call ``name``; None where the architecture never had it."""
    on_x86_64, on_aarch64 = NUMBERS[name]
    return on_x86_64 if architecture is Architecture.X86_64 else on_aarch64


@functools.cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library


def call(name: str, *arguments: type_of_argument) -> int:
    """Make system call ``name`` and return what it returned.

    Integers travel as C ``long``, bytes and buffers as their address, None as a null pointer.

    Raises:
        OSError: The kernel refused; ``errno`` says why.
    """
    number = number_of(name, this_architecture())
    if number is None:
        raise OSError(38, os.strerror(38))
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    ctypes.set_errno(0)
    result = int(_libc().syscall(ctypes.c_long(number), *given))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int = 0) -> int:
    """Call ``prctl(2)`` with one value.

    Raises:
        OSError: The kernel refused.
    """
    return call("prctl", option, value, 0, 0, 0)


def capabilities() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable capabilities of this thread, one bit each.

    Raises:
        OSError: The kernel refused.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    call("capget", ctypes.addressof(header), ctypes.addressof(data))
    effective, permitted, inheritable = (data[place] | data[place + 3] << 32 for place in range(3))
    return effective, permitted, inheritable


def drop_capabilities() -> None:
    """Give up every capability for good; root is then a uid like any other.

    Raises:
        OSError: The kernel refused.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    call("capset", ctypes.addressof(header), ctypes.addressof(data))


def threads() -> int:
    """Return how many threads this process has."""
    return sum(1 for _ in _names("/proc/self/task"))


def _names(folder: str) -> Iterable[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
