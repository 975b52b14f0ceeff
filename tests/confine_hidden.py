"""Run a program as on a kernel that lacks some system calls: ``confine_hidden.py NAME… -- PROGRAM ARGUMENTS…``."""

import os
import sys

from veilleur_agent.confine import kernel, seccomp
from veilleur_agent.confine.bpf import absent


def main() -> None:
    border = sys.argv.index("--")
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install([absent(name) for name in sys.argv[1:border]])
    command = sys.argv[border + 1 :]
    os.execv(command[0], command)  # noqa: S606 - the command comes from the test


if __name__ == "__main__":
    main()
