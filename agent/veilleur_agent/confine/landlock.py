"""Landlock: which files a process may open, which TCP ports it may reach, and that it stays in its own domain.

Everything this kernel's version of Landlock can refuse is refused; the rules then give back what the process needs. A
domain cannot be widened, only narrowed, and holds the calling thread and what that thread starts from then on. Source:
``Documentation/userspace-api/landlock.rst`` and ``include/uapi/linux/landlock.h`` of the Linux kernel.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

from veilleur_agent.confine import kernel
from veilleur_agent.confine.errors import ConfinementError

ANY_FREE_PORT: Final = 0
"""As a port to bind: the kernel picks one of its ephemeral range; none can be asked for by number."""
VERSION_FLAG: Final = 1
RULE_PATH: Final = 1
RULE_PORT: Final = 2


class Files(IntFlag):
    """What may be refused on files: ``LANDLOCK_ACCESS_FS_*``."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Ports(IntFlag):
    """What may be refused on TCP ports: ``LANDLOCK_ACCESS_NET_*``."""

    BIND = 1 << 0
    CONNECT = 1 << 1


class Scope(IntFlag):
    """What may be kept inside the domain: ``LANDLOCK_SCOPE_*``."""

    ABSTRACT_SOCKETS = 1 << 0
    SIGNALS = 1 << 1


PORTS_SINCE: Final = 4
"""Version of Landlock from which it knows TCP ports (Linux 6.7)."""
SCOPE_SINCE: Final = 6
"""Version of Landlock from which it keeps signals and abstract sockets inside (Linux 6.12)."""

OF_A_FILE: Final = Files.EXECUTE | Files.WRITE_FILE | Files.READ_FILE | Files.TRUNCATE | Files.IOCTL_DEV
LIST: Final = Files.READ_DIR
READ: Final = Files.READ_FILE | Files.READ_DIR
DEVICE: Final = READ | Files.WRITE_FILE | Files.IOCTL_DEV
WRITE: Final = (
    READ
    | Files.WRITE_FILE
    | Files.TRUNCATE
    | Files.MAKE_REG
    | Files.MAKE_DIR
    | Files.REMOVE_FILE
    | Files.REMOVE_DIR
    | Files.REFER
)
"""No links, pipes, sockets or device files; and nobody may ever execute anything."""


@dataclass(frozen=True, slots=True)
class Handled:
    """What one version of Landlock can refuse."""

    files: Files
    ports: Ports
    scope: Scope


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What a domain gives back.

    Attributes:
        paths: A path, what may be done on it and beneath it, and whether it must exist.
        connect: TCP ports that may be connected to, on any address: Landlock knows no addresses.
        bind: TCP ports that may be listened on.
    """

    paths: tuple[tuple[Path, Files, bool], ...]
    connect: tuple[int, ...] = ()
    bind: tuple[int, ...] = ()


def version() -> int:
    """Return the version of Landlock this kernel has in force, 0 when it has none."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, VERSION_FLAG)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return 0  # not built, switched off at boot, or hidden by a filter around us
        raise


def handled_by(of_version: int) -> Handled:
    """Return everything ``of_version`` of Landlock can refuse."""
    files = Files.REFER - 1
    for since, right in ((2, Files.REFER), (3, Files.TRUNCATE), (5, Files.IOCTL_DEV)):
        if of_version >= since:
            files |= right
    ports = Ports.BIND | Ports.CONNECT if of_version >= PORTS_SINCE else Ports(0)
    scope = Scope.ABSTRACT_SOCKETS | Scope.SIGNALS if of_version >= SCOPE_SINCE else Scope(0)
    return Handled(Files(files), ports, scope)


def restrict(ruleset: Ruleset, of_version: int) -> None:
    """Put the calling thread into a new domain for good; needs ``no_new_privs``.

    Raises:
        ConfinementError: A path that must exist does not.
        OSError: The kernel refused.
    """
    handled = handled_by(of_version)
    attributes = (ctypes.c_uint64 * 3)(handled.files, handled.ports, handled.scope)
    size = ctypes.sizeof(attributes) if of_version >= SCOPE_SINCE else 16 if of_version >= PORTS_SINCE else 8
    domain = kernel.call("landlock_create_ruleset", ctypes.addressof(attributes), size, 0)
    try:
        for path, rights, must_exist in ruleset.paths:
            _allow_path(domain, path, rights & handled.files, must_exist=must_exist)
        if handled.ports:
            for port, right in _ports_of(ruleset):
                rule = (ctypes.c_uint64 * 2)(right, port)
                kernel.call("landlock_add_rule", domain, RULE_PORT, ctypes.addressof(rule), 0)
        kernel.call("landlock_restrict_self", domain, 0)
    finally:
        os.close(domain)


def _ports_of(ruleset: Ruleset) -> Iterator[tuple[int, Ports]]:
    yield from ((port, Ports.CONNECT) for port in ruleset.connect)
    yield from ((port, Ports.BIND) for port in ruleset.bind)


def _allow_path(domain: int, path: Path, rights: Files, *, must_exist: bool) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if must_exist:
            reason = error.strerror or type(error).__name__
            raise ConfinementError(
                f"{path} cannot be kept for this process ({reason}): make it, or correct where it is said to be"
            ) from None
        return  # what is not there needs no permission
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_A_FILE
        if rights:
            rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
            kernel.call("landlock_add_rule", domain, RULE_PATH, rule, 0)
    finally:
        os.close(descriptor)
