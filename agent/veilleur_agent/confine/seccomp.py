"""seccomp: which system calls a process may make at all, and with what arguments.

Refused calls answer EPERM and never kill, so that the trials live to report and a library that only asks goes on.
"""

import ctypes
import errno
from collections.abc import Sequence
from typing import Final

from veilleur_agent.confine import kernel
from veilleur_agent.confine.bpf import WORD, Check, Instruction, Rule, absent, only, packed, program_of, refuse

SET_MODE_FILTER: Final = 1
GET_ACTION_AVAIL: Final = 2
ALL_THREADS: Final = 1
"""``SECCOMP_FILTER_FLAG_TSYNC``."""
ACTION_ERRNO: Final = 0x00050000

AF_INET: Final = 2
AF_INET6: Final = 10
SOCK_STREAM: Final = 1
SOCK_FLAGS: Final = 0o2004000
"""``SOCK_CLOEXEC | SOCK_NONBLOCK``."""
IPPROTO_TCP: Final = 6
MSG_FASTOPEN: Final = 0x20000000

TCP_OPTIONS_REFUSED: Final = (
    19,  # TCP_REPAIR: makes a connection without connecting
    23,  # TCP_FASTOPEN
    30,  # TCP_FASTOPEN_CONNECT
    31,  # TCP_ULP: "smc" turns a TCP socket into one whose connections Landlock does not see
    33,  # TCP_FASTOPEN_KEY
)
CLONE_THREAD: Final = 0x00010000
CLONE_NEW: Final = 0x7E020080
"""Every ``CLONE_NEW*`` flag: namespaces for mounts, cgroups, UTS, IPC, users, pids, network and time."""
TIOCSTI: Final = 0x5412
TIOCLINUX: Final = 0x541C

REFUSED: Final = (
    # A way out that is no TCP connection, or a way in. A socket pair of datagrams can be pointed elsewhere.
    *("socketpair", "sendmmsg"),
    # Programs.
    *("fork", "vfork", "execve", "execveat", "unshare", "setns"),
    # Other processes.
    *("tkill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp"),
    # What would do refused calls on our behalf.
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    # Memory and messages found by a key or a name: nothing but the link joins eye and mouth.
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop"),
    *("msgget", "msgsnd", "msgrcv", "msgctl"),
    *("mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"),
    *("add_key", "request_key", "keyctl"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    # Doors into the kernel that nothing here needs.
    *("userfaultfd", "bpf", "perf_event_open", "fanotify_init", "fanotify_mark"),
    *("name_to_handle_at", "open_by_handle_at", "kexec_load", "kexec_file_load"),
    *("init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct"),
    *("settimeofday", "clock_settime", "sethostname", "setdomainname", "syslog"),
    *("vhangup", "personality", "iopl", "ioperm", "modify_ldt", "uselib", "lookup_dcookie", "nfsservctl"),
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    # Another identity.
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid"),
    "capset",
)
LISTENING: Final = ("listen", "accept", "accept4")
"""Refused where nothing is served: ``listen`` without ``bind`` takes a free port, which Landlock does not look at."""


def rules_for(process_id: int, *, may_bind: bool, may_listen: bool, may_pass_messages: bool) -> tuple[Rule, ...]:
    """Return the rules of one process.

    Args:
        process_id: Its own: the one process it may signal or set limits of.
        may_bind: Whether it binds before it connects; Landlock says to which ports.
        may_listen: Whether it serves a port.
        may_pass_messages: Whether it may call ``sendmsg``, which can pass open files to who holds the other end.
    """
    itself = Check(0, (process_id,))
    return (
        only(
            "socket",
            Check(0, (AF_INET, AF_INET6)),
            Check(1, (SOCK_STREAM,), WORD & ~SOCK_FLAGS),
            Check(2, (0, IPPROTO_TCP)),
        ),
        only("sendto", Check(3, (0,), MSG_FASTOPEN)),
        only("sendmsg", Check(2, (0,), MSG_FASTOPEN)) if may_pass_messages else refuse("sendmsg"),
        refuse("setsockopt", Check(1, (IPPROTO_TCP,)), Check(2, TCP_OPTIONS_REFUSED)),
        # Threads, and nothing else. clone3 keeps its flags in memory, where no filter sees them.
        absent("clone3"),
        only("clone", Check(0, (CLONE_THREAD,), CLONE_THREAD | CLONE_NEW)),
        *(only(name, itself) for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")),
        only("prlimit64", Check(0, (0, process_id))),
        refuse("prctl", Check(0, (kernel.PR_SET_DUMPABLE, kernel.PR_SET_PTRACER))),
        refuse("ioctl", Check(1, (TIOCSTI, TIOCLINUX))),
        *(refuse(name) for name in REFUSED),
        *(refuse(name) for name in LISTENING if not may_listen),
        *(() if may_bind or may_listen else (refuse("bind"),)),
    )


def is_available() -> bool:
    """Tell whether this kernel can refuse a system call with an error."""
    action = ctypes.c_uint32(ACTION_ERRNO)
    try:
        kernel.call("seccomp", GET_ACTION_AVAIL, 0, ctypes.addressof(action))
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}:
            return False  # not built, older than the question, or hidden by a filter around us
        raise
    return True


def install(rules: Sequence[Rule]) -> tuple[Instruction, ...]:
    """Put every thread of this process behind ``rules`` for good; needs ``no_new_privs``. Return the filter.

    Raises:
        OSError: The kernel refused.
    """
    program = program_of(rules, kernel.this_architecture())
    code = ctypes.create_string_buffer(packed(program))
    header = (ctypes.c_uint64 * 2)(len(program), ctypes.addressof(code))  # struct sock_fprog: u16, padding, pointer
    kernel.call("seccomp", SET_MODE_FILTER, ALL_THREADS, ctypes.addressof(header))
    return program
